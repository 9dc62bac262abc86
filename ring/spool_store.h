/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "ring/spool.h"

/* The spool without its thread: the same acts, done at once by whoever calls, on one thread. Time
 * is an argument. Events come through `emit` before the call returns. */
struct spool_store;

struct spool_now {
    uint64_t ns;      /* monotonic: deadlines */
    uint64_t wall_ns; /* age */
};

typedef void spool_emit_fn(void *context, const struct spool_event *event);

/* NULL: another process has the directory. Everything else that is wrong is in the status. */
struct spool_store *spool_store_open(const struct spool_settings *settings, spool_emit_fn *emit,
                                     void *context, struct spool_now now, struct error *error);

/* The sequence that the next new parcel should have. */
uint64_t spool_store_next(const struct spool_store *store);

/* Writes them, takes one reference to each; each gets its STORED or REFUSED. */
void spool_store_put(struct spool_store *store, struct parcel *const *parcels, size_t count,
                     struct spool_now now);

/* False: no such record here. */
bool spool_store_ack(struct spool_store *store, uint64_t sequence, struct spool_now now);
bool spool_store_let_go(struct spool_store *store, uint64_t sequence);

void spool_store_read(struct spool_store *store, struct spool_now now);

/* What is due: acks, group commit, removing, age, trying again. When to be called next. */
uint64_t spool_store_turn(struct spool_store *store, struct spool_now now);

void spool_store_status(const struct spool_store *store, struct spool_status *ret_status);

/* Writes and syncs all that is left, as far as the disk lets it. Only close comes after it. */
void spool_store_finish(struct spool_store *store, struct spool_now now);

/* The same where it was not done. */
void spool_store_close(struct spool_store **store, struct spool_now now);
