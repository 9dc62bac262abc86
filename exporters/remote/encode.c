/* SPDX-License-Identifier: Apache-2.0 */
/* Step 8 of 9 for remote write. A series is sent with all its labels every time, sorted by name, so
 * most of a point is text that was there a collection ago. It is made of parts (piece.h): the
 * metric's name, kept for ever; the resource, attributes of the run and of the point, translated
 * once a page; how they interleave, found by the parts' names. A point is then a few copies:
 *
 *   TimeSeries | labels of 2 to 5 pieces | Sample: value, time |
 *
 * Order: points of a page follow each other as they were read, and pages as they came, so samples
 * of a series are in order of time. target_info and metadata go in front of their points. A
 * distribution becomes a classic histogram: _count, _sum and a series for each bucket.
 *
 * Invariant: nothing is written outside [at, end); every step asks put_room() first. */
#include "exporters/remote/encode.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/distribution.h"
#include "base/memory.h"
#include "exporters/remote/cache.h"
#include "exporters/remote/names.h"
#include "exporters/remote/put.h"
#include "exporters/remote/told.h"
#include "exporters/walk.h"

enum { METADATA_KIND = 0x08, METADATA_NAME = 0x12, METADATA_HELP = 0x22, METADATA_UNIT = 0x2a };
enum { KIND_COUNTER = 1, KIND_GAUGE = 2, KIND_HISTOGRAM = 3 };
enum {
    WEAVES = 256, /* ways in which parts interleave: as many as there are statements */
    POINTS_AHEAD = 8,
};

struct remote_encoder {
    struct remote_settings settings;
    struct remote_names names;
    struct told told;
    struct piece_cache attrs, fixed, resources, other;
    struct piece *none, *config;
    struct weave weaves[WEAVES];
    struct labels labels; /* scratch */
    char info_name[PROM_NAME_BYTES];
};

/* Writing, of the run at hand. */
struct series {
    struct remote_encoder *encoder;
    uint8_t *at;
    const uint8_t *end;
    const struct run *run;
    const struct remote_name *name;
    int64_t time_ms;
    const struct piece *pieces[PARTS];
    struct {
        const uint8_t *from; /* NULL: of the point's piece, labels [first, end) */
        uint32_t bytes, first, end;
    } steps[WEAVE_STEPS_MAX];
    uint32_t step_count;
    size_t shared_bytes; /* of all steps that are no point's */
    struct sample sample;
};

/* ---- life ---- */

static struct piece *config_piece(struct labels *labels, const struct remote_settings *settings)
{
    labels_begin(labels);
    labels_put_map(labels, &settings->external_labels);
    if (settings->scope_labels) {
        labels_put(labels, "otel_scope_name", "pgweir", 6, LABELS_REPLACE);
        labels_put(labels, "otel_scope_version", PGWEIR_VERSION, strlen(PGWEIR_VERSION),
                   LABELS_REPLACE);
    }
    labels_sort(labels);
    return piece_create(labels);
}

struct remote_encoder *remote_encoder_create(const struct remote_settings *settings)
{
    static const struct metric info = {.name = "target_info", .unit = ""};
    struct remote_encoder *encoder = xcalloc(1, sizeof *encoder);
    encoder->settings = *settings;
    remote_names_init(&encoder->names, &encoder->settings.naming);
    told_init(&encoder->told);
    piece_cache_init(&encoder->attrs);
    piece_cache_init(&encoder->fixed);
    piece_cache_init(&encoder->resources);
    piece_cache_init(&encoder->other);
    labels_begin(&encoder->labels);
    encoder->none = piece_create(&encoder->labels);
    encoder->config = config_piece(&encoder->labels, settings);
    prom_metric_name(encoder->info_name, &info, &settings->naming);
    return encoder;
}

