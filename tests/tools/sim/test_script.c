/* SPDX-License-Identifier: Apache-2.0 */
/* Scripts: what they say, when and about whom it holds, and what their mistakes read like. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tools/sim/script.h"

static const uint64_t base_ns = 1000 * NS_PER_S;

static struct script *read_after(const char *text, struct script *previous)
{
    struct script *script;
    struct error error = {0};
    if (!script_read(&script, "s.yaml", text, strlen(text), previous, base_ns, &error))
        fail_msg("%s", error.text);
    return script;
}

static void test_rules(void **state)
{
    (void)state;
    struct script *script = read_after("rules:\n"
                                       "  - {name: slow, servers: [3, '10-19'], latency: 5ms}\n"
                                       "  - error: 55P03\n"
                                       "    statement: 'table*'\n"
                                       "    database: app\n"
                                       "    from: 10s\n"
                                       "    until: 1m\n"
                                       "    probability: 25%\n"
                                       "  - error: \"42501 no, not you\"\n"
                                       "  - {hang: true, deaf: true}\n"
                                       "  - {slice: {bytes: 1, every: 2ms}}\n"
                                       "  - {failover: true, from: 5s, for: 3s, role: standby}\n"
                                       "  - {reset_after: 4KiB, share: 0.5}\n"
                                       "  - {refuse: starting}\n"
                                       "  - {lock_wait: 2s}\n"
                                       "  - {slow_start: 1s}\n"
                                       "  - {close: true}\n",
                                       NULL);
    assert_int_equal(script->count, 11);
    assert_int_equal(script->generation, 1);
    struct rule *const *rules = script->rules;
    assert_string_equal(rules[0]->name, "slow");
    assert_string_equal(rules[1]->name, "s.yaml:3: error");
    assert_string_equal(rules[1]->sqlstate, "55P03");
    assert_string_equal(rules[1]->message, "canceling statement due to lock timeout");
    assert_string_equal(rules[2]->message, "no, not you");
    assert_int_equal(rules[1]->from_ns, base_ns + 10 * NS_PER_S);
    assert_int_equal(rules[1]->until_ns, base_ns + 60 * NS_PER_S);
    assert_int_equal(rules[1]->probability, 1ull << 62);
    assert_true(rules[3]->deaf);
    assert_int_equal(rules[4]->bytes, 1);
    assert_int_equal(rules[4]->wait_ns, 2 * NS_PER_MS);
    assert_int_equal(rules[5]->role, ROLE_STANDBY);
    assert_int_equal(rules[6]->bytes, 4096);
    assert_int_equal(rules[7]->refusal, REFUSE_STARTING);
    static const enum rule_action actions[] = {
        RULE_LATENCY,     RULE_ERROR,  RULE_ERROR,     RULE_HANG,       RULE_SLICE, RULE_FAILOVER,
        RULE_RESET_AFTER, RULE_REFUSE, RULE_LOCK_WAIT, RULE_SLOW_START, RULE_CLOSE};
    for (size_t i = 0; i < script->count; i++)
        assert_int_equal(rules[i]->action, actions[i]);
    script_destroy(&script);
    assert_null(script);
}

static void test_whom(void **state)
{
    (void)state;
    struct script *script =
        read_after("[{servers: [3, '10-19'], close: true}, {share: 10%, close: true},"
                   " {share: 20%, close: true}, {servers: '0-9', share: 0, close: true}]",
                   NULL);
    uint32_t small = 0, large = 0;
    for (uint32_t server = 0; server < 20000; server++) {
        assert_int_equal(rule_of_server(script->rules[0], 1, server),
                         server == 3 || (server >= 10 && server <= 19));
        bool in_small = rule_of_server(script->rules[1], 1, server);
        bool in_large = rule_of_server(script->rules[2], 1, server);
        assert_true(in_large || !in_small);
        assert_false(rule_of_server(script->rules[3], 1, server));
        small += in_small;
        large += in_large;
    }
    assert_in_range(small, 1800, 2200);
    assert_in_range(large, 3700, 4300);
    assert_true(rule_glob(NULL, "x") && rule_glob("*", "x") && rule_glob("table*", "table_io"));
    assert_false(rule_glob("table*", "database"));
    script_destroy(&script);
}

static void test_when(void **state)
{
    (void)state;
    uint64_t next_ns;
    struct script *script =
        read_after("[{close: true}, {from: 10s, until: 20s, close: true}]", NULL);
    assert_int_equal(script_active(script, base_ns, &next_ns), 1);
    assert_int_equal(next_ns, base_ns + 10 * NS_PER_S);
    assert_int_equal(script_active(script, next_ns, &next_ns), 3);
    assert_int_equal(next_ns, base_ns + 20 * NS_PER_S);
    assert_int_equal(script_active(script, next_ns, &next_ns), 1);
    assert_int_equal(next_ns, UINT64_MAX);
    assert_int_equal(script_active(NULL, base_ns, &next_ns), 0);
    /* More come behind; a list replaces all. */
    struct rule *first = script->rules[0];
    script = read_after("{add: [{latency: 1ms}]}", script);
    assert_int_equal(script->count, 3);
    assert_ptr_equal(script->rules[0], first);
    assert_int_equal(script->generation, 2);
    script = read_after("[]", script);
    assert_int_equal(script->count, 0);
    script_destroy(&script);
}

