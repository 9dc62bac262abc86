/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* Weighted linear least squares, small: y = Σ coefficient·x + error. */
enum { LSQ_COLUMNS_MAX = 8, LSQ_ROWS_MAX = 4096 };

struct lsq_row {
    double x[LSQ_COLUMNS_MAX];
    double y;
    double weight; /* of the squared residual; 1/y² makes residuals relative */
};

struct lsq_fit {
    size_t columns, rows;
    double coefficients[LSQ_COLUMNS_MAX];
    double covariance[LSQ_COLUMNS_MAX][LSQ_COLUMNS_MAX];
    bool dropped[LSQ_COLUMNS_MAX]; /* coefficient is 0: it would have been negative, or its column
                                      says nothing that the others do not */
    double variance;               /* weighted, per degree of freedom */
    double degrees;                /* of freedom */
};

/* Householder QR. False when there are fewer rows than coefficients or a column is a combination of
 * others. */
bool lsq_solve(const struct lsq_row *rows, size_t row_count, size_t columns,
               struct lsq_fit *ret_fit);

/* Coefficients that cost something cannot be negative: the most negative one is left out, one after
 * the other, until none is; a column that is a combination of others is left out, too. False when
 * nothing can be fitted. */
bool lsq_solve_positive(const struct lsq_row *rows, size_t row_count, size_t columns,
                        struct lsq_fit *ret_fit);

double lsq_predict(const struct lsq_fit *fit, const double *x);

/* Standard error of the prediction: of the coefficients alone (`weight` 0), or of one further
 * measurement with that weight. */
double lsq_error(const struct lsq_fit *fit, const double *x, double weight);

double lsq_coefficient_error(const struct lsq_fit *fit, size_t column);

/* A straight line through points: its slope and the slope's standard error; false when x does not
 * vary or there are fewer than three points. */
bool lsq_slope(const double *x, const double *y, size_t count, double *ret_slope,
               double *ret_error);
