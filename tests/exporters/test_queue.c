/* SPDX-License-Identifier: Apache-2.0 */
/* Queues: overflow drops the oldest, one destination never touches another, stopping delivers what
 * it can until its deadline and counts the rest. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "exporters/exporter.h"
#include "tests/exporters/rig.h"
#include "tests/exporters/server.h"

enum { POINTS = 100 };

static void format_url(char url[64], const struct server *server)
{
    snprintf(url, 64, "http://127.0.0.1:%u", server_port(server));
}

/* One sender busy for a second, room for 3: of 10 batches the first is on the wire, the last two
 * wait, the seven between are dropped, oldest first. */
static void test_overflow(void **state)
{
    (void)state;
    static const struct server_step steps[] = {{.status = 200, .held = true}, {.status = 200}};
    struct rig rig;
    char url[64];
    struct server *server = server_start(steps, 2, NULL, NULL);
    format_url(url, server);
    const char *const pairs[] = {
        "endpoint", url, "sending_queue.num_consumers", "1", "sending_queue.queue_size", "3", NULL};
    rig_init(&rig);
    rig_add(&rig, &otlp_http_exporter.component, pairs);
    rig_start(&rig);
    rig_push(&rig, POINTS, 0);
    rig_wait(&rig, 0, TELEMETRY_REQUESTS_IN_FLIGHT, 1);
    for (int i = 0; i < 9; i++)
        rig_push(&rig, POINTS, 3);
    rig_wait(&rig, 0, TELEMETRY_DROPPED_QUEUE_FULL, 7 * POINTS);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_QUEUE_BATCHES), 3);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_QUEUE_CAPACITY), 3);
    server_release(server);
    rig_wait_idle(&rig, 0);
    assert_int_equal(server_requests(server), 3);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_POINTS_DELIVERED), 3 * POINTS);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_DROPPED_QUEUE_FULL), 7 * POINTS);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_DROPPED_NO_PAGE), 27);
    rig_fini(&rig);
    server_stop(&server);
}

/* The oldest is also dropped where it waits for a retry in a sender's hand. */
static void test_overflow_of_retries(void **state)
{
    (void)state;
    static const struct server_step steps[] = {{.status = 503}, {.status = 503}, {.status = 200}};
    struct rig rig;
    char url[64];
    struct server *server = server_start(steps, 3, NULL, NULL);
    format_url(url, server);
    const char *const pairs[] = {"endpoint",
                                 url,
                                 "sending_queue.num_consumers",
                                 "2",
                                 "sending_queue.queue_size",
                                 "2",
                                 "retry_on_failure.initial_interval",
                                 "3600s",
                                 "retry_on_failure.max_interval",
                                 "3600s",
                                 "retry_on_failure.max_elapsed_time",
                                 "0s",
                                 NULL};
    rig_init(&rig);
    rig_add(&rig, &otlp_http_exporter.component, pairs);
    rig_start(&rig);
    rig_push(&rig, POINTS, 0);
    rig_push(&rig, POINTS, 0);
    rig_wait(&rig, 0, TELEMETRY_REQUESTS_RETRYABLE, 2); /* both senders wait for an hour */
    rig_push(&rig, POINTS, 0);
    rig_wait(&rig, 0, TELEMETRY_POINTS_DELIVERED, POINTS); /* the new one went out */
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_DROPPED_QUEUE_FULL), POINTS);
    uint64_t before_ns = clock_monotonic_ns();
    assert_false(rig_stop(&rig, 20000)); /* no use to wait: the retry is due long after */
    assert_true(clock_monotonic_ns() - before_ns < 10 * NS_PER_S);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_DROPPED_STOP), POINTS);
    rig_fini(&rig);
    server_stop(&server);
}

static uint64_t cpu_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
}

/* CPU of the whole process during 200 ms in which this thread sleeps. */
static double busy_share(void)
{
    uint64_t before_cpu_ns = cpu_ns(), before_ns = clock_monotonic_ns();
    nanosleep(&(struct timespec){.tv_nsec = 200 * (long)NS_PER_MS}, NULL);
    return (double)(cpu_ns() - before_cpu_ns) / (double)(clock_monotonic_ns() - before_ns);
}

/* A dead destination, one that hangs, one that works and a file: the working ones get everything at
 * once. */
