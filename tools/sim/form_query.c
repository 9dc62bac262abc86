/* SPDX-License-Identifier: Apache-2.0 */
/* A statement of the catalogue into a form: its elements are looked up in the recording, its rows
 * multiplied, and everything written as it will be sent, with the places of the numbers noted. */
#include "tools/sim/form_data.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <endian.h>
#include <stdlib.h>

#include "base/check.h"
#include "tools/sim/workload.h"

enum { OID_INT8_ARRAY = 1016, OID_FLOAT8_ARRAY = 1022 };

/* One statement while it is compiled. */
struct compiler {
    struct form_maker maker;
    const struct recording_query *query;
    const struct recording_answer *answer;
    struct select_list list;
    uint32_t *columns; /* by element: its column in the answer */
    const char *database;
    const struct form_row *row;
    char text[8192]; /* of a cell with a suffix */
};

/* ---- looking up ---- */

static bool element_find(const struct recording_answer *answer, const char *sql, uint32_t *ret)
{
    for (*ret = 0; *ret < answer->column_count; ++*ret)
        if (strcmp(answer->columns[*ret].sql, sql) == 0)
            return true;
    return false;
}

/* NULL, or the first element that the answer lacks. */
static const char *answer_bind(struct compiler *compiler, const struct recording_answer *answer)
{
    for (uint32_t i = 0; i < compiler->list.element_count; i++)
        if (!element_find(answer, compiler->list.elements[i], &compiler->columns[i]))
            return compiler->list.elements[i];
    compiler->answer = answer;
    return NULL;
}

/* Arrays are of one type, of numbers, and plain cells stand alone. */
static bool items_fit(const struct compiler *compiler)
{
    for (uint32_t i = 0; i < compiler->list.item_count; i++) {
        const struct select_item *item = &compiler->list.items[i];
        enum recording_type type = compiler->answer->columns[compiler->columns[item->first]].type;
        for (uint32_t k = 0; item->array && k < item->count; k++) {
            enum recording_type other =
                compiler->answer->columns[compiler->columns[item->first + k]].type;
            if (other != type || (type != TYPE_INT8 && type != TYPE_FLOAT8))
                return false;
        }
    }
    return true;
}

static bool query_bind(struct compiler *compiler, struct form_problem *problem)
{
    const struct recording_query *query = compiler->query;
    const char *missing = "";
    for (uint32_t i = 0; i < query->answer_count && missing; i++)
        missing = answer_bind(compiler, &query->answers[i]);
    if (missing)
        form_problem_set(problem, "0A000",
                         "this is not in the recording (query %s, expression %.120s): record it "
                         "with --catalog",
                         query->name, missing);
    else if (!items_fit(compiler))
        form_problem_set(problem, "42804", "ARRAY of texts, times or different types (query %s)",
                         query->name);
    else
        return true;
    return false;
}

/* ---- cells ---- */

static const struct recording_cell *cell_of(const struct compiler *compiler, uint32_t column)
{
    return &compiler->answer
                ->cells[(size_t)compiler->row->row * compiler->answer->column_count + column];
}

/* In database scope the recorded database's name, at the beginning, gives way to the session's. */
static const char *database_text(struct compiler *compiler, const char *text)
{
    const char *recorded = compiler->maker.book->recording->database;
    size_t bytes = strlen(recorded);
    unsigned char next = strncmp(text, recorded, bytes) == 0 ? (unsigned char)text[bytes] : 'x';
    if (isalnum(next) || next == '_')
        return text;
    snprintf(compiler->text, sizeof compiler->text, "%s%s", compiler->database, text + bytes);
    return compiler->text;
}

static const char *text_of(struct compiler *compiler, const struct recording_column *column,
                           const char *text)
{
    uint32_t cycle = 0;
    if (column->role == ROLE_DATABASE && compiler->query->scope == SCOPE_DATABASE)
        return database_text(compiler, text);
    if (column->role == ROLE_DATABASE)
        cycle = compiler->row->database;
    else if (column->role == ROLE_TABLE || column->role == ROLE_INDEX)
        cycle = compiler->row->table;
    else if (column->role == ROLE_STATEMENT)
        cycle = compiler->row->statement;
    if (!cycle)
        return text;
    snprintf(compiler->text, sizeof compiler->text, "%s_%u", text, cycle + 1);
    return compiler->text;
}

