/* SPDX-License-Identifier: Apache-2.0 */
/* Cells of a real server: extreme values of every type, read in binary and decoded by us, against
 * the same server's own text and casts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <libpq-fe.h>

#include "pg/value.h"
#include "tests/pg/cluster.h"

/* One value; what it is as integer and real, in SQL, where a cast is not what we mean. */
struct live {
    const char *sql, *as_int, *as_double;
};

#define EPOCH(sql)                                                                                 \
    {                                                                                              \
        sql, "(extract(epoch from " sql ") * 1000000000)::bigint",                                 \
            "(extract(epoch from " sql ") * 1000000000)::float8"                                   \
    }
#define SECONDS(sql)                                                                               \
    {                                                                                              \
        sql, "extract(epoch from " sql ")::float8::bigint", "extract(epoch from " sql ")::float8"  \
    }
#define WORD(sql)                                                                                  \
    {                                                                                              \
        sql, NULL, NULL                                                                            \
    }
#define NUMBER(sql)                                                                                \
    {                                                                                              \
        sql, "(" sql ")::bigint", "(" sql ")::float8"                                              \
    }
#define UNSIGNED(sql)                                                                              \
    {                                                                                              \
        sql, "(" sql ")::text::bigint", "(" sql ")::text::float8"                                  \
    }

static const struct live values[] = {
    {"true", "1", "1"},
    {"false", "0", "0"},
    NUMBER("(-32768)::int2"),
    NUMBER("32767::int2"),
    NUMBER("(-2147483648)::int4"),
    NUMBER("2147483647"),
    NUMBER("(-9223372036854775808)::int8"),
    NUMBER("9223372036854775807"),
    UNSIGNED("4294967295::oid"),
    UNSIGNED("'4294967295'::xid"),
    UNSIGNED("'4294967295'::cid"),
    UNSIGNED("'18446744073709551615'::xid8"),
    UNSIGNED("'9223372036854775807'::xid8"),
    {"'16/B374D848'::pg_lsn", "('16/B374D848'::pg_lsn - '0/0')::bigint",
     "('16/B374D848'::pg_lsn - '0/0')::float8"},
    NUMBER("1.5::float4"),
    NUMBER("3.4028235e38::float4"),
    NUMBER("1.4e-45::float4"),
    NUMBER("(-0.1)::float4"),
    NUMBER("'NaN'::float4"),
    NUMBER("0.1::float8"),
    NUMBER("2.5::float8"),
    NUMBER("3.5::float8"),
    NUMBER("1.7976931348623157e308::float8"),
    NUMBER("5e-324::float8"),
    NUMBER("9223372036854774784::float8"),
    NUMBER("9223372036854775808::float8"),
    NUMBER("(-9223372036854775808)::float8"),
    NUMBER("'Infinity'::float8"),
    NUMBER("'NaN'::float8"),
    NUMBER("0::numeric"),
    NUMBER("0.00::numeric"),
    NUMBER("-0.5::numeric"),
    NUMBER("0.49999999999999999999::numeric"),
    NUMBER("1.5::numeric"),
    NUMBER("2.5::numeric"),
    NUMBER("-2.5::numeric"),
    NUMBER("10000::numeric"),
    NUMBER("9999.9999::numeric"),
    NUMBER("0.0001::numeric"),
    NUMBER("0.00000001::numeric"),
    NUMBER("0.000000010000000200000003::numeric"),
    NUMBER("123456789.123456789::numeric"),
    NUMBER("1234567890123456789.5::numeric"),
    NUMBER("9007199254740993::numeric"),
    NUMBER("9007199254740993.0000000000000000000001::numeric"),
    NUMBER("9223372036854775807::numeric"),
    NUMBER("9223372036854775807.4::numeric"),
    NUMBER("9223372036854775807.5::numeric"),
    NUMBER("9223372036854775808::numeric"),
    NUMBER("(-9223372036854775808)::numeric"),
    NUMBER("(-9223372036854775808.4)::numeric"),
    NUMBER("(-9223372036854775808.5)::numeric"),
    NUMBER("18446744073709551615::numeric"),
    NUMBER("18446744073709551616::numeric"),
    NUMBER("100000000000000000000::numeric"),
    NUMBER("1e300::numeric"),
    NUMBER("1e-300::numeric"),
    NUMBER("2.2250738585072011e-308::numeric"),
    NUMBER("1.7976931348623157e308::numeric"),
    NUMBER("(1.7976931348623157e308::numeric + 1e-1000::numeric)"),
    NUMBER("'NaN'::numeric"),
    NUMBER("'Infinity'::numeric"),
    NUMBER("'-Infinity'::numeric"),
    NUMBER("(SELECT sum(9223372036854775807) FROM generate_series(1, 3))"),
    EPOCH("'1970-01-01 00:00:00+00'::timestamptz"),
    EPOCH("'2000-01-01 00:00:00+00'::timestamptz"),
    EPOCH("'2262-04-11 23:47:16.854775+00'::timestamptz"),
    EPOCH("'2262-04-11 23:47:16.854776+00'::timestamptz"),
    EPOCH("'1677-09-21 00:12:43.145225+00'::timestamptz"),
    EPOCH("'2024-02-29 12:34:56.789+02'::timestamptz"),
    EPOCH("'1969-12-31 23:59:59.999999'::timestamp"),
    EPOCH("'2100-03-01 00:00:00.000001'::timestamp"),
    WORD("'4713-01-01 00:00:00 BC'::timestamp"),
    WORD("'294276-12-31 23:59:59.999999'::timestamp"),
    WORD("'infinity'::timestamptz"),
    WORD("'-infinity'::timestamptz"),
    SECONDS("interval '0'"),
    SECONDS("interval '1.5 s'"),
    SECONDS("interval '-1.5 s'"),
    SECONDS("interval '13 months 2 days 03:04:05.678901'"),
    SECONDS("interval '-25 months 400 days -0.000001 s'"),
    SECONDS("interval '178000000 years'"),
    WORD("'text é'::text"),
    WORD("''::text"),
    WORD("'varying'::varchar(20)"),
    WORD("'padded'::char(10)"),
    WORD("'name'::name"),
    WORD("'r'::\"char\""),
    WORD("''::\"char\""),
    WORD("'{\"a\":1}'::json"),
    WORD("'123e4567-e89b-12d3-a456-426614174000'::uuid"),
    WORD("'10.1.2.3'::inet"),
    WORD("'10.1.2.3/24'::inet"),
    WORD("'10.1.2.0/24'::cidr"),
    WORD("'10.1.2.3/32'::cidr"),
    WORD("'::1'::inet"),
    WORD("'2001:db8::ff00:42:8329/64'::inet"),
    WORD("'::ffff:1.2.3.4'::inet"),
    WORD("'2001:db8::/32'::cidr"),
};

