/* SPDX-License-Identifier: Apache-2.0 */
/* Remote write bodies: hand-made WriteRequests, each with one fault, and what the ledger gets. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "tools/sink/body.h"

/* A TimeSeries in short: labels as name=value, samples as time in ms and value. */
struct series {
    const char *labels[6][2];
    struct {
        int64_t time_ms;
        double value;
    } samples[4];
};

static size_t put(uint8_t *to, uint8_t tag, const void *bytes, size_t count)
{
    assert_true(count < 16384);
    to[0] = tag;
    to[1] = (uint8_t)(count | 0x80);
    to[2] = (uint8_t)(count >> 7);
    if (count > 0)
        memcpy(to + 3, bytes, count);
    return count + 3;
}

static size_t put_series(uint8_t *to, const struct series *series)
{
    uint8_t inner[1024], part[256];
    size_t bytes = 0;
    for (int i = 0; i < 6 && series->labels[i][0] != NULL; i++) {
        size_t size = put(part, 0x0a, series->labels[i][0], strlen(series->labels[i][0]));
        size += put(part + size, 0x12, series->labels[i][1], strlen(series->labels[i][1]));
        bytes += put(inner + bytes, 0x0a, part, size);
    }
    for (int i = 0; i < 4 && series->samples[i].time_ms != 0; i++) {
        size_t size = 9;
        part[0] = 0x09;
        memcpy(part + 1, &series->samples[i].value, 8);
        part[size++] = 0x10;
        uint64_t time = (uint64_t)series->samples[i].time_ms;
        for (; time >= 0x80; time >>= 7)
            part[size++] = (uint8_t)(time | 0x80);
        part[size++] = (uint8_t)time;
        bytes += put(inner + bytes, 0x12, part, size);
    }
    return put(to, 0x0a, inner, bytes);
}

#define GOOD_LABELS                                                                                \
    {                                                                                              \
        {"__name__", "pg_commits_total"}, {"datname", "app"},                                      \
        {                                                                                          \
            "instance", "db-1"                                                                     \
        }                                                                                          \
    }

static const struct {
    const char *problem; /* NULL: sound */
    struct series series;
} rows[] = {
    {NULL, {GOOD_LABELS, {{1000, 1}, {2000, 2}}}},
    {"series without __name__", {{{"a", "1"}}, {{1000, 1}}}},
    {"series without __name__", {{{NULL, NULL}}, {{1000, 1}}}},
    {"label stands twice", {{{"__name__", "m"}, {"a", "1"}, {"a", "2"}}, {{1000, 1}}}},
    {"labels are not sorted", {{{"__name__", "m"}, {"b", "1"}, {"a", "2"}}, {{1000, 1}}}},
    {"label without a name", {{{"", "m"}, {"__name__", "m"}}, {{1000, 1}}}},
    {"label without a value", {{{"__name__", "m"}, {"a", ""}}, {{1000, 1}}}},
    {"label is not UTF-8", {{{"__name__", "m"}, {"a", "\xff"}}, {{1000, 1}}}},
    {"series without samples", {GOOD_LABELS, {{0, 0}}}},
    {"samples are not in order of time", {GOOD_LABELS, {{2000, 1}, {1000, 2}}}},
    {"samples are not in order of time", {GOOD_LABELS, {{2000, 1}, {2000, 2}}}},
    {"sample without a time", {GOOD_LABELS, {{-5, 1}}}},
};

static void test_rows(void **state)
{
    (void)state;
    struct body_reader *reader = body_reader_create(BODY_CHECK);
    struct body_reader *counter = body_reader_create(BODY_COUNT);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t body[2048];
        struct body_counts looked = {0}, counted = {0};
        size_t bytes = put_series(body, &rows[i].series);
        const char *problem = body_walk_remote(reader, body, bytes, &looked);
        if ((problem == NULL) != (rows[i].problem == NULL) ||
            (problem != NULL && strcmp(problem, rows[i].problem) != 0))
            fail_msg("row %zu: %s instead of %s", i, problem != NULL ? problem : "nothing",
                     rows[i].problem);
        body_walk_remote(counter, body, bytes, &counted);
        assert_int_equal(looked.points, counted.points);
        assert_int_equal(looked.metrics, 1);
        for (size_t cut = 1; cut < bytes; cut++) { /* no prefix is sound, none is read past */
            uint8_t *prefix = malloc(cut);
            memcpy(prefix, body, cut);
            assert_non_null(body_walk_remote(reader, prefix, cut, &looked));
            free(prefix);
        }
    }
    assert_int_equal(body_name_count(reader), 2);
    body_reader_destroy(&reader);
    body_reader_destroy(&counter);
}

static void test_whole_request(void **state)
{
    (void)state;
    struct body_reader *reader = body_reader_create(BODY_LEDGER);
    uint8_t body[4096];
    struct body_counts counts = {0};
    uint64_t stale_bits = 0x7ff0000000000002ull;
    double stale;
    memcpy(&stale, &stale_bits, sizeof stale);
    const struct series several[] = {
        {GOOD_LABELS, {{1000, 3.25}, {2000, 4.5}}},
        {{{"__name__", "pg_size"}, {"instance", "db-1"}}, {{1000, 3.25}, {2000, stale}}},
        {{{"__name__", "pgweir_scrapes_total"}, {"instance", "x"}}, {{1000, 7}}},
        {{{"__name__", "pg_rows_total"}, {"instance", "x"}}, {{1000, 7123}}},
        {{{"__name__", "pg_time_seconds_total"}, {"instance", "x"}}, {{1000, 7123}}},
    };
    size_t bytes = 0, count, times;
    for (size_t i = 0; i < 5; i++)
        bytes += put_series(body + bytes, &several[i]);
    bytes += put(body + bytes, 0x1a, "\x08\x01", 2); /* metadata */
    assert_null(body_walk_remote(reader, body, bytes, &counts));
    assert_int_equal(counts.metrics, 5);
    assert_int_equal(counts.points, 7);
    assert_int_equal(counts.own_points, 1);
    assert_int_equal(counts.stale, 1);
    const struct ledger_point *points = body_points(reader, &count);
    assert_int_equal(count, 5);
    assert_int_equal(points[0].step, 3);
    assert_int_equal(points[1].step, 4);
    assert_int_equal(points[1].time_ns, 2000000000);
    assert_int_equal(points[0].series, points[1].series);
    assert_int_equal(points[2].step, 0); /* no _total: told by its time */
    assert_int_not_equal(points[0].series, points[2].series);
    assert_int_equal(points[3].step, 7);    /* an integer: 1000 × step + r */
    assert_int_equal(points[4].step, 7123); /* a time: step + r / 1000 */
    body_times(reader, &times);
    assert_int_equal(times, 3);
    assert_string_equal(body_walk_remote(reader, (const uint8_t *)"\x12\x00", 2, &counts),
                        "unknown field in WriteRequest");
    body_reader_destroy(&reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_whole_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
