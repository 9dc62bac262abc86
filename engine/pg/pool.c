/* SPDX-License-Identifier: Apache-2.0 */
/* Step 3 of 9: who gets which connection. Shard's thread, never blocks.
 *
 * Collections wait in one queue per server, first come, first served. Each is placed, in this
 * order: on an idle session of its database; on one that is being opened for it; in a free place;
 * in the place of the session of another database that was idle longest. Otherwise it goes on
 * waiting.
 *
 * A server that refuses is left alone for a while (back-off, doubling, with jitter); a collection
 * that comes in between fails at once with what was said last, unless the next attempt is due
 * before its deadline. So a server that is down is reported in every interval and never hammered.
 * What concerns one database only (3D000, …) holds up that database alone. Attempts at servers that
 * do not answer last as long as connect_timeout: they may take three quarters of those that can be
 * under way at once, and do not stand in line for them, so that hundreds of dead servers cannot
 * keep out the living.
 *
 * Invariant: `done` is called by timers and by the loop, never from pool_collect(); what has to
 * fail at once gets a timer that is due already. While a connection is stepped (`busy`), nobody
 * else is: what becomes possible meanwhile is done in settle(). */
#include "pg/pool.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "pg/conn.h"
#include "pg/pool_state.h"

enum {
    DATABASES_MAX = 2 * LIMIT_DATABASES,
    ERROR_BYTES = 640,
};

static const uint64_t budget_retry_ns = 20 * NS_PER_MS;
static const uint64_t failing_retry_ns = NS_PER_S;

static void settle(struct pool *pool, uint64_t now_ns);

/* --- databases --- */

static bool in_use(const struct pool *pool, const struct database *database)
{
    for (uint32_t i = 0; i < pool->conn_count; i++)
        if (pool->conns[i].database == database)
            return true;
    for (const struct collection *c = pool->first; c != NULL; c = c->next)
        if (c->entry == database)
            return true;
    return false;
}

/* A place for a new name: at the end, or that of a database nobody asks for any more. */
static struct database **free_place(struct pool *pool)
{
    if (pool->database_count < DATABASES_MAX) {
        pool->databases =
            xrealloc(pool->databases, (pool->database_count + 1) * sizeof *pool->databases);
        return &pool->databases[pool->database_count++];
    }
    for (uint32_t i = 0; i < pool->database_count; i++) {
        if (in_use(pool, pool->databases[i]))
            continue;
        if (pool->good == pool->databases[i])
            pool->good = NULL;
        track_fini(&pool->databases[i]->track);
        free(pool->databases[i]->name);
        free(pool->databases[i]);
        return &pool->databases[i];
    }
    check_failed("no more than LIMIT_DATABASES databases at once", __FILE__, __LINE__);
}

/* Made when it is new. */
static struct database *find_database(struct pool *pool, const char *name)
{
    for (uint32_t i = 0; i < pool->database_count; i++)
        if (strcmp(pool->databases[i]->name, name) == 0)
            return pool->databases[i];
    struct database *database = xcalloc(1, sizeof *database);
    database->name = xstrdup(name);
    *free_place(pool) = database;
    return database;
}

/* --- breakers --- */

/* Time before which no attempt is made; 0: now is fine, or a probe is out that will tell. */
static uint64_t barred_until(const struct pool *pool, const struct database *database)
{
    if (pool->problem.text[0] != 0)
        return UINT64_MAX;
    const struct breaker *server = &pool->circuit.breaker, *own = &database->circuit.breaker;
    uint64_t server_ns = server->state == BREAKER_OPEN ? server->until_ns : 0;
    uint64_t database_ns = own->state == BREAKER_OPEN ? own->until_ns : 0;
    return server_ns > database_ns ? server_ns : database_ns;
}

static bool probe_is_out(const struct pool *pool, const struct database *database)
{
    return pool->circuit.breaker.state == BREAKER_HALF_OPEN ||
           database->circuit.breaker.state == BREAKER_HALF_OPEN;
}

