/* SPDX-License-Identifier: Apache-2.0 */
/* What connections tell their pool, and what it makes of it: back-off, who the server is, how a
 * collection ended and in which words, which statements fail. Shard's thread, called from inside
 * conn_step(). */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "pg/pool_state.h"

enum {
    ERROR_BYTES = 640,
    JITTER_PERCENT = 20,
};

/* Refused credentials must not look like an attack, nor lock the account. */
static const uint64_t login_retry_ns = 30 * NS_PER_S;

static void backoff_add(struct pool *pool, struct backoff *backoff, const struct failure *failure,
                        uint64_t now_ns)
{
    const struct session_settings *settings = pool->options.session;
    uint64_t most_ns = settings->backoff_max_ns;
    uint64_t delay_ns = settings->backoff_initial_ns > 0 ? settings->backoff_initial_ns : NS_PER_MS;
    for (uint32_t i = 0; i < backoff->failures && delay_ns < most_ns; i++)
        delay_ns *= 2;
    if (delay_ns > most_ns || failure->kind == FAILURE_UNFIT)
        delay_ns = most_ns;
    bool login = failure->kind == FAILURE_LOGIN || failure->kind == FAILURE_ACCESS;
    if (login && delay_ns < login_retry_ns)
        delay_ns = login_retry_ns;
    delay_ns += random_below(pool->context->random, delay_ns * JITTER_PERCENT / 100 + 1);
    backoff->failures++;
    backoff->retry_ns = now_ns + delay_ns;
    backoff->failure = *failure;
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
    backoff_add(pool, local ? &conn->database->backoff : &pool->backoff, failure, now_ns);
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
    pool->backoff = (struct backoff){0};
    conn->database->backoff = (struct backoff){0};
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

static void record_scrape(struct pool *pool, const struct collection *collection)
{
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
