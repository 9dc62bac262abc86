/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pg/value.h"

/* What a cell means; `text` NULL where there is none. Flags say which decoders give a value. */
struct cell {
    uint32_t oid;
    const char *bytes;
    size_t byte_count;
    bool is_int, is_double;
    int64_t integer;
    double real;
    const char *text;
    const char *why;
};

#define BYTES(literal) literal, sizeof literal - 1
#define NUMBER(n)      true, true, n, (double)(n)
#define NOTHING        false, false, 0, 0

static const struct cell cells[] = {
    {16, BYTES("\1"), NUMBER(1), "true", "bool"},
    {16, BYTES("\1\1"), NOTHING, NULL, "bool of two bytes"},
    {21, BYTES("\x80\0"), NUMBER(-32768), "-32768", "int2, least"},
    {21, BYTES("\x80"), NOTHING, NULL, "int2, cut"},
    {23, BYTES("\x7f\xff\xff\xff"), NUMBER(2147483647), "2147483647", "int4, most"},
    {20, BYTES("\x80\0\0\0\0\0\0\0"), NUMBER(INT64_MIN), "-9223372036854775808", "int8, least"},
    {20, BYTES("\0\0\0\0"), NOTHING, NULL, "int8 of four bytes"},
    {20, BYTES(""), NOTHING, NULL, "int8 of none"},
    {26, BYTES("\xff\xff\xff\xff"), NUMBER(4294967295), "4294967295", "oid is unsigned"},
    {5069, BYTES("\xff\xff\xff\xff\xff\xff\xff\xff"), false, true, 0, 0x1p64,
     "18446744073709551615", "xid8 past int64: no int, but a double"},
    {3220, BYTES("\0\0\0\1\x02\x03\x04\x05"), NUMBER(0x102030405), "1/2030405", "pg_lsn"},
    {700, BYTES("\x3d\xcc\xcc\xcd"), true, true, 0, (double)0.1f, "0.1", "float4"},
    {700, BYTES("\x7f\xc0\0\0"), NOTHING, NULL, "float4 NaN"},
    {701, BYTES("\x3f\xb9\x99\x99\x99\x99\x99\x9a"), true, true, 0, 0.1, "0.1", "float8"},
    {701, BYTES("\x43\xe0\0\0\0\0\0\0"), false, true, 0, 0x1p63, "9.223372036854776e+18",
     "2^63: no int"},
    {701, BYTES("\xc3\xe0\0\0\0\0\0\0"), true, true, INT64_MIN, -0x1p63, "-9.223372036854776e+18",
     "-2^63 fits"},
    {701, BYTES("\x7f\xf0\0\0\0\0\0\0"), NOTHING, NULL, "float8 infinity"},
    {1114, BYTES("\0\0\0\0\0\0\0\0"), NUMBER(946684800000000000), "2000-01-01 00:00:00",
     "the epoch of PostgreSQL"},
    {1184, BYTES("\xff\xff\xff\xff\xff\xff\xff\xff"), NUMBER(946684799999999000),
     "1999-12-31 23:59:59.999999+00", "a microsecond before"},
    {1184, BYTES("\x7f\xff\xff\xff\xff\xff\xff\xff"), NOTHING, "infinity", "infinity"},
    {1184, BYTES("\x80\0\0\0\0\0\0\0"), NOTHING, "-infinity", "-infinity"},
    {1186, BYTES("\0\0\0\0\0\x16\xe3\x60\0\0\0\1\0\0\0\xd"), true, true, 34236002, 34236001.5,
     "34236001.5", "interval: 13 months, a day, 1.5 s; halves to even"},
    {1186, BYTES("\0\0\0\0\0\x16\xe3\x60\0\0\0\1"), NOTHING, NULL, "interval, cut"},
    {1700, BYTES("\0\0\0\0\0\0\0\0"), NUMBER(0), "0", "numeric 0"},
    {1700, BYTES("\0\0\0\0\0\0\0\2"), NUMBER(0), "0.00", "numeric 0.00"},
    {1700, BYTES("\0\2\0\0\0\0\0\1\0\1\x13\x88"), true, true, 2, 1.5, "1.5", "1.5 rounds away"},
    {1700, BYTES("\0\1\0\4\0\0\0\0\0\x64"), NUMBER(1000000000000000000), "1000000000000000000",
     "trailing zero groups are not sent"},
    {1700, BYTES("\0\1\x80\0\0\0\0\0\0\1"), true, true, 0, 0, "0", "10000^-32768 is 0"},
    {1700, BYTES("\0\0\0\0\xc0\0\0\0"), NOTHING, NULL, "numeric NaN"},
    {1700, BYTES("\0\0\0\0\xd0\0\0\0"), NOTHING, NULL, "numeric infinity"},
    {1700, BYTES("\0\0\0\0\x12\x34\0\0"), NOTHING, NULL, "no such sign"},
    {1700, BYTES("\0\1\0\0\0\0\0\0\x27\x10"), NOTHING, NULL, "a digit of 10000"},
    {1700, BYTES("\0\2\0\0\0\0\0\0\0\1"), NOTHING, NULL, "fewer digits than said"},
    {1700, BYTES("\xff\xff\0\0\0\0\0\0"), NOTHING, NULL, "65535 digits said, none there"},
    {1700, BYTES("\0\0\0"), NOTHING, NULL, "half a header"},
    {25, BYTES("a\xc3\xa9"), NOTHING, "a\xc3\xa9", "text as it is"},
    {25, BYTES(""), NOTHING, "", "the empty text"},
    {18, BYTES("r"), NOTHING, "r", "\"char\""},
    {18, BYTES("\0"), NOTHING, "", "\"char\" 0"},
    {18, BYTES("ab"), NOTHING, NULL, "\"char\" of two bytes"},
    {2950, BYTES("\x12\x34\x56\x78\x9a\xbc\xde\xf0\1\2\3\4\5\6\7\x8"), NOTHING,
     "12345678-9abc-def0-0102-030405060708", "uuid"},
    {869, BYTES("\2\x20\0\4\x7f\0\0\1"), NOTHING, "127.0.0.1", "inet of a host"},
    {869, BYTES("\2\x18\0\4\x0a\0\0\1"), NOTHING, "10.0.0.1/24", "inet with a prefix"},
    {650, BYTES("\2\x20\1\4\x0a\0\0\1"), NOTHING, "10.0.0.1/32", "cidr"},
    {869, BYTES("\3\x80\0\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1"), NOTHING, "::1", "inet, IPv6"},
    {869, BYTES("\3\x80\0\4\x7f\0\0\1"), NOTHING, NULL, "IPv6 of four bytes"},
    {869, BYTES("\2\x20\0\x10\x7f\0\0\1"), NOTHING, NULL, "more bytes said than there are"},
};

