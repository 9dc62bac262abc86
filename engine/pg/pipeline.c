/* SPDX-License-Identifier: Apache-2.0 */
/* Step 4 of 9. Shard's thread. Upper half: libpq's pipeline grammar, for whoever sends something
 * (session set-up, probe, collections). Lower half: a collection.
 *
 * Why one Sync for all: libpq 15 makes every Sync a send() of its own, and a collection of thirty
 * statements must not cost thirty. The price is paid only after an error: what stood behind it is
 * sent again at once. Statements that never succeeded then get a Sync each, so that a role that may
 * run nothing at all costs two rounds and not thirty. A server also keeps its answers back until
 * the Sync: after a collection that ran out of time, the next one gives each statement its own, so
 * that the fast ones deliver and the slow one is named.
 *
 * Invariant of a cycle: every due statement is settled exactly once, by its result, by its error,
 * or because it is set apart for now. A round settles at least one statement or the session is
 * lost, so the rounds end.
 *
 * Source: libpq "Pipeline Mode"; BUG #17948 (a lost connection may never show its Sync). */
#include "pg/pipeline.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "pg/conn.h"

enum {
    BINARY = 1,
    NAME_BYTES = 96,
    /* prepare, timeout, execute, two Syncs, deallocate */
    ENTRIES_PER_STATEMENT = 6,
    ENTRIES_MAX = LIMIT_QUERIES * ENTRIES_PER_STATEMENT + 16,
};

void pipeline_fini(struct pipeline *pipeline)
{
    free(pipeline->entries);
    *pipeline = (struct pipeline){0};
}

void pipeline_expect(struct pipeline *pipeline, enum pipeline_kind kind, uint32_t statement,
                     int sent)
{
    if (sent == 0 || pipeline->refused) {
        pipeline->refused = true;
        return;
    }
    if (pipeline->count == pipeline->capacity) {
        uint32_t capacity = pipeline->capacity == 0 ? 16 : pipeline->capacity * 2;
        CHECK(pipeline->count < ENTRIES_MAX);
        pipeline->entries = xrealloc(pipeline->entries, capacity * sizeof *pipeline->entries);
        pipeline->capacity = capacity;
    }
    pipeline->entries[pipeline->count++] =
        (struct pipeline_entry){.kind = (uint8_t)kind, .statement = (uint16_t)statement};
}

void pipeline_sync(struct pipeline *pipeline, struct pg_conn *connection)
{
    pipeline_expect(pipeline, PIPELINE_SYNC, 0, PQpipelineSync(connection));
}

/* The Sync came: the entry it answers is the head. */
static bool take_sync(struct pipeline *pipeline)
{
    if (pipeline->answered || pipeline->entries[pipeline->head].kind != PIPELINE_SYNC)
        return false;
    pipeline->head++;
    return true;
}

/* The NULL behind an entry's results. One that answers nothing means that libpq has forgotten what
 * was sent: the connection is gone. */
static bool take_end(struct pipeline *pipeline)
{
    if (!pipeline->answered)
        return false;
    pipeline->answered = false;
    pipeline->head++;
    return true;
}

enum pipeline_progress pipeline_read(struct pipeline *pipeline, struct pg_conn *connection,
                                     pipeline_fn *fn, void *owner)
{
    while (pipeline->head < pipeline->count) {
        if (PQisBusy(connection))
            return PQstatus(connection) == CONNECTION_BAD ? PIPELINE_LOST : PIPELINE_WAITS;
        struct pg_result *result = PQgetResult(connection);
        bool good;
        if (result == NULL) {
            good = take_end(pipeline);
        } else if (PQresultStatus(result) == PGRES_PIPELINE_SYNC) {
            good = take_sync(pipeline);
        } else {
            const struct pipeline_entry *entry = &pipeline->entries[pipeline->head];
            good = entry->kind != PIPELINE_SYNC && !pipeline->answered && fn(owner, entry, result);
            pipeline->answered = true;
        }
        PQclear(result);
        if (!good)
            return PIPELINE_LOST;
    }
    pipeline->head = pipeline->count = 0;
    return PIPELINE_DONE;
}

