/* SPDX-License-Identifier: Apache-2.0 */
/* Buckets without gaps, quantiles within the promised error, merging. */
#include "base/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"

static void test_buckets_tile(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint64_t start = histogram_bucket_start(i), end = histogram_bucket_start(i + 1);
        assert_true(end > start);
        assert_int_equal(histogram_index(start), i);
        assert_int_equal(histogram_index(end - 1), i);
        /* the middle is at most 0.8 % away from any value */
        assert_true(i < HISTOGRAM_SUB_COUNT || (double)(end - start) / 2 <= 0.008 * (double)start);
    }
    assert_true(histogram_bucket_start(HISTOGRAM_BUCKETS) == 1ull << 41);
    assert_int_equal(histogram_index(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

static int compare(const void *one, const void *two)
{
    const uint64_t *a = one, *b = two;
    return *a < *b ? -1 : *a > *b;
}

static void test_quantiles(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    static uint64_t values[COUNT];
    static struct histogram histogram;
    static struct histogram_view view;
    struct random random = {.state = 3};
    assert_int_equal(histogram_quantile(&view, 0.5), 0);
    uint64_t sum = 0;
    for (int i = 0; i < COUNT; i++) {
        values[i] = random_next(&random) >> (24 + random_below(&random, 36)); /* 16 to 2^40 */
        histogram_record(&histogram, values[i]);
        sum += values[i];
    }
    qsort(values, COUNT, sizeof values[0], compare);
    histogram_merge(&view, &histogram);
    assert_true(view.count == COUNT && view.sum_ns == sum && view.max_ns == values[COUNT - 1]);
    static const double shares[] = {0, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999};
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        double exact = (double)values[(size_t)(shares[i] * COUNT)];
        double told = (double)histogram_quantile(&view, shares[i]);
        assert_true(told >= exact * 0.99 - 1 && told <= exact * 1.01 + 1);
    }
    assert_true(histogram_quantile(&view, 1) == values[COUNT - 1]);
}

static void test_merge(void **state)
{
    (void)state;
    static struct histogram one, two;
    static struct histogram_view view;
    histogram_record(&one, 10);
    histogram_record(&two, 1000);
    histogram_record(&two, 10);
    histogram_merge(&view, &one);
    histogram_merge(&view, &two);
    assert_int_equal(view.count, 3);
    assert_int_equal(view.sum_ns, 1020);
    assert_int_equal(view.max_ns, 1000);
    assert_int_equal(view.buckets[10], 2);
    assert_int_equal(histogram_quantile(&view, 0.5), 10);
    assert_int_equal(histogram_quantile(&view, 0.9), 1000); /* not past the largest */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buckets_tile),
        cmocka_unit_test(test_quantiles),
        cmocka_unit_test(test_merge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
