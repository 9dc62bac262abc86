/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* Name look-ups on a thread of their own (c-ares: many at once, so a dead name server holds up
 * nobody's name but its own), answers cached for a minute, the last good address kept and used
 * while look-ups fail. Shards ask and are answered by messages; no shard ever waits. */
struct resolver;
struct resolver_client; /* one per shard */

enum { RESOLVER_ADDRESSES_MAX = 4, RESOLVER_ADDRESS_BYTES = 64 };

struct resolver_answer {
    uint64_t ticket;
    uint32_t address_count; /* 0: not found, `error` says why */
    char addresses[RESOLVER_ADDRESSES_MAX][RESOLVER_ADDRESS_BYTES]; /* numeric, for libpq's
                                                          hostaddr, in the order to try them */
    char error[128];
};

bool resolver_create(struct resolver **ret_resolver, uint32_t client_count, struct error *error);
void resolver_destroy(struct resolver **resolver);

/* `wake(wake_owner)` is called on the resolver's thread after answers were queued. */
struct resolver_client *resolver_client(struct resolver *resolver, uint32_t index,
                                        void (*wake)(void *wake_owner), void *wake_owner);

/* Shard: asks for a host name; the answer comes by resolver_take() with the same ticket. False when
 * the question lane is full: ask again later. */
bool resolver_ask(struct resolver_client *client, uint64_t ticket, const char *host);

/* Shard: next answer; false when none. */
bool resolver_take(struct resolver_client *client, struct resolver_answer *ret_answer);
