/* SPDX-License-Identifier: Apache-2.0 */
/* Step 5: ns per point from binary cells to points on pages, everything included (rows found again,
 * resets looked for, pages pushed, taken and given back). `tables` has 200 rows of 20 metrics, 16
 * of them counters. `moved`: the same rows in another order each time. `single`: one row. `fleet`:
 * 200 targets in turn, so that nothing is in the caches. `packed`: the numbers of a row in an array
 * of each type, as built-in statements have them. `nulls`: some are NULL. `int8` and so on: the
 * same rows with numbers of one type only; `text`: ns per cell of 16 attributes.
 *
 * Each stands beside a floor that reads the same cells with PQgetlength() and PQgetvalue() alone,
 * the numbers of an array by a load and a swap each. */
#include <pgweir/telemetry.h>

#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"
#include "perf/decode_rows.h"
#include "perf/shim/bench.h"
#include "pg/cell.h"
#include "pg/decode.h"
#include "pg/series.h"

enum { ORDERS_MAX = 2, ORDER_STEP = 77 };

struct rig {
    struct ring *ring;
    struct attrs *attrs;
    struct resource resource;
    struct writer writer;
    struct decode_context context;
};

static void rig_open(struct rig *rig)
{
    static struct attrs_builder builder;
    struct error error;
    *rig = (struct rig){0};
    CHECK(ring_create(&rig->ring, 1, 32, &error));
    writer_init(&rig->writer, rig->ring, 0);
    attrs_begin(&builder, ATTRS_RESOURCE);
    rig->attrs = attrs_finish(&builder);
    rig->resource.variants[0] = rig->attrs;
    rig->context = (struct decode_context){
        .writer = &rig->writer,
        .telemetry = telemetry_open(TELEMETRY_SHARD, 0, NULL),
        .server_start_ns = 1,
        .resource = &rig->resource,
    };
}

static void rig_close(struct rig *rig)
{
    series_reclaim(rig->ring, 0);
    ring_destroy(&rig->ring);
    attrs_destroy(&rig->attrs);
    telemetry_reset();
}

/* One result as a shard reads it, and its pages as the worker does. */
static uint64_t decode_once(struct rig *rig, struct series_table *table, const PGresult *rows,
                            uint64_t turn)
{
    const char *problem;
    rig->context.time_ns = 2 + turn;
    uint64_t written = decode_result(table, rows, &rig->context, &problem);
    writer_flush(&rig->writer, turn);
    for (struct page *page; (page = ring_take(rig->ring)) != NULL;)
        ring_give(rig->ring, page);
    return problem == NULL ? written : 0;
}

static void decode(struct bench *bench)
{
    const struct decode_shape *shape = bench_data(bench);
    const struct statement *statement = decode_rows_statement(shape);
    uint64_t values = (uint64_t)decode_rows_values(shape), turn = 0;
    uint64_t points = shape->oid == ROWS_TEXT ? (uint64_t)shape->rows : values;
    uint32_t targets = (uint32_t)shape->targets, orders = (uint32_t)shape->orders;
    PGresult *rows[ORDERS_MAX];
    struct rig rig;
    rig_open(&rig);
    for (uint32_t i = 0; i < orders; i++)
        rows[i] = decode_rows_create(shape, (int)i * ORDER_STEP);
    struct series_table **tables = xcalloc(targets, sizeof(struct series_table *));
    for (uint32_t i = 0; i < targets; i++) {
        tables[i] = series_table_create(statement);
        tables[i]->seed = 7 + i; /* the same hashes in every run */
    }
    while (turn < targets || bench_next(bench)) { /* a first round to know all rows */
        const PGresult *read = rows[(turn / targets) % orders];
        if (decode_once(&rig, tables[turn % targets], read, turn) != points)
            bench_fail(bench, "points are missing");
        turn++;
    }
    bench_items(bench, values);
    for (uint32_t i = 0; i < targets; i++)
        series_table_retire(&tables[i], rig.ring, 0, rig.context.telemetry);
    for (uint32_t i = 0; i < orders; i++)
        PQclear(rows[i]);
    free(tables);
    rig_close(&rig);
}

/* Elements of an array cell, found and swapped: what any reader of it must do. */
static uint64_t read_array(const uint8_t *cell)
{
    uint32_t count = load32(cell + 12);
    const uint8_t *at = cell + 20;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        bool null = load32(at) == UINT32_MAX;
        sum += null ? 0 : load64(at + 4);
        at += null ? 4 : 12;
    }
    return sum;
}

