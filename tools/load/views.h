/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>
#include <stdbool.h>

#include "base/histogram.h"

/* Histograms as they are read from /histograms and from the sink's report, subtracted to a window,
 * corrected for what was left out, and written to result.json: [[start_ns, count], …]. */

/* Adds an entry's buckets and maximum to the view; false when it is malformed. */
bool view_add_json(struct histogram_view *view, const json_t *entry);

/* What was recorded between two readings. The maximum of a window is not known exactly: it is the
 * later reading's where it grew, else the end of the highest bucket that has something. */
void view_window(const struct histogram_view *before, const struct histogram_view *after,
                 struct histogram_view *ret_view);

void view_record(struct histogram_view *view, uint64_t value_ns, uint64_t count);
void view_add(struct histogram_view *view, const struct histogram_view *more);

/* Quantile in ms; `share` 1 is the maximum; 0 when empty. */
double view_ms(const struct histogram_view *view, double share);

/* {"count", "max_ns", "buckets"}. */
json_t *view_json(const struct histogram_view *view);

/* Coordinated omission. A collection that is late holds up those that should have come after it:
 * they are measured never, or late only once. Both functions add, as HdrHistogram does, the samples
 * that a reader with a clock of its own would have seen.
 *
 * view_correct(): every value above the interval stands for further ones, each an interval less.
 *
 * view_omitted(): collections that were left out, because the one before still ran when they were
 * due, as lags: a collection that took S > interval left out S/interval others, which waited S -
 * interval, S - 2·interval, …. Where the collector counts more of them (`skipped`) than its scrape
 * times explain, the rest are added as one interval each. Returns how many were added. */
void view_correct(struct histogram_view *view, uint64_t interval_ns);
uint64_t view_omitted(const struct histogram_view *scrapes, uint64_t interval_ns, uint64_t skipped,
                      struct histogram_view *ret_lags);

/* Adds the omitted collections to a histogram of ages: each had its lag, and the median age on top.
 * Ages are recorded per request, of which one carries many collections: `per_collection` (requests
 * ÷ collections, at most 1) is the weight, so that an omitted collection counts as much as one that
 * was not. */
void view_add_ages(struct histogram_view *ages, const struct histogram_view *omitted_lags,
                   double per_collection);
