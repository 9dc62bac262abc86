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
#include "pg/cell.h"
#include "pg/series.h"
#include "pg/value.h"

enum { SPARE_POINTS = 64 };

/* The array cell of a row: its elements lie 12 bytes apart (length and value of 8 bytes) unless
 * some are NULL. Read in place. */
struct pack {
    const uint8_t *elements; /* NULL: the cell is NULL or not the array it should be */
    uint32_t bytes;
    bool even; /* no element is NULL */
};

/* Array cells of the result being decoded, per shard: what is looked at for every element of a row
 * is looked up once per row. Grows to the longest result. */
static struct packs {
    struct pack *rows;
    uint32_t capacity;
    uint64_t padding[6];
} scratch[LIMIT_SHARDS];

enum {
    PACK_HEADER_BYTES = 20,
    PACK_ELEMENT_BYTES = 12,
    OID_INT8_ARRAY = 1016,
    OID_FLOAT8_ARRAY = 1022
};

/* One column's way onto pages. */
struct column {
    struct series_table *table;
    const PGresult *rows;
    const struct decode_context *context;
    const struct statement_point *point;
    const struct point_binding *binding;
    const struct pack *packs; /* of each row, where the point is an element */
};

/* ---- what a column means ---- */

/* Of an element: its own. */
static uint32_t number_oid(const PGresult *rows, const struct statement_point *point)
{
    uint32_t oid = PQftype(rows, point->column);
    if (point->element == 0)
        return oid;
    return oid == OID_INT8_ARRAY ? 20 : oid == OID_FLOAT8_ARRAY ? 701 : 0;
}

