/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/metric.h>

#include "base/histogram.h"

/* Distributions as they leave the process (struct distribution says what one is), made of the
 * histograms that are recorded into. Pure; any thread. Memory: all aborts when there is none.
 *
 * The mapping. A histogram has 64 equal buckets per power of two, a distribution of scale 5 has 32
 * that grow by 2.19 % each; no boundaries fall together. Each bucket goes as a whole into the one
 * its middle lies in, by its index alone, so a cumulative count never falls. As it reaches at most
 * 0.79 % to either side of its middle, a value that a distribution counts in (a, b] was recorded
 * between a / 1.0079 and b · 1.0079, and a percentile told as a bucket's geometric middle is at
 * most 1.9 % off. count, sum and max are exact. */
enum { DISTRIBUTION_SCALE = 5 };

/* Of what was recorded in ns, in seconds. */
struct distribution *distribution_create(const struct histogram_view *view);
struct distribution *distribution_copy(const struct distribution *distribution);
void distribution_destroy(struct distribution **distribution);

/* What came since `before` (same scale): for delta temporality. NULL when `now` does not contain
 * it: counting began anew. `max` is that of `now`. */
struct distribution *distribution_subtract(const struct distribution *now,
                                           const struct distribution *before);

/* The largest value that belongs into bucket `index`, which may be past the last. */
double distribution_upper(const struct distribution *distribution, uint32_t index);

/* How many values lie in buckets that end at or below `bound` (≥ 0), zeros included: one that lies
 * across it counts above, so that classic buckets made this way tell no percentile too small. */
uint64_t distribution_count_to(const struct distribution *distribution, double bound);

/* The value below which `share` (0 to 1) of all lies; 0 when empty. */
double distribution_quantile(const struct distribution *distribution, double share);

/* Bounds for classic buckets of seconds: 1, 2.5 and 5 of each decade from 10 µs to 250 s, without
 * the infinite one; and each as Prometheus writes it. */
enum { DISTRIBUTION_BOUNDS = 23 };
extern const double distribution_bounds[DISTRIBUTION_BOUNDS];
extern const char *const distribution_bound_names[DISTRIBUTION_BOUNDS];
