/* SPDX-License-Identifier: Apache-2.0 */
/* Step 5 of 9: binary cells straight into points. First each row finds its entity (series.c), then
 * each column is walked from top to bottom with the decoder of its type, so that all rows of one
 * metric make one run and nothing is sorted later. A statement of the older model, in which every
 * row is its own resource, is walked row by row instead.
 *
 * Points are written in place on the shard's open page. When no page is free they are decoded all
 * the same into a few spare places, so that counters move on and the number of points lost is
 * exact. Shard's thread; in the steady state nothing is allocated. */
#include "pg/decode.h"

#include <pgweir/telemetry.h>

#include <libpq-fe.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"
#include "pg/cell.h"
#include "pg/pack.h"
#include "pg/series.h"
#include "pg/value.h"

enum { SPARE_POINTS = 64 };

/* The array cells of one column, one pack per row: what is the same for every element of a row is
 * looked at once. */
struct packs {
    struct pack *rows;
    uint32_t capacity;
};

/* Those of the result being decoded: a statement has one array for each kind of metric value. Grows
 * to the shard's longest result, which LIMIT_ROWS bounds. */
static struct scratch {
    _Alignas(64) struct packs packs[2]; /* by metric->value */
} scratch[LIMIT_SHARDS];

_Static_assert(METRIC_INT < 2 && METRIC_DOUBLE < 2, "packs are found by metric->value");

enum { OID_INT8 = 20, OID_FLOAT8 = 701, OID_INT8_ARRAY = 1016, OID_FLOAT8_ARRAY = 1022 };

/* One column's way onto pages. */
struct column {
    struct series_table *table;
    const PGresult *rows;
    const struct decode_context *context;
    const struct statement_point *point;
    const struct point_binding *binding;
    struct pack *packs; /* of each row, where the point is an element */
};

/* ---- what a column means ---- */

/* Type of the elements; 0, which is no type: not an array that pgweir reads. */
static uint32_t element_oid(uint32_t array_oid)
{
    return array_oid == OID_INT8_ARRAY ? OID_INT8 : array_oid == OID_FLOAT8_ARRAY ? OID_FLOAT8 : 0;
}

static void bind_points(struct series_table *table, const PGresult *rows)
{
    for (size_t i = 0; i < table->statement->point_count; i++) {
        struct point_binding *binding = &table->points[i];
        const struct statement_point *point = &table->statement->points[i];
        uint32_t oid = PQftype(rows, point->column);
        if (oid == binding->oid)
            continue;
        binding->oid = oid;
        binding->type = value_type(point->element > 0 ? element_oid(oid) : oid);
        if (binding->type != NULL && binding->type->to_int == NULL)
            binding->type = NULL;
        if (binding->type == NULL)
            series_problem(table, PROBLEM_TYPE, "column %d (%.63s) has type %u, which is no %s",
                           point->column + 1, PQfname(rows, point->column), oid,
                           point->element > 0 ? "array of bigint or double precision"
                                              : "number: cast it to bigint or double precision");
    }
}

static void bind_start(struct series_table *table, const PGresult *rows)
{
    int column = table->statement->start_column;
    if (column < 0)
        return;
    table->start_type = value_type(PQftype(rows, column));
    if (table->start_type != NULL && !table->start_type->time)
        table->start_type = NULL;
    if (table->start_type == NULL)
        series_problem(table, PROBLEM_TYPE,
                       "start column %d (%.63s) has type %u: it must be timestamptz", column + 1,
                       PQfname(rows, column), PQftype(rows, column));
}

/* Keys are bytes: with another type the same bytes mean something else. */
static void bind_keys(struct series_table *table, const PGresult *rows,
                      const struct decode_context *context)
{
    bool changed = table->statement->own_resource && table->resource != context->resource;
    table->resource = context->resource;
    for (uint32_t i = 0; i < table->key_column_count; i++) {
        int column = table->key_columns[i].column;
        uint32_t oid = PQftype(rows, column);
        if (oid == table->key_columns[i].oid)
            continue;
        table->key_columns[i].oid = oid;
        changed = true;
        if (value_type(oid) == NULL)
            series_problem(table, PROBLEM_TYPE,
                           "column %d (%.63s) has type %u, which cannot be an attribute: cast it "
                           "to text",
                           column + 1, PQfname(rows, column), oid);
    }
    if (changed && table->entity_count > 0)
        series_clear(table, context->telemetry);
}

/* False when the result cannot be read at all. */
static bool bind(struct series_table *table, const PGresult *rows,
                 const struct decode_context *context)
{
    if (PQnfields(rows) < table->statement->column_count) {
        series_problem(table, PROBLEM_COLUMNS, "%d columns came back and %d are described",
                       PQnfields(rows), table->statement->column_count);
        return false;
    }
    if (!PQbinaryTuples(rows)) {
        series_problem(table, PROBLEM_FORMAT, "the result is text: ask for binary results");
        return false;
    }
    bind_points(table, rows);
    bind_start(table, rows);
    bind_keys(table, rows, context);
    return true;
}

