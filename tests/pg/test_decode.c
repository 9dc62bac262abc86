/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/pg/decoding.h"
#include "tests/pg/rows.h"

/* Columns: schema, table, inserts (counter), updates (counter), seconds (gauge, double). */
enum { SCHEMA, TABLE, INSERTS, UPDATES, SECONDS, COLUMNS };

static const unsigned oids[COLUMNS] = {ROWS_TEXT, ROWS_TEXT, ROWS_INT8, ROWS_INT8, ROWS_FLOAT8};
static const struct metric operations = {.name = "postgresql.operations",
                                         .instrument = METRIC_SUM,
                                         .value = METRIC_INT,
                                         .monotonic = true};
static const struct metric seconds = {
    .name = "postgresql.seconds", .instrument = METRIC_GAUGE, .value = METRIC_DOUBLE};
static const struct attrs *fixed_ins = (const struct attrs *)"\1\0\0\0:i";
static const struct attrs *fixed_upd = (const struct attrs *)"\1\0\0\0:u";
static const struct statement_attribute attributes[] = {
    {.key = "db.namespace", .join = "|", .columns = {SCHEMA}, .column_count = 1},
    {.key = "table", .join = ".", .columns = {SCHEMA, TABLE}, .column_count = 2},
};
static struct statement_point points[3];
static struct statement statement = {
    .name = "tables",
    .column_count = COLUMNS,
    .attributes = attributes,
    .attribute_count = 2,
    .points = points,
    .point_count = 3,
    .start_column = -1,
};

static struct decoding decoding;
static struct series_table *table;

static int setup(void **state)
{
    (void)state;
    points[0] = (struct statement_point){&operations, fixed_ins, INSERTS, 0};
    points[1] = (struct statement_point){&operations, fixed_upd, UPDATES, 0};
    points[2] = (struct statement_point){&seconds, NULL, SECONDS, 0};
    statement.own_resource = false;
    decoding_init(&decoding, 8);
    decoding.context.server_start_ns = 100;
    table = series_table_create(&statement);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    series_table_retire(&table, decoding.ring, 0, decoding.context.telemetry);
    assert_null(table);
    assert_int_equal(decoding_telemetry(&decoding, TELEMETRY_SERIES), 0);
    decoding_fini(&decoding);
    return 0;
}

static void put_row(PGresult *rows, int row, const char *name, int64_t inserts, double real)
{
    rows_put_text(rows, row, SCHEMA, "public");
    rows_put_text(rows, row, TABLE, name);
    rows_put_int8(rows, row, INSERTS, inserts);
    rows_put_int8(rows, row, UPDATES, inserts * 2);
    rows_put_float8(rows, row, SECONDS, real);
}

static PGresult *two_rows(void)
{
    PGresult *rows = rows_create(COLUMNS, oids, true);
    put_row(rows, 0, "a", 10, 0.5);
    put_row(rows, 1, "b", 20, 1.5);
    return rows;
}

/* Column by column, runs of one metric next to each other, values, attributes, starts. */
static void test_columns(void **state)
{
    (void)state;
    PGresult *rows = two_rows();
    assert_int_equal(decoding_run(&decoding, table, rows, 1000), 6);
    assert_null(decoding.problem);
    assert_int_equal(decoding.point_count, 6);
    assert_int_equal(decoding.run_count, 3);
    static const int64_t expected[4] = {10, 20, 20, 40};
    for (int i = 0; i < 4; i++) {
        assert_ptr_equal(decoding.points[i].metric, &operations);
        assert_ptr_equal(decoding.points[i].fixed, i < 2 ? fixed_ins : fixed_upd);
        assert_int_equal(decoding.points[i].integer, expected[i]);
        assert_int_equal(decoding.points[i].start_ns, 100);
    }
    for (int i = 4; i < 6; i++) {
        assert_ptr_equal(decoding.points[i].metric, &seconds);
        assert_true(decoding.points[i].real == (i == 4 ? 0.5 : 1.5));
        assert_int_equal(decoding.points[i].start_ns, 0);
    }
    for (int i = 0; i < 6; i++) {
        assert_string_equal(decoding.points[i].attrs, i % 2 == 0
                                                          ? "db.namespace=public,table=public.a"
                                                          : "db.namespace=public,table=public.b");
        assert_ptr_equal(decoding.points[i].resource, &decoding.resource);
        assert_int_equal(decoding.points[i].time_ns, 1000);
    }
    assert_int_equal(decoding_telemetry(&decoding, TELEMETRY_ROWS), 2);
    assert_int_equal(decoding_telemetry(&decoding, TELEMETRY_SERIES), 2);
    PQclear(rows);
}

