/* SPDX-License-Identifier: Apache-2.0 */
/* Encodes random pages for remote write and reads them back with a decoder of its own: every series
 * must be, label by label, what is made here from the record of what was put in. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/distribution.h"
#include "exporters/remote/encode.h"
#include "exporters/remote/split.h"
#include "exporters/remote/told.h"
#include "tests/exporters/otlp_pages.h"
#include "tests/exporters/remote_read.h"
#include "tools/sink/body.h"

enum { BUFFER_BYTES = 4 << 20, EXPECTED_MAX = 64 };
static uint8_t buffer[BUFFER_BYTES];
static struct page page;

/* ---- what should come ---- */

struct expected {
    char names[EXPECTED_MAX][64];
    char values[EXPECTED_MAX][256];
    size_t value_bytes[EXPECTED_MAX];
    size_t count;
};

static size_t place(const struct expected *expected, const char *name)
{
    size_t i = 0;
    while (i < expected->count && strcmp(expected->names[i], name) != 0)
        i++;
    return i;
}

/* Replaces, or where `keep` leaves what is there. */
static void expect(struct expected *expected, const char *name, const char *value, size_t bytes,
                   bool keep)
{
    size_t i = place(expected, name);
    if (i < expected->count && keep)
        return;
    if (bytes == 0)
        return;
    assert_true(i < EXPECTED_MAX && bytes < sizeof expected->values[0]);
    snprintf(expected->names[i], sizeof expected->names[i], "%s", name);
    memcpy(expected->values[i], value, bytes);
    expected->value_bytes[i] = bytes;
    if (i == expected->count)
        expected->count++;
}

static void expect_set(struct expected *expected, const struct model_set *set)
{
    for (uint32_t i = 0; i < set->count; i++) {
        const struct model_attr *attr = &set->list[i];
        char name[64], number[64];
        snprintf(name, sizeof name, "%s", attr->key);
        for (char *c = name; *c != '\0'; c++)
            *c = *c == '.' ? '_' : *c;
        if (attr->kind == ATTR_TEXT) {
            expect(expected, name, attr->text, attr->text_bytes, false);
            continue;
        }
        if (attr->kind == ATTR_INT)
            snprintf(number, sizeof number, "%lld", (long long)attr->number);
        else if (attr->kind == ATTR_BOOL)
            snprintf(number, sizeof number, "%s", attr->number ? "true" : "false");
        else if (attr->real != attr->real)
            snprintf(number, sizeof number, "NaN");
        else if (attr->real == __builtin_inf() || attr->real == -__builtin_inf())
            snprintf(number, sizeof number, "%s", attr->real > 0 ? "+Inf" : "-Inf");
        else
            snprintf(number, sizeof number, "%.15g", attr->real);
        if (attr->kind == ATTR_DOUBLE && strtod(number, NULL) != attr->real &&
            attr->real == attr->real)
            snprintf(number, sizeof number, "%.16g", attr->real);
        expect(expected, name, number, strlen(number), false);
    }
}

static void check_labels(const struct read_series *series, const struct expected *expected)
{
    if (series->label_count != expected->count)
        fail_msg("%s: %zu labels instead of %zu", read_label(series, "__name__"),
                 series->label_count, expected->count);
    for (size_t i = 0; i < series->label_count; i++) {
        const struct read_label *label = &series->labels[i];
        size_t at = place(expected, label->name);
        if (at == expected->count)
            fail_msg("label %s was not expected", label->name);
        assert_int_equal(label->value_bytes, expected->value_bytes[at]);
        assert_memory_equal(label->value, expected->values[at], label->value_bytes);
    }
}

static const char *const metric_names[MODEL_METRICS] = {
    "postgresql_commits_total",
    "postgresql_backends",
    "postgresql_db_size_bytes",
    "postgresql_lag_seconds",
    "postgresql_time_total",
    "x",
    "y",
};

