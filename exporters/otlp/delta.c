/* SPDX-License-Identifier: Apache-2.0 */
/* Step 8 of 9, before it, for destinations that want deltas. A page is shared by all destinations,
 * so this one gets a copy with other values; encoding it again because a batch was full changes
 * nothing here, as each page passes once.
 *
 * A series is what its points say it is: the resource's attributes in this destination's variant,
 * the metric's name and kind, the run's fixed attributes and the point's own. Of these 128 bits of
 * hash are the key (last.h); pointers would be quicker and wrong, as attribute sets come and go.
 * The hash has a secret of its own, because what a series is called is the user's data.
 *
 * Worker's thread. Nothing is allocated but for series and metrics never seen before. */
#include "exporters/otlp/delta.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/distribution.h"
#include "base/memory.h"
#include "base/random.h"
#include "exporters/otlp/last.h"

enum { SECRET_BYTES = 192, TWINS_MIN = 64, AHEAD = 8 };

/* The delta form of a metric. */
struct twin {
    const struct metric *cumulative; /* NULL: free */
    struct metric *delta;
};

struct delta {
    struct last_table *numbers, *distributions;
    struct distribution **made; /* for the last page */
    size_t made_count, made_space;
    uint64_t since_ns;
    uint64_t new_since_ns; /* what counts since then is surely new here */
    uint64_t resets;
    uint32_t now_s;     /* of the page at hand: when its collection was due */
    struct twin *twins; /* open addressing by address, at most half full */
    uint32_t twin_count, twin_mask;
    uint8_t secret[SECRET_BYTES];
    _Alignas(64) struct page page;
};
_Static_assert(SECRET_BYTES >= XXH3_SECRET_SIZE_MIN, "a secret that xxh3 takes");

static void drop_distribution(struct last *last)
{
    distribution_destroy(&last->value.distribution);
}

/* Nobody has the last page in hand any more. */
static void free_made(struct delta *delta)
{
    while (delta->made_count > 0)
        distribution_destroy(&delta->made[--delta->made_count]);
}

struct delta *delta_create(uint64_t since_ns)
{
    struct delta *delta = xaligned(64, sizeof *delta);
    delta->numbers = last_table_create(LIMIT_DELTA_SERIES, NULL);
    delta->distributions = last_table_create(LIMIT_DELTA_SERIES, drop_distribution);
    delta->since_ns = since_ns;
    struct random random;
    random_init(&random);
    for (size_t i = 0; i < SECRET_BYTES; i += sizeof(uint64_t)) {
        uint64_t word = random_next(&random);
        memcpy(delta->secret + i, &word, sizeof word);
    }
    delta->twins = xcalloc(TWINS_MIN, sizeof delta->twins[0]);
    delta->twin_mask = TWINS_MIN - 1;
    return delta;
}

void delta_destroy(struct delta **ret_delta)
{
    struct delta *delta = *ret_delta;
    if (delta == NULL)
        return;
    for (uint32_t i = 0; i <= delta->twin_mask; i++)
        free(delta->twins[i].delta);
    free(delta->twins);
    free_made(delta);
    free(delta->made);
    last_table_destroy(&delta->numbers);
    last_table_destroy(&delta->distributions);
    free(delta);
    *ret_delta = NULL;
}

/* ---- metrics ---- */

static struct twin *find_twin(const struct delta *delta, const struct metric *metric)
{
    uint32_t at = (uint32_t)(((uintptr_t)metric >> 4) * 0x9e3779b1u) & delta->twin_mask;
    while (delta->twins[at].cumulative != NULL && delta->twins[at].cumulative != metric)
        at = (at + 1) & delta->twin_mask;
    return &delta->twins[at];
}

static void grow_twins(struct delta *delta)
{
    struct twin *old = delta->twins;
    uint32_t count = delta->twin_mask + 1;
    delta->twins = xcalloc(2 * (size_t)count, sizeof *old);
    delta->twin_mask = 2 * count - 1;
    for (uint32_t i = 0; i < count; i++)
        if (old[i].cumulative != NULL)
            *find_twin(delta, old[i].cumulative) = old[i];
    free(old);
}

