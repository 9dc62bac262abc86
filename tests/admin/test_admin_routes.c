/* SPDX-License-Identifier: Apache-2.0 */
/* What each path answers in each condition, asked over HTTP. */
#include "client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include <pgweir/telemetry.h>

#include "base/clock.h"

static json_t *get_json(const struct scene *scene, const char *path, long status)
{
    struct reply reply = http(scene, "GET", path);
    assert_int_equal(reply.status, status);
    assert_string_equal(reply.content_type, "application/json");
    json_error_t error;
    json_t *json = json_loads(reply.body, 0, &error);
    if (json == NULL)
        fail_msg("%s: %s in %s", path, error.text, reply.body);
    reply_free(&reply);
    return json;
}

static void assert_text(const json_t *object, const char *key, const char *expected)
{
    const char *text = json_string_value(json_object_get(object, key));
    assert_non_null(text);
    assert_string_equal(text, expected);
}

static void assert_status(const struct scene *scene, const char *path, long status)
{
    struct reply reply = http(scene, "GET", path);
    assert_int_equal(reply.status, status);
    reply_free(&reply);
}

static void test_collector_answer(void **state)
{
    (void)state;
    struct scene scene;
    scene_start(&scene, 0, NULL);
    json_t *json = get_json(&scene, "/", 200);
    assert_text(json, "status", "Server available");
    assert_true(strlen(json_string_value(json_object_get(json, "upSince"))) == 24);
    assert_non_null(strchr(json_string_value(json_object_get(json, "uptime")), 's'));
    json_decref(json);
    scene.stopping = true;
    json = get_json(&scene, "/", 503);
    assert_text(json, "status", "Server not available");
    assert_text(json, "upSince", "0001-01-01T00:00:00Z");
    assert_text(json, "uptime", "");
    json_decref(json);
    scene_stop(&scene);
}

static void test_configured_path(void **state)
{
    (void)state;
    struct scene scene;
    struct health_check_settings settings = {NULL, "/healthz", 8, NS_PER_S};
    scene_start(&scene, 0, &settings);
    json_decref(get_json(&scene, "/healthz", 200));
    json_decref(get_json(&scene, "/", 200));
    assert_status(&scene, "/healthz/", 404);
    scene_stop(&scene);
}

static void test_probes(void **state)
{
    (void)state;
    static const struct {
        bool live, stopping;
        long livez, readyz, health;
    } cases[] = {
        {true, false, 200, 200, 200},
        {true, true, 200, 503, 503}, /* stopping: no restart, no traffic */
        {false, false, 503, 503, 503},
        {false, true, 503, 503, 503},
    };
    struct scene scene;
    scene_start(&scene, 0, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        scene.live = cases[i].live;
        scene.stopping = cases[i].stopping;
        assert_status(&scene, "/livez", cases[i].livez);
        assert_status(&scene, "/readyz", cases[i].readyz);
        assert_status(&scene, "/health", cases[i].health);
    }
    struct reply reply = http(&scene, "GET", "/livez");
    assert_string_equal(reply.body, "shard 1 has not turned for 42 s\n");
    reply_free(&reply);
    scene_stop(&scene);
}

static void put_target(const struct scene *scene, size_t slot, const char *name,
                       enum target_state target_state)
{
    struct target_status status = {.state = target_state,
                                   .shard = 1,
                                   .connections = 2,
                                   .statements = 9,
                                   .recovery = slot == 1,
                                   .last_scrape_wall_ns = slot == 0 ? 0 : 1700000000123456789,
                                   .last_duration_ns = 12345678,
                                   .last_points = 460,
                                   .scrapes = 3,
                                   .failures = 1};
    snprintf(status.name, sizeof status.name, "%s", name);
    snprintf(status.version, sizeof status.version, "15.18");
    if (target_state == TARGET_DOWN) /* a server that speaks Latin-1 */
        snprintf(status.error, sizeof status.error,
                 "connect: \"R\xfc"
                 "ckweisung\"");
    status_write(&scene->board->slots[slot], &status);
}

