/* SPDX-License-Identifier: Apache-2.0 */
/* The catalogue made concrete for servers that are alike: for each query the variants that apply,
 * only the values that some wanted metric or attribute uses, and the SQL around them. Every value
 * is cast to what it is used for (int8, float8, text, timestamptz), so that decode meets four
 * binary types and a user's document need not care. The numbers of a row are packed into an array
 * of each type: the row of 16 counters that would be 16 cells is one.
 *
 * A plan is immutable, made by the shard that uses it, and borrows names, metrics and fixed
 * attributes from the catalogue. */
#include "catalog/query.h"

#include "base/arena.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OLDEST_MAJOR = 12 };

enum cell { CELL_TEXT, CELL_TIME, CELL_INT, CELL_DOUBLE, CELL_KINDS };

static const char *const cell_types[] = {[CELL_TEXT] = "text",
                                         [CELL_TIME] = "timestamptz",
                                         [CELL_INT] = "int8",
                                         [CELL_DOUBLE] = "float8"};

struct column {
    uint16_t item;
    enum cell cell;
    const char *sql;
};

/* What the values of one kind become: cells of their own, or one array cell. */
struct pack {
    uint16_t count;
    uint16_t column; /* where the only one or the array stands */
};

/* A plan with its memory; struct plan comes first. */
struct plan_block {
    struct plan plan;
    struct arena arena;
};

/* One statement while it is made. */
struct planner {
    struct arena *arena;
    const struct catalog_choice *choice;
    const struct capabilities *capabilities;
    const struct catalog_query *query;
    struct column columns[LIMIT_QUERY_COLUMNS];
    uint16_t column_count;
    struct pack packs[CELL_KINDS]; /* of CELL_INT and CELL_DOUBLE */
};

/* The column of an item as a cell, added when new. False when the server lacks it or the statement
 * is full. */
static bool column_take(struct planner *planner, uint16_t item, enum cell cell,
                        uint16_t *ret_column)
{
    for (uint16_t i = 0; i < planner->column_count; i++) {
        if (planner->columns[i].item == item && planner->columns[i].cell == cell) {
            *ret_column = i;
            return true;
        }
    }
    const char *sql = variants_choose(&planner->query->items[item].sql, planner->capabilities);
    if (!sql || planner->column_count == LIMIT_QUERY_COLUMNS)
        return false;
    *ret_column = planner->column_count;
    planner->columns[planner->column_count++] = (struct column){item, cell, sql};
    return true;
}

/* An attribute whose columns a server lacks is left out; of several, those that are there join. */
static void attributes_plan(struct planner *planner, struct statement *statement)
{
    const struct catalog_query *query = planner->query;
    struct statement_attribute *attributes =
        arena_take(planner->arena, (query->attribute_count + 1) * sizeof *attributes);
    for (size_t i = 0; i < query->attribute_count; i++) {
        const struct attribute_form *form = &query->attributes[i].forms[planner->choice->model];
        if (!form->present)
            continue;
        struct statement_attribute *attribute = &attributes[statement->attribute_count];
        *attribute = (struct statement_attribute){
            .key = form->key, .join = form->join, .resource = form->resource};
        for (uint16_t k = 0; k < form->item_count; k++) {
            if (column_take(planner, form->items[k], CELL_TEXT,
                            &attribute->columns[attribute->column_count]))
                attribute->column_count++;
        }
        if (!attribute->column_count)
            continue;
        statement->attribute_count++;
        statement->own_resource = statement->own_resource || form->resource;
    }
    statement->attributes = attributes;
}

/* Numbers stand behind texts and times, which attributes and start have taken first. Gives each
 * point its place in the result, and the statement its count of cells. */
static void points_pack(struct planner *planner, struct statement *statement,
                        struct statement_point *points)
{
    uint16_t places[LIMIT_QUERY_COLUMNS]; /* within its kind, from 0 */
    uint16_t cell_count = 0;
    memset(planner->packs, 0, sizeof planner->packs);
    for (uint16_t i = 0; i < planner->column_count; i++)
        places[i] = planner->packs[planner->columns[i].cell].count++;
    for (enum cell cell = CELL_TEXT; cell < CELL_KINDS; cell++) {
        bool packed = cell == CELL_INT || cell == CELL_DOUBLE;
        planner->packs[cell].column = cell_count;
        cell_count = (uint16_t)(cell_count + (packed ? planner->packs[cell].count > 0
                                                     : planner->packs[cell].count));
    }
    for (size_t i = 0; i < statement->point_count; i++) {
        const struct pack *pack = &planner->packs[planner->columns[points[i].column].cell];
        uint16_t place = places[points[i].column];
        points[i].element = pack->count > 1 ? (uint16_t)(place + 1) : 0;
        points[i].column = pack->column;
    }
    statement->column_count = cell_count;
}

