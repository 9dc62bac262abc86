/* SPDX-License-Identifier: Apache-2.0 */
/* PostgreSQL's own client library against the simulator: what a collector does, and what goes
 * wrong.
 *
 *   test_sim_libpq PROGRAM auto|io_uring|epoll */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "catalog/catalog.h"
#include "tests/tools/sim/rig.h"
#include "tools/sim/wire.h"

static const char *const plain[] = {NULL};

/* -- pipelines -- */

/* The next result; the NULL behind it is taken, too. */
static PGresult *next_result(PGconn *pg)
{
    PGresult *result = PQgetResult(pg);
    assert_non_null(result);
    if (PQresultStatus(result) != PGRES_PIPELINE_SYNC)
        assert_null(PQgetResult(pg));
    return result;
}

static void expect(PGconn *pg, ExecStatusType status, const char *sqlstate)
{
    PGresult *result = next_result(pg);
    if (PQresultStatus(result) != status)
        fail_msg("%s instead of %s: %s", PQresStatus(PQresultStatus(result)), PQresStatus(status),
                 PQresultErrorMessage(result));
    assert_string_equal(sqlstate_of(result), sqlstate);
    PQclear(result);
}

static void send_one(PGconn *pg, const char *sql)
{
    assert_int_equal(PQsendQueryParams(pg, sql, 0, NULL, NULL, NULL, NULL, 1), 1);
}

/* What stands behind an error is skipped up to the Sync, and only that. */
static void test_error_in_pipeline(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, plain);
    PGconn *pg = rig_connect(&rig, "");
    assert_int_equal(PQenterPipelineMode(pg), 1);
    send_one(pg, "SELECT 1");
    send_one(pg, "SELECT of_nothing_recorded");
    send_one(pg, "SELECT 1");
    assert_int_equal(PQsendQueryPrepared(pg, "none", 0, NULL, NULL, NULL, 1), 1);
    assert_int_equal(PQpipelineSync(pg), 1);
    send_one(pg, "SELECT 1");
    assert_int_equal(PQpipelineSync(pg), 1);
    expect(pg, PGRES_TUPLES_OK, "");
    expect(pg, PGRES_FATAL_ERROR, "0A000");
    expect(pg, PGRES_PIPELINE_ABORTED, "");
    expect(pg, PGRES_PIPELINE_ABORTED, "");
    expect(pg, PGRES_PIPELINE_SYNC, "");
    expect(pg, PGRES_TUPLES_OK, "");
    expect(pg, PGRES_PIPELINE_SYNC, "");
    /* A Sync each: an error is alone. */
    static const char *const queries[] = {"SELECT 1", "SELECT nothing", "SELECT 1",
                                          "COPY t TO STDOUT", "SELECT 1"};
    for (size_t i = 0; i < 5; i++) {
        send_one(pg, queries[i]);
        assert_int_equal(PQpipelineSync(pg), 1);
    }
    for (size_t i = 0; i < 5; i++) {
        expect(pg, i % 2 == 0 ? PGRES_TUPLES_OK : PGRES_FATAL_ERROR, i % 2 == 0 ? "" : "0A000");
        expect(pg, PGRES_PIPELINE_SYNC, "");
    }
    PQfinish(pg);
    json_t *report = rig_stop(&rig);
    assert_int_equal(rig_count(report, "errors.0A000"), 3);
    assert_int_equal(rig_count(report, "connections_accepted"), 1);
    json_decref(report);
}

/* -- the catalogue -- */

struct asked {
    struct catalog *catalog;
    struct plan *plan;
};

static void plan_open(struct asked *asked, PGconn *pg)
{
    struct error error;
    struct capabilities capabilities;
    int64_t masks[16] = {0};
    assert_true(catalog_load(&asked->catalog, NULL, 0, &error));
    PGresult *row =
        PQexecParams(pg, catalog_probe_sql(asked->catalog), 0, NULL, NULL, NULL, NULL, 1);
    assert_int_equal(PQntuples(row), 1);
    for (int i = 3; i < PQnfields(row); i++) {
        const uint8_t *cell = (const uint8_t *)PQgetvalue(row, 0, i);
        masks[i - 3] = (int64_t)((uint64_t)wire_get32(cell) << 32 | wire_get32(cell + 4));
    }
    catalog_read_capabilities((uint32_t)PQserverVersion(pg), *PQgetvalue(row, 0, 1) != 0, masks,
                              (size_t)PQnfields(row) - 3, &capabilities);
    PQclear(row);
    bool *enabled = calloc(asked->catalog->metric_count, sizeof *enabled);
    for (size_t i = 0; i < asked->catalog->metric_count; i++)
        enabled[i] = asked->catalog->metrics[i]->enabled;
    struct catalog_choice choice = {.metric_enabled = enabled};
    assert_true(catalog_plan(asked->catalog, &choice, &capabilities, &asked->plan, &error));
    free(enabled);
}

