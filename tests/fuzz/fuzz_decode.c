/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as cells. One half of inputs are one cell each, given to every decoder of one type; the
 * other half are whole results, decoded twice over, whose points must add up. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "pg/value.h"
#include "tests/pg/decoding.h"
#include "tests/pg/rows.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const unsigned oids[] = {16,   18,   19,   20,   21,   23,   25,   26,
                                28,   650,  700,  701,  869,  1042, 1114, 1184,
                                1186, 1700, 1700, 1700, 2950, 3220, 5069, 603};
enum { OIDS = sizeof oids / sizeof oids[0], COLUMNS = 5, POINTS = 2 };

static void fuzz_value(const struct value_type *type, const uint8_t *data, size_t bytes)
{
    uint8_t *cell = malloc(bytes + 1); /* of its size, so that a read past it is caught */
    CHECK(cell != NULL);
    memcpy(cell, data, bytes);
    uint8_t *exact = realloc(cell, bytes > 0 ? bytes : 1);
    CHECK(exact != NULL);
    int64_t integer;
    double real;
    bool is_int = type->to_int != NULL && type->to_int(exact, bytes, &integer);
    bool is_double = type->to_double != NULL && type->to_double(exact, bytes, &real);
    CHECK(!is_double || isfinite(real));
    CHECK(!is_int || is_double);
    CHECK(!is_int || fabs((double)integer - real) <= 0.5 + fabs(real) * 0x1p-52);
    char buffer[VALUE_TEXT_BYTES];
    const char *text;
    size_t text_bytes;
    if (type->to_text(exact, bytes, buffer, &text, &text_bytes)) {
        CHECK(text_bytes <= (text == buffer ? sizeof buffer : bytes));
        if (is_double && type->oid == 1700) { /* the text is shown with as many decimals as asked */
            char copy[VALUE_TEXT_BYTES + 1];
            memcpy(copy, text, text_bytes);
            copy[text_bytes] = '\0';
            CHECK(strspn(copy, "-0123456789.") == text_bytes);
            CHECK(!is_int || llabs(integer) > (1ll << 53) ||
                  fabs(strtod(copy, NULL) - real) <= 1.0);
        }
    }
    free(exact);
}

static PGresult *make_rows(const uint8_t *data, size_t bytes)
{
    unsigned columns[COLUMNS] = {25, 25, 20, 1700, 1184};
    for (int i = 0; i < COLUMNS && bytes > 0; i++, data++, bytes--)
        if (*data < 128)
            columns[i] = oids[*data % OIDS];
    PGresult *rows = rows_create(COLUMNS, columns, true);
    for (int row = 0, column = 0; bytes > 0 && row < 200;) {
        size_t cell = *data++ % 17;
        bytes--;
        cell = cell < bytes ? cell : bytes;
        if (cell == 16)
            rows_put_null(rows, row, column);
        else
            rows_put(rows, row, column, data, (int)cell);
        cell = cell == 16 ? 0 : cell;
        data += cell;
        bytes -= cell;
        column = (column + 1) % COLUMNS;
        row += column == 0;
    }
    return rows;
}

static void fuzz_result(const uint8_t *data, size_t bytes, bool own_resource)
{
    static const struct metric counter = {
        .name = "counter", .instrument = METRIC_SUM, .value = METRIC_INT, .monotonic = true};
    static const struct metric gauge = {
        .name = "gauge", .instrument = METRIC_GAUGE, .value = METRIC_DOUBLE};
    static const struct statement_point points[POINTS] = {{&counter, NULL, 2}, {&gauge, NULL, 3}};
    static const struct statement_attribute attributes[] = {
        {.key = "one", .columns = {0}, .column_count = 1, .resource = true},
        {.key = "two", .join = "|", .columns = {0, 1}, .column_count = 2},
    };
    struct statement statement = {
        .name = "fuzz",
        .column_count = COLUMNS,
        .attributes = attributes,
        .attribute_count = 2,
        .points = points,
        .point_count = POINTS,
        .start_column = 4,
        .own_resource = own_resource,
    };
    static struct decoding decoding;
    decoding_init(&decoding, 4);
    struct series_table *table = series_table_create(&statement);
    PGresult *rows = make_rows(data, bytes);
    for (uint64_t time_ns = 1000; time_ns < 4000; time_ns += 1000) {
        uint64_t said = decoding_run(&decoding, table, rows, time_ns);
        CHECK(said == decoding.point_count);
        for (uint32_t i = 0; i < decoding.point_count; i++)
            CHECK(decoding.points[i].start_ns <= time_ns);
        CHECK(said <= (uint64_t)PQntuples(rows) * POINTS);
    }
    PQclear(rows);
    series_table_retire(&table, decoding.ring, 0, decoding.context.telemetry);
    CHECK(decoding_telemetry(&decoding, TELEMETRY_SERIES) == 0);
    decoding_fini(&decoding);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < 2)
        return 0;
    const struct value_type *type = value_type(oids[data[1] % OIDS]);
    if (data[0] % 4 < 2)
        fuzz_result(data + 1, bytes - 1, data[0] % 4 == 1);
    else if (type != NULL)
        fuzz_value(type, data + 2, bytes - 2);
    return 0;
}