static const struct failure *last_failure(const struct pool *pool, const struct database *database)
{
    if (pool->problem.text[0] != 0)
        return &pool->problem;
    if (database->circuit.breaker.failures > 0)
        return &database->circuit.failure;
    return pool->circuit.breaker.failures > 0 ? &pool->circuit.failure : NULL;
}

/* A session to this database exists or is under way. */
bool pool_serves(const struct pool *pool, const struct database *database,
                 const struct conn *except)
{
    for (uint32_t i = 0; i < pool->conn_count; i++)
        if (&pool->conns[i] != except && pool->conns[i].database == database)
            return true;
    return false;
}

/* --- the queue --- */

void pool_enqueue(struct pool *pool, struct collection *collection, bool front)
{
    collection->next = NULL;
    if (front) {
        collection->next = pool->first;
        pool->first = collection;
        if (collection->next == NULL)
            pool->last = &collection->next;
        return;
    }
    *pool->last = collection;
    pool->last = &collection->next;
}

static void dequeue(struct pool *pool, struct collection *collection)
{
    struct collection **at = &pool->first;
    while (*at != collection) {
        CHECK(*at != NULL);
        at = &(*at)->next;
    }
    *at = collection->next;
    if (pool->last == &collection->next)
        pool->last = at;
    collection->next = NULL;
    wheel_cancel(pool->context->wheel, &collection->timer);
}

static struct collection *find_work(const struct pool *pool, const struct conn *conn)
{
    struct collection *collection = pool->first;
    while (collection != NULL && collection->entry != conn->database)
        collection = collection->next;
    return collection;
}

bool pool_has_work(const struct pool *pool, const struct conn *conn)
{
    return !pool->closing && find_work(pool, conn) != NULL;
}

struct collection *pool_take(struct pool *pool, struct conn *conn, uint64_t now_ns)
{
    struct telemetry_set *telemetry = pool->context->telemetry;
    struct collection *collection = find_work(pool, conn);
    CHECK(collection != NULL);
    dequeue(pool, collection);
    collection->conn = conn;
    if (collection->waited)
        telemetry_record(telemetry, TELEMETRY_HISTOGRAM_CONNECTION_WAIT,
                         now_ns - collection->asked_ns);
    if (!collection->restarted)
        telemetry_record(telemetry, TELEMETRY_HISTOGRAM_LAG,
                         now_ns > collection->due_ns ? now_ns - collection->due_ns : 0);
    return collection;
}

/* The collection is the caller's again. */
void pool_finish(struct pool *pool, struct collection *collection, enum collection_outcome outcome,
                 const char *text)
{
    char error[ERROR_BYTES] = "";
    if (text[0] != 0)
        snprintf(error, sizeof error, "%s: %s", pool->session.place, text);
    collection->conn = NULL;
    collection->done(collection, outcome, error);
}

/* In time when the next attempt is due before the deadline; otherwise it fails in the next turn. */
static void doom_if_hopeless(struct pool *pool, struct collection *collection, uint64_t now_ns)
{
    bool hopeless = barred_until(pool, collection->entry) > collection->deadline_ns;
    if (hopeless && !pool_serves(pool, collection->entry, NULL))
        wheel_arm(pool->context->wheel, &collection->timer, now_ns);
}

static void on_collection_timer(struct timer *timer, uint64_t now_ns)
{
    struct collection *collection =
        (struct collection *)(void *)((char *)timer - offsetof(struct collection, timer));
    struct pool *pool = collection->pool;
    struct database *database = collection->entry;
    const struct failure *failure = last_failure(pool, database);
    char text[FAILURE_TEXT_BYTES + 64];
    dequeue(pool, collection);
    double waited_s = (double)(now_ns - collection->asked_ns) / 1e9;
    if (failure != NULL)
        snprintf(text, sizeof text, "%s", failure->text);
    else if (pool->refused)
        snprintf(text, sizeof text,
                 "no connection within %.1f s: the limits of all servers together are used up; "
                 "raise connections_max or connects_in_flight_max",
                 waited_s);
    else if (pool_serves(pool, database, NULL))
        snprintf(text, sizeof text,
                 "the connection to database \"%s\" was not ready within %.1f s: the server hangs "
                 "or is overloaded",
                 database->name, waited_s);
    else
        snprintf(text, sizeof text,
                 "no connection became free within %.1f s: raise connections (%u) or the interval",
                 waited_s, pool->conn_count);
    pool_finish(pool, collection, COLLECTION_FAILED, text);
    settle(pool, now_ns);
}