void remote_encoder_destroy(struct remote_encoder **ret_encoder)
{
    struct remote_encoder *encoder = *ret_encoder;
    *ret_encoder = NULL;
    if (encoder == NULL)
        return;
    remote_names_fini(&encoder->names);
    told_fini(&encoder->told);
    free(encoder->none);
    free(encoder->config);
    piece_cache_fini(&encoder->attrs);
    piece_cache_fini(&encoder->fixed);
    piece_cache_fini(&encoder->resources);
    piece_cache_fini(&encoder->other);
    free(encoder);
}

/* ---- once a minute ---- */

static bool put_metadata(struct series *series)
{
    char name[PROM_NAME_BYTES];
    const struct metric *metric = series->run->metric;
    size_t name_bytes = prom_metric_name(name, metric, &series->encoder->settings.naming);
    size_t help = strlen(metric->description), unit = strlen(metric->unit);
    size_t body = 2 + 1 + length_bytes(name_bytes) + name_bytes + 1 + length_bytes(help) + help +
                  1 + length_bytes(unit) + unit;
    if (!put_room(series->at, series->end, 1 + PUT_LENGTH_BYTES + body))
        return false;
    uint8_t *at = series->at;
    *at++ = PUT_METADATA;
    at = put_length(at, body);
    *at++ = METADATA_KIND;
    *at++ = !metric_is_number(metric) ? KIND_HISTOGRAM
            : prom_is_counter(metric) ? KIND_COUNTER
                                      : KIND_GAUGE;
    at = put_field(at, METADATA_NAME, name, name_bytes);
    at = put_field(at, METADATA_HELP, metric->description, help);
    series->at = put_field(at, METADATA_UNIT, metric->unit, unit);
    return true;
}

/* Of what target_info says, and of whom. */
static uint64_t target_hash(const struct attrs *resource)
{
    struct attr attr;
    size_t position = 0;
    uint64_t hash = 1;
    for (size_t before = 0; attrs_next(resource, &position, &attr); before = position)
        if (labels_use(&attr, LABELS_INFO))
            hash = XXH3_64bits_withSeed(resource->otlp + before, position - before, hash);
    return hash;
}

static bool put_info(struct series *series, const struct attrs *resource)
{
    struct remote_encoder *encoder = series->encoder;
    struct labels *labels = &encoder->labels;
    labels_begin(labels);
    if (!labels_put_resource(labels, resource, LABELS_INFO))
        return true;
    labels_put_map(labels, &encoder->settings.external_labels);
    labels_put(labels, "__name__", encoder->info_name, strlen(encoder->info_name), LABELS_REPLACE);
    labels_sort(labels);
    const struct piece *piece = piece_cache_add(&encoder->other, resource, labels);
    struct sample sample = sample_make(series->time_ms, false);
    size_t body = piece->bytes + sample.count;
    if (!put_room(series->at, series->end, 1 + PUT_LENGTH_BYTES + body + SAMPLE_BYTES))
        return false;
    uint8_t *at = series->at;
    *at++ = PUT_SERIES;
    at = put_length(at, body);
    memcpy(at, piece_labels(piece), piece->bytes);
    series->at = put_sample(at + piece->bytes, &sample, 1);
    return true;
}

/* ---- parts ---- */

static void list_attrs(struct labels *labels, const struct attrs *attrs)
{
    struct attr attr;
    size_t position = 0;
    labels_begin(labels);
    while (attrs_next(attrs, &position, &attr))
        labels_put_attr(labels, &attr);
}

static const struct piece *attrs_piece(struct remote_encoder *encoder, struct piece_cache *cache,
                                       const struct attrs *attrs)
{
    const struct piece *known = piece_cache_find(cache, attrs);
    if (known != NULL)
        return known;
    list_attrs(&encoder->labels, attrs);
    labels_sort(&encoder->labels);
    return piece_cache_add(cache, attrs, &encoder->labels);
}

static const struct piece *resource_piece(struct remote_encoder *encoder,
                                          const struct attrs *resource)
{
    const struct remote_settings *settings = &encoder->settings;
    labels_begin(&encoder->labels);
    labels_put_resource(&encoder->labels, resource,
                        !settings->resource_labels  ? LABELS_IDENTITY
                        : settings->exclude_service ? LABELS_OTHERS
                                                    : LABELS_ALL);
    labels_sort(&encoder->labels);
    return piece_cache_add(&encoder->resources, resource, &encoder->labels);
}

