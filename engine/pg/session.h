/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/arena.h"
#include "pg/failure.h"
#include "pg/pipeline.h"
#include "pg/settings.h"

struct pg_conn;

/* How sessions of one server are opened: libpq's parameters made from the settings once, the guards
 * every session gets, and how the server's answer to "who are you?" is read. Immutable after
 * session_init(); holds the password in wiped memory. Shard's thread only. */

enum { SESSION_PARAMETERS_MAX = 48 };

struct session {
    struct arena arena;
    const char *keywords[SESSION_PARAMETERS_MAX + 1];
    const char *values[SESSION_PARAMETERS_MAX + 1];
    uint32_t parameter_count;
    const char *host; /* a name, an address, or a socket's directory */
    uint16_t port;
    const char *database; /* maintenance database */
    const char *name;     /* the target's, "host:port" where it has none */
    const char *place;    /* "target db1 (db1.example:5432)" for messages */
    bool by_name;         /* the host has to be looked up */
    uint64_t connect_timeout_ns;
    const char *guards[4];
    const char *wishes[2];
    uint32_t wish_versions[2]; /* first server version that has it */
};

/* What a server is. */
struct identity {
    struct capabilities capabilities;
    uint64_t start_ns; /* wall clock of the postmaster's start */
};

/* Never fails for the caller: what is wrong with the settings is said in `ret_problem` (kind
 * FAILURE_UNFIT, or an empty text), and no connection can be opened. */
void session_init(struct session *session, const struct server_settings *server,
                  const struct session_settings *settings, struct failure *ret_problem);
void session_fini(struct session *session);

/* Begins to connect; `address` is the looked-up address, NULL where none is needed. Never NULL: the
 * result's status tells. */
struct pg_conn *session_connect(const struct session *session, const char *database,
                                const char *address);

/* Sends guards and probe (or the probe alone) in one write. */
void session_send_setup(const struct session *session, struct pipeline *pipeline,
                        struct pg_conn *connection, const char *probe_sql);
void session_send_probe(struct pipeline *pipeline, struct pg_conn *connection,
                        const char *probe_sql);

/* False when the row is not what was asked for. */
bool session_read_identity(const struct pg_result *result, struct identity *ret_identity);
