/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "tests/pg/decoding.h"
#include "pg/series.h"
#include "tests/pg/rows.h"

/* Columns: name, count (counter), time (counter, double), since (start column). */
enum { NAME, COUNT, TIME, SINCE, COLUMNS };

static const unsigned oids[COLUMNS] = {ROWS_TEXT, ROWS_INT8, ROWS_FLOAT8, ROWS_TIMESTAMPTZ};
static const struct metric count = {
    .name = "count", .instrument = METRIC_SUM, .value = METRIC_INT, .monotonic = true};
static const struct metric spent = {
    .name = "spent", .instrument = METRIC_SUM, .value = METRIC_DOUBLE, .monotonic = true};
static const struct statement_attribute attribute = {
    .key = "name", .columns = {NAME}, .column_count = 1};
static struct statement_point points[2];
static struct statement statement = {
    .name = "series",
    .column_count = COLUMNS,
    .attributes = &attribute,
    .attribute_count = 1,
    .points = points,
    .point_count = 2,
    .start_column = SINCE,
};

static struct decoding decoding;
static struct series_table *table;
static PGresult *rows;

/* Microseconds in ns, as cells carry no more. */
#define US(n) (1000ull * (n))

static int setup(void **state)
{
    (void)state;
    points[0] = (struct statement_point){&count, NULL, COUNT, 0};
    points[1] = (struct statement_point){&spent, NULL, TIME, 0};
    decoding_init(&decoding, 8);
    decoding.context.server_start_ns = US(1);
    table = series_table_create(&statement);
    rows = rows_create(COLUMNS, oids, true);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    PQclear(rows);
    series_table_retire(&table, decoding.ring, 0, decoding.context.telemetry);
    decoding_fini(&decoding);
    return 0;
}

/* One collection of one row: counters, start cell (0: NULL), time; what starts came out. */
struct step {
    int64_t count;
    double spent;
    uint64_t since, time;              /* µs */
    uint64_t count_start, spent_start; /* µs, expected */
    const char *why;
};

static void run_steps(const struct step *steps, size_t step_count)
{
    for (size_t i = 0; i < step_count; i++) {
        rows_put_text(rows, 0, NAME, "x");
        rows_put_int8(rows, 0, COUNT, steps[i].count);
        rows_put_float8(rows, 0, TIME, steps[i].spent);
        if (steps[i].since != 0)
            rows_put_time(rows, 0, SINCE, US(steps[i].since));
        else
            rows_put_null(rows, 0, SINCE);
        assert_int_equal(decoding_run(&decoding, table, rows, US(steps[i].time)), 2);
        if (decoding.points[0].start_ns != US(steps[i].count_start) ||
            decoding.points[1].start_ns != US(steps[i].spent_start))
            fail_msg("step %zu (%s): starts %lu and %lu ns", i, steps[i].why,
                     decoding.points[0].start_ns, decoding.points[1].start_ns);
    }
}

static void test_server_start(void **state)
{
    (void)state;
    static const struct step steps[] = {
        {10, 1.5, 0, 100, 1, 1, "first sight: the server's start"},
        {10, 1.5, 0, 110, 1, 1, "standing still is no reset"},
        {11, 2.5, 0, 120, 1, 1, "going on"},
        {4, 3.5, 0, 130, 120, 1, "one goes backwards: since it was last seen"},
        {5, 0.5, 0, 140, 120, 130, "then the other"},
        {6, 0.7, 0, 150, 120, 130, "both go on"},
    };
    run_steps(steps, sizeof steps / sizeof steps[0]);
    decoding.context.server_start_ns = US(155);
    static const struct step restarted[] = {
        {7, 0.8, 0, 160, 120, 130, "statistics survive a clean restart"},
        {0, 0.9, 0, 170, 160, 130, "the restart was before the last observation"},
    };
    run_steps(restarted, sizeof restarted / sizeof restarted[0]);
    decoding.context.server_start_ns = US(175);
    static const struct step crashed[] = {
        {3, 0.1, 0, 180, 160, 175, "after a crash; 3 after 0 is not to be told from going on"},
    };
    run_steps(crashed, sizeof crashed / sizeof crashed[0]);
}

