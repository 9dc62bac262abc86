/* SPDX-License-Identifier: Apache-2.0 */
/* What pgweir-sink finds wrong with a body: hand-made messages, each with one fault; and what it
 * notes of sound ones for the ledger. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/sink/body.h"

/* Pieces of NumberDataPoint and what is around it. */
#define TIME      "\x19\x01\x02\x03\x04\x05\x06\x07\x08"
#define NO_TIME   "\x19\0\0\0\0\0\0\0\0"
#define VALUE     "\x31\x2a\0\0\0\0\0\0\0"
#define ATTRIBUTE "\x3a\x08\x0a\x01k\x12\x03\x0a\x01v"

struct body_row {
    const char *what;
    const char *point; /* field 7.1 of a metric named "m" */
    size_t point_bytes;
    const char *problem; /* NULL: none */
};

#define POINT(text) (text), sizeof(text) - 1

static const struct body_row rows[] = {
    {"sound", POINT(ATTRIBUTE TIME VALUE), NULL},
    {"no attributes", POINT(TIME VALUE), NULL},
    {"field unknown to us", POINT(TIME VALUE "\x40\x01"), NULL},
    {"no time", POINT(VALUE), "point without a time"},
    {"time zero", POINT(NO_TIME VALUE), "point without a time"},
    {"no value", POINT(TIME), "point without a value"},
    {"value cut short", POINT(TIME "\x31\x2a"), "message cut short"},
    {"attribute without key", POINT("\x3a\x05\x12\x03\x0a\x01v" TIME VALUE),
     "attribute without a key"},
    {"attribute longer than the point", POINT(TIME VALUE "\x3a\x7f"), "message cut short"},
    {"key not UTF-8", POINT("\x3a\x08\x0a\x01\xff\x12\x03\x0a\x01v" TIME VALUE),
     "attribute key is not UTF-8"},
    {"value not UTF-8", POINT("\x3a\x08\x0a\x01k\x12\x03\x0a\x01\xc3" TIME VALUE),
     "attribute value is not UTF-8"},
    {"field number 0", POINT("\x02" TIME VALUE), "malformed tag"},
    {"group, long gone from protobuf", POINT(TIME VALUE "\x0b"), "unknown wire type"},
    {"endless varint", POINT(TIME VALUE "\x40\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
     "malformed varint"},
};

/* Wraps `bytes` as a field; `to` may hold the content at its start. */
static size_t wrap(uint8_t *to, uint8_t tag, size_t bytes)
{
    assert_true(bytes < 128);
    memmove(to + 2, to, bytes);
    to[0] = tag;
    to[1] = (uint8_t)bytes;
    return bytes + 2;
}

static size_t build(uint8_t *body, const struct body_row *row, const char *name)
{
    memcpy(body, row->point, row->point_bytes);
    size_t bytes = wrap(body, 0x0a, row->point_bytes); /* Sum.data_points */
    bytes = wrap(body, 0x3a, bytes);                   /* Metric.sum */
    size_t name_bytes = strlen(name);
    memcpy(body + bytes, "\x0a", 1);
    body[bytes + 1] = (uint8_t)name_bytes;
    memcpy(body + bytes + 2, name, name_bytes);
    bytes = wrap(body, 0x12, bytes + 2 + name_bytes); /* ScopeMetrics.metrics */
    bytes = wrap(body, 0x12, bytes);                  /* ResourceMetrics.scope_metrics */
    return wrap(body, 0x0a, bytes);                   /* request.resource_metrics */
}

static void test_rows(void **state)
{
    (void)state;
    struct body_reader *reader = body_reader_create(BODY_CHECK);
    struct body_reader *counter = body_reader_create(BODY_COUNT);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t body[256];
        struct body_counts counts = {0}, fast = {0};
        size_t bytes = build(body, &rows[i], "m");
        const char *problem = body_walk(reader, body, bytes, &counts);
        if ((problem == NULL) != (rows[i].problem == NULL) ||
            (problem != NULL && strcmp(problem, rows[i].problem) != 0))
            fail_msg("%s: %s", rows[i].what, problem != NULL ? problem : "nothing found");
        assert_int_equal(counts.points, 1);
        assert_int_equal(counts.metrics, 1);
        assert_int_equal(counts.resources, 1);
        assert_null(body_walk(counter, body, bytes, &fast)); /* does not look into points */
        assert_int_equal(fast.points, 1);
        for (size_t cut = 1; cut < bytes; cut++) { /* every prefix is malformed, none reads past */
            uint8_t *prefix = malloc(cut);
            memcpy(prefix, body, cut);
            assert_non_null(body_walk(reader, prefix, cut, &counts));
            free(prefix);
        }
    }
    assert_int_equal(body_name_count(reader), 1);
    body_reader_destroy(&reader);
    body_reader_destroy(&counter);
}

