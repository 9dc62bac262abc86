/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "tests/control/simulator.h"

/* The scenarios that tests bound and limiter_plot draws. */
enum scenario_id {
    SCENARIO_RAMP,          /* a back end with 200 slots: find them */
    SCENARIO_WORKERS,       /* 8 workers and a queue: no queue of our making */
    SCENARIO_QUOTA,         /* 6,000 requests a minute, Retry-After */
    SCENARIO_QUOTA_UNSAID,  /* the same without */
    SCENARIO_QUOTA_OUTAGE,  /* two minutes away, and a quota to catch up under */
    SCENARIO_OUTAGE,        /* connections refused for a minute */
    SCENARIO_OUTAGE_ERRORS, /* 503s, ten in flight when it begins */
    SCENARIO_OUTAGE_SILENT, /* nothing answers, ten in flight */
    SCENARIO_FARTHER,       /* a round trip of 50 ms becomes 500: no congestion */
    SCENARIO_SHARED,        /* ten clients, one queue */
    SCENARIO_SHARED_LIMIT,  /* ten clients, 500 requests/s for all */
    SCENARIO_COUNT,
};

extern const struct sim_scenario scenarios[SCENARIO_COUNT];

/* The same with fewer requests, where its laws know no scale: a tenth of a quota, a quarter of the
 * slots. Takes less time, says nearly the same. */
struct sim_scenario scenario_small(enum scenario_id id);

/* The hidden limit: `first` requests/s, then 0.4 times that, then 1.6 times, a minute each; a hard
 * ceiling of twice the first. */
struct sim_scenario scenario_hidden(double first, enum sim_counting counting, bool hint);