/* How the parts interleave, by their names. */
static const struct weave *find_weave(struct remote_encoder *encoder,
                                      const struct piece *const pieces[PARTS])
{
    uint64_t mixed = 0;
    for (int p = 0; p < PARTS; p++)
        mixed = (mixed ^ pieces[p]->shape) * 0x9e3779b97f4a7c15ull;
    struct weave *weave = &encoder->weaves[mixed >> 56];
    bool known = weave->step_count > 0;
    for (int p = 0; p < PARTS; p++)
        known = known && weave->shapes[p] == pieces[p]->shape;
    if (!known)
        weave_make(weave, pieces);
    return weave;
}
_Static_assert(WEAVES == 1 << (64 - 56), "the top bits choose a weave");

/* The steps for these parts, with all that is no point's own resolved. */
static void lay_steps(struct series *series)
{
    const struct weave *weave = find_weave(series->encoder, series->pieces);
    series->shared_bytes = 0;
    series->step_count = weave->step_count;
    for (uint32_t i = 0; i < weave->step_count; i++) {
        const struct weave_step *step = &weave->steps[i];
        const struct piece *piece = series->pieces[step->part];
        uint32_t first = piece_start(piece, step->first);
        uint32_t bytes = piece->ends[step->end - 1] - first;
        bool own = step->part == PART_ATTRS;
        series->steps[i].from = own ? NULL : piece_labels(piece) + first;
        series->steps[i].bytes = bytes;
        series->steps[i].first = step->first;
        series->steps[i].end = step->end;
        series->shared_bytes += own ? 0 : bytes;
    }
}

/* ---- points ---- */

static inline bool put_series(struct series *series, double value)
{
    const struct piece *piece = series->pieces[PART_ATTRS];
    size_t body = series->shared_bytes + series->sample.count;
    for (uint32_t i = 0; i < series->step_count; i++)
        if (series->steps[i].from == NULL)
            body +=
                piece->ends[series->steps[i].end - 1] - piece_start(piece, series->steps[i].first);
    if (!put_room(series->at, series->end,
                  1 + PUT_LENGTH_BYTES + body + PIECE_SLACK + SAMPLE_BYTES))
        return false;
    uint8_t *at = series->at;
    *at++ = PUT_SERIES;
    at = put_length(at, body);
    for (uint32_t i = 0; i < series->step_count; i++) {
        const uint8_t *from = series->steps[i].from;
        size_t bytes = series->steps[i].bytes;
        if (from == NULL) {
            uint32_t first = piece_start(piece, series->steps[i].first);
            from = piece_labels(piece) + first;
            bytes = piece->ends[series->steps[i].end - 1] - first;
        }
        copy_over(at, from, bytes);
        at += bytes;
    }
    series->at = put_sample(at, &series->sample, value);
    return true;
}

static bool put_numbers(struct series *series, const struct point *points, uint32_t count)
{
    struct remote_encoder *encoder = series->encoder;
    bool whole = series->run->metric->value == METRIC_INT;
    uint64_t shape = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct point *point = &points[i];
        if (i + POINTS_AHEAD < count)
            __builtin_prefetch(points[i + POINTS_AHEAD].attrs);
        const struct piece *piece = attrs_piece(encoder, &encoder->attrs, point->attrs);
        bool same = i > 0 && piece->shape == shape;
        series->pieces[PART_ATTRS] = piece;
        if (!same)
            lay_steps(series);
        shape = piece->shape;
        if (!put_series(series, whole ? (double)point->value.integer : point->value.real))
            return false;
    }
    return true;
}

/* One series of a distribution. `le`: NULL, or the bucket's bound. */
static bool put_part(struct series *series, const struct attrs *attrs, const char *le, double value)
{
    struct labels *labels = &series->encoder->labels;
    list_attrs(labels, attrs);
    if (le != NULL)
        labels_put(labels, "le", le, strlen(le), LABELS_REPLACE);
    labels_sort(labels);
    series->pieces[PART_ATTRS] = piece_cache_add(&series->encoder->other, attrs, labels);
    lay_steps(series);
    return put_series(series, value);
}

