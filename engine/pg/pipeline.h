/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "catalog/catalog.h"

struct pg_conn;
struct pg_result;
struct conn;
struct collection;

/* What was sent to the server and not answered yet, in order. A server answers each entry with
 * results and a NULL, each Sync with PIPELINE_SYNC and no NULL; after an error everything up to the
 * next Sync comes back as aborted. Shard's thread only. */

enum pipeline_kind {
    PIPELINE_PREPARE,    /* a statement is prepared */
    PIPELINE_TIMEOUT,    /* its own statement_timeout is set, until the next Sync */
    PIPELINE_EXECUTE,    /* it runs */
    PIPELINE_DEALLOCATE, /* a name is given up; its answer does not matter */
    PIPELINE_GUARD,      /* session guard that must hold */
    PIPELINE_WISH,       /* session guard that some servers lack */
    PIPELINE_PROBE,      /* who are you? */
    PIPELINE_SYNC,
};

struct pipeline_entry {
    uint8_t kind; /* enum pipeline_kind */
    uint16_t statement;
};

struct pipeline {
    struct pipeline_entry *entries;
    uint32_t head, count, capacity;
    bool answered; /* the head entry's result came, its NULL did not yet */
    bool refused;  /* a send failed: libpq's message says why */
};

enum pipeline_progress { PIPELINE_WAITS, PIPELINE_DONE, PIPELINE_LOST };

void pipeline_fini(struct pipeline *pipeline);

/* Notes what libpq took (`sent` is its return value). */
void pipeline_expect(struct pipeline *pipeline, enum pipeline_kind kind, uint32_t statement,
                     int sent);
void pipeline_sync(struct pipeline *pipeline, struct pg_conn *connection);

/* Called for each result but that of a Sync; the result is borrowed. False ends the session. */
typedef bool pipeline_fn(void *owner, const struct pipeline_entry *entry,
                         const struct pg_result *result);

/* Reads what has arrived, without waiting. DONE: everything sent was answered. LOST: the session is
 * over (libpq's message says why, unless `fn` ended it). */
enum pipeline_progress pipeline_read(struct pipeline *pipeline, struct pg_conn *connection,
                                     pipeline_fn *fn, void *owner);

/* Step 4 of 9: one collection on one session.
 *
 * All due statements leave in one write and share one Sync. An error aborts what is behind it up to
 * the Sync: that tail is sent again in the same cycle, where statements that never succeeded get a
 * Sync of their own. A statement that failed is set apart (failure.h) until it succeeds. */

/* What a session knows of one statement of its plan. */
struct pipeline_statement {
    uint8_t generation; /* of its name on the server */
    bool prepared : 1;
    bool due : 1;     /* wanted, not sent or to be sent again */
    bool settled : 1; /* succeeded or failed in this cycle */
    bool fresh : 1;   /* prepared in this cycle */
    bool renewed : 1; /* prepared again in this cycle after its old form was refused */
};

struct run {
    struct pipeline_statement *statements; /* of the session's plan */
    uint32_t round;
    uint32_t delivered; /* results given, failures recorded: a second try would double them */
    bool ask_again;     /* the server's role may have changed */
    uint64_t time_ns;   /* wall clock of this reading */
    uint64_t since_ns;  /* sent, or when answers were last read */
    uint32_t answered;  /* statements, since then */
};

/* Takes over a plan; statements that are the same stay prepared. `before` may be NULL. */
void run_adopt(struct run *run, const struct plan *before, const struct plan *plan);
void run_fini(struct run *run);

/* Of this collection, and so of this connection: the database's statements, on the maintenance
 * database the server's too. */
bool run_wants(const struct collection *collection, const struct statement *statement);

/* Name of the query whose answer is awaited. */
const char *run_awaited(const struct conn *conn);

/* Marks what is due and sends it; call with no poll armed. */
void run_start(struct conn *conn, uint64_t now_ns);

/* Reads; sends what has to be sent again. DONE: every statement is settled. */
enum pipeline_progress run_read(struct conn *conn, uint64_t now_ns);

/* Records how long the statements took whose answers were read: once a step, behind its last
 * run_read(). Statements travel together, so those that are read together share the time. */
void run_tell(struct conn *conn, uint64_t now_ns);