/* Notes what becomes of the number whose eight bytes will be at `at`. */
static void place_note(struct compiler *compiler, uint32_t column, size_t at)
{
    struct form_maker *maker = &compiler->maker;
    const struct recording_column *described = &compiler->answer->columns[column];
    const struct recording_cell *cell = cell_of(compiler, column);
    bool real = described->type == TYPE_FLOAT8;
    uint32_t offset = (uint32_t)at;
    uint32_t place = workload_place(compiler->row->ordinal, column);
    if (described->role == ROLE_START)
        form_put_spot(maker, SPOT_START, at);
    if (described->type == TYPE_INT8 || real)
        maker->form->values++;
    if (described->role == ROLE_COUNTER) {
        struct form_count count = {.offset = offset, .place = place};
        form_buffer_put(real ? &maker->count_reals : &maker->counts, &count, sizeof count);
    } else if (described->role == ROLE_GAUGE) {
        struct form_gauge gauge = {.offset = offset, .place = place, .integer = cell->integer};
        form_buffer_put(real ? &maker->gauge_reals : &maker->gauges, &gauge, sizeof gauge);
    }
}

static void element_put(struct compiler *compiler, uint32_t column)
{
    struct form_maker *maker = &compiler->maker;
    const struct recording_column *described = &compiler->answer->columns[column];
    const struct recording_cell *cell = cell_of(compiler, column);
    uint32_t oid = recording_type_oids[described->type];
    if (cell->null) {
        form_put_cell(maker, NULL, 0, 0);
    } else if (described->type == TYPE_TEXT) {
        const char *text = text_of(compiler, described, cell->text);
        form_put_cell(maker, text, (uint32_t)strlen(text), 0);
    } else {
        uint64_t bits = htobe64((uint64_t)cell->integer); /* or the float8 in the same place */
        place_note(compiler, column, maker->bytes.count + sizeof(uint32_t));
        form_put_cell(maker, &bits, sizeof bits, form_text_bound(oid, sizeof bits));
    }
}

/* ndim | has NULLs | type of elements | count | lower bound, then length and bytes of each */
static void array_put(struct compiler *compiler, const struct select_item *item)
{
    struct form_buffer *bytes = &compiler->maker.bytes;
    const uint32_t *columns = &compiler->columns[item->first];
    enum recording_type type = compiler->answer->columns[columns[0]].type;
    bool nulls = false;
    for (uint32_t i = 0; i < item->count; i++)
        nulls = nulls || cell_of(compiler, columns[i])->null;
    size_t begin = bytes->count;
    const uint32_t header[] = {0, 1, nulls, recording_type_oids[type], item->count, 1};
    for (size_t i = 0; i < sizeof header / sizeof header[0]; i++)
        form_buffer_put32(bytes, header[i]);
    for (uint32_t i = 0; i < item->count; i++) {
        const struct recording_cell *cell = cell_of(compiler, columns[i]);
        form_buffer_put32(bytes, cell->null ? UINT32_MAX : (uint32_t)sizeof(uint64_t));
        if (cell->null)
            continue;
        place_note(compiler, columns[i], bytes->count);
        form_buffer_put64(bytes, (uint64_t)cell->integer);
    }
    uint32_t cell_bytes = (uint32_t)(bytes->count - begin - sizeof(uint32_t));
    uint32_t length = htonl(cell_bytes);
    memcpy(bytes->data + begin, &length, sizeof length);
    size_t most = form_text_bound(OID_INT8_ARRAY, cell_bytes);
    compiler->maker.bound += sizeof length + (most > cell_bytes ? most : cell_bytes);
}

/* ---- the form ---- */

