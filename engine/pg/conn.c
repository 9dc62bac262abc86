/* SPDX-License-Identifier: Apache-2.0 */
/* Step 3 of 9: one session with a server, as a state machine (the states are told in conn.h).
 * Shard's thread; the pool owns the connection and decides what it is for.
 *
 * Invariants. conn_enter() is the only writer of `state`. Every state that waits has a deadline. At
 * most one poll is armed, and none is while libpq is called that may close the socket: the loop
 * disarms before it calls back, every other way in disarms by itself. PQconnectPoll() is called
 * only when the socket said so: it would take a connection under way for a made one.
 *
 * PQcancel() is never called (it blocks). What runs over its deadline is closed; the server ends
 * the query by its own statement_timeout and client_connection_check_interval. */
#include "pg/conn.h"

#include <libpq-fe.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/check.h"
#include "base/clock.h"
#include "pg/connect.h"

enum {
    TURNS_MAX = 64,
    READS_MAX = 64,             /* at most 1 MiB of one answer per turn: others wait */
    LOOK_AGAIN_MS = 1,          /* doubled with every look, up to 16 times */
    LOOK_MAX_MS = 50,           /* a first look is not put off longer */
    IDLE_MAX_MS = 600000,       /* a session nobody needed for so long is closed */
    PROBE_INTERVAL_MS = 300000, /* extensions come and go; before 14 a promotion is seen only so */
};

enum limit { LIMIT_NONE, LIMIT_CONNECT, LIMIT_IDLE, LIMIT_COLLECTION };

#define ALLOW(state) (1u << CONN_##state)

static const struct {
    const char *name;
    uint32_t next;
    enum limit limit; /* NONE: left in the same step, or nothing is waited for */
    bool live;        /* counts as an open session */
    enum telemetry_value gauge;
} states[CONN_STATE_COUNT] = {
    [CONN_CLOSED] = {"closed", ALLOW(RESOLVING) | ALLOW(CONNECTING), LIMIT_NONE, false,
                     TELEMETRY_VALUE_COUNT},
    [CONN_RESOLVING] = {"resolving", ALLOW(CONNECTING) | ALLOW(CLOSING), LIMIT_CONNECT, false,
                        TELEMETRY_CONNECTIONS_CONNECTING},
    [CONN_CONNECTING] = {"connecting", ALLOW(SETUP) | ALLOW(CLOSING), LIMIT_CONNECT, false,
                         TELEMETRY_CONNECTIONS_CONNECTING},
    [CONN_SETUP] = {"setup", ALLOW(READY) | ALLOW(CLOSING), LIMIT_CONNECT, false,
                    TELEMETRY_CONNECTIONS_CONNECTING},
    [CONN_READY] = {"ready", ALLOW(RUNNING) | ALLOW(PROBING) | ALLOW(CLOSING), LIMIT_IDLE, true,
                    TELEMETRY_CONNECTIONS_IDLE},
    [CONN_RUNNING] = {"running", ALLOW(READY) | ALLOW(CLOSING), LIMIT_COLLECTION, true,
                      TELEMETRY_CONNECTIONS_USED},
    [CONN_PROBING] = {"probing", ALLOW(READY) | ALLOW(CLOSING), LIMIT_CONNECT, true,
                      TELEMETRY_CONNECTIONS_USED},
    [CONN_CLOSING] = {"closing", ALLOW(CLOSED), LIMIT_NONE, false, TELEMETRY_VALUE_COUNT},
};

const char *conn_state_name(enum conn_state state)
{
    return states[state].name;
}

bool conn_live(const struct conn *conn)
{
    return states[conn->state].live;
}

bool conn_opening(const struct conn *conn)
{
    return states[conn->state].gauge == TELEMETRY_CONNECTIONS_CONNECTING;
}

static void gauge_add(const struct conn *conn, enum telemetry_value gauge, bool up)
{
    if (gauge != TELEMETRY_VALUE_COUNT)
        telemetry_add(conn->context->telemetry, gauge, up ? 1 : UINT64_MAX);
}

static void idle_link(struct conn *conn, uint64_t now_ns)
{
    conn->idle_ns = now_ns;
    struct pg_context *context = conn->context;
    if (context->idle_first == NULL)
        context->idle_last = &context->idle_first;
    conn->next_idle = NULL;
    conn->previous_idle = context->idle_last;
    *context->idle_last = conn;
    context->idle_last = &conn->next_idle;
}

