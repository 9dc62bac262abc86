/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "pg/conn.h"

/* A pool's own state, shared by its two files: pool.c places collections on connections, report.c
 * takes what connections tell. */

struct pool {
    struct pg_context *context;
    struct pool_options options;
    struct session session;
    struct failure problem; /* of the settings: no connection is ever tried */
    struct circuit circuit; /* of the whole server */
    struct database **databases;
    uint32_t database_count;
    const struct database *good; /* where the last session was made */
    bool identified;
    struct identity identity; /* as told to the owner */
    const struct plan *plan;
    struct collection *first, **last;              /* waiting */
    struct timer timer;                            /* when something may be tried again */
    bool busy, closing, refused;                   /* refused: by the budget */
    struct pool *next_starved, **previous_starved; /* previous NULL: not in the list */
    uint32_t conn_count;
    struct conn conns[];
};

/* The server's breaker as the metrics see it: the pool is there, or no more. */
void pool_count_breaker(const struct pool *pool, bool up);

/* A session to this database exists or is under way, other than `except`. */
bool pool_serves(const struct pool *pool, const struct database *database,
                 const struct conn *except);

void pool_enqueue(struct pool *pool, struct collection *collection, bool front);

/* Calls `done`: the collection is the caller's again. */
void pool_finish(struct pool *pool, struct collection *collection, enum collection_outcome outcome,
                 const char *text);