/* The series of the slice, in order. */
static void check_slice(const struct model *model, struct page_slice slice, uint32_t variant,
                        const struct remote_settings *settings, const struct read_request *request)
{
    size_t at = 0;
    for (uint32_t r = 0; r < page.run_count; r++) {
        const struct run *run = page_run_const(&page, r);
        uint32_t first, end;
        if (!model_part(&page, r, slice, &first, &end))
            continue;
        const struct attrs *resource = run->resource->variants[variant];
        for (uint32_t i = first; i < end; i++, at++) {
            const struct point *point = &page_points_const(&page)[i];
            struct expected expected = {.count = 0};
            for (size_t k = 0; k < settings->external_labels.count; k++)
                expect(&expected, settings->external_labels.items[k].key,
                       settings->external_labels.items[k].value,
                       strlen(settings->external_labels.items[k].value), false);
            if (settings->scope_labels)
                expect(&expected, "otel_scope_name", "pgweir", 6, false);
            if (settings->scope_labels)
                expect(&expected, "otel_scope_version", PGWEIR_VERSION, strlen(PGWEIR_VERSION),
                       false);
            expect_set(&expected, model_find(model, point->attrs));
            expect_set(&expected, model_find(model, run->fixed));
            if (settings->resource_labels)
                expect_set(&expected,
                           model_find(model, resource ? resource : run->resource->variants[0]));
            const char *name = metric_names[run->metric - model_metrics];
            expect(&expected, "__name__", name, strlen(name), false);
            assert_true(at < request->series_count);
            const struct read_series *series = &request->series[at];
            check_labels(series, &expected);
            assert_int_equal(series->time_ms, (int64_t)(run->time_ns / 1000000));
            double real =
                run->metric->value == METRIC_INT ? (double)point->value.integer : point->value.real;
            assert_memory_equal(&series->bits, &real, sizeof real);
        }
    }
    assert_int_equal(at, request->series_count);
}

static struct text_pair external[] = {{"A_first", "1"}, {"key_0_1", "weak"}, {"zone", "eu"}};

static const struct remote_settings variants_of_settings[] = {
    {.naming = {NULL, true}},
    {.naming = {NULL, true}, .external_labels = {external, 3}},
    {.naming = {NULL, true}, .resource_labels = true, .scope_labels = true},
    {.naming = {NULL, true}, .external_labels = {external, 3}, .resource_labels = true},
};

static void test_random_pages(void **state)
{
    (void)state;
    struct model *model = model_create(11);
    struct body_reader *reader = body_reader_create(BODY_CHECK);
    for (size_t v = 0; v < sizeof variants_of_settings / sizeof *variants_of_settings; v++) {
        const struct remote_settings *settings = &variants_of_settings[v];
        struct remote_encoder *encoder = remote_encoder_create(settings);
        for (int round = 0; round < 40; round++) {
            model_fill(model, &page, 30, round % 3 == 0 ? 1 : 60);
            struct page_slice slice = {0, page.point_count};
            if (round % 2 == 1) {
                slice.first = (uint32_t)random_below(&model->random, page.point_count);
                slice.count =
                    (uint32_t)random_below(&model->random, page.point_count - slice.first + 1);
            }
            uint32_t variant = (uint32_t)round % 2;
            uint8_t *end = remote_encode(encoder, &page, slice, variant,
                                         (struct space){buffer, buffer + sizeof buffer});
            assert_non_null(end);
            struct read_request request;
            read_request(&request, buffer, (size_t)(end - buffer));
            check_slice(model, slice, variant, settings, &request);
            struct body_counts counts = {0};
            const char *problem = body_walk_remote(reader, buffer, (size_t)(end - buffer), &counts);
            assert_null(problem);
            assert_int_equal(counts.points, slice.count);
            read_request_fini(&request);
        }
        remote_encoder_destroy(&encoder);
    }
    body_reader_destroy(&reader);
    model_destroy(&model);
}

/* A space that is too small is told, never overrun (each is its own allocation), and changes
 * nothing: the next attempt gives the same bytes. */