static void idle_unlink(struct conn *conn)
{
    if (conn->next_idle != NULL)
        conn->next_idle->previous_idle = conn->previous_idle;
    else
        conn->context->idle_last = conn->previous_idle;
    *conn->previous_idle = conn->next_idle;
    conn->next_idle = NULL;
    conn->previous_idle = NULL;
}

static void resolving_unlink(struct conn *conn)
{
    struct conn **at = &conn->context->resolving;
    while (*at != NULL && *at != conn)
        at = &(*at)->next_resolving;
    if (*at != NULL)
        *at = conn->next_resolving;
    conn->ticket = 0;
}

static uint64_t deadline_of(const struct conn *conn, enum conn_state state, uint64_t now_ns)
{
    switch (states[state].limit) {
    case LIMIT_NONE:
        return UINT64_MAX;
    case LIMIT_CONNECT:
        return state == CONN_PROBING ? now_ns + conn->session->connect_timeout_ns
                                     : conn->connect_deadline_ns;
    case LIMIT_IDLE: {
        uint64_t idle_ns = now_ns + IDLE_MAX_MS * NS_PER_MS;
        return idle_ns < conn->retire_ns ? idle_ns : conn->retire_ns;
    }
    case LIMIT_COLLECTION:
        return conn->collection->deadline_ns;
    }
    check_failed("a limit", __FILE__, __LINE__);
}

void conn_set_deadline(struct conn *conn, uint64_t deadline_ns)
{
    conn->deadline_ns = deadline_ns;
    if (deadline_ns == UINT64_MAX)
        wheel_cancel(conn->context->wheel, &conn->timer);
    else
        wheel_arm(conn->context->wheel, &conn->timer, deadline_ns);
}

static void conn_enter(struct conn *conn, enum conn_state next, uint64_t now_ns)
{
    CHECK((states[conn->state].next & (1u << next)) != 0);
    if (conn->state == CONN_READY)
        idle_unlink(conn);
    if (conn->state == CONN_RESOLVING)
        resolving_unlink(conn);
    gauge_add(conn, states[conn->state].gauge, false);
    gauge_add(conn, states[next].gauge, true);
    if (states[conn->state].live != states[next].live)
        gauge_add(conn, TELEMETRY_CONNECTIONS_OPEN, states[next].live);
    conn->state = next;
    conn->begun = false;
    conn->ready = 0;
    wheel_cancel(conn->context->wheel, &conn->pause);
    if (next == CONN_READY)
        idle_link(conn, now_ns);
    conn_set_deadline(conn, deadline_of(conn, next, now_ns));
}

static void on_ready(void *owner, uint32_t ready, uint64_t now_ns)
{
    struct conn *conn = owner;
    conn->ready |= ready;
    pool_turn(conn->pool, conn, now_ns);
}

/* What the kernel holds for us; 0 also where it will not say. */
static int readable_bytes(const struct conn *conn)
{
    int bytes = 0;
    return ioctl(PQsocket(conn->pg), FIONREAD, &bytes) == 0 ? bytes : 0;
}

static void on_timer(struct timer *timer, uint64_t now_ns)
{
    struct conn *conn = (struct conn *)(void *)((char *)timer - offsetof(struct conn, timer));
    pool_turn(conn->pool, conn, now_ns);
}

static void on_pause(struct timer *timer, uint64_t now_ns)
{
    struct conn *conn = (struct conn *)(void *)((char *)timer - offsetof(struct conn, pause));
    if (readable_bytes(conn) > 0)
        on_ready(conn, LOOP_READ, now_ns);
    else
        conn_arm(conn, LOOP_READ);
}

void conn_arm(struct conn *conn, uint32_t events)
{
    conn->ready = 0;
    loop_arm(conn->context->loop, conn->watch, PQsocket(conn->pg), events);
}

/* Sends what libpq still holds and waits for more. */
static void flush_and_wait(struct conn *conn)
{
    int held = PQflush(conn->pg);
    if (PQsocket(conn->pg) >= 0)
        conn_arm(conn, held > 0 ? LOOP_READ | LOOP_WRITE : LOOP_READ);
}

void conn_init(struct conn *conn, struct pool *pool, struct pg_context *context,
               const struct session *session)
{
    *conn = (struct conn){.pool = pool,
                          .context = context,
                          .session = session,
                          .state = CONN_CLOSED,
                          .polled = CONN_NOT_POLLED};
    timer_init(&conn->timer, on_timer);
    timer_init(&conn->pause, on_pause);
}