static void test_mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"x", "s.yaml:1:1: a list of rules is wanted"},
        {"[5]", "s.yaml:1:2: a rule is a mapping"},
        {"[{servers: 1}]", "s.yaml:1:2: the rule does nothing: give it one of latency, error"},
        {"- latency: 5ms\n  error: 42501\n",
         "s.yaml:2:3: a rule has one action: make \"error\" a rule of its own"},
        {"[{latncy: 5ms}]", "s.yaml:1:3: a rule has no key \"latncy\": did you mean \"latency\"?"},
        {"[{latency: fast}]", "s.yaml:1:12: a duration is wanted, as 5ms or 1.5s"},
        {"[{latency: 2h}]", "s.yaml:1:12: 2h is longer than 1h"},
        {"[{latency: {gamma: 5ms}}]", "s.yaml:1:20: no distribution is called \"gamma\""},
        {"[{latency: {lognormal: {p50: 5ms, p99: 1ms}}}]", "s.yaml:1:24: p50 must be above 0"},
        {"[{latency: {uniform: [9ms, 1ms]}}]", "s.yaml:1:22: the first must not be above"},
        {"[{error: 4250}]", "s.yaml:1:10: an SQLSTATE is wanted"},
        {"[{servers: 9-3, close: true}]", "s.yaml:1:12: \"9-3\" is no server number or range"},
        {"[{servers: [], close: true}]", "s.yaml:1:12: 1 to 4096 ranges"},
        {"[{share: 120%, close: true}]", "s.yaml:1:10: a part is wanted"},
        {"[{share: nan, close: true}]", "s.yaml:1:10: a part is wanted"},
        {"[{refuse: politely}]", "s.yaml:1:11: one of full, starting, shutdown, password, no_data"},
        {"[{close: false}]", "s.yaml:1:10: only true is possible here"},
        {"[{deaf: true, close: true}]", "s.yaml:1:9: `deaf` goes with `hang: true` only"},
        {"[{for: 1s, close: true}]", "s.yaml:1:8: `for` goes with `failover: true` only"},
        {"[{role: standby, close: true}]", "s.yaml:1:9: `role` goes with"},
        {"[{slice: 1}]", "s.yaml:1:10: {bytes: 1, every: 1ms} is wanted"},
        {"[{slice: {bytes: 0, every: 1ms}}]", "s.yaml:1:18: a slice has at least one byte"},
        {"[{reset_after: 3GiB}]", "s.yaml:1:16: a number of bytes is wanted"},
        {"[{refuse: full, statement: x}]", "s.yaml:1:2: refuse is about connections"},
        {"[{failover: true, until: 5s}]", "s.yaml:1:2: a failover takes"},
        {"[{from: 5s, until: 5s, close: true}]", "s.yaml:1:2: `until` must be after `from`"},
        {"[{name: '', close: true}]", "s.yaml:1:9: a name is wanted"},
        {"[{close: true}", "s.yaml:2:1: not valid YAML"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct script *script = NULL;
        struct error error = {0};
        assert_false(
            script_read(&script, "s.yaml", cases[i].text, strlen(cases[i].text), NULL, 0, &error));
        assert_null(script);
        if (strncmp(error.text, cases[i].error, strlen(cases[i].error)) != 0)
            fail_msg("%s: %s", cases[i].text, error.text);
    }
    char many[SCRIPT_RULES_MAX * 16 + 32] = "[";
    for (int i = 0; i <= SCRIPT_RULES_MAX; i++)
        strcat(many, "{close: true},");
    strcat(many, "]");
    struct script *script = NULL;
    struct error error = {0};
    assert_false(script_read(&script, "s.yaml", many, strlen(many), NULL, 0, &error));
    assert_non_null(strstr(error.text, "65 rules are more than 64: use ranges of servers"));
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Median and 99th percentile of what is drawn, in ms. */
static void test_distributions(void **state)
{
    (void)state;
    static const struct {
        const char *rule;
        double p50, p99;
    } cases[] = {
        {"[{latency: 5ms}]", 5, 5},
        {"[{latency: {fixed: 5ms}}]", 5, 5},
        {"[{latency: {uniform: [10ms, 20ms]}}]", 15, 19.9},
        {"[{latency: {normal: {mean: 50ms, sd: 10ms}}}]", 50, 73.3},
        {"[{latency: {lognormal: {p50: 2ms, p99: 80ms}}}]", 2, 80},
        {"[{latency: {exponential: 10ms}}]", 6.93, 46.1},
    };
    enum { DRAWS = 40000 };
    static uint64_t drawn[DRAWS];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct script *script = read_after(cases[i].rule, NULL);
        struct random random = {.state = 3};
        for (size_t k = 0; k < DRAWS; k++)
            drawn[k] = latency_draw(&script->rules[0]->latency, &random);
        qsort(drawn, DRAWS, sizeof drawn[0], compare);
        double p50 = (double)drawn[DRAWS / 2] / 1e6, p99 = (double)drawn[DRAWS / 100 * 99] / 1e6;
        assert_true(fabs(p50 / cases[i].p50 - 1) < 0.05);
        assert_true(fabs(p99 / cases[i].p99 - 1) < 0.08);
        script_destroy(&script);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),         cmocka_unit_test(test_whom),
        cmocka_unit_test(test_when),          cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_distributions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
