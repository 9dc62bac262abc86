/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "ring/writer.h"
#include "shard/resource.h"

/* pgweir's own metrics as points of a resource of their own, delivered like any other: same page,
 * same ring, same exporters. Runs on one shard's thread. */
struct own;

struct own *own_create(const struct resource_chains *chains, uint32_t route, uint64_t interval_ns);
/* After the worker has given every page back. */
void own_destroy(struct own **own);

/* Writes all values and histograms of all telemetry sets when the interval has passed; cheap
 * otherwise. */
void own_collect(struct own *own, struct writer *writer, uint64_t now_ns);

/* Frees the snapshots whose pages have come back; call behind writer_flush(), so that no open page
 * refers to one. */
void own_reclaim(struct own *own, struct ring *ring, uint32_t shard);