/* NULL gives no point and is not counted; NaN, infinity and a cell of the wrong length are. */
static void test_no_value(void **state)
{
    (void)state;
    PGresult *rows = two_rows();
    rows_put_null(rows, 0, INSERTS);
    rows_put(rows, 1, UPDATES, "xyz", 3);
    rows_put_float8(rows, 0, SECONDS, (double)NAN);
    rows_put_float8(rows, 1, SECONDS, (double)INFINITY);
    assert_int_equal(decoding_run(&decoding, table, rows, 1000), 2);
    assert_int_equal(decoding.point_count, 2);
    assert_int_equal(decoding.points[0].integer, 20); /* b's inserts */
    assert_int_equal(decoding.points[1].integer, 20); /* a's updates */
    assert_int_equal(decoding.run_count, 2);
    assert_int_equal(decoding_telemetry(&decoding, TELEMETRY_POINTS_SKIPPED), 3);
    PQclear(rows);
}

/* NULL attribute cells are left out of the attribute, and an attribute of nothing but NULL is. */
static void test_null_attributes(void **state)
{
    (void)state;
    PGresult *rows = two_rows();
    rows_put_null(rows, 0, SCHEMA);
    rows_put_text(rows, 1, TABLE, "");
    decoding_run(&decoding, table, rows, 1000);
    assert_string_equal(decoding.points[0].attrs, "table=a");
    assert_string_equal(decoding.points[1].attrs, "db.namespace=public,table=public.");
    PQclear(rows);
}

/* A cell's type against a metric's: whatever is a number becomes what the metric is. */
static void test_conversion(void **state)
{
    (void)state;
    static const unsigned crossed[COLUMNS] = {ROWS_TEXT, ROWS_TEXT, ROWS_FLOAT8, ROWS_BOOL,
                                              ROWS_INT8};
    PGresult *rows = rows_create(COLUMNS, crossed, true);
    rows_put_text(rows, 0, SCHEMA, "s");
    rows_put_text(rows, 0, TABLE, "t");
    rows_put_float8(rows, 0, INSERTS, 2.5); /* to even */
    rows_put(rows, 0, UPDATES, "\1", 1);
    rows_put_int8(rows, 0, SECONDS, -7);
    assert_int_equal(decoding_run(&decoding, table, rows, 1000), 3);
    assert_int_equal(decoding.points[0].integer, 2);
    assert_int_equal(decoding.points[1].integer, 1);
    assert_true(decoding.points[2].real == -7.0);
    rows_put_float8(rows, 0, INSERTS, 1e19); /* does not fit */
    assert_int_equal(decoding_run(&decoding, table, rows, 2000), 2);
    assert_int_equal(decoding_telemetry(&decoding, TELEMETRY_POINTS_SKIPPED), 1);
    PQclear(rows);
}

/* A type that is no number costs its own column and is said once. */
static void test_unknown_type(void **state)
{
    (void)state;
    static const unsigned boxed[COLUMNS] = {ROWS_TEXT, ROWS_TEXT, ROWS_INT8, ROWS_BOX, ROWS_FLOAT8};
    PGresult *rows = rows_create(COLUMNS, boxed, true);
    put_row(rows, 0, "a", 1, 1);
    assert_int_equal(decoding_run(&decoding, table, rows, 1000), 2);
    assert_string_equal(decoding.problem,
                        "column 4 (column) has type 603, which is no number: cast "
                        "it to bigint or double precision");
    assert_int_equal(decoding_telemetry(&decoding, TELEMETRY_POINTS_SKIPPED), 1);
    assert_int_equal(decoding_run(&decoding, table, rows, 2000), 2);
    assert_null(decoding.problem);
    PQclear(rows);
}

/* Results that cannot be read at all: as text, and with columns missing. */
static void test_unreadable(void **state)
{
    (void)state;
    PGresult *rows = rows_create(COLUMNS, oids, false);
    put_row(rows, 0, "a", 1, 1);
    assert_int_equal(decoding_run(&decoding, table, rows, 1000), 0);
    assert_string_equal(decoding.problem, "the result is text: ask for binary results");
    PQclear(rows);
    rows = rows_create(3, oids, true);
    assert_int_equal(decoding_run(&decoding, table, rows, 1000), 0);
    assert_string_equal(decoding.problem, "3 columns came back and 5 are described");
    PQclear(rows);
}

