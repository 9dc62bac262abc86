/* SPDX-License-Identifier: Apache-2.0 */
/* What pgweir-sink knows of OTLP: field numbers of opentelemetry-proto's metrics.proto. One level
 * of messages is one function; nothing recurses, and nested attribute values are checked to be
 * well-formed at their first level only. Fields may come in any order, so what a level's points
 * need (the resource, a metric's name, a sum's kind) is looked up before they are walked. */
#include "tools/sink/body.h"

#include "tools/sink/body_state.h"

/* Numbers of the data oneof in Metric. */
enum { GAUGE = 5, SUM = 7, HISTOGRAM = 9, EXPONENTIAL_HISTOGRAM = 10, SUMMARY = 11 };
enum { TEMPORALITY_CUMULATIVE = 2 };
enum { SEED_ATTRIBUTE = 1, SEED_START = 2 };

/* What the points of one metric have in common. */
struct metric {
    uint32_t kind;
    bool own;     /* pgweir.*: not the ledger's, and without an age */
    bool sampled; /* the ledger wants it */
    bool stepped; /* a monotonic cumulative sum */
    uint64_t hash;
    struct span resource, name;
    uint32_t place;
};

struct resource {
    uint64_t hash;
    struct span bytes;
};

static bool fail(struct body_reader *reader, const char *problem)
{
    return wire_fail(&reader->problem, problem);
}

static bool next_field(struct body_reader *reader, struct span *span, struct wire_field *ret_field)
{
    return wire_next(span, ret_field, &reader->problem);
}

static bool is_message(const struct wire_field *field, uint32_t number)
{
    return wire_is(field, number, WIRE_BYTES);
}

/* The shape nearly all have: key, then AnyValue of a text, each shorter than 128 bytes. False:
 * another, or something is wrong. */
static bool plain_attribute(struct span span)
{
    size_t bytes = span_bytes(span);
    const uint8_t *at = span.at;
    if (bytes < 7 || at[0] != 0x0a || at[1] == 0 || at[1] > 127 || bytes < 6u + at[1])
        return false;
    struct span key = {at + 2, at + 2 + at[1]};
    at = key.end;
    if (at[0] != 0x12 || at[2] != 0x0a || at[3] > 125 || at[1] != at[3] + 2 ||
        span.end - at != at[3] + 4)
        return false;
    return span_utf8(key) && span_utf8((struct span){at + 4, span.end});
}

static void walk_attribute(struct body_reader *reader, struct span span)
{
    if (plain_attribute(span))
        return;
    struct wire_field field;
    bool key = false;
    while (next_field(reader, &span, &field)) {
        if (is_message(&field, 1)) { /* key */
            key = field.bytes.at < field.bytes.end;
            if (!span_utf8(field.bytes))
                fail(reader, "attribute key is not UTF-8");
        } else if (is_message(&field, 2)) { /* AnyValue */
            struct span value = field.bytes;
            struct wire_field inner;
            while (next_field(reader, &value, &inner))
                if (is_message(&inner, 1) && !span_utf8(inner.bytes))
                    fail(reader, "attribute value is not UTF-8");
        }
    }
    if (!key)
        fail(reader, "attribute without a key");
}

static uint32_t start_hash(uint64_t start_ns)
{
    if (start_ns == 0)
        return 0;
    const uint8_t *bytes = (const uint8_t *)&start_ns;
    uint32_t hash = (uint32_t)body_hash((struct span){bytes, bytes + 8}, SEED_START);
    return hash != 0 ? hash : 1;
}

static uint32_t step_of(const struct metric *metric, const struct wire_field *value)
{
    double real;
    if (!metric->stepped)
        return 0;
    if (value->number == 6)
        return body_step_of_int((int64_t)value->value);
    memcpy(&real, &value->value, sizeof real);
    return body_step_of_double(real);
}

static void note(struct body_reader *reader, const struct metric *metric, uint64_t attributes,
                 const struct ledger_point *point)
{
    body_note_time(reader, point->time_ns);
    if (!metric->sampled)
        return;
    struct ledger_point whole = *point;
    whole.series = body_series(metric->hash, attributes);
    whole.place = metric->place;
    whole.ordinal = (uint32_t)(reader->counts->points - 1);
    body_note_point(reader, &whole);
}

/* NumberDataPoint (gauge, sum), HistogramDataPoint, ExponentialHistogramDataPoint,
 * SummaryDataPoint: start and time are fields 2 and 3 in all of them. */