/* Metric by metric, so that points of one metric stand together, in columns as in `points`. */
static void points_plan(struct planner *planner, struct statement *statement)
{
    const struct catalog_query *query = planner->query;
    size_t count = 0;
    for (size_t m = 0; m < query->metric_count; m++)
        count += query->metrics[m].point_count;
    struct statement_point *points = arena_take(planner->arena, (count + 1) * sizeof *points);
    for (size_t m = 0; m < query->metric_count; m++) {
        const struct query_metric *metric = &query->metrics[m];
        if (!planner->choice->metric_enabled[metric->index])
            continue;
        enum cell cell = metric->definition->value == METRIC_INT ? CELL_INT : CELL_DOUBLE;
        for (size_t p = 0; p < metric->point_count; p++) {
            struct statement_point point = {.metric = metric->definition,
                                            .fixed = metric->points[p].fixed};
            if (column_take(planner, metric->points[p].item, cell, &point.column))
                points[statement->point_count++] = point;
        }
    }
    statement->points = points;
    points_pack(planner, statement, points);
}

/* A text as an SQL literal that means the same whatever standard_conforming_strings says. */
static void literal_write(FILE *out, const char *text)
{
    fputs(strchr(text, '\\') ? "E'" : "'", out);
    for (; *text; text++) {
        if (*text == '\'' || *text == '\\')
            fputc(*text, out);
        fputc(*text, out);
    }
    fputc('\'', out);
}

static void list_write(FILE *out, const char *expression, const char *operator_text,
                       const char *const *items, size_t count)
{
    fprintf(out, "(%s)::text %s (", expression, operator_text);
    for (size_t i = 0; i < count; i++) {
        if (i)
            fputs(", ", out);
        literal_write(out, items[i]);
    }
    fputc(')', out);
}

/* WHERE with the query's own condition and the database filter, as far as there are any. */
static void where_write(const struct planner *planner, FILE *out)
{
    const struct catalog_choice *choice = planner->choice;
    const char *where = variants_choose(&planner->query->where, planner->capabilities);
    const char *databases = variants_choose(&planner->query->databases, planner->capabilities);
    const char *glue = "\nWHERE ";
    if (where) {
        fprintf(out, "%s(%s)", glue, where);
        glue = "\n  AND ";
    }
    if (databases && choice->database_count) {
        fputs(glue, out);
        list_write(out, databases, "IN", choice->databases, choice->database_count);
        glue = "\n  AND ";
    }
    if (databases && choice->exclude_count) {
        fputs(glue, out);
        list_write(out, databases, "NOT IN", choice->exclude_databases, choice->exclude_count);
    }
}

/* Bytes of a statement's text without the blanks and semicolons at its end. */
static int trimmed_bytes(const char *sql)
{
    size_t bytes = strlen(sql);
    while (bytes && strchr(" \t\r\n;", sql[bytes - 1]))
        bytes--;
    return (int)bytes;
}

/* All values of one kind; returns what goes in front of the next cell. */
static const char *cells_write(const struct planner *planner, FILE *out, enum cell cell,
                               const char *glue)
{
    bool packed = planner->packs[cell].count > 1 && (cell == CELL_INT || cell == CELL_DOUBLE);
    if (packed)
        fprintf(out, "%s\n  ARRAY[", glue);
    const char *between = packed ? "" : glue;
    for (uint16_t i = 0; i < planner->column_count; i++) {
        const struct column *column = &planner->columns[i];
        if (column->cell != cell)
            continue;
        fprintf(out, "%s\n  %s(%.*s)::%s", between, packed ? "  " : "", trimmed_bytes(column->sql),
                column->sql, cell_types[cell]);
        if (!packed)
            fprintf(out, " AS \"%s\"", planner->query->items[column->item].name);
        between = ",";
    }
    if (packed)
        fprintf(out, "] AS \"%s_values\"", cell_types[cell]);
    return planner->packs[cell].count ? "," : glue;
}

