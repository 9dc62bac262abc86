/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/telemetry.h>

#include "exporters/exporter.h"
#include "exporters/worker.h"

/* One exporter in use, with its own books, queue and health, so that what happens to one never
 * touches another. Runs on the worker; destination_healthy() may be asked by any thread. */
struct destination;

bool destination_create(struct destination **ret_destination, struct http *http,
                        const struct worker_destination *options, struct error *error);
void destination_destroy(struct destination **destination);

/* What batches for it are made of. */
enum body_format destination_format(const struct destination *destination);

/* Its set: only ledger and batch write to it from outside. */
struct telemetry_set *destination_telemetry(struct destination *destination);

/* BODY_NONE: the exporter sees a slice of a page. */
void destination_consume(struct destination *destination, const struct page *page,
                         struct page_slice slice, uint32_t variant);

/* A batch is closed: its points, already in the ledger as queued, are sent or taken at once. */
void destination_finish(struct destination *destination, const uint8_t *body, size_t body_bytes,
                        uint64_t points, uint64_t due_ns);

/* Does what time demands; returns when to be called next. */
uint64_t destination_step(struct destination *destination, uint64_t now_ns);

/* Stopping: when what is left can be settled at the earliest; UINT64_MAX when nothing is left. */
uint64_t destination_hope_ns(const struct destination *destination, uint64_t now_ns);

/* Stopping: counts what is left as dropped{shutdown} and closes the exporter. */
void destination_close(struct destination *destination);

bool destination_healthy(const struct destination *destination, char *ret_text, size_t text_bytes);
