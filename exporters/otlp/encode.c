/* SPDX-License-Identifier: Apache-2.0 */
/* Step 8 of 9. In protobuf a message's length stands before the message, so whoever writes head to
 * tail must know sizes before bytes. Written tail to head every length is simply the distance
 * between two pointers:
 *
 *   floor … ← ResourceMetrics ← ScopeMetrics ← Metric ← point 0 ← … ← point n − 1 | end
 *
 * A point is its constant part (times, value: 18 or 27 bytes), the run's fixed attributes and a
 * copy of its attribute bytes; that copy is most of the work, so the sets of the points ahead are
 * prefetched. Runs next to each other with the same metric become one Metric, with the same
 * resource one ResourceMetrics.
 *
 * Pure function, the worker's thread. Invariant: nothing is written outside [floor, end); every
 * step asks tail_room() first.
 * Source: opentelemetry-proto 1.5, metrics/v1/metrics.proto; field numbers are wire tags here. */
#include "exporters/otlp/encode.h"

#include "base/check.h"

#include <string.h>

enum {
    REQUEST_RESOURCE_METRICS = 0x0a,
    RESOURCE_METRICS_RESOURCE = 0x0a,
    RESOURCE_METRICS_SCOPE_METRICS = 0x12,
    SCOPE_METRICS_SCOPE = 0x0a,
    SCOPE_METRICS_METRICS = 0x12,
    SCOPE_NAME = 0x0a,
    SCOPE_VERSION = 0x12,
    METRIC_NAME = 0x0a,
    METRIC_DESCRIPTION = 0x12,
    METRIC_UNIT = 0x1a,
    METRIC_GAUGE_DATA = 0x2a,
    METRIC_SUM_DATA = 0x3a,
    METRIC_EXPONENTIAL_HISTOGRAM_DATA = 0x52,
    DATA_POINTS = 0x0a,     /* Gauge, Sum and ExponentialHistogram */
    SUM_TEMPORALITY = 0x10, /* and ExponentialHistogram's */
    SUM_MONOTONIC = 0x18,
    POINT_START_TIME = 0x11,
    POINT_TIME = 0x19,
    POINT_AS_DOUBLE = 0x21,
    POINT_AS_INT = 0x31,
};
/* ExponentialHistogramDataPoint; start and time are as in NumberDataPoint. */
enum {
    DISTRIBUTION_ATTRIBUTES = 0x0a,
    DISTRIBUTION_COUNT = 0x21,
    DISTRIBUTION_SUM = 0x29,
    DISTRIBUTION_SCALE_FIELD = 0x30,
    DISTRIBUTION_ZERO_COUNT = 0x39,
    DISTRIBUTION_POSITIVE = 0x42,
    DISTRIBUTION_MAX = 0x69,
    BUCKETS_OFFSET = 0x08,
    BUCKETS_COUNTS = 0x12,
};
enum { TEMPORALITY_DELTA = 1, TEMPORALITY_CUMULATIVE = 2 };
enum {
    LENGTH_BYTES_MAX = 5, /* a page's bytes need at most five */
    VARINT_BYTES_MAX = 10,
    FIXED64_BYTES = 9, /* tag and value */
    POINTS_FAR = 24,   /* points ahead whose attributes are prefetched: the latency of memory */
    POINTS_NEAR = 8,   /* and those whose length is there by now, so that their end can be, too */
};

/* The part of the buffer that is still free; `at` moves down. */
struct tail {
    uint8_t *floor;
    uint8_t *at;
};

/* What is being encoded; the run at `next_run` − 1 is the next, as runs are walked backwards. */
struct walk {
    const struct page *page;
    uint32_t first, end; /* points of the slice */
    uint32_t next_run;
    uint32_t variant;
};

static inline bool tail_room(const struct tail *tail, size_t bytes)
{
    return (size_t)(tail->at - tail->floor) >= bytes;
}

