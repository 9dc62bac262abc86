/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* Threads beside the shards for what is dear when a session is opened: a password's SCRAM proof
 * (libpq 15: 10 ms of hashing) and TLS. A loop that did it itself would hold up every other server
 * for as long, and with hundreds of servers that come back at once for seconds. A shard hands over
 * a connection whose socket is ready for one PQconnectPoll() and gets it back by a message; in
 * between it does not touch it. The threads stand behind the shards (a higher nice value). */
struct handshaker;
struct handshake_client; /* one per shard */
struct handshake;        /* one connection on its way */
struct pg_conn;          /* libpq's PGconn */

bool handshaker_create(struct handshaker **ret_handshaker, uint32_t thread_count,
                       uint32_t client_count, struct error *error);

/* Joins the threads; no client is woken any more. Then shards may go, then destroy. */
void handshaker_stop(struct handshaker *handshaker);
void handshaker_destroy(struct handshaker **handshaker);

/* `wake(wake_owner)` is called on a handshaker's thread when something is done. */
struct handshake_client *handshake_client(struct handshaker *handshaker, uint32_t index,
                                          void (*wake)(void *wake_owner), void *wake_owner);

/* Shard: hands the connection over; nothing may be armed on its socket. Never fails: the number of
 * connects in flight bounds how many there are. */
struct handshake *handshake_begin(struct handshake_client *client, struct pg_conn *connection,
                                  void *owner);

/* Shard: the owner does not want it any more; the connection is closed when it comes back. */
void handshake_abandon(struct handshake *handshake);

/* Shard: the owner of the next one that is done, which has its connection back, and what
 * PQconnectPoll() said; NULL when there is none. The handshake is gone. */
void *handshake_take(struct handshake_client *client, int *ret_polled);