static void plan_close(struct asked *asked)
{
    plan_destroy(&asked->plan);
    catalog_destroy(&asked->catalog);
}

static const struct statement *find_statement(const struct asked *asked, const char *name)
{
    for (size_t i = 0; i < asked->plan->statement_count; i++)
        if (strcmp(asked->plan->statements[i].name, name) == 0)
            return &asked->plan->statements[i];
    fail_msg("no statement %s", name);
    return NULL;
}

/* An element of a monotonic int8 sum of the first row. */
static int64_t counter_of(const struct statement *statement, const PGresult *result)
{
    for (size_t i = 0; i < statement->point_count; i++) {
        const struct statement_point *point = &statement->points[i];
        if (!point->metric->monotonic || point->metric->value != METRIC_INT ||
            point->metric->instrument != METRIC_SUM)
            continue;
        const uint8_t *cell = (const uint8_t *)PQgetvalue(result, 0, point->column);
        cell += point->element == 0 ? 0 : 20 + 12 * (point->element - 1) + 4;
        return (int64_t)((uint64_t)wire_get32(cell) << 32 | wire_get32(cell + 4));
    }
    fail_msg("no counter in %s", statement->name);
    return 0;
}

/* The whole catalogue, prepared once and executed in pipelines; the counters tell their step. */
static void test_scrapes(void **state)
{
    (void)state;
    enum { SCRAPES = 3 };
    static const char *const arguments[] = {"--servers", "4", "--tables", "200", NULL};
    struct rig rig;
    struct asked asked;
    rig_start(&rig, arguments);
    PGconn *pg = rig_connect(&rig, "");
    plan_open(&asked, pg);
    assert_int_equal(PQenterPipelineMode(pg), 1);
    const struct statement *statements = asked.plan->statements;
    size_t count = asked.plan->statement_count;
    for (size_t i = 0; i < count; i++)
        assert_int_equal(PQsendPrepare(pg, statements[i].prepared, statements[i].sql, 0, NULL), 1);
    assert_int_equal(PQpipelineSync(pg), 1);
    for (size_t i = 0; i < count; i++)
        expect(pg, PGRES_COMMAND_OK, "");
    expect(pg, PGRES_PIPELINE_SYNC, "");
    uint64_t rows = 0;
    for (int scrape = 0; scrape < SCRAPES; scrape++) {
        for (size_t i = 0; i < count; i++)
            assert_int_equal(
                PQsendQueryPrepared(pg, statements[i].prepared, 0, NULL, NULL, NULL, 1), 1);
        assert_int_equal(PQpipelineSync(pg), 1);
        for (size_t i = 0; i < count; i++) {
            PGresult *result = next_result(pg);
            assert_int_equal(PQresultStatus(result), PGRES_TUPLES_OK);
            assert_int_equal(PQnfields(result), statements[i].column_count);
            rows += (uint64_t)PQntuples(result);
            if (strcmp(statements[i].name, "database") == 0)
                assert_int_equal(counter_of(&statements[i], result) / 1000, scrape + 1);
            PQclear(result);
        }
        expect(pg, PGRES_PIPELINE_SYNC, "");
    }
    PQfinish(pg);
    plan_close(&asked);
    json_t *report = rig_stop(&rig);
    assert_int_equal(rig_count(report, "scrapes"), SCRAPES);
    assert_int_equal(rig_count(report, "executions"), SCRAPES * count);
    assert_int_equal(rig_count(report, "rows"), rows);
    assert_int_equal(rig_count(report, "void_values"), 0);
    assert_true(rig_count(report, "values") > (json_int_t)rows);
    json_decref(report);
}

/* One counter of one server. */
static int64_t ask_counter(PGconn *pg, const struct statement *statement)
{
    PGresult *result = PQexecParams(pg, statement->sql, 0, NULL, NULL, NULL, NULL, 1);
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        fail_msg("%s", PQerrorMessage(pg));
    int64_t value = counter_of(statement, result);
    PQclear(result);
    return value;
}

