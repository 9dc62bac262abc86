/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "pg/pool.h"

/* What a shard is for a pool, for tests: a loop, a wheel, a resolver, one pool, and a plan of the
 * test's own. */

struct rig_query {
    const char *name, *sql;
    enum query_scope scope;
    uint32_t group;
    uint64_t timeout_ns;
};

struct rig {
    struct loop *loop;
    struct wheel *wheel;
    struct resolver *resolver;
    struct handshaker *handshaker;
    struct random random;
    struct pg_budget budget;
    struct pg_context context;
    struct catalog *catalog;
    struct server_settings server;
    struct session_settings session;
    struct statement statements[32];
    struct plan plan, standby_plan; /* same statements; which is made for depends on the role */
    struct pool *pool;
    uint32_t identified; /* calls */
    uint64_t server_start_ns;
    const struct plan *identified_plan;
    const char *unfit; /* where set, no server is good enough, and this is why */
    char dsn[256];
};

struct rig_collection {
    struct collection collection;
    uint32_t results, rows;
    bool done;
    enum collection_outcome outcome;
    char error[700];
    uint64_t asked_ns, done_ns;
};

/* False where this kind of loop is denied here. No pool yet. */
bool rig_init(struct rig *rig, enum loop_kind kind);
void rig_fini(struct rig *rig);

/* Statements of the plan, up to one without a name. */
void rig_plan(struct rig *rig, const struct rig_query *queries);

/* (Re)creates the pool from rig->server, rig->session. */
void rig_pool(struct rig *rig);
void rig_pool_dsn(struct rig *rig, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Asks for a collection; runs the loop until all of `count` are done. */
void rig_ask(struct rig *rig, struct rig_collection *collection, const char *database,
             uint64_t timeout_ms);
void rig_wait(struct rig *rig, struct rig_collection *collections, uint32_t count);
void rig_collect(struct rig *rig, struct rig_collection *collection, const char *database,
                 uint64_t timeout_ms);
void rig_run_ms(struct rig *rig, uint64_t ms);

/* The error says `words`, then how many seconds it took, `least_s` or, on a busy machine, more,
 * then `more_words`. */
void rig_check_waited(const struct rig_collection *collection, const char *words, double least_s,
                      const char *more_words);
uint64_t rig_value(const struct rig *rig, enum telemetry_value value);

/* Open descriptors of this process. */
uint32_t rig_descriptors(void);
