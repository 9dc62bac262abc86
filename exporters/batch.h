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