/* Connections of a server share its steps; another server has its own. */
static void test_steps(void **state)
{
    (void)state;
    static const char *const arguments[] = {"--servers", "2", "--threads", "3", NULL};
    struct rig rig;
    struct asked asked;
    rig_start(&rig, arguments);
    PGconn *first = rig_connect(&rig, ""), *second = rig_connect(&rig, "");
    PGconn *other = rig_connect(&rig, "hostaddr=127.1.0.2");
    plan_open(&asked, first);
    const struct statement *statement = find_statement(&asked, "database");
    for (int step = 1; step <= 20; step++)
        assert_int_equal(ask_counter(step % 2 == 0 ? first : second, statement) / 1000, step);
    assert_int_equal(ask_counter(other, statement) / 1000, 1);
    PQfinish(first);
    PQfinish(second);
    PQfinish(other);
    plan_close(&asked);
    json_t *report = rig_stop(&rig);
    assert_int_equal(rig_count(report, "executions"), 21);
    json_decref(report);
}

/* -- what counts as read -- */

static json_int_t wait_for_count(const struct rig *rig, const char *key, json_int_t wanted)
{
    uint64_t deadline_ns = clock_monotonic_ns() + 10 * NS_PER_S;
    for (;;) {
        json_t *report = rig_report(rig);
        json_int_t count = rig_count(report, key);
        json_decref(report);
        if (count == wanted || clock_monotonic_ns() > deadline_ns)
            return count;
        usleep(5000);
    }
}

/* Sends a statement and says goodbye: with the answer read, with the answer there but unread,
 * unread with the request's end sent behind it, and before the simulator has even seen the
 * statement. */
static void test_goodbye(void **state)
{
    (void)state;
    enum { READ, UNREAD, MIDWAY, TOO_SOON, WAYS };
    struct rig rig;
    struct asked asked;
    rig_start(&rig, plain);
    PGconn *pg = rig_connect(&rig, "");
    plan_open(&asked, pg);
    const struct statement *statement = find_statement(&asked, "database");
    PQfinish(pg);
    assert_int_equal(wait_for_count(&rig, "connections_open", 0), 0);
    for (int way = 0; way < WAYS; way++) {
        json_t *before = rig_report(&rig);
        pg = rig_connect(&rig, "");
        if (way == TOO_SOON)
            kill(rig.pid, SIGSTOP);
        if (way == MIDWAY)
            assert_int_equal(PQenterPipelineMode(pg), 1);
        send_one(pg, statement->sql);
        if (way == MIDWAY)
            assert_int_equal(PQsendFlushRequest(pg), 1);
        while (PQflush(pg) > 0)
            continue;
        if (way == READ)
            PQclear(next_result(pg));
        struct pollfd answer = {.fd = PQsocket(pg), .events = POLLIN};
        if (way == UNREAD || way == MIDWAY)
            assert_int_equal(poll(&answer, 1, 10000), 1);
        if (way == MIDWAY)
            assert_int_equal(PQpipelineSync(pg), 1);
        PQfinish(pg);
        if (way == TOO_SOON)
            kill(rig.pid, SIGCONT);
        assert_int_equal(wait_for_count(&rig, "connections_open", 0), 0);
        json_t *after = rig_report(&rig);
        json_int_t values = rig_count(after, "values") - rig_count(before, "values");
        json_int_t voids = rig_count(after, "void_values") - rig_count(before, "void_values");
        assert_true((values > 0) == (way == READ));
        assert_true((voids > 0) == (way != READ));
        json_decref(before);
        json_decref(after);
    }
    plan_close(&asked);
    json_decref(rig_stop(&rig));
}

/* What a client has not read when it leaves is void, whatever it says as it goes. */
static void test_unread(void **state)
{
    (void)state;
    struct rig rig;
    struct asked asked;
    rig_start(&rig, plain);
    PGconn *pg = rig_connect(&rig, "");
    plan_open(&asked, pg);
    const struct statement *statement = find_statement(&asked, "database");
    ask_counter(pg, statement);
    json_t *report = rig_report(&rig);
    json_int_t values = rig_count(report, "values"); /* sent, and the connection is open */
    assert_true(values > 0);
    assert_int_equal(rig_count(report, "void_values"), 0);
    json_decref(report);
    send_one(pg, statement->sql);
    assert_int_equal(PQflush(pg), 0);
    rig_wait(&rig, "executions", 2);
    PQfinish(pg);
    plan_close(&asked);
    rig_wait(&rig, "connections_open", 0);
    report = rig_stop(&rig);
    assert_int_equal(rig_count(report, "values"), values);
    assert_int_equal(rig_count(report, "void_values"), values);
    json_decref(report);
}

