/* SPDX-License-Identifier: Apache-2.0 */
/* Worker and pgweir-sink together, each checking the other: what the worker counts as delivered is
 * what the sink found in well-formed bodies. The sink's program comes as the first argument. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "exporters/exporter.h"
#include "tests/exporters/rig.h"

static const char *sink_path;

struct sink {
    pid_t pid;
    FILE *output;
    char url[64];
};

static void sink_start(struct sink *sink, const char *const *arguments)
{
    int pipes[2];
    char line[128];
    char *argv[16] = {(char *)(uintptr_t)sink_path, (char *)(uintptr_t) "--listen",
                      (char *)(uintptr_t) "127.0.0.1:0"};
    for (int i = 0; arguments[i] != NULL; i++)
        argv[3 + i] = (char *)(uintptr_t)arguments[i];
    assert_int_equal(pipe(pipes), 0);
    sink->pid = fork();
    if (sink->pid == 0) {
        dup2(pipes[1], STDOUT_FILENO);
        close(pipes[0]);
        execv(sink_path, argv);
        _exit(127);
    }
    close(pipes[1]);
    sink->output = fdopen(pipes[0], "r");
    unsigned port = 0;
    if (fgets(line, sizeof line, sink->output) == NULL ||
        sscanf(line, "listening on port %u", &port) != 1)
        fail_msg("%s did not start", sink_path);
    snprintf(sink->url, sizeof sink->url, "http://127.0.0.1:%u", port);
}

/* Ends it; its report, to be freed. */
static json_t *sink_stop(struct sink *sink)
{
    int status;
    kill(sink->pid, SIGTERM);
    json_t *report = json_loadf(sink->output, JSON_DISABLE_EOF_CHECK, NULL);
    assert_non_null(report);
    fclose(sink->output);
    assert_int_equal(waitpid(sink->pid, &status, 0), sink->pid);
    assert_int_equal(status, 0);
    return report;
}

static json_int_t number(const json_t *report, const char *key)
{
    const json_t *value = json_object_get(report, key);
    if (!json_is_integer(value))
        fail_msg("the report has no %s", key);
    return json_integer_value(value);
}

struct sink_row {
    const char *what;
    const char *compression;
    const char *arguments[8];
    uint64_t delivered, rejected, ambiguous;
    json_int_t requests, accepted; /* 0 requests: any number */
};

static const struct sink_row rows[] = {
    {"gzip", "gzip", {NULL}, 1000, 0, 0, 10, 10},
    {"zstd", "zstd", {NULL}, 1000, 0, 0, 10, 10},
    {"plain", "none", {NULL}, 1000, 0, 0, 10, 10},
    {"count only", "gzip", {"--count-only", NULL}, 1000, 0, 0, 10, 10},
    {"overloaded twice", "gzip", {"--answer", "503,429,200", NULL}, 1000, 0, 0, 12, 10},
    {"rejects some", "gzip", {"--reject", "3", NULL}, 970, 30, 0, 10, 10},
    {"slow", "gzip", {"--delay", "50", NULL}, 1000, 0, 0, 10, 10},
};

static void check_row(const struct sink_row *row)
{
    struct sink sink;
    struct rig rig;
    sink_start(&sink, row->arguments);
    const char *const pairs[] = {"endpoint",
                                 sink.url,
                                 "compression",
                                 row->compression,
                                 "retry_on_failure.initial_interval",
                                 "5ms",
                                 "rate_limit.adaptive", /* 429s here are no lesson */
                                 "false",
                                 NULL};
    print_message("%s\n", row->what);
    rig_init(&rig);
    rig_add(&rig, &otlp_http_exporter.component, pairs);
    rig_start(&rig);
    for (int i = 0; i < 10; i++)
        rig_push(&rig, 100, 0);
    rig_wait_idle(&rig, 0);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_POINTS_DELIVERED), row->delivered);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_DROPPED_REJECTED), row->rejected);
    json_int_t sent = (json_int_t)rig_value(&rig, 0, TELEMETRY_BYTES_ENCODED);
    assert_true(rig_stop(&rig, 1000));
    rig_fini(&rig);
    json_t *report = sink_stop(&sink);
    assert_int_equal(number(report, "requests"), row->requests);
    assert_int_equal(number(report, "accepted"), row->accepted);
    assert_int_equal(number(report, "accepted_points"), 1000);
    assert_int_equal(number(report, "bad_bodies"), 0);
    assert_int_equal(number(report, "metric_names"), RIG_METRICS);
    if (row->requests == row->accepted)
        assert_int_equal(number(report, "body_bytes"), sent);
    json_decref(report);
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        check_row(&rows[i]);
}

/* The sink closes without an answer for ever: every resend is ambiguous, and the sink saw as many
 * bodies as the worker says it sent. */
static void test_close_early(void **state)
{
    (void)state;
    static const char *const arguments[] = {"--close-early", NULL};
    struct sink sink;
    struct rig rig;
    sink_start(&sink, arguments);
    const char *const pairs[] = {"endpoint",
                                 sink.url,
                                 "retry_on_failure.initial_interval",
                                 "10ms",
                                 "retry_on_failure.max_elapsed_time",
                                 "4s",
                                 NULL};
    rig_init(&rig);
    rig_add(&rig, &otlp_http_exporter.component, pairs);
    rig_start(&rig);
    rig_push(&rig, 100, 0);
    rig_wait_idle(&rig, 0);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_DROPPED_EXPIRED), 100);
    json_int_t tries = (json_int_t)rig_value(&rig, 0, TELEMETRY_REQUESTS_RETRYABLE);
    assert_true(tries >= 2);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_AMBIGUOUS_RESENDS), tries - 1);
    rig_fini(&rig);
    json_t *report = sink_stop(&sink);
    assert_int_equal(number(report, "unanswered"), tries);
    assert_int_equal(number(report, "points"), 100 * tries);
    assert_int_equal(number(report, "accepted_points"), 0);
    json_decref(report);
}

/* Bodies that were taken, and only those, are kept: as many bytes as were counted as encoded. */
static void test_log(void **state)
{
    (void)state;
    char path[] = "/tmp/pgweir-log-XXXXXX";
    int fd = mkstemp(path);
    const char *const arguments[] = {"--log", path, "--answer", "503,200", NULL};
    struct sink sink;
    struct rig rig;
    sink_start(&sink, arguments);
    const char *const pairs[] = {"endpoint", sink.url, "retry_on_failure.initial_interval", "5ms",
                                 NULL};
    rig_init(&rig);
    rig_add(&rig, &otlp_http_exporter.component, pairs);
    rig_start(&rig);
    for (int i = 0; i < 3; i++)
        rig_push(&rig, 100, 0);
    rig_wait_idle(&rig, 0);
    uint64_t encoded = rig_value(&rig, 0, TELEMETRY_BYTES_ENCODED);
    rig_fini(&rig);
    json_t *report = sink_stop(&sink);
    assert_int_equal(number(report, "requests"), 4);
    json_decref(report);
    assert_int_equal(lseek(fd, 0, SEEK_END), encoded + 3 * 4);
    close(fd);
    unlink(path);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s PGWEIR-SINK\n", argv[0]);
        return 2;
    }
    sink_path = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_close_early),
        cmocka_unit_test(test_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
