/* SPDX-License-Identifier: Apache-2.0 */
/* What connections tell their pool, and what it makes of it: breakers, who the server is, how a
 * collection ended and in which words, which statements fail. Shard's thread, called from inside
 * conn_step(). */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "pg/pool_state.h"

enum { ERROR_BYTES = 640 };

/* Refused credentials must not look like an attack, nor lock the account. */
static const uint64_t login_retry_ns = 30 * NS_PER_S;

static const enum telemetry_value breaker_gauges[] = {
    [BREAKER_CLOSED] = TELEMETRY_TARGET_BREAKERS_CLOSED,
    [BREAKER_OPEN] = TELEMETRY_TARGET_BREAKERS_OPEN,
    [BREAKER_HALF_OPEN] = TELEMETRY_TARGET_BREAKERS_HALF_OPEN,
};

void pool_count_breaker(const struct pool *pool, bool up)
{
    telemetry_add(pool->context->telemetry, breaker_gauges[pool->circuit.breaker.state],
                  up ? 1 : UINT64_MAX);
}

/* Metrics and log of what became of the server's breaker. Not louder than debug: that a target is
 * down or up again is said by whoever waited for it. */
static void breaker_moved(struct pool *pool, const struct breaker *before, uint64_t now_ns)
{
    const struct breaker *breaker = &pool->circuit.breaker;
    if (breaker->state == before->state)
        return;
    struct telemetry_set *telemetry = pool->context->telemetry;
    telemetry_add(telemetry, breaker_gauges[before->state], UINT64_MAX);
    telemetry_add(telemetry, breaker_gauges[breaker->state], 1);
    telemetry_add(telemetry, TELEMETRY_TARGET_BREAKER_TRIPS, breaker->trips - before->trips);
    telemetry_add(telemetry, TELEMETRY_TARGET_BREAKER_OPEN_MS,
                  (breaker->away_ns - before->away_ns) / NS_PER_MS);
    if (breaker->state == BREAKER_CLOSED)
        telemetry_add(telemetry, TELEMETRY_TARGET_BREAKER_RECOVERIES, 1);
    uint64_t pause_ns = breaker->state == BREAKER_OPEN ? breaker->until_ns - now_ns : 0;
    LOG(LOG_LEVEL_DEBUG, "pg", "circuit breaker of a target",
        LOG_TEXT("target", pool_target_name(pool)),
        LOG_TEXT("from", breaker_state_name(before->state)),
        LOG_TEXT("to", breaker_state_name(breaker->state)),
        LOG_NUMBER("pause_ms", (int64_t)(pause_ns / NS_PER_MS)),
        LOG_NUMBER("away_ms", (int64_t)((now_ns - breaker->open_ns) / NS_PER_MS)));
}

void pool_on_connect(struct pool *pool, struct conn *conn, struct database *database,
                     uint64_t now_ns)
{
    const struct breaker before = pool->circuit.breaker;
    conn->probes_server = breaker_sent(&pool->circuit.breaker, now_ns);
    conn->probes_database = breaker_sent(&database->circuit.breaker, now_ns);
    breaker_moved(pool, &before, now_ns);
}

void pool_on_connect_over(struct pool *pool, struct conn *conn, struct database *database,
                          uint64_t now_ns)
{
    const struct breaker before = pool->circuit.breaker;
    if (conn->probes_server)
        breaker_forgot(&pool->circuit.breaker, now_ns);
    if (conn->probes_database)
        breaker_forgot(&database->circuit.breaker, now_ns);
    conn->probes_server = conn->probes_database = false;
    breaker_moved(pool, &before, now_ns);
}

/* `probe`: it is the one that the breaker waits for. What set off before the breaker opened does
 * not lengthen the pause. */