static void columns_describe(struct compiler *compiler)
{
    struct form *form = compiler->maker.form;
    const struct select_list *list = &compiler->list;
    form->column_count = list->item_count;
    form->columns = arena_take(compiler->maker.arena, list->item_count * sizeof *form->columns);
    for (uint32_t i = 0; i < list->item_count; i++) {
        const struct select_item *item = &list->items[i];
        enum recording_type type = compiler->answer->columns[compiler->columns[item->first]].type;
        uint32_t array = type == TYPE_INT8 ? OID_INT8_ARRAY : OID_FLOAT8_ARRAY;
        form->columns[i] =
            (struct form_column){.name = arena_text(compiler->maker.arena, item->alias),
                                 .oid = item->array ? array : recording_type_oids[type],
                                 .size = item->array || type == TYPE_TEXT ? -1 : 8,
                                 .modifier = -1};
    }
}

static bool rows_put(struct compiler *compiler, struct form_problem *problem)
{
    const struct form_book *book = compiler->maker.book;
    uint32_t count = 0;
    struct form_row *rows =
        form_rows_make(book, compiler->query, compiler->answer, &compiler->list, &count);
    bool good = rows != NULL;
    for (uint32_t r = 0; good && r < count; r++) {
        compiler->row = &rows[r];
        form_row_begin(&compiler->maker, compiler->list.item_count);
        for (uint32_t i = 0; i < compiler->list.item_count; i++) {
            const struct select_item *item = &compiler->list.items[i];
            if (item->array)
                array_put(compiler, item);
            else
                element_put(compiler, compiler->columns[item->first]);
        }
        form_row_end(&compiler->maker);
        good = compiler->maker.bytes.count < FORM_BYTES_MAX;
    }
    free(rows);
    if (!good)
        form_problem_set(problem, "54000",
                         "the answer to query %s has more than %d rows or %d MiB: ask for fewer "
                         "databases, tables or statements",
                         compiler->query->name, FORM_ROWS_MAX, FORM_BYTES_MAX >> 20);
    return good;
}

static void identity_set(struct compiler *compiler)
{
    struct form_book *book = compiler->maker.book;
    struct form *form = compiler->maker.form;
    const struct recording_query *query = compiler->query;
    uint32_t number = book->query_numbers[query - book->recording->queries];
    form->recorded = true;
    form->seed = workload_text(book->shape.seed, query->name);
    form->index = number;
    if (query->scope == SCOPE_SERVER)
        return;
    form->seed = workload_text(form->seed, compiler->database);
    form->index = book->server_queries + number +
                  form_database_number(book, compiler->database) * book->database_queries;
}

static const struct recording_query *query_find(const struct recording *recording, const char *name)
{
    for (uint32_t i = 0; i < recording->query_count; i++)
        if (strcmp(recording->queries[i].name, name) == 0)
            return &recording->queries[i];
    return NULL;
}

static struct form *query_compile(struct compiler *compiler, struct form_book *book,
                                  struct form_problem *problem)
{
    const struct recording_query *query = compiler->query =
        query_find(book->recording, compiler->list.name);
    if (!query) {
        form_problem_set(problem, "0A000",
                         "this is not in the recording (query %.80s): record it with --catalog",
                         compiler->list.name);
        return NULL;
    }
    if (query->sqlstate) {
        form_problem_set(problem, query->sqlstate, "%s", query->message);
        return NULL;
    }
    compiler->columns = arena_take(&compiler->list.arena,
                                   (compiler->list.element_count + 1) * sizeof *compiler->columns);
    if (!query_bind(compiler, problem))
        return NULL;
    form_begin(&compiler->maker, book, query->name);
    identity_set(compiler);
    columns_describe(compiler);
    bool good = rows_put(compiler, problem);
    struct form *form = form_finish(&compiler->maker, NULL);
    if (good)
        return form;
    form_free(form);
    return NULL;
}

struct form *form_make_query(struct form_book *book, const char *sql, size_t bytes,
                             const char *database, struct form_problem *problem)
{
    struct compiler compiler = {.database = database};
    if (!select_list_init(&compiler.list, sql, bytes)) {
        form_problem_set(problem, "0A000",
                         "a statement of the catalogue whose select list cannot be read");
        return NULL;
    }
    CHECK(compiler.list.name);
    struct form *form = query_compile(&compiler, book, problem);
    select_list_fini(&compiler.list);
    return form;
}