void conn_fini(struct conn *conn)
{
    CHECK(conn->state == CONN_CLOSED);
    pipeline_fini(&conn->pipeline);
    run_fini(&conn->run);
}

static void release_in_flight(struct conn *conn)
{
    if (!conn->in_flight)
        return;
    conn->in_flight = false;
    atomic_fetch_sub_explicit(&conn->context->budget->connects_in_flight, 1, memory_order_relaxed);
}

static enum conn_state work_closed(const struct conn *conn)
{
    if (conn->database == NULL)
        return CONN_CLOSED;
    return conn->session->by_name ? CONN_RESOLVING : CONN_CONNECTING;
}

enum conn_state conn_fail_connect(struct conn *conn, uint64_t now_ns)
{
    loop_disarm(conn->context->loop, conn->watch);
    telemetry_add(conn->context->telemetry, TELEMETRY_CONNECTS_FAILED, 1);
    pool_on_connect_failed(conn->pool, conn, now_ns);
    return CONN_CLOSING;
}

static bool take_identity(void *owner, const struct pipeline_entry *entry,
                          const struct pg_result *result)
{
    struct conn *conn = owner;
    if (entry->kind == PIPELINE_WISH)
        return true;
    if (PQresultStatus(result) == PGRES_FATAL_ERROR) {
        failure_from_result(&conn->failure, result);
        return false;
    }
    if (entry->kind != PIPELINE_PROBE)
        return true;
    conn->identified = session_read_identity(result, &conn->identity);
    if (!conn->identified)
        failure_set(&conn->failure, FAILURE_UNFIT,
                    "the server's answer to who it is cannot be read: is it PostgreSQL?");
    return conn->identified;
}

static void name_failure(struct conn *conn)
{
    if (conn->failure.text[0] == 0)
        failure_from_connection(&conn->failure, conn->pg);
}

/* SETUP and PROBING: what was sent is answered, LOST with conn->failure set, or waits. */
static enum pipeline_progress read_identity(struct conn *conn, uint64_t now_ns)
{
    if (conn->pipeline.refused) {
        name_failure(conn);
        return PIPELINE_LOST;
    }
    if (now_ns >= conn->deadline_ns) {
        failure_set(&conn->failure, FAILURE_LASTING,
                    "the server took the connection but does not answer (%.1f s): it hangs or is "
                    "overloaded",
                    (double)conn->session->connect_timeout_ns / 1e9);
        return PIPELINE_LOST;
    }
    if (conn->ready == 0)
        return PIPELINE_WAITS;
    PQconsumeInput(conn->pg);
    enum pipeline_progress progress = pipeline_read(&conn->pipeline, conn->pg, take_identity, conn);
    if (progress == PIPELINE_WAITS)
        flush_and_wait(conn);
    if (progress == PIPELINE_LOST)
        name_failure(conn);
    if (progress == PIPELINE_DONE && !pool_on_identified(conn->pool, conn, now_ns))
        return PIPELINE_LOST;
    return progress;
}

static enum conn_state work_setup(struct conn *conn, uint64_t now_ns)
{
    const char *probe_sql = pool_probe_sql(conn->pool);
    if (!conn->begun) {
        conn->begun = true;
        conn->identified = false;
        conn->failure = (struct failure){0};
        if (PQsetnonblocking(conn->pg, 1) != 0 || PQenterPipelineMode(conn->pg) != 1)
            conn->pipeline.refused = true;
        session_send_setup(conn->session, &conn->pipeline, conn->pg, probe_sql);
        flush_and_wait(conn);
    }
    switch (read_identity(conn, now_ns)) {
    case PIPELINE_WAITS:
        return CONN_SETUP;
    case PIPELINE_LOST:
        return conn_fail_connect(conn, now_ns);
    case PIPELINE_DONE:
        break;
    }
    release_in_flight(conn);
    telemetry_add(conn->context->telemetry, TELEMETRY_CONNECTS_OK, 1);
    telemetry_record(conn->context->telemetry, TELEMETRY_HISTOGRAM_CONNECT,
                     now_ns - conn->opened_ns);
    return CONN_READY;
}

static enum conn_state work_probing(struct conn *conn, uint64_t now_ns)
{
    if (!conn->begun) {
        conn->begun = true;
        conn->identified = false;
        conn->failure = (struct failure){0};
        session_send_probe(&conn->pipeline, conn->pg, pool_probe_sql(conn->pool));
        flush_and_wait(conn);
    }
    switch (read_identity(conn, now_ns)) {
    case PIPELINE_WAITS:
        return CONN_PROBING;
    case PIPELINE_DONE:
        return CONN_READY;
    case PIPELINE_LOST:
        break;
    }
    loop_disarm(conn->context->loop, conn->watch);
    conn->close_reason = TELEMETRY_CLOSED_LOST;
    return CONN_CLOSING;
}