static void test_start_column(void **state)
{
    (void)state;
    static const struct step steps[] = {
        {10, 1, 50, 100, 50, 50, "first sight: the cell"},
        {11, 2, 50, 110, 50, 50, "going on"},
        {12, 3, 115, 120, 115, 115, "the cell moved: a reset although values grew"},
        {13, 4, 118, 130, 120, 120, "moved, but lies before the last observation"},
        {14, 5, 60, 140, 130, 130, "moved back (another server answers): never backwards"},
        {15, 6, 0, 150, 130, 130, "NULL now: nothing known, nothing moves"},
        {16, 7, 60, 160, 130, 130, "the old cell again"},
        {2, 1, 60, 170, 160, 160, "backwards without the cell moving"},
    };
    run_steps(steps, sizeof steps / sizeof steps[0]);
}

static void test_start_column_null(void **state)
{
    (void)state;
    static const struct step steps[] = {
        {10, 1, 0, 100, 1, 1, "never reset: the server's start"},
        {11, 2, 0, 110, 1, 1, "going on"},
        {12, 3, 115, 120, 115, 115, "reset for the first time"},
    };
    run_steps(steps, sizeof steps / sizeof steps[0]);
}

static void test_clocks(void **state)
{
    (void)state;
    static const struct step steps[] = {
        {10, 1, 500, 100, 100, 100, "the server's clock is ahead: not after the point"},
        {11, 2, 500, 110, 100, 100, "and it stays there"},
        {1, 1, 500, 120, 120, 120, "reset while ahead"},
        {2, 2, 500, 115, 115, 115, "our clock stepped back: not after the point"},
        {3, 3, 500, 130, 120, 120, "and it is on again"},
    };
    run_steps(steps, sizeof steps / sizeof steps[0]);
}

static void test_start_unknown(void **state)
{
    (void)state;
    decoding.context.server_start_ns = 0;
    static const struct step unknown[] = {{10, 1, 0, 100, 0, 0, "nothing known"}};
    run_steps(unknown, 1);
    decoding.context.server_start_ns = US(7);
    static const struct step known[] = {{11, 2, 0, 110, 7, 7, "known late, no reset"}};
    run_steps(known, 1);
}

/* ---- entities ---- */

static uint64_t held(void)
{
    return decoding_telemetry(&decoding, TELEMETRY_SERIES);
}

/* Rows with these names; counters say which row it was. */
static void put_names(const char *const *names, int name_count)
{
    PQclear(rows);
    rows = rows_create(COLUMNS, oids, true);
    for (int i = 0; i < name_count; i++) {
        rows_put_text(rows, i, NAME, names[i]);
        rows_put_int8(rows, i, COUNT, 1000 + i);
        rows_put_null(rows, i, TIME);
        rows_put_null(rows, i, SINCE);
    }
}

/* However rows move, each name keeps its attribute set. */
static void test_order(void **state)
{
    (void)state;
    enum { NAMES = 300, ROUNDS = 60 };
    static char texts[NAMES][8];
    const char *names[NAMES];
    const struct attrs *sets[NAMES] = {NULL};
    struct random random = {.state = 42};
    for (int i = 0; i < NAMES; i++)
        snprintf(texts[i], sizeof texts[i], "n%d", i);
    for (int round = 0; round < ROUNDS; round++) {
        int order[NAMES];
        for (int i = 0; i < NAMES; i++)
            order[i] = i;
        for (int i = NAMES - 1; i > 0; i--) {
            int j = (int)random_below(&random, (uint64_t)i + 1), moved = order[i];
            order[i] = order[j];
            order[j] = moved;
        }
        /* all of them at least every other round, so that none is retired */
        int used = round % 2 == 0 ? NAMES : NAMES / 2;
        for (int i = 0; i < used; i++)
            names[i] = texts[order[i]];
        put_names(names, used);
        assert_int_equal(decoding_run(&decoding, table, rows, US(1000 + (unsigned)round)), used);
        for (int i = 0; i < used; i++) {
            char expected[16];
            snprintf(expected, sizeof expected, "name=%s", names[i]);
            assert_string_equal(decoding.points[i].attrs, expected);
            const struct attrs **set = &sets[order[i]];
            assert_true(*set == NULL || *set == table->rows[i]->attrs);
            *set = table->rows[i]->attrs;
        }
    }
    assert_int_equal(held(), NAMES);
}