/* ---- points ---- */

/* Each writes a value and the start of its counter, where it is one. */
static inline void put_int(struct entity *entity, uint16_t index, int64_t value,
                           struct point *point)
{
    uint64_t start_ns = 0;
    if (index != COUNTER_NONE) {
        struct counter_state *counter = &entity->counters[index];
        if (value < counter->last.integer)
            counter->start_ns = entity->reset_ns;
        counter->last.integer = value;
        start_ns = counter->start_ns;
    }
    point->start_ns = start_ns;
    point->value.integer = value;
}

static inline void put_double(struct entity *entity, uint16_t index, double value,
                              struct point *point)
{
    uint64_t start_ns = 0;
    if (index != COUNTER_NONE) {
        struct counter_state *counter = &entity->counters[index];
        if (value < counter->last.real)
            counter->start_ns = entity->reset_ns;
        counter->last.real = value;
        start_ns = counter->start_ns;
    }
    point->start_ns = start_ns;
    point->value.real = value;
}

/* What a point has besides value and start; nothing counts since later than now. */
static inline void point_finish(struct point *point, const struct entity *entity, uint64_t time_ns)
{
    point->attrs = entity->attrs;
    if (point->start_ns > time_ns)
        point->start_ns = time_ns;
}

/* False: no point. */
static inline bool put_cell(const struct column *column, struct entity *entity, const uint8_t *cell,
                            size_t bytes, struct point *point)
{
    const struct value_type *type = column->binding->type;
    int64_t integer;
    double real;
    if (column->point->metric->value == METRIC_INT) {
        if (!type->to_int(cell, bytes, &integer))
            return false;
        put_int(entity, column->binding->counter, integer, point);
    } else {
        if (!type->to_double(cell, bytes, &real))
            return false;
        put_double(entity, column->binding->counter, real, point);
    }
    return true;
}

/* Cells of their own; see fill(). */
static uint32_t fill_cells(const struct column *column, uint32_t *row, uint32_t end,
                           struct point *points, uint32_t room, uint64_t *skipped)
{
    uint32_t written = 0, at = *row;
    const int index = column->point->column;
    const uint64_t time_ns = column->context->time_ns;
    for (; at < end && written < room; at++) {
        struct entity *entity = column->table->rows[at];
        size_t bytes = (size_t)PQgetlength(column->rows, (int)at, index);
        if (bytes == 0 || entity == NULL) /* NULL, or a row that repeats another's attributes */
            continue;
        const uint8_t *cell = (const uint8_t *)PQgetvalue(column->rows, (int)at, index);
        struct point *point = &points[written];
        if (!put_cell(column, entity, cell, bytes, point)) {
            ++*skipped;
            continue;
        }
        point_finish(point, entity, time_ns);
        written++;
    }
    *row = at;
    return written;
}

/* An element of each row's array cell; see fill(). */
static uint32_t fill_packed(const struct column *column, uint32_t *row, uint32_t end,
                            struct point *points, uint32_t room, uint64_t *skipped)
{
    uint32_t written = 0, at = *row;
    const uint32_t element = column->point->element;
    const uint16_t counter = column->binding->counter;
    struct entity *const *const entities = column->table->rows;
    struct pack *const packs = column->packs;
    const uint32_t oid = column->binding->type->oid;
    const bool plain_int = column->point->metric->value == METRIC_INT && oid == OID_INT8;
    const bool plain_double = column->point->metric->value == METRIC_DOUBLE && oid == OID_FLOAT8;
    const uint64_t time_ns = column->context->time_ns;
    for (; at < end && written < room; at++) {
        struct entity *entity = entities[at];
        const uint8_t *cell = pack_element(&packs[at], element);
        if (cell == NULL || entity == NULL)
            continue;
        struct point *point = &points[written];
        double real;
        if (plain_int) {
            put_int(entity, counter, (int64_t)load64(cell), point);
        } else if (plain_double && load_finite(cell, &real)) {
            put_double(entity, counter, real, point);
        } else if (!put_cell(column, entity, cell, PACK_VALUE_BYTES, point)) {
            ++*skipped;
            continue;
        }
        point_finish(point, entity, time_ns);
        written++;
    }
    *row = at;
    return written;
}

/* Decodes rows from *row to `end` until `room` points are written; moves *row. Cells that hold
 * something and give no point are added to *skipped. */
static uint32_t fill(const struct column *column, uint32_t *row, uint32_t end, struct point *points,
                     uint32_t room, uint64_t *skipped)
{
    return column->packs != NULL ? fill_packed(column, row, end, points, room, skipped)
                                 : fill_cells(column, row, end, points, room, skipped);
}

