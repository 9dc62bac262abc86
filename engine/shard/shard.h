/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "config/config.h"
#include "shard/receiver.h"
#include "shard/target.h"

/* A shard: one pinned thread with its loop, its share of the targets, their pools and its open
 * page. Made, started and stopped by the main thread. */
struct shard;

struct shard_target {
    const struct receiver *receiver;
    const struct server_settings *server;
    struct status_slot *status;
    uint64_t delay_ns; /* first collection, after the start */
    bool speaks;       /* its shard says in the log what concerns all of its receiver's targets */
};

struct shard_options {
    uint32_t index;
    const struct service_settings *service;
    struct ring *ring;
    struct resolver *resolver;
    struct handshaker *handshaker;
    struct pg_budget *budget;
    const struct shard_target *targets; /* borrowed until shard_create() returns */
    size_t target_count;
    uint32_t own_route;                       /* route of pgweir's own metrics */
    const struct resource_chains *own_chains; /* NULL: this shard does not deliver them */
};

struct shard *shard_create(const struct shard_options *options);

/* Starts the thread; fails where the loop cannot be made. */
bool shard_start(struct shard *shard, struct error *error);

/* Asks the thread to stop, from any thread; then wait for it: everything collected is in the ring
 * when shard_join() returns. */
void shard_stop(struct shard *shard);
void shard_join(struct shard *shard);

/* After the worker has given every page back. */
void shard_destroy(struct shard **shard);

/* Any thread: monotonic time of the loop's last turn, and collections finished by each target at
 * least (for `pgweir once`). */
uint64_t shard_turned_ns(const struct shard *shard);
uint64_t shard_rounds(const struct shard *shard);
