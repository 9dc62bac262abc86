/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "tools/load/scenario.h"

/* The runs a model is fitted to, and those it is tried on. Sizes are shares of the largest fleet,
 * so that the same grid serves a laptop and a big machine. */
struct grid_run {
    const char *name;
    double servers; /* share of the largest */
    double interval_s;
    bool tables_group;
    int64_t tables;
    bool tls;
    int compression;
};

enum { GRID_FIT_RUNS = 12, GRID_HELD_OUT_RUNS = 4 };

extern const struct grid_run grid_fit[GRID_FIT_RUNS], grid_held_out[GRID_HELD_OUT_RUNS];

/* The base scenario as this run of the grid. `base` gives what the grid does not: seed, measured
 * time, shards, and the largest number of servers. */
void grid_scenario(const struct scenario *base, const struct grid_run *run,
                   struct scenario *ret_scenario);
