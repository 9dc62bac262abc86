/* SPDX-License-Identifier: Apache-2.0 */
/* The Prometheus text: values, labels, histograms; every family of the catalogue; promtool. */
#include "admin/admin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include <pgweir/telemetry.h>

#include "base/clock.h"

static struct telemetry_set *shards[2], *exporter;

static int open_sets(void **state)
{
    (void)state;
    telemetry_open(TELEMETRY_PROCESS, 0, NULL);
    for (uint32_t i = 0; i < 2; i++) {
        struct telemetry_label label = {.key = "shard"};
        snprintf(label.value, sizeof label.value, "%u", i);
        shards[i] = telemetry_open(TELEMETRY_SHARD, 1, &label);
    }
    telemetry_open(TELEMETRY_WORKER, 0, NULL);
    struct telemetry_label id = {"exporter", "otlp_http/\"a\\b\"\n"};
    exporter = telemetry_open(TELEMETRY_DESTINATION, 1, &id);
    struct telemetry_label knob[] = {{"exporter", "otlp_http"}, {"knob", "flush_age"}};
    telemetry_open(TELEMETRY_TUNER, 2, knob);
    struct telemetry_label failure[] = {{"shard", "0"}, {"query", "locks"}, {"sqlstate", "42501"}};
    telemetry_add(telemetry_open(TELEMETRY_FAILURE, 3, failure), TELEMETRY_FAILURES, 3);
    return 0;
}

static int close_sets(void **state)
{
    (void)state;
    telemetry_reset();
    return 0;
}

static void assert_line(const char *text, const char *line)
{
    char whole[512];
    snprintf(whole, sizeof whole, "\n%s\n", line);
    if (strstr(text, whole) == NULL)
        fail_msg("no line: %s", line);
}

static size_t count_of(const char *text, const char *part)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at++)
        count++;
    return count;
}

static void test_values(void **state)
{
    (void)state;
    telemetry_add(shards[0], TELEMETRY_SCRAPES_OK, 5);
    telemetry_put(shards[1], TELEMETRY_TARGETS_UP, 7);
    telemetry_put(exporter, TELEMETRY_QUEUE_BYTES, 18446744073709551615u);
    char *text = admin_metrics_text();
    assert_line(text, "pgweir_build_info{version=\"" PGWEIR_VERSION "\"} 1");
    assert_line(text, "# TYPE pgweir_scrapes_total counter");
    assert_line(text, "pgweir_scrapes_total{shard=\"0\",result=\"ok\"} 5");
    assert_line(text, "pgweir_scrapes_total{shard=\"1\",result=\"ok\"} 0");
    assert_line(text, "# TYPE pgweir_targets gauge");
    assert_line(text, "pgweir_targets{shard=\"1\",state=\"up\"} 7");
    assert_line(text,
                "pgweir_statement_errors_total{shard=\"0\",query=\"locks\",sqlstate=\"42501\"} 3");
    assert_line(text, "pgweir_exporter_queue_bytes{exporter=\"otlp_http/\\\"a\\\\b\\\"\\n\"} "
                      "18446744073709551615");
    assert_line(text, "pgweir_uptime_seconds 0");
    free(text);
}

/* Once each, whatever the number of sets: and no family is left out. */
static void test_every_family(void **state)
{
    (void)state;
    char *text = admin_metrics_text();
    size_t families = 1 + TELEMETRY_HISTOGRAM_COUNT;
    for (size_t i = 0; i < TELEMETRY_VALUE_COUNT; i++)
        families += i == 0 || strcmp(telemetry_values[i].name, telemetry_values[i - 1].name) != 0;
    assert_int_equal(count_of(text, "# TYPE "), families);
    assert_int_equal(count_of(text, "# HELP "), families);
    for (char *line = strstr(text, "# TYPE "); line != NULL; line = strstr(line + 1, "# TYPE ")) {
        char head[256];
        snprintf(head, sizeof head, "%.*s ", (int)strcspn(line + 7, " ") + 7, line);
        assert_int_equal(count_of(text, head), 1);
    }
    free(text);
}

static unsigned long long value_of(const char *text, const char *series)
{
    const char *at = strstr(text, series);
    if (at == NULL)
        fail_msg("no series %s", series);
    return strtoull(at + strlen(series), NULL, 10);
}

static void test_histogram(void **state)
{
    (void)state;
    static const uint64_t values_ns[] = {
        5000,
        9000,             /* below 10 µs */
        2 * NS_PER_MS,    /* below 2.5 ms */
        2510 * NS_PER_US, /* just above 2.5 ms */
        1000 * NS_PER_S,  /* above every bound */
    };
    uint64_t sum_ns = 0;
    for (size_t i = 0; i < sizeof values_ns / sizeof values_ns[0]; i++) {
        telemetry_record(shards[0], TELEMETRY_HISTOGRAM_SCRAPE, values_ns[i]);
        sum_ns += values_ns[i];
    }
    char *text = admin_metrics_text(), line[128];
#define BUCKET(le) "pgweir_scrape_duration_seconds_bucket{shard=\"0\",le=\"" le "\"} "
    assert_int_equal(value_of(text, BUCKET("1e-05")), 2);
    assert_int_equal(value_of(text, BUCKET("0.001")), 2);
    assert_int_equal(value_of(text, BUCKET("0.0025")), 3);
    assert_int_equal(value_of(text, BUCKET("0.005")), 4);
    assert_int_equal(value_of(text, BUCKET("250")), 4);
    assert_int_equal(value_of(text, BUCKET("+Inf")), 5);
    assert_int_equal(value_of(text, "pgweir_scrape_duration_seconds_count{shard=\"0\"} "), 5);
    assert_int_equal(value_of(text, "pgweir_scrape_duration_seconds_count{shard=\"1\"} "), 0);
    snprintf(line, sizeof line, "pgweir_scrape_duration_seconds_sum{shard=\"0\"} %llu.%09llu",
             (unsigned long long)(sum_ns / NS_PER_S), (unsigned long long)(sum_ns % NS_PER_S));
    assert_line(text, line);
    assert_line(text, "# TYPE pgweir_scrape_duration_seconds histogram");
    free(text);
}

/* Prometheus' own linter; left out, aloud, where it is not installed. */
static void test_promtool(void **state)
{
    (void)state;
    if (system("command -v promtool >/dev/null 2>&1") != 0) {
        printf("left out: promtool is not installed (Debian package prometheus)\n");
        skip();
    }
    char *text = admin_metrics_text();
    FILE *promtool = popen("promtool check metrics 2>&1", "w");
    assert_non_null(promtool);
    fputs(text, promtool);
    int status = pclose(promtool);
    free(text);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_values, open_sets, close_sets),
        cmocka_unit_test_setup_teardown(test_every_family, open_sets, close_sets),
        cmocka_unit_test_setup_teardown(test_histogram, open_sets, close_sets),
        cmocka_unit_test_setup_teardown(test_promtool, open_sets, close_sets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
