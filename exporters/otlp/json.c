/* SPDX-License-Identifier: Apache-2.0 */
/* OTLP/JSON for people and files: the same request as encode.c writes, by proto3's JSON mapping
 * (camelCase, 64-bit integers as strings, NaN and infinities as strings), one resourceMetrics per
 * stretch of runs with the same resource. Convenience before speed: jansson builds a tree.
 * One thread. Aborts when memory is out, as jansson reports nothing else here.
 * Source: OTLP specification, "JSON Protobuf encoding". */
#include "exporters/otlp/json.h"

#include "base/check.h"
#include "base/memory.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { INDENT = 2, TEMPORALITY_DELTA = 1, TEMPORALITY_CUMULATIVE = 2 };

struct otlp_json {
    json_t *resources; /* array of ResourceMetrics */
};

/* Everything given to jansson is valid UTF-8 and finite, so NULL means no memory. */
static json_t *must(json_t *value)
{
    xdone(value != NULL);
    return value;
}

static void put(json_t *object, const char *key, json_t *value)
{
    xdone(json_object_set_new(object, key, must(value)) == 0);
}

static void append(json_t *array, json_t *value)
{
    xdone(json_array_append_new(array, must(value)) == 0);
}

/* Adds an empty array or object to the object and returns it, borrowed. */
static json_t *put_empty(json_t *object, const char *key, json_t *empty)
{
    put(object, key, empty);
    return empty;
}

static json_t *append_object(json_t *array)
{
    json_t *object = json_object();
    append(array, object);
    return object;
}

static json_t *json_int64(int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, value);
    return json_string(text);
}

static json_t *json_uint64(uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    return json_string(text);
}

static json_t *json_double(double value)
{
    if (isnan(value))
        return json_string("NaN");
    if (isinf(value))
        return json_string(value > 0 ? "Infinity" : "-Infinity");
    return json_real(value);
}

static json_t *any_value(const struct attr *attr)
{
    json_t *any = must(json_object());
    switch (attr->kind) {
    case ATTR_TEXT:
        put(any, "stringValue", json_stringn(attr->text, attr->text_bytes));
        break;
    case ATTR_INT:
        put(any, "intValue", json_int64(attr->number));
        break;
    case ATTR_DOUBLE:
        put(any, "doubleValue", json_double(attr->real));
        break;
    case ATTR_BOOL:
        put(any, "boolValue", json_boolean(attr->number));
        break;
    }
    return any;
}

/* `attrs` may be NULL. */
static void append_attributes(json_t *array, const struct attrs *attrs)
{
    struct attr attr;
    size_t position = 0;
    while (attrs && attrs_next(attrs, &position, &attr)) {
        json_t *pair = append_object(array);
        put(pair, "key", json_stringn(attr.key, attr.key_bytes));
        put(pair, "value", any_value(&attr));
    }
}

static void put_attributes(json_t *object, const struct run *run, const struct point *point)
{
    if ((run->fixed == NULL || run->fixed->bytes == 0) && point->attrs->bytes == 0)
        return;
    json_t *attributes = put_empty(object, "attributes", json_array());
    append_attributes(attributes, run->fixed);
    append_attributes(attributes, point->attrs);
}

static void put_distribution(json_t *object, const struct distribution *value, bool delta)
{
    put(object, "count", json_uint64(value->count));
    put(object, "sum", json_double(value->sum));
    put(object, "scale", json_integer(value->scale));
    put(object, "zeroCount", json_uint64(value->zero_count));
    if (!delta) /* it is the largest since the start of everything */
        put(object, "max", json_double(value->max));
    if (value->bucket_count == 0)
        return;
    json_t *positive = put_empty(object, "positive", json_object());
    put(positive, "offset", json_integer(value->offset));
    json_t *counts = put_empty(positive, "bucketCounts", json_array());
    for (uint32_t i = 0; i < value->bucket_count; i++)
        append(counts, json_uint64(value->buckets[i]));
}