/* Two runs of one metric get one twin, so that they still make one Metric. What the metric says is
 * copied each time: another one may live at its address by now. */
static const struct metric *twin_of(struct delta *delta, const struct metric *metric)
{
    struct twin *twin = find_twin(delta, metric);
    if (twin->cumulative == NULL) {
        if (2 * (delta->twin_count + 1) > delta->twin_mask + 1) {
            grow_twins(delta);
            twin = find_twin(delta, metric);
        }
        twin->cumulative = metric;
        twin->delta = xmalloc(sizeof *twin->delta);
        delta->twin_count++;
    }
    *twin->delta = *metric;
    twin->delta->delta = true;
    return twin->delta;
}

/* ---- series ---- */

static XXH128_hash_t hash(const struct delta *delta, const void *bytes, size_t count)
{
    return XXH3_128bits_withSecret(bytes, count, delta->secret, SECRET_BYTES);
}

static XXH128_hash_t hash_attrs(const struct delta *delta, const struct attrs *attrs)
{
    return hash(delta, attrs->otlp, attrs->bytes);
}

/* What all points of a run have in common. */
static XXH128_hash_t hash_run(const struct delta *delta, const struct run *run,
                              XXH128_hash_t resource)
{
    struct {
        XXH128_hash_t resource, name, fixed;
        uint64_t value;
    } parts = {.resource = resource,
               .name = hash(delta, run->metric->name, strlen(run->metric->name)),
               .value = run->metric->value};
    if (run->fixed != NULL && run->fixed->bytes > 0)
        parts.fixed = hash_attrs(delta, run->fixed);
    return hash(delta, &parts, sizeof parts);
}

static bool subtract_distribution(struct delta *delta, const struct last *last, struct point *point)
{
    struct distribution *more =
        distribution_subtract(point->value.distribution, last->value.distribution);
    if (more == NULL)
        return false;
    if (delta->made_count == delta->made_space) {
        delta->made_space = 2 * delta->made_space + 16;
        delta->made = xrealloc(delta->made, delta->made_space * sizeof delta->made[0]);
    }
    delta->made[delta->made_count++] = more;
    point->value.distribution = more;
    return true;
}

/* What was added since `last`, into the point; false, and the point is as it was, where counting
 * began anew. */
static bool subtract(struct delta *delta, const struct metric *metric, const struct last *last,
                     struct point *point)
{
    int64_t more;
    switch (metric->value) {
    case METRIC_INT:
        if (point->value.integer < last->value.integer ||
            __builtin_sub_overflow(point->value.integer, last->value.integer, &more))
            return false;
        point->value.integer = more;
        return true;
    case METRIC_DOUBLE:
        if (point->value.real < last->value.real)
            return false;
        point->value.real -= last->value.real;
        return true;
    case METRIC_DISTRIBUTION:
        return subtract_distribution(delta, last, point);
    }
    return false;
}

static void remember(struct last *last, const struct run *run, const struct point *point)
{
    if (run->metric->value == METRIC_DISTRIBUTION) {
        drop_distribution(last);
        last->value.distribution = distribution_copy(point->value.distribution);
    } else {
        last->value.integer = point->value.integer; /* or the bits of a real */
    }
    last->time_ns = run->time_ns;
    last->start_ns = point->start_ns;
}

/* The point as a delta; false: it gives none. */
static bool convert(struct delta *delta, const struct run *run, struct last *last,
                    const struct point *given, struct point *ret_point)
{
    const uint64_t start_ns = given->start_ns, before_ns = last->time_ns;
    bool sent = true;
    *ret_point = *given;
    if (run->metric->value == METRIC_DOUBLE && !isfinite(given->value.real))
        return false;
    if (before_ns == 0) {
        sent = start_ns >= delta->new_since_ns && start_ns < run->time_ns;
    } else if (run->time_ns <= before_ns) {
        last->time_ns = run->time_ns;
        return false;
    } else if ((last->start_ns != 0 && start_ns > last->start_ns && start_ns >= before_ns) ||
               !subtract(delta, run->metric, last, ret_point)) {
        delta->resets++;
        if (start_ns < before_ns || start_ns >= run->time_ns)
            ret_point->start_ns = before_ns;
    } else {
        ret_point->start_ns = before_ns;
    }
    remember(last, run, given);
    return sent;
}

