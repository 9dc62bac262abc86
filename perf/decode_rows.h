/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "catalog/catalog.h"
#include "tests/pg/rows.h"

/* Results with three text columns that name a table and twenty numbers behind them, and the
 * statement that describes them. */
enum { DECODE_KEYS = 3, DECODE_METRICS = 20, DECODE_COUNTERS = 16, DECODE_TEXTS = 16 };
enum { DECODE_INTERVAL = 1186 };

struct decode_shape {
    unsigned oid; /* of all numbers; 0: int8, every tenth float8, as built-in statements have them;
                     ROWS_TEXT: DECODE_TEXTS attributes and one number instead */
    bool packed;  /* numbers travel in an array of each kind */
    int null_every; /* every so many-th number is NULL; 0: none */
    int rows;
    int orders;  /* results that differ in the order of rows, read in turn */
    int targets; /* tables of series that read them in turn */
};

/* Row i is table (i + first) % rows. */
PGresult *decode_rows_create(const struct decode_shape *shape, int first);

/* Valid for ever; one for each kind of shape. */
const struct statement *decode_rows_statement(const struct decode_shape *shape);

/* Cells that hold a value of those the shape is about. */
int decode_rows_values(const struct decode_shape *shape);