static struct cluster cluster;
static PGconn *conn;

static int start(void **state)
{
    (void)state;
    char dsn[256];
    cluster_create(&cluster, NULL);
    snprintf(dsn, sizeof dsn,
             "host=%s port=%u user=postgres dbname=postgres "
             "options='-c timezone=UTC -c datestyle=ISO'",
             cluster.directory, cluster.port);
    conn = PQconnectdb(dsn);
    return PQstatus(conn) == CONNECTION_OK ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    PQfinish(conn);
    cluster_destroy(&cluster);
    return 0;
}

/* The value of an SQL expression; NULL where it is an error (out of range). */
static PGresult *ask(const char *sql, int binary)
{
    char text[1024];
    snprintf(text, sizeof text, "SELECT %s", sql);
    PGresult *result = PQexecParams(conn, text, 0, NULL, NULL, NULL, NULL, binary);
    if (PQresultStatus(result) == PGRES_TUPLES_OK)
        return result;
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (strcmp(sqlstate, "22003") != 0 && strcmp(sqlstate, "0A000") != 0)
        fail_msg("%s: %s", text, PQresultErrorMessage(result));
    PQclear(result);
    return NULL;
}

static void check_numbers(const struct live *value, const struct value_type *type,
                          const uint8_t *cell, size_t bytes)
{
    int64_t integer = 0;
    double real = 0;
    bool has_int = type->to_int(cell, bytes, &integer);
    bool has_double = type->to_double(cell, bytes, &real);
    if (value->as_int == NULL) { /* a time too far away: no value */
        assert_false(has_int);
        return;
    }
    PGresult *as_int = ask(value->as_int, 0), *as_double = ask(value->as_double, 0);
    if (has_int != (as_int != NULL) ||
        (has_int && integer != strtoll(PQgetvalue(as_int, 0, 0), NULL, 10)))
        fail_msg("%s: integer %ld, server says %s", value->sql, has_int ? integer : 0,
                 as_int != NULL ? PQgetvalue(as_int, 0, 0) : "out of range");
    /* times are no doubles past int64 */
    double expected = as_double != NULL ? strtod(PQgetvalue(as_double, 0, 0), NULL) : 0;
    bool expect = as_double != NULL && expected - expected == 0 && (!type->time || has_int);
    if (has_double != expect || (has_double && real != expected))
        fail_msg("%s: real %.17g, server says %.17g", value->sql, real, expected);
    PQclear(as_int);
    PQclear(as_double);
}