static void test_names(void **state)
{
    (void)state;
    struct body_reader *reader = body_reader_create(BODY_CHECK);
    uint8_t body[256];
    struct body_counts counts = {0};
    assert_null(body_walk(reader, body, build(body, &rows[0], "a"), &counts));
    assert_null(body_walk(reader, body, build(body, &rows[0], "b"), &counts));
    assert_null(body_walk(reader, body, build(body, &rows[0], "a"), &counts));
    assert_int_equal(body_name_count(reader), 2);
    assert_string_equal(body_walk(reader, body, build(body, &rows[0], ""), &counts),
                        "metric without a name");
    assert_string_equal(body_walk(reader, (const uint8_t *)"\x12\x00", 2, &counts),
                        "unknown field in ExportMetricsServiceRequest");
    assert_null(body_walk(reader, body, 0, &counts)); /* an empty request is a request */
    body_reader_destroy(&reader);
}

/* -- for the ledger -- */

static size_t put(uint8_t *to, uint8_t tag, const void *bytes, size_t count)
{
    assert_true(count < 128);
    to[0] = tag;
    to[1] = (uint8_t)count;
    if (count > 0)
        memcpy(to + 2, bytes, count);
    return count + 2;
}

static size_t put_attribute(uint8_t *to, uint8_t tag, const char *key, const char *value)
{
    uint8_t inner[100], any[64];
    size_t bytes = put(inner, 0x0a, key, strlen(key));
    bytes += put(inner + bytes, 0x12, any, put(any, 0x0a, value, strlen(value)));
    return put(to, tag, inner, bytes);
}

/* A point of a sum: attributes "a" and "b" in either order, start, time, an int. */
static size_t put_point(uint8_t *to, bool swapped, uint64_t start, uint64_t time, int64_t value)
{
    uint8_t inner[120];
    size_t bytes = put_attribute(inner, 0x3a, swapped ? "b" : "a", swapped ? "2" : "1");
    bytes += put_attribute(inner + bytes, 0x3a, swapped ? "a" : "b", swapped ? "1" : "2");
    const uint64_t numbers[] = {start, time, (uint64_t)value};
    static const uint8_t tags[] = {0x11, 0x19, 0x31};
    for (int i = 0; i < 3; i++) {
        inner[bytes++] = tags[i];
        memcpy(inner + bytes, &numbers[i], 8);
        bytes += 8;
    }
    return put(to, 0x0a, inner, bytes);
}

/* Behind a length that may take two bytes. */
static size_t put_long(uint8_t *to, uint8_t tag, const uint8_t *bytes, size_t count)
{
    to[0] = tag;
    to[1] = (uint8_t)(count | 0x80);
    to[2] = (uint8_t)(count >> 7);
    memcpy(to + 3, bytes, count);
    return count + 3;
}

/* Two resources' bodies with a sum of two points; `kind` is what follows the points. */
static size_t put_request(uint8_t *to, const char *host, const char *name, const char *kind,
                          size_t kind_bytes, bool swapped)
{
    static uint8_t sum[512], metric[600], scope[700], resource[800], inner[64];
    size_t bytes = put_point(sum, swapped, 77, 1000, 3456);
    bytes += put_point(sum + bytes, false, 77, 1000, 999);
    memcpy(sum + bytes, kind, kind_bytes);
    bytes += kind_bytes;
    size_t metric_bytes = put(metric, 0x0a, name, strlen(name));
    metric_bytes += put_long(metric + metric_bytes, 0x3a, sum, bytes);
    size_t scope_bytes = put_long(scope, 0x12, metric, metric_bytes);
    size_t resource_bytes = put(resource, 0x0a, inner, put_attribute(inner, 0x0a, "host", host));
    resource_bytes += put_long(resource + resource_bytes, 0x12, scope, scope_bytes);
    return put_long(to, 0x0a, resource, resource_bytes);
}

