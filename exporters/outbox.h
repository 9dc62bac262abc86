/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/telemetry.h>

#include "exporters/exporter.h"
#include "exporters/health.h"

/* The requests of one destination: a bounded queue, and the senders that empty it. Each sender
 * holds one request until it is settled (answered, or given up), as the Collector's consumers do;
 * while it waits for a retry the other senders go on. Runs on the worker. */
struct outbox;

bool outbox_create(struct outbox **ret_outbox, struct http *http, const struct request_plan *plan,
                   struct telemetry_set *set, struct health *health, struct error *error);
void outbox_destroy(struct outbox **outbox);

/* Compresses the body and queues it. When the queue is full its oldest batch is given up. `due_ns`:
 * when the oldest collection in it was due. */
void outbox_push(struct outbox *outbox, const uint8_t *body, size_t body_bytes, uint64_t points,
                 uint64_t due_ns);

/* Starts what may start now; returns when to be called next (UINT64_MAX: not by time). */
uint64_t outbox_step(struct outbox *outbox, uint64_t now_ns);

/* The answer to a request; `owner` as http_take_answer() gave it. */
void outbox_answer(void *owner, const struct http_answer *answer, uint64_t now_ns);

/* Nothing queued, waiting or in flight. */
bool outbox_empty(const struct outbox *outbox);

/* When the first request can be settled at the earliest: now if one is in flight, else when the
 * next may be sent; UINT64_MAX when empty. */
uint64_t outbox_hope_ns(const struct outbox *outbox, uint64_t now_ns);

/* Gives up everything: dropped{shutdown}. Nothing may be pushed after it. */
void outbox_abandon(struct outbox *outbox);
