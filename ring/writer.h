/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/limits.h>

#include "ring/ring.h"

/* A shard's open page: decoders write runs into it, whatever target they come from, and the shard
 * flushes it at the end of each loop turn. So no page is ever held while something is waited for,
 * and small servers share pages. One thread: the shard's. */
enum { WRITER_ROUTES_MAX = 32 };

struct writer {
    struct ring *ring;
    uint32_t shard;
    struct page *page;                       /* NULL: none open */
    uint64_t dropped[WRITER_ROUTES_MAX];     /* points without a page, to go with the next page */
    uint64_t points;                         /* written since start */
    uint64_t dropped_total;
};

void writer_init(struct writer *writer, struct ring *ring, uint32_t shard);

/* Begins a run of at most *ret_room points of `metric`; NULL when no page is free: then the caller
 * reports what it could not write with writer_drop(). A page of another route, or one without
 * room, is pushed first. `due_ns` (monotonic) is when the collection was due. */
struct point *writer_begin(struct writer *writer, uint32_t route, uint64_t due_ns, uint64_t now_ns,
                           const struct metric *metric, const struct attrs *fixed,
                           const struct resource *resource, uint64_t time_ns, uint32_t *ret_room);
void writer_end(struct writer *writer, uint32_t point_count);
void writer_drop(struct writer *writer, uint32_t route, uint64_t point_count);

/* Pushes the open page, if any holds points or drops. */
void writer_flush(struct writer *writer, uint64_t now_ns);
