/* SPDX-License-Identifier: Apache-2.0 */
/* Points that are distributions in every form they leave in: OTLP protobuf read by protoc and by
 * the sink, JSON, Prometheus text, tables, debug; beside a number, which must stay one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/distribution.h"
#include "exporters/collection.h"
#include "exporters/exporter.h"
#include "exporters/otlp/json.h"
#include "tests/exporters/protoc.h"
#include "tools/sink/body.h"

static const struct metric lag = {
    .name = "pgweir.schedule.lag",
    .unit = "s",
    .description = "Lag",
    .instrument = METRIC_HISTOGRAM,
    .value = METRIC_DISTRIBUTION,
};
static const struct metric number = {
    .name = "postgresql.backends",
    .unit = "1",
    .description = "",
    .instrument = METRIC_GAUGE,
    .value = METRIC_INT,
};

static struct page page;
static struct attrs *fixed, *shard, *none, *host;
static struct resource resource;
static struct distribution *value, *empty;

static struct attrs *one_attribute(enum attrs_tag tag, const char *key, const char *text)
{
    static struct attrs_builder builder;
    attrs_begin(&builder, tag);
    if (key != NULL)
        attrs_add_text(&builder, key, text, strlen(text));
    return attrs_finish(&builder);
}

/* One zero, three buckets that hold something, the last far from the others. */
static struct distribution *make_value(void)
{
    struct distribution *made = calloc(1, sizeof *made + 300 * sizeof made->buckets[0]);
    assert_non_null(made);
    *made = (struct distribution){.count = 304,
                                  .zero_count = 1,
                                  .sum = 1.5,
                                  .max = 0.640625,
                                  .scale = 5,
                                  .offset = -320, /* 2^-10 */
                                  .bucket_count = 300};
    made->buckets[0] = 1;
    made->buckets[1] = 300; /* two bytes on the wire */
    made->buckets[299] = 2;
    return made;
}

static int fill_page(void **state)
{
    (void)state;
    fixed = one_attribute(ATTRS_POINT, "stage", "shard");
    shard = one_attribute(ATTRS_POINT, "shard", "0");
    none = one_attribute(ATTRS_POINT, NULL, NULL);
    host = one_attribute(ATTRS_RESOURCE, "host.name", "h");
    resource = (struct resource){.variants = {host}};
    value = make_value();
    empty = calloc(1, sizeof *empty);
    empty->scale = 5;
    page_reset(&page, 0, 0);
    *page_begin_run(&page, &number, NULL, &resource, 2) =
        (struct point){.attrs = none, .value.integer = 42};
    page_end_run(&page, 1);
    struct point *points = page_begin_run(&page, &lag, fixed, &resource, 3);
    points[0] = (struct point){.attrs = shard, .start_ns = 1, .value.distribution = value};
    points[1] = (struct point){.attrs = none, .value.distribution = empty};
    page_end_run(&page, 2);
    return 0;
}

static int free_page(void **state)
{
    (void)state;
    attrs_destroy(&fixed);
    attrs_destroy(&shard);
    attrs_destroy(&none);
    attrs_destroy(&host);
    distribution_destroy(&value);
    distribution_destroy(&empty);
    return 0;
}

static const struct page_slice all = {0, 3};

static const uint8_t *encoded(size_t *ret_bytes)
{
    static uint8_t buffer[16384];
    const uint8_t *start = otlp_encode(&page, all, 0, buffer, buffer + sizeof buffer);
    assert_non_null(start);
    *ret_bytes = (size_t)(buffer + sizeof buffer - start);
    return start;
}

static void assert_holds(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" is missing in:\n%s", part, text);
}

static size_t count_of(const char *text, const char *part)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at++)
        count++;
    return count;
}

static void test_protobuf(void **state)
{
    (void)state;
    protoc_require();
    size_t bytes;
    const uint8_t *body = encoded(&bytes);
    char *text = protoc_decode(body, bytes);
    assert_holds(text, "as_int: 42");
    const char *histogram = strstr(text, "exponential_histogram {");
    assert_non_null(histogram);
    assert_holds(histogram, "key: \"stage\"");
    assert_holds(histogram, "key: \"shard\"");
    assert_holds(histogram, "start_time_unix_nano: 1\n");
    assert_holds(histogram, "time_unix_nano: 3\n");
    assert_holds(histogram, "count: 304\n");
    assert_holds(histogram, "sum: 1.5\n");
    assert_holds(histogram, "scale: 5\n");
    assert_holds(histogram, "zero_count: 1\n");
    assert_holds(histogram, "offset: -320\n");
    assert_holds(histogram, "max: 0.640625\n");
    assert_holds(histogram, "aggregation_temporality: AGGREGATION_TEMPORALITY_CUMULATIVE\n");
    assert_int_equal(count_of(histogram, "bucket_counts: "), 300);
    assert_int_equal(count_of(histogram, "bucket_counts: 0\n"), 297);
    assert_int_equal(count_of(histogram, "bucket_counts: 300\n"), 1);
    assert_int_equal(count_of(histogram, "data_points {"), 2);
    assert_int_equal(count_of(histogram, "positive {"), 1);
    free(text);
}

/* The sink counts them as points of ours and finds nothing wrong. */
static void test_sink(void **state)
{
    (void)state;
    size_t bytes;
    const uint8_t *body = encoded(&bytes);
    static const enum body_depth depths[] = {BODY_COUNT, BODY_CHECK, BODY_LEDGER};
    for (size_t i = 0; i < sizeof depths / sizeof depths[0]; i++) {
        struct body_reader *reader = body_reader_create(depths[i]);
        struct body_counts counts = {0};
        assert_null(body_walk(reader, body, bytes, &counts));
        assert_int_equal(counts.points, 3);
        assert_int_equal(counts.own_points, 2);
        body_reader_destroy(&reader);
    }
}

