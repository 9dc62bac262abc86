/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as cells. One half of inputs are one cell each, given to every decoder of one type or
 * read as an array; the other half are whole results, decoded again and again, whose points must
 * add up. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "pg/pack.h"
#include "pg/value.h"
#include "tests/pg/decoding.h"
#include "tests/pg/rows.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const unsigned oids[] = {16,   18,   19,   20,   21,   23,   25,   26,   28,
                                650,  700,  701,  869,  1042, 1114, 1184, 1186, 1700,
                                1700, 1700, 2950, 3220, 5069, 603,  1016, 1022};
enum { OIDS = sizeof oids / sizeof oids[0], COLUMNS = 7, POINTS = 7, INTS = 5, REALS = 6 };
enum { ARRAYS = OIDS - 2 }; /* where arrays begin */

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

static size_t put_word(uint8_t *at, uint32_t word)
{
    word = __builtin_bswap32(word);
    memcpy(at, &word, sizeof word);
    return sizeof word;
}

/* A cell that is nearly an array of `count` elements, made of a byte each: a NULL, a length that is
 * wrong, or most often a value. */
static size_t make_array(uint8_t *cell, const uint8_t *data, uint32_t count)
{
    const uint32_t header[] = {1, 0, 20, count, 1};
    size_t bytes = 0;
    for (int i = 0; i < 5; i++)
        bytes += put_word(cell + bytes, header[i]);
    for (uint32_t i = 0; i < count; i++) {
        bool null = data[i] % 4 == 0, wrong = data[i] > 250;
        bytes += put_word(cell + bytes, null ? UINT32_MAX : wrong ? data[i] % 16 : 8);
        memset(cell + bytes, data[i], 8);
        bytes += null ? 0 : 8;
    }
    return bytes;
}

/* The bytes as they are, or what make_array() makes of them, which may be cut. Whatever is taken
 * for a pack lies within the cell, has as many NULLs as it is shorter, and reads the same in any
 * order. */
static void fuzz_pack(const uint8_t *data, size_t bytes, bool made)
{
    uint8_t whole[256];
    if (bytes < 2 || bytes > (made ? 17 : sizeof whole))
        return;
    uint32_t element_count = made ? (uint32_t)bytes - 1 : 1 + data[0] % 16, null_count = 0;
    size_t cell_bytes = bytes - 1;
    memcpy(whole, data + 1, cell_bytes);
    if (made)
        cell_bytes =
            make_array(whole, data + 1, element_count) - (data[0] < 128 ? 0 : data[0] % 16);
    uint8_t *cell = malloc(cell_bytes > 0 ? cell_bytes : 1);
    CHECK(cell != NULL);
    memcpy(cell, whole, cell_bytes);
    struct pack pack = pack_read(cell, cell_bytes, 20, element_count);
    const uint8_t *places[16];
    for (uint32_t i = 0; pack.elements != NULL && i < element_count; i++) {
        places[i] = pack_element(&pack, i + 1);
        null_count += places[i] == NULL;
        CHECK(places[i] == NULL || (places[i] >= pack.elements + 4 &&
                                    places[i] + PACK_VALUE_BYTES <= cell + cell_bytes));
    }
    for (uint32_t i = element_count; pack.elements != NULL && i > 0; i--)
        CHECK(pack_element(&pack, i) == places[i - 1]);
    CHECK(pack.elements == NULL || cell_bytes == PACK_HEADER_BYTES +
                                                     (size_t)element_count * PACK_ELEMENT_BYTES -
                                                     (size_t)null_count * PACK_VALUE_BYTES);
    free(cell);
}

/* An array cell of three elements from the bytes at hand; returns how many it took. Most are good,
 * any may have one byte changed. */
static size_t put_array(PGresult *rows, int row, int column, const uint8_t *data, size_t bytes)
{
    int64_t values[3] = {0};
    if (bytes < 3)
        return bytes;
    size_t taken = bytes - 3 < sizeof values ? bytes - 3 : sizeof values;
    memcpy(values, data + 3, taken);
    rows_put_array(rows, row, column, column == INTS ? 20 : 701, values, 3, data[0] & 7);
    int cell_bytes = PQgetlength(rows, row, column);
    uint8_t cell[64];
    memcpy(cell, PQgetvalue(rows, row, column), (size_t)cell_bytes);
    if (data[0] & 64)
        cell[data[1] % (size_t)cell_bytes] = data[2];
    if (data[0] & 128)
        cell_bytes = data[2] % (cell_bytes + 1);
    rows_put(rows, row, column, cell, cell_bytes);
    return 3 + taken;
}

static PGresult *make_rows(const uint8_t *data, size_t bytes)
{
    unsigned columns[COLUMNS] = {25, 25, 20, 1700, 1184, 1016, 1022};
    for (int i = 0; i < COLUMNS && bytes > 0; i++, data++, bytes--)
        if (*data < 128)
            columns[i] = oids[*data % OIDS];
    PGresult *rows = rows_create(COLUMNS, columns, true);
    for (int row = 0, column = 0; bytes > 0 && row < 200;) {
        size_t cell = *data++ % 18;
        bytes--;
        cell = cell == 17 || cell < bytes ? cell : bytes;
        if (cell == 16)
            rows_put_null(rows, row, column);
        else if (cell == 17)
            cell = put_array(rows, row, column, data, bytes);
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
    static const struct statement_point points[POINTS] = {
        {&counter, NULL, 2, 0},    {&gauge, NULL, 3, 0},      {&counter, NULL, INTS, 1},
        {&counter, NULL, INTS, 2}, {&counter, NULL, INTS, 3}, {&gauge, NULL, REALS, 3},
        {&gauge, NULL, REALS, 1},
    };
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
    else if (data[1] % OIDS >= ARRAYS)
        fuzz_pack(data + 2, bytes - 2, data[1] % OIDS == ARRAYS);
    else if (type != NULL)
        fuzz_value(type, data + 2, bytes - 2);
    return 0;
}
