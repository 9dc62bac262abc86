/* SPDX-License-Identifier: Apache-2.0 */
#include "perf/decode_rows.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"

enum { KEYS = DECODE_KEYS, METRICS = DECODE_METRICS, TEXTS = DECODE_TEXTS };
enum { PACKED_INTS = KEYS, PACKED_DOUBLES, PACKED_COLUMNS };

static const struct statement_attribute table_attributes[] = {
    {.key = "db.namespace", .join = "|", .columns = {0, 1}, .column_count = 2},
    {.key = "db.collection.name", .columns = {2}, .column_count = 1},
};

static unsigned oid_of(const struct decode_shape *shape, int metric)
{
    if (shape->oid != 0)
        return shape->oid;
    return (metric + KEYS) % 10 == 9 ? ROWS_FLOAT8 : ROWS_INT8;
}

static bool is_double(unsigned oid)
{
    return oid == ROWS_FLOAT8 || oid == ROWS_NUMERIC || oid == DECODE_INTERVAL;
}

static bool is_null(const struct decode_shape *shape, int metric)
{
    return shape->null_every != 0 && metric % shape->null_every == 2;
}

/* ---- statements ---- */

static const struct metric *metric_at(int index, bool real)
{
    static struct metric metrics[2][METRICS];
    struct metric *metric = &metrics[real][index];
    *metric = (struct metric){
        .name = "metric",
        .instrument = index < DECODE_COUNTERS ? METRIC_SUM : METRIC_GAUGE,
        .value = real ? METRIC_DOUBLE : METRIC_INT,
        .monotonic = index < DECODE_COUNTERS,
    };
    return metric;
}

static const struct statement *text_statement(void)
{
    static struct statement_attribute attributes[TEXTS];
    static struct statement_point point;
    static struct statement statement;
    for (uint16_t i = 0; i < TEXTS; i++)
        attributes[i] =
            (struct statement_attribute){.key = "attribute", .columns = {i}, .column_count = 1};
    point = (struct statement_point){metric_at(0, false), NULL, TEXTS, 0};
    statement = (struct statement){.name = "texts",
                                   .column_count = TEXTS + 1,
                                   .attributes = attributes,
                                   .attribute_count = TEXTS,
                                   .points = &point,
                                   .point_count = 1,
                                   .start_column = -1};
    return &statement;
}

const struct statement *decode_rows_statement(const struct decode_shape *shape)
{
    static struct statement statements[2][3];
    static struct statement_point points[2][3][METRICS];
    if (shape->oid == ROWS_TEXT)
        return text_statement();
    /* one for mixed numbers, integers and reals each */
    int kind = shape->oid == 0 ? 0 : is_double(shape->oid) ? 2 : 1;
    struct statement_point *own = points[shape->packed][kind];
    uint16_t counts[2] = {0, 0};
    for (int i = 0; i < METRICS; i++) {
        bool real = is_double(oid_of(shape, i));
        uint16_t column = (uint16_t)(KEYS + i), element = 0;
        if (shape->packed) {
            column = real ? PACKED_DOUBLES : PACKED_INTS;
            element = ++counts[real];
        }
        own[i] = (struct statement_point){metric_at(i, real), NULL, column, element};
    }
    struct statement *statement = &statements[shape->packed][kind];
    *statement = (struct statement){
        .name = "tables",
        .column_count = shape->packed ? PACKED_COLUMNS : KEYS + METRICS,
        .attributes = table_attributes,
        .attribute_count = 2,
        .points = own,
        .point_count = METRICS,
        .start_column = -1,
    };
    return statement;
}

int decode_rows_values(const struct decode_shape *shape)
{
    if (shape->oid == ROWS_TEXT)
        return shape->rows * TEXTS;
    int values = 0;
    for (int i = 0; i < METRICS; i++)
        values += !is_null(shape, i);
    return shape->rows * values;
}

/* ---- rows ---- */

/* number.25 in digits of base 10,000: count, weight, sign, scale, digits. */
static void put_numeric(PGresult *rows, int row, int column, int number)
{
    uint16_t cell[7] = {3, 1, 0, 2, (uint16_t)(number / 10000), (uint16_t)(number % 10000), 2500};
    for (int i = 0; i < 7; i++)
        cell[i] = __builtin_bswap16(cell[i]);
    rows_put(rows, row, column, cell, sizeof cell);
}

