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

static int put32(uint8_t *cell, uint32_t value)
{
    value = __builtin_bswap32(value);
    memcpy(cell, &value, sizeof value);
    return (int)sizeof value;
}

void rows_put_array(PGresult *rows, int row, int column, unsigned oid, const void *values,
                    int count, uint64_t nulls)
{
    uint8_t cell[20 + 12 * ROWS_ARRAY_MAX];
    const uint32_t header[5] = {1, nulls != 0, oid, (uint32_t)count, 1};
    int bytes = 0;
    CHECK(count <= ROWS_ARRAY_MAX);
    for (int i = 0; i < 5; i++)
        bytes += put32(cell + bytes, header[i]);
    for (int i = 0; i < count; i++) {
        bool null = (nulls >> i & 1) != 0;
        bytes += put32(cell + bytes, null ? UINT32_MAX : 8);
        uint64_t value;
        memcpy(&value, (const uint8_t *)values + 8 * i, sizeof value);
        value = __builtin_bswap64(value);
        memcpy(cell + bytes, &value, sizeof value);
        bytes += null ? 0 : 8;
    }
    rows_put(rows, row, column, cell, bytes);
}