/* --- the budget of all servers together --- */

static bool take_one(_Atomic int64_t *used, int64_t most)
{
    if (atomic_fetch_add_explicit(used, 1, memory_order_relaxed) < most || most <= 0)
        return true;
    atomic_fetch_sub_explicit(used, 1, memory_order_relaxed);
    return false;
}

/* Room for one more connection, if need be that of the session of this shard idle for longest. */
static bool take_budget(struct pg_context *context, struct conn *replaced, uint64_t now_ns)
{
    struct pg_budget *budget = context->budget;
    if (!take_one(&budget->connects_in_flight, budget->connects_in_flight_max))
        return false;
    if (replaced != NULL)
        conn_close(replaced, TELEMETRY_CLOSED_REUSED, now_ns);
    if (take_one(&budget->connections, budget->connections_max))
        return true;
    if (context->idle_first != NULL) {
        conn_close(context->idle_first, TELEMETRY_CLOSED_IDLE, now_ns);
        if (take_one(&budget->connections, budget->connections_max))
            return true;
    }
    atomic_fetch_sub_explicit(&budget->connects_in_flight, 1, memory_order_relaxed);
    return false;
}

static void return_budget(struct pg_context *context)
{
    atomic_fetch_sub_explicit(&context->budget->connects_in_flight, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&context->budget->connections, 1, memory_order_relaxed);
}

/* Pools the budget refused stand in line; only the first asks again by itself, for what other
 * shards give back. What this shard gives back goes to the first at once (feed_starved). */
static void starve(struct pool *pool)
{
    struct pg_context *context = pool->context;
    if (pool->previous_starved != NULL)
        return;
    if (context->starved_first == NULL)
        context->starved_last = &context->starved_first;
    pool->next_starved = NULL;
    pool->previous_starved = context->starved_last;
    *context->starved_last = pool;
    context->starved_last = &pool->next_starved;
}

static void unstarve(struct pool *pool, uint64_t now_ns)
{
    struct pg_context *context = pool->context;
    if (pool->previous_starved == NULL)
        return;
    *pool->previous_starved = pool->next_starved;
    if (pool->next_starved != NULL)
        pool->next_starved->previous_starved = pool->previous_starved;
    else
        context->starved_last = pool->previous_starved;
    pool->next_starved = NULL;
    pool->previous_starved = NULL;
    if (context->starved_first != NULL)
        wheel_arm(context->wheel, &context->starved_first->timer, now_ns);
}

static void feed_starved(struct pg_context *context, uint64_t now_ns)
{
    const struct pg_budget *budget = context->budget;
    for (struct pool *pool = context->starved_first; pool != NULL; pool = context->starved_first) {
        int64_t under_way = atomic_load_explicit(&budget->connects_in_flight, memory_order_relaxed);
        if (pool->busy ||
            (budget->connects_in_flight_max > 0 && under_way >= budget->connects_in_flight_max))
            return;
        settle(pool, now_ns);
        if (context->starved_first == pool)
            return;
    }
}

/* --- placing --- */

/* A free place, or that of the session longest idle; NULL when all are busy. */
static struct conn *find_place(struct pool *pool)
{
    struct conn *oldest = NULL;
    for (uint32_t i = 0; i < pool->conn_count; i++) {
        struct conn *conn = &pool->conns[i];
        if (conn->state == CONN_CLOSED)
            return conn;
        if (conn->state == CONN_READY && (oldest == NULL || conn->idle_ns < oldest->idle_ns))
            oldest = conn;
    }
    return oldest;
}