static void test_health_components(void **state)
{
    (void)state;
    struct scene scene;
    scene_start(&scene, 3, NULL);
    for (size_t i = 0; i < 3; i++)
        put_target(&scene, i, "db", TARGET_UP);
    json_t *json = get_json(&scene, "/health", 200);
    assert_text(json, "status", "ok");
    json_decref(json);

    put_target(&scene, 1, "db", TARGET_DOWN); /* not ours to cure: 200 */
    json = get_json(&scene, "/health", 200);
    assert_text(json, "status", "degraded");
    const json_t *parts = json_object_get(json, "components");
    const json_t *targets = json_object_get(parts, "targets");
    assert_int_equal(json_integer_value(json_object_get(targets, "total")), 3);
    assert_int_equal(json_integer_value(json_object_get(targets, "up")), 2);
    assert_int_equal(json_integer_value(json_object_get(targets, "down")), 1);
    assert_text(json_object_get(parts, "threads"), "status", "ok");
    json_decref(json);
    put_target(&scene, 1, "db", TARGET_UP);

    /* An exporter fails: degraded while its queue has room, failing when it is full. */
    struct telemetry_label label = {"exporter", "otlp_http/nr"};
    struct telemetry_set *set = telemetry_open(TELEMETRY_DESTINATION, 1, &label);
    telemetry_put(set, TELEMETRY_QUEUE_CAPACITY, 10);
    telemetry_put(set, TELEMETRY_QUEUE_BATCHES, 9);
    telemetry_put(set, TELEMETRY_POINTS_QUEUED, 1234);
    scene.healthy[0] = false;
    json = get_json(&scene, "/health", 200);
    assert_text(json, "status", "degraded");
    const json_t *exporters = json_object_get(json_object_get(json, "components"), "exporters");
    const json_t *failing = json_object_get(exporters, "otlp_http/nr");
    assert_text(failing, "status", "degraded");
    assert_text(failing, "error", "503 Service Unavailable");
    assert_int_equal(json_integer_value(json_object_get(failing, "queued_points")), 1234);
    assert_text(json_object_get(exporters, "file"), "status", "ok");
    json_decref(json);
    telemetry_put(set, TELEMETRY_QUEUE_BATCHES, 10);
    json = get_json(&scene, "/health", 503);
    assert_text(json, "status", "failing");
    json_decref(json);
    scene.healthy[0] = true; /* full but flowing */
    json_decref(get_json(&scene, "/health", 200));
    scene.stopping = true;
    json = get_json(&scene, "/health", 503);
    assert_text(json, "status", "stopping");
    json_decref(json);
    scene_stop(&scene);
    telemetry_reset();
}

/* The one histogram of this name that has this shard's label. */
static const json_t *histogram_of(const json_t *all, const char *name, const char *shard)
{
    const json_t *found = NULL, *entry;
    size_t i;
    json_array_foreach(all, i, entry)
    {
        const char *label =
            json_string_value(json_object_get(json_object_get(entry, "labels"), "shard"));
        if (strcmp(json_string_value(json_object_get(entry, "name")), name) != 0 || label == NULL ||
            strcmp(label, shard) != 0)
            continue;
        assert_null(found);
        found = entry;
    }
    assert_non_null(found);
    return found;
}

static void assert_bucket(const json_t *histogram, size_t index, uint64_t start_ns, uint64_t count)
{
    const json_t *bucket = json_array_get(json_object_get(histogram, "buckets"), index);
    assert_int_equal(json_array_size(bucket), 2);
    assert_int_equal(json_integer_value(json_array_get(bucket, 0)), start_ns);
    assert_int_equal(json_integer_value(json_array_get(bucket, 1)), count);
}