/* A varint, lowest group first, as protobuf wants it. Without a check: the caller has asked for
 * room. */
static inline void put_length(struct tail *tail, uint64_t length)
{
    if (length < 0x80) {
        *--tail->at = (uint8_t)length;
        return;
    }
    uint32_t groups = (uint32_t)(63 - __builtin_clzll(length)) / 7;
    *--tail->at = (uint8_t)(length >> (7 * groups));
    while (groups-- > 0)
        *--tail->at = (uint8_t)(length >> (7 * groups) | 0x80);
}

/* Closes the message between `at` and `message_end`: its length and tag go in front. */
static inline bool put_head(struct tail *tail, uint8_t tag, const uint8_t *message_end)
{
    if (!tail_room(tail, 1 + LENGTH_BYTES_MAX))
        return false;
    put_length(tail, (size_t)(message_end - tail->at));
    *--tail->at = tag;
    return true;
}

static bool put_bytes(struct tail *tail, const void *data, size_t bytes)
{
    if (!tail_room(tail, bytes))
        return false;
    tail->at -= bytes;
    memcpy(tail->at, data, bytes);
    return true;
}

/* A string field; an empty one is not written (proto3). */
static bool put_text(struct tail *tail, uint8_t tag, const char *text)
{
    const uint8_t *end = tail->at;
    size_t bytes = strlen(text);
    return bytes == 0 || (put_bytes(tail, text, bytes) && put_head(tail, tag, end));
}

static inline void store_fixed64(uint8_t *at, uint8_t tag, uint64_t value)
{
    at[0] = tag;
    memcpy(at + 1, &value, sizeof value);
}

/* A copy in 16-byte steps whose last one overlaps the one before: for the 30 to 100 bytes of an
 * attribute set this is twice as fast as a call. Stays within both ranges. */
static inline void copy_attrs(uint8_t *to, const uint8_t *from, size_t bytes)
{
    if (bytes < 16) {
        memcpy(to, from, bytes);
        return;
    }
    for (size_t at = 0; at < bytes - 16; at += 16)
        memcpy(to + at, from + at, 16);
    memcpy(to + bytes - 16, from + bytes - 16, 16);
}

static inline void prefetch_end(const struct attrs *attrs)
{
    __builtin_prefetch(attrs->otlp + attrs->bytes);
}

/* The run's points [first, first + count), last one first. */
static bool put_points(struct tail *tail, const struct page *page, const struct run *run,
                       uint32_t first, uint32_t count)
{
    const struct point *points = page_points_const(page) + first;
    const uint8_t value_tag = run->metric->value == METRIC_INT ? POINT_AS_INT : POINT_AS_DOUBLE;
    const size_t fixed_bytes = run->fixed ? run->fixed->bytes : 0;
    for (uint32_t i = count; i-- > 0;) {
        if (i >= POINTS_FAR)
            __builtin_prefetch(points[i - POINTS_FAR].attrs);
        if (i >= POINTS_NEAR)
            prefetch_end(points[i - POINTS_NEAR].attrs);
        const struct point *point = &points[i];
        const size_t attrs_bytes = point->attrs->bytes;
        const size_t start_bytes = point->start_ns ? FIXED64_BYTES : 0;
        const size_t body = start_bytes + 2 * FIXED64_BYTES + fixed_bytes + attrs_bytes;
        if (!tail_room(tail, 1 + LENGTH_BYTES_MAX + body))
            return false;
        uint8_t *at = tail->at -= body;
        if (start_bytes)
            store_fixed64(at, POINT_START_TIME, point->start_ns);
        at += start_bytes;
        store_fixed64(at, POINT_TIME, run->time_ns);
        at += FIXED64_BYTES;
        store_fixed64(at, value_tag, (uint64_t)point->value.integer);
        at += FIXED64_BYTES;
        if (fixed_bytes)
            memcpy(at, run->fixed->otlp, fixed_bytes);
        copy_attrs(at + fixed_bytes, point->attrs->otlp, attrs_bytes);
        put_length(tail, body);
        *--tail->at = DATA_POINTS;
    }
    return true;
}