static void test_small_spaces(void **state)
{
    (void)state;
    struct model *model = model_create(3);
    const struct remote_settings settings = {
        .naming = {NULL, true}, .target_info = true, .metadata = true};
    struct remote_encoder *encoder = remote_encoder_create(&settings);
    struct remote_encoder *fresh = remote_encoder_create(&settings);
    model_fill(model, &page, 6, 5);
    struct page_slice slice = {0, page.point_count};
    uint8_t *whole_end =
        remote_encode(fresh, &page, slice, 0, (struct space){buffer, buffer + sizeof buffer});
    size_t whole = (size_t)(whole_end - buffer);
    bool fitted = false;
    for (size_t bytes = 0; !fitted; bytes++) {
        uint8_t *space = malloc(bytes + 1);
        uint8_t *end =
            remote_encode(encoder, &page, slice, 0, (struct space){space, space + bytes});
        fitted = end != NULL;
        assert_true(bytes < whole + 64);
        if (fitted) {
            assert_int_equal(end - space, whole);
            assert_memory_equal(space, buffer, whole);
        }
        free(space);
    }
    remote_encoder_destroy(&encoder);
    remote_encoder_destroy(&fresh);
    model_destroy(&model);
}

/* ---- pages of our own ---- */

static struct attrs *make_attrs(enum attrs_tag tag, const char *const *pairs)
{
    static struct attrs_builder builder;
    attrs_begin(&builder, tag);
    for (; pairs[0] != NULL; pairs += 2)
        attrs_add_text(&builder, pairs[0], pairs[1], strlen(pairs[1]));
    return attrs_finish(&builder);
}

static const struct metric up = {
    .name = "up", .unit = "", .description = "Up", .value = METRIC_INT};

/* A page with one point. */
static void one_point(const struct metric *metric, const struct attrs *fixed,
                      const struct resource *resource, const struct attrs *attrs, uint64_t time_ms)
{
    page_reset(&page, 0, 0);
    struct point *point = page_begin_run(&page, metric, fixed, resource, time_ms * 1000000);
    *point = (struct point){.attrs = attrs, .value.integer = 1};
    page_end_run(&page, 1);
}

static size_t encode_all(struct remote_encoder *encoder, struct read_request *request)
{
    struct page_slice all = {0, page.point_count};
    uint8_t *end =
        remote_encode(encoder, &page, all, 0, (struct space){buffer, buffer + sizeof buffer});
    assert_non_null(end);
    read_request(request, buffer, (size_t)(end - buffer));
    return (size_t)(end - buffer);
}

static void assert_label(const struct read_series *series, const char *name, const char *value)
{
    const char *found = read_label(series, name);
    if (value == NULL)
        assert_null(found);
    else if (found == NULL)
        fail_msg("no label %s", name);
    else
        assert_string_equal(found, value);
}

#define PAIRS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Who wins where names meet, and how names that become the same are joined. */
static void test_meetings(void **state)
{
    (void)state;
    struct text_pair labels[] = {{"instance", "mine"}, {"job", "mine"}, {"only", "config"}};
    struct attrs *point =
        make_attrs(ATTRS_POINT, PAIRS("a.b", "1", "a_b", "2", "a!b", "3", "instance", "point",
                                      "empty", "", "é", "x", "only.", "dot"));
    struct attrs *fixed = make_attrs(ATTRS_POINT, PAIRS("a/b", "fixed"));
    struct attrs *identity = make_attrs(
        ATTRS_RESOURCE, PAIRS("service.instance.id", "db1", "env", "prod", "a b", "resource"));
    const struct resource resource = {.variants = {identity}};
    struct remote_settings settings = {.external_labels = {labels, 3}, .resource_labels = false};
    struct remote_encoder *encoder = remote_encoder_create(&settings);
    struct read_request request;
    one_point(&up, NULL, &resource, point, 1000);
    encode_all(encoder, &request);
    assert_int_equal(request.series_count, 1);
    assert_label(&request.series[0], "a_b", "1;2;3");
    assert_label(&request.series[0], "instance", "db1");
    assert_label(&request.series[0], "job", "mine"); /* no service.name */
    assert_label(&request.series[0], "only", "config");
    assert_label(&request.series[0], "only_", "dot");
    assert_label(&request.series[0], "empty", NULL);
    assert_label(&request.series[0], "env", NULL);
    assert_int_equal(request.series[0].label_count, 6);
    read_request_fini(&request);
    one_point(&up, fixed, &resource, point, 2000);
    encode_all(encoder, &request);
    assert_label(&request.series[0], "a_b", "fixed");
    read_request_fini(&request);
    remote_encoder_destroy(&encoder);

    settings.resource_labels = true;
    encoder = remote_encoder_create(&settings);
    one_point(&up, fixed, &resource, point, 1000);
    encode_all(encoder, &request);
    assert_label(&request.series[0], "a_b", "resource");
    assert_label(&request.series[0], "env", "prod");
    assert_label(&request.series[0], "service_instance_id", "db1");
    read_request_fini(&request);
    remote_encoder_destroy(&encoder);

    settings.exclude_service = true;
    encoder = remote_encoder_create(&settings);
    encode_all(encoder, &request);
    assert_label(&request.series[0], "env", "prod");
    assert_label(&request.series[0], "service_instance_id", NULL);
    read_request_fini(&request);
    remote_encoder_destroy(&encoder);
    attrs_destroy(&point);
    attrs_destroy(&fixed);
    attrs_destroy(&identity);
}

