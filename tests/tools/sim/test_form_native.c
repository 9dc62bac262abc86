/* SPDX-License-Identifier: Apache-2.0 */
/* What psql, pgbench and a session's first words are answered, and the text format. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <endian.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "tests/tools/sim/forms.h"
#include "tools/sim/form_data.h"

static struct forms forms;

static int setup(void **state)
{
    (void)state;
    forms_open(&forms, NULL, (struct shape){0});
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    forms_close(&forms);
    return 0;
}

/* ---- without a result ---- */

static void tags_and_settings(void **state)
{
    (void)state;
    static const struct {
        const char *sql, *tag, *setting, *value;
    } rows[] = {
        {"BEGIN", "BEGIN", NULL, NULL},
        {"begin;", "BEGIN", NULL, NULL},
        {" /* a */ BEGIN ISOLATION LEVEL REPEATABLE READ", "BEGIN", NULL, NULL},
        {"START TRANSACTION READ ONLY", "START TRANSACTION", NULL, NULL},
        {"COMMIT", "COMMIT", NULL, NULL},
        {"end", "COMMIT", NULL, NULL},
        {"ROLLBACK", "ROLLBACK", NULL, NULL},
        {"ABORT", "ROLLBACK", NULL, NULL},
        {"DEALLOCATE ALL", "DEALLOCATE ALL", NULL, NULL},
        {"DEALLOCATE \"p1\"", "DEALLOCATE", NULL, NULL},
        {"DISCARD ALL", "DISCARD ALL", NULL, NULL},
        {"vacuum pgbench_branches", "VACUUM", NULL, NULL},
        {"truncate pgbench_history", "TRUNCATE TABLE", NULL, NULL},
        {"SET statement_timeout = '5s'", "SET", "statement_timeout", "5000"},
        {"SET statement_timeout TO 250", "SET", "statement_timeout", "250"},
        {"set session LOCK_TIMEOUT = '2 min'", "SET", "lock_timeout", "120000"},
        {"SET LOCAL application_name TO 'a''b'", "SET", "application_name", "a'b"},
        {"SET TIME ZONE 'UTC'", "SET", "TimeZone", "UTC"},
        {"SET statement_timeout TO DEFAULT", "SET", "statement_timeout", "0"},
        {"SET TRANSACTION READ ONLY", "SET", NULL, NULL},
        {"SET search_path = \"$user\", public", "SET", "search_path", "$user"},
        {"RESET lock_timeout", "RESET", "lock_timeout", "0"},
        {"RESET ALL", "RESET", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct form *form = forms_find(&forms, rows[i].sql, "app");
        const char *value, *setting = form_setting(form, &value);
        assert_string_equal(form_tag(form), rows[i].tag);
        assert_string_equal(form_name(form), "other");
        assert_false(form_recorded(form));
        assert_null(forms_columns(form, forms_text)); /* NoData */
        struct form_moment moment = forms_moment(1);
        struct answer answer;
        forms_ask(form, forms_binary, &moment, &answer);
        assert_string_equal(answer.tag, rows[i].tag);
        answer_free(&answer);
        assert_int_equal(setting != NULL, rows[i].setting != NULL);
        if (setting) {
            assert_string_equal(setting, rows[i].setting);
            assert_string_equal(value, rows[i].value);
        }
    }
}

/* ---- with one ---- */

static void questions(void **state)
{
    (void)state;
    static const struct {
        const char *sql, *column;
        uint32_t oid;
        const char *text, *tag;
        uint32_t parameters;
    } rows[] = {
        {"SELECT 1", "?column?", 23, "1", "SELECT 1", 0},
        {"select  1 ;", "?column?", 23, "1", "SELECT 1", 0},
        {"SELECT now()", "now", 1184, "2026-12-07 23:06:40.123456+00", "SELECT 1", 0},
        {"select pg_catalog.now()", "now", 1184, "2026-12-07 23:06:40.123456+00", "SELECT 1", 0},
        {"SELECT current_timestamp", "current_timestamp", 1184, "2026-12-07 23:06:40.123456+00",
         "SELECT 1", 0},
        {"SELECT pg_is_in_recovery()", "pg_is_in_recovery", 16, "t", "SELECT 1", 0},
        {"SELECT current_database()", "current_database", 19, "billing", "SELECT 1", 0},
        {"SHOW server_version", "server_version", 25, "17.10", "SHOW", 0},
        {"show SERVER_VERSION_NUM", "server_version_num", 25, "170010", "SHOW", 0},
        {"SHOW timezone", "TimeZone", 25, "UTC", "SHOW", 0},
        {"SHOW integer_datetimes", "integer_datetimes", 25, "on", "SHOW", 0},
        {"SHOW TRANSACTION ISOLATION LEVEL", "transaction_isolation", 25, "read committed", "SHOW",
         0},
        {"/* pgweir */ SELECT pg_catalog.set_config('statement_timeout', '100', false)",
         "set_config", 25, "100", "SELECT 1", 0},
        {"SELECT set_config('a.b', E'x\\'y', true)", "set_config", 25, "x'y", "SELECT 1", 0},
        {"SELECT abalance FROM pgbench_accounts WHERE aid = 12345;", "abalance", 23, NULL,
         "SELECT 1", 0},
        {"SELECT abalance FROM pgbench_accounts WHERE aid = $1;", "abalance", 23, NULL, "SELECT 1",
         1},
        {"select count(*) from pgbench_branches", "count", 20, "1", "SELECT 1", 0},
    };
    struct form_moment moment = forms_moment(9);
    moment.recovery = true;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct form *form = forms_find(&forms, rows[i].sql, "billing");
        struct column *columns = forms_columns(form, forms_text);
        struct answer answer;
        forms_ask(form, forms_text, &moment, &answer);
        assert_int_equal(form_columns(form), 1);
        assert_string_equal(columns[0].name, rows[i].column);
        assert_int_equal(columns[0].oid, rows[i].oid);
        assert_int_equal(columns[0].format, 0);
        assert_int_equal(form_parameters(form), rows[i].parameters);
        assert_int_equal(answer.row_count, 1);
        if (rows[i].text && !answer_is(&answer, 0, 0, rows[i].text))
            fail_msg("%s: \"%s\"", rows[i].sql, answer_text(&answer, 0, 0));
        assert_string_equal(answer.tag, rows[i].tag);
        answer_free(&answer);
        free(columns);
    }
}

