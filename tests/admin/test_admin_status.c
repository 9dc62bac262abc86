/* SPDX-License-Identifier: Apache-2.0 */
/* /status over HTTP: what stands where; and the last minute of latencies on simulated time. */
#include "client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include <pgweir/telemetry.h>

#include "admin/recent.h"
#include "base/clock.h"

static struct telemetry_set *shards[2], *worker, *exporter;

static void open_sets(void)
{
    struct telemetry_label zero = {"shard", "0"}, one = {"shard", "1"};
    struct telemetry_label id = {"exporter", "otlp_http/nr"};
    shards[0] = telemetry_open(TELEMETRY_SHARD, 1, &zero);
    shards[1] = telemetry_open(TELEMETRY_SHARD, 1, &one);
    worker = telemetry_open(TELEMETRY_WORKER, 0, NULL);
    exporter = telemetry_open(TELEMETRY_DESTINATION, 1, &id);
}

static json_t *get_status(const struct scene *scene)
{
    struct reply reply = http(scene, "GET", "/status");
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply.content_type, "application/json");
    assert_non_null(strstr(reply.body, "\n  \"version\"")); /* for people: indented */
    json_error_t error;
    json_t *json = json_loads(reply.body, 0, &error);
    if (json == NULL)
        fail_msg("%s in %s", error.text, reply.body);
    reply_free(&reply);
    return json;
}

/* By a path of keys, to the last of which NULL follows. */
static const json_t *at(const json_t *json, ...)
{
    va_list keys;
    va_start(keys, json);
    for (const char *key; (key = va_arg(keys, const char *)) != NULL;) {
        json = json_object_get(json, key);
        if (json == NULL)
            fail_msg("there is no %s", key);
    }
    va_end(keys);
    return json;
}

#define INTEGER(...) json_integer_value(at(__VA_ARGS__, NULL))
#define REAL(...)    json_real_value(at(__VA_ARGS__, NULL))
#define TEXT(...)    json_string_value(at(__VA_ARGS__, NULL))

static void test_shards_and_stages(void **state)
{
    (void)state;
    struct scene scene;
    open_sets();
    scene_start(&scene, 2, NULL);
    telemetry_put(shards[1], TELEMETRY_LOOP_URING, 1);
    telemetry_add(shards[1], TELEMETRY_SCRAPES_OK, 5);
    telemetry_record_many(shards[0], TELEMETRY_HISTOGRAM_LAG, NS_PER_MS, 98);
    telemetry_record_many(shards[1], TELEMETRY_HISTOGRAM_LAG, 200 * NS_PER_MS, 2);
    json_t *json = get_status(&scene);
    assert_string_equal(TEXT(json, "version"), PGWEIR_VERSION);
    assert_string_equal(TEXT(json, "status"), "ok");
    assert_int_equal(strlen(TEXT(json, "started")), 24);
    assert_true(INTEGER(json, "uptime_s") >= 0);
    assert_int_equal(INTEGER(json, "targets", "total"), 2);
    assert_int_equal(INTEGER(json, "targets", "unknown"), 2);

    const json_t *first = json_array_get(at(json, "shards", NULL), 0);
    const json_t *second = json_array_get(at(json, "shards", NULL), 1);
    assert_int_equal(json_array_size(at(json, "shards", NULL)), 2);
    assert_string_equal(TEXT(first, "shard"), "0");
    assert_string_equal(TEXT(first, "loop"), "epoll");
    assert_string_equal(TEXT(second, "shard"), "1");
    assert_string_equal(TEXT(second, "loop"), "io_uring");
    assert_int_equal(INTEGER(second, "scrapes", "ok"), 5);
    assert_int_equal(INTEGER(second, "scrapes", "failed"), 0);
    static const char *const spans[] = {"last_minute", "all"};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(INTEGER(first, "lag", spans[i], "count"), 98);
        assert_true(REAL(second, "lag", spans[i], "p50_ms") > 198 &&
                    REAL(second, "lag", spans[i], "p50_ms") < 202);
        const json_t *lag = at(json, "stages", "schedule.lag", spans[i], NULL);
        assert_int_equal(INTEGER(lag, "count"), 100);
        assert_true(REAL(lag, "p90_ms") > 0.99 && REAL(lag, "p90_ms") < 1.01);
        assert_true(REAL(lag, "p99_ms") > 198 && REAL(lag, "p99_ms") < 202);
        assert_true(REAL(lag, "max_ms") == 200);
    }
    for (size_t i = 0; i < TELEMETRY_HISTOGRAM_COUNT; i++) /* every stage, "pgweir." left out */
        assert_int_equal(INTEGER(json, "stages", telemetry_histograms[i].name + 7, "all", "count"),
                         i == TELEMETRY_HISTOGRAM_LAG ? 100 : 0);
    json_decref(json);
    scene_stop(&scene);
    telemetry_reset();
}

