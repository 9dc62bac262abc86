/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "exporters/destination.h"

/* Step 7 of 9: pages of one pipeline become batches for one destination, closed by size or age.
 * Runs on the worker. */
struct batch;

/* `settings` NULL: no batch processor, the worker closes after each sweep. */
struct batch *batch_create(const struct batch_settings *settings, struct destination *destination,
                           uint32_t variant);
void batch_destroy(struct batch **batch);

/* Encodes the page's points, closing batches as they fill. The page is not needed after it. */
void batch_add(struct batch *batch, const struct page *page, uint64_t now_ns);

/* Closes the batch if it holds points. */
void batch_close(struct batch *batch, uint64_t now_ns);

/* When it must be closed for its age: UINT64_MAX while empty, 0 without a batch processor. */
uint64_t batch_deadline_ns(const struct batch *batch);

/* ---- for the auto-tuner ---- */

/* In force; NULL without a batch processor. */
const struct batch_settings *batch_settings(const struct batch *batch);

/* From now on, the open batch included. The size stays within send_batch_max_size. */
void batch_set_size(struct batch *batch, int64_t points);
void batch_set_timeout(struct batch *batch, uint64_t timeout_ns);

/* Batches closed so far by what closed them, and their points. */
struct batch_tally {
    uint64_t by_size, by_age, by_space; /* space: the block for the body was full */
    uint64_t points;
};
const struct batch_tally *batch_tally(const struct batch *batch);

/* Of the open batch: its points, and when its oldest collection was due, UINT64_MAX while empty. */
uint64_t batch_points(const struct batch *batch);
uint64_t batch_due_ns(const struct batch *batch);