static void test_histograms(void **state)
{
    (void)state;
    struct scene scene;
    struct telemetry_label zero = {"shard", "0"}, one = {"shard", "1"};
    telemetry_open(TELEMETRY_SHARD, 1, &zero);
    struct telemetry_set *set = telemetry_open(TELEMETRY_SHARD, 1, &one);
    telemetry_open(TELEMETRY_WORKER, 0, NULL);
    scene_start(&scene, 0, NULL);
    /* 200 and 201 ns share a bucket of 2 ns; 1 ms lies in one of 8,192 ns. */
    static const uint64_t values_ns[] = {7, 200, 201, NS_PER_MS};
    for (size_t i = 0; i < sizeof values_ns / sizeof values_ns[0]; i++)
        telemetry_record(set, TELEMETRY_HISTOGRAM_LAG, values_ns[i]);
    json_t *all = get_json(&scene, "/histograms", 200);
    const json_t *empty = histogram_of(all, "pgweir.schedule.lag", "0");
    assert_int_equal(json_integer_value(json_object_get(empty, "count")), 0);
    assert_int_equal(json_array_size(json_object_get(empty, "buckets")), 0);
    const json_t *lag = histogram_of(all, "pgweir.schedule.lag", "1");
    assert_int_equal(json_integer_value(json_object_get(lag, "count")), 4);
    assert_int_equal(json_integer_value(json_object_get(lag, "sum_ns")), NS_PER_MS + 408);
    assert_int_equal(json_integer_value(json_object_get(lag, "max_ns")), NS_PER_MS);
    assert_int_equal(json_array_size(json_object_get(lag, "buckets")), 3);
    assert_bucket(lag, 0, 7, 1);
    assert_bucket(lag, 1, 200, 2);
    assert_bucket(lag, 2, NS_PER_MS / 8192 * 8192, 1);
    /* Every histogram of every owner that has a set: 2 shards, 1 worker, no destination. */
    size_t expected = 0;
    for (size_t i = 0; i < TELEMETRY_HISTOGRAM_COUNT; i++)
        expected += telemetry_histograms[i].owner == TELEMETRY_SHARD    ? 2
                    : telemetry_histograms[i].owner == TELEMETRY_WORKER ? 1
                                                                        : 0;
    assert_int_equal(json_array_size(all), expected);
    json_decref(all);
    scene_stop(&scene);
    telemetry_reset();
}

static size_t listed(const struct scene *scene, const char *path)
{
    json_t *json = get_json(scene, path, 200);
    assert_true(json_is_array(json));
    size_t count = json_array_size(json);
    json_decref(json);
    return count;
}