static bool put_fixed64(struct tail *tail, uint8_t tag, const void *value)
{
    return put_bytes(tail, value, sizeof(uint64_t)) && put_bytes(tail, &tag, 1);
}

static bool put_varint(struct tail *tail, uint8_t tag, uint64_t value)
{
    if (!tail_room(tail, VARINT_BYTES_MAX + 1))
        return false;
    put_length(tail, value);
    *--tail->at = tag;
    return true;
}

/* sint32 */
static uint64_t zigzag(int32_t value)
{
    return (uint32_t)value << 1 ^ (value < 0 ? UINT32_MAX : 0);
}

/* The set under another tag than that of NumberDataPoint. */
static bool put_attributes(struct tail *tail, const struct attrs *attrs)
{
    if (attrs == NULL)
        return true;
    if (!put_bytes(tail, attrs->otlp, attrs->bytes))
        return false;
    struct attr attr;
    size_t position = 0, start = 0;
    for (; attrs_next(attrs, &position, &attr); start = position)
        tail->at[start] = DISTRIBUTION_ATTRIBUTES;
    return true;
}

static bool put_buckets(struct tail *tail, const struct distribution *distribution)
{
    const uint8_t *end = tail->at;
    for (uint32_t i = distribution->bucket_count; i-- > 0;) {
        if (!tail_room(tail, VARINT_BYTES_MAX))
            return false;
        put_length(tail, distribution->buckets[i]);
    }
    return put_head(tail, BUCKETS_COUNTS, end) &&
           put_varint(tail, BUCKETS_OFFSET, zigzag(distribution->offset)) &&
           put_head(tail, DISTRIBUTION_POSITIVE, end);
}

/* As put_points(), for a run of distributions: rare, so by its fields. */
static bool put_distributions(struct tail *tail, const struct page *page, const struct run *run,
                              uint32_t first, uint32_t count)
{
    for (uint32_t i = first + count; i-- > first;) {
        const struct point *point = page_points_const(page) + i;
        const struct distribution *value = point->value.distribution;
        const uint8_t *end = tail->at;
        bool good =
            /* it is the largest since the start of everything */
            (run->metric->delta || put_fixed64(tail, DISTRIBUTION_MAX, &value->max)) &&
            (value->bucket_count == 0 || put_buckets(tail, value)) &&
            put_fixed64(tail, DISTRIBUTION_ZERO_COUNT, &value->zero_count) &&
            put_varint(tail, DISTRIBUTION_SCALE_FIELD, zigzag(value->scale)) &&
            put_fixed64(tail, DISTRIBUTION_SUM, &value->sum) &&
            put_fixed64(tail, DISTRIBUTION_COUNT, &value->count) &&
            put_fixed64(tail, POINT_TIME, &run->time_ns) &&
            (point->start_ns == 0 || put_fixed64(tail, POINT_START_TIME, &point->start_ns)) &&
            put_attributes(tail, point->attrs) && put_attributes(tail, run->fixed) &&
            put_head(tail, DATA_POINTS, end);
        if (!good)
            return false;
    }
    return true;
}

/* The run to encode next, or NULL when the slice has none left; its part inside the slice. */
static const struct run *next_run(const struct walk *walk, uint32_t *ret_first, uint32_t *ret_count)
{
    if (walk->next_run == 0)
        return NULL;
    const struct run *run = page_run_const(walk->page, walk->next_run - 1);
    uint32_t first = run->first > walk->first ? run->first : walk->first;
    uint32_t end = run->first + run->count < walk->end ? run->first + run->count : walk->end;
    if (first >= end)
        return NULL;
    *ret_first = first;
    *ret_count = end - first;
    return run;
}