static void bind_points(struct series_table *table, const PGresult *rows)
{
    for (size_t i = 0; i < table->statement->point_count; i++) {
        struct point_binding *binding = &table->points[i];
        int column = table->statement->points[i].column;
        uint32_t oid = number_oid(rows, &table->statement->points[i]);
        if (oid == binding->oid)
            continue;
        binding->oid = oid;
        binding->type = value_type(oid);
        if (binding->type != NULL && binding->type->to_int == NULL)
            binding->type = NULL;
        if (binding->type == NULL)
            series_problem(
                table, PROBLEM_TYPE,
                "column %d (%.63s) has type %u, which is no number: cast it to bigint or "
                "double precision",
                column + 1, PQfname(rows, column), oid);
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
        int column = table->key_columns[i];
        uint32_t oid = PQftype(rows, column);
        if (oid == table->key_oids[i])
            continue;
        table->key_oids[i] = oid;
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

/* Each writes a value and the start of its counter. */
static inline void put_int(const struct column *column, struct entity *entity, int64_t value,
                           struct point *point)
{
    uint64_t start_ns = 0;
    if (column->binding->counter != COUNTER_NONE) {
        struct counter_state *counter = &entity->counters[column->binding->counter];
        if (value < counter->last.integer)
            counter->start_ns = entity->reset_ns;
        counter->last.integer = value;
        start_ns = counter->start_ns;
    }
    point->start_ns = start_ns;
    point->value.integer = value;
}

static inline void put_double(const struct column *column, struct entity *entity, double value,
                              struct point *point)
{
    uint64_t start_ns = 0;
    if (column->binding->counter != COUNTER_NONE) {
        struct counter_state *counter = &entity->counters[column->binding->counter];
        if (value < counter->last.real)
            counter->start_ns = entity->reset_ns;
        counter->last.real = value;
        start_ns = counter->start_ns;
    }
    point->start_ns = start_ns;
    point->value.real = value;
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
        put_int(column, entity, integer, point);
    } else {
        if (!type->to_double(cell, bytes, &real))
            return false;
        put_double(column, entity, real, point);
    }
    return true;
}

/* Where the element lies; *ret_bytes stays 0 for SQL's NULL, or where there is no such element. */
static inline const uint8_t *pack_element(const struct pack *pack, uint32_t element,
                                          size_t *ret_bytes)
{
    if (pack->even) {
        *ret_bytes = PACK_ELEMENT_BYTES - 4;
        return pack->elements + (size_t)(element - 1) * PACK_ELEMENT_BYTES + 4;
    }
    if (pack->elements == NULL)
        return NULL;
    const uint8_t *at = pack->elements, *end = at + pack->bytes;
    for (; end - at >= 4; element--) {
        uint32_t bytes = load32(at);
        bool null = bytes == UINT32_MAX;
        at += 4;
        if (!null && (size_t)(end - at) < bytes)
            return NULL;
        if (element == 1 && !null)
            *ret_bytes = bytes;
        if (element == 1)
            return at;
        at += null ? 0 : bytes;
    }
    return NULL;
}

/* Binary form of arrays (array_send): dimensions, whether there are NULLs, type of the elements,
 * length and lower bound of the one dimension; then length and bytes of each element. */
static struct pack pack_read(const uint8_t *cell, uint32_t bytes, uint32_t element_count)
{
    struct pack pack = {NULL, 0, false};
    if (bytes < PACK_HEADER_BYTES || load32(cell) != 1 || load32(cell + 12) != element_count)
        return pack;
    pack.elements = cell + PACK_HEADER_BYTES;
    pack.bytes = bytes - PACK_HEADER_BYTES;
    pack.even = load32(cell + 4) == 0 && pack.bytes == (uint64_t)element_count * PACK_ELEMENT_BYTES;
    return pack;
}

/* Looks up the array cells of column `column`. */
static const struct pack *packs_read(const struct series_table *table, const PGresult *rows,
                                     uint32_t row_count, int column)
{
    struct packs *packs = &scratch[table->shard];
    uint32_t element_count = 0;
    for (size_t i = 0; i < table->statement->point_count; i++) {
        const struct statement_point *point = &table->statement->points[i];
        if (point->column == column && point->element > element_count)
            element_count = point->element;
    }
    if (row_count > packs->capacity) {
        free(packs->rows);
        packs->rows = calloc(row_count, sizeof *packs->rows);
        CHECK(packs->rows != NULL);
        packs->capacity = row_count;
    }
    for (uint32_t row = 0; row < row_count; row++)
        packs->rows[row] = pack_read((const uint8_t *)PQgetvalue(rows, (int)row, column),
                                     (uint32_t)PQgetlength(rows, (int)row, column), element_count);
    return packs->rows;
}

/* Decodes rows from *row to `end` until `room` points are written; moves *row. Cells that hold
 * something and give no point are added to *skipped. */
static uint32_t fill(const struct column *column, uint32_t *row, uint32_t end, struct point *points,
                     uint32_t room, uint64_t *skipped)
{
    uint32_t written = 0;
    const int index = column->point->column;
    const bool plain_int = column->packs != NULL && column->point->metric->value == METRIC_INT &&
                           column->binding->oid == 20;
    const uint64_t time_ns = column->context->time_ns;
    for (; *row < end && written < room; ++*row) {
        struct entity *entity = column->table->rows[*row];
        size_t bytes = 0;
        const uint8_t *cell;
        if (column->packs != NULL) {
            cell = pack_element(&column->packs[*row], column->point->element, &bytes);
        } else {
            bytes = (size_t)PQgetlength(column->rows, (int)*row, index);
            cell = (const uint8_t *)PQgetvalue(column->rows, (int)*row, index);
        }
        if (bytes == 0 || entity == NULL) /* NULL, or a row that repeats another's attributes */
            continue;
        struct point *point = &points[written];
        if (plain_int && bytes == sizeof(int64_t)) {
            put_int(column, entity, (int64_t)load64(cell), point);
        } else if (!put_cell(column, entity, cell, bytes, point)) {
            ++*skipped;
            continue;
        }
        point->attrs = entity->attrs;
        if (point->start_ns > time_ns)
            point->start_ns = time_ns;
        written++;
    }
    return written;
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

static uint64_t write_columns(struct series_table *table, const PGresult *rows, uint32_t row_count,
                              const struct decode_context *context, uint64_t *skipped)
{
    const struct statement *statement = table->statement;
    const bool by_row = statement->own_resource;
    uint64_t total = 0;
    const struct pack *packs = NULL;
    int packed_column = -1;
    for (uint32_t row = 0; row < (by_row ? row_count : 1); row++) {
        if (by_row && table->rows[row] == NULL)
            continue;
        const struct resource *resource = by_row ? table->rows[row]->resource : context->resource;
        uint32_t end = by_row ? row + 1 : row_count;
        for (size_t i = 0; i < statement->point_count; i++) {
            const struct statement_point *point = &statement->points[i];
            if (point->element > 0 && point->column != packed_column) {
                packed_column = point->column;
                packs = packs_read(table, rows, row_count, packed_column);
            }
            struct column column = {
                table, rows, context, point, &table->points[i], point->element > 0 ? packs : NULL};
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
