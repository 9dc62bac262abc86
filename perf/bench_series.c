/* SPDX-License-Identifier: Apache-2.0 */
/* Step 5, the look-up: ns per row to find what is remembered of it (pg/series.c), by its three text
 * cells. `hit`: rows come in the order of last time. `moved`: they do not, so each is hashed and
 * found. `miss`: every result has rows never seen before, and those of old results are given up.
 * `growth`: 10,000 rows into an empty table. Floors: the cells compared with a flat copy by memcmp;
 * and, for new rows, a block of their bytes allocated, filled and freed. */
#include <pgweir/telemetry.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "pg/series.h"
#include "perf/shim/bench.h"
#include "tests/pg/rows.h"

enum { KEYS = 3, COLUMNS = 4, ROWS = 200, GROWTH_ROWS = 10000, MISS_RESULTS = 12, NAME_BYTES = 64 };

static const struct metric metric = {
    .name = "metric", .instrument = METRIC_SUM, .value = METRIC_INT, .monotonic = true};
static const struct statement_attribute attributes[] = {
    {.key = "db.namespace", .join = "|", .columns = {0, 1}, .column_count = 2},
    {.key = "db.collection.name", .columns = {2}, .column_count = 1},
};
static const struct statement_point points[] = {{&metric, NULL, KEYS, 0}};
static const struct statement statement = {
    .name = "tables",
    .column_count = COLUMNS,
    .attributes = attributes,
    .attribute_count = 2,
    .points = points,
    .point_count = 1,
    .start_column = -1,
};

/* Tables `base` to `base + row_count`, beginning with `first`. */
static PGresult *make_rows(int row_count, int first, int base)
{
    static const unsigned oids[COLUMNS] = {ROWS_TEXT, ROWS_TEXT, ROWS_TEXT, ROWS_INT8};
    PGresult *rows = rows_create(COLUMNS, oids, true);
    for (int row = 0; row < row_count; row++) {
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "customer_orders_%d", base + (row + first) % row_count);
        rows_put_text(rows, row, 0, "production");
        rows_put_text(rows, row, 1, "public");
        rows_put_text(rows, row, 2, name);
        rows_put_int8(rows, row, KEYS, row);
    }
    return rows;
}

struct rig {
    struct ring *ring;
    struct attrs *attrs;
    struct resource resource;
    struct decode_context context;
};

static void rig_open(struct rig *rig)
{
    static struct attrs_builder builder;
    struct error error;
    *rig = (struct rig){0};
    CHECK(ring_create(&rig->ring, 1, 4, &error));
    attrs_begin(&builder, ATTRS_RESOURCE);
    rig->attrs = attrs_finish(&builder);
    rig->resource.variants[0] = rig->attrs;
    rig->context = (struct decode_context){
        .telemetry = telemetry_open(TELEMETRY_SHARD, 0, NULL),
        .time_ns = 2,
        .server_start_ns = 1,
        .resource = &rig->resource,
    };
}

static void rig_close(struct rig *rig)
{
    ring_destroy(&rig->ring);
    attrs_destroy(&rig->attrs);
    telemetry_reset();
}

/* Its hashes are the same in every run. */
static struct series_table *make_table(void)
{
    struct series_table *table = series_table_create(&statement);
    table->seed = 7;
    return table;
}

static void match(struct rig *rig, struct series_table *table, const PGresult *rows)
{
    rig->context.time_ns++;
    CHECK(series_match(table, rows, (uint32_t)PQntuples(rows), &rig->context) == 0);
    series_reclaim(rig->ring, 0);
}

/* Results in turn; each is known after the first round, or, where they are many, forgotten. */
static void match_in_turn(struct bench *bench, PGresult *const *rows, uint32_t result_count)
{
    struct rig rig;
    rig_open(&rig);
    struct series_table *table = make_table();
    uint32_t turn = 0;
    while (turn < result_count || bench_next(bench))
        match(&rig, table, rows[turn++ % result_count]);
    bench_items(bench, ROWS);
    series_table_retire(&table, rig.ring, 0, rig.context.telemetry);
    series_reclaim(rig.ring, 0);
    rig_close(&rig);
}

static void hit(struct bench *bench)
{
    PGresult *rows = make_rows(ROWS, 0, 0);
    match_in_turn(bench, &rows, 1);
    PQclear(rows);
}

static void moved(struct bench *bench)
{
    PGresult *rows[2] = {make_rows(ROWS, 0, 0), make_rows(ROWS, 77, 0)};
    match_in_turn(bench, rows, 2);
    PQclear(rows[0]);
    PQclear(rows[1]);
}

static void miss(struct bench *bench)
{
    _Static_assert((int)MISS_RESULTS > RESULTS_UNSEEN_MAX + 1, "forgotten before they come again");
    PGresult *rows[MISS_RESULTS];
    for (int i = 0; i < MISS_RESULTS; i++)
        rows[i] = make_rows(ROWS, 0, i * ROWS);
    match_in_turn(bench, rows, MISS_RESULTS);
    for (int i = 0; i < MISS_RESULTS; i++)
        PQclear(rows[i]);
}

static void growth(struct bench *bench)
{
    struct rig rig;
    rig_open(&rig);
    PGresult *rows = make_rows(GROWTH_ROWS, 0, 0);
    while (bench_next(bench)) {
        struct series_table *table = make_table();
        match(&rig, table, rows);
        series_table_retire(&table, rig.ring, 0, rig.context.telemetry);
        series_reclaim(rig.ring, 0);
    }
    bench_items(bench, GROWTH_ROWS);
    PQclear(rows);
    rig_close(&rig);
}

static void compare_floor(struct bench *bench)
{
    PGresult *rows = make_rows(ROWS, 0, 0);
    static char copy[ROWS][KEYS][NAME_BYTES];
    for (int row = 0; row < ROWS; row++)
        for (int i = 0; i < KEYS; i++)
            memcpy(copy[row][i], PQgetvalue(rows, row, i), (size_t)PQgetlength(rows, row, i));
    while (bench_next(bench))
        for (int row = 0; row < ROWS; row++)
            for (int i = 0; i < KEYS; i++)
                CHECK(memcmp(copy[row][i], PQgetvalue(rows, row, i),
                             (size_t)PQgetlength(rows, row, i)) == 0);
    bench_items(bench, ROWS);
    PQclear(rows);
}

static void block_floor(struct bench *bench)
{
    enum { ENTITY_BYTES = 160 + 80 }; /* entity with its key, attribute set */
    static char bytes[ENTITY_BYTES];
    static char *blocks[ROWS];
    while (bench_next(bench)) {
        for (int row = 0; row < ROWS; row++) {
            CHECK((blocks[row] = malloc(ENTITY_BYTES)) != NULL);
            memcpy(blocks[row], bytes, ENTITY_BYTES);
        }
        for (int row = 0; row < ROWS; row++)
            free(blocks[row]);
    }
    bench_items(bench, ROWS);
}

static const struct bench_case cases[] = {
    {"compare_floor", compare_floor, .unit = "row"},
    {"hit", hit, .unit = "row", .floor = "compare_floor"},
    {"moved", moved, .unit = "row", .floor = "compare_floor"},
    {"block_floor", block_floor, .unit = "row"},
    {"miss", miss, .unit = "row", .floor = "block_floor"},
    {"growth", growth, .unit = "row", .floor = "block_floor", .exact = 2},
};

int main(int argc, char **argv)
{
    bench_add_cases(cases, sizeof cases / sizeof *cases);
    bench_headline("series_row", "hit");
    return bench_main(argc, argv);
}