static bool put_distribution(struct series *series, const struct point *point)
{
    const struct distribution *value = point->value.distribution;
    const struct attrs *attrs = point->attrs;
    series->pieces[PART_NAME] = series->name->pieces[NAME_COUNT];
    series->sample = sample_make(series->time_ms, true);
    if (!put_part(series, attrs, NULL, (double)value->count))
        return false;
    series->sample = sample_make(series->time_ms, false);
    series->pieces[PART_NAME] = series->name->pieces[NAME_SUM];
    if (!put_part(series, attrs, NULL, value->sum))
        return false;
    series->pieces[PART_NAME] = series->name->pieces[NAME_BUCKET];
    for (int i = 0; i < DISTRIBUTION_BOUNDS; i++)
        if (!put_part(series, attrs, distribution_bound_names[i],
                      (double)distribution_count_to(value, distribution_bounds[i])))
            return false;
    return put_part(series, attrs, "+Inf", (double)value->count);
}

static bool put_points(struct series *series, const struct point *points, uint32_t count)
{
    if (metric_is_number(series->run->metric))
        return put_numbers(series, points, count);
    for (uint32_t i = 0; i < count; i++)
        if (!put_distribution(series, &points[i]))
            return false;
    return true;
}

/* All parts but the points' own, and what goes in front of them. */
static bool begin_run(struct series *series, const struct run *run, const struct attrs *resource)
{
    struct remote_encoder *encoder = series->encoder;
    struct remote_name *name = remote_names_find(&encoder->names, run->metric, &encoder->labels);
    series->run = run;
    series->name = name;
    series->time_ms = (int64_t)(run->time_ns / NS_PER_MS);
    series->sample = sample_make(series->time_ms, true);
    series->pieces[PART_CONFIG] = encoder->config;
    series->pieces[PART_NAME] = name->pieces[NAME_PLAIN];
    series->pieces[PART_FIXED] =
        run->fixed != NULL ? attrs_piece(encoder, &encoder->fixed, run->fixed) : encoder->none;
    if (encoder->settings.metadata && told_due(&encoder->told, &name->told_ms, series->time_ms) &&
        !put_metadata(series))
        return false;
    series->pieces[PART_RESOURCE] = piece_cache_find(&encoder->resources, resource);
    if (series->pieces[PART_RESOURCE] != NULL)
        return true;
    series->pieces[PART_RESOURCE] = resource_piece(encoder, resource);
    if (!encoder->settings.target_info)
        return true;
    int64_t *told_ms = told_target(&encoder->told, target_hash(resource));
    return !told_due(&encoder->told, told_ms, series->time_ms) || put_info(series, resource);
}

uint8_t *remote_encode(struct remote_encoder *encoder, const struct page *page,
                       struct page_slice slice, uint32_t variant, struct space space)
{
    CHECK(variant < LIMIT_PIPELINES && space.at <= space.end);
    CHECK(slice.first <= page->point_count && slice.count <= page->point_count - slice.first);
    piece_cache_forget(&encoder->attrs);
    piece_cache_forget(&encoder->fixed);
    piece_cache_forget(&encoder->resources);
    told_begin(&encoder->told);
    struct series series;
    series.encoder = encoder;
    series.at = space.at;
    series.end = space.end;
    uint32_t last = slice.first + slice.count;
    for (uint32_t r = 0; r < page->run_count; r++) {
        const struct run *run = page_run_const(page, r);
        uint32_t first = run->first > slice.first ? run->first : slice.first;
        uint32_t behind = run->first + run->count < last ? run->first + run->count : last;
        if (first < behind &&
            (!begin_run(&series, run, walk_resource(run->resource, variant)) ||
             !put_points(&series, page_points_const(page) + first, behind - first)))
            return NULL;
    }
    told_end(&encoder->told);
    return series.at;
}