static void binary_questions(void **state)
{
    (void)state;
    struct form_moment moment = forms_moment(9);
    struct answer answer;
    uint64_t bits;
    forms_ask(forms_find(&forms, "SELECT now()", "app"), forms_binary, &moment, &answer);
    assert_true(answer_bits(&answer, 0, 0, 0, &bits));
    assert_int_equal(bits, moment.now_us);
    answer_free(&answer);
    forms_ask(forms_find(&forms, "SELECT 1", "app"), forms_binary, &moment, &answer);
    assert_int_equal(answer_cell(&answer, 0, 0)->bytes, 4);
    assert_memory_equal(answer_cell(&answer, 0, 0)->data, "\0\0\0\1", 4);
    answer_free(&answer);
    forms_ask(forms_find(&forms, "SELECT pg_is_in_recovery()", "app"), forms_binary, &moment,
              &answer);
    assert_int_equal(answer_cell(&answer, 0, 0)->data[0], 0);
    answer_free(&answer);
}

/* What differs in literals only is one form: pgbench cannot fill memory. */
static void literals_share_a_form(void **state)
{
    (void)state;
    const struct form *first =
        forms_find(&forms, "SELECT abalance FROM pgbench_accounts WHERE aid = 1;", "app");
    for (int i = 2; i < 1000; i++) {
        char sql[100];
        snprintf(sql, sizeof sql, "SELECT abalance FROM pgbench_accounts WHERE aid = %d;", i);
        assert_ptr_equal(forms_find(&forms, sql, "app"), first);
    }
    const struct form *prepared =
        forms_find(&forms, "SELECT abalance FROM pgbench_accounts WHERE aid = $1;", "app");
    assert_ptr_not_equal(prepared, first);
}

/* ---- text ---- */

static void number_is(uint32_t oid, uint64_t bits, const char *text)
{
    char buffer[128];
    bits = htobe64(bits);
    size_t bytes = form_text_cell(oid, (const uint8_t *)&bits, sizeof bits, buffer);
    assert_true(bytes + 1 <= form_text_bound(oid, sizeof bits));
    buffer[bytes] = '\0';
    assert_string_equal(buffer, text);
}

static void real_is(double value, const char *text)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    number_is(701, bits, text);
}

/* As psql 15 shows them. */
static void numbers_as_text(void **state)
{
    (void)state;
    number_is(20, (uint64_t)INT64_MIN, "-9223372036854775808");
    number_is(20, 0, "0");
    real_is(0, "0");
    real_is(-0.0, "-0");
    real_is(1, "1");
    real_is(-2.5, "-2.5");
    real_is(0.1 + 0.2, "0.30000000000000004");
    real_is(100000, "100000");
    real_is(123456789012345, "123456789012345");
    real_is(1e15, "1e+15");
    real_is(1234567890123456, "1.234567890123456e+15");
    real_is(0.0001, "0.0001");
    real_is(0.00001234, "1.234e-05");
    real_is(5e-324, "5e-324");
    real_is(2.2250738585072014e-308, "2.2250738585072014e-308");
    real_is(1.7976931348623157e308, "1.7976931348623157e+308");
    real_is(-1.7976931348623157e308, "-1.7976931348623157e+308");
    real_is((double)NAN, "NaN");
    real_is(HUGE_VAL, "Infinity");
    real_is(-HUGE_VAL, "-Infinity");
    number_is(1184, 0, "2000-01-01 00:00:00+00");
    number_is(1184, (uint64_t)-1, "1999-12-31 23:59:59.999999+00");
    number_is(1184, 500000, "2000-01-01 00:00:00.5+00");
    number_is(1184, (uint64_t)INT64_MAX, "infinity");
    number_is(1184, (uint64_t)INT64_MIN, "-infinity");
    number_is(1184, (uint64_t)9223371331199999999, "294276-12-31 23:59:59.999999+00");
    number_is(1184, (uint64_t)-211813488000000000, "4714-11-24 00:00:00+00 BC");
}

