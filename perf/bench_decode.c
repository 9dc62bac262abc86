/* SPDX-License-Identifier: Apache-2.0 */
/* Step 5: ns per point from binary cells to points on pages, everything included (rows found again,
 * resets looked for, pages pushed, taken and given back). `tables` has 200 rows of 20 metrics, 16
 * of them counters. `moved`: the same rows in another order each time. `single`: one row. `fleet`:
 * 200 targets in turn, so that nothing is in the caches. `packed`: the numbers of a row in an array
 * of each type, as built-in statements have them; `nulls`: one of them is NULL. `read` is the
 * floor: the same cells by PQgetlength() and PQgetvalue() alone. */
#include "tests/pg/rows.h"

#include <pgweir/telemetry.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "perf/shim/bench.h"
#include "pg/decode.h"

enum { KEYS = 3, METRICS = 20, COUNTERS = 16, COLUMNS = KEYS + METRICS };

static struct metric metrics[METRICS];
static struct statement_point points[METRICS];
static const struct statement_attribute attributes[] = {
    {.key = "db.namespace", .join = "|", .columns = {0, 1}, .column_count = 2},
    {.key = "db.collection.name", .columns = {2}, .column_count = 1},
};
static const struct statement statement = {
    .name = "tables",
    .column_count = COLUMNS,
    .attributes = attributes,
    .attribute_count = 2,
    .points = points,
    .point_count = METRICS,
    .start_column = -1,
};

/* The same rows with arrays. */
enum { PACKED_INTS = KEYS, PACKED_DOUBLES, PACKED_COLUMNS };
static struct statement_point packed_points[METRICS];
static const struct statement packed_statement = {
    .name = "tables",
    .column_count = PACKED_COLUMNS,
    .attributes = attributes,
    .attribute_count = 2,
    .points = packed_points,
    .point_count = METRICS,
    .start_column = -1,
};

static PGresult *make_rows(int row_count, int first)
{
    unsigned oids[COLUMNS];
    for (int i = 0; i < COLUMNS; i++)
        oids[i] = i < KEYS ? ROWS_TEXT : i % 10 == 9 ? ROWS_FLOAT8 : ROWS_INT8;
    PGresult *rows = rows_create(COLUMNS, oids, true);
    for (int row = 0; row < row_count; row++) {
        int table = (row + first) % row_count;
        char name[64];
        snprintf(name, sizeof name, "customer_orders_%d", table);
        rows_put_text(rows, row, 0, "production");
        rows_put_text(rows, row, 1, "public");
        rows_put_text(rows, row, 2, name);
        for (int i = KEYS; i < COLUMNS; i++)
            if (oids[i] == ROWS_INT8)
                rows_put_int8(rows, row, i, 1000 * table + i);
            else
                rows_put_float8(rows, row, i, 1.5 * table);
    }
    for (int i = 0; i < METRICS; i++) {
        metrics[i] = (struct metric){
            .name = "metric",
            .instrument = i < COUNTERS ? METRIC_SUM : METRIC_GAUGE,
            .value = oids[i + KEYS] == ROWS_INT8 ? METRIC_INT : METRIC_DOUBLE,
            .monotonic = i < COUNTERS,
        };
        points[i] = (struct statement_point){&metrics[i], NULL, (uint16_t)(i + KEYS), 0};
    }
    return rows;
}

/* A NULL, where there is one, is the third number. */
static PGresult *make_packed(int row_count, bool null)
{
    static const unsigned oids[PACKED_COLUMNS] = {ROWS_TEXT, ROWS_TEXT, ROWS_TEXT, ROWS_INT8_ARRAY,
                                                  ROWS_FLOAT8_ARRAY};
    PGresult *plain = make_rows(row_count, 0), *rows = rows_create(PACKED_COLUMNS, oids, true);
    for (int row = 0; row < row_count; row++) {
        int64_t integers[METRICS];
        double reals[METRICS];
        uint16_t int_count = 0, double_count = 0;
        for (int i = 0; i < KEYS; i++)
            rows_put_text(rows, row, i, PQgetvalue(plain, row, i));
        for (int i = 0; i < METRICS; i++) {
            bool is_int = metrics[i].value == METRIC_INT;
            if (is_int)
                integers[int_count++] = 1000 * row + i;
            else
                reals[double_count++] = 1.5 * row;
            packed_points[i] =
                (struct statement_point){&metrics[i], NULL, is_int ? PACKED_INTS : PACKED_DOUBLES,
                                         is_int ? int_count : double_count};
        }
        rows_put_array(rows, row, PACKED_INTS, ROWS_INT8, integers, int_count, null ? 4 : 0);
        rows_put_array(rows, row, PACKED_DOUBLES, ROWS_FLOAT8, reals, double_count, 0);
    }
    PQclear(plain);
    return rows;
}

