/* SPDX-License-Identifier: Apache-2.0 */
/* Windows of histograms, percentiles, and what coordinated omission hides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/random.h"
#include "tools/load/views.h"

/* Buckets are 1/64 of their octave wide; a middle is at most 0.8 % off. */
static void assert_near(double value, double expected, double share)
{
    if (value < expected * (1 - share) || value > expected * (1 + share))
        fail_msg("%g is not within %g %% of %g", value, 100 * share, expected);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Against sorted values, over five decades. */
static void test_percentiles(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    static uint64_t values[COUNT];
    static struct histogram_view view;
    struct random random = {7};
    memset(&view, 0, sizeof view);
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = 1000 + random_below(&random, 1000) * random_below(&random, 1000) *
                               random_below(&random, 1000);
        view_record(&view, values[i], 1);
    }
    qsort(values, COUNT, sizeof *values, compare);
    static const double shares[] = {0.5, 0.9, 0.99, 0.999, 0.9999};
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++)
        assert_near(view_ms(&view, shares[i]) * 1e6, (double)values[(size_t)(shares[i] * COUNT)],
                    0.009);
    assert_true(view_ms(&view, 1) * 1e6 == (double)values[COUNT - 1]);
}

static void test_window(void **state)
{
    (void)state;
    static struct histogram_view before, after, window;
    memset(&before, 0, sizeof before);
    view_record(&before, 100 * NS_PER_MS, 5);
    after = before;
    view_record(&after, 7, 3);
    view_record(&after, 2 * NS_PER_MS, 1);
    view_window(&before, &after, &window);
    assert_int_equal(window.count, 4);
    assert_int_equal(window.sum_ns, 21 + 2 * NS_PER_MS);
    /* the old maximum is not the window's: the end of the highest bucket that grew */
    assert_near((double)window.max_ns, 2e6, 0.016);
    view_record(&after, 300 * NS_PER_MS, 1);
    view_window(&before, &after, &window);
    assert_int_equal(window.max_ns, 300 * NS_PER_MS);
    view_window(&after, &after, &window);
    assert_int_equal(window.count, 0);
    assert_int_equal(window.max_ns, 0);
    /* a collector that was started again counts from zero: nothing negative */
    view_window(&after, &before, &window);
    assert_int_equal(window.count, 0);
}

static void test_json(void **state)
{
    (void)state;
    static struct histogram_view view, back;
    memset(&view, 0, sizeof view);
    memset(&back, 0, sizeof back);
    view_record(&view, 0, 2);
    view_record(&view, 12345678, 3);
    view_record(&view, 4000 * NS_PER_S, 1); /* past the last bucket */
    json_t *json = view_json(&view);
    assert_true(view_add_json(&back, json));
    assert_memory_equal(view.buckets, back.buckets, sizeof view.buckets);
    assert_int_equal(view.count, back.count);
    assert_int_equal(view.max_ns, back.max_ns);
    json_decref(json);
    static const char *const bad[] = {"{}",
                                      "{\"buckets\": 1}",
                                      "{\"buckets\": [[1]]}",
                                      "{\"buckets\": [[1, -1]]}",
                                      "{\"buckets\": [[-1, 1]]}",
                                      "{\"buckets\": [7]}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        json = json_loads(bad[i], 0, NULL);
        assert_non_null(json);
        assert_false(view_add_json(&back, json));
        json_decref(json);
    }
}

/* 99 collections on time and one that was 100 intervals late: 99 were never made, and a reader with
 * a clock of its own saw half of all time late. */
static void test_late_start(void **state)
{
    (void)state;
    static struct histogram_view view;
    memset(&view, 0, sizeof view);
    view_record(&view, NS_PER_MS, 99);
    view_record(&view, 100 * NS_PER_S, 1);
    assert_near(view_ms(&view, 0.5), 1, 0.01);
    view_correct(&view, NS_PER_S);
    /* one bucket is 1.6 % wide, so a step more or less may fit below the middle */
    assert_in_range(view.count, 198, 200);
    assert_near(view_ms(&view, 0.75), 50e3, 0.04);
    assert_near(view_ms(&view, 0.99), 98e3, 0.04);
    assert_int_equal(view.max_ns, 100 * NS_PER_S);
    struct histogram_view *again = malloc(sizeof *again);
    memset(again, 0, sizeof *again);
    view_record(again, NS_PER_S, 10); /* exactly on time: nothing is missing */
    view_correct(again, NS_PER_S);
    assert_int_equal(again->count, 10);
    free(again);
}

/* Collections that took 3.5 intervals left out three each, which waited 2.5, 1.5 and 0.5. */
static void test_left_out(void **state)
{
    (void)state;
    static struct histogram_view scrapes, lags;
    memset(&scrapes, 0, sizeof scrapes);
    view_record(&scrapes, 20 * NS_PER_MS, 1000);
    view_record(&scrapes, 3500 * NS_PER_MS, 4);
    assert_int_equal(view_omitted(&scrapes, NS_PER_S, 0, &lags), 12);
    assert_int_equal(lags.count, 12);
    assert_near((double)lags.max_ns, 2.5e9, 0.02);
    assert_near(view_ms(&lags, 0.1), 500, 0.1);
    /* the collector counts more: whole intervals */
    assert_int_equal(view_omitted(&scrapes, NS_PER_S, 20, &lags), 20);
    assert_int_equal(lags.count, 20);
    assert_int_equal(lags.buckets[histogram_index(NS_PER_S)], 8);
    memset(&scrapes, 0, sizeof scrapes);
    assert_int_equal(view_omitted(&scrapes, NS_PER_S, 0, &lags), 0);
    assert_int_equal(lags.count, 0);
}

/* A request carries ten collections: ten that were left out weigh as much as one request, and are
 * as old as their lag and the median together. */
static void test_ages(void **state)
{
    (void)state;
    static struct histogram_view ages, lags;
    memset(&ages, 0, sizeof ages);
    memset(&lags, 0, sizeof lags);
    view_record(&ages, 200 * NS_PER_MS, 100);
    view_record(&lags, 5 * NS_PER_S, 10);
    view_add_ages(&ages, &lags, 0.1);
    assert_int_equal(ages.count, 101);
    assert_near((double)ages.max_ns, 5.2e9, 0.01);
    assert_near(view_ms(&ages, 0.5), 200, 0.01);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_percentiles), cmocka_unit_test(test_window),
        cmocka_unit_test(test_json),        cmocka_unit_test(test_late_start),
        cmocka_unit_test(test_left_out),    cmocka_unit_test(test_ages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