/* -- prepared statements, transactions, settings -- */

static void expect_prepare(PGconn *pg, const char *name, const char *sql, const char *sqlstate)
{
    PGresult *result = PQprepare(pg, name, sql, 0, NULL);
    assert_string_equal(sqlstate_of(result), sqlstate);
    PQclear(result);
}

static void expect_execute(PGconn *pg, const char *name, const char *sqlstate)
{
    PGresult *result = PQexecPrepared(pg, name, 0, NULL, NULL, NULL, 0);
    assert_string_equal(sqlstate_of(result), sqlstate);
    PQclear(result);
}

static void test_prepared(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, plain);
    PGconn *pg = rig_connect(&rig, "");
    expect_prepare(pg, "a", "SELECT 1", "");
    expect_prepare(pg, "a", "SELECT 1", "42P05");
    expect_prepare(pg, "b", "SELECT 1; SELECT 1", "42601");
    expect_prepare(pg, "b", "SELECT not_there FROM nowhere", "0A000");
    expect_execute(pg, "a", "");
    expect_execute(pg, "b", "26000");
    PGresult *described = PQdescribePrepared(pg, "a");
    assert_int_equal(PQresultStatus(described), PGRES_COMMAND_OK);
    assert_int_equal(PQnfields(described), 1);
    assert_int_equal(PQnparams(described), 0);
    PQclear(described);
    rig_sql(pg, "DEALLOCATE a", NULL);
    expect_execute(pg, "a", "26000");
    assert_string_equal(rig_sqlstate(pg, "DEALLOCATE a"), "26000");
    expect_prepare(pg, "a", "SELECT current_database()", "");
    PGresult *result = PQexecPrepared(pg, "a", 0, NULL, NULL, NULL, 0);
    assert_string_equal(PQgetvalue(result, 0, 0), "postgres");
    PQclear(result);
    const char *value = "x";
    result = PQexecPrepared(pg, "a", 1, &value, NULL, NULL, 0);
    assert_string_equal(sqlstate_of(result), "08P01");
    PQclear(result);
    rig_sql(pg, "DISCARD ALL", NULL);
    expect_execute(pg, "a", "26000");
    PQfinish(pg);
    json_decref(rig_stop(&rig));
}

static void test_transactions(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, plain);
    PGconn *pg = rig_connect(&rig, "");
    assert_int_equal(PQtransactionStatus(pg), PQTRANS_IDLE);
    rig_sql(pg, "BEGIN", NULL);
    assert_int_equal(PQtransactionStatus(pg), PQTRANS_INTRANS);
    rig_sql(pg, "SAVEPOINT s", NULL);
    assert_string_equal(rig_sqlstate(pg, "SELECT nothing"), "0A000");
    assert_int_equal(PQtransactionStatus(pg), PQTRANS_INERROR);
    assert_string_equal(rig_sqlstate(pg, "SELECT 1"), "25P02");
    rig_sql(pg, "ROLLBACK TO s", NULL);
    assert_int_equal(PQtransactionStatus(pg), PQTRANS_INTRANS);
    rig_sql(pg, "SELECT 1", "1");
    assert_string_equal(rig_sqlstate(pg, "COPY t FROM STDIN"), "0A000");
    PGresult *result = PQexec(pg, "COMMIT");
    assert_string_equal(PQcmdStatus(result), "ROLLBACK");
    PQclear(result);
    assert_int_equal(PQtransactionStatus(pg), PQTRANS_IDLE);
    assert_string_equal(rig_sqlstate(pg, "SAVEPOINT s"), "25P01");
    rig_sql(pg, "", NULL);
    rig_sql(pg, " ; ; ", NULL);
    /* Several in one: the last one's answer; what stands behind an error is not run. */
    rig_sql(pg, "BEGIN; SELECT 1; /* ; */ COMMIT; SELECT 1 -- ;\n", "1");
    assert_string_equal(rig_sqlstate(pg, "SELECT 1; SELECT nothing; BEGIN"), "0A000");
    assert_int_equal(PQtransactionStatus(pg), PQTRANS_IDLE);
    PQfinish(pg);
    json_decref(rig_stop(&rig));
}

