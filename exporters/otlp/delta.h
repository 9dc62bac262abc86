/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "ring/page.h"

/* Counters (monotonic sums, and histograms) of one destination as deltas: what was added since the
 * point before. All other points pass as they are (OTLP's "delta preference": sums that go both
 * ways stay cumulative). One thread.
 *
 *   first value of a series   nothing to subtract, so no point; unless it counts since a time after
 *                             `since_ns` and after the last point of every forgotten series, then
 *                             all of it is new
 *   later                     value − last value, from the last point's time on
 *   reset                     the value fell, or it counts since a time after the last point: all
 *                             of it is new, from the new start on (where that is not known, from
 *                             the last point on)
 *   not later than the last   no point (the clock was set back, or the same page came twice); what
 *                             was added comes with the next one
 *
 * So the sum of the deltas is the last value less the first, whatever happens on the way to here;
 * what is lost behind it is lost, and what arrives twice counts twice: that is delta's nature.
 * Source: OTLP metrics data model, "Temporality", "Sums: Resets and Gaps". */
struct delta;

/* `since_ns`: wall clock, since when these counters are watched. */
struct delta *delta_create(uint64_t since_ns);
void delta_destroy(struct delta **delta);

/* The page as this destination is to see it, good until the next call: the page itself, or a copy
 * in which monotonic sums have metrics of their own (metric->delta). `variant` of the resources.
 * Points that give none (see above) are missing in the copy. The given page is not changed. */
const struct page *delta_page(struct delta *delta, const struct page *page, uint32_t variant);

/* Series remembered; series forgotten since the start; resets since the start. */
struct delta_state {
    uint64_t series, forgotten, resets;
};
struct delta_state delta_state(const struct delta *delta);