static void reals_read_back(void **state)
{
    (void)state;
    struct random random = {.state = 42};
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = random_next(&random), swapped = htobe64(bits);
        double value = i % 2 ? (double)(bits >> 40) / 1000 : bits_real(bits);
        if (i % 2) {
            memcpy(&swapped, &value, sizeof swapped);
            swapped = htobe64(swapped);
        }
        char buffer[128];
        size_t bytes = form_text_cell(701, (const uint8_t *)&swapped, 8, buffer);
        assert_true(bytes + 1 <= form_text_bound(701, 8));
        buffer[bytes] = '\0';
        double back = strtod(buffer, NULL);
        assert_true(isnan(value) ? isnan(back) : !(back < value) && !(back > value));
    }
}

/* {1,NULL,3} has what the binary array has. */
static void elements_equal(const char *shown, const struct answer *binary, uint32_t row,
                           uint32_t column)
{
    const char *at = shown;
    for (uint32_t element = 1; *at != '}'; element++) {
        uint64_t bits;
        at++; /* { or , */
        if (!answer_bits(binary, row, column, element, &bits))
            assert_int_equal(strncmp(at, "NULL", 4), 0);
        else
            assert_int_equal(strtoll(at, NULL, 10), bits);
        at += strcspn(at, ",}");
    }
    assert_string_equal(at, "}");
}

/* The whole catalogue in text: the same numbers as in binary, and NULLs where they were. */
static void catalogue_as_text(void **state)
{
    (void)state;
    struct plan *plan = forms_plan(&forms, CATALOG_LEGACY, forms.enabled);
    struct form_moment moment = forms_moment(77);
    for (size_t s = 0; s < plan->statement_count; s++) {
        const struct statement *statement = &plan->statements[s];
        const struct form *form = forms_find(&forms, statement->sql, "app");
        struct answer text, binary;
        forms_ask(form, forms_text, &moment, &text);
        forms_ask(form, forms_binary, &moment, &binary);
        assert_int_equal(text.row_count, binary.row_count);
        struct column *columns = forms_columns(form, forms_text);
        for (uint32_t r = 0; r < text.row_count; r++) {
            for (uint32_t c = 0; c < text.column_count; c++) {
                const struct cell *cell = answer_cell(&binary, r, c);
                const char *shown = answer_text(&text, r, c);
                uint64_t bits;
                assert_int_equal(answer_cell(&text, r, c)->data == NULL, cell->data == NULL);
                if (columns[c].oid == 25)
                    assert_string_equal(shown, answer_text(&binary, r, c));
                else if (columns[c].oid == 20 && answer_bits(&binary, r, c, 0, &bits))
                    assert_int_equal(strtoll(shown, NULL, 10), bits);
                else if (columns[c].oid == 701 && answer_bits(&binary, r, c, 0, &bits))
                    assert_true(fabs(strtod(shown, NULL) - bits_real(bits)) <= 0);
                else if (columns[c].oid == 1184 && cell->data)
                    assert_string_equal(shown, "2025-05-08 06:13:20+00");
                if (columns[c].oid == 1016)
                    elements_equal(shown, &binary, r, c);
            }
        }
        free(columns);
        answer_free(&text);
        answer_free(&binary);
    }
    plan_destroy(&plan);
}

/* One code for each column. */
static void formats_can_differ(void **state)
{
    (void)state;
    struct plan *plan = forms_plan(&forms, CATALOG_SEMCONV, forms.enabled);
    const struct form *form = forms_find(&forms, forms_statement(plan, "database")->sql, "app");
    uint8_t codes[16] = {0};
    assert_int_equal(form_columns(form), 4); /* datname, stats_reset, int8[], float8[] */
    codes[2 * 1 + 1] = 1;
    codes[2 * 3 + 1] = 1;
    struct form_formats mixed = {codes, 4};
    struct form_moment moment = forms_moment(7);
    struct answer answer, binary;
    forms_ask(form, mixed, &moment, &answer);
    forms_ask(form, forms_binary, &moment, &binary);
    struct column *columns = forms_columns(form, mixed);
    for (uint32_t c = 0; c < 4; c++) {
        const struct cell *a = answer_cell(&answer, 0, c), *b = answer_cell(&binary, 0, c);
        assert_int_equal(columns[c].format, c % 2);
        bool same = (!a->data && !b->data) || (a->data && b->data && a->bytes == b->bytes &&
                                               memcmp(a->data, b->data, a->bytes) == 0);
        assert_int_equal(same, c != 2);
    }
    assert_int_equal(answer_cell(&answer, 0, 2)->data[0], '{');
    free(columns);
    answer_free(&answer);
    answer_free(&binary);
    plan_destroy(&plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tags_and_settings), cmocka_unit_test(questions),
        cmocka_unit_test(binary_questions),  cmocka_unit_test(literals_share_a_form),
        cmocka_unit_test(numbers_as_text),   cmocka_unit_test(reals_read_back),
        cmocka_unit_test(catalogue_as_text), cmocka_unit_test(formats_can_differ),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
