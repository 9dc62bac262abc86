/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "tools/sim/recording.h"

/* The simulated servers: which recording each one is of, and how far its statistics are. Shared by
 * all threads, as a server's connections may land on any of them: the steps are atomic counters,
 * so that each is taken once whoever takes it; everything else is made under one lock, at most once
 * per connection. */

/* A server's statistics since its start or its last failover. A session belongs to the life that it
 * was connected in: what it reads has that life's start time and steps, to the end. */
struct life {
    struct life *before;
    int64_t start_us; /* since 2000-01-01 */
    bool recovery;
    uint32_t count;
    _Atomic uint32_t steps[]; /* by form_index(): how often each query was executed */
};

struct fleet;

/* Server i is of the recording that its place among the weights falls to: in any run of as many
 * servers as the weights add up to, each recording has its share exactly. `start_us` is the start
 * of every first life, `step_counts` how many steps a server of each recording has. Takes the
 * recordings. */
struct fleet_parts {
    struct recording **recordings;
    const uint32_t *weights, *step_counts;
    uint32_t count;
};
struct fleet *fleet_create(uint32_t servers, const struct fleet_parts *parts, int64_t start_us);
void fleet_destroy(struct fleet **fleet);

uint32_t fleet_servers(const struct fleet *fleet);
uint32_t fleet_recordings(const struct fleet *fleet);
const struct recording *fleet_recording(const struct fleet *fleet, uint32_t index);
uint32_t fleet_recording_of(const struct fleet *fleet, uint32_t server);

/* The name of a database, kept for the fleet's life: one text for all sessions. NULL when there are
 * too many. */
const char *fleet_database(struct fleet *fleet, const char *name);

/* The life a connection made now belongs to. */
struct life *fleet_life(struct fleet *fleet, uint32_t server);

/* A new life begins. `recovery` NULL: the role stays. */
void fleet_fail_over(struct fleet *fleet, uint32_t server, int64_t start_us, const bool *recovery);
