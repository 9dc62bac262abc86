/* SPDX-License-Identifier: Apache-2.0 */
/* The last seconds of a histogram against a list of all that was recorded: what is counted, what is
 * forgotten and when, quantiles, several histograms in one window. */
#include "base/window.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/random.h"

enum { SLOTS = 6, SLOT_S = 5 };

static struct histogram histogram;
static struct histogram_view view;

static struct window *fresh(void)
{
    memset(&histogram, 0, sizeof histogram);
    struct window *window = window_create(SLOTS, SLOT_S * NS_PER_S);
    window_take_one(window, &histogram, 1000 * NS_PER_S);
    return window;
}

static uint64_t count_of(const struct window *window, uint32_t slots)
{
    memset(&view, 0, sizeof view);
    window_read(window, slots, &view);
    return view.count;
}

static void test_slots_come_and_go(void **state)
{
    (void)state;
    struct window *window = fresh();
    assert_int_equal(count_of(window, SLOTS), 0);
    for (uint64_t second = 1000; second < 1060; second++) { /* one a second */
        histogram_record(&histogram, 7);
        window_take_one(window, &histogram, second * NS_PER_S);
    }
    /* It is 1059, the newest slot has begun at 1055. */
    assert_int_equal(count_of(window, 0), 0);
    assert_int_equal(count_of(window, 1), 5);
    assert_int_equal(count_of(window, 2), 10);
    assert_int_equal(count_of(window, SLOTS), SLOTS * SLOT_S);
    assert_int_equal(count_of(window, 99), SLOTS * SLOT_S);
    assert_int_equal(view.sum_ns, SLOTS * SLOT_S * 7);
    window_take_one(window, &histogram, 1060 * NS_PER_S);
    assert_int_equal(count_of(window, 1), 0);
    assert_int_equal(count_of(window, SLOTS), (SLOTS - 1) * SLOT_S);
    window_take_one(window, &histogram, 1084 * NS_PER_S); /* 1055 is still of the window … */
    assert_int_equal(count_of(window, SLOTS), SLOT_S);
    window_take_one(window, &histogram, 1085 * NS_PER_S); /* … and now it is not */
    assert_int_equal(count_of(window, SLOTS), 0);
    window_destroy(&window);
    assert_null(window);
}

/* What was there before the first take is older than the window; what came during a gap is new. */
static void test_begin_and_gap(void **state)
{
    (void)state;
    struct window *window = window_create(SLOTS, SLOT_S * NS_PER_S);
    memset(&histogram, 0, sizeof histogram);
    histogram_record(&histogram, 100);
    assert_int_equal(window_read(window, SLOTS, &view), 0);
    window_take_one(window, &histogram, 3 * NS_PER_S);
    assert_int_equal(count_of(window, SLOTS), 0);
    histogram_record(&histogram, 100);
    window_take_one(window, &histogram, 4 * NS_PER_S);
    assert_int_equal(count_of(window, SLOTS), 1);
    histogram_record_many(&histogram, 100, 3);
    window_take_one(window, &histogram, 100000 * NS_PER_S);
    assert_int_equal(count_of(window, 1), 3);
    assert_int_equal(count_of(window, SLOTS), 3);
    window_destroy(&window);
}

/* The time that a reading covers, for rates. */
static void test_span(void **state)
{
    (void)state;
    struct window *window = fresh(); /* taken at 1000 */
    memset(&view, 0, sizeof view);
    assert_int_equal(window_read(window, SLOTS, &view), 0);
    window_take_one(window, &histogram, 1007 * NS_PER_S);
    assert_int_equal(window_read(window, SLOTS, &view), 7 * NS_PER_S);
    assert_int_equal(window_read(window, 1, &view), 2 * NS_PER_S); /* since 1005 */
    window_take_one(window, &histogram, 1099 * NS_PER_S);
    assert_int_equal(window_read(window, 2, &view), 9 * NS_PER_S); /* since 1090 */
    window_destroy(&window);
}