/* Servers from 14 on tell by themselves when a standby was promoted. */
static bool role_changed(const struct conn *conn)
{
    const char *standby = PQparameterStatus(conn->pg, "in_hot_standby");
    return standby != NULL && (strcmp(standby, "on") == 0) != conn->identity.capabilities.recovery;
}

static enum conn_state work_ready(struct conn *conn, uint64_t now_ns)
{
    if (now_ns >= conn->retire_ns) {
        conn->close_reason = TELEMETRY_CLOSED_AGED;
        return CONN_CLOSING;
    }
    if (!pool_has_work(conn->pool, conn)) {
        conn->close_reason = TELEMETRY_CLOSED_IDLE;
        return now_ns >= conn->deadline_ns ? CONN_CLOSING : CONN_READY;
    }
    if (now_ns >= conn->probe_ns || conn->run.ask_again || role_changed(conn))
        return CONN_PROBING;
    conn->collection = pool_take(conn->pool, conn, now_ns);
    conn->failure = (struct failure){0};
    return CONN_RUNNING;
}

static enum conn_state lose(struct conn *conn)
{
    struct collection *collection = conn->collection;
    loop_disarm(conn->context->loop, conn->watch);
    name_failure(conn);
    pool_on_broken(conn->pool, conn, collection);
    conn->collection = NULL;
    conn->close_reason = TELEMETRY_CLOSED_LOST;
    return CONN_CLOSING;
}

/* Reads all that has come: libpq takes 16 KiB at a time, a turn of the loop for each would cost
 * more than the bytes. */
static enum pipeline_progress read_all(struct conn *conn, uint64_t now_ns)
{
    for (int reads = 1;; reads++) {
        PQconsumeInput(conn->pg);
        enum pipeline_progress progress = run_read(conn, now_ns);
        if (progress != PIPELINE_WAITS || reads == READS_MAX || readable_bytes(conn) == 0) {
            run_tell(conn, now_ns);
            return progress;
        }
    }
}

/* An answer trickles in as the server makes it, 8 KiB by 8 KiB, and a wake-up costs more than
 * reading 8 KiB. Nobody waits for a collection to the millisecond, so we look when the answer
 * should be whole, as the collections before tell, and if it is not, a little later each time. */
static void look_later(struct conn *conn, uint64_t wait_ns, uint64_t now_ns)
{
    if (wait_ns == 0 || PQflush(conn->pg) > 0 || PQsocket(conn->pg) < 0) {
        flush_and_wait(conn);
        return;
    }
    conn->ready = 0;
    wheel_arm(conn->context->wheel, &conn->pause, now_ns + wait_ns);
}

static uint64_t look_again_ns(const struct conn *conn)
{
    uint64_t wait_ns = (uint64_t)LOOK_AGAIN_MS << (conn->looks < 4 ? conn->looks : 4);
    return wait_ns * NS_PER_MS;
}

/* What was whole at the first look is looked for earlier next time, down to where it is not. */
static void learn_wait(struct conn *conn, uint64_t now_ns)
{
    uint64_t *wait_ns = &conn->database->answer_ns;
    uint64_t took_ns = now_ns - conn->asked_ns;
    if (conn->looks <= 1 && *wait_ns != 0)
        *wait_ns -= *wait_ns / 8;
    else
        *wait_ns = took_ns < LOOK_MAX_MS * NS_PER_MS ? took_ns : LOOK_MAX_MS * NS_PER_MS;
}

static enum conn_state work_running(struct conn *conn, uint64_t now_ns)
{
    struct collection *collection = conn->collection;
    if (now_ns >= conn->deadline_ns) {
        loop_disarm(conn->context->loop, conn->watch);
        pool_on_overdue(conn->pool, conn, collection, now_ns);
        conn->collection = NULL;
        conn->close_reason = TELEMETRY_CLOSED_DEADLINE;
        return CONN_CLOSING;
    }
    if (!conn->begun) {
        conn->begun = true;
        run_start(conn, now_ns);
        if (conn->pipeline.refused)
            return lose(conn);
        conn->asked_ns = now_ns;
        conn->looks = 0;
        look_later(conn, conn->database->answer_ns, now_ns);
    }
    if (conn->ready == 0)
        return CONN_RUNNING;
    conn->looks++;
    switch (read_all(conn, now_ns)) {
    case PIPELINE_WAITS:
        look_later(conn, look_again_ns(conn), now_ns);
        return CONN_RUNNING;
    case PIPELINE_LOST:
        return lose(conn);
    case PIPELINE_DONE:
        break;
    }
    learn_wait(conn, now_ns);
    pool_on_finished(conn->pool, conn, collection);
    conn->collection = NULL;
    return CONN_READY;
}