/* The server failed last time, and those that did not need the room. */
static bool stands_back(const struct pool *pool)
{
    const struct pg_budget *budget = pool->context->budget;
    const struct pool *next = pool->context->starved_first;
    int64_t most = budget->connects_in_flight_max;
    int64_t under_way = atomic_load_explicit(&budget->connects_in_flight, memory_order_relaxed);
    return pool->circuit.breaker.state == BREAKER_OPEN &&
           ((next != NULL && next != pool) || (most > 0 && under_way >= most - most / 4));
}

/* True when something changed, so that the queue has to be looked at again. */
static bool place(struct pool *pool, struct collection *collection, uint64_t now_ns)
{
    struct database *database = collection->entry;
    for (uint32_t i = 0; i < pool->conn_count; i++) {
        struct conn *conn = &pool->conns[i];
        if (conn->database != database || conn->promised)
            continue;
        if (conn->state == CONN_READY) {
            conn_step(conn, now_ns);
            return true;
        }
        if (conn_opening(conn) || conn->state == CONN_PROBING) {
            conn->promised = true;
            return false;
        }
    }
    struct conn *conn = find_place(pool);
    if (conn == NULL || pool->refused || barred_until(pool, database) > now_ns ||
        probe_is_out(pool, database))
        return false;
    if (stands_back(pool)) {
        breaker_postpone(&pool->circuit.breaker,
                         now_ns + random_jitter(pool->context->random, failing_retry_ns, 50));
        return false;
    }
    const struct pool *next = pool->context->starved_first;
    bool my_turn = next == NULL || next == pool;
    if (!my_turn || !take_budget(pool->context, conn->state == CONN_READY ? conn : NULL, now_ns)) {
        pool->refused = true;
        return false;
    }
    pool_on_connect(pool, conn, database, now_ns);
    if (!conn_open(conn, database, now_ns)) {
        pool_on_connect_over(pool, conn, database, now_ns);
        return_budget(pool->context);
        pool->refused = true;
    }
    return true;
}

static bool place_next(struct pool *pool, uint64_t now_ns)
{
    for (uint32_t i = 0; i < pool->conn_count; i++)
        pool->conns[i].promised = false;
    for (struct collection *c = pool->first; c != NULL; c = c->next)
        if (place(pool, c, now_ns))
            return true;
    return false;
}

/* Sets the timer to when the first of those waiting may be tried again. */
static void arm_retry(struct pool *pool, uint64_t now_ns)
{
    uint64_t next_ns = UINT64_MAX;
    for (struct collection *c = pool->first; c != NULL; c = c->next) {
        uint64_t until_ns = barred_until(pool, c->entry);
        if (until_ns > now_ns && until_ns < next_ns)
            next_ns = until_ns;
        if (!c->waited)
            telemetry_add(pool->context->telemetry, TELEMETRY_CONNECTION_WAITS, 1);
        c->waited = true;
    }
    if (pool->refused && pool->first != NULL)
        starve(pool);
    else
        unstarve(pool, now_ns);
    if (pool->context->starved_first == pool)
        next_ns = now_ns + random_jitter(pool->context->random, budget_retry_ns, 50);
    if (next_ns != UINT64_MAX)
        wheel_arm(pool->context->wheel, &pool->timer, next_ns);
    else
        wheel_cancel(pool->context->wheel, &pool->timer);
}

/* Does whatever is possible for those waiting. Each placement uses up a place or starts a
 * collection, or ends in a back-off, so this ends. */
static void settle(struct pool *pool, uint64_t now_ns)
{
    if (pool->busy || pool->closing)
        return;
    if (pool->first == NULL && !timer_armed(&pool->timer) && pool->previous_starved == NULL)
        return;
    pool->busy = true;
    pool->refused = false;
    uint32_t turns = 0;
    while (place_next(pool, now_ns))
        CHECK(++turns < 16 * (pool->conn_count + DATABASES_MAX));
    pool->busy = false;
    arm_retry(pool, now_ns);
}

void pool_turn(struct pool *pool, struct conn *conn, uint64_t now_ns)
{
    CHECK(!pool->busy);
    pool->busy = true;
    conn_step(conn, now_ns);
    pool->busy = false;
    settle(pool, now_ns);
    feed_starved(pool->context, now_ns);
}