static void test_isolation(void **state)
{
    (void)state;
    static const struct server_step good[] = {{.status = 200}};
    static const struct server_step hanging[] = {{.status = 200, .held = true}};
    struct rig rig;
    char url[64], hanging_url[64], text[256];
    struct server *server = server_start(good, 1, NULL, NULL);
    struct server *slow = server_start(hanging, 1, NULL, NULL);
    format_url(url, server);
    format_url(hanging_url, slow);
    const char *const dead[] = {"endpoint", "http://127.0.0.1:1", NULL};
    const char *const hangs[] = {"endpoint", hanging_url, "timeout", "1h", NULL};
    const char *const works[] = {"endpoint", url, "compression", "zstd", NULL};
    const char *const file[] = {"path", "/dev/null", NULL};
    rig_init(&rig);
    rig_add(&rig, &otlp_http_exporter.component, dead);
    rig_add(&rig, &otlp_http_exporter.component, hangs);
    rig_add(&rig, &otlp_http_exporter.component, works);
    rig_add(&rig, &file_exporter.component, file);
    rig_start(&rig);
    for (int i = 0; i < 50; i++)
        rig_push(&rig, POINTS, 0);
    rig_wait_idle(&rig, 2);
    rig_wait_idle(&rig, 3);
    rig_wait(&rig, 0, TELEMETRY_POINTS_COLLECTED_FOR, 50 * POINTS);
    rig_wait(&rig, 1, TELEMETRY_POINTS_COLLECTED_FOR, 50 * POINTS);
    for (uint32_t i = 0; i < 4; i++)
        rig_check_books(rig.sets[i]);
    assert_int_equal(rig_value(&rig, 2, TELEMETRY_POINTS_DELIVERED), 50 * POINTS);
    assert_int_equal(rig_value(&rig, 3, TELEMETRY_POINTS_DELIVERED), 50 * POINTS);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_POINTS_QUEUED), 50 * POINTS);
    assert_int_equal(rig_value(&rig, 1, TELEMETRY_POINTS_QUEUED), 50 * POINTS);
    assert_true(busy_share() < 0.5); /* retries and hanging requests wait, they do not spin */
    assert_false(worker_healthy(rig.worker, 0, text, sizeof text));
    assert_true(worker_healthy(rig.worker, 1, text, sizeof text)); /* no answer yet, none missed */
    assert_true(worker_healthy(rig.worker, 2, text, sizeof text));
    assert_false(rig_stop(&rig, 50));
    assert_int_equal(rig_value(&rig, 1, TELEMETRY_DROPPED_STOP), 50 * POINTS);
    rig_fini(&rig);
    server_stop(&server);
    server_stop(&slow);
}

/* Stopping delivers what is in open batches, in the queue and on the wire. */
static void test_drain(void **state)
{
    (void)state;
    static const struct server_step steps[] = {{.status = 200, .delay_ms = 20}};
    struct rig rig;
    char url[64];
    struct server *server = server_start(steps, 1, NULL, NULL);
    format_url(url, server);
    const char *const pairs[] = {"endpoint", url, "sending_queue.num_consumers", "2", NULL};
    rig_init(&rig);
    rig_add(&rig, &otlp_http_exporter.component, pairs);
    rig.batch.timeout_ns = 3600 * NS_PER_S;
    rig_start(&rig);
    for (int i = 0; i < 10; i++)
        rig_push(&rig, POINTS + 1, 0);
    assert_true(rig_stop(&rig, 10000));
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_POINTS_DELIVERED), 10 * (POINTS + 1));
    rig_fini(&rig);
    server_stop(&server);
}

/* The deadline is kept although a request hangs. */
static void test_drain_deadline(void **state)
{
    (void)state;
    static const struct server_step steps[] = {{.status = 200}, {.status = 200, .held = true}};
    struct rig rig;
    char url[64];
    struct server *server = server_start(steps, 2, NULL, NULL);
    format_url(url, server);
    const char *const pairs[] = {"endpoint", url, "sending_queue.enabled", "false", "timeout",
                                 "1h",       NULL};
    rig_init(&rig);
    rig_add(&rig, &otlp_http_exporter.component, pairs);
    rig_start(&rig);
    rig_push(&rig, POINTS, 0);
    rig_wait(&rig, 0, TELEMETRY_POINTS_DELIVERED, POINTS);
    rig_push(&rig, POINTS, 0);
    rig_push(&rig, POINTS, 0);
    uint64_t before_ns = clock_monotonic_ns();
    assert_false(rig_stop(&rig, 200));
    uint64_t waited_ns = clock_monotonic_ns() - before_ns;
    assert_in_range(waited_ns, 190 * NS_PER_MS, 30 * NS_PER_S);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_DROPPED_STOP), 2 * POINTS);
    rig_fini(&rig);
    server_stop(&server);
}

/* Two pipelines, one destination: one set of books, variants kept apart, both delivered. */
static void test_shared_destination(void **state)
{
    (void)state;
    static const struct server_step steps[] = {{.status = 200}};
    struct rig rig;
    char url[64];
    struct error error;
    struct server *server = server_start(steps, 1, NULL, NULL);
    format_url(url, server);
    const char *const pairs[] = {"endpoint", url, NULL};
    rig_init(&rig);
    rig_add(&rig, &otlp_http_exporter.component, pairs);
    struct worker_destination destination = {rig.components[0], "shared", rig.settings[0]};
    struct worker_pipeline pipelines[] = {
        {.routes = 1, .batch = &rig.batch, .destinations = 1},
        {.routes = 3, .variant = 1, .batch = NULL, .destinations = 1},
        {.routes = 2, .batch = NULL, .destinations = 1}, /* another receiver's */
    };
    struct worker_options options = {.destinations = &destination,
                                     .destination_count = 1,
                                     .pipelines = pipelines,
                                     .pipeline_count = 3};
    assert_true(worker_create(&rig.worker, rig.ring, &options, &error));
    rig.sets[0] = telemetry_first();
    while (rig.sets[0]->owner != TELEMETRY_DESTINATION)
        rig.sets[0] = rig.sets[0]->next;
    assert_string_equal(rig.sets[0]->labels[0].value, "shared");
    assert_true(worker_start(rig.worker, &error));
    rig_push(&rig, 30, 0);
    rig.pushed += 30; /* each page counts for both pipelines */
    rig_wait(&rig, 0, TELEMETRY_POINTS_DELIVERED, 60);
    assert_int_equal(server_requests(server), 2);
    assert_true(rig_stop(&rig, 1000));
    rig_fini(&rig);
    server_stop(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_overflow),       cmocka_unit_test(test_overflow_of_retries),
        cmocka_unit_test(test_isolation),      cmocka_unit_test(test_drain),
        cmocka_unit_test(test_drain_deadline), cmocka_unit_test(test_shared_destination),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
