/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/pg/rows.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

PGresult *rows_create(int column_count, const unsigned *oids, bool binary)
{
    static char name[] = "column";
    PGresult *rows = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    PGresAttDesc *columns = calloc((size_t)column_count, sizeof *columns);
    CHECK(rows != NULL && columns != NULL);
    for (int i = 0; i < column_count; i++)
        columns[i] = (PGresAttDesc){.name = name, .typid = oids[i], .format = binary ? 1 : 0};
    CHECK(PQsetResultAttrs(rows, column_count, columns));
    free(columns);
    return rows;
}

/* libpq takes cells that are not const. */
void rows_put(PGresult *rows, int row, int column, const void *cell, int bytes)
{
    CHECK(PQsetvalue(rows, row, column, (char *)(uintptr_t)cell, bytes));
}

void rows_put_null(PGresult *rows, int row, int column)
{
    CHECK(PQsetvalue(rows, row, column, NULL, -1));
}

void rows_put_int8(PGresult *rows, int row, int column, int64_t value)
{
    uint64_t cell = __builtin_bswap64((uint64_t)value);
    rows_put(rows, row, column, &cell, sizeof cell);
}

void rows_put_float8(PGresult *rows, int row, int column, double value)
{
    int64_t bits;
    memcpy(&bits, &value, sizeof bits);
    rows_put_int8(rows, row, column, bits);
}

void rows_put_text(PGresult *rows, int row, int column, const char *text)
{
    rows_put(rows, row, column, text, (int)strlen(text));
}

void rows_put_time(PGresult *rows, int row, int column, uint64_t time_ns)
{
    rows_put_int8(rows, row, column, (int64_t)(time_ns / 1000) - 946684800000000);
}