static void append_point(json_t *points, const struct run *run, const struct point *point)
{
    json_t *object = append_object(points);
    if (point->start_ns)
        put(object, "startTimeUnixNano", json_uint64(point->start_ns));
    put(object, "timeUnixNano", json_uint64(run->time_ns));
    switch (run->metric->value) {
    case METRIC_INT:
        put(object, "asInt", json_int64(point->value.integer));
        break;
    case METRIC_DOUBLE:
        put(object, "asDouble", json_double(point->value.real));
        break;
    case METRIC_DISTRIBUTION:
        put_distribution(object, point->value.distribution, run->metric->delta);
        break;
    }
    put_attributes(object, run, point);
}

/* A new Metric in the array; returns its dataPoints. */
static json_t *append_metric(json_t *metrics, const struct metric *metric)
{
    json_t *object = append_object(metrics);
    put(object, "name", json_string(metric->name));
    if (metric->description[0])
        put(object, "description", json_string(metric->description));
    if (metric->unit[0])
        put(object, "unit", json_string(metric->unit));
    static const char *const names[] = {[METRIC_GAUGE] = "gauge",
                                        [METRIC_SUM] = "sum",
                                        [METRIC_HISTOGRAM] = "exponentialHistogram"};
    json_t *data = put_empty(object, names[metric->instrument], json_object());
    json_t *points = put_empty(data, "dataPoints", json_array());
    if (metric->instrument != METRIC_GAUGE)
        put(data, "aggregationTemporality",
            json_integer(metric->delta ? TEMPORALITY_DELTA : TEMPORALITY_CUMULATIVE));
    if (metric->instrument == METRIC_SUM)
        put(data, "isMonotonic", json_boolean(metric->monotonic));
    return points;
}

/* A new ResourceMetrics; returns the metrics of its one scope. */
static json_t *append_resource(json_t *resources, const struct resource *resource, uint32_t variant)
{
    const struct attrs *attrs = resource->variants[variant];
    json_t *object = append_object(resources);
    json_t *identity = put_empty(object, "resource", json_object());
    append_attributes(put_empty(identity, "attributes", json_array()),
                      attrs ? attrs : resource->variants[0]);
    json_t *scope_metrics = append_object(put_empty(object, "scopeMetrics", json_array()));
    json_t *scope = put_empty(scope_metrics, "scope", json_object());
    put(scope, "name", json_string("pgweir"));
    put(scope, "version", json_string(PGWEIR_VERSION));
    return put_empty(scope_metrics, "metrics", json_array());
}

struct otlp_json *otlp_json_create(void)
{
    struct otlp_json *json = xmalloc(sizeof *json);
    json->resources = must(json_array());
    return json;
}

void otlp_json_destroy(struct otlp_json **json)
{
    if (*json)
        json_decref((*json)->resources);
    free(*json);
    *json = NULL;
}

void otlp_json_add(struct otlp_json *json, const struct page *page, struct page_slice slice,
                   uint32_t variant)
{
    CHECK(variant < LIMIT_PIPELINES);
    CHECK(slice.first <= page->point_count && slice.count <= page->point_count - slice.first);
    uint32_t slice_end = slice.first + slice.count;
    const struct run *previous = NULL;
    json_t *metrics = NULL, *points = NULL;
    for (uint32_t i = 0; i < page->run_count; i++) {
        const struct run *run = page_run_const(page, i);
        uint32_t first = run->first > slice.first ? run->first : slice.first;
        uint32_t end = run->first + run->count < slice_end ? run->first + run->count : slice_end;
        if (first >= end)
            continue;
        bool new_resource = !previous || previous->resource != run->resource;
        if (new_resource)
            metrics = append_resource(json->resources, run->resource, variant);
        if (new_resource || previous->metric != run->metric)
            points = append_metric(metrics, run->metric);
        for (uint32_t at = first; at < end; at++)
            append_point(points, run, page_points_const(page) + at);
        previous = run;
    }
}

char *otlp_json_take(struct otlp_json *json, bool pretty)
{
    if (json_array_size(json->resources) == 0)
        return NULL;
    json_t *request = must(json_object());
    put(request, "resourceMetrics", json->resources);
    json->resources = must(json_array());
    char *text = json_dumps(request, JSON_REAL_PRECISION(17) |
                                         (pretty ? JSON_INDENT(INDENT) : JSON_COMPACT));
    xdone(text != NULL);
    json_decref(request);
    return text;
}
