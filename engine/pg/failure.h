/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/limits.h>
#include <pgweir/telemetry.h>

#include "catalog/catalog.h"

struct pg_conn;
struct pg_result;

/* What a server's refusals mean, and what is remembered of them. Everything that knows an SQLSTATE
 * is here. Shard's thread only. */

enum failure_kind {
    FAILURE_LASTING,  /* stays until somebody changes something: a missing right, column, host */
    FAILURE_PASSING,  /* may be over next time: lock, timeout, conflict with recovery */
    FAILURE_PREPARED, /* the prepared statement is gone or no longer fits: prepare it again */
    FAILURE_ROLE,     /* the server's role is not what the plan was made for: ask again who it is */
    FAILURE_SESSION,  /* the session is over */
    FAILURE_DATABASE, /* connecting: this database cannot be used, others may */
    FAILURE_ACCESS,   /* connecting: pg_hba.conf refuses this user, host or database */
    FAILURE_LOGIN,    /* connecting: refused credentials, never to be tried in quick succession */
    FAILURE_UNFIT,    /* connecting: a server that cannot be collected from, e.g. too old */
};

enum { FAILURE_TEXT_BYTES = 256, SQLSTATE_BYTES = 6 };

struct failure {
    enum failure_kind kind;
    char sqlstate[SQLSTATE_BYTES]; /* "" where none was given */
    char text[FAILURE_TEXT_BYTES]; /* one line of UTF-8: what, (SQLSTATE), and the likely cure */
};

/* From libpq's message of a failed connection attempt, a lost session, or a failed statement. */
void failure_from_connection(struct failure *failure, const struct pg_conn *connection);
void failure_from_result(struct failure *failure, const struct pg_result *result);

/* Our own words; `sqlstate` stays empty. */
void failure_set(struct failure *failure, enum failure_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Copies text as one line of valid UTF-8, cut at a character's end. */
void failure_clean(char *ret_text, size_t bytes, const char *text);

/* Counts an error of a query under its SQLSTATE; the first sight of a pair makes a set. Their
 * number is bounded per shard: what comes later is counted as SQLSTATE "other". The set returned
 * may be kept for the next error of the same pair. */
struct telemetry_set *failure_count(uint32_t shard, const char *query, const char *sqlstate);

/* How the statements of one plan fare in one database of one server. A statement that fails is set
 * apart and asked ever more rarely until it succeeds. */
struct failing {
    const struct statement *statement;
    uint64_t retry_ns, interval_ns;
    uint32_t times;
    struct failure failure;
    struct telemetry_set *telemetry;
};

struct track_record {
    const struct plan *plan;
    uint64_t proven[LIMIT_QUERIES / 64]; /* by index: succeeded, and not failed since */
    struct failing *failing;
    uint32_t failing_count, failing_capacity;
};

/* Forgets everything when the plan is another one. */
void track_adopt(struct track_record *track, const struct plan *plan);
void track_fini(struct track_record *track);

bool track_proven(const struct track_record *track, const struct statement *statement);

/* The record of a statement that failed last time, or NULL. */
const struct failing *track_failing(const struct track_record *track,
                                    const struct statement *statement);

/* True when it had failed before. */
bool track_succeeded(struct track_record *track, const struct statement *statement);

/* True when it is new, or fails with another SQLSTATE than last time. */
bool track_failed(struct track_record *track, const struct statement *statement,
                  const struct failure *failure, uint32_t shard, uint64_t now_ns);
