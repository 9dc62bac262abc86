/* SPDX-License-Identifier: Apache-2.0 */
/* Verdicts on pairs of runs: each case is a sample with a few values changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/load/compare.h"

static json_t *sample(void)
{
    json_t *result = json_load_file(DATA_DIRECTORY "/steady.json", 0, NULL);
    assert_non_null(result);
    return result;
}

/* The verdict on a metric; "absent" when the table has no such row. */
static const char *verdict_of(const json_t *rows, const char *metric)
{
    size_t i;
    json_t *row;
    json_array_foreach((json_t *)(uintptr_t)rows, i,
                       row) if (strcmp(json_string_value(json_object_get(row, "metric")), metric) ==
                                0) return json_string_value(json_object_get(row, "verdict"));
    return "absent";
}

/* One value of "summary" in A and in B; NAN: not there. */
static const struct summary_case {
    const char *metric;
    double a, b;
    const char *verdict;
} summary_cases[] = {
    {"cpu_us_per_point", 0.2, 0.2, "same"},
    {"cpu_us_per_point", 0.2, 0.219, "same"}, /* within the tolerance */
    {"cpu_us_per_point", 0.2, 0.24, "worse"}, /* beyond it */
    {"cpu_us_per_point", 0.2, 0.16, "better"},
    {"cpu_us_per_point", 0.004, 0.0055, "same"}, /* 38 %, but of next to nothing */
    {"cpu_us_per_point", NAN, 0.2, "missing"},
    {"cpu_us_per_point", 0.2, NAN, "missing"},
    {"points_per_s", 43400, 30000, "worse"}, /* more is better */
    {"points_per_s", 43400, 60000, "better"},
    {"lag_p99_ms", 0.1, 0.4, "same"}, /* below what matters */
    {"lag_p99_ms", 10, 20, "worse"},
    {"lag_max_ms", 1, 500, "info"}, /* the largest of thousands says nothing */
    {"lost", 0, 1, "worse"},        /* one is one too many */
    {"lost", 5, 4, "better"},
    {"doubled", 0, 0, "same"},
    {"rejected", 1000000, 1000001, "worse"},
    {"connections", 10, 20, "info"},
    {"rss_kib_per_server", 32, 64, "worse"},
    {"rss_mib", 0, 100, "worse"}, /* no share of nothing, but a change all the same */
};

static void set_or_delete(json_t *result, const char *metric, double value)
{
    json_t *summary = json_object_get(result, "summary");
    if (isnan(value))
        json_object_del(summary, metric);
    else
        json_object_set_new(summary, metric, json_real(value));
}

static void one_value_differs(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof summary_cases / sizeof *summary_cases; i++) {
        const struct summary_case *row = &summary_cases[i];
        json_t *a = sample(), *b = sample();
        set_or_delete(a, row->metric, row->a);
        set_or_delete(b, row->metric, row->b);
        json_t *rows = compare_rows(a, b, 0.1);
        const char *verdict = verdict_of(rows, row->metric);
        if (strcmp(verdict, row->verdict) != 0)
            fail_msg("%s %g -> %g: %s, expected %s", row->metric, row->a, row->b, verdict,
                     row->verdict);
        json_decref(rows);
        json_decref(a);
        json_decref(b);
    }
}

/* Trebles the values of every second stretch. */
static void unquiet(json_t *result, const char *key, size_t run_length)
{
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(result, "timeline"), i, entry)
    {
        double value = json_number_value(json_object_get(entry, key));
        json_object_set_new(entry, key, json_real(i / run_length % 2 == 0 ? value : 3 * value));
    }
}

static void noise_of_a_timeline_excuses(void **state)
{
    (void)state;
    json_t *a = sample(), *b = sample();
    set_or_delete(a, "cpu_us_per_point", 0.2);
    set_or_delete(b, "cpu_us_per_point", 0.25);
    json_t *rows = compare_rows(a, b, 0.1);
    assert_string_equal(verdict_of(rows, "cpu_us_per_point"), "worse");
    json_decref(rows);
    /* Ups and downs that last: noise. The same change stays worse when they are gone by a minute.
     */
    unquiet(b, "cpu_cores", 12);
    rows = compare_rows(a, b, 0.1);
    assert_string_equal(verdict_of(rows, "cpu_us_per_point"), "noise");
    json_decref(rows);
    /* But not any change. */
    set_or_delete(b, "cpu_us_per_point", 2);
    rows = compare_rows(a, b, 0.1);
    assert_string_equal(verdict_of(rows, "cpu_us_per_point"), "worse");
    json_decref(rows);
    json_decref(a);
    json_decref(b);
}