static enum conn_state work_closing(struct conn *conn, uint64_t now_ns)
{
    struct pg_context *context = conn->context;
    CHECK(conn->collection == NULL);
    loop_close(context->loop, conn->watch);
    conn->watch = UINT32_MAX;
    connect_drop(conn);
    conn->pipeline.head = conn->pipeline.count = 0;
    conn->pipeline.answered = conn->pipeline.refused = false;
    conn->run.ask_again = false;
    if (conn->plan != NULL)
        telemetry_add(context->telemetry, conn->close_reason, 1);
    run_fini(&conn->run);
    conn->plan = NULL;
    pool_on_connect_over(conn->pool, conn, conn->database, now_ns);
    conn->database = NULL;
    release_in_flight(conn);
    atomic_fetch_sub_explicit(&context->budget->connections, 1, memory_order_relaxed);
    return CONN_CLOSED;
}

static enum conn_state work(struct conn *conn, uint64_t now_ns)
{
    switch (conn->state) {
    case CONN_CLOSED:
        return work_closed(conn);
    case CONN_RESOLVING:
        return connect_resolve(conn, now_ns);
    case CONN_CONNECTING:
        return connect_attempt(conn, now_ns);
    case CONN_SETUP:
        return work_setup(conn, now_ns);
    case CONN_READY:
        return work_ready(conn, now_ns);
    case CONN_RUNNING:
        return work_running(conn, now_ns);
    case CONN_PROBING:
        return work_probing(conn, now_ns);
    case CONN_CLOSING:
        return work_closing(conn, now_ns);
    case CONN_STATE_COUNT:
        break;
    }
    check_failed("a state", __FILE__, __LINE__);
}

void conn_step(struct conn *conn, uint64_t now_ns)
{
    for (int turn = 0; turn < TURNS_MAX; turn++) {
        enum conn_state next = work(conn, now_ns);
        if (next == conn->state)
            return; /* waits for its socket, its deadline, or its pool */
        conn_enter(conn, next, now_ns);
    }
    /* More to do than one turn may take: go on in the next. */
    wheel_arm(conn->context->wheel, &conn->timer, now_ns);
}

bool conn_open(struct conn *conn, struct database *database, uint64_t now_ns)
{
    CHECK(conn->state == CONN_CLOSED && conn->database == NULL);
    conn->watch = loop_open(conn->context->loop, on_ready, conn);
    if (conn->watch == UINT32_MAX)
        return false;
    conn->database = database;
    conn->in_flight = true;
    conn->opened_ns = now_ns;
    conn->connect_deadline_ns = now_ns + conn->session->connect_timeout_ns;
    conn->address_count = conn->address = 0;
    conn->failure = (struct failure){0};
    conn->close_reason = TELEMETRY_CLOSED_LOST;
    conn_step(conn, now_ns);
    return true;
}

void conn_adopt(struct conn *conn, const struct plan *plan, uint64_t now_ns)
{
    if (conn->plan == NULL) {
        uint64_t age_ns = pool_max_age_ns(conn->pool);
        conn->retire_ns =
            age_ns == 0 ? UINT64_MAX : now_ns + random_jitter(conn->context->random, age_ns, 10);
    }
    conn->probe_ns =
        now_ns + random_jitter(conn->context->random, PROBE_INTERVAL_MS * NS_PER_MS, 10);
    conn->run.ask_again = false;
    if (conn->plan != plan)
        run_adopt(&conn->run, conn->plan, plan);
    conn->plan = plan;
}

void conn_close(struct conn *conn, enum telemetry_value reason, uint64_t now_ns)
{
    if (conn->state == CONN_CLOSED)
        return;
    CHECK(conn->collection == NULL && conn->state != CONN_CLOSING);
    loop_disarm(conn->context->loop, conn->watch);
    conn->close_reason = reason;
    conn_enter(conn, CONN_CLOSING, now_ns);
    conn_step(conn, now_ns);
}
