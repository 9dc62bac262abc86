/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/limits.h>
#include <pgweir/metric.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ring/attrs.h"

/* A page: the points of one target from one collection, on their way from a shard to the worker
 * and back. Owned by exactly one thread at a time: the shard fills it and pushes it, the worker
 * reads it, encodes it for every destination, and gives it back.
 *
 *   | header | point 0 | point 1 | … →        free        ← … | run 1 | run 0 |
 *
 * A run is a stretch of points that share metric, resource and time. The decoder works column by
 * column, so that all rows of one metric make one run, which is one Metric message in OTLP:
 * nothing is ever sorted or grouped afterwards. Runs of the same metric stand next to each other
 * (they differ in `fixed`: source=heap_read, source=heap_hit).
 *
 * Attribute sets, resources, metrics and distributions are borrowed. Their owner frees one only
 * after every page filled before it was retired has come back (ring_returned_sequence()): lanes are
 * first in, first out, so this is an exact grace period and needs no epochs. */

struct point {
    const struct attrs *attrs; /* tag ATTRS_POINT; never NULL (an empty set where there are none) */
    uint64_t start_ns;         /* counters: since when they count, wall clock; 0: not known */
    union {
        int64_t integer;                         /* metric->value == METRIC_INT */
        double real;                             /* METRIC_DOUBLE */
        const struct distribution *distribution; /* METRIC_DISTRIBUTION; never NULL */
    } value;
};

/* What identifies the entity that is observed (OTLP Resource). Immutable. A pipeline whose
 * processors change resources reads its own variant; others read variant 0. */
struct resource {
    const struct attrs *variants[LIMIT_PIPELINES]; /* tag ATTRS_RESOURCE; [0] always, others may be
                                                      NULL: same as [0] */
};

struct run {
    const struct metric *metric;
    const struct attrs *fixed; /* attributes all points share; NULL: none */
    const struct resource *resource;
    uint64_t time_ns; /* when the values were read, wall clock */
    uint32_t first, count;
};

/* Who owns a page; only the ring writes it, and CHECKs it whenever the owner changes. */
enum page_state {
    PAGE_SPARE,    /* the ring's, free for its shard */
    PAGE_ACQUIRED, /* the shard's: it fills it */
    PAGE_PUSHED,   /* in the lane to the worker */
    PAGE_TAKEN,    /* the worker's: it encodes it */
    PAGE_GIVEN,    /* in the lane back */
};

struct page {
    /* set by the ring */
    uint32_t shard;
    uint32_t state;    /* enum page_state */
    uint64_t sequence; /* per shard, 1 for the first push */
    /* set by the shard */
    uint32_t route;       /* index of the receiver: which pipelines want this page */
    uint32_t point_count;
    uint32_t run_count;
    uint64_t scrape_start_ns; /* monotonic, when the collection was due to start: the zero of age */
    uint64_t dropped_points;  /* points of this route that found no page since the last push */
    uint64_t pushed_ns;       /* monotonic, set by ring_push(): zero of ring wait */
    uint8_t space[LIMIT_PAGE_BYTES - 64];
};
_Static_assert(sizeof(struct page) <= LIMIT_PAGE_BYTES, "a page and its header");

static inline struct point *page_points(struct page *page)
{
    return (struct point *)(void *)page->space;
}

static inline const struct point *page_points_const(const struct page *page)
{
    return (const struct point *)(const void *)page->space;
}

/* Run `index`; runs grow down from the page's end. */
static inline struct run *page_run(struct page *page, uint32_t index)
{
    return (struct run *)(void *)(page->space + sizeof page->space) - 1 - index;
}

static inline const struct run *page_run_const(const struct page *page, uint32_t index)
{
    return (const struct run *)(const void *)(page->space + sizeof page->space) - 1 - index;
}

/* How many more points fit into the page if one more run is begun. */
static inline uint32_t page_room(const struct page *page)
{
    size_t used = page->point_count * sizeof(struct point) +
                  (page->run_count + 1) * sizeof(struct run);
    return used >= sizeof page->space ? 0
                                      : (uint32_t)((sizeof page->space - used) / sizeof(struct point));
}

/* Empties a page for its next filling; sequence and shard stay the ring's. */
void page_reset(struct page *page, uint32_t route, uint64_t scrape_start_ns);

/* Begins a run; the caller has seen page_room() > 0. Points then go to the returned place, at most
 * page_room() of them as it was before the call; page_end_run() says how many were written (a run
 * of none is taken back). */
struct point *page_begin_run(struct page *page, const struct metric *metric,
                             const struct attrs *fixed, const struct resource *resource,
                             uint64_t time_ns);
void page_end_run(struct page *page, uint32_t point_count);

/* CHECKs that cursors do not cross and runs tile the points; called when a page changes owner. */
void page_check(const struct page *page);
