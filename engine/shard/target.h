/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/status.h"
#include "pg/pool.h"
#include "ring/writer.h"
#include "shard/receiver.h"

/* One server under collection: its schedule, its pool, its series. Lives on its shard's thread. */
struct target;

/* What all targets of a shard use; the shard's. */
struct target_context {
    struct pg_context pg;
    struct writer *writer;
    struct plan_cache *plans;
    struct telemetry_set *telemetry;
};

struct target_options {
    const struct receiver *receiver;
    const struct server_settings *server;
    struct status_slot *status;
    uint64_t first_due_ns; /* monotonic */
};

/* Nothing is connected before the first collection is due. */
struct target *target_create(struct target_context *context, const struct target_options *options);

/* Stops what runs; what was collected is on pages. Attribute sets and the resource stay until
 * their pages have come back: call target_free() then. */
void target_close(struct target *target);
void target_free(struct target **target);

/* Collections finished since start, good or bad, of the database that has the fewest. */
uint64_t target_scrapes(const struct target *target);
enum target_state target_state(const struct target *target);

/* Plans made on this shard, shared by targets that are alike. */
struct plan_cache *plan_cache_create(void);
void plan_cache_destroy(struct plan_cache **cache);