/* More points than a page holds go on over pages, each once, in order. */
static void test_many_pages(void **state)
{
    (void)state;
    enum { ROWS = 1300 }; /* 3,900 points of 24 bytes: three pages */
    PGresult *rows = rows_create(COLUMNS, oids, true);
    for (int i = 0; i < ROWS; i++) {
        char name[32];
        snprintf(name, sizeof name, "t%d", i);
        put_row(rows, i, name, i, i);
    }
    assert_int_equal(decoding_run(&decoding, table, rows, 1000), 3 * ROWS);
    assert_int_equal(decoding.point_count, 3 * ROWS);
    for (int i = 0; i < ROWS; i++) {
        assert_int_equal(decoding.points[i].integer, i);
        assert_int_equal(decoding.points[ROWS + i].integer, 2 * i);
        assert_true(decoding.points[2 * ROWS + i].real == (double)i);
    }
    PQclear(rows);
}

/* Without a page every point is counted, and counters move on all the same. */
static void test_no_page(void **state)
{
    (void)state;
    struct page *held[8];
    for (int i = 0; i < 8; i++) {
        held[i] = ring_acquire(decoding.ring, 0);
        assert_non_null(held[i]);
    }
    PGresult *rows = two_rows();
    rows_put_null(rows, 0, SECONDS);
    assert_int_equal(decoding_run(&decoding, table, rows, 1000), 5);
    assert_int_equal(decoding.point_count, 0);
    assert_int_equal(decoding.writer.dropped_total, 5);
    assert_int_equal(decoding.writer.dropped[1], 5);
    for (int i = 0; i < 8; i++)
        ring_release(decoding.ring, held[i]);
    rows_put_int8(rows, 0, INSERTS, 3); /* 10 was seen at 1000 */
    assert_int_equal(decoding_run(&decoding, table, rows, 2000), 5);
    assert_int_equal(decoding.points[0].start_ns, 1000);
    PQclear(rows);
}

/* Rows past the limit are counted, not read. */
static void test_row_limit(void **state)
{
    (void)state;
    static const struct statement_point gauge = {&seconds, NULL, 0, 0};
    static const unsigned one[1] = {ROWS_FLOAT8};
    struct statement plain = {
        .name = "plain", .column_count = 1, .points = &gauge, .point_count = 1, .start_column = -1};
    struct series_table *limited = series_table_create(&plain);
    PGresult *rows = rows_create(1, one, true);
    for (int i = 0; i < LIMIT_ROWS + 3; i++)
        rows_put_float8(rows, i, 0, i);
    /* no attribute tells the rows apart: the first is taken, the others are repeats */
    assert_int_equal(decoding_run(&decoding, limited, rows, 1000), 1);
    assert_string_equal(decoding.points[0].attrs, "");
    assert_string_equal(decoding.problem,
                        "99999 of 100000 rows have the attributes of another row and were dropped: "
                        "select a column that tells them apart");
    assert_int_equal(decoding_telemetry(&decoding, TELEMETRY_ROWS), LIMIT_ROWS + 3);
    assert_int_equal(decoding_telemetry(&decoding, TELEMETRY_ROWS_CUT), 3);
    assert_int_equal(decoding_telemetry(&decoding, TELEMETRY_POINTS_SKIPPED), LIMIT_ROWS - 1);
    series_table_retire(&limited, decoding.ring, 0, decoding.context.telemetry);
    PQclear(rows);
}

/* The older model: row by row, each with a resource of its own in every variant. */
static void test_own_resource(void **state)
{
    (void)state;
    static const struct statement_attribute own[] = {
        {.key = "schema", .columns = {SCHEMA}, .column_count = 1, .resource = true},
        {.key = "table", .columns = {TABLE}, .column_count = 1},
    };
    struct statement legacy = statement;
    legacy.attributes = own;
    legacy.own_resource = true;
    struct series_table *by_row = series_table_create(&legacy);
    PGresult *rows = two_rows();
    assert_int_equal(decoding_run(&decoding, by_row, rows, 1000), 6);
    assert_int_equal(decoding.run_count, 6);
    static const int64_t expected[6] = {10, 20, 0, 20, 40, 0};
    for (int i = 0; i < 6; i++) {
        const struct resource *resource = decoding.points[i].resource;
        char text[64];
        decoding_print(resource->variants[0], text, sizeof text);
        assert_string_equal(text, "server=one,schema=public");
        decoding_print(resource->variants[2], text, sizeof text);
        assert_string_equal(text, "server=two,schema=public");
        assert_null(resource->variants[1]);
        assert_int_equal(resource->variants[0]->tag, ATTRS_RESOURCE);
        assert_string_equal(decoding.points[i].attrs, i < 3 ? "table=a" : "table=b");
        if (i % 3 != 2)
            assert_int_equal(decoding.points[i].integer, expected[i]);
    }
    assert_ptr_not_equal(decoding.points[0].resource, decoding.points[3].resource);

    /* the target's resource was made anew: so are the rows' */
    struct resource other = {.variants = {decoding.resource.variants[2]}};
    decoding.context.resource = &other;
    decoding_run(&decoding, by_row, rows, 2000);
    char text[64];
    decoding_print(decoding.points[0].resource->variants[0], text, sizeof text);
    assert_string_equal(text, "server=two,schema=public");
    assert_int_equal(decoding_telemetry(&decoding, TELEMETRY_SERIES), 2);
    series_table_retire(&by_row, decoding.ring, 0, decoding.context.telemetry);
    PQclear(rows);
}