static void test_settings(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, plain);
    PGconn *pg = rig_connect(&rig, "application_name=me options='-c statement_timeout=3s'");
    assert_string_equal(PQparameterStatus(pg, "application_name"), "me");
    assert_string_equal(PQparameterStatus(pg, "session_authorization"), "x");
    assert_int_equal(PQserverVersion(pg) / 10000, 17);
    rig_sql(pg, "SHOW statement_timeout", "3000ms");
    rig_sql(pg, "SET statement_timeout = '1min'", NULL);
    rig_sql(pg, "SHOW statement_timeout", "60000ms");
    rig_sql(pg, "SELECT pg_catalog.set_config('lock_timeout', '250', false)", "250");
    rig_sql(pg, "SHOW lock_timeout", "250ms");
    rig_sql(pg, "BEGIN; SET LOCAL lock_timeout = 7", NULL);
    rig_sql(pg, "SHOW lock_timeout", "7ms");
    rig_sql(pg, "COMMIT", NULL);
    rig_sql(pg, "SHOW lock_timeout", "250ms");
    rig_sql(pg, "RESET lock_timeout", NULL);
    rig_sql(pg, "SHOW lock_timeout", "0");
    rig_sql(pg, "SHOW server_version_num", NULL);
    assert_string_equal(rig_sqlstate(pg, "SHOW no_such_setting"), "42704");
    PQfinish(pg);
    json_decref(rig_stop(&rig));
}

/* -- waiting, and its ends -- */

/* Statements that met the first rule. */
static json_int_t hits_of(const struct rig *rig)
{
    json_t *report = rig_report(rig);
    json_int_t hits = rig_count(json_array_get(json_object_get(report, "rules"), 0), "hits");
    json_decref(report);
    return hits;
}

struct canceller {
    const struct rig *rig;
    PGcancel *cancel;
    json_int_t hits; /* before the statement */
};

static void *cancel_when_it_hangs(void *owner)
{
    const struct canceller *canceller = owner;
    char text[256];
    while (hits_of(canceller->rig) == canceller->hits)
        usleep(5000);
    return PQcancel(canceller->cancel, text, sizeof text) == 1 ? owner : NULL;
}

static double seconds_of(PGconn *pg, const char *sql, const char *sqlstate)
{
    uint64_t begin_ns = clock_monotonic_ns();
    if (sqlstate[0] == 0)
        rig_sql(pg, sql, NULL);
    else
        assert_string_equal(rig_sqlstate(pg, sql), sqlstate);
    return (double)(clock_monotonic_ns() - begin_ns) / 1e9;
}

static void test_cancel(void **state)
{
    (void)state;
    static const char *const arguments[] = {"--threads", "2", NULL};
    struct rig rig;
    rig_start(&rig, arguments);
    rig_tell(&rig, "[{hang: true, statement: other}]");
    for (int i = 0; i < 4; i++) { /* on either thread, from either thread */
        PGconn *pg = rig_connect(&rig, "");
        struct canceller canceller = {&rig, PQgetCancel(pg), hits_of(&rig)};
        pthread_t thread;
        void *sent;
        assert_int_equal(pthread_create(&thread, NULL, cancel_when_it_hangs, &canceller), 0);
        /* Without the cancel it would hang. */
        assert_string_equal(rig_sqlstate(pg, "SELECT 1"), "57014");
        pthread_join(thread, &sent);
        assert_ptr_equal(sent, &canceller);
        PQfreeCancel(canceller.cancel);
        rig_sql(pg, "BEGIN", NULL); /* goes on */
        PQfinish(pg);
    }
    json_t *report = rig_stop(&rig);
    assert_int_equal(rig_count(report, "cancels"), 4);
    assert_int_equal(rig_count(report, "errors.57014"), 4);
    json_decref(report);
}

