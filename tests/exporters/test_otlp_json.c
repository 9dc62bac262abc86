/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON document, parsed by jansson, against the record of what was put on the pages. */
#include "exporters/otlp/json.h"

#include "tests/exporters/otlp_pages.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct page page;

static void assert_text(const json_t *object, const char *key, const char *text, size_t bytes)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_string(value));
    assert_int_equal(json_string_length(value), bytes);
    assert_memory_equal(json_string_value(value), text, bytes);
}

/* 64-bit integers are strings in proto3's JSON. */
static void assert_int64(const json_t *object, const char *key, int64_t number)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, number);
    assert_text(object, key, text, strlen(text));
}

static void assert_double(const json_t *object, const char *key, double number)
{
    const json_t *value = json_object_get(object, key);
    if (isnan(number))
        assert_string_equal(json_string_value(value), "NaN");
    else if (isinf(number))
        assert_string_equal(json_string_value(value), number > 0 ? "Infinity" : "-Infinity");
    else
        assert_true(json_is_real(value) && json_real_value(value) == number);
}

static void assert_attribute(const json_t *pair, const struct model_attr *attr)
{
    const json_t *value = json_object_get(pair, "value");
    assert_text(pair, "key", attr->key, strlen(attr->key));
    assert_int_equal(json_object_size(value), 1);
    switch (attr->kind) {
    case ATTR_TEXT:
        assert_text(value, "stringValue", attr->text, attr->text_bytes);
        break;
    case ATTR_INT:
        assert_int64(value, "intValue", attr->number);
        break;
    case ATTR_DOUBLE:
        assert_double(value, "doubleValue", attr->real);
        break;
    case ATTR_BOOL:
        assert_int_equal(json_is_true(json_object_get(value, "boolValue")), attr->number);
        assert_true(json_is_boolean(json_object_get(value, "boolValue")));
        break;
    }
}

static void assert_attributes(const json_t *array, const struct model_set *first,
                              const struct model_set *second)
{
    assert_int_equal(json_array_size(array), first->count + second->count);
    for (uint32_t i = 0; i < first->count; i++)
        assert_attribute(json_array_get(array, i), &first->list[i]);
    for (uint32_t i = 0; i < second->count; i++)
        assert_attribute(json_array_get(array, first->count + i), &second->list[i]);
}

static void assert_point(const json_t *object, const struct model *model, const struct run *run,
                         const struct point *point)
{
    if (point->start_ns)
        assert_int64(object, "startTimeUnixNano", (int64_t)point->start_ns);
    else
        assert_null(json_object_get(object, "startTimeUnixNano"));
    assert_int64(object, "timeUnixNano", (int64_t)run->time_ns);
    if (run->metric->value == METRIC_INT)
        assert_int64(object, "asInt", point->value.integer);
    else
        assert_double(object, "asDouble", point->value.real);
    assert_attributes(json_object_get(object, "attributes"), model_find(model, run->fixed),
                      model_find(model, point->attrs));
}

/* Returns the metric's dataPoints. */
static json_t *assert_metric(const json_t *object, const struct metric *metric)
{
    bool sum = metric->instrument == METRIC_SUM;
    json_t *data = json_object_get(object, sum ? "sum" : "gauge");
    assert_non_null(data);
    assert_null(json_object_get(object, sum ? "gauge" : "sum"));
    assert_string_equal(json_string_value(json_object_get(object, "name")), metric->name);
    if (*metric->unit)
        assert_string_equal(json_string_value(json_object_get(object, "unit")), metric->unit);
    if (*metric->description)
        assert_string_equal(json_string_value(json_object_get(object, "description")),
                            metric->description);
    if (sum) {
        assert_int_equal(json_integer_value(json_object_get(data, "aggregationTemporality")), 2);
        assert_int_equal(json_is_true(json_object_get(data, "isMonotonic")), metric->monotonic);
    }
    return json_object_get(data, "dataPoints");
}

/* Where the walk through a document stands. */
struct place {
    const json_t *resources, *metrics, *points;
    size_t resource, metric, point;
};

