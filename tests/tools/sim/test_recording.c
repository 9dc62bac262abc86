/* SPDX-License-Identifier: Apache-2.0 */
/* The file: what is written reads back the same, and what cannot be is refused with its place. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/random.h"
#include "tests/tools/sim/forms.h"
#include "tools/sim/recording_data.h"

static char *file_text(const char *path, size_t *ret_bytes)
{
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    char *text = calloc(1, 1 << 20);
    *ret_bytes = fread(text, 1, (1 << 20) - 1, file);
    assert_true(feof(file));
    fclose(file);
    return text;
}

static char *written(const struct recording *recording, size_t *ret_bytes)
{
    char *text = NULL;
    FILE *to = open_memstream(&text, ret_bytes);
    assert_true(recording_write(recording, to));
    fclose(to);
    return text;
}

static void files_read_back_the_same(void **state)
{
    (void)state;
    for (const char *const *path = forms_recordings; *path; path++) {
        struct recording *recording;
        struct error error;
        size_t bytes, again_bytes;
        char *text = file_text(*path, &bytes);
        assert_true(bytes < 400 * 1024);
        if (!recording_load(&recording, *path, &error))
            fail_msg("%s", error.text);
        char *again = written(recording, &again_bytes);
        assert_int_equal(bytes, again_bytes);
        assert_memory_equal(text, again, bytes);
        recording_destroy(&recording);
        assert_null(recording);
        free(text);
        free(again);
    }
}

/* Each is of its version, complete, and says what a server says at log-in. */
static void files_are_what_they_say(void **state)
{
    (void)state;
    for (const char *const *path = forms_recordings; *path; path++) {
        struct recording *recording;
        struct error error;
        assert_true(recording_load(&recording, *path, &error));
        unsigned major = 0;
        assert_int_equal(sscanf(strrchr(*path, '/'), "/pg%u", &major), 1);
        assert_int_equal(recording_version_num(recording) / 10000, major);
        assert_int_equal(recording_recovery(recording), strstr(*path, "standby") != NULL);
        const char *name, *value;
        assert_non_null(value = recording_parameter(recording, 0, &name));
        assert_string_equal(name, "server_version");
        assert_int_equal(strtoul(value, NULL, 10), major);
        assert_non_null(recording_parameter(recording, 5, &name));
        assert_null(recording_parameter(recording, 100, &name));
        assert_string_equal(recording_database(recording, 0), "postgres");
        assert_string_equal(recording_database(recording, 2), "billing");
        assert_null(recording_database(recording, 3));
        for (uint32_t q = 0; q < recording->query_count; q++) {
            const struct recording_query *query = &recording->queries[q];
            if (query->sqlstate)
                fail_msg("%s: %s was recorded as an error", *path, query->name);
        }
        recording_destroy(&recording);
    }
}

static void built_in(void **state)
{
    (void)state;
    struct recording *recording;
    struct error error;
    assert_true(recording_load(&recording, NULL, &error));
    assert_int_equal(recording_version_num(recording) / 10000, 17);
    assert_false(recording_recovery(recording));
    recording_destroy(&recording);
}

static void places(void **state)
{
    (void)state;
    static const char *const missing[] = {"/nowhere/x.json", "pg99", "", "../pg17"};
    struct recording *recording = NULL;
    struct error error;
    for (size_t i = 0; i < sizeof missing / sizeof missing[0]; i++) {
        assert_false(recording_load(&recording, missing[i], &error));
        assert_null(recording);
        assert_non_null(strstr(error.text, "pgweir-sim record"));
    }
    assert_false(recording_load(&recording, "/", &error)); /* a directory */
    assert_non_null(strstr(error.text, "/: "));
}

/* ---- what is refused ---- */

#define HEAD                                                                                       \
    "{\"version\": 1, \"server_version\": \"17\", \"version_num\": 170000, \"recovery\": false, "  \
    "\"recorded\": \"\", \"database\": \"app\", "
#define LISTS(present, queries, extras)                                                            \
    "\"databases\": [], \"parameters\": {}, \"settings\": {}, \"present\": [" present              \
    "], \"queries\": [" queries "], \"extras\": [" extras "]}"
#define QUERY(answers)                                                                             \
    "{\"name\": \"q\", \"group\": \"core\", \"scope\": \"server\", \"answers\": [" answers "]}"
