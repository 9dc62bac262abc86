/* SPDX-License-Identifier: Apache-2.0 */
/* From a free place to an authenticated session: the states RESOLVING and CONNECTING of conn.c.
 * Shard's thread. One host per attempt and one address at a time, so that it is always known which
 * socket is polled: libpq may close and open sockets within any call, and get the same number. */
#include "pg/connect.h"

#include <libpq-fe.h>
#include <string.h>

#include "base/clock.h"
#include "pg/handshake.h"

enum { ASK_AGAIN_MS = 20 };

enum conn_state connect_resolve(struct conn *conn, uint64_t now_ns)
{
    struct pg_context *context = conn->context;
    if (conn->address_count > 0)
        return CONN_CONNECTING;
    if (conn->failure.text[0] != 0)
        return conn_fail_connect(conn, now_ns);
    if (now_ns >= conn->deadline_ns) {
        failure_set(&conn->failure, FAILURE_LASTING,
                    "no answer from the name servers for \"%s\" within %.1f s: check endpoint and "
                    "/etc/resolv.conf",
                    conn->session->host, (double)conn->session->connect_timeout_ns / 1e9);
        return conn_fail_connect(conn, now_ns);
    }
    if (conn->begun)
        return CONN_RESOLVING;
    uint64_t ticket = ++context->tickets;
    if (!resolver_ask(context->resolver, ticket, conn->session->host)) {
        wheel_arm(context->wheel, &conn->timer, now_ns + ASK_AGAIN_MS * NS_PER_MS);
        return CONN_RESOLVING;
    }
    conn->begun = true;
    conn->ticket = ticket;
    conn->next_resolving = context->resolving;
    context->resolving = conn;
    wheel_arm(context->wheel, &conn->timer, conn->deadline_ns);
    return CONN_RESOLVING;
}

struct conn *conn_resolved(struct pg_context *context, const struct resolver_answer *answer)
{
    struct conn *conn = context->resolving;
    while (conn != NULL && conn->ticket != answer->ticket)
        conn = conn->next_resolving;
    if (conn == NULL)
        return NULL;
    memcpy(conn->addresses, answer->addresses, sizeof conn->addresses);
    conn->address_count = answer->address_count;
    conn->address = 0;
    if (answer->address_count == 0)
        failure_set(&conn->failure, FAILURE_LASTING,
                    "host name \"%s\" does not resolve (%s): check endpoint", conn->session->host,
                    answer->error);
    /* Begin with the one that worked last time. */
    for (uint32_t i = 1; i < conn->address_count; i++) {
        if (strcmp(conn->addresses[i], conn->good_address) != 0)
            continue;
        memcpy(conn->addresses[i], conn->addresses[0], RESOLVER_ADDRESS_BYTES);
        memcpy(conn->addresses[0], conn->good_address, RESOLVER_ADDRESS_BYTES);
    }
    return conn;
}

/* One address: what is left of the time is shared among those left. */
static void start_attempt(struct conn *conn, uint64_t now_ns)
{
    const char *address = conn->address_count > 0 ? conn->addresses[conn->address] : NULL;
    uint32_t left = conn->address_count > 0 ? conn->address_count - conn->address : 1;
    uint64_t span_ns = conn->connect_deadline_ns > now_ns ? conn->connect_deadline_ns - now_ns : 0;
    conn_set_deadline(conn, now_ns + span_ns / left);
    conn->pg = session_connect(conn->session, conn->database->name, address);
    if (PQstatus(conn->pg) != CONNECTION_BAD)
        conn_arm(conn, LOOP_WRITE);
}

void connect_drop(struct conn *conn)
{
    if (conn->handshake != NULL)
        handshake_abandon(conn->handshake);
    else
        PQfinish(conn->pg);
    conn->handshake = NULL;
    conn->pg = NULL;
    conn->polled = CONN_NOT_POLLED;
}

struct conn *conn_shaken(struct pg_context *context)
{
    int polled;
    struct conn *conn = handshake_take(context->handshakes, &polled);
    if (conn == NULL)
        return NULL;
    conn->handshake = NULL;
    conn->polled = polled;
    return conn;
}

/* The next address, if there is one and nobody answered at this one. */
static enum conn_state attempt_failed(struct conn *conn, uint64_t now_ns)
{
    bool answered = conn->failure.sqlstate[0] != 0;
    conn->address++;
    if (answered || conn->address >= conn->address_count)
        return conn_fail_connect(conn, now_ns);
    loop_disarm(conn->context->loop, conn->watch);
    connect_drop(conn);
    start_attempt(conn, now_ns);
    return CONN_CONNECTING;
}

/* What libpq says to the socket's readiness is in conn->polled: false where that is still to come.
 * What the server sent may ask for a proof or for keys, which is not done on the loop's thread. */
static bool poll_attempt(struct conn *conn)
{
    if (conn->polled != CONN_NOT_POLLED)
        return true;
    if (conn->ready == 0)
        return false;
    if ((conn->ready & LOOP_READ) == 0) {
        conn->polled = (int)PQconnectPoll(conn->pg);
        return true;
    }
    conn->ready = 0;
    conn->handshake = handshake_begin(conn->context->handshakes, conn->pg, conn);
    return false;
}

enum conn_state connect_attempt(struct conn *conn, uint64_t now_ns)
{
    if (conn->pg == NULL)
        start_attempt(conn, now_ns);
    bool away = conn->handshake != NULL;
    if (!away && PQstatus(conn->pg) == CONNECTION_BAD) {
        failure_from_connection(&conn->failure, conn->pg);
        return attempt_failed(conn, now_ns);
    }
    if (now_ns >= conn->deadline_ns) {
        failure_set(&conn->failure, FAILURE_LASTING,
                    "no answer to the connection attempt within %.1f s: check endpoint, firewall "
                    "and the server's load",
                    (double)(now_ns - conn->opened_ns) / 1e9);
        return attempt_failed(conn, now_ns);
    }
    if (away || !poll_attempt(conn))
        return CONN_CONNECTING;
    PostgresPollingStatusType polled = (PostgresPollingStatusType)conn->polled;
    conn->polled = CONN_NOT_POLLED;
    switch (polled) {
    case PGRES_POLLING_READING:
        conn_arm(conn, LOOP_READ);
        return CONN_CONNECTING;
    case PGRES_POLLING_WRITING:
        conn_arm(conn, LOOP_WRITE);
        return CONN_CONNECTING;
    case PGRES_POLLING_OK:
        if (conn->address_count > 0)
            memcpy(conn->good_address, conn->addresses[conn->address], RESOLVER_ADDRESS_BYTES);
        return CONN_SETUP;
    case PGRES_POLLING_FAILED:
    case PGRES_POLLING_ACTIVE:
        break;
    }
    failure_from_connection(&conn->failure, conn->pg);
    return attempt_failed(conn, now_ns);
}
