/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/telemetry.h>

#include "exporters/exporter.h"
#include "exporters/worker.h"

/* One exporter in use, with its own books, queue and health, so that what happens to one never
 * touches another. Runs on the worker; destination_healthy() may be asked by any thread. */
struct destination;

/* What destinations share; the worker's. */
struct destination_context {
    struct http *http;
    int wake_fd; /* an eventfd that wakes the worker */
    const struct worker_storage *storages;
    uint32_t storage_count;
};

bool destination_create(struct destination **ret_destination,
                        const struct destination_context *context,
                        const struct worker_destination *options, struct error *error);
void destination_destroy(struct destination **destination);

/* What batches for it are made of. */
enum body_format destination_format(const struct destination *destination);

/* Its set: only ledger and batch write to it from outside. */
struct telemetry_set *destination_telemetry(struct destination *destination);

/* The page as this destination sees it, good until the next call: the page itself, or one whose
 * counters are deltas. Points that the view lacks are settled in the ledger. */
const struct page *destination_view(struct destination *destination, const struct page *page,
                                    uint32_t variant);

/* BODY_NONE: the exporter sees a slice of a page. */
void destination_consume(struct destination *destination, const struct page *page,
                         struct page_slice slice, uint32_t variant);

/* BODY_REMOTE_WRITE: the exporter writes a slice of a page behind what the body has. */
uint8_t *destination_encode(struct destination *destination, const struct page *page,
                            struct page_slice slice, uint32_t variant, struct space space);

/* Bytes of a body at most, before compression; 0: any. */
size_t destination_body_bytes_max(const struct destination *destination);

/* A batch is closed: its points, already in the ledger as queued, are sent or taken at once. */
void destination_finish(struct destination *destination, const uint8_t *body, size_t body_bytes,
                        uint64_t points, uint64_t due_ns);

/* Does what time demands; returns when to be called next. */
uint64_t destination_step(struct destination *destination, uint64_t now_ns);

void destination_stopping(struct destination *destination, uint64_t stop_ns, uint64_t now_ns);

/* Stopping: when what is left can be settled at the earliest; UINT64_MAX when nothing is left. */
uint64_t destination_hope_ns(const struct destination *destination, uint64_t now_ns);

/* Stopping: what is left stays on disk or is counted as dropped{shutdown}, and the exporter is
 * closed. True where nothing was dropped. */
bool destination_close(struct destination *destination);

/* How it sends requests, and what holds them; NULL where it sends none. */
const struct request_plan *destination_requests(const struct destination *destination);
struct outbox *destination_outbox(struct destination *destination);

/* How full the last room before loss is, 0 to 1; 0 where it takes batches at once. */
double destination_fill(const struct destination *destination);

bool destination_healthy(const struct destination *destination, char *ret_text, size_t text_bytes);