void run_fini(struct run *run)
{
    free(run->statements);
    *run = (struct run){0};
}

void run_adopt(struct run *run, const struct plan *before, const struct plan *plan)
{
    CHECK(plan->statement_count <= LIMIT_QUERIES);
    struct pipeline_statement *statements = xcalloc(plan->statement_count + 1, sizeof *statements);
    for (size_t i = 0; before != NULL && i < plan->statement_count; i++) {
        for (size_t k = 0; k < before->statement_count; k++) {
            if (strcmp(plan->statements[i].prepared, before->statements[k].prepared) != 0)
                continue;
            statements[i] = run->statements[k];
            break;
        }
    }
    free(run->statements);
    run->statements = statements;
}

/* A statement whose old form was refused is prepared under a new name. */
static const char *prepared_name(const struct conn *conn, uint32_t index, char name[NAME_BYTES])
{
    const struct statement *statement = &conn->plan->statements[index];
    unsigned generation = conn->run.statements[index].generation;
    if (generation == 0)
        return statement->prepared;
    snprintf(name, NAME_BYTES, "%.80s_%u", statement->prepared, generation);
    return name;
}

static void send_statement(struct conn *conn, uint32_t index)
{
    const struct statement *statement = &conn->plan->statements[index];
    struct pipeline_statement *mine = &conn->run.statements[index];
    char buffer[NAME_BYTES];
    const char *name = prepared_name(conn, index, buffer);
    if (!mine->prepared) {
        mine->fresh = true;
        pipeline_expect(&conn->pipeline, PIPELINE_PREPARE, index,
                        PQsendPrepare(conn->pg, name, statement->sql, 0, NULL));
    }
    if (statement->timeout_ns != 0) {
        char sql[128];
        snprintf(sql, sizeof sql,
                 "/* pgweir */ SELECT pg_catalog.set_config('statement_timeout', '%llu', true)",
                 (unsigned long long)((statement->timeout_ns + NS_PER_MS - 1) / NS_PER_MS));
        pipeline_expect(&conn->pipeline, PIPELINE_TIMEOUT, index,
                        PQsendQueryParams(conn->pg, sql, 0, NULL, NULL, NULL, NULL, BINARY));
    }
    pipeline_expect(&conn->pipeline, PIPELINE_EXECUTE, index,
                    PQsendQueryPrepared(conn->pg, name, 0, NULL, NULL, NULL, BINARY));
    mine->due = false;
}

/* Alone: with a timeout of its own, or likely to fail and to take others along. */
static bool goes_alone(const struct conn *conn, const struct statement *statement)
{
    const struct track_record *track = &conn->database->track;
    const struct pipeline_statement *mine =
        &conn->run.statements[statement - conn->plan->statements];
    return statement->timeout_ns != 0 || mine->renewed || conn->database->apart ||
           track_failing(track, statement) != NULL ||
           (conn->run.round > 0 && !track_proven(track, statement));
}

/* Sends everything that is due; always at least one Sync, so that a server that does not answer is
 * noticed even when nothing is due. */
static void send_round(struct conn *conn)
{
    track_adopt(&conn->database->track, conn->plan);
    for (uint32_t i = 0; i < conn->plan->statement_count; i++)
        if (conn->run.statements[i].due && !goes_alone(conn, &conn->plan->statements[i]))
            send_statement(conn, i);
    if (conn->pipeline.count > 0 || conn->run.round == 0)
        pipeline_sync(&conn->pipeline, conn->pg);
    for (uint32_t i = 0; i < conn->plan->statement_count; i++) {
        if (!conn->run.statements[i].due)
            continue;
        send_statement(conn, i);
        pipeline_sync(&conn->pipeline, conn->pg);
    }
    conn->run.round++;
}

