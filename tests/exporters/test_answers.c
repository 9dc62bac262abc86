/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever a back end answers, over real sockets: what is delivered, repeated, dropped and said,
 * while another thread checks the books all the time. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "exporters/exporter.h"
#include "tests/exporters/rig.h"
#include "tests/exporters/server.h"
#include "tests/free_port.h"

enum { STEPS = 4, POINTS = 100 };

struct answer_row {
    const char *what;
    struct server_step steps[STEPS];
    uint32_t step_count;
    uint32_t batches; /* of POINTS points, one after the other */
    /* what is expected once nothing is queued */
    uint32_t requests, connections; /* connections 0: any number */
    uint64_t delivered;
    enum telemetry_value reason; /* where the rest went; 0: nowhere */
    uint64_t retryable, ambiguous;
    bool healthy;
    const char *text; /* part of what health says */
};

#define ANSWER(code)                                                                               \
    {                                                                                              \
        .act = SERVER_ANSWER, .status = (code)                                                     \
    }
#define TEXT_BODY(text) .body = (text), .body_bytes = sizeof(text) - 1
#define PROTO           "Content-Type: application/x-protobuf\r\n"
#define JSON            "Content-Type: application/json\r\n"

static const struct answer_row rows[] = {
    {"200, connection kept", {ANSWER(200)}, 1, 3, 3, 1, 300, 0, 0, 0, true, NULL},
    {"200 with a partial success", /* rejected 7, "no" */
     {{.status = 200, .headers = PROTO, TEXT_BODY("\x0a\x06\x08\x07\x12\x02no")}},
     1,
     1,
     1,
     1,
     93,
     TELEMETRY_DROPPED_REJECTED,
     0,
     0,
     true,
     NULL},
    {"partial success of more points than were sent",
     {{.status = 200, .headers = PROTO, TEXT_BODY("\x0a\x04\x08\xff\xff\x03")}},
     1,
     1,
     1,
     1,
     0,
     TELEMETRY_DROPPED_REJECTED,
     0,
     0,
     true,
     NULL},
    {"partial success in JSON",
     {{.status = 200,
       .headers = JSON,
       TEXT_BODY("{\"partialSuccess\":{\"rejectedDataPoints\":\"9\",\"errorMessage\":\"x\"}}")}},
     1,
     1,
     1,
     1,
     91,
     TELEMETRY_DROPPED_REJECTED,
     0,
     0,
     true,
     NULL},
    {"200 with a garbage body",
     {{.status = 200, TEXT_BODY("<html>\xff\xfe OK")}},
     1,
     2,
     2,
     1,
     200,
     0,
     0,
     0,
     true,
     NULL},
    {"400 with a status message", /* code 3, "bad" */
     {{.status = 400,
       .headers = PROTO,
       TEXT_BODY("\x08\x03\x12\x03"
                 "bad")}},
     1,
     1,
     1,
     1,
     0,
     TELEMETRY_DROPPED_PERMANENT,
     0,
     0,
     false,
     "400 Bad Request; it says: bad"},
    {"400 with control characters",
     {{.status = 400, TEXT_BODY("\x1b[31mno\r\nway")}},
     1,
     1,
     1,
     1,
     0,
     TELEMETRY_DROPPED_PERMANENT,
     0,
     0,
     false,
     "400 Bad Request; it says: [31mno way"},
    {"401, then a good key",
     {ANSWER(401), ANSWER(401), ANSWER(200)},
     3,
     1,
     3,
     1,
     100,
     0,
     2,
     0,
     true,
     NULL},
    {"413 to the whole, its halves are taken",
     {ANSWER(413), ANSWER(200)},
     2,
     1,
     3,
     0,
     POINTS,
     0,
     0,
     0,
     true,
     NULL},
    {"413 whatever the size",
     {ANSWER(413)},
     1,
     1,
     127, /* halved six times */
     0,
     0,
     TELEMETRY_DROPPED_TOO_LARGE,
     0,
     0,
     false,
     "send_batch_max_size"},
    {"500",
     {ANSWER(500), ANSWER(200)},
     2,
     2,
     2,
     1,
     100,
     TELEMETRY_DROPPED_PERMANENT,
     0,
     0,
     true,
     NULL},
    {"503 then 200", {ANSWER(503), ANSWER(200)}, 2, 1, 2, 1, 100, 0, 1, 0, true, NULL},
    {"302 is not followed",
     {{.status = 302, .headers = "Location: file:///etc/passwd\r\n"}},
     1,
     1,
     1,
     1,
     0,
     TELEMETRY_DROPPED_PERMANENT,
     0,
     0,
     false,
     "redirects are not followed"},
    {"answer of 5 MiB",
     {{.act = SERVER_OVERSIZE}},
     1,
     1,
     1,
     1,
     0,
     TELEMETRY_DROPPED_PERMANENT,
     0,
     0,
     false,
     "larger than 4 MiB"},
    {"no HTTP at all, then 200",
     {{.act = SERVER_RAW, .body = "\x16\x03 hello\r\n\r\n"}, ANSWER(200)},
     2,
     1,
     2,
     2,
     100,
     0,
     1,
     1,
     true,
     NULL},
    {"closed early on a fresh connection, then 200",
     {{.act = SERVER_CLOSE}, ANSWER(200)},
     2,
     1,
     2,
     2,
     100,
     0,
     1,
     1,
     true,
     NULL},
    /* libcurl alone would send the second batch again by itself, and nobody would know (it opens
     * a connection for that, hence any number) */
    {"closed early on a reused connection, then 200",
     {ANSWER(200), {.act = SERVER_CLOSE}, ANSWER(200)},
     3,
     2,
     3,
     0,
     200,
     0,
     1,
     1,
     true,
     NULL},
    {"answer cut short, then 200",
     {{.act = SERVER_CUT}, ANSWER(200)},
     2,
     1,
     2,
     2,
     100,
     0,
     1,
     1,
     true,
     NULL},
    {"too slow, then 200",
     {{.status = 200, .held = true}, ANSWER(200)},
     2,
     1,
     2,
     2,
     100,
     0,
     1,
     1,
     true,
     NULL},
};