/* ---- nothing is allocated in the steady state ---- */

static int allocations;
void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *block, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *block, size_t bytes);

void *__wrap_malloc(size_t bytes)
{
    allocations++;
    return __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    allocations++;
    return __real_calloc(count, bytes);
}

void *__wrap_realloc(void *block, size_t bytes)
{
    allocations++;
    return __real_realloc(block, bytes);
}

static void test_no_allocation(void **state)
{
    (void)state;
    PGresult *rows = rows_create(COLUMNS, oids, true);
    PGresult *reversed = rows_create(COLUMNS, oids, true);
    for (int i = 0; i < 200; i++) {
        char name[32];
        snprintf(name, sizeof name, "t%d", i);
        put_row(rows, i, name, i, i);
        snprintf(name, sizeof name, "t%d", 199 - i);
        put_row(reversed, i, name, 199 - i, i);
    }
    allocations = 0;
    decoding_run(&decoding, table, rows, 1000);
    assert_true(allocations > 400); /* the wrapper sees what it should */
    allocations = 0;
    assert_int_equal(decoding_run(&decoding, table, rows, 2000), 600);
    assert_int_equal(decoding_run(&decoding, table, reversed, 3000), 600);
    assert_int_equal(decoding_run(&decoding, table, rows, 4000), 600);
    assert_int_equal(allocations, 0);
    assert_int_equal(decoding.points[3].start_ns, 100); /* no reset was seen in any order */
    PQclear(rows);
    PQclear(reversed);
}

/* Nor with array cells, once the longest result was seen. */
static void test_packed_no_allocation(void **state)
{
    (void)state;
    enum { NAME, INTS, REALS, CELLS, ROWS = 300 }; /* more than any test before */
    static const struct statement_attribute named = {
        .key = "name", .columns = {NAME}, .column_count = 1};
    static const struct statement_point packed_points[] = {{&operations, NULL, INTS, 1},
                                                           {&operations, NULL, INTS, 2},
                                                           {&seconds, NULL, REALS, 1},
                                                           {&seconds, NULL, REALS, 2}};
    static const struct statement packed = {.name = "packed",
                                            .column_count = CELLS,
                                            .attributes = &named,
                                            .attribute_count = 1,
                                            .points = packed_points,
                                            .point_count = 4,
                                            .start_column = -1};
    static const unsigned packed_oids[CELLS] = {ROWS_TEXT, ROWS_INT8_ARRAY, ROWS_FLOAT8_ARRAY};
    PGresult *rows = rows_create(CELLS, packed_oids, true),
             *few = rows_create(3, packed_oids, true);
    for (int i = 0; i < ROWS; i++) {
        const int64_t ints[2] = {i, 2 * i};
        const double reals[2] = {i, 0.5 * i};
        char name[32];
        snprintf(name, sizeof name, "t%d", i);
        for (PGresult *result = rows; result != NULL;
             result = result == rows && i < 9 ? few : NULL) {
            rows_put_text(result, i, NAME, name);
            rows_put_array(result, i, INTS, ROWS_INT8, ints, 2, (uint64_t)i & 1);
            rows_put_array(result, i, REALS, ROWS_FLOAT8, reals, 2, 0);
        }
    }
    struct series_table *series = series_table_create(&packed);
    allocations = 0;
    decoding_run(&decoding, series, rows, 1000);
    assert_true(allocations > ROWS);
    allocations = 0;
    assert_int_equal(decoding_run(&decoding, series, rows, 2000), 4 * ROWS - ROWS / 2);
    assert_int_equal(decoding_run(&decoding, series, few, 3000), 4 * 9 - 4);
    assert_int_equal(decoding_run(&decoding, series, rows, 4000), 4 * ROWS - ROWS / 2);
    assert_int_equal(allocations, 0);
    series_table_retire(&series, decoding.ring, 0, decoding.context.telemetry);
    PQclear(rows);
    PQclear(few);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_columns),      TEST(test_no_value),      TEST(test_null_attributes),
        TEST(test_conversion),   TEST(test_unknown_type),  TEST(test_unreadable),
        TEST(test_many_pages),   TEST(test_no_page),       TEST(test_row_limit),
        TEST(test_own_resource), TEST(test_no_allocation), TEST(test_packed_no_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