#define MONOTONIC "\x10\x02\x18\x01"

static void walk(struct body_reader *reader, const char *host, const char *name, const char *kind,
                 bool swapped, struct ledger_point *ret_first)
{
    uint8_t body[1024];
    struct body_counts counts = {0};
    size_t count, times;
    size_t bytes = put_request(body, host, name, kind, strlen(kind), swapped);
    const char *problem = body_walk(reader, body, bytes, &counts);
    if (problem != NULL)
        fail_msg("%s", problem);
    assert_int_equal(counts.points, 2);
    const struct ledger_point *points = body_points(reader, &count);
    assert_int_equal(count, 2);
    assert_int_equal(points[0].time_ns, 1000);
    assert_int_equal(points[1].ordinal, 1);
    assert_true(body_times(reader, &times)->points == 2 && times == 1);
    assert_memory_equal(body_places(reader)[points[0].place].metric, name, strlen(name));
    if (!swapped)
        assert_int_equal(points[0].series, points[1].series);
    *ret_first = points[0];
}

static void test_ledger_points(void **state)
{
    (void)state;
    struct body_reader *reader = body_reader_create(BODY_LEDGER);
    struct ledger_point first, other;
    size_t count;
    walk(reader, "db-1", "rows", MONOTONIC, false, &first);
    assert_int_equal(first.step, 3);
    assert_int_equal(body_points(reader, &count)[1].step, LEDGER_UNPROVEN_STEP); /* 999 */
    assert_true(first.start != 0);
    /* the order of attributes does not matter; host and name do */
    walk(reader, "db-1", "rows", MONOTONIC, true, &other);
    assert_int_equal(first.series, other.series);
    walk(reader, "db-2", "rows", MONOTONIC, false, &other);
    assert_int_not_equal(first.series, other.series);
    walk(reader, "db-1", "rowz", MONOTONIC, false, &other);
    assert_int_not_equal(first.series, other.series);
    /* delta, or not monotonic: told by time */
    walk(reader, "db-1", "rows", "\x10\x01\x18\x01", false, &other);
    assert_int_equal(other.step, 0);
    walk(reader, "db-1", "rows", "\x10\x02", false, &other);
    assert_int_equal(other.step, 0);
    assert_int_equal(other.start, 0);
    body_reader_destroy(&reader);
}

static void test_own_metrics_are_left_out(void **state)
{
    (void)state;
    struct body_reader *reader = body_reader_create(BODY_LEDGER);
    uint8_t body[1024];
    struct body_counts counts = {0};
    size_t count, times;
    assert_null(body_walk(
        reader, body, put_request(body, "db-1", "pgweir.scrapes", MONOTONIC, 4, false), &counts));
    assert_int_equal(counts.points, 2);
    assert_int_equal(counts.own_points, 2);
    body_points(reader, &count);
    body_times(reader, &times);
    assert_int_equal(count + times, 0);
    body_reader_destroy(&reader);
}

/* Of many resources every K-th is looked at, always the same ones. */
static void test_sample(void **state)
{
    (void)state;
    struct body_reader *all = body_reader_create(BODY_LEDGER);
    struct body_reader *some = body_reader_create(BODY_LEDGER);
    body_reader_sample(some, 4);
    size_t taken = 0, count, again;
    for (int i = 0; i < 400; i++) {
        uint8_t body[1024];
        char host[16];
        struct body_counts counts = {0};
        snprintf(host, sizeof host, "db-%03d", i);
        size_t bytes = put_request(body, host, "rows", MONOTONIC, 4, false);
        assert_null(body_walk(some, body, bytes, &counts));
        body_points(some, &count);
        assert_null(body_walk(some, body, bytes, &counts));
        body_points(some, &again);
        assert_int_equal(count, again);
        assert_null(body_walk(all, body, bytes, &counts));
        taken += count > 0;
    }
    assert_in_range(taken, 60, 140);
    body_reader_destroy(&all);
    body_reader_destroy(&some);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),          cmocka_unit_test(test_names),
        cmocka_unit_test(test_ledger_points), cmocka_unit_test(test_own_metrics_are_left_out),
        cmocka_unit_test(test_sample),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