bool run_wants(const struct collection *collection, const struct statement *statement)
{
    if ((collection->groups >> statement->group_index & 1) == 0)
        return false;
    return statement->scope == QUERY_DATABASE ? !collection->server_only
                                              : collection->database == NULL;
}

void run_start(struct conn *conn, uint64_t now_ns)
{
    struct run *run = &conn->run;
    struct collection *collection = conn->collection;
    struct pipeline_statement *statements = run->statements;
    *run = (struct run){.statements = statements, .since_ns = now_ns};
    track_adopt(&conn->database->track, conn->plan);
    collection->started_ns = now_ns;
    collection->plan = conn->plan;
    collection->statements = collection->failed = 0;
    for (uint32_t i = 0; i < conn->plan->statement_count; i++) {
        const struct statement *statement = &conn->plan->statements[i];
        statements[i] = (struct pipeline_statement){.prepared = statements[i].prepared,
                                                    .generation = statements[i].generation};
        if (!run_wants(collection, statement))
            continue;
        collection->statements++;
        const struct failing *failing = track_failing(&conn->database->track, statement);
        statements[i].due = failing == NULL || failing->retry_ns <= now_ns;
        if (!statements[i].due)
            collection->failed++;
    }
    send_round(conn);
}

/* The old form of a statement no longer works on this session: its name is given up, the next round
 * prepares it under another. Only for what was prepared before this cycle: a form just made that is
 * refused is refused for good. */
static bool renew(struct conn *conn, uint32_t index, const struct failure *failure)
{
    struct pipeline_statement *mine = &conn->run.statements[index];
    bool taken = strcmp(failure->sqlstate, "42P05") == 0;
    if (failure->kind != FAILURE_PREPARED || mine->renewed || (mine->fresh && !taken))
        return false;
    mine->generation++;
    mine->prepared = false;
    mine->renewed = mine->due = true;
    return true;
}

static void settle_failure(struct conn *conn, uint32_t index, const struct failure *failure,
                           uint64_t now_ns)
{
    const struct statement *statement = &conn->plan->statements[index];
    struct track_record *track = &conn->database->track;
    conn->run.statements[index].settled = true;
    conn->run.delivered++;
    conn->collection->failed++;
    if (failure->kind == FAILURE_ROLE)
        conn->run.ask_again = true;
    if (track_failed(track, statement, failure, conn->context->shard, now_ns))
        pool_on_statement(conn->pool, conn, statement, failure);
}

static void settle_success(struct conn *conn, uint32_t index, const struct pg_result *result)
{
    const struct statement *statement = &conn->plan->statements[index];
    struct collection *collection = conn->collection;
    conn->run.statements[index].settled = true;
    conn->run.delivered++;
    if (track_succeeded(&conn->database->track, statement))
        pool_on_statement(conn->pool, conn, statement, NULL);
    collection->result(collection, statement, result, conn->run.time_ns);
}

const char *run_awaited(const struct conn *conn)
{
    const struct pipeline *pipeline = &conn->pipeline;
    uint32_t at = pipeline->head < pipeline->count ? pipeline->head : 0;
    return conn->plan->statement_count == 0 || pipeline->count == 0
               ? ""
               : conn->plan->statements[pipeline->entries[at].statement].name;
}

struct reading {
    struct conn *conn;
    uint64_t now_ns;
};

/* False: the server ends the session (57P01, …) or libpq lost it; conn->failure says why. */
static bool take_error(struct conn *conn, uint32_t index, const struct pg_result *result,
                       uint64_t now_ns)
{
    struct failure failure;
    if (PQresultStatus(result) == PGRES_FATAL_ERROR)
        failure_from_result(&failure, result);
    else
        failure_set(&failure, FAILURE_LASTING, "the query returns no rows (%s)",
                    PQresStatus(PQresultStatus(result)));
    if (failure.kind == FAILURE_SESSION) {
        conn->failure = failure;
        return false;
    }
    if (!conn->run.statements[index].settled && !renew(conn, index, &failure))
        settle_failure(conn, index, &failure, now_ns);
    return true;
}