/* The largest value: exact while it is the largest ever, else within its bucket. */
static void test_largest(void **state)
{
    (void)state;
    struct window *window = fresh();
    histogram_record(&histogram, 123456789);
    window_take_one(window, &histogram, 1001 * NS_PER_S);
    assert_int_equal(count_of(window, 1), 1);
    assert_int_equal(view.max_ns, 123456789);
    assert_int_equal(histogram_quantile(&view, 1), 123456789);
    histogram_record(&histogram, 1234567);
    window_take_one(window, &histogram, 1100 * NS_PER_S);
    assert_int_equal(count_of(window, SLOTS), 1);
    assert_in_range(view.max_ns, 1234567 - 9876, 1234567 + 9876); /* 0.8 % */
    assert_int_equal(histogram_quantile(&view, 0.5), view.max_ns);
    histogram_record(&histogram, UINT64_MAX / 4); /* beyond the last bucket */
    window_take_one(window, &histogram, 1200 * NS_PER_S);
    count_of(window, SLOTS);
    assert_int_equal(view.max_ns, UINT64_MAX / 4);
    window_destroy(&window);
}

static int compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

enum { RECORDS = 20000 };
static uint64_t values[RECORDS], times[RECORDS], recent[RECORDS];

/* Random values at random times: each reading is what the list of the last slots gives. */
static void test_against_a_list(void **state)
{
    (void)state;
    struct random random = {.state = 11};
    struct window *window = fresh();
    uint64_t now_ns = 1000 * NS_PER_S;
    for (size_t i = 0; i < RECORDS; i++) {
        now_ns += random_below(&random, 20) * NS_PER_MS;
        if (random_below(&random, 2000) == 0)
            now_ns += random_below(&random, 60) * NS_PER_S;
        times[i] = now_ns;
        values[i] = random_below(&random, 1000000) << random_below(&random, 16);
        histogram_record(&histogram, values[i]);
        window_take_one(window, &histogram, now_ns);
        if (random_below(&random, 200) != 0)
            continue;
        uint32_t slots = 1 + (uint32_t)random_below(&random, SLOTS);
        uint64_t from_ns = (now_ns / (SLOT_S * NS_PER_S) + 1 - slots) * SLOT_S * NS_PER_S;
        size_t count = 0;
        uint64_t sum_ns = 0;
        for (size_t k = 0; k <= i; k++) {
            if (times[k] < from_ns)
                continue;
            recent[count++] = values[k];
            sum_ns += values[k];
        }
        qsort(recent, count, sizeof recent[0], compare);
        assert_int_equal(count_of(window, slots), count);
        assert_true(view.sum_ns == sum_ns);
        static const double shares[] = {0, 0.5, 0.9, 0.99, 1};
        for (size_t s = 0; s < sizeof shares / sizeof shares[0]; s++) {
            size_t rank = (size_t)(shares[s] * (double)count);
            double exact = (double)recent[rank < count ? rank : count - 1];
            double told = (double)histogram_quantile(&view, shares[s]);
            assert_true(told >= exact * 0.99 - 1 && told <= exact * 1.01 + 1);
        }
    }
    window_destroy(&window);
}

/* One window over the sum of two histograms is two windows read into one view. */
static void test_merged(void **state)
{
    (void)state;
    static struct histogram two[2];
    struct random random = {.state = 3};
    struct window *sum = window_create(SLOTS, NS_PER_S), *each[2];
    struct histogram_view *total = calloc(1, sizeof *total);
    assert_non_null(total);
    for (int k = 0; k < 2; k++)
        each[k] = window_create(SLOTS, NS_PER_S);
    for (uint64_t now_ns = NS_PER_S; now_ns < 30 * NS_PER_S; now_ns += NS_PER_S / 3) {
        for (int i = 0; i < 100; i++)
            histogram_record(&two[random_below(&random, 2)], random_below(&random, 1 << 20));
        memset(total, 0, sizeof *total);
        for (int k = 0; k < 2; k++) {
            histogram_merge(total, &two[k]);
            window_take_one(each[k], &two[k], now_ns);
        }
        window_take(sum, total, now_ns);
    }
    static struct histogram_view one, other;
    uint64_t span_ns = window_read(sum, SLOTS, &one);
    for (int k = 0; k < 2; k++)
        assert_int_equal(window_read(each[k], SLOTS, &other), span_ns);
    assert_true(one.count > 1000);
    assert_int_equal(one.count, other.count);
    assert_int_equal(one.sum_ns, other.sum_ns);
    assert_memory_equal(one.buckets, other.buckets, sizeof one.buckets);
    for (int k = 0; k < 2; k++)
        window_destroy(&each[k]);
    window_destroy(&sum);
    free(total);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots_come_and_go),
        cmocka_unit_test(test_begin_and_gap),
        cmocka_unit_test(test_span),
        cmocka_unit_test(test_largest),
        cmocka_unit_test(test_against_a_list),
        cmocka_unit_test(test_merged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
