/* SPDX-License-Identifier: Apache-2.0 */
/* Least squares by Householder QR, which stays exact where the normal equations lose half the
 * digits: points/s and scrapes/s differ by a factor of thousands. Columns are scaled to length one
 * first, so that "says nothing new" is one threshold for all. Pure functions. */
#include "tools/load/lsq.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/memory.h"

static const double singular = 1e-9; /* of a column's length, what the others leave of it */

struct matrix {
    size_t rows, columns; /* columns without the right-hand side */
    double scale[LSQ_COLUMNS_MAX];
    double *a; /* rows × (columns + 1), row by row; the last column is y */
};

static double *at(const struct matrix *m, size_t row, size_t column)
{
    return &m->a[row * (m->columns + 1) + column];
}

/* The number of columns when all say something, else the first that is empty. */
static size_t load(struct matrix *m, const struct lsq_row *rows, size_t row_count, size_t columns)
{
    *m = (struct matrix){.rows = row_count, .columns = columns};
    m->a = xcalloc(row_count * (columns + 1), sizeof *m->a);
    for (size_t r = 0; r < row_count; r++) {
        double root = sqrt(rows[r].weight);
        for (size_t c = 0; c < columns; c++)
            *at(m, r, c) = rows[r].x[c] * root;
        *at(m, r, columns) = rows[r].y * root;
    }
    for (size_t c = 0; c < columns; c++) {
        double sum = 0;
        for (size_t r = 0; r < row_count; r++)
            sum += *at(m, r, c) * *at(m, r, c);
        m->scale[c] = sqrt(sum);
        if (!(m->scale[c] > 0))
            return c;
        for (size_t r = 0; r < row_count; r++)
            *at(m, r, c) /= m->scale[c];
    }
    return columns;
}

/* Makes column `k` zero below its diagonal; false when nothing is left of it. */
static bool reflect(struct matrix *m, size_t k)
{
    double norm = 0;
    for (size_t r = k; r < m->rows; r++)
        norm += *at(m, r, k) * *at(m, r, k);
    norm = sqrt(norm);
    if (norm < singular)
        return false;
    double alpha = *at(m, k, k) > 0 ? -norm : norm;
    double head = *at(m, k, k) - alpha, square = head * head;
    for (size_t r = k + 1; r < m->rows; r++)
        square += *at(m, r, k) * *at(m, r, k);
    for (size_t c = k + 1; c <= m->columns; c++) {
        double dot = head * *at(m, k, c);
        for (size_t r = k + 1; r < m->rows; r++)
            dot += *at(m, r, k) * *at(m, r, c);
        dot *= 2 / square;
        *at(m, k, c) -= dot * head;
        for (size_t r = k + 1; r < m->rows; r++)
            *at(m, r, c) -= dot * *at(m, r, k);
    }
    *at(m, k, k) = alpha; /* what is below is not looked at again */
    return true;
}

/* R·to = from, from below. */
static void back_substitute(const struct matrix *m, const double *from, double *to)
{
    for (size_t k = m->columns; k-- > 0;) {
        double sum = from[k];
        for (size_t c = k + 1; c < m->columns; c++)
            sum -= *at(m, k, c) * to[c];
        to[k] = sum / *at(m, k, k);
    }
}

/* (RᵀR)⁻¹ = R⁻¹·R⁻ᵀ, times the variance, unscaled. */
static void covariance(const struct matrix *m, struct lsq_fit *fit)
{
    double inverse[LSQ_COLUMNS_MAX][LSQ_COLUMNS_MAX]; /* columns of R⁻¹ */
    for (size_t c = 0; c < m->columns; c++) {
        double unit[LSQ_COLUMNS_MAX] = {0};
        unit[c] = 1;
        back_substitute(m, unit, inverse[c]);
    }
    for (size_t i = 0; i < m->columns; i++)
        for (size_t j = 0; j < m->columns; j++) {
            double sum = 0;
            for (size_t k = 0; k < m->columns; k++)
                sum += inverse[k][i] * inverse[k][j];
            fit->covariance[i][j] = sum * fit->variance / (m->scale[i] * m->scale[j]);
        }
}

/* *ret_useless: the first column that is empty or a combination of those before it. */
static bool solve(const struct lsq_row *rows, size_t row_count, size_t columns,
                  struct lsq_fit *ret_fit, size_t *ret_useless)
{
    CHECK(columns > 0 && columns <= LSQ_COLUMNS_MAX && row_count <= LSQ_ROWS_MAX);
    memset(ret_fit, 0, sizeof *ret_fit);
    *ret_useless = columns - 1;
    if (row_count < columns)
        return false;
    struct matrix m;
    size_t full = load(&m, rows, row_count, columns);
    bool good = full == columns;
    for (size_t k = 0; k < columns && good; k++) {
        good = reflect(&m, k);
        full = k;
    }
    if (good) {
        double right[LSQ_COLUMNS_MAX], squares = 0;
        for (size_t k = 0; k < columns; k++)
            right[k] = *at(&m, k, columns);
        for (size_t r = columns; r < row_count; r++)
            squares += *at(&m, r, columns) * *at(&m, r, columns);
        ret_fit->columns = columns;
        ret_fit->rows = row_count;
        ret_fit->degrees = (double)(row_count - columns);
        ret_fit->variance = ret_fit->degrees > 0 ? squares / ret_fit->degrees : 0;
        back_substitute(&m, right, ret_fit->coefficients);
        for (size_t c = 0; c < columns; c++)
            ret_fit->coefficients[c] /= m.scale[c];
        covariance(&m, ret_fit);
    } else {
        *ret_useless = full;
    }
    free(m.a);
    return good;
}