static const char *sql_write(const struct planner *planner)
{
    const struct catalog_query *query = planner->query;
    const struct capabilities *capabilities = planner->capabilities;
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    xdone(out != NULL);
    fprintf(out, "/* otel-collector-ignore */ /* pgweir:%s */ SELECT", query->name);
    const char *glue = "";
    for (enum cell cell = CELL_TEXT; cell < CELL_KINDS; cell++)
        glue = cells_write(planner, out, cell, glue);
    const char *whole = variants_choose(&query->sql, capabilities);
    const char *from = variants_choose(&query->from, capabilities);
    const char *tail = variants_choose(&query->tail, capabilities);
    if (whole)
        fprintf(out, "\nFROM (%.*s\n) AS q", trimmed_bytes(whole), whole);
    else if (from)
        fprintf(out, "\nFROM %.*s", trimmed_bytes(from), from);
    where_write(planner, out);
    if (tail)
        fprintf(out, "\n%.*s", trimmed_bytes(tail), tail);
    xdone(fclose(out) == 0);
    const char *sql = arena_copy(planner->arena, text, bytes);
    free(text);
    return sql;
}

/* FNV-1a: a prepared name that changes with the text, so that a session never runs an old one. */
static uint64_t text_hash(const char *text)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    return hash;
}

/* False when nothing of the query is wanted of, or possible on, this server. */
static bool statement_plan(struct planner *planner, struct statement *ret)
{
    const struct catalog_query *query = planner->query;
    const struct capabilities *capabilities = planner->capabilities;
    if (!condition_holds(&query->when, capabilities))
        return false;
    bool whole = query->sql.count > 0;
    if (whole && !variants_choose(&query->sql, capabilities))
        return false;
    if (!whole && query->from.count && !variants_choose(&query->from, capabilities))
        return false;
    *ret = (struct statement){.name = query->name,
                              .group = query->group,
                              .group_index = query->group_index,
                              .scope = query->scope,
                              .start_column = -1,
                              .timeout_ns = query->timeout_ns};
    planner->column_count = 0;
    attributes_plan(planner, ret);
    uint16_t start = 0;
    if (query->start_item >= 0 &&
        column_take(planner, (uint16_t)query->start_item, CELL_TIME, &start))
        ret->start_column = start;
    points_plan(planner, ret);
    if (!ret->point_count)
        return false;
    ret->sql = sql_write(planner);
    ret->prepared = arena_format(planner->arena, "pgweir_%s_%08x", query->name,
                                 (unsigned)(text_hash(ret->sql) >> 32));
    return true;
}

bool catalog_plan(const struct catalog *catalog, const struct catalog_choice *choice,
                  const struct capabilities *capabilities, struct plan **ret_plan,
                  struct error *error)
{
    uint32_t version = capabilities->version_num, major = version / 10000;
    if (major < 10)
        return error_set(error, "PostgreSQL %u.%u is older than %d, the oldest that is supported",
                         major, version / 100 % 100, OLDEST_MAJOR);
    if (major < OLDEST_MAJOR)
        return error_set(error, "PostgreSQL %u is older than %d, the oldest that is supported",
                         major, OLDEST_MAJOR);
    struct plan_block *block = xcalloc(1, sizeof *block);
    struct statement *statements =
        arena_take(&block->arena, (catalog->query_count + 1) * sizeof *statements);
    struct planner *planner = arena_take(&block->arena, sizeof *planner);
    *planner = (struct planner){
        .arena = &block->arena, .choice = choice, .capabilities = &block->plan.capabilities};
    block->plan.statements = statements;
    block->plan.capabilities = *capabilities;
    for (size_t q = 0; q < catalog->query_count; q++) {
        planner->query = &catalog->queries[q];
        if (statement_plan(planner, &statements[block->plan.statement_count]))
            block->plan.statement_count++;
    }
    struct plan *plan = &block->plan;
    if (!plan->statement_count) {
        plan_destroy(&plan);
        return error_set(error,
                         "no query is left to run on PostgreSQL %u (%s): every metric it could "
                         "give is disabled; enable one under \"metrics\"",
                         major, capabilities->recovery ? "standby" : "primary");
    }
    *ret_plan = plan;
    return true;
}

void plan_destroy(struct plan **plan)
{
    if (!*plan)
        return;
    struct plan_block *block = (struct plan_block *)*plan;
    arena_fini(&block->arena);
    free(block);
    *plan = NULL;
}