static void test_timeouts(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, plain);
    PGconn *pg = rig_connect(&rig, "");
    rig_sql(pg, "SET statement_timeout = 300; SET lock_timeout = 80", NULL);
    rig_tell(&rig, "[{lock_wait: 1h, statement: other}]");
    double seconds = seconds_of(pg, "SELECT 1", "55P03");
    assert_true(seconds >= 0.08 && seconds < 10);
    rig_tell(&rig, "[]");
    rig_sql(pg, "SET lock_timeout = 0", NULL);
    rig_tell(&rig, "[{lock_wait: 1h, statement: other}]");
    seconds = seconds_of(pg, "SELECT 1", "57014");
    assert_true(seconds >= 0.3 && seconds < 10);
    rig_tell(&rig, "[{hang: true, statement: other}]");
    seconds = seconds_of(pg, "SELECT 1", "57014");
    assert_true(seconds >= 0.3 && seconds < 10);
    /* Both are longer than the wait: it is answered. */
    rig_tell(&rig, "[{lock_wait: 50ms, statement: other}]");
    seconds = seconds_of(pg, "SELECT 1", "");
    assert_true(seconds >= 0.05 && seconds < 10);
    rig_tell(&rig, "[{latency: 60ms}, {latency: 60ms}, {error: 40001}]");
    seconds = seconds_of(pg, "SELECT 1", "40001");
    assert_true(seconds >= 0.12 && seconds < 10);
    PQfinish(pg);
    json_decref(rig_stop(&rig));
}

/* A timeout for one transaction, as a statement with a timeout of its own is sent. */
static void test_local_timeout(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, plain);
    PGconn *pg = rig_connect(&rig, "");
    rig_sql(pg, "SET statement_timeout = 60000", NULL);
    assert_int_equal(PQenterPipelineMode(pg), 1);
    send_one(pg, "/* pgweir */ SELECT pg_catalog.set_config('statement_timeout', '90', true)");
    assert_int_equal(PQpipelineSync(pg), 1);
    expect(pg, PGRES_TUPLES_OK, "");
    expect(pg, PGRES_PIPELINE_SYNC, "");
    rig_tell(&rig, "[{latency: 200ms, statement: other}]");
    send_one(pg, "SELECT 1"); /* that transaction is over */
    assert_int_equal(PQpipelineSync(pg), 1);
    expect(pg, PGRES_TUPLES_OK, "");
    expect(pg, PGRES_PIPELINE_SYNC, "");
    rig_tell(&rig, "[]");
    send_one(pg, "SELECT pg_catalog.set_config('statement_timeout', '90', true)");
    send_one(pg, "SELECT now()");
    assert_int_equal(PQflush(pg), 0);
    assert_int_equal(PQsendFlushRequest(pg), 1);
    assert_int_equal(PQflush(pg), 0);
    expect(pg, PGRES_TUPLES_OK, "");
    expect(pg, PGRES_TUPLES_OK, "");
    rig_tell(&rig, "[{latency: 200ms, statement: other}]");
    send_one(pg, "SELECT 1");
    assert_int_equal(PQpipelineSync(pg), 1);
    expect(pg, PGRES_FATAL_ERROR, "57014");
    expect(pg, PGRES_PIPELINE_SYNC, "");
    PQfinish(pg);
    json_decref(rig_stop(&rig));
}

/* Answers in front of a delayed one stay back until the Sync, as with PostgreSQL. */
static void test_answers_stay_back(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, plain);
    rig_tell(&rig, "[{latency: 400ms, statement: probe}]");
    PGconn *pg = rig_connect(&rig, "");
    struct catalog *catalog;
    struct error error;
    assert_true(catalog_load(&catalog, NULL, 0, &error));
    assert_int_equal(PQenterPipelineMode(pg), 1);
    uint64_t begin_ns = clock_monotonic_ns();
    send_one(pg, "SELECT 1");
    send_one(pg, catalog_probe_sql(catalog));
    assert_int_equal(PQpipelineSync(pg), 1);
    expect(pg, PGRES_TUPLES_OK, "");
    assert_true(clock_monotonic_ns() - begin_ns >= 400 * NS_PER_MS);
    expect(pg, PGRES_TUPLES_OK, "");
    expect(pg, PGRES_PIPELINE_SYNC, "");
    catalog_destroy(&catalog);
    PQfinish(pg);
    json_decref(rig_stop(&rig));
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error_in_pipeline),
        cmocka_unit_test(test_scrapes),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_unread),
        cmocka_unit_test(test_goodbye),
        cmocka_unit_test(test_prepared),
        cmocka_unit_test(test_transactions),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_timeouts),
        cmocka_unit_test(test_local_timeout),
        cmocka_unit_test(test_answers_stay_back),
    };
    if (argc != 3)
        return 2;
    rig_configure(argv[1], argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