struct reader {
    pthread_t thread;
    const struct telemetry_set *set;
    atomic_bool stop;
    uint64_t reads, broken;
};

/* Anybody who reads the books at any time finds them balanced. */
static void *read_books(void *argument)
{
    struct reader *reader = argument;
    do { /* once at least: the row may be over before this thread runs */
        reader->broken += !rig_books_balance(reader->set);
        reader->reads++;
    } while (!atomic_load(&reader->stop));
    return NULL;
}

static void check_row(const struct answer_row *row)
{
    struct rig rig;
    struct reader reader = {0};
    char url[64], text[512];
    struct server *server = server_start(row->steps, row->step_count, NULL, NULL);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", server_port(server));
    const char *const pairs[] = {"endpoint",
                                 url,
                                 "timeout",
                                 row->steps[0].held ? "2500ms" : "30s", /* else none is late */
                                 "retry_on_failure.initial_interval",
                                 "5ms",
                                 "retry_on_failure.max_interval",
                                 "20ms",
                                 "circuit_breaker.auth_pause",
                                 "20ms",
                                 "headers.api-key",
                                 "secret",
                                 NULL};
    rig_init(&rig);
    rig_add(&rig, &otlp_http_exporter.component, pairs);
    rig_start(&rig);
    reader.set = rig.sets[0];
    assert_int_equal(pthread_create(&reader.thread, NULL, read_books, &reader), 0);
    for (uint32_t i = 0; i < row->batches; i++) {
        rig_push(&rig, POINTS, 0);
        rig_wait_idle(&rig, 0);
    }
    bool healthy = worker_healthy(rig.worker, 0, text, sizeof text);
    uint64_t lost = row->reason != 0 ? rig_value(&rig, 0, row->reason) : 0;
    print_message("%-45s requests %u connections %u: %s\n", row->what, server_requests(server),
                  server_connections(server), text);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_POINTS_DELIVERED), row->delivered);
    assert_int_equal(lost, row->batches * POINTS - row->delivered);
    assert_int_equal(server_requests(server), row->requests);
    if (row->connections > 0)
        assert_int_equal(server_connections(server), row->connections);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_REQUESTS_RETRYABLE), row->retryable);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_AMBIGUOUS_RESENDS), row->ambiguous);
    assert_int_equal(healthy, row->healthy);
    if (row->text != NULL && strstr(text, row->text) == NULL)
        fail_msg("health says \"%s\"", text);
    assert_null(strstr(text, "secret"));
    assert_true(server_saw(server, "POST /v1/metrics HTTP/1.1\r\n"));
    assert_true(server_saw(server, "Content-Type: application/x-protobuf\r\n"));
    assert_true(server_saw(server, "Content-Encoding: gzip\r\n"));
    assert_true(server_saw(server, "api-key: secret\r\n"));
    assert_true(rig_stop(&rig, 1000));
    atomic_store(&reader.stop, true);
    pthread_join(reader.thread, NULL);
    assert_int_equal(reader.broken, 0);
    assert_true(reader.reads > 0);
    rig_fini(&rig);
    server_stop(&server);
}

