/* SPDX-License-Identifier: Apache-2.0 */
/* Scenario files and flags: what they mean, what is refused and where. */
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tools/load/phases.h"
#include "tools/load/scenario.h"

static char path[] = "/tmp/pgweir-scenario.XXXXXX";

static int make_file(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    return fd >= 0 ? close(fd) : -1;
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static void write_text(const char *text)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static bool load(struct arena *arena, const char *text, const struct scenario_flag *flags,
                 size_t flag_count, struct scenario *scenario, struct error *error)
{
    if (text != NULL)
        write_text(text);
    return scenario_load(arena, -1, text != NULL ? path : NULL, flags, flag_count, scenario, error);
}

static void test_defaults(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct scenario scenario;
    struct error error;
    assert_true(scenario_load(&arena, SCENARIO_SOAK, NULL, NULL, 0, &scenario, &error));
    assert_string_equal(scenario.name, "soak");
    assert_int_equal(scenario.kind, SCENARIO_SOAK);
    assert_int_equal(scenario.servers, 1000);
    assert_true(scenario.interval_ns == 10 * NS_PER_S);
    assert_true(scenario.for_ns == 60 * NS_PER_S);
    assert_int_equal(scenario.groups.count, 1);
    assert_string_equal(scenario.groups.items[0], "core");
    assert_int_equal(scenario.compression, COMPRESSION_GZIP);
    assert_int_equal(scenario.connections, 2);
    assert_int_equal(scenario.rss_baseline_kib, -1);
    arena_fini(&arena);
}

static void test_file_and_flags(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct scenario scenario;
    struct error error = {{0}};
    const struct scenario_flag flags[] = {{"servers", "77"},
                                          {"groups", "core,tables"},
                                          {"outage-how", "reset"},
                                          {"collector", "run $HOME ${x} {config}"},
                                          {"tls", "true"}};
    bool loaded = load(&arena,
                       "name: night\nkind: outage\nservers: 5\nfor: 2m\n"
                       "outage: {of: backend, how: 503, after: 5s, length: 10s}\n"
                       "needs: [{what: disk spool, key: spool}]\n"
                       "slo: \"loss = 0\"\n",
                       flags, 5, &scenario, &error);
    assert_string_equal(error.text, "");
    assert_true(loaded);
    assert_string_equal(scenario.name, "night");
    assert_int_equal(scenario.kind, SCENARIO_OUTAGE);
    assert_int_equal(scenario.servers, 77);
    assert_int_equal(scenario.groups.count, 2);
    assert_string_equal(scenario.groups.items[1], "tables");
    assert_int_equal(scenario.outage.how, OUTAGE_RESET);
    assert_true(scenario.outage.length_ns == 10 * NS_PER_S);
    assert_true(scenario.tls);
    /* the shell's own dollars are left to the shell */
    assert_string_equal(scenario.collector, "run $HOME ${x} {config}");
    const struct scenario_need *needs = scenario.needs.items;
    assert_int_equal(scenario.needs.count, 1);
    assert_string_equal(needs[0].what, "disk spool");
    assert_string_equal(needs[0].key, "spool");
    arena_fini(&arena);
}

static void test_bad_files(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message; /* behind the file's name */
    } cases[] = {
        {"servers: many\n", ":1:10: servers: \"many\" is not a whole number"},
        {"kind: steady\nserverz: 5\n", ":2:1: unknown key \"serverz\": did you mean \"servers\"?"},
        {"servers: 0\n", ":1:10: servers: 0 is out of range: it must be from 1 to"},
        {"outage: {how: 504}\n", ":1:15: how: \"504\" is none of 503, 429, reset, hang, stop"},
        {"phases:\n  - {name: a}\n", ":2:5: key \"for\" is missing"},
        {"phases:\n  - {name: a, for: 1ms}\n", ":2:20: for: 1ms is out of range"},
        {"groups: [core, indexes]\n", ":1:9: groups: \"indexes\" is no group"},
        {"slo: \"lag p99 < 5\"\n", ":1:6: slo: \"\" is no unit of this figure"},
        {"servers: 1\nservers: 2\n", ":2:1: "},
        {"- steady\n", ":1:1: scenario: expected a map"},
        {"kind: knee\nknee: {from: 10, to: 5}\n", ":2:14: knee.from: must be below knee.to"},
        {"kind: ramp\nserver: 127.0.0.1:5432\n", ":2:9: server: a real server"},
        {"a: [\n", ":"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct arena arena = {0};
        struct scenario scenario;
        struct error error = {{0}};
        char expected[256];
        assert_false(load(&arena, cases[i].text, NULL, 0, &scenario, &error));
        snprintf(expected, sizeof expected, "%s%s", path, cases[i].message);
        if (strncmp(error.text, expected, strlen(expected)) != 0)
            fail_msg("%s gives: %s", cases[i].text, error.text);
        arena_fini(&arena);
    }
}

static void test_bad_flags(void **state)
{
    (void)state;
    static const struct {
        struct scenario_flag flag;
        const char *message;
    } cases[] = {
        {{"servers", "1x"}, "--servers: \"1x\" is not a whole number"},
        {{"for", "10"}, "--for: \"10\" is not a duration"},
        {{"churn-share", "2"}, "--churn-share: 2 is out of range: it must be from 0 to 1"},
        {{"compression", "lz4"}, "--compression: \"lz4\" is none of none, gzip, zstd"},
        {{"tls", "maybe"}, "--tls: \"maybe\" is neither true nor false"},
        {{"slo", "x"}, "slo: \"x\" is no figure"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct arena arena = {0};
        struct scenario scenario;
        struct error error = {{0}};
        assert_false(load(&arena, NULL, &cases[i].flag, 1, &scenario, &error));
        if (strncmp(error.text, cases[i].message, strlen(cases[i].message)) != 0)
            fail_msg("--%s %s gives: %s", cases[i].flag.name, cases[i].flag.value, error.text);
        arena_fini(&arena);
    }
    const struct option *group;
    assert_null(scenario_find_flag("serverz", &group));
    assert_null(scenario_find_flag("phases", &group));
    assert_null(scenario_find_flag("kind", &group));
    assert_non_null(scenario_find_flag("ledger-sample", &group));
    assert_null(group);
    assert_string_equal(scenario_find_flag("ramp-factor", &group)->key, "factor");
    assert_string_equal(group->key, "ramp");
}

/* ---- phases ---- */

static struct phases phases_of(struct arena *arena, const char *text)
{
    static struct scenario scenario;
    struct phases phases;
    struct error error = {{0}};
    if (!load(arena, text, NULL, 0, &scenario, &error) ||
        !phases_make(arena, &scenario, &phases, &error))
        fail_msg("%s: %s", text, error.text);
    return phases;
}

static void test_phases(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct phases phases = phases_of(&arena, "kind: outage\nfor: 30s\n"
                                             "outage: {after: 5s, length: 10s, how: 503}\n");
    assert_int_equal(phases.count, 3);
    assert_true(phases.total_ns == 30 * NS_PER_S);
    assert_string_equal(phases.items[1].name, "outage");
    assert_non_null(strstr(phases.items[1].sink, "503"));
    assert_non_null(phases.items[2].sink); /* and back */
    assert_true(phases.items[2].for_ns == 15 * NS_PER_S);

    phases =
        phases_of(&arena, "kind: outage\nfor: 30s\n"
                          "outage: {of: servers, share: 0.25, how: hang, after: 2s, length: 9s}\n");
    assert_string_equal(phases.items[1].sim, "- {name: outage, share: 25%, hang: true}\n");
    assert_string_equal(phases.items[2].sim, "[]\n");

    phases =
        phases_of(&arena, "kind: outage\nfor: 30s\noutage: {how: stop, after: 1s, length: 9s}\n");
    assert_true(phases.items[1].stop_sink && phases.items[1].sink == NULL);
    assert_false(phases.items[2].stop_sink);

    /* Waves take all servers in turn, around the end. */
    phases = phases_of(&arena, "kind: churn\nservers: 10\nfor: 60s\n"
                               "churn: {share: 0.4, every: 20s, down: 5s}\n");
    assert_int_equal(phases.count, 6);
    assert_non_null(strstr(phases.items[0].sim, "servers: [\"0-3\"], close: true"));
    assert_non_null(strstr(phases.items[2].sim, "servers: [\"4-7\"], refuse: shutdown"));
    assert_non_null(strstr(phases.items[4].sim, "servers: [\"8-9\", \"0-1\"], close: true"));
    assert_true(phases.items[1].for_ns == 15 * NS_PER_S);

    phases = phases_of(&arena, "kind: burst\nfor: 40s\n"
                               "burst: {how: stall, stall: 4s, every: 20s}\n");
    assert_int_equal(phases.count, 4);
    assert_true(phases.items[0].stop_sim && !phases.items[1].stop_sim);

    phases = phases_of(&arena, "phases:\n  - {name: a, for: 2s, sim: '[]'}\n"
                               "  - {name: b, for: 3s, stop_sink: true}\n");
    assert_int_equal(phases.count, 2);
    assert_true(phases.total_ns == 5 * NS_PER_S);
    assert_true(phases.items[1].stop_sink);
    arena_fini(&arena);
}

/* The scenarios that come with pgweir. */
static void test_shipped(void **state)
{
    (void)state;
    glob_t files;
    bool seen[SCENARIO_KIND_COUNT] = {false};
    assert_int_equal(glob(SCENARIOS "/*.yaml", 0, NULL, &files), 0);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        struct arena arena = {0};
        struct scenario scenario;
        struct phases phases;
        struct error error = {{0}};
        if (!scenario_load(&arena, -1, files.gl_pathv[i], NULL, 0, &scenario, &error) ||
            !phases_make(&arena, &scenario, &phases, &error))
            fail_msg("%s", error.text);
        if (scenario.collector_config != NULL && access(scenario.collector_config, R_OK) != 0)
            fail_msg("%s: no %s", files.gl_pathv[i], scenario.collector_config);
        seen[scenario.kind] = true;
        arena_fini(&arena);
    }
    globfree(&files);
    for (int kind = 0; kind < SCENARIO_KIND_COUNT; kind++)
        assert_true(seen[kind]);
}

static void test_bad_phases(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"kind: burst\nburst: {how: interval}\n", "needs a collector that takes a new"},
        {"kind: outage\nfor: 20s\noutage: {after: 10s, length: 10s}\n", "must end within"},
        {"kind: outage\noutage: {of: servers, how: 429}\n", "cannot answer an HTTP status"},
        {"kind: churn\nchurn: {every: 5s, down: 5s}\n", "must be longer than churn.down"},
        {"kind: burst\nburst: {how: stall, every: 5s, stall: 6s}\n", "longer than burst.stall"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct arena arena = {0};
        struct scenario scenario;
        struct phases phases;
        struct error error = {{0}};
        assert_true(load(&arena, cases[i].text, NULL, 0, &scenario, &error));
        assert_false(phases_make(&arena, &scenario, &phases, &error));
        if (strstr(error.text, cases[i].message) == NULL)
            fail_msg("%s: %s", cases[i].text, error.text);
        arena_fini(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),   cmocka_unit_test(test_file_and_flags),
        cmocka_unit_test(test_bad_files),  cmocka_unit_test(test_bad_flags),
        cmocka_unit_test(test_phases),     cmocka_unit_test(test_shipped),
        cmocka_unit_test(test_bad_phases),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