static void test_targets(void **state)
{
    (void)state;
    struct scene scene;
    scene_start(&scene, 4, NULL);
    put_target(&scene, 0, "fra-db-1", TARGET_UNKNOWN);
    put_target(&scene, 1, "fra-db-2", TARGET_UP);
    put_target(&scene, 2, "ams-db-1", TARGET_DOWN);
    put_target(&scene, 3, "ams-db-2", TARGET_DOWN);
    json_t *json = get_json(&scene, "/targets", 200);
    assert_int_equal(json_array_size(json), 4);
    assert_true(json_is_null(json_object_get(json_array_get(json, 0), "last_scrape")));
    const json_t *up = json_array_get(json, 1);
    assert_text(up, "name", "fra-db-2");
    assert_text(up, "state", "up");
    assert_text(up, "version", "15.18");
    assert_text(up, "last_scrape", "2023-11-14T22:13:20.123Z");
    assert_text(up, "error", "");
    assert_true(json_is_true(json_object_get(up, "recovery")));
    assert_true(json_real_value(json_object_get(up, "duration_ms")) == 12.345);
    assert_int_equal(json_integer_value(json_object_get(up, "points")), 460);
    assert_int_equal(json_integer_value(json_object_get(up, "scrapes")), 3);
    assert_int_equal(json_integer_value(json_object_get(up, "failures")), 1);
    assert_text(json_array_get(json, 2), "error", "connect: \"R?ckweisung\"");
    json_decref(json);
    struct reply reply = http(&scene, "GET", "/targets");
    assert_non_null(strstr(reply.body, "\"duration_ms\":12.345,")); /* not 12.345000000000001 */
    reply_free(&reply);
    assert_int_equal(listed(&scene, "/targets?state=down"), 2);
    assert_int_equal(listed(&scene, "/targets?state=down&limit=1"), 1);
    assert_int_equal(listed(&scene, "/targets?offset=3"), 1);
    assert_int_equal(listed(&scene, "/targets?offset=30"), 0);
    assert_int_equal(listed(&scene, "/targets?limit=0"), 0);
    assert_int_equal(listed(&scene, "/targets?name=fra"), 2);
    static const char *const bad[] = {"/targets?state=dead", "/targets?limit=x",
                                      "/targets?limit=-1", "/targets?offset=", "/targets?limit=1x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_status(&scene, bad[i], 400);
    scene_stop(&scene);
}

/* Many blocks of the stream. */
static void test_large_fleet(void **state)
{
    (void)state;
    enum { FLEET = 10000 };
    struct scene scene;
    scene_start(&scene, FLEET, NULL);
    for (size_t i = 0; i < FLEET; i++) {
        char name[32];
        snprintf(name, sizeof name, "db-%05zu", i);
        put_target(&scene, i, name, i % 10 == 0 ? TARGET_DOWN : TARGET_UP);
    }
    json_t *json = get_json(&scene, "/targets", 200);
    assert_int_equal(json_array_size(json), FLEET);
    assert_text(json_array_get(json, FLEET - 1), "name", "db-09999");
    json_decref(json);
    assert_int_equal(listed(&scene, "/targets?state=down&offset=5"), FLEET / 10 - 5);
    scene_stop(&scene);
}

static void test_other_requests(void **state)
{
    (void)state;
    struct scene scene;
    scene_start(&scene, 1, NULL);
    static const char *const refused[] = {"POST", "PUT", "DELETE", "OPTIONS", "BREW"};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct reply reply = http(&scene, refused[i], "/metrics");
        assert_int_equal(reply.status, 405);
        reply_free(&reply);
    }
    static const char *const paths[] = {"/",        "/health",     "/livez",  "/readyz",
                                        "/metrics", "/histograms", "/targets"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        struct reply reply = http(&scene, "HEAD", paths[i]);
        assert_int_equal(reply.status, 200);
        assert_int_equal(reply.bytes, 0);
        reply_free(&reply);
    }
    assert_status(&scene, "/nothing", 404);
    assert_status(&scene, "/../etc/passwd", 404);
    assert_status(&scene, "/metrics?a=b", 200);
    struct reply reply = http(&scene, "GET", "/metrics");
    assert_string_equal(reply.content_type, "text/plain; version=0.0.4; charset=utf-8");
    assert_non_null(strstr(reply.body, "pgweir_build_info"));
    reply_free(&reply);
    scene_stop(&scene);
}

static void test_port_is_taken(void **state)
{
    (void)state;
    struct scene scene;
    scene_start(&scene, 0, NULL);
    struct health_check_settings settings = {scene.endpoint, "/", 8, NS_PER_S};
    struct admin_sources sources = scene_sources(&scene);
    struct admin *second = NULL;
    struct error error;
    assert_false(admin_create(&second, &settings, &sources, &error));
    assert_null(second);
    assert_non_null(strstr(error.text, scene.endpoint));
    assert_non_null(strstr(error.text, "taken by another process"));
    assert_non_null(strstr(error.text, "set another endpoint"));
    scene_stop(&scene);
    /* and free again at once, although connections were open a moment ago */
    sources.targets = NULL;
    assert_true(admin_create(&second, &settings, &sources, &error));
    admin_destroy(&second);
    admin_destroy(&second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_collector_answer), cmocka_unit_test(test_configured_path),
        cmocka_unit_test(test_probes),           cmocka_unit_test(test_health_components),
        cmocka_unit_test(test_targets),          cmocka_unit_test(test_large_fleet),
        cmocka_unit_test(test_histograms),       cmocka_unit_test(test_other_requests),
        cmocka_unit_test(test_port_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