static void read_floor(struct bench *bench)
{
    const struct decode_shape *shape = bench_data(bench);
    PGresult *rows = decode_rows_create(shape, 0);
    int first = shape->oid == ROWS_TEXT ? 0 : DECODE_KEYS;
    int end = shape->oid == ROWS_TEXT ? DECODE_TEXTS : PQnfields(rows);
    while (bench_next(bench))
        for (int column = first; column < end; column++)
            for (int row = 0; row < shape->rows; row++) {
                int bytes = PQgetlength(rows, row, column);
                const uint8_t *cell = (const uint8_t *)PQgetvalue(rows, row, column);
                uint64_t value = shape->packed ? read_array(cell) : (uint64_t)bytes;
                bench_keep(cell);
                bench_keep(&value);
            }
    bench_items(bench, (uint64_t)decode_rows_values(shape));
    PQclear(rows);
}

/* {type, packed, NULL every, rows, orders, targets} */
static const struct decode_shape tables = {0, false, 0, 200, 1, 1},
                                 moved = {0, false, 0, 200, 2, 1}, single = {0, false, 0, 1, 1, 1},
                                 fleet = {0, false, 0, 200, 1, 200},
                                 nulls = {0, false, 4, 200, 1, 1}, packed = {0, true, 0, 200, 1, 1},
                                 packed_nulls = {0, true, 20, 200, 1, 1},
                                 packed_fleet = {0, true, 0, 200, 1, 200};
static const struct decode_shape int8 = {ROWS_INT8, false, 0, 200, 1, 1},
                                 int4 = {ROWS_INT4, false, 0, 200, 1, 1},
                                 boolean = {ROWS_BOOL, false, 0, 200, 1, 1},
                                 float8 = {ROWS_FLOAT8, false, 0, 200, 1, 1},
                                 numeric = {ROWS_NUMERIC, false, 0, 200, 1, 1},
                                 timestamptz = {ROWS_TIMESTAMPTZ, false, 0, 200, 1, 1},
                                 interval = {DECODE_INTERVAL, false, 0, 200, 1, 1},
                                 text = {ROWS_TEXT, false, 0, 200, 1, 1},
                                 int8_array = {ROWS_INT8, true, 0, 200, 1, 1},
                                 float8_array = {ROWS_FLOAT8, true, 0, 200, 1, 1};

static const struct bench_case cases[] = {
    {"read_floor", read_floor, .data = &tables},
    {"decode_tables", decode, .data = &tables, .floor = "read_floor"},
    {"decode_moved", decode, .data = &moved, .floor = "read_floor"},
    {"decode_single", decode, .data = &single, .floor = "read_floor", .exact = 200},
    {"decode_fleet", decode, .data = &fleet, .floor = "read_floor", .exact = -1},
    {"read_nulls", read_floor, .data = &nulls},
    {"decode_nulls", decode, .data = &nulls, .floor = "read_nulls"},
    {"read_packed", read_floor, .data = &packed},
    {"decode_packed", decode, .data = &packed, .floor = "read_packed"},
    {"decode_packed_fleet", decode, .data = &packed_fleet, .floor = "read_packed", .exact = -1},
    {"read_packed_nulls", read_floor, .data = &packed_nulls},
    {"decode_packed_nulls", decode, .data = &packed_nulls, .floor = "read_packed_nulls"},
    {"read_int8", read_floor, .data = &int8, .exact = -1},
    {"decode_int8", decode, .data = &int8, .floor = "read_int8"},
    {"decode_int4", decode, .data = &int4, .floor = "read_int8"},
    {"decode_bool", decode, .data = &boolean, .floor = "read_int8"},
    {"decode_float8", decode, .data = &float8, .floor = "read_int8"},
    {"decode_timestamptz", decode, .data = &timestamptz, .floor = "read_int8"},
    {"decode_interval", decode, .data = &interval, .floor = "read_int8"},
    {"read_numeric", read_floor, .data = &numeric, .exact = -1},
    {"decode_numeric", decode, .data = &numeric, .floor = "read_numeric"},
    {"read_int8_array", read_floor, .data = &int8_array, .exact = -1},
    {"decode_int8_array", decode, .data = &int8_array, .floor = "read_int8_array"},
    {"read_float8_array", read_floor, .data = &float8_array, .exact = -1},
    {"decode_float8_array", decode, .data = &float8_array, .floor = "read_float8_array"},
    {"read_text", read_floor, .data = &text, .unit = "cell", .exact = -1},
    {"decode_text", decode, .data = &text, .unit = "cell", .floor = "read_text"},
};

int main(int argc, char **argv)
{
    bench_add_cases(cases, sizeof cases / sizeof *cases);
    bench_headline("decode_point", "decode_tables");
    bench_headline("decode_packed_point", "decode_packed");
    return bench_main(argc, argv);
}