static void walk_point(struct body_reader *reader, struct span span, const struct metric *metric)
{
    uint32_t attributes = metric->kind == HISTOGRAM               ? 9
                          : metric->kind == EXPONENTIAL_HISTOGRAM ? 1
                                                                  : 7;
    struct wire_field field, value = {0};
    struct ledger_point point = {0};
    uint64_t start_ns = 0, hash = 0;
    bool number = metric->kind <= SUM, valued = !number;
    while (next_field(reader, &span, &field)) {
        if (is_message(&field, attributes)) {
            walk_attribute(reader, field.bytes);
            if (metric->sampled)
                hash += body_hash(field.bytes, SEED_ATTRIBUTE);
        } else if (field.type == WIRE_FIXED64 && field.number == 3) {
            point.time_ns = field.value;
        } else if (field.type == WIRE_FIXED64 && field.number == 2) {
            start_ns = field.value;
        } else if (number && (field.number == 4 || field.number == 6)) {
            valued = field.type == WIRE_FIXED64;
            value = field;
        } else if (number && wire_is(&field, 8, WIRE_VARINT) && (field.value & 1) != 0) {
            valued = true; /* FLAG_NO_RECORDED_VALUE */
        }
    }
    if (point.time_ns == 0)
        fail(reader, "point without a time");
    if (!valued)
        fail(reader, "point without a value");
    if (metric->own)
        return;
    if (metric->sampled) {
        point.step = step_of(metric, &value);
        point.start = metric->stepped ? start_hash(start_ns) : 0;
    }
    note(reader, metric, hash, &point);
}

/* Whether a Sum's points carry steps. */
static bool sum_stepped(struct body_reader *reader, struct span span)
{
    struct wire_field field;
    bool cumulative = false, monotonic = false;
    while (next_field(reader, &span, &field)) {
        if (wire_is(&field, 2, WIRE_VARINT))
            cumulative = field.value == TEMPORALITY_CUMULATIVE;
        else if (wire_is(&field, 3, WIRE_VARINT))
            monotonic = field.value != 0;
    }
    return cumulative && monotonic;
}

static void walk_data(struct body_reader *reader, struct span span, struct metric *metric)
{
    struct wire_field field;
    uint64_t before = reader->counts->points;
    if (metric->sampled) {
        metric->stepped = metric->kind == SUM && sum_stepped(reader, span);
        metric->hash += metric->stepped;
        metric->place = body_note_place(reader, metric->resource, metric->name);
    }
    while (next_field(reader, &span, &field)) {
        if (!is_message(&field, 1))
            continue;
        reader->counts->points++;
        if (reader->depth > BODY_COUNT)
            walk_point(reader, field.bytes, metric);
    }
    if (reader->counts->points == before)
        fail(reader, "metric without points");
    if (metric->own)
        reader->counts->own_points += reader->counts->points - before;
}

static void begin_metric(struct body_reader *reader, const struct resource *resource,
                         struct metric *metric)
{
    if (metric->name.at == metric->name.end)
        fail(reader, "metric without a name");
    else if (!span_utf8(metric->name))
        fail(reader, "metric name is not UTF-8");
    else
        body_note_name(reader, metric->name);
    metric->own = span_starts(metric->name, "pgweir.", 7);
    metric->sampled =
        reader->depth == BODY_LEDGER && !metric->own && resource->hash % reader->sample == 0;
    metric->resource = resource->bytes;
    if (metric->sampled)
        metric->hash = body_hash(metric->name, resource->hash);
}

static void walk_metric(struct body_reader *reader, struct span span,
                        const struct resource *resource)
{
    struct wire_field field;
    struct metric metric = {0};
    struct span data = {0};
    reader->counts->metrics++;
    while (next_field(reader, &span, &field)) {
        if (is_message(&field, 1)) {
            metric.name = field.bytes;
        } else if (field.type == WIRE_BYTES &&
                   (field.number == GAUGE || field.number == SUM ||
                    (field.number >= HISTOGRAM && field.number <= SUMMARY))) {
            data = field.bytes;
            metric.kind = field.number;
        }
    }
    begin_metric(reader, resource, &metric);
    if (metric.kind != 0)
        walk_data(reader, data, &metric);
    else
        fail(reader, "metric without data");
}

static void walk_scope(struct body_reader *reader, struct span span,
                       const struct resource *resource)
{
    struct wire_field field;
    while (next_field(reader, &span, &field))
        if (is_message(&field, 2))
            walk_metric(reader, field.bytes, resource);
}

static void walk_resource_attributes(struct body_reader *reader, struct resource *resource)
{
    struct span span = resource->bytes;
    struct wire_field field;
    while (next_field(reader, &span, &field)) {
        if (!is_message(&field, 1))
            continue;
        walk_attribute(reader, field.bytes);
        if (reader->depth == BODY_LEDGER)
            resource->hash += body_hash(field.bytes, SEED_ATTRIBUTE);
    }
}

static void walk_resource(struct body_reader *reader, struct span span)
{
    struct wire_field field;
    struct resource resource = {0};
    reader->counts->resources++;
    for (struct span first = span; next_field(reader, &first, &field);)
        if (is_message(&field, 1))
            resource.bytes = field.bytes;
    walk_resource_attributes(reader, &resource);
    while (next_field(reader, &span, &field))
        if (is_message(&field, 2))
            walk_scope(reader, field.bytes, &resource);
}

const char *body_walk(struct body_reader *reader, const uint8_t *body, size_t bytes,
                      struct body_counts *ret_counts)
{
    struct span span = {body, body + bytes};
    struct wire_field field;
    body_begin(reader, ret_counts);
    while (next_field(reader, &span, &field)) {
        if (is_message(&field, 1))
            walk_resource(reader, field.bytes);
        else
            fail(reader, "unknown field in ExportMetricsServiceRequest");
    }
    return reader->problem;
}