static void test_exporters(void **state)
{
    (void)state;
    struct scene scene;
    open_sets();
    scene_start(&scene, 0, NULL);
    scene.healthy[0] = false;
    telemetry_put(exporter, TELEMETRY_POINTS_COLLECTED_FOR, 100);
    telemetry_put(exporter, TELEMETRY_POINTS_RECOVERED, 10);
    telemetry_put(exporter, TELEMETRY_POINTS_DELIVERED, 60);
    telemetry_put(exporter, TELEMETRY_POINTS_QUEUED, 20);
    telemetry_put(exporter, TELEMETRY_POINTS_SPOOLED, 25);
    telemetry_put(exporter, TELEMETRY_DROPPED_REJECTED, 5);
    telemetry_put(exporter, TELEMETRY_QUEUE_BATCHES, 3);
    telemetry_record(exporter, TELEMETRY_HISTOGRAM_REQUEST, 7 * NS_PER_MS);
    json_t *json = get_status(&scene);
    assert_string_equal(TEXT(json, "status"), "degraded");
    const json_t *nr = at(json, "exporters", "otlp_http/nr", NULL);
    assert_true(json_is_false(at(nr, "healthy", NULL))); /* not what the exporter's JSON says */
    assert_string_equal(TEXT(nr, "error"), "503 Service Unavailable");
    assert_true(REAL(nr, "limiter", "rate_limit") == 5.5);
    assert_int_equal(INTEGER(nr, "identity", "collected"), 100);
    assert_int_equal(INTEGER(nr, "identity", "recovered"), 10);
    assert_int_equal(INTEGER(nr, "identity", "delivered"), 60);
    assert_int_equal(INTEGER(nr, "identity", "queued"), 20);
    assert_int_equal(INTEGER(nr, "identity", "spooled"), 25);
    assert_int_equal(INTEGER(nr, "identity", "dropped", "rejected"), 5);
    assert_int_equal(json_object_size(at(nr, "identity", "dropped", NULL)), 1);
    assert_true(json_is_true(at(nr, "identity", "holds", NULL)));
    assert_int_equal(INTEGER(nr, "counts", "queue.batches"), 3);
    assert_int_equal(INTEGER(nr, "stages", "request.duration", "last_minute", "count"), 1);
    assert_null(json_object_get(at(nr, "stages", NULL), "schedule.lag"));

    /* One without a set, whose JSON is none. */
    const json_t *file = at(json, "exporters", "file", NULL);
    assert_true(json_is_true(at(file, "healthy", NULL)));
    assert_int_equal(json_object_size(file), 1);
    assert_int_equal(json_object_size(at(json, "tuner", NULL)), 0);
    json_decref(json);

    telemetry_put(exporter, TELEMETRY_POINTS_QUEUED, 19);
    scene.tuned = true;
    json = get_status(&scene);
    assert_true(json_is_false(at(json, "exporters", "otlp_http/nr", "identity", "holds", NULL)));
    assert_string_equal(TEXT(json, "tuner", "mode"), "on");
    json_decref(json);
    scene_stop(&scene);
    telemetry_reset();
}

static struct histogram_view view;

static uint64_t recent_count(const struct recent *recent, const struct telemetry_set *set)
{
    memset(&view, 0, sizeof view);
    recent_read(recent, set, TELEMETRY_HISTOGRAM_LAG, &view);
    return view.count;
}

/* A minute is a minute, to one slot; a set that appears later counts from its opening on. */
static void test_last_minute(void **state)
{
    (void)state;
    struct telemetry_label zero = {"shard", "0"}, one = {"shard", "1"};
    shards[0] = telemetry_open(TELEMETRY_SHARD, 1, &zero);
    struct recent *recent = recent_create();
    uint64_t now_ns = 1000 * NS_PER_S;
    telemetry_record(shards[0], TELEMETRY_HISTOGRAM_LAG, 1); /* before the first turn */
    now_ns = recent_turn(recent, false, now_ns);
    assert_int_equal(recent_count(recent, NULL), 1);
    shards[1] = telemetry_open(TELEMETRY_SHARD, 1, &one);
    telemetry_record_many(shards[1], TELEMETRY_HISTOGRAM_LAG, 1, 10);
    assert_true(recent_turn(recent, false, now_ns - 1) == now_ns); /* not yet */
    assert_int_equal(recent_count(recent, NULL), 1);
    recent_turn(recent, true, now_ns - 1);
    assert_int_equal(recent_count(recent, NULL), 11);
    assert_int_equal(recent_count(recent, shards[1]), 10);
    for (uint64_t end_ns = 1055 * NS_PER_S; now_ns < end_ns;)
        now_ns = recent_turn(recent, false, now_ns);
    assert_int_equal(recent_count(recent, NULL), 11);
    for (uint64_t end_ns = 1070 * NS_PER_S; now_ns < end_ns;)
        now_ns = recent_turn(recent, false, now_ns);
    assert_int_equal(recent_count(recent, NULL), 0);
    recent_destroy(&recent);
    assert_null(recent);
    telemetry_reset();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shards_and_stages),
        cmocka_unit_test(test_exporters),
        cmocka_unit_test(test_last_minute),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
