/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/histogram.h"

/* What histograms recorded in the last seconds: who steers must see now, not all time.
 *
 * A histogram's buckets only grow, so nothing is recorded twice: window_take() looks at what there
 * is in all and puts what is new into the slot of that time. Recording stays one histogram_record()
 * whose writer knows of no window, and there may be as many windows as readers. A window that is
 * given the sum of several histograms (histogram_merge(), telemetry_merge()) is a window over all
 * of them; several windows read into one view add up as well.
 *
 * One thread: the reader's. Constant memory, 9 KiB a slot; of that, only what was ever counted in
 * is touched. A take costs a walk over all buckets (1 to 2 µs): once a slot is enough, more often
 * sees newer values. */
struct window;

/* `slot_count` slots of `slot_ns` each; aborts when memory is out. */
struct window *window_create(uint32_t slot_count, uint64_t slot_ns);
void window_destroy(struct window **window);

/* The first take only says where to begin. Later ones count what is new as of `now_ns` (monotonic,
 * not before the last one's); after a gap of several slots it is all counted as of now. `total`
 * must hold at least what it held the last time. */
void window_take(struct window *window, const struct histogram_view *total, uint64_t now_ns);
void window_take_one(struct window *window, const struct histogram *histogram, uint64_t now_ns);

/* Adds the newest `slots` slots as of the last take, the unfinished one included, to the view (zero
 * it first). The largest value is exact where it is the largest of all time, else at most 0.8 %
 * off. Returns the time they cover, for rates: 0 before the second take. */
uint64_t window_read(const struct window *window, uint32_t slots, struct histogram_view *view);