static void test_cells(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cells / sizeof cells[0]; i++) {
        const struct cell *cell = &cells[i];
        const struct value_type *type = value_type(cell->oid);
        assert_non_null(type);
        /* in a block of its size, so that a read past it is caught */
        uint8_t *bytes = malloc(cell->byte_count + 1);
        uint8_t *at = bytes + 1; /* aligned to nothing */
        memcpy(at, cell->bytes, cell->byte_count);
        int64_t integer = 0;
        double real = 0;
        char buffer[VALUE_TEXT_BYTES];
        const char *text = NULL;
        size_t text_bytes = 0;
        if ((type->to_int != NULL && type->to_int(at, cell->byte_count, &integer)) !=
                cell->is_int ||
            (cell->is_int && integer != cell->integer))
            fail_msg("%s: integer %" PRId64, cell->why, integer);
        if ((type->to_double != NULL && type->to_double(at, cell->byte_count, &real)) !=
                cell->is_double ||
            (cell->is_double && real != cell->real))
            fail_msg("%s: real %.17g", cell->why, real);
        bool shown = type->to_text(at, cell->byte_count, buffer, &text, &text_bytes);
        if (shown != (cell->text != NULL) || (shown && (text_bytes != strlen(cell->text) ||
                                                        memcmp(text, cell->text, text_bytes) != 0)))
            fail_msg("%s: text \"%.*s\"", cell->why, (int)text_bytes, text);
        free(bytes);
    }
}

/* Types that are no number have neither decoder; types not known are NULL. */
static void test_types(void **state)
{
    (void)state;
    assert_null(value_type(0));
    assert_null(value_type(603)); /* box */
    static const uint32_t oids[] = {16,   18,   19,   20,   21,   23,   25,  26,   28,
                                    29,   114,  650,  700,  701,  705,  869, 1042, 1043,
                                    1114, 1184, 1186, 1700, 2950, 3220, 5069};
    for (size_t i = 0; i < sizeof oids / sizeof oids[0]; i++) {
        const struct value_type *type = value_type(oids[i]);
        assert_non_null(type);
        assert_int_equal(type->oid, oids[i]);
        assert_non_null(type->to_text);
        assert_true((type->to_int == NULL) == (type->to_double == NULL));
        assert_true(type->time == (oids[i] == 1114 || oids[i] == 1184));
    }
}

/* A numeric of more digits than the buffer holds is cut, not overrun. */
static void test_long_numeric(void **state)
{
    (void)state;
    enum { GROUPS = 5000 };
    static uint8_t cell[8 + 2 * GROUPS];
    cell[0] = GROUPS >> 8, cell[1] = GROUPS & 255;
    cell[2] = (GROUPS - 1) >> 8, cell[3] = (GROUPS - 1) & 255;
    for (size_t i = 0; i < GROUPS; i++)
        cell[9 + 2 * i] = 7;
    char buffer[VALUE_TEXT_BYTES];
    const char *text;
    size_t bytes;
    int64_t integer;
    double real;
    assert_true(value_type(1700)->to_text(cell, sizeof cell, buffer, &text, &bytes));
    assert_true(bytes > VALUE_TEXT_BYTES - 16 && bytes < VALUE_TEXT_BYTES);
    assert_memory_equal(text, "7000700070007", 13);
    assert_false(value_type(1700)->to_int(cell, sizeof cell, &integer));
    assert_false(value_type(1700)->to_double(cell, sizeof cell, &real)); /* 10^20000 */
    cell[2] = cell[3] = 0; /* 7.00070007…: every digit counts towards one rounding */
    assert_true(value_type(1700)->to_double(cell, sizeof cell, &real));
    assert_true(real == 7.0007000700070007);
    static const uint8_t most[] = {0, 1, 0x7f, 0xff, 0, 0, 0, 0, 0, 1}; /* 10000^32767 */
    assert_true(value_type(1700)->to_text(most, sizeof most, buffer, &text, &bytes));
    assert_true(bytes > VALUE_TEXT_BYTES - 16 && bytes < VALUE_TEXT_BYTES);
    assert_false(value_type(1700)->to_int(most, sizeof most, &integer));
    assert_false(value_type(1700)->to_double(most, sizeof most, &real));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cells),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_long_numeric),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
