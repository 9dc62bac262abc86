/* SPDX-License-Identifier: Apache-2.0 */
/* Lines as they reach stderr. */
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

enum { CAPTURE_BYTES = 60000 };

static int ends[2], saved_stderr;

static int begin(void **state)
{
    (void)state;
    unsetenv("JOURNAL_STREAM");
    saved_stderr = dup(STDERR_FILENO);
    return pipe(ends) != 0 || dup2(ends[1], STDERR_FILENO) < 0;
}

static int end(void **state)
{
    (void)state;
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    close(ends[0]);
    close(ends[1]);
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    return 0;
}

/* What was logged since; ends with a mark of ours, so that reading never blocks. */
static char *logged(void)
{
    static char text[CAPTURE_BYTES];
    size_t used = 0;
    assert_int_equal(write(ends[1], "\1", 1), 1);
    while (used == 0 || text[used - 1] != 1) {
        ssize_t bytes = read(ends[0], text + used, sizeof text - used);
        assert_true(bytes > 0);
        used += (size_t)bytes;
    }
    text[used - 1] = 0;
    return text;
}

static void test_text(void **state)
{
    (void)state;
    LOG(LOG_LEVEL_INFO, "conn", "connected", LOG_TEXT("target", "db-1"), LOG_NUMBER("port", -5));
    char *line = logged();
    assert_true(strlen(line) > 24 && line[23] == 'Z' && line[10] == 'T');
    assert_string_equal(line + 24, " info conn: connected target=db-1 port=-5\n");
    LOG(LOG_LEVEL_ERROR, "conn", "bare");
    assert_string_equal(logged() + 24, " error conn: bare\n");
    LOG(LOG_LEVEL_WARN, "conn", "quoted", LOG_TEXT("a", "x y"), LOG_TEXT("b", ""),
        LOG_TEXT("c", "say \"no\"\nnow\t\\"));
    assert_string_equal(
        logged() + 24,
        " warn conn: quoted a=\"x y\" b=\"\" c=\"say \\\"no\\\"\\nnow\\u0009\\\\\"\n");
    LOG(LOG_LEVEL_WARN, "conn", "two\nlines");
    assert_string_equal(logged() + 24, " warn conn: \"two\\nlines\"\n");
}

static void test_levels(void **state)
{
    (void)state;
    LOG(LOG_LEVEL_DEBUG, "x", "hidden");
    assert_string_equal(logged(), "");
    log_configure(LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT);
    LOG(LOG_LEVEL_DEBUG, "x", "shown");
    assert_non_null(strstr(logged(), "debug x: shown"));
    log_configure(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    LOG(LOG_LEVEL_WARN, "x", "hidden");
    assert_string_equal(logged(), "");
    assert_false(log_enabled(LOG_LEVEL_WARN));
    setenv("JOURNAL_STREAM", "8:1", 1);
    LOG(LOG_LEVEL_ERROR, "x", "for the journal");
    assert_true(strncmp(logged(), "<3>2", 4) == 0);
}

static json_t *logged_json(void)
{
    char *line = logged();
    assert_int_equal(line[strlen(line) - 1], '\n');
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1); /* one line */
    json_error_t error;
    json_t *json = json_loads(line, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL)
        fail_msg("%s: %s", error.text, line);
    return json;
}

static void test_json(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    LOG(LOG_LEVEL_WARN, "conn", "say \"hi\"\n", LOG_TEXT("target", "B\u00e4ume\x01"),
        LOG_NUMBER("port", 5432));
    json_t *json = logged_json();
    assert_string_equal(json_string_value(json_object_get(json, "level")), "warn");
    assert_string_equal(json_string_value(json_object_get(json, "component")), "conn");
    assert_string_equal(json_string_value(json_object_get(json, "msg")), "say \"hi\"\n");
    assert_string_equal(json_string_value(json_object_get(json, "target")), "B\u00e4ume\x01");
    assert_int_equal(json_integer_value(json_object_get(json, "port")), 5432);
    assert_int_equal(strlen(json_string_value(json_object_get(json, "ts"))), 24);
    json_decref(json);
}

/* Texts of every length, of every kind of character, at any place: always one line of JSON. */
static void test_json_survives_cutting(void **state)
{
    (void)state;
    static const char *const fillings[] = {
        "x",    "\"",   "\n",          "\x02", "\u00e4", "\u20ac", "\xf0\x9f\x90\x98",
        "\xff", "\xc3", "\xed\xa0\x80"};
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    for (size_t kind = 0; kind < sizeof fillings / sizeof fillings[0]; kind++) {
        for (size_t bytes = 3900; bytes < 4110; bytes += 3) {
            char text[5000] = "";
            size_t piece = strlen(fillings[kind]), used = 0;
            for (; used + piece <= bytes; used += piece)
                memcpy(text + used, fillings[kind], piece);
            text[used] = 0;
            LOG(LOG_LEVEL_INFO, "c", "m", LOG_TEXT("first", text), LOG_TEXT("second", text),
                LOG_NUMBER("third", INT64_MIN));
            json_decref(logged_json());
            LOG(LOG_LEVEL_INFO, "c", text, LOG_NUMBER("third", 1));
            json_decref(logged_json());
        }
    }
}

enum { WRITERS = 4, LINES = 100 };

static void *write_lines(void *argument)
{
    (void)argument;
    for (int i = 0; i < LINES; i++)
        LOG(LOG_LEVEL_INFO, "c", "a line of one thread", LOG_NUMBER("i", i));
    return NULL;
}

static void test_threads_do_not_mix(void **state)
{
    (void)state;
    pthread_t threads[WRITERS];
    for (int i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, NULL), 0);
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    int count = 0;
    for (char *line = strtok(logged(), "\n"); line != NULL; line = strtok(NULL, "\n"), count++)
        assert_true(strncmp(line + 24, " info c: a line of one thread i=", 32) == 0);
    assert_int_equal(count, WRITERS * LINES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_text, begin, end),
        cmocka_unit_test_setup_teardown(test_levels, begin, end),
        cmocka_unit_test_setup_teardown(test_json, begin, end),
        cmocka_unit_test_setup_teardown(test_json_survives_cutting, begin, end),
        cmocka_unit_test_setup_teardown(test_threads_do_not_mix, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
