/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "tools/flame/stacks.h"

/* What was in a profile. Stacks are whole when they reach where a thread or program begins; others
 * end early, in libraries without frame pointers or assembly without unwind data. graft.h says how
 * their callers are inferred. */
struct fold_counts {
    uint64_t samples, whole;
    uint64_t weight, weight_inferred;
    uint64_t switches; /* off CPU: how often a thread was switched out and back in */
};

/* Reads `perf script` ("-": stdin) and adds a stack per sample, its thread's name outermost.
 *
 * On CPU: each sample weighs its period; of cpu-clock and task-clock that is time, so microseconds.
 * Off CPU: a profile of `perf record -e context-switches -c 1 --switch-events`, printed with
 * --show-switch-events. A sample tells where a thread stopped, the switch events when it stopped
 * and when it went on: the time between, in microseconds, is the stack's weight. Whoever was ready
 * to run all the time gets an innermost frame "(waits for a CPU)". The two cannot be mixed; which
 * it is follows from the events.
 *
 * merge_threads: "shard-0" and "shard-1" become "shard". */
bool fold_script(struct stacks *stacks, const char *path, bool merge_threads,
                 struct fold_counts *ret_counts, struct error *error);