/* job and instance; and what tells series of a server apart in the older model stays a label. */
static void test_identity(void **state)
{
    (void)state;
    struct attrs *none = make_attrs(ATTRS_POINT, (const char *const[]){NULL});
    struct attrs *table = make_attrs(
        ATTRS_RESOURCE, PAIRS("service.name", "shop", "service.namespace", "eu",
                              "service.instance.id", "h:5432", "postgresql.database.name", "app",
                              "postgresql.table.name", "public.orders", "env", "prod"));
    const struct resource resource = {.variants = {table}};
    const struct remote_settings settings = {.target_info = true};
    struct remote_encoder *encoder = remote_encoder_create(&settings);
    struct read_request request;
    one_point(&up, NULL, &resource, none, 1000);
    encode_all(encoder, &request);
    assert_int_equal(request.series_count, 2);
    const struct read_series *info = &request.series[0], *series = &request.series[1];
    assert_label(info, "__name__", "target_info");
    assert_label(info, "job", "eu/shop");
    assert_label(info, "instance", "h:5432");
    assert_label(info, "env", "prod");
    assert_int_equal(info->label_count, 4);
    assert_true(read_value(info) == 1);
    assert_label(series, "job", "eu/shop");
    assert_label(series, "instance", "h:5432");
    assert_label(series, "postgresql_database_name", "app");
    assert_label(series, "postgresql_table_name", "public.orders");
    assert_int_equal(series->label_count, 5);
    read_request_fini(&request);
    remote_encoder_destroy(&encoder);
    attrs_destroy(&none);
    attrs_destroy(&table);
}

/* target_info and metadata come once a minute and target or metric, not with every page; a target
 * that has nothing but its identity has none. */
static void test_once_a_minute(void **state)
{
    (void)state;
    struct attrs *none = make_attrs(ATTRS_POINT, (const char *const[]){NULL});
    struct attrs *first =
        make_attrs(ATTRS_RESOURCE, PAIRS("service.instance.id", "1", "server.address", "db1"));
    struct attrs *second =
        make_attrs(ATTRS_RESOURCE, PAIRS("service.instance.id", "2", "server.address", "db1"));
    struct attrs *bare = make_attrs(ATTRS_RESOURCE, PAIRS("service.instance.id", "3"));
    const struct resource resources[] = {
        {.variants = {first}}, {.variants = {second}}, {.variants = {bare}}};
    const struct remote_settings settings = {
        .naming = {"ns", true}, .target_info = true, .metadata = true};
    struct remote_encoder *encoder = remote_encoder_create(&settings);
    static const struct {
        int resource;
        uint64_t time_ms;
        size_t series, metadata;
    } steps[] = {{0, 1000, 2, 1},  {0, 11000, 1, 0}, {1, 11000, 2, 0}, {2, 11000, 1, 0},
                 {0, 60999, 1, 0}, {0, 61000, 2, 1}, {1, 70999, 1, 0}, {1, 71000, 2, 0}};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct read_request request;
        one_point(&up, NULL, &resources[steps[i].resource], none, steps[i].time_ms);
        encode_all(encoder, &request);
        assert_int_equal(request.series_count, steps[i].series);
        assert_int_equal(request.metadata_count, steps[i].metadata);
        if (steps[i].series == 2)
            assert_label(&request.series[0], "__name__", "ns_target_info");
        if (steps[i].metadata == 1) {
            assert_int_equal(request.metadata[0].kind, 2);
            assert_string_equal(request.metadata[0].name, "ns_up");
            assert_string_equal(request.metadata[0].help, "Up");
        }
        read_request_fini(&request);
    }
    remote_encoder_destroy(&encoder);
    attrs_destroy(&none);
    attrs_destroy(&first);
    attrs_destroy(&second);
    attrs_destroy(&bare);
}

