/* SPDX-License-Identifier: Apache-2.0 */
/* Which rows an answer has: the recorded ones, as often as the shape wants, less what the
 * statement's database filter leaves out. A row belongs to a database, a table, a statement, to
 * several of them or to none; each has its place among the recorded ones, which is the same in
 * every query, so that all queries agree on what there is. */
#include "tools/sim/form_data.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"

static const uint32_t NOWHERE = UINT32_MAX;
static const char maintenance[] = "postgres";

/* Column of a role, or -1. */
static int role_column(const struct recording_answer *answer, enum recording_role role)
{
    for (uint32_t c = 0; c < answer->column_count; c++)
        if (answer->columns[c].role == role)
            return (int)c;
    return -1;
}

static const char *cell_text(const struct recording_answer *answer, uint32_t row, int column)
{
    if (column < 0)
        return "";
    const struct recording_cell *cell =
        &answer->cells[(size_t)row * answer->column_count + (uint32_t)column];
    return cell->null ? "" : cell->text;
}

/* ---- what there is ---- */

static uint32_t table_place(const struct form_book *book, const char *scope, const char *name)
{
    for (uint32_t i = 0; i < book->table_count; i++)
        if (strcmp(book->tables[i].name, name) == 0 && strcmp(book->tables[i].scope, scope) == 0)
            return i;
    return NOWHERE;
}

static uint32_t database_place(const struct form_book *book, const char *name)
{
    for (uint32_t i = 0; i < book->base_count; i++)
        if (strcmp(book->bases[i], name) == 0)
            return i;
    return NOWHERE;
}

/* Tables are those of the query "tables", or else of the first that has any. */
static const struct recording_answer *tables_answer(const struct recording *recording)
{
    const struct recording_answer *first = NULL;
    for (uint32_t q = 0; q < recording->query_count; q++) {
        const struct recording_query *query = &recording->queries[q];
        for (uint32_t a = 0; a < query->answer_count; a++) {
            if (query->scope != SCOPE_DATABASE || role_column(&query->answers[a], ROLE_TABLE) < 0)
                continue;
            if (strcmp(query->name, "tables") == 0)
                return &query->answers[a];
            first = first ? first : &query->answers[a];
        }
    }
    return first;
}

static void tables_take(struct form_book *book)
{
    const struct recording_answer *answer = tables_answer(book->recording);
    if (!answer)
        return;
    int scope = role_column(answer, ROLE_DATABASE), name = role_column(answer, ROLE_TABLE);
    book->tables = arena_take(&book->arena, (answer->row_count + 1) * sizeof *book->tables);
    for (uint32_t r = 0; r < answer->row_count; r++) {
        struct form_base table = {cell_text(answer, r, scope), cell_text(answer, r, name)};
        if (table_place(book, table.scope, table.name) == NOWHERE)
            book->tables[book->table_count++] = table;
    }
}

static const char *suffixed(struct arena *arena, const char *name, uint32_t cycle)
{
    return cycle ? arena_format(arena, "%s_%u", name, cycle + 1) : name;
}

uint32_t form_database_number(const struct form_book *book, const char *database)
{
    for (uint32_t i = 0; i < book->database_count; i++)
        if (strcmp(book->databases[i], database) == 0)
            return i;
    return NOWHERE;
}

/* "postgres" is on every server, once: it is neither counted nor multiplied. */
static void databases_take(struct form_book *book)
{
    const struct recording *recording = book->recording;
    const size_t room = recording->database_count + 1u;
    book->bases = arena_take(&book->arena, room * sizeof *book->bases);
    for (uint32_t i = 0; i < recording->database_count; i++)
        if (strcmp(recording->databases[i], maintenance) != 0)
            book->bases[book->base_count++] = recording->databases[i];
}

