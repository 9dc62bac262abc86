/* SPDX-License-Identifier: Apache-2.0 */
/* What a client's text is taken for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "tools/sim/command.h"

static void test_split(void **state)
{
    (void)state;
    static const struct {
        const char *text, *pieces[4];
    } cases[] = {
        {"", {NULL}},
        {" ;; \n;", {NULL}},
        {"-- nothing", {NULL}},
        {"select 1", {"select 1"}},
        {" select 1 ; ", {"select 1"}},
        {"select ';' ; select \";\"", {"select ';'", "select \";\""}},
        {"select $x$;$x$;b", {"select $x$;$x$", "b"}},
        {"/* pgweir */ a /* ; */; -- c;\n b", {"/* pgweir */ a", "-- c;\n b"}},
        {"select 1; /* end */", {"select 1"}},
        {"select 'open; b", {"select 'open; b"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *at = cases[i].text, *end = at + strlen(at), *piece;
        size_t bytes, count = 0;
        while (command_split(&at, end, &piece, &bytes)) {
            assert_non_null(cases[i].pieces[count]);
            assert_int_equal(bytes, strlen(cases[i].pieces[count]));
            assert_memory_equal(piece, cases[i].pieces[count], bytes);
            count++;
        }
        assert_null(cases[i].pieces[count]);
    }
}

static void test_milliseconds(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool good;
        uint32_t ms;
    } cases[] = {
        {"0", true, 0},       {"250", true, 250},      {"5s", true, 5000},
        {"1.5s", true, 1500}, {"2min", true, 120000},  {"1 h", true, 3600000},
        {"10us", true, 1},    {"", false, 0},          {"s", false, 0},
        {"-1", false, 0},     {"5 parsecs", false, 0}, {"99d", false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t ms = 0;
        assert_int_equal(command_milliseconds(cases[i].text, &ms), cases[i].good);
        assert_int_equal(ms, cases[i].ms);
    }
}

static void test_commands(void **state)
{
    (void)state;
    static const struct {
        const char *sql;
        enum command_kind kind;
        const char *argument, *value;
        bool local;
    } cases[] = {
        {"", COMMAND_EMPTY, NULL, NULL, false},
        {"/* only this */", COMMAND_EMPTY, NULL, NULL, false},
        {"BEGIN", COMMAND_BEGIN, NULL, NULL, false},
        {"start transaction isolation level serializable", COMMAND_BEGIN, NULL, NULL, false},
        {"End", COMMAND_COMMIT, NULL, NULL, false},
        {"/* a */ rollback", COMMAND_ROLLBACK, NULL, NULL, false},
        {"ROLLBACK TO SAVEPOINT s", COMMAND_SAVEPOINT, "ROLLBACK", NULL, false},
        {"RELEASE s", COMMAND_SAVEPOINT, "RELEASE", NULL, false},
        {"DEALLOCATE PREPARE \"A \"\"b\"", COMMAND_DEALLOCATE, "A \"b", NULL, false},
        {"DEALLOCATE Name", COMMAND_DEALLOCATE, "name", NULL, false},
        {"DEALLOCATE ALL", COMMAND_DEALLOCATE, NULL, NULL, false},
        {"SHOW statement_timeout", COMMAND_SHOW, "statement_timeout", NULL, false},
        {"COPY t TO STDOUT", COMMAND_DENIED, "COPY", NULL, false},
        {"LISTEN news", COMMAND_TAG, "LISTEN", NULL, false},
        {"SELECT 1", COMMAND_FORM, NULL, NULL, false},
        {"SET statement_timeout = '5s'", COMMAND_FORM, NULL, NULL, false},
        {"SET LOCAL lock_timeout TO 7", COMMAND_FORM, NULL, NULL, true},
        {"SELECT set_config('lock_timeout', '7', true)", COMMAND_FORM, NULL, NULL, true},
        {"SELECT set_config('lock_timeout', '7', false)", COMMAND_FORM, NULL, NULL, false},
    };
    struct recording *recording;
    struct error error;
    struct shape shape = {.seed = 1};
    struct command_table table;
    assert_true(recording_load(&recording, NULL, &error));
    struct form_book *book = form_book_create(recording, &shape);
    command_table_init(&table);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            struct form_problem problem;
            size_t bytes = strlen(cases[i].sql);
            struct command *command =
                command_make(&table, book, cases[i].sql, bytes, "postgres", &problem);
            assert_non_null(command);
            assert_int_equal(command->kind, cases[i].kind);
            assert_int_equal(command->form != NULL, cases[i].kind == COMMAND_FORM);
            assert_int_equal(command->local, cases[i].local);
            if (cases[i].argument == NULL)
                assert_null(command->argument);
            else
                assert_string_equal(command->argument, cases[i].argument);
            struct command *again =
                command_make(&table, book, cases[i].sql, bytes, "postgres", &problem);
            assert_true(command_equal(command, again));
            assert_int_equal(command == again, command->form != NULL);
            command_release(again);
            command_release(command);
        }
    }
    struct form_problem problem;
    assert_null(command_make(&table, book, "SELECT x FROM y", 15, "postgres", &problem));
    assert_string_equal(problem.sqlstate, "0A000");
    assert_null(command_make(&table, book, "SELECT 1", 8, "nowhere", &problem));
    assert_string_equal(problem.sqlstate, "3D000");
    command_table_fini(&table);
    form_book_destroy(&book);
    recording_destroy(&recording);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_milliseconds),
        cmocka_unit_test(test_commands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
