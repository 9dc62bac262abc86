/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/telemetry.h>

#include "base/random.h"
#include "catalog/catalog.h"
#include "loop/loop.h"
#include "loop/wheel.h"
#include "pg/handshake.h"
#include "pg/resolver.h"
#include "pg/settings.h"

struct pg_result; /* libpq's PGresult */

/* Step 3 of 9. A server's connections: pinned to one shard, capped, kept open, aged with jitter,
 * opened with back-off. Runs wholly on the shard's thread and never blocks. */
struct pool;
struct collection;
struct database;

/* Caps that all shards share; relaxed atomics, so a cap may be missed by a turn, never exceeded. */
struct pg_budget {
    _Atomic int64_t connections, connects_in_flight;
    int64_t connections_max, connects_in_flight_max;
};

/* What every pool of a shard uses; owned by the shard. */
struct pg_context {
    struct loop *loop;
    struct wheel *wheel;
    struct resolver_client *resolver;
    struct handshake_client *handshakes;
    struct telemetry_set *telemetry;
    struct random *random;
    struct pg_budget *budget;
    uint32_t shard;
    /* pg's own; zero at first */
    struct conn *resolving;                     /* connections that wait for an address */
    struct conn *idle_first, **idle_last;       /* idle sessions of all pools, longest idle first */
    struct pool *starved_first, **starved_last; /* pools the budget refused, in order */
    uint64_t tickets;
};

struct pool_options {
    const struct server_settings *server;
    const struct session_settings *session;
    const struct catalog *catalog;
    /* The plan for these capabilities, from the shard's cache; NULL with an error when the server
     * cannot be asked anything. Plans outlive pools. */
    const struct plan *(*plan_for)(void *owner, const struct capabilities *capabilities,
                                   struct error *error);
    /* The server was identified (again): version, role or start time are new. */
    void (*identified)(void *owner, const struct plan *plan, uint64_t server_start_ns);
    void *owner;
};

enum collection_outcome {
    COLLECTION_OK,
    COLLECTION_PARTIAL, /* some statements failed */
    COLLECTION_FAILED,  /* no connection, lost, or deadline */
};

/* One collection of one database of one server: the due groups, all in one round trip. The caller
 * owns it and leaves it alone from pool_collect() until `done`. */
struct collection {
    /* in */
    const char *database; /* NULL: the maintenance database, statements of both scopes; otherwise
                             only statements of scope database */
    bool server_only;     /* leaves out statements of scope database */
    uint64_t groups;      /* bit i: statements of group i */
    uint64_t due_ns;      /* when it should have begun */
    uint64_t deadline_ns; /* the whole of it, waiting included */
    /* Called for each statement's result in order, on the shard's thread; rows are borrowed. */
    void (*result)(struct collection *collection, const struct statement *statement,
                   const struct pg_result *rows, uint64_t time_ns);
    /* Called once. `error` names thing, place and cure ("" when OK). */
    void (*done)(struct collection *collection, enum collection_outcome outcome, const char *error);
    void *owner;
    /* out */
    uint64_t started_ns;         /* when the first byte left; 0: never */
    uint32_t statements, failed; /* due; of these without a result, those set apart included */
    const struct plan *plan; /* whose statements the results are: of the connection it runs on */
    /* the pool's */
    struct collection *next;
    struct timer timer;
    struct pool *pool;
    struct database *entry; /* of its database */
    struct conn *conn;
    uint64_t asked_ns;
    bool waited, restarted;
};

struct pool *pool_create(struct pg_context *context, const struct pool_options *options);

/* Ends what runs (their `done` is called with COLLECTION_FAILED), closes all. */
void pool_destroy(struct pool **pool);

/* Runs the collection as soon as a connection is free; `done` is never called from inside. */
void pool_collect(struct pool *pool, struct collection *collection, uint64_t now_ns);

/* Resolver's answers are given to the pool they belong to: `ticket` was made by pg. */
void pool_resolved(struct pg_context *context, const struct resolver_answer *answer,
                   uint64_t now_ns);

/* Goes on with the connections that came back from the handshaker. */
void pool_shaken(struct pg_context *context, uint64_t now_ns);

uint32_t pool_connections(const struct pool *pool);

/* Statement errors by SQLSTATE and the "logged once" belong to the pool as well. The name of the
 * target as it appears in logs: */
const char *pool_target_name(const struct pool *pool);

/* host and port as connected, for server.address and server.port; the host is a name or an address
 * or, for Unix sockets, a directory. Valid after pool_create(). */
void pool_endpoint(const struct pool *pool, const char **ret_host, uint16_t *ret_port);
