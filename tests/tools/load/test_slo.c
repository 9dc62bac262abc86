/* SPDX-License-Identifier: Apache-2.0 */
/* Conditions: what is understood, what is refused and how, and what they say of a run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tools/load/outcome.h"
#include "tools/load/slo.h"
#include "tools/load/views.h"

static void test_parsed(void **state)
{
    (void)state;
    struct slo slo;
    struct error error;
    assert_true(
        slo_parse("age p99 < 2 s, lag p99.9<=100ms ,loss = 0, rss < 1.5 GiB, "
                  "scrape max < 1 m, cpu_per_point < 300 ns, points_per_s >= 1e4, made >= 99 %, "
                  "left_out = 0",
                  &slo, &error));
    assert_int_equal(slo.count, 9);
    const struct {
        enum slo_figure figure;
        double share;
        enum slo_comparison comparison;
        double value;
    } expected[] = {
        {SLO_AGE, 0.99, SLO_BELOW, 2000},
        {SLO_LAG, 0.999, SLO_AT_MOST, 100},
        {SLO_LOST, 1, SLO_EQUAL, 0},
        {SLO_RSS, 1, SLO_BELOW, 1.5 * 1024 * 1024},
        {SLO_SCRAPE, 1, SLO_BELOW, 60000},
        {SLO_CPU_PER_POINT, 1, SLO_BELOW, 0.3},
        {SLO_POINTS_PER_S, 1, SLO_AT_LEAST, 1e4},
        {SLO_MADE, 1, SLO_AT_LEAST, 99},
        {SLO_LEFT_OUT, 1, SLO_EQUAL, 0},
    };
    for (uint32_t i = 0; i < slo.count; i++) {
        assert_int_equal(slo.conditions[i].figure, expected[i].figure);
        assert_true(slo.conditions[i].share == expected[i].share);
        assert_int_equal(slo.conditions[i].comparison, expected[i].comparison);
        assert_true(slo.conditions[i].value > expected[i].value * 0.999999 - 1e-12 &&
                    slo.conditions[i].value < expected[i].value * 1.000001 + 1e-12);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "no condition"},
        {" , ", "no condition"},
        {"age < 2 s", "is no quantile"},
        {"age p98 < 2 s", "\"p98\" is no quantile: write p50, p90"},
        {"agee p99 < 2 s", "\"agee\" is no figure: did you mean \"age\"?"},
        {"lag p99 100 ms", "a comparison is missing"},
        {"lag p99 < ms", "a number is missing"},
        {"lag p99 < nan ms", "a number is missing"},
        {"lag p99 < 100", "is no unit of this figure: write one such as ms"},
        {"lag p99 < 100 MiB", "\"MiB\" is no unit"},
        {"loss = 0 s", "\"s\" is no unit of this figure, which has none"},
        {"loss = 0 or so", "is unexpected: separate conditions by commas"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct slo slo;
        struct error error = {{0}};
        assert_false(slo_parse(cases[i].text, &slo, &error));
        if (strstr(error.text, cases[i].message) == NULL)
            fail_msg("\"%s\": %s", cases[i].text, error.text);
    }
}

static void test_judged(void **state)
{
    (void)state;
    struct slo slo;
    struct error error;
    struct outcome *outcome = outcome_create();
    view_record(&outcome->lag, 50 * NS_PER_MS, 990);
    view_record(&outcome->lag, 500 * NS_PER_MS, 10);
    assert_true(
        slo_parse("lag p90 < 100 ms, lag p99.9 < 100 ms, loss = 0, age p99 < 2 s", &slo, &error));
    slo_check(&slo, outcome);
    assert_int_equal(outcome->check_count, 4);
    assert_true(outcome->checks[0].ok);
    assert_false(outcome->checks[1].ok);
    assert_false(outcome->checks[2].ok); /* nobody knows whether something was lost */
    assert_false(outcome->checks[3].ok); /* nothing was delivered: no age to be proud of */
    assert_string_equal(slo_broken(&slo, outcome)->text, "lag p99.9 < 100 ms");
    outcome->figures.lost = 0;
    view_record(&outcome->age, NS_PER_S, 1);
    assert_true(slo_parse("lag p90 < 100 ms, loss = 0, age p99 < 2 s", &slo, &error));
    assert_null(slo_broken(&slo, outcome));
    outcome->figures.lost = 1;
    assert_string_equal(slo_broken(&slo, outcome)->text, "loss = 0");
    outcome_destroy(&outcome);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parsed),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_judged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
