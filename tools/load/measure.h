/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "tools/load/outcome.h"
#include "tools/load/sample.h"

/* From samples to figures. What is told of a run is told of its window: between the sample at which
 * the measured time begins and the one at which it ends. */
struct window {
    const struct scenario *scenario;
    const struct sample *first, *last;
    double from_s, to_s; /* of the run's moments: those within count for maxima */
    uint64_t baseline_kib;
};

/* One point of the timeline: what happened from `before` to `now`. */
void measure_moment(const struct sample *before, const struct sample *now, struct moment *moment);

/* Fills figures, histograms, threads and others. */
void measure_window(const struct window *window, struct outcome *outcome);

/* The books of the whole run, once the programs have ended: lost, doubled. `final` holds the last
 * reports of sink and simulator, `last` the last sample before the collector ended. */
void measure_books(const struct scenario *scenario, uint64_t ledger_sample,
                   const struct sample *last, const struct sample *final, struct outcome *outcome);

/* Slopes over the moments from `from_s` on. */
void measure_slopes(struct outcome *outcome, double from_s);