static void on_pool_timer(struct timer *timer, uint64_t now_ns)
{
    struct pool *pool = (struct pool *)(void *)((char *)timer - offsetof(struct pool, timer));
    settle(pool, now_ns);
}

/* --- the owner's side --- */

struct pool *pool_create(struct pg_context *context, const struct pool_options *options)
{
    int64_t wanted = options->server->connections;
    uint32_t count = wanted < 1 ? 1 : wanted > LIMIT_DATABASES ? LIMIT_DATABASES : (uint32_t)wanted;
    struct pool *pool = xcalloc(1, sizeof *pool + count * sizeof pool->conns[0]);
    pool->context = context;
    pool->options = *options;
    pool->last = &pool->first;
    pool->conn_count = count;
    timer_init(&pool->timer, on_pool_timer);
    session_init(&pool->session, options->server, options->session, &pool->problem);
    pool_count_breaker(pool, true);
    for (uint32_t i = 0; i < count; i++)
        conn_init(&pool->conns[i], pool, context, &pool->session);
    return pool;
}

void pool_destroy(struct pool **pool)
{
    struct pool *p = *pool;
    if (p == NULL)
        return;
    CHECK(!p->busy);
    p->closing = true;
    uint64_t now_ns = clock_monotonic_ns();
    for (uint32_t i = 0; i < p->conn_count; i++) {
        struct conn *conn = &p->conns[i];
        struct collection *collection = conn->collection;
        conn->collection = NULL;
        conn_close(conn, TELEMETRY_CLOSED_STOP, now_ns);
        conn_fini(conn);
        if (collection != NULL)
            pool_finish(p, collection, COLLECTION_FAILED,
                        "collection of this server is being stopped");
    }
    while (p->first != NULL) {
        struct collection *collection = p->first;
        dequeue(p, collection);
        pool_finish(p, collection, COLLECTION_FAILED, "collection of this server is being stopped");
    }
    pool_count_breaker(p, false);
    unstarve(p, now_ns);
    wheel_cancel(p->context->wheel, &p->timer);
    for (uint32_t i = 0; i < p->database_count; i++) {
        track_fini(&p->databases[i]->track);
        free(p->databases[i]->name);
        free(p->databases[i]);
    }
    free(p->databases);
    session_fini(&p->session);
    free(p);
    *pool = NULL;
}

void pool_collect(struct pool *pool, struct collection *collection, uint64_t now_ns)
{
    CHECK(!pool->closing);
    collection->pool = pool;
    collection->entry = find_database(pool, collection->database != NULL ? collection->database
                                                                         : pool->session.database);
    collection->conn = NULL;
    collection->asked_ns = now_ns;
    collection->started_ns = 0;
    collection->statements = collection->failed = 0;
    collection->waited = collection->restarted = false;
    timer_init(&collection->timer, on_collection_timer);
    pool_enqueue(pool, collection, false);
    wheel_arm(pool->context->wheel, &collection->timer, collection->deadline_ns);
    doom_if_hopeless(pool, collection, now_ns);
    settle(pool, now_ns);
}

void pool_resolved(struct pg_context *context, const struct resolver_answer *answer,
                   uint64_t now_ns)
{
    struct conn *conn = conn_resolved(context, answer);
    if (conn != NULL)
        pool_turn(conn->pool, conn, now_ns);
}

void pool_shaken(struct pg_context *context, uint64_t now_ns)
{
    struct conn *conn;
    while ((conn = conn_shaken(context)) != NULL)
        pool_turn(conn->pool, conn, now_ns);
}

uint32_t pool_connections(const struct pool *pool)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < pool->conn_count; i++)
        count += conn_live(&pool->conns[i]);
    return count;
}

const char *pool_target_name(const struct pool *pool)
{
    return pool->session.name;
}

void pool_endpoint(const struct pool *pool, const char **ret_host, uint16_t *ret_port)
{
    *ret_host = pool->session.host;
    *ret_port = pool->session.port;
}