static bool take_result(void *owner, const struct pipeline_entry *entry,
                        const struct pg_result *result)
{
    const struct reading *reading = owner;
    struct conn *conn = reading->conn;
    struct pipeline_statement *mine = &conn->run.statements[entry->statement];
    ExecStatusType status = PQresultStatus(result);
    track_adopt(&conn->database->track, conn->plan);
    if (status == PGRES_PIPELINE_ABORTED) {
        if (entry->kind == PIPELINE_EXECUTE && !mine->settled)
            mine->due = true;
        return true;
    }
    switch ((enum pipeline_kind)entry->kind) {
    case PIPELINE_PREPARE:
        if (status != PGRES_COMMAND_OK)
            return take_error(conn, entry->statement, result, reading->now_ns);
        mine->prepared = true;
        return true;
    case PIPELINE_TIMEOUT:
        return status == PGRES_TUPLES_OK ||
               take_error(conn, entry->statement, result, reading->now_ns);
    case PIPELINE_EXECUTE:
        telemetry_add(conn->context->telemetry, TELEMETRY_STATEMENTS, 1);
        conn->run.answered++;
        if (status != PGRES_TUPLES_OK)
            return take_error(conn, entry->statement, result, reading->now_ns);
        settle_success(conn, entry->statement, result);
        return true;
    case PIPELINE_DEALLOCATE:
        return true;
    case PIPELINE_GUARD:
    case PIPELINE_WISH:
    case PIPELINE_PROBE:
    case PIPELINE_SYNC:
        break;
    }
    check_failed("an entry of a collection", __FILE__, __LINE__);
}

/* Names given up in the last round; their Sync keeps an error away from the others. */
static void deallocate_renewed(struct conn *conn)
{
    for (uint32_t i = 0; i < conn->plan->statement_count; i++) {
        struct pipeline_statement *mine = &conn->run.statements[i];
        if (!mine->due || !mine->renewed || mine->fresh)
            continue;
        char name[NAME_BYTES], sql[NAME_BYTES + 32];
        mine->generation--;
        snprintf(sql, sizeof sql, "DEALLOCATE \"%s\"", prepared_name(conn, i, name));
        mine->generation++;
        pipeline_expect(&conn->pipeline, PIPELINE_DEALLOCATE, i,
                        PQsendQueryParams(conn->pg, sql, 0, NULL, NULL, NULL, NULL, BINARY));
        pipeline_sync(&conn->pipeline, conn->pg);
    }
}

static bool anything_due(const struct conn *conn)
{
    for (uint32_t i = 0; i < conn->plan->statement_count; i++)
        if (conn->run.statements[i].due)
            return true;
    return false;
}

enum pipeline_progress run_read(struct conn *conn, uint64_t now_ns)
{
    struct reading reading = {conn, now_ns};
    conn->run.time_ns = clock_wall_ns();
    enum pipeline_progress progress =
        pipeline_read(&conn->pipeline, conn->pg, take_result, &reading);
    if (progress != PIPELINE_DONE || !anything_due(conn))
        return progress;
    deallocate_renewed(conn);
    send_round(conn);
    return conn->pipeline.refused ? PIPELINE_LOST : PIPELINE_WAITS;
}

void run_tell(struct conn *conn, uint64_t now_ns)
{
    struct run *run = &conn->run;
    if (run->answered == 0)
        return;
    uint64_t took_ns = now_ns > run->since_ns ? now_ns - run->since_ns : 0;
    telemetry_record_many(conn->context->telemetry, TELEMETRY_HISTOGRAM_STATEMENT,
                          took_ns / run->answered, run->answered);
    run->answered = 0;
    run->since_ns = now_ns;
}