static void test_retire_unseen(void **state)
{
    (void)state;
    static const char *const both[] = {"a", "b"}, *const one[] = {"b"};
    put_names(both, 2);
    decoding_run(&decoding, table, rows, US(100));
    put_names(one, 1);
    for (int i = 1; i < RESULTS_UNSEEN_MAX; i++) {
        decoding_run(&decoding, table, rows, US(100 + (unsigned)i));
        assert_int_equal(held(), 2);
    }
    decoding_run(&decoding, table, rows, US(200));
    assert_int_equal(held(), 1);
    /* it comes back as a new one: its start is not that of the old */
    put_names(both, 2);
    decoding_run(&decoding, table, rows, US(300));
    assert_int_equal(held(), 2);
    assert_string_equal(decoding.points[0].attrs, "name=a");
}

/* Many come and go, so slots are emptied in the midst of probe chains. */
static void test_churn(void **state)
{
    (void)state;
    enum { WINDOW = 40, ROUNDS = 400 };
    static char texts[WINDOW][16];
    const char *names[WINDOW];
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < WINDOW; i++) {
            snprintf(texts[i], sizeof texts[i], "%d", 7 * round + i);
            names[i] = texts[i];
        }
        put_names(names, WINDOW);
        assert_int_equal(decoding_run(&decoding, table, rows, US(1000 + (unsigned)round)), WINDOW);
        for (int i = 0; i < WINDOW; i++) {
            char expected[24];
            snprintf(expected, sizeof expected, "name=%s", names[i]);
            assert_string_equal(decoding.points[i].attrs, expected);
        }
        assert_true(held() <= WINDOW + 7 * RESULTS_UNSEEN_MAX);
        uint32_t found = 0;
        for (uint32_t slot = 0; slot <= table->slot_mask; slot++)
            found += table->slots[slot] != NULL;
        assert_int_equal(found, held());
    }
}

static void test_repeated_row(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "b", "a"};
    put_names(names, 3);
    assert_int_equal(decoding_run(&decoding, table, rows, US(100)), 2);
    assert_int_equal(decoding.points[0].integer, 1000); /* the first of the two */
    assert_int_equal(decoding.points[1].integer, 1001);
    assert_string_equal(decoding.problem, "1 of 3 rows have the attributes of another row and were "
                                          "dropped: select a column that tells them apart");
    assert_int_equal(decoding_telemetry(&decoding, TELEMETRY_POINTS_SKIPPED), 2);
    assert_int_equal(decoding_run(&decoding, table, rows, US(200)), 2);
    assert_null(decoding.problem);
}

/* Names that differ only past what an attribute may hold are one attribute. */
static void test_long_names(void **state)
{
    (void)state;
    static char first[5000], second[5000];
    memset(first, 'x', sizeof first - 1);
    memset(second, 'x', sizeof second - 1);
    second[LIMIT_ATTRIBUTE_BYTES] = 'y';
    const char *names[] = {first, second};
    put_names(names, 2);
    decoding.context.time_ns = US(100);
    assert_int_equal(decode_result(table, rows, &decoding.context, &decoding.problem), 1);
    assert_non_null(decoding.problem);
    assert_int_equal(held(), 1);
    assert_int_equal(decoding_telemetry(&decoding, TELEMETRY_ATTRIBUTES_CUT), 1);
}

static int frees;
void __real_free(void *block);
void __wrap_free(void *block);

void __wrap_free(void *block)
{
    frees += block != NULL;
    __real_free(block);
}

/* What a page refers to stays until the page is back, and goes then, though nothing is pushed. */
static void test_grace(void **state)
{
    (void)state;
    static const char *const names[] = {"a"};
    put_names(names, 1);
    decoding.context.time_ns = US(100);
    decode_result(table, rows, &decoding.context, &decoding.problem);
    writer_flush(&decoding.writer, 7);
    struct page *page = ring_take(decoding.ring);
    assert_non_null(page);
    series_table_retire(&table, decoding.ring, 0, decoding.context.telemetry);
    frees = 0;
    for (int i = 0; i < 3; i++)
        series_reclaim(decoding.ring, 0);
    assert_int_equal(frees, 0);
    char text[16];
    decoding_print(page_points(page)[0].attrs, text, sizeof text);
    assert_string_equal(text, "name=a");
    ring_give(decoding.ring, page);
    series_reclaim(decoding.ring, 0);
    assert_int_equal(frees, 2); /* the entity and its attributes */
    table = series_table_create(&statement);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_server_start),  TEST(test_start_column),  TEST(test_start_column_null),
        TEST(test_clocks),        TEST(test_start_unknown), TEST(test_order),
        TEST(test_retire_unseen), TEST(test_churn),         TEST(test_repeated_row),
        TEST(test_long_names),    TEST(test_grace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