static void test_answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        check_row(&rows[i]);
}

/* Retry-After gates the whole destination: no batch goes out before, whoever got the answer. */
static void test_retry_after(void **state)
{
    (void)state;
    static const struct server_step steps[] = {{.status = 429, .headers = "Retry-After: 1\r\n"},
                                               ANSWER(200)};
    struct rig rig;
    char url[64];
    struct server *server = server_start(steps, 2, NULL, NULL);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", server_port(server));
    const char *const pairs[] = {"endpoint", url, "retry_on_failure.initial_interval", "1ms", NULL};
    rig_init(&rig);
    rig_add(&rig, &otlp_http_exporter.component, pairs);
    rig_start(&rig);
    rig_push(&rig, POINTS, 0);
    rig_wait(&rig, 0, TELEMETRY_REQUESTS_RETRYABLE, 1);
    for (int i = 0; i < 5; i++)
        rig_push(&rig, POINTS, 0);
    rig_wait_idle(&rig, 0);
    assert_int_equal(server_requests(server), 7);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_POINTS_DELIVERED), 600);
    for (uint32_t i = 1; i < 7; i++)
        assert_true(server_request_ns(server, i) - server_request_ns(server, 0) > 950 * NS_PER_MS);
    rig_fini(&rig);
    server_stop(&server);
}

/* The same as a date (RFC 9110 10.2.3), which has whole seconds. */
static void test_retry_after_date(void **state)
{
    (void)state;
    char header[80];
    time_t then = time(NULL) + 3;
    struct tm utc;
    gmtime_r(&then, &utc);
    strftime(header, sizeof header, "Retry-After: %a, %d %b %Y %H:%M:%S GMT\r\n", &utc);
    const struct server_step steps[] = {{.status = 503, .headers = header}, ANSWER(200)};
    struct rig rig;
    char url[64];
    struct server *server = server_start(steps, 2, NULL, NULL);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", server_port(server));
    const char *const pairs[] = {"endpoint", url, "retry_on_failure.initial_interval", "1ms", NULL};
    rig_init(&rig);
    rig_add(&rig, &otlp_http_exporter.component, pairs);
    rig_start(&rig);
    rig_push(&rig, POINTS, 0);
    rig_wait_idle(&rig, 0);
    assert_int_equal(server_requests(server), 2);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_POINTS_DELIVERED), POINTS);
    uint64_t again_ns = clock_wall_ns() - (clock_monotonic_ns() - server_request_ns(server, 1));
    assert_true(again_ns >= (uint64_t)then * NS_PER_S - 100 * NS_PER_MS);
    rig_fini(&rig);
    server_stop(&server);
}

/* Wrong credentials: one request at a time asks again, nothing is given up. */
static void test_hold(void **state)
{
    (void)state;
    static const struct server_step steps[] = {{.status = 403}};
    struct rig rig;
    char url[64], text[512];
    struct server *server = server_start(steps, 1, NULL, NULL);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", server_port(server));
    const char *const pairs[] = {"endpoint",
                                 url,
                                 "circuit_breaker.auth_pause",
                                 "100ms",
                                 "retry_on_failure.initial_interval",
                                 "1ms",
                                 "retry_on_failure.max_elapsed_time",
                                 "10ms",
                                 NULL};
    rig_init(&rig);
    rig_add(&rig, &otlp_http_exporter.component, pairs);
    rig_start(&rig);
    rig_push(&rig, POINTS, 0);
    rig_wait(&rig, 0, TELEMETRY_REQUESTS_RETRYABLE, 1);
    for (int i = 0; i < 8; i++)
        rig_push(&rig, POINTS, 0);
    rig_wait(&rig, 0, TELEMETRY_POINTS_COLLECTED_FOR, 900);
    rig_wait(&rig, 0, TELEMETRY_REQUESTS_RETRYABLE, 3);
    assert_false(worker_healthy(rig.worker, 0, text, sizeof text));
    assert_non_null(strstr(text, "403 Forbidden: authentication failed, check the credentials"));
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_POINTS_QUEUED), 900);
    assert_true(server_request_ns(server, 2) - server_request_ns(server, 0) > 170 * NS_PER_MS);
    assert_false(rig_stop(&rig, 20));
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_DROPPED_STOP), 900);
    rig_fini(&rig);
    server_stop(&server);
}