static void circuit_fail(struct pool *pool, struct circuit *circuit, bool probe,
                         const struct failure *failure, uint64_t now_ns)
{
    const struct session_settings *session = pool->options.session;
    const struct breaker_settings settings = {
        .failures = 1,
        .pause_ns = session->backoff_initial_ns > 0 ? session->backoff_initial_ns : NS_PER_MS,
        .pause_max_ns = session->backoff_max_ns,
        .pause_held_ns = login_retry_ns,
    };
    circuit->failure = *failure;
    if (circuit->breaker.state != BREAKER_CLOSED && !probe)
        return;
    const struct breaker_failure kind = {
        .held = failure->kind == FAILURE_LOGIN || failure->kind == FAILURE_ACCESS,
        .least_ns = failure->kind == FAILURE_UNFIT ? session->backoff_max_ns : 0,
    };
    breaker_failed(&circuit->breaker, &settings, &kind, pool->context->random, now_ns);
}

const char *pool_probe_sql(const struct pool *pool)
{
    return catalog_probe_sql(pool->options.catalog);
}

uint64_t pool_max_age_ns(const struct pool *pool)
{
    return pool->options.session->connection_max_age_ns;
}

void pool_on_connect_failed(struct pool *pool, struct conn *conn, uint64_t now_ns)
{
    const struct failure *failure = &conn->failure;
    /* Refused here, welcome there: then it is about the database. */
    bool elsewhere = pool->good != NULL && pool->good != conn->database;
    bool local =
        failure->kind == FAILURE_DATABASE || (failure->kind == FAILURE_ACCESS && elsewhere);
    if (pool->good == conn->database)
        pool->good = NULL;
    const struct breaker before = pool->circuit.breaker;
    if (local) {
        circuit_fail(pool, &conn->database->circuit, conn->probes_database, failure, now_ns);
        conn->probes_database = false;
        if (conn->probes_server) /* the server answered */
            breaker_succeeded(&pool->circuit.breaker, now_ns);
    } else {
        circuit_fail(pool, &pool->circuit, conn->probes_server, failure, now_ns);
    }
    conn->probes_server = false;
    breaker_moved(pool, &before, now_ns);
    for (struct collection *c = pool->first; c != NULL; c = c->next) {
        if ((!local || c->entry == conn->database) && !pool_serves(pool, c->entry, conn))
            wheel_arm(pool->context->wheel, &c->timer, now_ns);
    }
}

static bool same_server(const struct identity *a, const struct identity *b)
{
    return a->start_ns == b->start_ns &&
           a->capabilities.version_num == b->capabilities.version_num &&
           a->capabilities.recovery == b->capabilities.recovery;
}

bool pool_on_identified(struct pool *pool, struct conn *conn, uint64_t now_ns)
{
    struct error error = {0};
    const struct plan *plan =
        pool->options.plan_for(pool->options.owner, &conn->identity.capabilities, &error);
    if (plan == NULL) {
        failure_set(&conn->failure, FAILURE_UNFIT, "%s", error.text);
        return false;
    }
    conn_adopt(conn, plan, now_ns);
    const struct breaker before = pool->circuit.breaker;
    breaker_succeeded(&pool->circuit.breaker, now_ns);
    breaker_succeeded(&conn->database->circuit.breaker, now_ns);
    conn->probes_server = conn->probes_database = false;
    breaker_moved(pool, &before, now_ns);
    pool->good = conn->database;
    /* Extensions differ among databases: the plan of the maintenance database is the server's. */
    bool maintenance = strcmp(conn->database->name, pool->session.database) == 0;
    if (pool->identified && same_server(&pool->identity, &conn->identity) &&
        (!maintenance || pool->plan == plan))
        return true;
    pool->identified = true;
    pool->identity = conn->identity;
    pool->plan = plan;
    pool->options.identified(pool->options.owner, plan, conn->identity.start_ns);
    return true;
}

