/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers that travel in array cells: the same points as from cells of their own, and none from an
 * array that is not what it should be. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pg/pack.h"
#include "tests/pg/decoding.h"
#include "tests/pg/rows.h"

/* Columns: name, int8[] of inserts, updates (counters) and live (gauge), float8[] of seconds
 * (counter) and ratio (gauge), and an int8 by itself. */
enum { NAME, INTS, REALS, PLAIN, COLUMNS, INT_COUNT = 3, REAL_COUNT = 2, POINTS = 6 };

static const unsigned oids[COLUMNS] = {ROWS_TEXT, ROWS_INT8_ARRAY, ROWS_FLOAT8_ARRAY, ROWS_INT8};
static const struct metric operations = {
    .name = "operations", .instrument = METRIC_SUM, .value = METRIC_INT, .monotonic = true};
static const struct metric live = {.name = "live", .instrument = METRIC_GAUGE, .value = METRIC_INT};
static const struct metric seconds = {
    .name = "seconds", .instrument = METRIC_SUM, .value = METRIC_DOUBLE, .monotonic = true};
static const struct metric ratio = {
    .name = "ratio", .instrument = METRIC_GAUGE, .value = METRIC_DOUBLE};
static const struct metric size = {.name = "size", .instrument = METRIC_GAUGE, .value = METRIC_INT};
static const struct statement_attribute attributes[] = {
    {.key = "name", .columns = {NAME}, .column_count = 1, .resource = false}};
static const struct statement_point points[POINTS] = {
    {&operations, NULL, INTS, 1}, {&operations, NULL, INTS, 2}, {&live, NULL, INTS, 3},
    {&seconds, NULL, REALS, 1},   {&ratio, NULL, REALS, 2},     {&size, NULL, PLAIN, 0},
};
static struct statement statement = {
    .name = "packed",
    .column_count = COLUMNS,
    .attributes = attributes,
    .attribute_count = 1,
    .points = points,
    .point_count = POINTS,
    .start_column = -1,
};

static struct decoding decoding;
static struct series_table *table;

static int setup(void **state)
{
    (void)state;
    decoding_init(&decoding, 8);
    decoding.context.server_start_ns = 100;
    table = series_table_create(&statement);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    series_table_retire(&table, decoding.ring, 0, decoding.context.telemetry);
    assert_int_equal(decoding_telemetry(&decoding, TELEMETRY_SERIES), 0);
    decoding_fini(&decoding);
    return 0;
}

/* `base` shows in every value: base + 1, + 2, + 3, base + .25, + .5, base + 9. */
static void put_row(PGresult *rows, int row, int64_t base, uint64_t int_nulls, uint64_t real_nulls)
{
    const int64_t ints[INT_COUNT] = {base + 1, base + 2, base + 3};
    const double reals[REAL_COUNT] = {(double)base + 0.25, (double)base + 0.5};
    char name[32];
    snprintf(name, sizeof name, "r%d", row);
    rows_put_text(rows, row, NAME, name);
    rows_put_array(rows, row, INTS, ROWS_INT8, ints, INT_COUNT, int_nulls);
    rows_put_array(rows, row, REALS, ROWS_FLOAT8, reals, REAL_COUNT, real_nulls);
    rows_put_int8(rows, row, PLAIN, base + 9);
}

/* What the next decoded point must be. */
static void expect(uint32_t *at, const struct metric *metric, int row, double value)
{
    assert_true(*at < decoding.point_count);
    const struct decoded *decoded = &decoding.points[(*at)++];
    char attrs[32];
    snprintf(attrs, sizeof attrs, "name=r%d", row);
    assert_ptr_equal(decoded->metric, metric);
    assert_string_equal(decoded->attrs, attrs);
    if (metric->value == METRIC_INT)
        assert_int_equal(decoded->integer, (int64_t)value);
    else
        assert_true(decoded->real == value);
    assert_int_equal(decoded->start_ns, metric->monotonic ? 100 : 0);
}

static const double offsets[POINTS] = {1, 2, 3, 0.25, 0.5, 9};