/* `target_count` tables in turn; each reads the results in turn. */
static void decode(struct bench *bench, const struct statement *asked, PGresult *const *rows,
                   uint32_t result_count, uint32_t target_count)
{
    static struct attrs_builder builder;
    struct error error;
    struct ring *ring;
    struct writer writer;
    CHECK(ring_create(&ring, 1, 32, &error));
    writer_init(&writer, ring, 0);
    attrs_begin(&builder, ATTRS_RESOURCE);
    struct attrs *attrs = attrs_finish(&builder);
    struct resource resource = {.variants = {attrs}};
    struct decode_context context = {
        .writer = &writer,
        .telemetry = telemetry_open(TELEMETRY_SHARD, 0, NULL),
        .server_start_ns = 1,
        .resource = &resource,
    };
    struct series_table **tables = calloc(target_count, sizeof(struct series_table *));
    CHECK(tables != NULL);
    for (uint32_t i = 0; i < target_count; i++)
        tables[i] = series_table_create(asked);
    const char *problem;
    uint64_t turn = 0, point_count = 0;
    while (turn < target_count || bench_next(bench)) { /* a first round to know all rows */
        context.time_ns = 2 + turn;
        const PGresult *read = rows[(turn / target_count) % result_count];
        uint64_t written = decode_result(tables[turn % target_count], read, &context, &problem);
        if (problem != NULL || written < (uint64_t)PQntuples(read) * (METRICS - 1))
            bench_fail(bench, "points are missing");
        point_count = written;
        writer_flush(&writer, turn);
        for (struct page *page; (page = ring_take(ring)) != NULL;)
            ring_give(ring, page);
        turn++;
    }
    bench_items(bench, point_count);
    for (uint32_t i = 0; i < target_count; i++)
        series_table_retire(&tables[i], ring, 0, context.telemetry);
    series_reclaim(ring, 0);
    free(tables);
    ring_destroy(&ring);
    attrs_destroy(&attrs);
    telemetry_reset();
}

static void decode_tables(struct bench *bench)
{
    PGresult *rows = make_rows(200, 0);
    decode(bench, &statement, &rows, 1, 1);
    PQclear(rows);
}

static void decode_moved(struct bench *bench)
{
    PGresult *rows[2] = {make_rows(200, 0), make_rows(200, 77)};
    decode(bench, &statement, rows, 2, 1);
    PQclear(rows[0]);
    PQclear(rows[1]);
}

static void decode_single(struct bench *bench)
{
    PGresult *rows = make_rows(1, 0);
    decode(bench, &statement, &rows, 1, 1);
    PQclear(rows);
}

static void decode_fleet(struct bench *bench)
{
    PGresult *rows = make_rows(200, 0);
    decode(bench, &statement, &rows, 1, 200);
    PQclear(rows);
}

static void decode_packed(struct bench *bench)
{
    PGresult *rows = make_packed(200, false);
    decode(bench, &packed_statement, &rows, 1, 1);
    PQclear(rows);
}

static void decode_packed_nulls(struct bench *bench)
{
    PGresult *rows = make_packed(200, true);
    decode(bench, &packed_statement, &rows, 1, 1);
    PQclear(rows);
}

static void decode_packed_fleet(struct bench *bench)
{
    PGresult *rows = make_packed(200, false);
    decode(bench, &packed_statement, &rows, 1, 200);
    PQclear(rows);
}

static void read_floor(struct bench *bench)
{
    PGresult *rows = make_rows(200, 0);
    while (bench_next(bench))
        for (int column = KEYS; column < COLUMNS; column++)
            for (int row = 0; row < 200; row++) {
                CHECK(PQgetlength(rows, row, column) == 8);
                bench_keep(PQgetvalue(rows, row, column));
            }
    bench_items(bench, 200 * METRICS);
    PQclear(rows);
}

int main(int argc, char **argv)
{
    bench_add("read_floor", read_floor, 0);
    bench_add("decode_tables", decode_tables, 0);
    bench_add("decode_moved", decode_moved, 0);
    bench_add("decode_single", decode_single, 0);
    bench_add("decode_fleet", decode_fleet, 0);
    bench_add("decode_packed", decode_packed, 0);
    bench_add("decode_packed_nulls", decode_packed_nulls, 0);
    bench_add("decode_packed_fleet", decode_packed_fleet, 0);
    bench_headline("decode_point", "decode_tables");
    bench_headline("decode_packed_point", "decode_packed");
    return bench_main(argc, argv);
}
