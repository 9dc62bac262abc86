/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/telemetry.h>

#include "exporters/exporter.h"
#include "exporters/health.h"

/* The batches of one destination from closing to acknowledgement: in memory, on disk where there is
 * a spool, on the wire as the limiter allows. Runs on the worker. */
struct outbox;

struct outbox_options {
    const char *id; /* of the destination */
    struct http *http;
    const struct request_plan *plan;
    enum body_format format;
    struct telemetry_set *set;
    struct health *health;
    int wake_fd;                 /* an eventfd that wakes the worker */
    const char *spool_directory; /* of all exporters; NULL: no spool */
};

bool outbox_create(struct outbox **ret_outbox, const struct outbox_options *options,
                   struct error *error);
void outbox_destroy(struct outbox **outbox); /* closes it first; NULL inside is fine */

/* Compresses the body and queues it (in parts where it is too large). When memory is full, the
 * oldest goes on from disk only; without a spool it is given up. `due_ns`: when the oldest
 * collection in it was due. */
void outbox_push(struct outbox *outbox, const uint8_t *body, size_t body_bytes, uint64_t points,
                 uint64_t due_ns);

/* Starts what may start now; returns when to be called next (UINT64_MAX: not by time). */
uint64_t outbox_step(struct outbox *outbox, uint64_t now_ns);

/* The answer to a request; `owner` as http_take_answer() gave it. */
void outbox_answer(void *owner, const struct http_answer *answer, uint64_t now_ns);

/* Stopping, at `stop_ns` at the latest: soon before it nothing leaves any more that is on disk, for
 * a request that is cut off comes twice. */
void outbox_stopping(struct outbox *outbox, uint64_t stop_ns, uint64_t now_ns);

/* Stopping: when the first batch in memory can be settled at the earliest: now if one is in flight,
 * else when the next may be sent; UINT64_MAX where there is nothing to wait for, because all is
 * settled or safe on disk behind a back end that does not answer. */
uint64_t outbox_hope_ns(struct outbox *outbox, uint64_t now_ns);

/* Stops: what is left stays on disk, or is dropped{shutdown}. True where nothing was dropped. */
bool outbox_close(struct outbox *outbox);

/* How full the last thing before loss is: the spool where there is one that works, else the queue;
 * 0 to 1. */
double outbox_fill(const struct outbox *outbox);

/* The most requests in flight from now on, at least 1, at most the plan's. */
void outbox_set_concurrency_max(struct outbox *outbox, uint32_t requests);

/* Level of the compressor from now on. */
void outbox_set_compression_level(struct outbox *outbox, int level);

/* What limits it and why, for /status. Any thread. */
struct outbox_status {
    double rate_limit, rate, utilisation; /* requests/s; 0: no limit */
    uint32_t concurrency, concurrency_max, in_flight;
    const char *breaker;                   /* "closed", "open", "half_open" */
    uint64_t gate_until_ns, open_until_ns; /* monotonic; 0 or past: not */
    uint64_t change_count;
    struct limiter_change changes[LIMITER_CHANGES]; /* oldest first */
    uint32_t changes_held;
    struct spool_status spool; /* working only where there is one */
    bool has_spool;
};
void outbox_read_status(const struct outbox *outbox, struct outbox_status *ret_status);