/* Twenty values say nothing about a p99.9, six thousand something about a p99. */
static void few_samples_excuse_a_percentile(void **state)
{
    (void)state;
    json_t *a = sample(), *b = sample();
    set_or_delete(a, "age_p999_ms", 1000);
    set_or_delete(b, "age_p999_ms", 5000);
    json_t *few = json_pack("{s:[[i,i],[i,i]]}", "buckets", 1000000, 19, 900000000, 1);
    json_object_set_new(json_object_get(b, "histograms"), "age", few);
    json_t *rows = compare_rows(a, b, 0.1);
    assert_string_equal(verdict_of(rows, "age_p999_ms"), "too few");
    json_decref(rows);
    json_decref(a);
    json_decref(b);
}

static void another_load_is_not_judged_by_totals(void **state)
{
    (void)state;
    json_t *a = sample(), *b = sample();
    json_object_set_new(json_object_get(b, "options"), "servers", json_integer(2000));
    set_or_delete(b, "cpu_cores", 1);
    set_or_delete(b, "points_per_s", 20);
    set_or_delete(b, "cpu_us_per_point", 1);
    json_t *rows = compare_rows(a, b, 0.1);
    assert_string_equal(verdict_of(rows, "cpu_cores"), "info");
    assert_string_equal(verdict_of(rows, "points_per_s"), "info");
    assert_string_equal(verdict_of(rows, "cpu_us_per_point"), "worse");
    json_decref(rows);
    json_decref(a);
    json_decref(b);
}

static void a_condition_that_turns(void **state)
{
    (void)state;
    json_t *a = sample(), *b = sample();
    json_t *rows = compare_rows(a, b, 0.1);
    assert_string_equal(verdict_of(rows, "check"), "absent");
    json_decref(rows);
    json_object_set_new(json_array_get(json_object_get(b, "checks"), 1), "ok", json_false());
    rows = compare_rows(a, b, 0.1);
    assert_string_equal(verdict_of(rows, "check"), "worse");
    json_decref(rows);
    rows = compare_rows(b, a, 0.1);
    assert_string_equal(verdict_of(rows, "check"), "better");
    json_decref(rows);
    json_decref(a);
    json_decref(b);
}

/* The printed table of two samples; the text is to be freed. */
static char *printed(const char *a, const char *b, double tolerance, int expected)
{
    char left[512], right[512], *text = NULL;
    size_t bytes = 0;
    struct error error;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    snprintf(left, sizeof left, DATA_DIRECTORY "/%s.json", a);
    snprintf(right, sizeof right, DATA_DIRECTORY "/%s.json", b);
    int result = compare_results(left, right, tolerance, out, &error);
    fclose(out);
    if (result != expected)
        fail_msg("%s against %s: %d, expected %d:\n%s", a, b, result, expected, text);
    return text;
}

static void whole_runs(void **state)
{
    (void)state;
    char *text = printed("steady", "steady", 0.1, 0);
    assert_non_null(strstr(text, "\nworse=0 better=0 judged=19 tolerance=0.1\n"));
    free(text);
    /* Another seed of the same: nothing to complain about, even at a strict tolerance. */
    free(printed("steady", "steady_again", 0.1, 0));
    free(printed("steady", "steady_again", 0.03, 0));
    text = printed("steady", "steady_slower", 0.1, 1);
    assert_non_null(strstr(text, "CPU per point"));
    assert_non_null(strstr(text, "+60.0 %"));
    assert_null(strstr(text, "differ"));
    free(text);
    /* Of what got slower, all is better the other way round. */
    text = printed("steady_slower", "steady", 0.1, 0);
    assert_non_null(strstr(text, "\nworse=0 better="));
    free(text);
    text = printed("steady", "knee", 0.1, 0);
    assert_non_null(strstr(text, "The loads differ"));
    free(text);
    text = printed("steady", "missing", 0.1, 0);
    assert_non_null(strstr(text, "The machines differ"));
    assert_non_null(strstr(text, "missing"));
    free(text);
    free(printed("hostile", "hostile", 0.1, 0));
}

static void a_file_that_is_not_there(void **state)
{
    (void)state;
    struct error error;
    FILE *out = fopen("/dev/null", "we");
    assert_non_null(out);
    assert_int_equal(
        compare_results("/nowhere/a.json", DATA_DIRECTORY "/steady.json", 0.1, out, &error), -1);
    assert_non_null(strstr(error.text, "/nowhere/a.json"));
    assert_int_equal(
        compare_results(DATA_DIRECTORY "/steady.json", "/nowhere/b.json", 0.1, out, &error), -1);
    assert_non_null(strstr(error.text, "/nowhere/b.json"));
    fclose(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_value_differs),
        cmocka_unit_test(noise_of_a_timeline_excuses),
        cmocka_unit_test(few_samples_excuse_a_percentile),
        cmocka_unit_test(another_load_is_not_judged_by_totals),
        cmocka_unit_test(a_condition_that_turns),
        cmocka_unit_test(whole_runs),
        cmocka_unit_test(a_file_that_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