static uint32_t convert_run(struct delta *delta, const struct run *run, XXH128_hash_t common,
                            const struct point *given, struct point *points)
{
    struct last_table *lasts =
        run->metric->value == METRIC_DISTRIBUTION ? delta->distributions : delta->numbers;
    struct last_key keys[AHEAD];
    uint32_t written = 0;
    for (uint32_t i = 0; i < run->count + AHEAD; i++) {
        struct last_key *key = &keys[i % AHEAD];
        if (i >= AHEAD && convert(delta, run, last_find(lasts, *key, delta->now_s),
                                  &given[i - AHEAD], &points[written]))
            written++;
        if (i >= run->count)
            continue;
        XXH128_hash_t own = hash_attrs(delta, given[i].attrs);
        *key = (struct last_key){own.low64 ^ common.low64, own.high64 ^ common.high64};
        last_expect(lasts, *key);
    }
    return written;
}

/* ---- pages ---- */

static uint64_t later(uint64_t one_ns, uint64_t other_ns)
{
    return one_ns > other_ns ? one_ns : other_ns;
}

static bool counts_up(const struct metric *metric)
{
    return metric->instrument == METRIC_HISTOGRAM ||
           (metric->instrument == METRIC_SUM && metric->monotonic);
}

static bool any_counts_up(const struct page *page)
{
    for (uint32_t i = 0; i < page->run_count; i++)
        if (counts_up(page_run_const(page, i)->metric))
            return true;
    return false;
}

/* The run's place in the copy. */
static struct point *begin_run(struct delta *delta, const struct run *run)
{
    const struct metric *metric =
        counts_up(run->metric) ? twin_of(delta, run->metric) : run->metric;
    return page_begin_run(&delta->page, metric, run->fixed, run->resource, run->time_ns);
}

const struct page *delta_page(struct delta *delta, const struct page *page, uint32_t variant)
{
    const struct resource *resource = NULL;
    XXH128_hash_t resource_hash = {0};
    CHECK(variant < LIMIT_PIPELINES);
    delta->now_s = (uint32_t)(page->scrape_start_ns / NS_PER_S) + 1; /* never 0 */
    free_made(delta);
    last_sweep(delta->numbers, delta->now_s);
    last_sweep(delta->distributions, delta->now_s);
    delta->new_since_ns = later(delta->since_ns, later(last_forgotten_ns(delta->numbers),
                                                       last_forgotten_ns(delta->distributions)));
    if (!any_counts_up(page))
        return page;
    page_reset(&delta->page, page->route, page->scrape_start_ns);
    for (uint32_t i = 0; i < page->run_count; i++) {
        const struct run *run = page_run_const(page, i);
        const struct point *given = page_points_const(page) + run->first;
        struct point *points = begin_run(delta, run);
        if (!counts_up(run->metric)) {
            memcpy(points, given, run->count * sizeof *points);
            page_end_run(&delta->page, run->count);
            continue;
        }
        if (run->resource != resource) {
            resource = run->resource;
            const struct attrs *attrs = resource->variants[variant];
            resource_hash = hash_attrs(delta, attrs != NULL ? attrs : resource->variants[0]);
        }
        XXH128_hash_t common = hash_run(delta, run, resource_hash);
        page_end_run(&delta->page, convert_run(delta, run, common, given, points));
    }
    return &delta->page;
}

struct delta_state delta_state(const struct delta *delta)
{
    return (struct delta_state){
        last_count(delta->numbers) + last_count(delta->distributions),
        last_forgotten(delta->numbers) + last_forgotten(delta->distributions), delta->resets};
}