#define ANSWER(type, role, rows)                                                                   \
    "{\"columns\": [{\"sql\": \"a\", \"type\": \"" type "\", \"role\": \"" role                    \
    "\"}], \"rows\": [" rows "]}"
#define EXTRA(text, binary)                                                                        \
    "{\"sql\": \"SELECT 1\", \"tag\": \"SELECT 1\", \"columns\": [{\"name\": \"a\", \"oid\": 23, " \
    "\"size\": 4, \"modifier\": -1}], \"text\": [" text "], \"binary\": [" binary "]}"
#define WITH(answer) HEAD LISTS("", QUERY(answer), "")

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *json, *error; /* NULL: it is fine */
    } rows[] = {
        {HEAD LISTS("", "", ""), NULL},
        {WITH(ANSWER("int8", "counter", "[1],[null]")), NULL},
        {WITH(ANSWER("float8", "gauge", "[1],[1.5],[\"NaN\"],[\"-Infinity\"],[\"Infinity\"]")),
         NULL},
        {HEAD LISTS("", "", EXTRA("[\"1\"],[null]", "[\"0000000a\"],[null]")), NULL},
        {"", "text:"},
        {"[]", "text: no object"},
        {"{\"version\": 1", "text:1:"},
        {"{\"version\": 1, \"version\": 1}", "duplicate"},
        {"{}", "text: \"version\" is missing"},
        {"{\"version\": 2}", "text: version 2 of the format; this program reads version 1"},
        {"{\"version\": \"1\"}", "\"version\" is not a number"},
        {"{\"version\": 1, \"recovery\": 0}", "\"recovery\" is not a bool"},
        {HEAD "\"databases\": [1]}", "text: databases[0]: no text"},
        {HEAD "\"databases\": [\"\"]}", "text: databases[0]: no text"},
        {HEAD "\"databases\": [], \"parameters\": {\"a\": 1}}", "text: parameters.a: no text"},
        {HEAD LISTS("7", "", ""), "text: present[0]: no text"},
        {HEAD LISTS("", "7", ""), "text: queries[0]: no object"},
        {HEAD LISTS("", "{\"name\": \"q\"}", ""), "text: queries[0]: \"group\" is missing"},
        {HEAD LISTS("", QUERY("") ", {\"name\": \"q\", \"group\": \"g\", \"scope\": \"table\"}",
                    ""),
         "text: queries[1]: \"scope\" is \"table\""},
        {HEAD LISTS("", "{\"name\": \"q\", \"group\": \"g\", \"scope\": \"server\", \"error\": 1}",
                    ""),
         "text: queries[0]: \"error\" is not an object"},
        {HEAD LISTS("",
                    "{\"name\": \"q\", \"group\": \"g\", \"scope\": \"server\", \"error\": "
                    "{\"sqlstate\": \"425\", \"message\": \"\"}}",
                    ""),
         "text: queries[0]: error: sqlstate \"425\""},
        {WITH("3"), "text: queries[0]: answers[0]: no object"},
        {WITH("{\"columns\": [], \"rows\": []}"), "text: queries[0]: answers[0]: no column"},
        {WITH(ANSWER("int4", "counter", "")),
         "text: queries[0]: answers[0]: columns[0]: \"type\" is \"int4\""},
        {WITH(ANSWER("int8", "counters", "")), "columns[0]: \"role\" is \"counters\""},
        {WITH(ANSWER("text", "counter", "")), "columns[0]: role counter cannot have type text"},
        {WITH(ANSWER("int8", "start", "")), "columns[0]: role start cannot have type int8"},
        {WITH(ANSWER("int8", "table", "")), "columns[0]: role table cannot have type int8"},
        {WITH(ANSWER("int8", "counter", "[1],[1,2]")),
         "text: queries[0]: answers[0]: rows[1]: not a list of 1 cells"},
        {WITH(ANSWER("int8", "counter", "1")), "rows[0]: not a list"},
        {WITH(ANSWER("int8", "counter", "[1.5]")), "rows[0][0]: no int8"},
        {WITH(ANSWER("timestamptz", "start", "[\"2000\"]")), "rows[0][0]: no timestamptz"},
        {WITH(ANSWER("float8", "counter", "[\"nan\"]")), "rows[0][0]: no float8"},
        {WITH(ANSWER("float8", "counter", "[[]]")), "rows[0][0]: no float8"},
        {WITH(ANSWER("text", "table", "[1]")), "rows[0][0]: no text"},
        {WITH(ANSWER("text", "table", "[\"a\\u0000b\"]")), "text:1:"},
        {HEAD LISTS("", "", EXTRA("[\"1\"]", "")), "do not have the same rows"},
        {HEAD LISTS("", "", EXTRA("[\"1\"]", "[\"0g\"]")), "text: extras[0]: binary[0][0]: no hex"},
        {HEAD LISTS("", "", EXTRA("[\"1\"]", "[\"000\"]")), "binary[0][0]: no hex"},
        {HEAD LISTS("", "", EXTRA("[\"1\"]", "[null]")), "[0][0]: NULL in one format only"},
        {HEAD LISTS("", "", EXTRA("[1]", "[\"00\"]")), "text[0][0]: no text"},
        {HEAD LISTS("", "", "{\"sql\": \"\"}"), "text: extras[0]: \"tag\" is missing"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct recording *recording = NULL;
        struct error error = {""};
        bool good = recording_read(&recording, "text", rows[i].json, strlen(rows[i].json), &error);
        if (good != !rows[i].error || (!good && !strstr(error.text, rows[i].error)))
            fail_msg("%s\n%s", rows[i].json, good ? "was read" : error.text);
        recording_destroy(&recording);
    }
}

