/* SPDX-License-Identifier: Apache-2.0 */
/* What pgweir-sink finds wrong with a body: hand-made messages, each with one fault. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "tools/sink_body.h"

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
    struct body_reader *reader = body_reader_create(false);
    struct body_reader *counter = body_reader_create(true);
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
    struct body_reader *reader = body_reader_create(false);
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

static void test_unpack(void **state)
{
    (void)state;
    struct body_reader *reader = body_reader_create(false);
    static const uint8_t text[] = "this is neither gzip nor zstd, but long enough";
    size_t bytes;
    const char *problem = NULL;
    assert_ptr_equal(body_unpack(reader, BODY_IDENTITY, text, 5, &bytes, &problem), text);
    assert_int_equal(bytes, 5);
    assert_null(body_unpack(reader, BODY_GZIP, text, 4, &bytes, &problem));
    assert_string_equal(problem, "gzip body too short");
    uint8_t small[sizeof text] = {0};
    memcpy(small, text, sizeof text - 8);
    assert_null(body_unpack(reader, BODY_GZIP, small, sizeof small, &bytes, &problem));
    assert_string_equal(problem, "body is not gzip");
    memset(small, 0xff, sizeof small);
    assert_null(body_unpack(reader, BODY_GZIP, small, sizeof small, &bytes, &problem));
    assert_string_equal(problem, "body larger than 64 MiB");
    assert_null(body_unpack(reader, BODY_ZSTD, text, sizeof text, &bytes, &problem));
    assert_string_equal(problem, "body is not zstd");
    assert_null(body_unpack(reader, BODY_UNKNOWN, text, sizeof text, &bytes, &problem));
    assert_string_equal(problem, "unknown Content-Encoding");
    body_reader_destroy(&reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_unpack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
