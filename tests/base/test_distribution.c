/* SPDX-License-Identifier: Apache-2.0 */
/* The mapping from log-linear to exponential buckets: bounds of its error for every bucket, counts
 * that never fall, percentiles, classic buckets, differences. */
#include "base/distribution.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"

static struct histogram histogram;
static struct histogram_view view;

static struct distribution *taken(void)
{
    memset(&view, 0, sizeof view);
    histogram_merge(&view, &histogram);
    return distribution_create(&view);
}

static void check_whole(const struct distribution *distribution)
{
    uint64_t count = distribution->zero_count;
    for (uint32_t i = 0; i < distribution->bucket_count; i++)
        count += distribution->buckets[i];
    assert_int_equal(distribution->count, count);
    if (distribution->bucket_count > 0) {
        assert_true(distribution->buckets[0] > 0);
        assert_true(distribution->buckets[distribution->bucket_count - 1] > 0);
    }
}

static void test_empty_and_zero(void **state)
{
    (void)state;
    memset(&histogram, 0, sizeof histogram);
    struct distribution *empty = taken();
    assert_int_equal(empty->count, 0);
    assert_int_equal(empty->bucket_count, 0);
    assert_true(distribution_quantile(empty, 0.5) == 0);
    histogram_record(&histogram, 0);
    struct distribution *zero = taken();
    assert_int_equal(zero->zero_count, 1);
    assert_int_equal(zero->bucket_count, 0);
    assert_int_equal(distribution_count_to(zero, 0), 1);
    assert_true(distribution_quantile(zero, 0.5) == 0);
    check_whole(zero);
    distribution_destroy(&empty);
    distribution_destroy(&zero);
    assert_null(zero);
}

/* Both ends of every bucket: what the distribution says of the value is what the header promises.
 */
static void test_error_of_every_bucket(void **state)
{
    (void)state;
    for (uint32_t bucket = 1; bucket < HISTOGRAM_BUCKETS; bucket++) {
        uint64_t ends[] = {histogram_bucket_start(bucket), histogram_bucket_start(bucket + 1) - 1};
        for (int end = 0; end < 2; end++) {
            memset(&histogram, 0, sizeof histogram);
            histogram_record(&histogram, ends[end]);
            struct distribution *one = taken();
            assert_int_equal(one->bucket_count, 1);
            assert_int_equal(one->scale, DISTRIBUTION_SCALE);
            double upper = distribution_upper(one, 0), value = (double)ends[end] / 1e9;
            double lower = upper / exp2(1.0 / 32);
            assert_true(value <= upper * 1.0079 && value >= lower / 1.0079);
            one->max = INFINITY; /* which would make it exact */
            double told = distribution_quantile(one, 0.5);
            assert_true(fabs(told / value - 1) < 0.019);
            distribution_destroy(&one);
        }
    }
}

/* Cumulative counts of a bucket never fall, whatever comes. */
static void test_counts_grow(void **state)
{
    (void)state;
    struct random random = {.state = 5};
    memset(&histogram, 0, sizeof histogram);
    histogram_record(&histogram, 1000000);
    struct distribution *before = taken();
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < 50; i++)
            histogram_record(&histogram, random_below(&random, 1000) << random_below(&random, 25));
        struct distribution *now = taken();
        check_whole(now);
        struct distribution *news = distribution_subtract(now, before);
        assert_non_null(news);
        check_whole(news);
        assert_int_equal(news->count, 50);
        assert_true(fabs(news->sum - (now->sum - before->sum)) < 1e-9);
        assert_null(distribution_subtract(before, now)); /* counting began anew */
        distribution_destroy(&news);
        distribution_destroy(&before);
        before = now;
    }
    struct distribution *same = distribution_copy(before);
    struct distribution *nothing = distribution_subtract(same, before);
    assert_int_equal(nothing->count, 0);
    assert_int_equal(nothing->bucket_count, 0);
    distribution_destroy(&nothing);
    distribution_destroy(&same);
    distribution_destroy(&before);
}

static int compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

static void test_percentiles_and_classic_buckets(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    static uint64_t values[COUNT];
    struct random random = {.state = 9};
    memset(&histogram, 0, sizeof histogram);
    uint64_t sum = 0;
    for (int i = 0; i < COUNT; i++) {
        values[i] = (1000 + random_below(&random, 1000)) << random_below(&random, 22);
        sum += values[i];
        histogram_record(&histogram, values[i]);
    }
    qsort(values, COUNT, sizeof values[0], compare);
    struct distribution *all = taken();
    assert_true(all->sum == (double)sum / 1e9 && all->max == (double)values[COUNT - 1] / 1e9);
    static const double shares[] = {0, 0.5, 0.9, 0.99, 0.999};
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        double exact = (double)values[(size_t)(shares[i] * COUNT)] / 1e9;
        assert_true(fabs(distribution_quantile(all, shares[i]) / exact - 1) < 0.02);
    }
    assert_true(distribution_quantile(all, 1) == all->max);
    /* At most what lies below the bound and its error; at least what lies a bucket lower. */
    for (int b = 0; b < DISTRIBUTION_BOUNDS; b++) {
        double bound = distribution_bounds[b];
        assert_true(strtod(distribution_bound_names[b], NULL) == bound);
        uint64_t least = 0, most = 0, told = distribution_count_to(all, bound);
        for (int i = 0; i < COUNT; i++) {
            least += (double)values[i] / 1e9 <= bound / exp2(1.0 / 32) / 1.0079;
            most += (double)values[i] / 1e9 <= bound * 1.0079;
        }
        assert_true(told >= least && told <= most);
    }
    distribution_destroy(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_and_zero),
        cmocka_unit_test(test_error_of_every_bucket),
        cmocka_unit_test(test_counts_grow),
        cmocka_unit_test(test_percentiles_and_classic_buckets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