/* Which message of Metric's data holds the points. */
static const uint8_t data_tags[] = {
    [METRIC_GAUGE] = METRIC_GAUGE_DATA,
    [METRIC_SUM] = METRIC_SUM_DATA,
    [METRIC_HISTOGRAM] = METRIC_EXPONENTIAL_HISTOGRAM_DATA,
};

/* One Metric: the next run and those before it of the same metric and resource. */
static bool put_metric(struct tail *tail, struct walk *walk, const struct metric *metric,
                       const struct resource *resource)
{
    const uint8_t *metric_end = tail->at;
    CHECK(metric_is_number(metric) == (metric->instrument != METRIC_HISTOGRAM));
    if (metric->instrument != METRIC_GAUGE) {
        const uint8_t options[] = {SUM_TEMPORALITY,
                                   metric->delta ? TEMPORALITY_DELTA : TEMPORALITY_CUMULATIVE,
                                   SUM_MONOTONIC, 1};
        if (!put_bytes(tail, options, metric->monotonic ? 4 : 2))
            return false;
    }
    const struct run *run;
    uint32_t first, count;
    while ((run = next_run(walk, &first, &count)) && run->metric == metric &&
           run->resource == resource) {
        bool number = metric->instrument != METRIC_HISTOGRAM;
        if (number ? !put_points(tail, walk->page, run, first, count)
                   : !put_distributions(tail, walk->page, run, first, count))
            return false;
        walk->next_run--;
    }
    return put_head(tail, data_tags[metric->instrument], metric_end) &&
           put_text(tail, METRIC_UNIT, metric->unit) &&
           put_text(tail, METRIC_DESCRIPTION, metric->description) &&
           put_text(tail, METRIC_NAME, metric->name) &&
           put_head(tail, SCOPE_METRICS_METRICS, metric_end);
}

static bool put_scope(struct tail *tail)
{
    const uint8_t *end = tail->at;
    return put_text(tail, SCOPE_VERSION, PGWEIR_VERSION) && put_text(tail, SCOPE_NAME, "pgweir") &&
           put_head(tail, SCOPE_METRICS_SCOPE, end);
}

/* One ResourceMetrics: the next run and those before it of the same resource. */
static bool put_resource(struct tail *tail, struct walk *walk, const struct resource *resource)
{
    const uint8_t *whole_end = tail->at;
    const struct run *run;
    uint32_t first, count;
    while ((run = next_run(walk, &first, &count)) && run->resource == resource) {
        if (!put_metric(tail, walk, run->metric, resource))
            return false;
    }
    if (!put_scope(tail) || !put_head(tail, RESOURCE_METRICS_SCOPE_METRICS, whole_end))
        return false;
    const uint8_t *resource_end = tail->at;
    const struct attrs *attrs = resource->variants[walk->variant];
    if (!attrs)
        attrs = resource->variants[0];
    return put_bytes(tail, attrs->otlp, attrs->bytes) &&
           put_head(tail, RESOURCE_METRICS_RESOURCE, resource_end) &&
           put_head(tail, REQUEST_RESOURCE_METRICS, whole_end);
}

uint8_t *otlp_encode(const struct page *page, struct page_slice slice, uint32_t variant,
                     uint8_t *floor, uint8_t *end)
{
    CHECK(variant < LIMIT_PIPELINES && floor <= end);
    CHECK(slice.first <= page->point_count && slice.count <= page->point_count - slice.first);
    struct tail tail = {.floor = floor, .at = end};
    struct walk walk = {.page = page,
                        .first = slice.first,
                        .end = slice.first + slice.count,
                        .next_run = page->run_count,
                        .variant = variant};
    if (slice.count == 0)
        return end;
    while (page_run_const(page, walk.next_run - 1)->first >= walk.end)
        walk.next_run--;
    const struct run *run;
    uint32_t first, count;
    while ((run = next_run(&walk, &first, &count))) {
        if (!put_resource(&tail, &walk, run->resource))
            return NULL;
    }
    return tail.at;
}
