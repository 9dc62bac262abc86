/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a script: what is understood, and how mistakes are told. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tools/sink/script.h"

static void test_everything(void **state)
{
    (void)state;
    static const char yaml[] =
        "seed: 7\n"
        "begin: request\n"
        "phases:\n"
        "  - name: calm\n"
        "    for: 1m30s\n"
        "    latency: {lognormal: {p50: 2ms, p99: 50ms}}\n"
        "    workers: 4\n"
        "    queue: 10\n"
        "    full: {status: 429, retry_after: date rest}\n"
        "    answer: [503, 200]\n"
        "    retry_after: [2s, garbage]\n"
        "    requests_per_s: 500\n"
        "    requests_per_minute: 6000\n"
        "    points_per_minute: 1e6\n"
        "    concurrency: 8\n"
        "    limits:\n"
        "      - {bytes: 1000000, per: 10s, window: bucket, burst: 5000, status: 503}\n"
        "    faults:\n"
        "      - {do: lose, on: reused, share: 0.25, how: reset}\n"
        "      - {do: status, status: 413, larger_than: 1MB, text: too large}\n"
        "      - {do: redirect, location: 'http://127.0.0.1:1/'}\n"
        "  - {connections: blackhole, tls: expired, answer: 400, drop_connections: true}\n";
    struct error error;
    struct script *script;
    if (!script_read(&script, "s", yaml, sizeof yaml - 1, &error))
        fail_msg("%s", error.text);
    assert_int_equal(script->seed, 7);
    assert_int_equal(script->begin, BEGIN_REQUEST);
    assert_int_equal(script->phase_count, 2);
    const struct script_phase *phase = &script->phases[0];
    assert_string_equal(phase->name, "calm");
    assert_int_equal(phase->for_ns, 90 * NS_PER_S);
    assert_int_equal(phase->latency.kind, LATENCY_LOGNORMAL);
    assert_int_equal(phase->workers, 4);
    assert_int_equal(phase->queue, 10);
    assert_int_equal(phase->full.status, 429);
    assert_int_equal(phase->full.retry[0].kind, RETRY_DATE);
    assert_true(phase->full.retry[0].rest);
    assert_int_equal(phase->statuses[0], 503);
    assert_int_equal(phase->statuses[1], 200);
    assert_int_equal(phase->retry[0].ns, 2 * NS_PER_S);
    assert_int_equal(phase->retry[1].kind, RETRY_GARBAGE);
    assert_int_equal(phase->limit_count, 5);
    assert_int_equal(phase->limits[0].window, WINDOW_BUCKET);
    assert_int_equal(phase->limits[0].refusal.status, 503);
    assert_int_equal((int)phase->limits[1].requests, 500);
    assert_int_equal(phase->limits[1].per_ns, NS_PER_S);
    assert_int_equal(phase->limits[1].refusal.status, 429);
    assert_true(phase->limits[1].refusal.retry[0].rest);
    assert_int_equal((int)phase->limits[2].requests, 6000);
    assert_int_equal(phase->limits[2].per_ns, 60 * NS_PER_S);
    assert_int_equal((int)phase->limits[3].points, 1000000);
    assert_int_equal(phase->limits[4].concurrency, 8);
    assert_int_equal(phase->fault_count, 3);
    assert_int_equal(phase->faults[0].kind, FAULT_LOSE);
    assert_int_equal(phase->faults[0].on, ON_REUSED);
    assert_int_equal(phase->faults[0].how, HOW_RESET);
    assert_int_equal(phase->faults[1].larger_than, 1000000);
    assert_int_equal(phase->faults[2].refusal.status, 307);
    assert_string_equal(script->phases[1].name, "phase 2");
    assert_int_equal(script->phases[1].statuses[0], 400);
    assert_int_equal(script->phases[1].tls, TLS_EXPIRED);
    assert_true(script_wants_tls(script));
    script_destroy(&script);
}

