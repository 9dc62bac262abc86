/* SPDX-License-Identifier: Apache-2.0 */
/* A session's life, its output, and the count of what arrived. Thread of its `serve`.
 *
 * An answer's numeric cells are `queued` until the net says that everything is with the kernel,
 * then `sent` until the client begins another request (it went on) or the connection ends. A client
 * that says goodbye has read its answer where its end is a clean one: whoever closes with bytes
 * unread, or before they came, resets. What has been read counts as arrived, the rest as void.
 *
 * Answers go straight into the net's buffer. Only where a script may delay an execution are they
 * kept back as PostgreSQL keeps them, until Sync, Flush or 8 KiB: otherwise what stands before the
 * delayed statement would leave early.
 *
 * An execution that waits leaves its message unconsumed; when it is due, the net offers the message
 * again and it is executed with the verdict it waited for. */
#include "tools/sim/session.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "tools/sim/serve.h"

enum {
    HELD_BYTES_MAX = 8192,     /* PostgreSQL's PqSendBuffer */
    KEPT_BYTES_MAX = 64 << 10, /* of a client that sends while it has to wait */
    STARTUP_LIMIT_S = 60,      /* authentication_timeout */
    GOODBYE_LIMIT_S = 10,      /* from Terminate to the client's FIN */
    ERROR_TEXT_BYTES = 512,
};

#define ALLOW(state) (1u << SESSION_##state)

static const struct {
    const char *name;
    uint32_t next;
    uint32_t limit_s; /* 0: the client decides, or the script, or (ending) the net */
} states[SESSION_STATES] = {
    [SESSION_STARTUP] = {"startup",
                         ALLOW(SLOW) | ALLOW(PASSWORD) | ALLOW(SASL) | ALLOW(READY) | ALLOW(ENDING),
                         STARTUP_LIMIT_S},
    [SESSION_SLOW] = {"slow", ALLOW(PASSWORD) | ALLOW(SASL) | ALLOW(READY) | ALLOW(ENDING), 0},
    [SESSION_PASSWORD] = {"password", ALLOW(READY) | ALLOW(ENDING), STARTUP_LIMIT_S},
    [SESSION_SASL] = {"sasl", ALLOW(PROOF) | ALLOW(ENDING), STARTUP_LIMIT_S},
    [SESSION_PROOF] = {"proof", ALLOW(READY) | ALLOW(ENDING), STARTUP_LIMIT_S},
    [SESSION_READY] = {"ready", ALLOW(WAITING) | ALLOW(SKIPPING) | ALLOW(ENDING), 0},
    [SESSION_WAITING] = {"waiting", ALLOW(READY) | ALLOW(ENDING), 0},
    [SESSION_SKIPPING] = {"skipping", ALLOW(READY) | ALLOW(ENDING), 0},
    [SESSION_ENDING] = {"ending", 0, 0},
};

static void on_timer(struct timer *timer, uint64_t now_ns)
{
    struct session_work *work =
        (struct session_work *)(void *)((char *)timer - offsetof(struct session_work, timer));
    struct session *session = work->session;
    session->serve->now_ns = now_ns;
    switch ((enum session_state)session->state) {
    case SESSION_SLOW:
        session_begin(session);
        return;
    case SESSION_WAITING:
        work->decided = true;
        session_resume(session);
        return;
    case SESSION_STARTUP:
    case SESSION_PASSWORD:
    case SESSION_SASL:
    case SESSION_PROOF:
        session_fatal(session, "08006", "canceling authentication due to timeout");
        return;
    case SESSION_ENDING:
        net_close(session->conn);
        return;
    case SESSION_READY:
    case SESSION_SKIPPING:
    case SESSION_STATES:
        return;
    }
}

struct session_work *session_work(struct session *session)
{
    if (session->work == NULL) {
        session->work = xcalloc(1, sizeof *session->work);
        session->work->session = session;
        timer_init(&session->work->timer, on_timer);
    }
    return session->work;
}

void session_arm(struct session *session, uint64_t deadline_ns)
{
    wheel_arm(session->serve->wheel, &session_work(session)->timer, deadline_ns);
}

void session_enter(struct session *session, enum session_state state)
{
    CHECK(states[session->state].next >> state & 1);
    session->state = (uint8_t)state;
    if (session->work != NULL)
        wheel_cancel(session->serve->wheel, &session->work->timer);
    if (states[state].limit_s > 0)
        session_arm(session, session->serve->now_ns + states[state].limit_s * NS_PER_S);
}

void portal_fini(struct portal *portal)
{
    command_release(portal->command);
    free(portal->codes);
    *portal = (struct portal){0};
}

void session_drop_portals(struct session *session)
{
    struct session_work *work = session->work;
    if (session->portal.command != NULL)
        portal_fini(&session->portal);
    while (work != NULL && work->portals != NULL) {
        struct named_portal *portal = work->portals;
        work->portals = portal->next;
        portal_fini(&portal->portal);
        free(portal);
    }
}