/* "query "locks" on database "app": …; 2 more fail" */
static void tell_failing(const struct conn *conn, const struct collection *collection, char *text,
                         size_t bytes)
{
    const struct track_record *track = &conn->database->track;
    for (uint32_t i = 0; i < track->failing_count; i++) {
        const struct failing *failing = &track->failing[i];
        if (!run_wants(collection, failing->statement))
            continue;
        int used = snprintf(text, bytes, "query \"%.64s\" on database \"%.64s\": %s",
                            failing->statement->name, conn->database->name, failing->failure.text);
        if (collection->failed > 1 && used > 0 && (size_t)used < bytes)
            snprintf(text + used, bytes - (size_t)used, "; %u more fail", collection->failed - 1);
        return;
    }
    snprintf(text, bytes, "%u of %u statements failed", collection->failed, collection->statements);
}

/* One whose deadline passed before its first byte left took no time. */
static void record_scrape(struct pool *pool, const struct collection *collection)
{
    if (collection->started_ns == 0)
        return;
    uint64_t end_ns = clock_monotonic_ns();
    telemetry_record(pool->context->telemetry, TELEMETRY_HISTOGRAM_SCRAPE,
                     end_ns > collection->started_ns ? end_ns - collection->started_ns : 0);
}

void pool_on_finished(struct pool *pool, struct conn *conn, struct collection *collection)
{
    char text[ERROR_BYTES] = "";
    record_scrape(pool, collection);
    conn->database->apart = false;
    if (collection->failed > 0)
        tell_failing(conn, collection, text, sizeof text);
    pool_finish(pool, collection, collection->failed > 0 ? COLLECTION_PARTIAL : COLLECTION_OK,
                text);
}

void pool_on_broken(struct pool *pool, struct conn *conn, struct collection *collection)
{
    if (conn->run.delivered == 0 && !collection->restarted) {
        collection->restarted = true;
        collection->started_ns = 0;
        collection->conn = NULL;
        pool_enqueue(pool, collection, true);
        wheel_arm(pool->context->wheel, &collection->timer, collection->deadline_ns);
        return;
    }
    char text[ERROR_BYTES];
    record_scrape(pool, collection);
    snprintf(text, sizeof text, "connection lost after %u of %u statements: %s",
             conn->run.delivered, collection->statements, conn->failure.text);
    pool_finish(pool, collection, COLLECTION_FAILED, text);
}

void pool_on_overdue(struct pool *pool, struct conn *conn, struct collection *collection,
                     uint64_t now_ns)
{
    char text[ERROR_BYTES];
    const char *name = run_awaited(conn);
    record_scrape(pool, collection);
    snprintf(text, sizeof text,
             "no answer within %.1f s from query \"%.64s\" on, database \"%.64s\" (%u of %u "
             "statements answered): the server hangs or is overloaded; connection closed",
             (double)(now_ns - collection->asked_ns) / 1e9, name, conn->database->name,
             conn->run.delivered, collection->statements);
    conn->database->apart = true;
    pool_finish(pool, collection, COLLECTION_FAILED, text);
}

void pool_on_statement(struct pool *pool, const struct conn *conn,
                       const struct statement *statement, const struct failure *failure)
{
    /* The same trouble in another database was said already. */
    for (uint32_t i = 0; i < pool->database_count; i++) {
        const struct track_record *track = &pool->databases[i]->track;
        if (track == &conn->database->track || track->plan != conn->plan)
            continue;
        const struct failing *failing = track_failing(track, statement);
        if (failing != NULL &&
            (failure == NULL || strcmp(failing->failure.sqlstate, failure->sqlstate) == 0))
            return;
    }
    if (failure == NULL)
        LOG(LOG_LEVEL_INFO, "pg", "query works again", LOG_TEXT("target", pool_target_name(pool)),
            LOG_TEXT("database", conn->database->name), LOG_TEXT("query", statement->name));
    else
        LOG(LOG_LEVEL_WARN, "pg", "query fails; tried again ever more rarely",
            LOG_TEXT("target", pool_target_name(pool)), LOG_TEXT("database", conn->database->name),
            LOG_TEXT("query", statement->name), LOG_TEXT("error", failure->text));
}
