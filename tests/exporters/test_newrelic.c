/* SPDX-License-Identifier: Apache-2.0 */
/* The newrelic preset: what it refuses at start, where it sends, what a request looks like, that no
 * body is too large and no batch too old. New Relic itself cannot be asked here; its limits are
 * played by pgweir-sink (argv[1]), which checks every body. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "exporters/exporter.h"
#include "tests/exporters/rig.h"
#include "tests/exporters/server.h"
#include "tests/exporters/sink.h"

#define KEY "0123456789abcdef0123456789abcdefFFFFNRAL"

static const struct component *const component = &newrelic_exporter.component;
static const char *sink_program;

/* ---- settings ---- */

static void test_mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *pairs[5];
        const char *error; /* NULL: none */
    } rows[] = {
        {{"api_key", KEY}, NULL},
        {{"region", "eu"}, "api_key is missing"},
        {{"api_key", ""}, "api_key is missing"},
        {{"api_key", KEY "\n"}, "a secret read from a file may end with one"},
        {{"api_key", "two words"}, "a space"},
        {{"api_key", "NRAK-ABCDEF"}, "which cannot send data"},
        {{"api_key", "eu01xx" KEY}, "set region: eu"},
        {{"api_key", "eu01xx" KEY, "region", "eu"}, NULL},
        {{"api_key", "eu01xx" KEY, "endpoint", "http://127.0.0.1:1"}, NULL},
        {{"api_key", KEY, "headers.API-Key", "x"}, "headers::API-Key: api_key sets this header"},
        {{"api_key", KEY, "headers.x", "a\nb"}, "headers::x"},
        {{"api_key", KEY, "spool.age", "0s"}, "spool::age must be between"},
        {{"api_key", KEY, "spool.age", "169201s"}, "older than 48 hours"},
        {{"api_key", KEY, "spool.age", "169200s"}, NULL},
        {{"api_key", KEY, "endpoint", "otlp.nr-data.net"}, "endpoint: "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error error = {{0}};
        void *settings = settings_create(component, rows[i].pairs);
        bool good = component->validate(settings, &error);
        if (good != (rows[i].error == NULL) || (!good && strstr(error.text, rows[i].error) == NULL))
            fail_msg("row %zu: %s", i, good ? "taken" : error.text);
        if (!good && rows[i].pairs[1][0] != '\0' && strstr(error.text, KEY) != NULL)
            fail_msg("row %zu tells the key: %s", i, error.text);
        settings_destroy(component, settings);
    }
}

static void check_plan(const char *const *pairs, const char *url)
{
    struct exporter_output output = {0};
    struct error error;
    void *settings = settings_create(component, pairs);
    assert_true(newrelic_exporter.open("newrelic", settings, &output, &error));
    const struct request_plan *plan = output.requests;
    assert_string_equal(plan->endpoint.url, url);
    assert_int_equal(plan->compression, COMPRESSION_ZSTD);
    assert_int_equal(output.format, BODY_PROTO);
    assert_true(plan->body_bytes_max > 0 && plan->body_bytes_max < 1000000);
    assert_ptr_equal(plan->split, otlp_split);
    assert_false(output.delta);
    newrelic_exporter.close(&output.state);
    assert_null(output.state);
    settings_destroy(component, settings);
}

static void test_regions(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"us", "https://otlp.nr-data.net/v1/metrics"},
        {"eu", "https://otlp.eu01.nr-data.net/v1/metrics"},
        {"jp", "https://otlp.jp.nr-data.net/v1/metrics"},
        {"fedramp", "https://gov-otlp.nr-data.net/v1/metrics"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *const pairs[] = {"api_key", KEY, "region", rows[i][0], NULL};
        check_plan(pairs, rows[i][1]);
    }
    static const char *const nothing[] = {"api_key", KEY, NULL};
    static const char *const own[] = {"api_key",        KEY, "region", "eu", "endpoint",
                                      "http://a:1/b//", NULL};
    check_plan(nothing, rows[0][1]);
    check_plan(own, "http://a:1/b/v1/metrics");
}

/* ---- requests ---- */

static void test_request(void **state)
{
    (void)state;
    static const struct server_step steps[] = {{.status = 200}}; /* without a body, as theirs */
    static const char *const heads[] = {"POST /v1/metrics HTTP/1.1\r\n", "api-key: " KEY "\r\n",
                                        "x-mine: yes\r\n", "Content-Encoding: zstd\r\n",
                                        "Content-Type: application/x-protobuf\r\n"};
    struct rig rig;
    char url[64];
    struct server *server = server_start(steps, 1, NULL, NULL);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/", server_port(server));
    const char *const pairs[] = {"api_key", KEY, "endpoint", url, "headers.x-mine", "yes", NULL};
    rig_init(&rig);
    rig_add(&rig, component, pairs);
    rig_start(&rig);
    rig_push(&rig, 100, 0);
    rig_wait_idle(&rig, 0);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_POINTS_DELIVERED), 100);
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
        if (!server_saw(server, heads[i]))
            fail_msg("no header %s", heads[i]);
    rig_fini(&rig);
    server_stop(&server);
}