void form_book_bases(struct form_book *book)
{
    const char *always[] = {maintenance, book->recording->database, "template1"};
    databases_take(book);
    uint32_t bases = book->base_count, wanted = book->shape.databases;
    uint32_t count = !bases ? 0 : !wanted ? bases : wanted;
    count = count > FORM_DATABASES_MAX ? FORM_DATABASES_MAX : count;
    book->databases = arena_take(&book->arena, (count + 3u) * sizeof *book->databases);
    for (uint32_t i = 0; i < count; i++)
        book->databases[book->database_count++] =
            suffixed(&book->arena, book->bases[i % bases], i / bases);
    for (size_t i = 0; i < sizeof always / sizeof always[0]; i++)
        if (form_database_number(book, always[i]) == NOWHERE)
            book->databases[book->database_count++] = always[i];
    tables_take(book);
}

/* ---- one answer ---- */

/* One way of multiplying an answer. */
struct axis {
    uint32_t wanted;  /* 0: as recorded */
    uint32_t *places; /* by row; NOWHERE: of none. NULL: the answer has no such column */
    uint32_t *counts; /* by row: how many there are recorded */
    bool strays;      /* rows of none come in every cycle, or in the first only */
    uint32_t cycles;
};

struct multiplier {
    const struct form_book *book;
    const struct recording_answer *answer;
    struct arena arena;
    struct axis database, table, statement;
};

static void axis_open(struct multiplier *multiplier, struct axis *axis, uint32_t wanted)
{
    size_t rows = multiplier->answer->row_count + 1u;
    axis->wanted = wanted;
    axis->places = arena_take(&multiplier->arena, rows * sizeof *axis->places);
    axis->counts = arena_take(&multiplier->arena, rows * sizeof *axis->counts);
}

static void axis_close(struct axis *axis, uint32_t row_count)
{
    axis->cycles = 1;
    for (uint32_t r = 0; axis->places && axis->wanted && r < row_count; r++) {
        uint32_t count = axis->counts[r];
        uint32_t cycles = count ? (axis->wanted + count - 1) / count : 1;
        axis->cycles = cycles > axis->cycles ? cycles : axis->cycles;
    }
}

/* Whether the row is there in that cycle. */
static bool axis_has(const struct axis *axis, uint32_t row, uint32_t cycle)
{
    if (!axis->places || !axis->wanted)
        return cycle == 0;
    uint64_t count = axis->counts[row], place = axis->places[row];
    if (place == NOWHERE)
        return cycle == 0 || (axis->strays && cycle * count < axis->wanted);
    return place + cycle * count < axis->wanted;
}

static void databases_place(struct multiplier *multiplier, int column)
{
    const struct form_book *book = multiplier->book;
    axis_open(multiplier, &multiplier->database, book->shape.databases);
    for (uint32_t r = 0; r < multiplier->answer->row_count; r++) {
        multiplier->database.places[r] =
            database_place(book, cell_text(multiplier->answer, r, column));
        multiplier->database.counts[r] = book->base_count;
    }
}

static void tables_place(struct multiplier *multiplier, int column, int scope)
{
    const struct recording_answer *answer = multiplier->answer;
    axis_open(multiplier, &multiplier->table, multiplier->book->shape.tables);
    multiplier->table.strays = true;
    for (uint32_t r = 0; r < answer->row_count; r++) {
        multiplier->table.places[r] = table_place(multiplier->book, cell_text(answer, r, scope),
                                                  cell_text(answer, r, column));
        multiplier->table.counts[r] = multiplier->book->table_count;
    }
}

/* Query ids are counted within their database. */
static void statements_place(struct multiplier *multiplier, int column, int scope)
{
    const struct recording_answer *answer = multiplier->answer;
    axis_open(multiplier, &multiplier->statement, multiplier->book->shape.statements);
    uint32_t *places = multiplier->statement.places, *counts = multiplier->statement.counts;
    for (uint32_t r = 0; r < answer->row_count; r++) {
        const char *database = cell_text(answer, r, scope), *id = cell_text(answer, r, column);
        uint32_t known = 0;
        places[r] = NOWHERE;
        for (uint32_t other = 0; other < r && places[r] == NOWHERE; other++) {
            if (strcmp(cell_text(answer, other, scope), database) != 0)
                continue;
            if (strcmp(cell_text(answer, other, column), id) == 0)
                places[r] = places[other];
            known = places[other] + 1 > known ? places[other] + 1 : known;
        }
        if (places[r] == NOWHERE)
            places[r] = known;
    }
    for (uint32_t r = 0; r < answer->row_count; r++)
        for (uint32_t other = 0; other < answer->row_count; other++)
            if (places[other] >= counts[r] &&
                strcmp(cell_text(answer, other, scope), cell_text(answer, r, scope)) == 0)
                counts[r] = places[other] + 1;
}