/* Every buffer that is too small gives NULL, and nothing outside it is written. */
static void test_small_buffers(void **state)
{
    (void)state;
    size_t bytes;
    encoded(&bytes);
    static uint8_t buffer[16384];
    for (size_t room = 0; room < bytes; room++) {
        memset(buffer, 0xa5, 64);
        assert_null(otlp_encode(&page, all, 0, buffer + 64, buffer + 64 + room));
        for (size_t i = 0; i < 64; i++)
            assert_int_equal(buffer[i], 0xa5);
    }
    /* Heads ask for their largest size. */
    assert_non_null(otlp_encode(&page, all, 0, buffer, buffer + bytes + 16));
}

static void test_json(void **state)
{
    (void)state;
    struct otlp_json *json = otlp_json_create();
    otlp_json_add(json, &page, all, 0);
    char *text = otlp_json_take(json, false);
    assert_holds(text, "\"asInt\":\"42\"");
    assert_holds(text, "\"exponentialHistogram\":{\"dataPoints\":[{\"startTimeUnixNano\":\"1\","
                       "\"timeUnixNano\":\"3\",\"count\":\"304\",\"sum\":1.5,\"scale\":5,"
                       "\"zeroCount\":\"1\",\"max\":0.640625,\"positive\":{\"offset\":-320,"
                       "\"bucketCounts\":[\"1\",\"300\",\"0\",");
    assert_holds(text, "\"2\"]},\"attributes\":[{\"key\":\"stage\"");
    assert_holds(text, "],\"aggregationTemporality\":2}");
    assert_null(strstr(text, "isMonotonic"));
    json_t *document = json_loads(text, 0, NULL);
    assert_non_null(document);
    json_decref(document);
    free(text);
    otlp_json_destroy(&json);
}

static char *printed(void (*print)(const struct collection *, FILE *))
{
    struct collection collection = {0};
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    collection_add(&collection, &page, all, 0);
    collection_sort(&collection);
    print(&collection, out);
    fclose(out);
    collection_fini(&collection);
    return text;
}

static void test_prometheus(void **state)
{
    (void)state;
    char *text = printed(collection_print_prometheus);
    assert_holds(text, "\npostgresql_backends 42\n");
    assert_holds(text, "# TYPE pgweir_schedule_lag histogram\n");
#define LABELS "{stage=\"shard\",shard=\"0\""
    assert_holds(text, "pgweir_schedule_lag_bucket" LABELS ",le=\"0.0005\"} 1\n");
    assert_holds(text, "pgweir_schedule_lag_bucket" LABELS ",le=\"0.0025\"} 302\n");
    assert_holds(text, "pgweir_schedule_lag_bucket" LABELS ",le=\"0.5\"} 302\n");
    assert_holds(text, "pgweir_schedule_lag_bucket" LABELS ",le=\"1\"} 304\n");
    assert_holds(text, "pgweir_schedule_lag_bucket" LABELS ",le=\"+Inf\"} 304\n");
    assert_holds(text, "pgweir_schedule_lag_sum" LABELS "} 1.5\n");
    assert_holds(text, "pgweir_schedule_lag_count" LABELS "} 304\n");
    assert_holds(text, "pgweir_schedule_lag_count{stage=\"shard\"} 0\n");
    if (system("command -v promtool >/dev/null") == 0) {
        FILE *promtool = popen("promtool check metrics", "w");
        assert_non_null(promtool);
        fputs(text, promtool);
        assert_int_equal(pclose(promtool), 0);
    }
    free(text);
}

static void test_table(void **state)
{
    (void)state;
    char *text = printed(collection_print_table);
    assert_holds(text, "  42 1 ");
    assert_holds(text, " p99 0.00"); /* 302 of 304 lie in the first two buckets */
    free(text);
}

static char *debugged(int verbosity)
{
    struct debug_settings_shape {
        int verbosity;
        struct text_list output_paths;
    } settings = {.verbosity = verbosity};
    struct exporter_output output;
    struct error error;
    FILE *saved = stderr;
    char *text = NULL;
    size_t bytes = 0;
    stderr = open_memstream(&text, &bytes); /* glibc lets one */
    assert_true(debug_exporter.open("debug", &settings, &output, &error));
    debug_exporter.consume(output.state, &page, all, 0);
    assert_true(debug_exporter.finish(output.state, NULL, 0));
    debug_exporter.close(&output.state);
    fclose(stderr);
    stderr = saved;
    return text;
}

static void test_debug(void **state)
{
    (void)state;
    char *text = debugged(2);
    assert_holds(text, "     -> DataType: ExponentialHistogram\n"
                       "     -> AggregationTemporality: Cumulative\n");
    assert_holds(text, "NumberDataPoints #0\n");
    assert_holds(text, "Value: 42\n");
    assert_holds(text, "ExponentialHistogramDataPoints #1\n");
    assert_holds(text, "Count: 304\nSum: 1.500000\nMax: 0.640625\nBucket [0, 0], Count: 1\n"
                       "Bucket (0.000977, 0.000998], Count: 1\n");
    free(text);
    text = debugged(1);
    assert_holds(text, "postgresql.backends{} 42\n");
    assert_holds(text,
                 "pgweir.schedule.lag{stage=shard, shard=0} count=304 sum=1.5 max=0.640625\n");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_protobuf),      cmocka_unit_test(test_sink),
        cmocka_unit_test(test_small_buffers), cmocka_unit_test(test_json),
        cmocka_unit_test(test_prometheus),    cmocka_unit_test(test_table),
        cmocka_unit_test(test_debug),
    };
    return cmocka_run_group_tests(tests, fill_page, free_page);
}