/* More targets than are remembered: each is told, some more often than once a minute; nobody's
 * place is taken before the page that tells it is whole. */
static void test_many_targets(void **state)
{
    (void)state;
    enum { TARGETS = 200000, A_PAGE = 40 };
    struct told told;
    struct random random = {.state = 5};
    uint64_t told_now = 0;
    told_init(&told);
    for (uint64_t i = 0; i < TARGETS; i++) {
        if (i % A_PAGE == 0)
            told_begin(&told);
        int64_t *place = told_target(&told, random_next(&random));
        if (told_due(&told, place, 100000))
            told_now++;
        assert_false(told_due(&told, place, 100000));
        if (i % A_PAGE == A_PAGE - 1)
            told_end(&told);
    }
    assert_int_equal(told_now, TARGETS);
    random.state = 5; /* the same again: those that are remembered are not told */
    told_now = 0;
    for (uint64_t i = 0; i < TARGETS; i++) {
        told_begin(&told);
        told_now += told_due(&told, told_target(&told, random_next(&random)), 159999);
        told_end(&told);
    }
    assert_in_range(told_now, 1, TARGETS);
    told_fini(&told);
}

/* Attribute sets go and others come to the same place: what was made of the old is not used. */
static void test_same_address(void **state)
{
    (void)state;
    struct attrs *place = malloc(sizeof *place + 256);
    struct attrs *identity = malloc(sizeof *identity + 256);
    const struct resource resource = {.variants = {identity}};
    const struct remote_settings settings = {.target_info = false};
    struct remote_encoder *encoder = remote_encoder_create(&settings);
    for (int i = 0; i < 100; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        struct attrs *set = make_attrs(ATTRS_POINT, PAIRS(i % 3 ? "table" : "index", text));
        struct attrs *other = make_attrs(ATTRS_RESOURCE, PAIRS("service.instance.id", text));
        memcpy(place, set, sizeof *set + set->bytes);
        memcpy(identity, other, sizeof *other + other->bytes);
        attrs_destroy(&set);
        attrs_destroy(&other);
        one_point(&up, place, &resource, place, 1000 + (uint64_t)i);
        struct read_request request;
        encode_all(encoder, &request);
        assert_label(&request.series[0], i % 3 ? "table" : "index", text);
        assert_label(&request.series[0], "instance", text);
        assert_int_equal(request.series[0].label_count, 3);
        read_request_fini(&request);
    }
    remote_encoder_destroy(&encoder);
    free(place);
    free(identity);
}

