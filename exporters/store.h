/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/telemetry.h>

#include "exporters/exporter.h"
#include "exporters/queue.h"

/* Where the batches of one destination wait: in memory, and on disk where there is a spool. Keeps
 * the destination's books: a batch is in memory (here, or with whoever took it), on disk only, or
 * settled. Runs on the worker. */
struct store;

/* All borrowed. */
struct store_options {
    const char *id; /* of the destination */
    const struct request_plan *plan;
    struct telemetry_set *set;
    int wake_fd;
    const char *spool_directory; /* of all exporters; NULL: no spool */
};

/* Fails only where another process uses the spool's directory. */
bool store_create(struct store **ret_store, const struct store_options *options,
                  struct error *error);
void store_destroy(struct store **store); /* after store_close(); NULL inside is fine */

/* A new batch, its points in the ledger as queued: takes the reference, numbers it, gives it to the
 * spool. Makes room: the oldest go on from disk only, or without a spool are given up. */
void store_add(struct store *store, struct parcel *parcel, uint64_t due_ns);

/* The batch to send next, still in the store: the oldest; where many wait, in turns the newest, so
 * that fresh data does not wait behind a backlog (never where order matters). `probe`: the oldest,
 * even if it waits for a retry. NULL: none; *ret_next_ns is when there may be one. */
struct queued *store_next(const struct store *store, bool probe, uint64_t now_ns,
                          uint64_t *ret_next_ns);

/* The newest batch that was never sent; NULL: none. */
struct queued *store_fresh(const struct store *store);

/* Out of the store, for a request. It comes back by exactly one of the next three. */
void store_take(struct store *store, struct queued *item);
void store_return(struct store *store, struct queued *item);

/* The end of a batch: `dropped` of its points given up for `reason`, the others delivered. */
void store_settle(struct store *store, struct queued *item, uint64_t dropped,
                  enum telemetry_value reason);

/* Two parts, with references, in place of the whole; their points are its points. Where order
 * matters the disk keeps the whole until both are settled, so a part may come again after a kill. */
void store_replace(struct store *store, struct queued *item, struct parcel *parts[2]);

/* What the disk said, and reading ahead; returns when to be called next. */
uint64_t store_step(struct store *store, uint64_t now_ns);

/* All may be tried again now. */
void store_hurry(struct store *store);

/* Batches in memory, those taken included. */
uint32_t store_count(const struct store *store);

/* Every batch in memory was given to a spool that works. */
bool store_safe(const struct store *store);

double store_fill(const struct store *store); /* see outbox_fill() */

/* The spool's state; false where there is none. */
bool store_spool_status(const struct store *store, struct spool_status *ret_status);

/* Everything is back in the store, nothing comes any more: what the spool has stays there, the rest
 * is dropped{shutdown}. True where nothing was dropped. */
bool store_close(struct store *store);
