/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Backpressure: how much less should be collected because back ends take less than there is. What
 * was collected goes into memory, then to disk; only where even that runs full is less collected
 * (engine/shard/target.c stretches schedules by level), and only when that does not help is the
 * oldest dropped. Pure functions of (state, fill, time); the worker's.
 *
 *   each destination   pressure_step(&its, outbox_fill(…), now)       → its level
 *   each route         pressure_of_routes(pipelines, levels)          → ring_put_pressure()
 */
enum { PRESSURE_LEVEL_MAX = 4 };

struct pressure {
    uint8_t level;
    uint64_t changed_ns; /* monotonic */
    uint64_t above_ns;   /* since when `fill` is where the next level begins; 0: it is not */
};

/* The level for a destination whose last room before loss is full to `fill` (0 to 1): 1 from 0.5
 * on, 2 from 0.7, 3 from 0.85, 4 from 0.95. Up to where `fill` is as soon as it has been above the
 * level for 2 s (a batch that just waits for the one before it is no backlog); down one level at a
 * time, not before the level has been in force for 10 s, and only where `fill` is 0.1 below where
 * the level begins, so that a fill at a boundary does not make it swing. */
uint32_t pressure_step(struct pressure *pressure, double fill, uint64_t now_ns);

/* What one pipeline ties together: pages of routes to destinations. */
struct pressure_pipeline {
    uint32_t routes, destinations; /* bits */
};

/* The level of each of 32 routes: the least of all destinations that get its points, so that one
 * that is dead or slow never slows what another still takes; 0 where none does. */
void pressure_of_routes(const struct pressure_pipeline *pipelines, uint32_t pipeline_count,
                        const struct pressure *destinations, uint8_t ret_levels[32]);