/* Values as large as they may be; a page of them. */
static void test_large_attributes(void **state)
{
    (void)state;
    static struct attrs_builder builder;
    static char value[LIMIT_ATTRIBUTE_BYTES];
    memset(value, 'v', sizeof value);
    attrs_begin(&builder, ATTRS_POINT);
    for (int i = 0; !builder.full; i++) {
        char key[24];
        snprintf(key, sizeof key, "key%d", i);
        attrs_add_text(&builder, key, value, i < 3 ? sizeof value : 100);
    }
    struct attrs *large = attrs_finish(&builder);
    struct attrs *identity = make_attrs(ATTRS_RESOURCE, PAIRS("service.instance.id", "1"));
    const struct resource resource = {.variants = {identity}};
    const struct remote_settings settings = {.target_info = true};
    struct remote_encoder *encoder = remote_encoder_create(&settings);
    page_reset(&page, 0, 0);
    struct point *point = page_begin_run(&page, &up, NULL, &resource, 1000000000);
    for (int i = 0; i < 100; i++)
        point[i] = (struct point){.attrs = large, .value.integer = i};
    page_end_run(&page, 100);
    struct read_request request;
    encode_all(encoder, &request);
    assert_int_equal(request.series_count, 100);
    assert_int_equal(strlen(read_label(&request.series[99], "key2")), LIMIT_ATTRIBUTE_BYTES);
    read_request_fini(&request);
    remote_encoder_destroy(&encoder);
    attrs_destroy(&large);
    attrs_destroy(&identity);
}

/* A distribution is a classic histogram. */
static void test_distribution(void **state)
{
    (void)state;
    static const struct metric metric = {.name = "pgweir.lag",
                                         .unit = "s",
                                         .description = "Lag",
                                         .instrument = METRIC_HISTOGRAM,
                                         .value = METRIC_DISTRIBUTION};
    struct distribution *value = calloc(1, sizeof *value + 3 * sizeof value->buckets[0]);
    *value = (struct distribution){
        .count = 7, .zero_count = 1, .sum = 3.5, .max = 2, .scale = 0, .offset = -2};
    value->bucket_count = 3; /* (1/4, 1/2], (1/2, 1], (1, 2] */
    value->buckets[0] = 1;
    value->buckets[1] = 2;
    value->buckets[2] = 3;
    struct attrs *attrs = make_attrs(ATTRS_POINT, PAIRS("shard", "0", "zz", "9"));
    struct attrs *identity = make_attrs(ATTRS_RESOURCE, PAIRS("service.instance.id", "1"));
    const struct resource resource = {.variants = {identity}};
    const struct remote_settings settings = {.naming = {NULL, true}};
    struct remote_encoder *encoder = remote_encoder_create(&settings);
    page_reset(&page, 0, 0);
    struct point *point = page_begin_run(&page, &metric, NULL, &resource, 5000000000);
    point[0] = point[1] = (struct point){.attrs = attrs, .value.distribution = value};
    page_end_run(&page, 2);
    struct read_request request;
    size_t bytes = encode_all(encoder, &request);
    assert_int_equal(request.series_count, 2 * (3 + DISTRIBUTION_BOUNDS));
    double last = 0;
    for (size_t i = 0; i < request.series_count; i++) {
        const struct read_series *series = &request.series[i];
        size_t part = i % (3 + DISTRIBUTION_BOUNDS);
        const char *le = read_label(series, "le");
        assert_int_equal(series->time_ms, 5000);
        assert_label(series, "shard", "0");
        assert_label(series, "__name__",
                     part == 0   ? "pgweir_lag_seconds_count"
                     : part == 1 ? "pgweir_lag_seconds_sum"
                                 : "pgweir_lag_seconds_bucket");
        assert_int_equal(le != NULL, part >= 2);
        if (part < 2) {
            assert_true(read_value(series) == (part == 0 ? 7 : 3.5));
            last = 0;
            continue;
        }
        assert_true(read_value(series) >= last);
        last = read_value(series);
        if (strcmp(le, "0.5") == 0)
            assert_true(last == 2);
        if (strcmp(le, "1") == 0)
            assert_true(last == 4);
        if (strcmp(le, "+Inf") == 0)
            assert_true(last == 7 && part == 2 + DISTRIBUTION_BOUNDS);
    }
    read_request_fini(&request);

    /* Cut between the two, never in one. */
    struct otlp_part parts[2] = {{.body = malloc(bytes)}, {.body = malloc(bytes)}};
    assert_true(remote_split(buffer, bytes, parts));
    assert_int_equal(parts[0].points, 1);
    assert_int_equal(parts[1].points, 1);
    assert_int_equal(parts[0].bytes, parts[1].bytes);
    assert_memory_equal(parts[0].body, parts[1].body, parts[0].bytes);
    assert_false(remote_split(parts[0].body, parts[0].bytes, parts));
    free(parts[0].body);
    free(parts[1].body);
    remote_encoder_destroy(&encoder);
    attrs_destroy(&attrs);
    attrs_destroy(&identity);
    free(value);
}