static void check_text(const struct live *value, const struct value_type *type, const uint8_t *cell,
                       size_t bytes)
{
    char buffer[VALUE_TEXT_BYTES], text[VALUE_TEXT_BYTES + 1];
    const char *start;
    size_t length;
    PGresult *shown = ask(value->sql, 0);
    const char *expected = PQgetvalue(shown, 0, 0);
    bool finite = strstr(expected, "NaN") == NULL && strstr(expected, "Inf") == NULL;
    if (!type->to_text(cell, bytes, buffer, &start, &length)) {
        if (finite)
            fail_msg("%s: no text, server says %s", value->sql, expected);
    } else {
        snprintf(text, sizeof text, "%.*s", (int)length, start);
        bool same = strcmp(text, expected) == 0;
        if (type->oid == 16) /* bool: t, f */
            same = text[0] == expected[0];
        if (type->oid == 700) /* the same number, shown in another way */
            same = strtof(text, NULL) == strtof(expected, NULL);
        if (type->oid == 701)
            same = strtod(text, NULL) == strtod(expected, NULL);
        if (type->oid == 1186) { /* interval: seconds */
            double real;
            same = type->to_double(cell, bytes, &real) && strtod(text, NULL) == real;
        }
        if (!same)
            fail_msg("%s: text \"%s\", server says \"%s\"", value->sql, text, expected);
    }
    PQclear(shown);
}

static void test_values(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        PGresult *result = ask(values[i].sql, 1);
        assert_non_null(result);
        const struct value_type *type = value_type(PQftype(result, 0));
        if (type == NULL)
            fail_msg("%s: type %u", values[i].sql, PQftype(result, 0));
        const uint8_t *cell = (const uint8_t *)PQgetvalue(result, 0, 0);
        size_t bytes = (size_t)PQgetlength(result, 0, 0);
        check_text(&values[i], type, cell, bytes);
        if (type->to_int != NULL)
            check_numbers(&values[i], type, cell, bytes);
        else
            assert_null(values[i].as_int);
        PQclear(result);
    }
}

/* Numerics of every shape, by the thousand. */
static void test_numerics(void **state)
{
    (void)state;
    static const char sql[] =
        "SELECT setseed(0.5);"
        "CREATE TEMP TABLE n AS SELECT round((random() * 2 - 1)::numeric * 10 ^ (random() * 40 - "
        "20)"
        "::int::numeric, (random() * 25)::int) AS n FROM generate_series(1, 4000)";
    PQclear(PQexec(conn, sql));
    PGresult *binary = PQexecParams(conn, "SELECT n FROM n", 0, NULL, NULL, NULL, NULL, 1);
    PGresult *text = PQexec(conn, "SELECT n, n::float8, CASE WHEN abs(n) < 9e18 THEN n::bigint END "
                                  "FROM n");
    assert_int_equal(PQntuples(binary), 4000);
    assert_int_equal(PQntuples(text), 4000);
    const struct value_type *type = value_type(PQftype(binary, 0));
    for (int row = 0; row < 4000; row++) {
        const uint8_t *cell = (const uint8_t *)PQgetvalue(binary, row, 0);
        size_t bytes = (size_t)PQgetlength(binary, row, 0), length;
        char buffer[VALUE_TEXT_BYTES];
        const char *start;
        double real;
        int64_t integer = 0;
        assert_true(type->to_text(cell, bytes, buffer, &start, &length));
        assert_int_equal(length, PQgetlength(text, row, 0));
        assert_memory_equal(start, PQgetvalue(text, row, 0), length);
        assert_true(type->to_double(cell, bytes, &real));
        assert_true(real == strtod(PQgetvalue(text, row, 1), NULL));
        if (!PQgetisnull(text, row, 2)) {
            assert_true(type->to_int(cell, bytes, &integer));
            assert_int_equal(integer, strtoll(PQgetvalue(text, row, 2), NULL, 10));
        }
    }
    PQclear(binary);
    PQclear(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_numerics),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