static void assert_page(struct place *place, const struct model *model, struct page_slice slice,
                        uint32_t variant)
{
    const struct run *last = NULL;
    for (uint32_t i = 0; i < page.run_count; i++) {
        const struct run *run = page_run_const(&page, i);
        uint32_t first, end;
        if (!model_part(&page, i, slice, &first, &end))
            continue;
        if (!last || last->resource != run->resource) {
            const json_t *object = json_array_get(place->resources, place->resource++);
            const struct attrs *attrs = run->resource->variants[variant];
            const json_t *scopes = json_object_get(object, "scopeMetrics");
            assert_attributes(json_object_get(json_object_get(object, "resource"), "attributes"),
                              model_find(model, attrs ? attrs : run->resource->variants[0]),
                              model_find(model, NULL));
            assert_int_equal(json_array_size(scopes), 1);
            place->metrics = json_object_get(json_array_get(scopes, 0), "metrics");
            place->metric = 0;
            last = NULL;
        }
        if (!last || last->metric != run->metric) {
            place->points =
                assert_metric(json_array_get(place->metrics, place->metric++), run->metric);
            place->point = 0;
        }
        for (uint32_t at = first; at < end; at++)
            assert_point(json_array_get(place->points, place->point++), model, run,
                         page_points_const(&page) + at);
        last = run;
    }
}

static json_t *take(struct otlp_json *json, bool pretty)
{
    char *text = otlp_json_take(json, pretty);
    assert_non_null(text);
    assert_int_equal(strchr(text, '\n') != NULL, pretty);
    json_error_t error;
    json_t *document = json_loads(text, JSON_ALLOW_NUL, &error);
    if (!document)
        fail_msg("line %d: %s", error.line, error.text);
    free(text);
    return document;
}

static void test_round_trip(void **state)
{
    (void)state;
    struct otlp_json *json = otlp_json_create();
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct model *model = model_create(seed);
        memset(&page, 0, sizeof page);
        model_fill(model, &page, 20, 12);
        struct page_slice all = {0, page.point_count};
        struct page_slice part = {page.point_count / 3, page.point_count / 2};
        uint32_t variant = seed % 2;
        otlp_json_add(json, &page, all, variant);
        otlp_json_add(json, &page, part, 0);
        json_t *document = take(json, seed % 2);
        struct place place = {.resources = json_object_get(document, "resourceMetrics")};
        assert_page(&place, model, all, variant);
        assert_page(&place, model, part, 0);
        assert_int_equal(json_array_size(place.resources), place.resource); /* and no more */
        json_decref(document);
        model_destroy(&model);
    }
    otlp_json_destroy(&json);
    assert_null(json);
}

static void test_nothing_added(void **state)
{
    (void)state;
    struct otlp_json *json = otlp_json_create();
    page_reset(&page, 0, 0);
    assert_null(otlp_json_take(json, false));
    otlp_json_add(json, &page, (struct page_slice){0, 0}, 0);
    assert_null(otlp_json_take(json, true));
    otlp_json_destroy(&json);
}

/* One point, as a reader of the specification would write it. */
static void test_known_document(void **state)
{
    (void)state;
    static struct attrs_builder builder;
    attrs_begin(&builder, ATTRS_POINT);
    attrs_add_text(&builder, "state", "active", 6);
    struct attrs *attrs = attrs_finish(&builder);
    attrs_begin(&builder, ATTRS_RESOURCE);
    struct attrs *empty = attrs_finish(&builder);
    const struct resource resource = {.variants = {empty}};
    static const struct metric metric = {"m", "1", "d", METRIC_SUM, METRIC_INT, true, true, false};
    page_reset(&page, 0, 0);
    *page_begin_run(&page, &metric, NULL, &resource, 2) =
        (struct point){.attrs = attrs, .start_ns = 1, .value.integer = 42};
    page_end_run(&page, 1);
    struct otlp_json *json = otlp_json_create();
    otlp_json_add(json, &page, (struct page_slice){0, 1}, 3);
    char *text = otlp_json_take(json, false);
    assert_string_equal(
        text,
        "{\"resourceMetrics\":[{\"resource\":{\"attributes\":[]},\"scopeMetrics\":[{\"scope\":"
        "{\"name\":\"pgweir\",\"version\":\"" PGWEIR_VERSION "\"},\"metrics\":[{\"name\":\"m\","
        "\"description\":\"d\",\"unit\":\"1\",\"sum\":{\"dataPoints\":[{\"startTimeUnixNano\":"
        "\"1\",\"timeUnixNano\":\"2\",\"asInt\":\"42\",\"attributes\":[{\"key\":\"state\","
        "\"value\":{\"stringValue\":\"active\"}}]}],\"aggregationTemporality\":2,"
        "\"isMonotonic\":true}}]}]}]}");
    free(text);
    otlp_json_destroy(&json);
    attrs_destroy(&attrs);
    attrs_destroy(&empty);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_nothing_added),
        cmocka_unit_test(test_known_document),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