static void put_interval(PGresult *rows, int row, int column, int seconds)
{
    struct {
        uint64_t us;
        uint32_t days, months;
    } cell = {__builtin_bswap64((uint64_t)seconds * 1000000), 0, 0};
    rows_put(rows, row, column, &cell, sizeof cell);
}

static void put_number(PGresult *rows, int row, int column, unsigned oid, int number)
{
    uint32_t small = __builtin_bswap32((uint32_t)number);
    switch (oid) {
    case ROWS_INT8:
        rows_put_int8(rows, row, column, number);
        break;
    case ROWS_INT4:
        rows_put(rows, row, column, &small, sizeof small);
        break;
    case ROWS_BOOL:
        rows_put(rows, row, column, number % 2 ? "\1" : "\0", 1);
        break;
    case ROWS_FLOAT8:
        rows_put_float8(rows, row, column, 1.5 * number);
        break;
    case ROWS_NUMERIC:
        put_numeric(rows, row, column, 20000 + number);
        break;
    case ROWS_TIMESTAMPTZ:
        rows_put_time(rows, row, column, (1700000000 + (uint64_t)number) * 1000000000);
        break;
    case DECODE_INTERVAL:
        put_interval(rows, row, column, number);
        break;
    default:
        CHECK(false);
    }
}

static void put_keys(PGresult *rows, int row, int table)
{
    char name[64];
    snprintf(name, sizeof name, "customer_orders_%d", table);
    rows_put_text(rows, row, 0, "production");
    rows_put_text(rows, row, 1, "public");
    rows_put_text(rows, row, 2, name);
}

static PGresult *create_plain(const struct decode_shape *shape, int first)
{
    unsigned oids[KEYS + METRICS] = {ROWS_TEXT, ROWS_TEXT, ROWS_TEXT};
    for (int i = 0; i < METRICS; i++)
        oids[KEYS + i] = oid_of(shape, i);
    PGresult *rows = rows_create(KEYS + METRICS, oids, true);
    for (int row = 0; row < shape->rows; row++) {
        int table = (row + first) % shape->rows;
        put_keys(rows, row, table);
        for (int i = 0; i < METRICS; i++)
            if (is_null(shape, i))
                rows_put_null(rows, row, KEYS + i);
            else
                put_number(rows, row, KEYS + i, oids[KEYS + i], 1000 * table + i);
    }
    return rows;
}

static PGresult *create_packed(const struct decode_shape *shape, int first)
{
    static const unsigned oids[PACKED_COLUMNS] = {ROWS_TEXT, ROWS_TEXT, ROWS_TEXT, ROWS_INT8_ARRAY,
                                                  ROWS_FLOAT8_ARRAY};
    PGresult *rows = rows_create(PACKED_COLUMNS, oids, true);
    for (int row = 0; row < shape->rows; row++) {
        int64_t integers[METRICS];
        double reals[METRICS];
        int int_count = 0, double_count = 0, table = (row + first) % shape->rows;
        uint64_t nulls[2] = {0, 0};
        put_keys(rows, row, table);
        for (int i = 0; i < METRICS; i++) {
            bool real = is_double(oid_of(shape, i));
            nulls[real] |= (uint64_t)is_null(shape, i) << (real ? double_count : int_count);
            if (real)
                reals[double_count++] = 1.5 * table;
            else
                integers[int_count++] = 1000 * table + i;
        }
        rows_put_array(rows, row, PACKED_INTS, ROWS_INT8, integers, int_count, nulls[0]);
        rows_put_array(rows, row, PACKED_DOUBLES, ROWS_FLOAT8, reals, double_count, nulls[1]);
    }
    return rows;
}

static PGresult *create_texts(const struct decode_shape *shape, int first)
{
    unsigned oids[TEXTS + 1];
    for (int i = 0; i <= TEXTS; i++)
        oids[i] = i < TEXTS ? ROWS_TEXT : ROWS_INT8;
    PGresult *rows = rows_create(TEXTS + 1, oids, true);
    for (int row = 0; row < shape->rows; row++) {
        int table = (row + first) % shape->rows;
        for (int i = 0; i < TEXTS; i++) {
            char text[64];
            snprintf(text, sizeof text, "customer_orders_%d_%d", i, table);
            rows_put_text(rows, row, i, text);
        }
        rows_put_int8(rows, row, TEXTS, table);
    }
    return rows;
}

PGresult *decode_rows_create(const struct decode_shape *shape, int first)
{
    if (shape->oid == ROWS_TEXT)
        return create_texts(shape, first);
    return shape->packed ? create_packed(shape, first) : create_plain(shape, first);
}
