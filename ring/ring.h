/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "ring/page.h"

/* Many shards to one worker, without a lock or a CAS: one ConcurrencyKit SPSC lane per shard, swept
 * by the worker, and one lane per shard for the way back. A shard that stalls holds up nobody.
 * (ck's MPSC enqueue would: a producer preempted between reserve and publish hides every later
 * page.) Pages are allocated at creation; a lane holds all of its shard's pages, so a push cannot
 * fail. */
struct ring;

/* `pages_per_shard` pages for each of `shard_count` shards. */
bool ring_create(struct ring **ret_ring, uint32_t shard_count, uint32_t pages_per_shard,
                 struct error *error);
void ring_destroy(struct ring **ring);

/* ---- the shard's side: only the thread of that shard ---- */

/* An empty page, or NULL while all are under way: drop and count, or wait. */
struct page *ring_acquire(struct ring *ring, uint32_t shard);

/* Back unused. */
void ring_release(struct ring *ring, struct page *page);

/* The page is the worker's after this; wakes the worker only if it sleeps. */
void ring_push(struct ring *ring, struct page *page, uint64_t now_ns);

/* Every page with a sequence ≤ this has come back; reads the return lane. */
uint64_t ring_returned_sequence(struct ring *ring, uint32_t shard);

/* Sequence the next push of this shard will get: what is retired now may be freed when
 * ring_returned_sequence() ≥ this − 1; ≥ this where a page acquired before may refer to it. */
uint64_t ring_next_sequence(const struct ring *ring, uint32_t shard);

/* ---- the worker's side ---- */

/* The next page, sweeping the lanes round robin; NULL when all are empty. */
struct page *ring_take(struct ring *ring);

/* Back to its shard, in the order of taking. */
void ring_give(struct ring *ring, struct page *page);

/* Before sleeping on ring_wake_fd(): false when there is something to take. A worker that will wake
 * by itself soon anyway gives `patience`, how many pages may wait in a lane without a wake-up (cut
 * to a quarter of a shard's pages); 0: wake at the first. After waking: ring_awake(), which also
 * drains the descriptor. */
bool ring_try_sleep(struct ring *ring, uint32_t patience);
void ring_awake(struct ring *ring);
int ring_wake_fd(const struct ring *ring);

/* Any thread: wakes the worker for a reason of its own (stop). */
void ring_wake(struct ring *ring);

/* How much less of a route should be collected: 0 nothing less, up to RING_PRESSURE_MAX. The worker puts, any shard
 * looks whenever it plans; a relaxed number, no hand-over of anything. `route` < 32. */
enum { RING_PRESSURE_MAX = 4 };
void ring_put_pressure(struct ring *ring, uint32_t route, uint32_t level);
uint32_t ring_pressure(const struct ring *ring, uint32_t route);

/* Any thread, a snapshot for gauges: pages pushed and not yet taken. */
uint64_t ring_waiting(const struct ring *ring);

/* The same as share of a shard's pages, of the fullest lane: 0 to 1. */
double ring_fill(const struct ring *ring);