static int text_compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Whether the statement's own filters let the database through. */
static bool filter_passes(const struct select_list *list, const char *element, const char *database)
{
    for (uint32_t i = 0; i < list->filter_count; i++) {
        const struct select_filter *filter = &list->filters[i];
        if (strcmp(filter->expression, element) != 0)
            continue;
        bool found = bsearch(&database, filter->values, filter->value_count, sizeof *filter->values,
                             text_compare) != NULL;
        if (found == filter->exclude)
            return false;
    }
    return true;
}

/* All rows in order: cycle by cycle, as recorded within each. */
static struct form_row *rows_list(struct multiplier *multiplier, const struct select_list *list,
                                  int database_column, uint32_t *ret_count)
{
    const struct recording_answer *answer = multiplier->answer;
    struct axis *database = &multiplier->database;
    struct form_buffer rows = {0};
    uint32_t ordinal = 0;
    const uint64_t cycles =
        (uint64_t)database->cycles * multiplier->table.cycles * multiplier->statement.cycles;
    for (uint64_t cycle = 0; cycle < cycles; cycle++) {
        struct form_row row = {
            .statement = (uint32_t)(cycle % multiplier->statement.cycles),
            .table = (uint32_t)(cycle / multiplier->statement.cycles % multiplier->table.cycles),
            .database =
                (uint32_t)(cycle / multiplier->statement.cycles / multiplier->table.cycles)};
        for (row.row = 0; row.row < answer->row_count; row.row++) {
            if (!axis_has(database, row.row, row.database) ||
                !axis_has(&multiplier->table, row.row, row.table) ||
                !axis_has(&multiplier->statement, row.row, row.statement))
                continue;
            row.ordinal = ordinal++;
            if (ordinal > FORM_ROWS_MAX) {
                free(rows.data);
                return NULL;
            }
            const char *name = cell_text(answer, row.row, database_column);
            if (database_column >= 0 && list->filter_count &&
                !filter_passes(list, answer->columns[database_column].sql,
                               suffixed(&multiplier->arena, name, row.database)))
                continue;
            form_buffer_put(&rows, &row, sizeof row);
        }
    }
    *ret_count = (uint32_t)(rows.count / sizeof(struct form_row));
    return rows.data ? (struct form_row *)(void *)rows.data : xcalloc(1, sizeof(struct form_row));
}

struct form_row *form_rows_make(const struct form_book *book, const struct recording_query *query,
                                const struct recording_answer *answer,
                                const struct select_list *list, uint32_t *ret_count)
{
    struct multiplier multiplier = {.book = book, .answer = answer};
    int scope = role_column(answer, ROLE_DATABASE), table = role_column(answer, ROLE_TABLE);
    int statement = role_column(answer, ROLE_STATEMENT);
    int database = query->scope == SCOPE_SERVER ? scope : -1;
    if (database >= 0)
        databases_place(&multiplier, database);
    if (table >= 0)
        tables_place(&multiplier, table, scope);
    if (statement >= 0)
        statements_place(&multiplier, statement, scope);
    axis_close(&multiplier.database, answer->row_count);
    axis_close(&multiplier.table, answer->row_count);
    axis_close(&multiplier.statement, answer->row_count);
    for (uint32_t i = 0; i < list->filter_count; i++)
        qsort(list->filters[i].values, list->filters[i].value_count, sizeof(char *), text_compare);
    struct form_row *rows = rows_list(&multiplier, list, database, ret_count);
    CHECK(rows || book->shape.databases || book->shape.tables || book->shape.statements);
    arena_fini(&multiplier.arena);
    return rows;
}
