/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

/* Results as libpq would hand them out, built cell by cell in binary format. Cells that are not put
 * are NULL; rows are put from 0 on, each row's cells in any order. */
enum { ROWS_BOOL = 16, ROWS_INT8 = 20, ROWS_INT4 = 23, ROWS_TEXT = 25, ROWS_FLOAT8 = 701 };
enum { ROWS_TIMESTAMPTZ = 1184, ROWS_NUMERIC = 1700, ROWS_BOX = 603 };
enum { ROWS_INT8_ARRAY = 1016, ROWS_FLOAT8_ARRAY = 1022 };

PGresult *rows_create(int column_count, const unsigned *oids, bool binary);
void rows_put(PGresult *rows, int row, int column, const void *cell, int bytes);
void rows_put_null(PGresult *rows, int row, int column);
void rows_put_int8(PGresult *rows, int row, int column, int64_t value);
void rows_put_float8(PGresult *rows, int row, int column, double value);
void rows_put_text(PGresult *rows, int row, int column, const char *text);

/* A time given in ns since the Unix epoch. */
void rows_put_time(PGresult *rows, int row, int column, uint64_t time_ns);

/* An array cell as array_send() writes it, of `oid` int8 or float8. Elements whose bit of `nulls`
 * is set are NULL. */
enum { ROWS_ARRAY_MAX = 64 };
void rows_put_array(PGresult *rows, int row, int column, unsigned oid, const void *values,
                    int count, uint64_t nulls);