static void write_script(char *path)
{
    static const char text[] =
        "phases: [{faults: [{do: status, status: 413, larger_than: 999999}]}]\n";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
    close(fd);
}

/* Against New Relic's limit on bodies: a batch that is larger leaves in parts, none is refused and
 * all arrive. */
static void test_no_body_too_large(void **state)
{
    (void)state;
    enum { PAGE_POINTS = 1200, PAGES = 20, POINTS = PAGE_POINTS * PAGES };
    char path[] = "/tmp/pgweir-newrelic-XXXXXX";
    const char *const arguments[] = {"--script", path, NULL};
    struct rig rig;
    struct sink sink;
    write_script(path);
    sink_start(&sink, sink_program, arguments);
    unlink(path);
    const char *const pairs[] = {"api_key", KEY, "endpoint", sink.url, "compression", "none", NULL};
    rig_init(&rig);
    rig.batch = (struct batch_settings){.send_batch_size = POINTS, .timeout_ns = 60 * NS_PER_S};
    rig_add(&rig, component, pairs);
    rig_start(&rig);
    for (int i = 0; i < PAGES; i++)
        rig_push(&rig, PAGE_POINTS, 0);
    rig_wait_idle(&rig, 0);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_POINTS_DELIVERED), POINTS);
    assert_true(rig_value(&rig, 0, TELEMETRY_BYTES_ENCODED) > 2000000);
    assert_true(rig_value(&rig, 0, TELEMETRY_BODIES_SPLIT) >= 1);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_REQUESTS_PERMANENT), 0);
    rig_fini(&rig);
    json_t *report = sink_stop(&sink);
    assert_int_equal(sink_number(report, "taken_points"), POINTS);
    assert_int_equal(sink_number(report, "refused"), 0);
    assert_true(sink_number(report, "requests") >= 3);
    json_decref(report);
}

/* A batch that gets too old while the back end is away is never sent. */
static void test_too_old(void **state)
{
    (void)state;
    static const struct server_step steps[] = {{.status = 503}};
    struct rig rig;
    char url[64];
    struct server *server = server_start(steps, 1, NULL, NULL);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", server_port(server));
    const char *const pairs[] = {"api_key",
                                 KEY,
                                 "endpoint",
                                 url,
                                 "spool.age",
                                 "4s",
                                 "retry_on_failure.initial_interval",
                                 "200ms",
                                 "retry_on_failure.max_interval",
                                 "200ms",
                                 NULL};
    rig_init(&rig);
    rig_add(&rig, component, pairs);
    rig_start(&rig);
    rig_push(&rig, 100, 0);
    rig_wait(&rig, 0, TELEMETRY_DROPPED_TOO_OLD, 100);
    rig_wait_idle(&rig, 0);
    assert_true(rig_value(&rig, 0, TELEMETRY_REQUESTS_RETRYABLE) >= 1);
    rig_fini(&rig);
    server_stop(&server);
}

/* Counters as deltas: the first value of each series gives no point, which the books say. */
static void test_delta(void **state)
{
    (void)state;
    enum { ROUND = 32, COUNTERS = 14 }; /* of a page: its first two metrics have 8 and 6 points */
    static const char *const arguments[] = {NULL};
    struct rig rig;
    struct sink sink;
    sink_start(&sink, sink_program, arguments);
    const char *const pairs[] = {"api_key",     KEY,     "endpoint", sink.url,
                                 "temporality", "delta", NULL};
    rig_init(&rig);
    rig_add(&rig, component, pairs);
    rig_start(&rig);
    for (int i = 0; i < 3; i++)
        rig_push(&rig, ROUND, 0);
    rig_wait_idle(&rig, 0);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_DROPPED_FIRST_VALUE), COUNTERS);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_DELTA_SERIES), COUNTERS);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_POINTS_DELIVERED), 3 * ROUND - COUNTERS);
    rig_check_books(rig.sets[0]);
    rig_fini(&rig);
    json_t *report = sink_stop(&sink);
    assert_int_equal(sink_number(report, "taken_points"), 3 * ROUND - COUNTERS);
    assert_int_equal(sink_number(report, "bad_bodies"), 0);
    json_decref(report);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: test_newrelic PGWEIR-SINK\n");
        return 2;
    }
    sink_program = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mistakes), cmocka_unit_test(test_regions),
        cmocka_unit_test(test_request),  cmocka_unit_test(test_no_body_too_large),
        cmocka_unit_test(test_too_old),  cmocka_unit_test(test_delta),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