bool lsq_solve(const struct lsq_row *rows, size_t row_count, size_t columns,
               struct lsq_fit *ret_fit)
{
    size_t useless;
    return solve(rows, row_count, columns, ret_fit, &useless);
}

/* The fit of the columns that are kept, put back into their places. */
static bool solve_kept(const struct lsq_row *rows, size_t row_count, const bool *dropped,
                       struct lsq_fit *ret_fit, size_t *ret_useless)
{
    size_t columns = ret_fit->columns, kept[LSQ_COLUMNS_MAX], count = 0;
    for (size_t c = 0; c < columns; c++)
        if (!dropped[c])
            kept[count++] = c;
    struct lsq_row *narrow = xcalloc(row_count + 1, sizeof *narrow);
    for (size_t r = 0; r < row_count; r++) {
        narrow[r] = (struct lsq_row){.y = rows[r].y, .weight = rows[r].weight};
        for (size_t k = 0; k < count; k++)
            narrow[r].x[k] = rows[r].x[kept[k]];
    }
    struct lsq_fit fit;
    size_t useless = 0;
    bool good = count > 0 && solve(narrow, row_count, count, &fit, &useless);
    free(narrow);
    *ret_useless = count > 0 ? kept[useless] : columns;
    if (!good)
        return false;
    *ret_fit = (struct lsq_fit){
        .columns = columns, .rows = row_count, .variance = fit.variance, .degrees = fit.degrees};
    memcpy(ret_fit->dropped, dropped, columns * sizeof *dropped);
    for (size_t i = 0; i < count; i++) {
        ret_fit->coefficients[kept[i]] = fit.coefficients[i];
        for (size_t j = 0; j < count; j++)
            ret_fit->covariance[kept[i]][kept[j]] = fit.covariance[i][j];
    }
    return true;
}

/* How many standard errors from zero. */
static double significance(const struct lsq_fit *fit, size_t column)
{
    double error = lsq_coefficient_error(fit, column);
    return fit->coefficients[column] / (error > 0 ? error : 1e-300);
}

bool lsq_solve_positive(const struct lsq_row *rows, size_t row_count, size_t columns,
                        struct lsq_fit *ret_fit)
{
    CHECK(columns > 0 && columns <= LSQ_COLUMNS_MAX);
    bool dropped[LSQ_COLUMNS_MAX] = {false};
    for (size_t turn = 0; turn <= columns; turn++) {
        size_t worst = columns, useless;
        ret_fit->columns = columns;
        if (!solve_kept(rows, row_count, dropped, ret_fit, &useless)) {
            if (useless == columns)
                return false;
            dropped[useless] = true;
            continue;
        }
        for (size_t c = 0; c < columns; c++)
            if (ret_fit->coefficients[c] < 0 &&
                (worst == columns || significance(ret_fit, c) < significance(ret_fit, worst)))
                worst = c;
        if (worst == columns)
            return true;
        dropped[worst] = true;
    }
    return false;
}

double lsq_predict(const struct lsq_fit *fit, const double *x)
{
    double sum = 0;
    for (size_t c = 0; c < fit->columns; c++)
        sum += fit->coefficients[c] * x[c];
    return sum;
}

double lsq_error(const struct lsq_fit *fit, const double *x, double weight)
{
    double sum = weight > 0 ? fit->variance / weight : 0;
    for (size_t i = 0; i < fit->columns; i++)
        for (size_t j = 0; j < fit->columns; j++)
            sum += x[i] * fit->covariance[i][j] * x[j];
    return sqrt(sum > 0 ? sum : 0);
}

double lsq_coefficient_error(const struct lsq_fit *fit, size_t column)
{
    return sqrt(fit->covariance[column][column]);
}

bool lsq_slope(const double *x, const double *y, size_t count, double *ret_slope, double *ret_error)
{
    double mean_x = 0, mean_y = 0, xx = 0, xy = 0, rest = 0;
    if (count < 3)
        return false;
    for (size_t i = 0; i < count; i++) {
        mean_x += x[i] / (double)count;
        mean_y += y[i] / (double)count;
    }
    for (size_t i = 0; i < count; i++) {
        xx += (x[i] - mean_x) * (x[i] - mean_x);
        xy += (x[i] - mean_x) * (y[i] - mean_y);
    }
    if (!(xx > singular * singular * mean_x * mean_x * (double)count))
        return false;
    *ret_slope = xy / xx;
    for (size_t i = 0; i < count; i++) {
        double residual = y[i] - mean_y - *ret_slope * (x[i] - mean_x);
        rest += residual * residual;
    }
    *ret_error = sqrt(rest / (double)(count - 2) / xx);
    return true;
}
