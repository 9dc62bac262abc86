/* SPDX-License-Identifier: Apache-2.0 */
/* Prometheus remote write 1.0 (prometheus.io/docs/specs/prw/remote_write_spec, prompb/remote.proto
 * and types.proto): a WriteRequest holds TimeSeries, each with labels sorted by name and samples in
 * order of time. There are no kinds and no start times, so a name that ends in _total is taken for
 * a monotonic sum, and a reset shows as steps that come again. All values are doubles: whole ones
 * from 1000 on are what an integer became, but for those of times, which are real. */
#include "tools/sink/body.h"

#include "tools/sink/body_state.h"

enum { SEED_LABEL = 3 };
enum { NS_PER_MS_INT = 1000000 };

#define STALE_MARKER 0x7ff0000000000002ull

struct series {
    struct span name, whole;
    uint64_t labels, instance; /* hashes */
    bool sampled, stepped, real;
    uint32_t place;
};

static bool fail(struct body_reader *reader, const char *problem)
{
    return wire_fail(&reader->problem, problem);
}

static bool is_message(const struct wire_field *field, uint32_t number)
{
    return wire_is(field, number, WIRE_BYTES);
}

static int compare(struct span a, struct span b)
{
    size_t bytes = span_bytes(a) < span_bytes(b) ? span_bytes(a) : span_bytes(b);
    int order = bytes > 0 ? memcmp(a.at, b.at, bytes) : 0;
    if (order != 0)
        return order;
    return span_bytes(a) < span_bytes(b) ? -1 : span_bytes(a) > span_bytes(b);
}

/* One label; *last is the name of the one before. */
static void walk_label(struct body_reader *reader, struct span span, struct span *last,
                       struct series *series)
{
    static const char name_label[] = "__name__", instance[] = "instance";
    struct span name = {0}, value = {0}, whole = span;
    struct wire_field field;
    while (wire_next(&span, &field, &reader->problem)) {
        if (is_message(&field, 1))
            name = field.bytes;
        else if (is_message(&field, 2))
            value = field.bytes;
    }
    if (name.at == name.end)
        fail(reader, "label without a name");
    else if (value.at == value.end)
        fail(reader, "label without a value");
    else if (!span_utf8(name) || !span_utf8(value))
        fail(reader, "label is not UTF-8");
    int order = last->at != NULL ? compare(*last, name) : -1;
    if (order == 0)
        fail(reader, "label stands twice");
    else if (order > 0)
        fail(reader, "labels are not sorted");
    *last = name;
    series->labels += body_hash(whole, SEED_LABEL);
    if (span_bytes(name) == sizeof name_label - 1 &&
        span_starts(name, name_label, sizeof name_label - 1))
        series->name = value;
    else if (span_bytes(name) == sizeof instance - 1 &&
             span_starts(name, instance, sizeof instance - 1))
        series->instance = body_hash(value, SEED_LABEL);
}

static uint32_t step_of(const struct series *series, double value)
{
    enum { WHOLE_FROM = 1000 };
    if (!series->stepped)
        return 0;
    bool whole = value >= WHOLE_FROM && value < 9e15 && value == (double)(int64_t)value;
    return whole && !series->real ? body_step_of_int((int64_t)value) : body_step_of_double(value);
}

static void walk_sample(struct body_reader *reader, struct span span, const struct series *series,
                        int64_t *last_ms)
{
    struct wire_field field;
    uint64_t bits = 0;
    int64_t time_ms = 0;
    double value;
    while (wire_next(&span, &field, &reader->problem)) {
        if (wire_is(&field, 1, WIRE_FIXED64)) /* 0 is left out by proto3 */
            bits = field.value;
        else if (wire_is(&field, 2, WIRE_VARINT))
            time_ms = (int64_t)field.value;
    }
    if (time_ms <= 0 || time_ms > INT64_MAX / NS_PER_MS_INT)
        fail(reader, "sample without a time");
    else if (time_ms <= *last_ms)
        fail(reader, "samples are not in order of time");
    *last_ms = time_ms;
    if (bits == STALE_MARKER) {
        reader->counts->stale++;
        return;
    }
    if (reader->problem != NULL)
        return;
    body_note_time(reader, (uint64_t)time_ms * NS_PER_MS_INT);
    if (!series->sampled)
        return;
    memcpy(&value, &bits, sizeof value);
    body_note_point(reader,
                    &(struct ledger_point){.series = body_series(series->labels, series->stepped),
                                           .time_ns = (uint64_t)time_ms * NS_PER_MS_INT,
                                           .step = step_of(series, value),
                                           .place = series->place,
                                           .ordinal = (uint32_t)(reader->counts->points - 1)});
}

static bool ends_in(struct span name, const char *suffix, size_t bytes)
{
    return span_bytes(name) > bytes && memcmp(name.end - bytes, suffix, bytes) == 0;
}

static void walk_labels(struct body_reader *reader, struct span span, struct series *series)
{
    struct wire_field field;
    struct span last = {0};
    while (wire_next(&span, &field, &reader->problem))
        if (is_message(&field, 1))
            walk_label(reader, field.bytes, &last, series);
    if (series->name.at == NULL)
        fail(reader, "series without __name__");
    else
        body_note_name(reader, series->name);
    uint64_t whose = series->instance != 0 ? series->instance : series->labels;
    series->stepped = ends_in(series->name, "_total", 6);
    series->real = ends_in(series->name, "seconds_total", 13);
    series->sampled = reader->depth == BODY_LEDGER && !span_starts(series->name, "pgweir_", 7) &&
                      whose % reader->sample == 0;
    if (series->sampled)
        series->place = body_note_place(reader, series->whole, series->name);
}

static void walk_series(struct body_reader *reader, struct span span)
{
    struct wire_field field;
    struct series series = {.whole = span};
    uint64_t before = reader->counts->points;
    int64_t last_ms = 0;
    bool own = false;
    reader->counts->metrics++;
    if (reader->depth > BODY_COUNT) {
        walk_labels(reader, span, &series);
        own = span_starts(series.name, "pgweir_", 7);
    }
    while (wire_next(&span, &field, &reader->problem)) {
        bool histogram = is_message(&field, 4);
        if (!histogram && !is_message(&field, 2))
            continue;
        reader->counts->points++;
        if (!histogram && reader->depth > BODY_COUNT && !own)
            walk_sample(reader, field.bytes, &series, &last_ms);
    }
    if (reader->counts->points == before)
        fail(reader, "series without samples");
    if (own)
        reader->counts->own_points += reader->counts->points - before;
}

const char *body_walk_remote(struct body_reader *reader, const uint8_t *body, size_t bytes,
                             struct body_counts *ret_counts)
{
    struct span span = {body, body + bytes};
    struct wire_field field;
    body_begin(reader, ret_counts);
    while (wire_next(&span, &field, &reader->problem)) {
        if (is_message(&field, 1))
            walk_series(reader, field.bytes);
        else if (!is_message(&field, 3)) /* metadata */
            fail(reader, "unknown field in WriteRequest");
    }
    return reader->problem;
}
