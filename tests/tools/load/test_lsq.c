/* SPDX-License-Identifier: Apache-2.0 */
/* Least squares against coefficients that are known, with noise whose size is known. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "tools/load/lsq.h"

static double uniform(struct random *random)
{
    return (double)(random_next(random) >> 11) / 9007199254740992.0;
}

/* Sum of twelve: close to normal, variance 1. */
static double normal(struct random *random)
{
    double sum = -6;
    for (int i = 0; i < 12; i++)
        sum += uniform(random);
    return sum;
}

static const double truth[] = {0.02, 3e-4, 2.5e-7}; /* base, collection, point: cores */

static void make_rows(struct lsq_row *rows, size_t count, double noise, struct random *random)
{
    for (size_t i = 0; i < count; i++) {
        double collections = 10 + 2000 * uniform(random);
        double points = collections * (200 + 3000 * uniform(random));
        double y = truth[0] + truth[1] * collections + truth[2] * points;
        rows[i] = (struct lsq_row){.x = {1, collections, points},
                                   .y = y * (1 + noise * normal(random)),
                                   .weight = 1 / (y * y)};
    }
}

static void assert_near(double value, double expected, double share)
{
    if (!(fabs(value - expected) <= share * fabs(expected)))
        fail_msg("%g is not within %g %% of %g", value, 100 * share, expected);
}

static void test_exact(void **state)
{
    (void)state;
    struct lsq_row rows[8];
    struct random random = {3};
    struct lsq_fit fit;
    make_rows(rows, 8, 0, &random);
    assert_true(lsq_solve(rows, 8, 3, &fit));
    for (size_t c = 0; c < 3; c++)
        assert_near(fit.coefficients[c], truth[c], 1e-9);
    assert_true(fit.variance < 1e-18);
    assert_true(lsq_solve(rows, 3, 3, &fit)); /* no more rows than coefficients */
    assert_near(fit.coefficients[1], truth[1], 1e-7);
    assert_false(lsq_solve(rows, 2, 3, &fit));
}

/* Over 400 fits the true coefficients lie within two standard errors about as often as they should,
 * and the spread of the residuals is that of the noise: error bars that are too small, or too
 * large, fail here. */
static void test_noise(void **state)
{
    (void)state;
    enum { FITS = 400, ROWS = 16 };
    struct lsq_row rows[ROWS];
    struct random random = {11};
    size_t within[3] = {0}, predicted = 0;
    double variance = 0;
    for (int f = 0; f < FITS; f++) {
        struct lsq_fit fit;
        make_rows(rows, ROWS, 0.05, &random);
        assert_true(lsq_solve(rows, ROWS, 3, &fit));
        variance += fit.variance / FITS;
        for (size_t c = 0; c < 3; c++)
            within[c] += fabs(fit.coefficients[c] - truth[c]) < 2 * lsq_coefficient_error(&fit, c);
        struct lsq_row more;
        make_rows(&more, 1, 0.05, &random);
        double guess = lsq_predict(&fit, more.x);
        predicted += fabs(guess - more.y) < 2 * lsq_error(&fit, more.x, more.weight);
    }
    assert_near(sqrt(variance), 0.05, 0.05);
    for (size_t c = 0; c < 3; c++)
        assert_in_range(within[c], FITS * 88 / 100, FITS * 98 / 100);
    assert_in_range(predicted, FITS * 88 / 100, FITS * 98 / 100);
}

/* Nothing gives CPU back: a negative coefficient is left out and the others are fitted anew. */
static void test_positive(void **state)
{
    (void)state;
    struct lsq_row rows[6];
    struct lsq_fit fit;
    for (size_t i = 0; i < 6; i++) {
        double x = (double)(i + 1);
        rows[i] = (struct lsq_row){.x = {1, x, x * x}, .y = 5 * x - 0.1 * x * x, .weight = 1};
    }
    assert_true(lsq_solve(rows, 6, 3, &fit));
    assert_true(fit.coefficients[2] < 0);
    assert_true(lsq_solve_positive(rows, 6, 3, &fit));
    assert_true(fit.dropped[2]);
    assert_true(fit.coefficients[2] == 0 && fit.covariance[2][2] == 0);
    assert_true(fit.coefficients[0] >= 0 && fit.coefficients[1] > 4);
    for (size_t i = 0; i < 6; i++)
        rows[i].y = -1;
    assert_false(lsq_solve_positive(rows, 6, 3, &fit));
}

static void test_singular(void **state)
{
    (void)state;
    struct lsq_row rows[6];
    struct lsq_fit fit;
    for (size_t i = 0; i < 6; i++) {
        double x = (double)(i + 1);
        rows[i] = (struct lsq_row){.x = {x, 2 * x, 0}, .y = 3 * x, .weight = 1};
    }
    assert_false(lsq_solve(rows, 6, 2, &fit)); /* one column is the double of the other */
    assert_false(lsq_solve(rows, 6, 3, &fit)); /* an empty column */
    assert_true(lsq_solve_positive(rows, 6, 3, &fit));
    assert_near(lsq_predict(&fit, (const double[]){7, 14, 0}), 21, 1e-9);
    assert_true(fit.dropped[1] && fit.dropped[2]);
}

static void test_slope(void **state)
{
    (void)state;
    double x[200], y[200], slope = 0, error = 0;
    struct random random = {5};
    for (size_t i = 0; i < 200; i++) {
        x[i] = (double)i / 3600;
        y[i] = 1000 + 250 * x[i] + normal(&random);
    }
    assert_true(lsq_slope(x, y, 200, &slope, &error));
    assert_true(fabs(slope - 250) < 3 * error);
    /* σ/√Σ(x−x̄)² with σ = 1 */
    assert_near(error, 3600 / sqrt(200.0 * (200.0 * 200.0 - 1) / 12), 0.15);
    assert_false(lsq_slope(x, y, 2, &slope, &error));
    for (size_t i = 0; i < 200; i++)
        x[i] = 1;
    assert_false(lsq_slope(x, y, 200, &slope, &error));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact),    cmocka_unit_test(test_noise),
        cmocka_unit_test(test_positive), cmocka_unit_test(test_singular),
        cmocka_unit_test(test_slope),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