/* Writes the column's rows from `row` to `end`, page after page. */
static uint64_t write_rows(const struct column *column, const struct resource *resource,
                           uint32_t row, uint32_t end, uint64_t *skipped)
{
    const struct decode_context *context = column->context;
    struct writer *writer = context->writer;
    uint64_t total = 0;
    while (row < end) {
        uint32_t room = 0;
        struct point *points = writer_begin(
            writer, context->route, context->due_ns, context->now_ns, column->point->metric,
            column->point->fixed, resource, context->time_ns, &room);
        uint32_t written;
        if (points != NULL) {
            written = fill(column, &row, end, points, room, skipped);
            writer_end(writer, written);
        } else {
            struct point spare[SPARE_POINTS];
            written = fill(column, &row, end, spare, SPARE_POINTS, skipped);
            writer_drop(writer, context->route, written);
        }
        total += written;
    }
    return total;
}

static void packs_reserve(struct packs *packs, uint32_t row_count)
{
    if (row_count <= packs->capacity)
        return;
    free(packs->rows);
    packs->rows = xcalloc(row_count, sizeof *packs->rows);
    packs->capacity = row_count;
}

/* Looks up the array cells that hold the values of one kind, if the statement packs them. Those
 * that are no such array cost their row's points. */
static void packs_read(struct series_table *table, const PGresult *rows, uint32_t row_count,
                       enum metric_value kind, uint64_t *skipped)
{
    struct packs *packs = &scratch[table->shard].packs[kind];
    const struct statement *statement = table->statement;
    const struct value_type *type = NULL;
    uint32_t element_count = 0, point_count = 0, unread = 0;
    int column = -1;
    for (size_t i = 0; i < statement->point_count; i++) {
        const struct statement_point *point = &statement->points[i];
        if (point->element == 0 || point->metric->value != kind || table->points[i].type == NULL)
            continue;
        CHECK(column == -1 || column == point->column);
        column = point->column;
        type = table->points[i].type;
        element_count = point->element > element_count ? point->element : element_count;
        point_count++;
    }
    if (point_count == 0)
        return;
    packs_reserve(packs, row_count);
    for (uint32_t row = 0; row < row_count; row++) {
        packs->rows[row] =
            pack_read((const uint8_t *)PQgetvalue(rows, (int)row, column),
                      (size_t)PQgetlength(rows, (int)row, column), type->oid, element_count);
        unread += packs->rows[row].elements == NULL && table->rows[row] != NULL &&
                  !PQgetisnull(rows, (int)row, column);
    }
    if (unread > 0)
        series_problem(table, PROBLEM_ARRAY,
                       "column %d (%.63s) is no array of %u numbers in %u of %u rows: is there a "
                       "proxy that changes results?",
                       column + 1, PQfname(rows, column), element_count, unread, row_count);
    *skipped += (uint64_t)unread * point_count;
}

static uint64_t write_columns(struct series_table *table, const PGresult *rows, uint32_t row_count,
                              const struct decode_context *context, uint64_t *skipped)
{
    const struct statement *statement = table->statement;
    const bool by_row = statement->own_resource;
    const struct packs *packs = scratch[table->shard].packs;
    uint64_t total = 0;
    packs_read(table, rows, row_count, METRIC_INT, skipped);
    packs_read(table, rows, row_count, METRIC_DOUBLE, skipped);
    for (uint32_t row = 0; row < (by_row ? row_count : 1); row++) {
        if (by_row && table->rows[row] == NULL)
            continue;
        const struct resource *resource = by_row ? table->rows[row]->resource : context->resource;
        uint32_t end = by_row ? row + 1 : row_count;
        for (size_t i = 0; i < statement->point_count; i++) {
            const struct statement_point *point = &statement->points[i];
            struct column column = {
                table,
                rows,
                context,
                point,
                &table->points[i],
                point->element > 0 ? packs[point->metric->value].rows : NULL,
            };
            if (column.binding->type != NULL)
                total += write_rows(&column, resource, row, end, skipped);
            else
                *skipped += end - row;
        }
    }
    return total;
}

uint64_t decode_result(struct series_table *table, const struct pg_result *rows,
                       const struct decode_context *context, const char **ret_problem)
{
    const uint32_t shard = context->writer->shard;
    CHECK(shard < LIMIT_SHARDS && (table->result == 0 || table->shard == shard));
    table->shard = shard;
    uint64_t total = 0, skipped = 0;
    uint32_t row_count = (uint32_t)PQntuples(rows);
    telemetry_add(context->telemetry, TELEMETRY_ROWS, row_count);
    if (row_count > LIMIT_ROWS) {
        telemetry_add(context->telemetry, TELEMETRY_ROWS_CUT, row_count - LIMIT_ROWS);
        row_count = LIMIT_ROWS;
    }
    if (bind(table, rows, context)) {
        uint32_t repeated = series_match(table, rows, row_count, context);
        if (repeated > 0)
            series_problem(table, PROBLEM_DUPLICATE,
                           "%u of %u rows have the attributes of another row and were dropped: "
                           "select a column that tells them apart",
                           repeated, row_count);
        skipped = (uint64_t)repeated * table->statement->point_count;
        total = write_columns(table, rows, row_count, context, &skipped);
    }
    telemetry_add(context->telemetry, TELEMETRY_POINTS_SKIPPED, skipped);
    *ret_problem = table->problem;
    table->problem = NULL;
    return total;
}