/* Column by column, arrays and a plain cell, with every set of NULLs there can be. */
static void test_values(void **state)
{
    (void)state;
    enum { ROWS = 32 }; /* a bit for each element */
    PGresult *rows = rows_create(COLUMNS, oids, true);
    for (int row = 0; row < ROWS; row++)
        put_row(rows, row, 1000 * row - 5000, (uint64_t)row & 7, (uint64_t)row >> 3);
    for (int round = 0; round < 2; round++) {
        uint64_t said = decoding_run(&decoding, table, rows, 1000);
        assert_null(decoding.problem);
        uint32_t at = 0;
        for (int i = 0; i < POINTS; i++)
            for (int row = 0; row < ROWS; row++)
                if (i == POINTS - 1 || (row >> i & 1) == 0)
                    expect(&at, points[i].metric, row, 1000 * row - 5000 + offsets[i]);
        assert_int_equal(at, decoding.point_count);
        assert_int_equal(at, 5 * ROWS / 2 + ROWS);
        assert_int_equal(at, said);
    }
    assert_int_equal(decoding_telemetry(&decoding, TELEMETRY_POINTS_SKIPPED), 0);
    PQclear(rows);
}

/* A NULL for the whole array is NULL for each element: no points, and nothing to count or say. */
static void test_null_array(void **state)
{
    (void)state;
    PGresult *rows = rows_create(COLUMNS, oids, true);
    put_row(rows, 0, 10, 0, 0);
    put_row(rows, 1, 20, 0, 0);
    rows_put_null(rows, 0, INTS);
    rows_put_null(rows, 1, REALS);
    assert_int_equal(decoding_run(&decoding, table, rows, 1000), 7);
    assert_null(decoding.problem);
    assert_int_equal(decoding_telemetry(&decoding, TELEMETRY_POINTS_SKIPPED), 0);
    uint32_t at = 0;
    for (int i = 0; i < POINTS; i++)
        for (int row = 0; row < 2; row++)
            if (i == POINTS - 1 || (i < INT_COUNT) == (row == 1))
                expect(&at, points[i].metric, row, 10 + 10 * row + offsets[i]);
    PQclear(rows);
}

/* A good int8[] cell of three, its words: dimensions, NULLs, type, count, lower bound, then 8, two
 * words of value, 8, … */
static int good_cell(uint8_t cell[64])
{
    PGresult *rows = rows_create(COLUMNS, oids, true);
    put_row(rows, 0, 0, 0, 0);
    int bytes = PQgetlength(rows, 0, INTS);
    memcpy(cell, PQgetvalue(rows, 0, INTS), (size_t)bytes);
    PQclear(rows);
    assert_int_equal(bytes, 20 + 3 * 12);
    return bytes;
}

/* Each array that is none costs its three points, which are counted; it is said once; the row's
 * other points are there. */
static void test_malformed(void **state)
{
    (void)state;
    static const struct {
        int bytes; /* 0: all */
        int word;
        uint32_t value;
    } cases[] = {
        {0, 0, 2},           /* two dimensions */
        {0, 0, 0},           /* none */
        {12, 0, 0},          /* as PostgreSQL writes an empty array */
        {0, 2, 701},         /* elements of another type */
        {0, 3, 2},           /* fewer elements than are asked for */
        {0, 3, 4},           /* more */
        {0, 3, UINT32_MAX},  /* far more */
        {0, 5, 4},           /* a length that is no int8's */
        {0, 8, 9},           /* past the next element */
        {0, 11, 0x7fffffff}, /* past the end */
        {0, 11, UINT32_MAX}, /* a NULL that has bytes */
        {0, 5, 0xfffffffe},  /* negative, and no NULL */
        {55, 4, 1},          /* a byte short */
        {19, 4, 1},          /* not even a header */
        {1, 4, 1},
    };
    uint64_t skipped = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t cell[64];
        int bytes = good_cell(cell);
        uint32_t value = __builtin_bswap32(cases[i].value);
        memcpy(cell + 4 * cases[i].word, &value, sizeof value);
        PGresult *rows = rows_create(COLUMNS, oids, true);
        put_row(rows, 0, 10, 0, 0);
        put_row(rows, 1, 20, 0, 0);
        rows_put(rows, 1, INTS, cell, cases[i].bytes > 0 ? cases[i].bytes : bytes);
        assert_int_equal(decoding_run(&decoding, table, rows, 1000), 9);
        skipped += 3;
        assert_int_equal(decoding_telemetry(&decoding, TELEMETRY_POINTS_SKIPPED), skipped);
        if (i == 0)
            assert_string_equal(decoding.problem,
                                "column 2 (column) is no array of 3 numbers in 1 of 2 rows: is "
                                "there a proxy that changes results?");
        else
            assert_null(decoding.problem);
        PQclear(rows);
    }
    /* a cell of no bytes is not NULL */
    PGresult *rows = rows_create(COLUMNS, oids, true);
    put_row(rows, 0, 10, 0, 0);
    rows_put(rows, 0, INTS, "", 0);
    assert_int_equal(decoding_run(&decoding, table, rows, 1000), 3);
    assert_int_equal(decoding_telemetry(&decoding, TELEMETRY_POINTS_SKIPPED), skipped + 3);
    PQclear(rows);
}