static void drop_work(struct session *session)
{
    struct session_work *work = session->work;
    if (work == NULL)
        return;
    wheel_cancel(session->serve->wheel, &work->timer);
    free(work->scram);
    free(work->held);
    free(work->startup);
    free(work->database);
    free(work);
    session->work = NULL;
}

void session_rest(struct session *session)
{
    const struct session_work *work = session->work;
    if (work != NULL && session->state == SESSION_READY && work->portals == NULL &&
        work->held_count == 0 && !work->decided)
        drop_work(session);
}

void session_resume(struct session *session)
{
    if (session->state == SESSION_WAITING)
        session_enter(session, SESSION_READY);
    net_hold(session->conn);
    net_release(session->conn);
}

/* -- output -- */

uint8_t *session_room(struct session *session, size_t count)
{
    if (!session->keeps)
        return net_room(session->conn, count);
    struct session_work *work = session_work(session);
    if (work->held_count + count > work->held_capacity) {
        size_t capacity = work->held_capacity == 0 ? HELD_BYTES_MAX : work->held_capacity;
        while (capacity < work->held_count + count)
            capacity *= 2;
        work->held = xrealloc(work->held, capacity);
        work->held_capacity = capacity;
    }
    return work->held + work->held_count;
}

void session_flush(struct session *session)
{
    struct session_work *work = session->work;
    if (work == NULL || work->held_count == 0)
        return;
    net_send(session->conn, work->held, work->held_count);
    work->held_count = 0;
}

void session_wrote(struct session *session, size_t count)
{
    if (!session->keeps) {
        net_wrote(session->conn, count);
        return;
    }
    session->work->held_count += count;
    if (session->work->held_count >= HELD_BYTES_MAX)
        session_flush(session);
}

void session_send(struct session *session, const void *bytes, size_t count)
{
    memcpy(session_room(session, count), bytes, count);
    session_wrote(session, count);
}

void session_message(struct session *session, char type, const void *body, size_t count)
{
    uint8_t *to = session_room(session, count + 5);
    to[0] = (uint8_t)type;
    wire_put32(to + 1, (uint32_t)count + 4);
    if (count > 0)
        memcpy(to + 5, body, count);
    session_wrote(session, count + 5);
}

void session_tag(struct session *session, const char *tag)
{
    session_message(session, 'C', tag, strlen(tag) + 1);
}

void session_ready(struct session *session)
{
    session_message(session, 'Z', &session->transaction, 1);
    session_flush(session);
}

/* Fields of ErrorResponse: chapter 55.8. */
__attribute__((format(printf, 4, 0))) static void send_error(struct session *session,
                                                             const char *severity,
                                                             const char *sqlstate,
                                                             const char *format, va_list arguments)
{
    char text[ERROR_TEXT_BYTES], body[ERROR_TEXT_BYTES + 64];
    vsnprintf(text, sizeof text, format, arguments);
    int count = snprintf(body, sizeof body, "S%s%cV%s%cC%s%cM%s%c", severity, 0, severity, 0,
                         sqlstate, 0, text, 0);
    CHECK(count > 0 && (size_t)count < sizeof body);
    body[count] = 0;
    session_message(session, 'E', body, (size_t)count + 1);
    tally_error(&session->serve->tally, sqlstate);
}

void session_error(struct session *session, const char *sqlstate, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    send_error(session, "ERROR", sqlstate, format, arguments);
    va_end(arguments);
    if (session->transaction == 'T')
        session->transaction = 'E';
    if (session->state == SESSION_READY && !session->simple)
        session_enter(session, SESSION_SKIPPING);
}

void session_fatal(struct session *session, const char *sqlstate, const char *format, ...)
{
    va_list arguments;
    if (session->state == SESSION_ENDING)
        return;
    if (session->database == NULL)
        counter_add(&session->serve->tally.refused, 1);
    va_start(arguments, format);
    send_error(session, "FATAL", sqlstate, format, arguments);
    va_end(arguments);
    session_flush(session);
    session_enter(session, SESSION_ENDING);
    net_close(session->conn);
}

void session_terminate(struct session *session)
{
    session_fatal(session, "57P01", "%s", sqlstate_message("57P01"));
}

void session_cancel(struct session *session)
{
    struct session_work *work = session->work;
    if (session->state != SESSION_WAITING || work->verdict.deaf)
        return;
    work->verdict = (struct verdict){.kind = VERDICT_ERROR,
                                     .sqlstate = "57014",
                                     .message = "canceling statement due to user request"};
    work->decided = true;
    session_resume(session);
}

void session_thaw(struct session *session)
{
    const struct serve *serve = session->serve;
    struct session_work *work = session->work;
    if (session->state != SESSION_WAITING || work->verdict.hang == NULL)
        return;
    for (size_t i = 0; serve->script != NULL && i < serve->script->count; i++)
        if (serve->script->rules[i] == work->verdict.hang && (serve->active >> i & 1) != 0)
            return;
    work->verdict = (struct verdict){.kind = VERDICT_ANSWER};
    work->decided = true;
    session_resume(session);
}

/* -- the net's callbacks -- */

