/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "ring/parcel.h"

/* The batches of one destination that are in memory and not on the wire, oldest first. A plain
 * structure without I/O or clock; runs on the worker. */
struct queued {
    struct queued *older, *newer;
    struct parcel *parcel; /* one reference */
    uint64_t order;        /* age order; the parts of a split batch keep that of the whole */
    uint64_t due_ns;       /* monotonic, when its oldest collection was due; 0: another process's */
    uint64_t first_ns;     /* monotonic, start of the first attempt */
    uint64_t wait_until_ns; /* not to be sent before */
    uint32_t attempts;
    uint32_t splits;     /* it is 1/2^splits of a batch that was too large */
    bool ambiguous;      /* the last attempt may have arrived without an answer */
    bool put;            /* the spool was given it, and has not said that it does not have it */
    bool again;          /* the spool could not take it: to be put again when it can */
    bool read_back;      /* it comes from the disk */
    struct whole *whole; /* what it is a part of, where the disk keeps that instead; NULL: none */
};

struct queue {
    struct queued *oldest, *newest;
    uint32_t count;
    uint64_t bytes; /* of bodies */
};

/* Into its place by order; among equals behind those there. */
void queue_put(struct queue *queue, struct queued *item);

/* Out of the queue, the caller's. */
void queue_take(struct queue *queue, struct queued *item);

/* The oldest, or the newest, that may be sent at `now_ns`; NULL where none may, *ret_next_ns is
 * then when the first may (UINT64_MAX: the queue is empty). `forced`: waits do not count. */
struct queued *queue_oldest(const struct queue *queue, bool forced, uint64_t now_ns,
                            uint64_t *ret_next_ns);
struct queued *queue_newest(const struct queue *queue, uint64_t now_ns);

struct queued *queue_find(const struct queue *queue, uint64_t sequence);

/* Nothing waits any more. */
void queue_hurry(struct queue *queue);