/* A cell cut anywhere, or with bytes behind it, is none, and no byte past its end is read (the
 * sanitizer sees to that). */
static void test_cut(void **state)
{
    (void)state;
    PGresult *rows = rows_create(COLUMNS, oids, true);
    for (uint64_t nulls = 0; nulls < 8; nulls++) {
        put_row(rows, 0, 0, nulls, 0);
        size_t whole = (size_t)PQgetlength(rows, 0, INTS);
        for (size_t bytes = 0; bytes <= whole + 24; bytes++) {
            uint8_t *exact = calloc(1, bytes > 0 ? bytes : 1);
            assert_non_null(exact);
            memcpy(exact, PQgetvalue(rows, 0, INTS), bytes < whole ? bytes : whole);
            assert_int_equal(pack_read(exact, bytes, ROWS_INT8, 3).elements != NULL,
                             bytes == whole);
            free(exact);
        }
    }
    PQclear(rows);
}

/* In any order of asking, a NULL before, between and behind. */
static void test_element(void **state)
{
    (void)state;
    static const int64_t values[5] = {11, 12, 13, 14, 15};
    PGresult *rows = rows_create(COLUMNS, oids, true);
    for (uint64_t nulls = 0; nulls < 32; nulls++) {
        rows_put_array(rows, 0, INTS, ROWS_INT8, values, 5, nulls);
        struct pack pack = pack_read((const uint8_t *)PQgetvalue(rows, 0, INTS),
                                     (size_t)PQgetlength(rows, 0, INTS), ROWS_INT8, 5);
        assert_int_equal(pack.even, nulls == 0);
        static const uint32_t order[] = {1, 2, 3, 4, 5, 5, 3, 3, 1, 4, 2};
        for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
            const uint8_t *at = pack_element(&pack, order[i]);
            assert_int_equal(at == NULL, nulls >> (order[i] - 1) & 1);
            if (at != NULL)
                assert_int_equal(load64(at), 10 + order[i]);
        }
    }
    PQclear(rows);
}

/* Column types that are no arrays cost their columns; values that metrics cannot have theirs. */
static void test_types(void **state)
{
    (void)state;
    static const unsigned plain[COLUMNS] = {ROWS_TEXT, ROWS_INT8, ROWS_FLOAT8_ARRAY, ROWS_INT8};
    PGresult *rows = rows_create(COLUMNS, plain, true);
    put_row(rows, 0, 10, 0, 0);
    rows_put_int8(rows, 0, INTS, 5);
    assert_int_equal(decoding_run(&decoding, table, rows, 1000), 3);
    assert_string_equal(decoding.problem, "column 2 (column) has type 20, which is no array of "
                                          "bigint or double precision");
    assert_int_equal(decoding_telemetry(&decoding, TELEMETRY_POINTS_SKIPPED), 3);
    PQclear(rows);

    static const unsigned crossed[COLUMNS] = {ROWS_TEXT, ROWS_FLOAT8_ARRAY, ROWS_INT8_ARRAY,
                                              ROWS_INT8};
    static const double reals[INT_COUNT] = {2.5, 1e19, -3.0};
    static const int64_t ints[REAL_COUNT] = {70, 8};
    rows = rows_create(COLUMNS, crossed, true);
    put_row(rows, 0, 10, 0, 0);
    rows_put_array(rows, 0, INTS, ROWS_FLOAT8, reals, INT_COUNT, 0);
    rows_put_array(rows, 0, REALS, ROWS_INT8, ints, REAL_COUNT, 0);
    assert_int_equal(decoding_run(&decoding, table, rows, 2000), 5);
    assert_null(decoding.problem);
    assert_int_equal(decoding_telemetry(&decoding, TELEMETRY_POINTS_SKIPPED), 4);
    uint32_t at = 0;
    expect(&at, &operations, 0, 2); /* to even */
    expect(&at, &live, 0, -3);
    expect(&at, &seconds, 0, 70);
    expect(&at, &ratio, 0, 8);
    PQclear(rows);

    const double never[REAL_COUNT] = {(double)NAN, (double)INFINITY};
    rows = rows_create(COLUMNS, oids, true);
    put_row(rows, 0, 10, 0, 0);
    rows_put_array(rows, 0, REALS, ROWS_FLOAT8, never, REAL_COUNT, 0);
    assert_int_equal(decoding_run(&decoding, table, rows, 3000), 4);
    assert_int_equal(decoding_telemetry(&decoding, TELEMETRY_POINTS_SKIPPED), 6);
    PQclear(rows);
}