static const struct {
    const char *yaml;
    const char *error; /* of its first line: begins so */
} mistakes[] = {
    {"", "s:1:1: a list of phases is wanted"},
    {"hello", "s:1:1: script: expected a map"},
    {"phases: []", "s:1:9: a list of phases is wanted"},
    {"phase: [{}]", "s:1:1: unknown key \"phase\""},
    {"[{nam: x}]", "s:1:3: unknown key \"nam\": did you mean \"name\"?"},
    {"[7]", "s:1:2: phases: expected a map of keys and values, not a single value"},
    {"[{for: soon}]", "s:1:8: for: \"soon\" is not a duration"},
    {"[{connections: gone}]", "s:1:16: connections: \"gone\" is none of accept, refuse, reset, "},
    {"[{answer: 99}]", "s:1:11: answer: \"99\" is no status: write one from 200 to 599"},
    {"[{answer: []}]", "s:1:11: answer: write one status or more"},
    {"[{retry_after: later}]", "s:1:16: retry_after: \"later\" is none of 2s, rest, date 2s, "},
    {"[{latency: {p50: 2ms}}]", "s:1:18: no distribution is called"},
    {"[{latency: fast}]", "s:1:12: a duration is wanted"},
    {"[{limits: [{per: 1s}]}]", "s:1:12: limits: each has exactly one of requests, points, "},
    {"[{limits: [{requests: 5, points: 5}]}]", "s:1:12: limits: each has exactly one of "},
    {"[{limits: [{requests: -5}]}]", "s:1:12: limits: a limit is a number above 0"},
    {"[{limits: [{requests: 5, burst: 5}]}]", "s:1:33: burst: only with window: bucket"},
    {"[{limits: [{requests: 5, per: 0s}]}]", "s:1:31: per: 0s is out of range"},
    {"[{queue: 5}]", "s:1:10: queue: only with workers"},
    {"[{workers: 1000000}]", "s:1:12: workers: 1000000 is out of range: it must be from 0 to 4096"},
    {"[{faults: [{}]}]", "s:1:12: key \"do\" is missing: what happens"},
    {"[{faults: [{do: explode}]}]", "s:1:17: do: \"explode\" is none of status, lose, reset, "},
    {"[{faults: [{do: lose, share: 2}]}]", "s:1:30: share: 2 is out of range: it must be from 0 "},
    {"[{faults: [{do: redirect}]}]", "s:1:12: location: a redirect needs one"},
    {"[{faults: [{do: redirect, location: \"a\\r\\nb\"}]}]", "s:1:37: location: a line end"},
    {"{repeat: true, phases: [{for: 1s}, {}]}", "s:1:36: for: missing, as repeat begins anew"},
    {"[{answer: 503}, {for: 1s}]", "s:1:2: for: missing, so that the phases behind this one never"},
    {"[~, {for: 1s}]", "s:1:2: for: missing"},
    {"[{full: {status: 1}}]", "s:1:18: status: 1 is out of range"},
    {"[{", "s:2:1: not valid YAML"},
};

static void test_mistakes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        struct error error;
        struct script *script = NULL;
        const char *yaml = mistakes[i].yaml, *want = mistakes[i].error;
        if (script_read(&script, "s", yaml, strlen(yaml), &error))
            fail_msg("%s: taken", yaml);
        assert_null(script);
        if (strncmp(error.text, want, strlen(want)) != 0)
            fail_msg("%s:\n  wanted %s\n  found  %s", yaml, want, error.text);
    }
}

/* Several mistakes are told at once. */
static void test_all_mistakes_at_once(void **state)
{
    (void)state;
    static const char yaml[] = "- {for: x}\n- {for: 1s, answer: y}\n- {tls: z}\n";
    struct error error;
    struct script *script;
    assert_false(script_read(&script, "s", yaml, sizeof yaml - 1, &error));
    assert_non_null(strstr(error.text, "s:1:9:"));
    assert_non_null(strstr(error.text, "s:2:21:"));
    assert_non_null(strstr(error.text, "s:3:9:"));
}

static void test_files(void **state)
{
    (void)state;
    struct error error;
    struct script *script;
    assert_false(script_read_file(&script, "/nonexistent/script.yaml", &error));
    assert_non_null(strstr(error.text, "/nonexistent/script.yaml: No such file"));
    char path[] = "/tmp/pgweir-script-XXXXXX";
    int fd = mkstemp(path);
    FILE *file = fdopen(fd, "w");
    fputs("[{name: of a file}]\n", file);
    fclose(file);
    assert_true(script_read_file(&script, path, &error));
    assert_string_equal(script->phases[0].name, "of a file");
    script_destroy(&script);
    remove(path);
}

/* Every key of the tables is in the reference. */
static void test_reference(void **state)
{
    (void)state;
    char *text = script_reference();
    static const char *const keys[] = {"`seed`",        "`phases`",     "`latency`",
                                       "`workers`",     "`limits`",     "`limits[].per`",
                                       "`full.status`", "`faults[].do`"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        assert_non_null(strstr(text, keys[i]));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_all_mistakes_at_once),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