/* BY_DATABASE finds the server later, from the start-up message. */
static bool find_server(const struct listener *listener, const struct sockaddr_in *local,
                        uint32_t *ret_server)
{
    const struct sim *sim = listener->serve->sim;
    static const uint32_t first_address = 0x7f010001, host_address = 0x7f000001;
    *ret_server = listener->server;
    if (sim->settings.by != BY_ADDRESS)
        return true;
    uint32_t address = ntohl(local->sin_addr.s_addr);
    if (address >= first_address && address - first_address < fleet_servers(sim->fleet))
        *ret_server = address - first_address;
    else
        return address == host_address;
    return true;
}

static void *session_opened(void *owner, struct net_conn *conn, const struct sockaddr_in *local,
                            uint64_t now_ns)
{
    const struct listener *listener = owner;
    struct serve *serve = listener->serve;
    uint32_t server;
    serve->now_ns = now_ns;
    counter_add(&serve->tally.accepted, 1);
    if (!find_server(listener, local, &server)) {
        counter_add(&serve->tally.refused, 1);
        return NULL;
    }
    struct session *session = xcalloc(1, sizeof *session);
    session->serve = serve;
    session->conn = conn;
    session->server = server;
    session->transaction = 'I';
    session->local_statement_ms = session->local_lock_ms = NO_LIMIT;
    session->secret = (uint32_t)random_next(&serve->random);
    session->prepared = prepared_enter(serve->nothing);
    serve_enlist(serve, session);
    session_arm(session, now_ns + STARTUP_LIMIT_S * NS_PER_S);
    return session;
}

/* Nothing is pending: what was queued is with the kernel. */
static void sent(struct session *session)
{
    if (session->queued_values == 0 || (session->work != NULL && session->work->held_count > 0))
        return;
    session->sent_values += session->queued_values;
    counter_add(&session->serve->tally.sent_values, session->queued_values);
    session->queued_values = 0;
}

/* The client went on: what was sent before has arrived. The net may tell of it before it tells that
 * the answer has left. */
static void arrived(struct session *session)
{
    struct tally *tally = &session->serve->tally;
    if (session->queued_values > 0 && net_pending(session->conn) == 0)
        sent(session);
    if (session->sent_values == 0)
        return;
    counter_add(&tally->values, session->sent_values);
    counter_set(&tally->sent_values, counter_read(&tally->sent_values) - session->sent_values);
    session->sent_values = 0;
}

static size_t step(struct session *session, const uint8_t *bytes, size_t count)
{
    switch ((enum session_state)session->state) {
    case SESSION_STARTUP:
        return session_startup(session, bytes, count);
    case SESSION_PASSWORD:
    case SESSION_SASL:
    case SESSION_PROOF:
        return session_authenticate(session, bytes, count);
    case SESSION_READY:
    case SESSION_SKIPPING:
        return session_request(session, bytes, count);
    case SESSION_ENDING:
        return count;
    case SESSION_SLOW:
    case SESSION_WAITING:
    case SESSION_STATES:
        break;
    }
    return 0;
}

static size_t session_received(void *owner, const uint8_t *bytes, size_t count, uint64_t now_ns)
{
    struct session *session = owner;
    session->serve->now_ns = now_ns;
    bool goodbye = count == session->kept + 5u && bytes[session->kept] == 'X';
    if (count > session->kept && !goodbye && !session->recorded) /* not the rest of a request */
        arrived(session);
    size_t at = 0;
    while (at < count) {
        size_t used = step(session, bytes + at, count - at);
        if (used == 0)
            break;
        at += used;
    }
    session->kept = (uint32_t)(count - at);
    if (session->state == SESSION_WAITING && session->kept > KEPT_BYTES_MAX)
        net_hold(session->conn);
    return at;
}

static void session_drained(void *owner, uint64_t now_ns)
{
    (void)now_ns;
    sent(owner);
}

void session_goodbye(struct session *session)
{
    struct tally *tally = &session->serve->tally;
    if (session->queued_values > 0 && net_pending(session->conn) == 0)
        sent(session);
    counter_add(&tally->void_values, session->queued_values); /* it did not wait for them */
    session->queued_values = 0;
    session->goodbye = true;
    session_enter(session, SESSION_ENDING);
    session_arm(session, session->serve->now_ns + GOODBYE_LIMIT_S * NS_PER_S);
}

static void session_closed(void *owner, int error)
{
    struct session *session = owner;
    if (session->goodbye && error == 0)
        arrived(session);
    struct tally *tally = &session->serve->tally;
    counter_set(&tally->sent_values, counter_read(&tally->sent_values) - session->sent_values);
    counter_add(&tally->void_values, session->sent_values + session->queued_values);
    serve_delist(session->serve, session);
    session_drop_portals(session);
    drop_work(session);
    command_release(session->unnamed);
    prepared_leave(session->prepared);
    free(session);
}

const struct net_handler session_handler = {
    .opened = session_opened,
    .received = session_received,
    .drained = session_drained,
    .closed = session_closed,
};