/* Numbers keep their last digit, texts their bytes. */
static void cells_are_exact(void **state)
{
    (void)state;
    static const char json[] = HEAD
        "\"databases\": [], \"parameters\": {}, \"settings\": {}, \"present\": [], "
        "\"queries\": [" QUERY(
            "{\"columns\": [{\"sql\": \"a\", \"type\": \"int8\", \"role\": \"gauge\"}, "
            "{\"sql\": \"b\", \"type\": \"float8\", \"role\": \"gauge\"}, "
            "{\"sql\": \"c\", \"type\": \"text\", \"role\": \"attribute\", \"key\": \"k\"}], "
            "\"rows\": [[-9223372036854775808, 0.30000000000000004, \"\\\"\\u00e4\\n\"], "
            "[9223372036854775807, 5e-324, \"\"], [null, \"NaN\", null]]}") "], \"extras\": []}";
    struct recording *recording;
    struct error error;
    if (!recording_read(&recording, "text", json, strlen(json), &error))
        fail_msg("%s", error.text);
    for (int round = 0; round < 2; round++) {
        const struct recording_cell *cells = recording->queries[0].answers[0].cells;
        assert_true(cells[0].integer == INT64_MIN && cells[3].integer == INT64_MAX);
        assert_true(cells[6].null && !cells[7].null && cells[8].null);
        double sum = 0.1 + 0.2, least = 5e-324;
        assert_memory_equal(&cells[1].real, &sum, sizeof sum);
        assert_memory_equal(&cells[4].real, &least, sizeof least);
        assert_true(isnan(cells[7].real));
        assert_string_equal(cells[2].text, "\"\xc3\xa4\n");
        assert_string_equal(cells[5].text, "");
        assert_string_equal(recording->queries[0].answers[0].columns[2].key, "k");
        size_t bytes;
        char *text = written(recording, &bytes);
        recording_destroy(&recording);
        if (!recording_read(&recording, "again", text, bytes, &error))
            fail_msg("%s", error.text);
        free(text);
    }
    recording_destroy(&recording);
}

/* Cut or changed anywhere: an error or a recording, but nothing else. */
static void damaged_files(void **state)
{
    (void)state;
    size_t bytes;
    char *text = file_text(FORMS_RECORDINGS "/pg17.json", &bytes);
    struct random random = {.state = 3};
    size_t refused_count = 0;
    for (int round = 0; round < 120; round++) {
        size_t at = random_below(&random, bytes), most = bytes;
        char kept = text[at];
        if (round % 2)
            most = at;
        else
            text[at] = "[]{}\",:0x"[random_below(&random, 9)];
        struct recording *recording = NULL;
        struct error error = {""};
        if (!recording_read(&recording, "damaged", text, most, &error)) {
            assert_int_equal(strncmp(error.text, "damaged:", 8), 0);
            refused_count++;
        }
        recording_destroy(&recording);
        text[at] = kept;
    }
    assert_true(refused_count > 60);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_read_back_the_same),
        cmocka_unit_test(files_are_what_they_say),
        cmocka_unit_test(built_in),
        cmocka_unit_test(places),
        cmocka_unit_test(refused),
        cmocka_unit_test(cells_are_exact),
        cmocka_unit_test(damaged_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