static uint64_t run_with(const int64_t ints[INT_COUNT], double first_real, uint64_t int_nulls,
                         uint64_t time_ns)
{
    const double reals[REAL_COUNT] = {first_real, 0};
    PGresult *rows = rows_create(COLUMNS, oids, true);
    put_row(rows, 0, 0, 0, 0);
    rows_put_array(rows, 0, INTS, ROWS_INT8, ints, INT_COUNT, int_nulls);
    rows_put_array(rows, 0, REALS, ROWS_FLOAT8, reals, REAL_COUNT, 0);
    uint64_t written = decoding_run(&decoding, table, rows, time_ns);
    PQclear(rows);
    return written;
}

/* Each element has a counter of its own: one that went back starts anew, also after NULLs and when
 * no page was free. */
static void test_resets(void **state)
{
    (void)state;
    run_with((const int64_t[]){10, 50, 1}, 5.0, 0, 1000);
    run_with((const int64_t[]){11, 40, 0}, 6.0, 0, 2000);
    static const uint64_t second[POINTS] = {100, 1000, 0, 100, 0, 0};
    for (int i = 0; i < POINTS; i++)
        assert_int_equal(decoding.points[i].start_ns, second[i]);

    assert_int_equal(run_with((const int64_t[]){0, 41, 0}, 5.5, 1, 3000), 5);
    assert_int_equal(decoding.points[0].start_ns, 1000);
    assert_int_equal(decoding.points[2].start_ns, 2000); /* seconds: 6.0 to 5.5 */

    struct page *held[8];
    for (int i = 0; i < 8; i++) {
        held[i] = ring_acquire(decoding.ring, 0);
        assert_non_null(held[i]);
    }
    assert_int_equal(run_with((const int64_t[]){3, 42, 0}, 5.6, 0, 4000), 6);
    assert_int_equal(decoding.point_count, 0);
    assert_int_equal(decoding.writer.dropped_total, 6);
    for (int i = 0; i < 8; i++)
        ring_release(decoding.ring, held[i]);
    assert_int_equal(run_with((const int64_t[]){4, 43, 0}, 5.7, 0, 5000), 6);
    static const uint64_t last[POINTS] = {3000, 1000, 0, 2000, 0, 0};
    for (int i = 0; i < POINTS; i++)
        assert_int_equal(decoding.points[i].start_ns, last[i]);
}

/* Rows that repeat another's attributes give no point, good array or not, and count once. */
static void test_repeated(void **state)
{
    (void)state;
    PGresult *rows = rows_create(COLUMNS, oids, true);
    put_row(rows, 0, 10, 0, 0);
    put_row(rows, 1, 20, 1, 0);
    rows_put_text(rows, 1, NAME, "r0");
    rows_put(rows, 1, REALS, "no array", 8);
    assert_int_equal(decoding_run(&decoding, table, rows, 1000), 6);
    assert_int_equal(decoding_telemetry(&decoding, TELEMETRY_POINTS_SKIPPED), 6);
    PQclear(rows);
}

/* Row by row, in which int and double columns take turns; over several pages. */
static void test_own_resource(void **state)
{
    (void)state;
    enum { ROWS = 400 };
    static const struct statement_attribute own[] = {
        {.key = "name", .columns = {NAME}, .column_count = 1},
        {.key = "table", .columns = {NAME}, .column_count = 1, .resource = true},
    };
    struct statement legacy = statement;
    legacy.attributes = own;
    legacy.attribute_count = 2;
    legacy.own_resource = true;
    struct series_table *by_row = series_table_create(&legacy);
    PGresult *rows = rows_create(COLUMNS, oids, true);
    for (int row = 0; row < ROWS; row++)
        put_row(rows, row, 10 * row, row % 2 ? 2 : 0, row % 3 ? 0 : 1);
    for (int round = 0; round < 2; round++) {
        uint64_t said = decoding_run(&decoding, by_row, rows, 1000);
        assert_null(decoding.problem);
        uint32_t at = 0;
        for (int row = 0; row < ROWS; row++)
            for (int i = 0; i < POINTS; i++)
                if (!(i == 1 && row % 2 == 1) && !(i == 3 && row % 3 == 0))
                    expect(&at, points[i].metric, row, 10 * row + offsets[i]);
        assert_int_equal(at, decoding.point_count);
        assert_int_equal(at, said);
    }
    series_table_retire(&by_row, decoding.ring, 0, decoding.context.telemetry);
    PQclear(rows);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_values), TEST(test_null_array), TEST(test_malformed),
        TEST(test_cut),    TEST(test_element),    TEST(test_types),
        TEST(test_resets), TEST(test_repeated),   TEST(test_own_resource),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