/* Halves of halves down to single points: all series in order, all points counted. */
static void test_split(void **state)
{
    (void)state;
    struct model *model = model_create(17);
    const struct remote_settings settings = {
        .naming = {NULL, true}, .target_info = true, .metadata = true};
    struct remote_encoder *encoder = remote_encoder_create(&settings);
    struct otlp_part stack[64];
    for (int round = 0; round < 20; round++) {
        model_fill(model, &page, 20, 40);
        struct page_slice all = {0, page.point_count};
        uint8_t *end =
            remote_encode(encoder, &page, all, 0, (struct space){buffer, buffer + sizeof buffer});
        size_t bytes = (size_t)(end - buffer), at = 0, count = 1, single = 0;
        stack[0] = (struct otlp_part){malloc(bytes), bytes, page.point_count};
        memcpy(stack[0].body, buffer, bytes);
        while (count > 0) {
            struct otlp_part part = stack[--count];
            struct otlp_part halves[2] = {{.body = malloc(part.bytes)},
                                          {.body = malloc(part.bytes)}};
            if (remote_split(part.body, part.bytes, halves)) {
                assert_int_equal(halves[0].points + halves[1].points, part.points);
                assert_true(halves[1].points - halves[0].points <= 1);
                stack[count++] = halves[1];
                stack[count++] = halves[0];
            } else {
                assert_int_equal(part.points, 1);
                assert_memory_equal(part.body, buffer + at, part.bytes);
                at += part.bytes;
                single++;
                free(halves[0].body);
                free(halves[1].body);
            }
            free(part.body);
        }
        assert_int_equal(at, bytes);
        assert_int_equal(single, page.point_count);
    }
    remote_encoder_destroy(&encoder);
    model_destroy(&model);
}

/* No prefix of a body and no body with a byte changed is read past its end. */
static void test_split_hostile(void **state)
{
    (void)state;
    struct model *model = model_create(23);
    const struct remote_settings settings = {.naming = {NULL, true}};
    struct remote_encoder *encoder = remote_encoder_create(&settings);
    model_fill(model, &page, 5, 3);
    struct page_slice all = {0, page.point_count};
    uint8_t *end =
        remote_encode(encoder, &page, all, 0, (struct space){buffer, buffer + sizeof buffer});
    size_t bytes = (size_t)(end - buffer);
    struct otlp_part parts[2] = {{.body = malloc(bytes)}, {.body = malloc(bytes)}};
    for (size_t i = 0; i < bytes; i++) {
        uint8_t *copy = malloc(i);
        memcpy(copy, buffer, i);
        if (remote_split(copy, i, parts))
            assert_int_equal(parts[0].bytes + parts[1].bytes, i);
        free(copy);
        copy = malloc(bytes);
        memcpy(copy, buffer, bytes);
        copy[i] = (uint8_t)random_next(&model->random);
        if (remote_split(copy, bytes, parts))
            assert_int_equal(parts[0].bytes + parts[1].bytes, bytes);
        free(copy);
    }
    free(parts[0].body);
    free(parts[1].body);
    remote_encoder_destroy(&encoder);
    model_destroy(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_pages),  cmocka_unit_test(test_small_spaces),
        cmocka_unit_test(test_meetings),      cmocka_unit_test(test_identity),
        cmocka_unit_test(test_once_a_minute), cmocka_unit_test(test_many_targets),
        cmocka_unit_test(test_same_address),  cmocka_unit_test(test_large_attributes),
        cmocka_unit_test(test_distribution),  cmocka_unit_test(test_split),
        cmocka_unit_test(test_split_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