/* Nobody listens: batches wait, expire, and are counted as expired. */
static void test_refused(void **state)
{
    (void)state;
    struct rig rig;
    char text[512];
    uint16_t port = 0;
    int fd = free_port_hold(&port);
    assert_true(fd >= 0);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u", port);
    const char *const pairs[] = {"endpoint",
                                 url,
                                 "retry_on_failure.initial_interval",
                                 "10ms",
                                 "retry_on_failure.max_elapsed_time",
                                 "4s",
                                 NULL};
    rig_init(&rig);
    rig_add(&rig, &otlp_http_exporter.component, pairs);
    rig_start(&rig);
    rig_push(&rig, POINTS, 5);
    rig_wait_idle(&rig, 0);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_DROPPED_EXPIRED), POINTS);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_DROPPED_NO_PAGE), 5);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_AMBIGUOUS_RESENDS), 0);
    assert_true(rig_value(&rig, 0, TELEMETRY_REQUESTS_RETRYABLE) >= 2);
    assert_false(worker_healthy(rig.worker, 0, text, sizeof text));
    assert_non_null(strstr(text, "no connection (check the endpoint"));
    rig_fini(&rig);
    close(fd);
}

/* The other form of bodies, another path, and a connection for each request. */
static void test_json(void **state)
{
    (void)state;
    static const struct server_step steps[] = {ANSWER(200)};
    struct rig rig;
    char url[64];
    struct server *server = server_start(steps, 1, NULL, NULL);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/other/path", server_port(server));
    const char *const pairs[] = {"endpoint",
                                 "http://127.0.0.1:1",
                                 "metrics_endpoint",
                                 url,
                                 "encoding",
                                 "json",
                                 "compression",
                                 "none",
                                 "disable_keep_alives",
                                 "true",
                                 NULL};
    rig_init(&rig);
    rig_add(&rig, &otlp_http_exporter.component, pairs);
    rig_start(&rig);
    for (int i = 0; i < 3; i++) {
        rig_push(&rig, POINTS, 0);
        rig_wait_idle(&rig, 0);
    }
    assert_true(server_saw(server, "POST /other/path HTTP/1.1\r\n"));
    assert_true(server_saw(server, "Content-Type: application/json\r\n"));
    assert_false(server_saw(server, "Content-Encoding"));
    assert_int_equal(server_connections(server), 3);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_POINTS_DELIVERED), 3 * POINTS);
    rig_fini(&rig);
    server_stop(&server);
}

/* Without a breaker nothing but a batch's own waits is between its requests. */
static void test_no_breaker(void **state)
{
    (void)state;
    static const struct server_step steps[] = {ANSWER(503), ANSWER(503), ANSWER(503), ANSWER(503),
                                               ANSWER(503), ANSWER(401), ANSWER(401), ANSWER(200)};
    struct rig rig;
    char url[64], text[512];
    struct server *server = server_start(steps, 8, NULL, NULL);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", server_port(server));
    const char *const pairs[] = {"endpoint",
                                 url,
                                 "retry_on_failure.initial_interval",
                                 "5ms",
                                 "retry_on_failure.max_interval",
                                 "10ms",
                                 "circuit_breaker.enabled",
                                 "false",
                                 "circuit_breaker.failures",
                                 "1",
                                 "circuit_breaker.pause",
                                 "1h",
                                 "circuit_breaker.pause_max",
                                 "1h",
                                 "circuit_breaker.auth_pause",
                                 "1h",
                                 NULL};
    rig_init(&rig);
    rig_add(&rig, &otlp_http_exporter.component, pairs);
    rig_start(&rig);
    rig_push(&rig, POINTS, 0);
    rig_wait_idle(&rig, 0);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_POINTS_DELIVERED), POINTS);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_REQUESTS_RETRYABLE), 7);
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_BREAKER_TRIPS), 0);
    assert_true(worker_healthy(rig.worker, 0, text, sizeof text));
    rig_fini(&rig);
    server_stop(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),    cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_hold),       cmocka_unit_test(test_refused),
        cmocka_unit_test(test_json),       cmocka_unit_test(test_retry_after_date),
        cmocka_unit_test(test_no_breaker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
