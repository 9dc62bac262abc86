/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "control/breaker.h"
#include "pg/failure.h"
#include "pg/pipeline.h"
#include "pg/pool.h"
#include "pg/session.h"

/* One connection of a pool, from a free place to a closed socket. Shard's thread only; the pool
 * owns it and tells it what to do by conn_open(), conn_step() and conn_close(). */

enum { CONN_NOT_POLLED = -1 };

enum conn_state {
    /* A free place of the pool: no session, nothing armed, no budget held. */
    CONN_CLOSED,
    /* The resolver was asked for the host's addresses. */
    CONN_RESOLVING,
    /* libpq shakes hands with one address after the other: TCP, TLS, authentication. */
    CONN_CONNECTING,
    /* Guards and probe were sent in one write; the answers say what this server is. */
    CONN_SETUP,
    /* A session without work. Its socket is not watched: if the server ends it, the next collection
     * finds out and starts anew, which costs less than arming a poll per collection. */
    CONN_READY,
    /* A collection's statements are out. */
    CONN_RUNNING,
    /* The probe is out once more, because the server's role may have changed, or for routine. */
    CONN_PROBING,
    /* Everything is given back in one step. */
    CONN_CLOSING,
    CONN_STATE_COUNT,
};

/* What stands between a pool and new connections, to the whole server or to one database of it:
 * one failed attempt opens it, then one connection at a time probes. */
struct circuit {
    struct breaker breaker;
    struct failure failure; /* the last, where breaker.failures > 0 */
};

/* A place the pool connects to: one per database, with what is remembered of it. */
struct database {
    char *name;
    struct circuit circuit;
    struct track_record track;
    uint64_t answer_ns; /* when a collection's answer is looked for, after asking; 0: not learned */
    bool apart; /* the last collection ran out of time: statements get a Sync each, to tell which */
};

struct conn {
    struct pool *pool;
    struct pg_context *context;
    const struct session *session;
    enum conn_state state;
    uint32_t watch;
    uint32_t ready; /* events since the last step */
    struct timer timer;
    uint64_t deadline_ns; /* of the state */
    struct timer pause;   /* RUNNING: between two looks at an answer that is still coming */
    struct pg_conn *pg;
    struct database *database; /* NULL: closed */
    bool begun;                /* the state's first step was made */
    bool promised;             /* to a waiting collection, in one pass of the pool */
    bool in_flight;            /* counts as a connect in flight */
    bool probes_server;        /* is the probe of a half-open breaker, and has yet to say how it */
    bool probes_database;      /* went */
    enum telemetry_value close_reason;

    /* connecting */
    uint64_t opened_ns, connect_deadline_ns;
    uint64_t ticket; /* resolver's; 0: not asked */
    struct conn *next_resolving;
    char addresses[RESOLVER_ADDRESSES_MAX][RESOLVER_ADDRESS_BYTES];
    uint32_t address_count, address;
    char good_address[RESOLVER_ADDRESS_BYTES]; /* where the last session was made */
    struct handshake *handshake; /* not NULL: `pg` is with the handshaker, not to be touched */
    int polled;                  /* what PQconnectPoll() said there, or CONN_NOT_POLLED */
    struct failure failure;      /* why connecting failed, or the session ended */

    /* a session */
    const struct plan *plan;
    struct identity identity;
    bool identified;                       /* by the probe under way */
    uint64_t retire_ns, probe_ns, idle_ns; /* idle_ns: since when */
    struct conn *next_idle, **previous_idle;

    /* a collection */
    struct collection *collection;
    uint64_t asked_ns; /* when its statements left */
    uint32_t looks;    /* at its answer, so far */
    struct pipeline pipeline;
    struct run run;
};

void conn_init(struct conn *conn, struct pool *pool, struct pg_context *context,
               const struct session *session);

/* CLOSED only; the pool has taken the budget. Goes as far as it can without waiting. False, and
 * nothing changed, when the loop has no place. */
bool conn_open(struct conn *conn, struct database *database, uint64_t now_ns);

/* Does what can be done now. */
void conn_step(struct conn *conn, uint64_t now_ns);

/* Closes whatever it is doing and counts the reason, one of TELEMETRY_CLOSED_*, where there was a
 * session. The collection, if any, must have been detached. */
void conn_close(struct conn *conn, enum telemetry_value reason, uint64_t now_ns);

/* Takes over the plan for what the server is. */
void conn_adopt(struct conn *conn, const struct plan *plan, uint64_t now_ns);

/* Gives the resolver's answer to the connection that waits for it; NULL when none does any more. */
struct conn *conn_resolved(struct pg_context *context, const struct resolver_answer *answer);

/* A connection that came back from the handshaker; NULL when there is none. */
struct conn *conn_shaken(struct pg_context *context);

void conn_fini(struct conn *conn);

/* READY, CONNECTING, … as text, for logs. */
const char *conn_state_name(enum conn_state state);
bool conn_opening(const struct conn *conn); /* has yet to become READY for the first time */
bool conn_live(const struct conn *conn);    /* has a session */

/* What a connection asks of and tells its pool, from inside conn_step(). */

const char *pool_probe_sql(const struct pool *pool);
uint64_t pool_max_age_ns(const struct pool *pool);

/* A connection is about to be opened: the probe of those breakers that wait for one. */
void pool_on_connect(struct pool *pool, struct conn *conn, struct database *database,
                     uint64_t now_ns);

/* It ended, however it did: a probe that has not said how it went said nothing. */
void pool_on_connect_over(struct pool *pool, struct conn *conn, struct database *database,
                          uint64_t now_ns);

/* Connecting failed: the breaker opens, and who waits for it fails. */
void pool_on_connect_failed(struct pool *pool, struct conn *conn, uint64_t now_ns);

/* The server said who it is. False (with conn->failure set) when it cannot be collected from. */
bool pool_on_identified(struct pool *pool, struct conn *conn, uint64_t now_ns);

/* Whether a collection waits that this session suits; takes the first such one. */
bool pool_has_work(const struct pool *pool, const struct conn *conn);
struct collection *pool_take(struct pool *pool, struct conn *conn, uint64_t now_ns);

/* The collection ends: counts, and calls `done`. */
void pool_on_finished(struct pool *pool, struct conn *conn, struct collection *collection);

/* The session broke under a collection: it starts anew if nothing was delivered, or fails. */
void pool_on_broken(struct pool *pool, struct conn *conn, struct collection *collection);

/* The deadline of a running collection passed. */
void pool_on_overdue(struct pool *pool, struct conn *conn, struct collection *collection,
                     uint64_t now_ns);

/* A statement failed, or works again: said once per target, statement and SQLSTATE. */
void pool_on_statement(struct pool *pool, const struct conn *conn,
                       const struct statement *statement, const struct failure *failure);

/* Called by the loop and by timers: runs the connection, then whatever became possible. */
void pool_turn(struct pool *pool, struct conn *conn, uint64_t now_ns);
