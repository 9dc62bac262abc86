/* SPDX-License-Identifier: Apache-2.0 */
/* Pipelines against a real PostgreSQL, on both kinds of loop: statements that fail, wait, last or
 * are cut off, and what that does to their neighbours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <libpq-fe.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "pool_bench.h"

static void test_failing_statement_fails_alone(void **state)
{
    (void)state;
    static const struct rig_query queries[] = {
        {.name = "first", .sql = "SELECT 1"},
        {.name = "broken", .sql = "SELECT no_such_column FROM pg_class"},
        {.name = "denied", .sql = "SELECT rolpassword FROM pg_authid"},
        {.name = "second", .sql = "SELECT 2"},
        {.name = "divides", .sql = "SELECT 1 / (random() * 0)::int"},
        {.name = "third", .sql = "SELECT 3"},
        {.name = "writes", .sql = "CREATE TABLE never (id int)"},
        {0},
    };
    struct rig_collection c;
    rig_plan(&rig, queries);
    pool_on_tcp("plain", "sesame", "postgres");
    rig_collect(&rig, &c, NULL, 20000);
    assert_int_equal(c.outcome, COLLECTION_PARTIAL);
    assert_int_equal(c.results, 3);
    assert_int_equal(c.collection.statements, 7);
    assert_int_equal(c.collection.failed, 4);
    assert_has(c.error, "query \"broken\" on database \"postgres\"");
    assert_has(c.error, "(42703)");
    assert_has(c.error, "3 more fail");
    assert_int_equal(count_of("broken", "42703"), 1);
    assert_int_equal(count_of("denied", "42501"), 1);
    assert_int_equal(count_of("divides", "22012"), 1);
    assert_int_equal(count_of("writes", "25006"), 1);
    /* Set apart now: not tried again, the others come as before, still told. */
    uint64_t executed = rig_value(&rig, TELEMETRY_STATEMENTS);
    rig_collect(&rig, &c, NULL, 20000);
    assert_int_equal(c.outcome, COLLECTION_PARTIAL);
    assert_int_equal(c.results, 3);
    assert_int_equal(c.collection.failed, 4);
    assert_int_equal(rig_value(&rig, TELEMETRY_STATEMENTS), executed + 3);
    assert_int_equal(count_of("broken", "42703"), 1);
    assert_int_equal(rig_value(&rig, TELEMETRY_CONNECTS_OK), 1);
}

static void test_proven_statement_that_fails(void **state)
{
    (void)state;
    static const struct rig_query queries[] = {
        {.name = "a", .sql = "SELECT 1"},
        {.name = "b", .sql = "SELECT 1 / v FROM knob"},
        {.name = "c", .sql = "SELECT 3"},
        {0},
    };
    struct rig_collection c;
    cluster_sql(&cluster, "postgres",
                "DROP TABLE IF EXISTS knob; CREATE TABLE knob AS SELECT 1 AS v");
    rig_plan(&rig, queries);
    pool_on_socket();
    for (int i = 0; i < 2; i++)
        rig_collect(&rig, &c, NULL, 20000);
    assert_int_equal(c.outcome, COLLECTION_OK);
    /* The tail behind the culprit is sent again in the same cycle. */
    cluster_sql(&cluster, "postgres", "UPDATE knob SET v = 0");
    rig_collect(&rig, &c, NULL, 20000);
    assert_int_equal(c.outcome, COLLECTION_PARTIAL);
    assert_int_equal(c.results, 2);
    assert_has(c.error, "division by zero (22012)");
}

static void test_prepared_statement_renewed(void **state)
{
    (void)state;
    static const struct rig_query queries[] = {
        {.name = "stars", .sql = "SELECT * FROM shape"},
        {.name = "other", .sql = "SELECT 1"},
        {0},
    };
    struct rig_collection c;
    cluster_sql(&cluster, "postgres",
                "DROP TABLE IF EXISTS shape; CREATE TABLE shape AS SELECT 1 AS a");
    rig_plan(&rig, queries);
    pool_on_socket();
    rig_collect(&rig, &c, NULL, 20000);
    /* 0A000: cached plan must not change result type. */
    for (int i = 0; i < 3; i++) {
        cluster_sql(&cluster, "postgres",
                    i % 2 == 0 ? "ALTER TABLE shape ADD b text" : "ALTER TABLE shape DROP b");
        rig_collect(&rig, &c, NULL, 20000);
        assert_string_equal(c.error, "");
        assert_int_equal(c.outcome, COLLECTION_OK);
        assert_int_equal(c.results, 2);
    }
    assert_int_equal(rig_value(&rig, TELEMETRY_CONNECTS_OK), 1);
    /* The table goes and comes: 42P01, set apart; the session lives on. */
    cluster_sql(&cluster, "postgres", "DROP TABLE shape");
    rig_collect(&rig, &c, NULL, 20000);
    assert_int_equal(c.outcome, COLLECTION_PARTIAL);
    assert_has(c.error, "42P01");
    assert_int_equal(c.results, 1);
}

static void test_statement_forgotten_by_server(void **state)
{
    (void)state;
    static const struct rig_query queries[] = {
        {.name = "kept", .sql = "SELECT 1"},
        {.name = "forgets", .sql = "SELECT wipe()"},
        {0},
    };
    /* A pooler does this to its clients: the statement is gone without the session's doing. */
    cluster_sql(&cluster, "postgres",
                "CREATE OR REPLACE FUNCTION wipe() RETURNS int LANGUAGE plpgsql AS "
                "$$ BEGIN DEALLOCATE kept; RETURN 1; END $$");
    struct rig_collection c;
    rig_plan(&rig, queries);
    pool_on_socket();
    rig_collect(&rig, &c, NULL, 20000);
    assert_int_equal(c.outcome, COLLECTION_OK);
    /* 26000 is mended within the collection; wipe() then finds no "kept" and fails by itself. */
    rig_collect(&rig, &c, NULL, 20000);
    assert_int_equal(c.results, 1);
    assert_int_equal(count_of("kept", "26000"), 0);
    assert_int_equal(count_of("forgets", "26000"), 1);
}

static void test_statement_timeout(void **state)
{
    (void)state;
    static const struct rig_query queries[] = {
        {.name = "fast", .sql = "SELECT 1"},
        {.name = "slow", .sql = "SELECT 1 FROM pg_sleep(60)"},
        {.name = "own", .sql = "SELECT 1 FROM pg_sleep(60)", .timeout_ns = 50 * NS_PER_MS},
        {.name = "last", .sql = "SELECT 2"},
        {0},
    };
    struct rig_collection c;
    rig.session.statement_timeout_ns = 2 * NS_PER_S;
    rig_plan(&rig, queries);
    pool_on_socket();
    rig_collect(&rig, &c, NULL, 20000);
    assert_int_equal(c.outcome, COLLECTION_PARTIAL);
    assert_int_equal(c.results, 2);
    assert_has(c.error, "statement timeout (57014): raise statement_timeout");
    assert_int_equal(count_of("slow", "57014"), 1);
    assert_int_equal(count_of("own", "57014"), 1);
}

static void test_locked_relation(void **state)
{
    (void)state;
    static const struct rig_query queries[] = {
        {.name = "size", .sql = "SELECT count(*) FROM busy"},
        {.name = "last", .sql = "SELECT 2"},
        {0},
    };
    cluster_sql(&cluster, "postgres", "DROP TABLE IF EXISTS busy; CREATE TABLE busy (id int)");
    struct rig_collection c;
    rig_plan(&rig, queries);
    pool_on_socket();
    rig_collect(&rig, &c, NULL, 20000);
    assert_int_equal(c.outcome, COLLECTION_OK);
    PGconn *holder = connect_beside();
    run_beside(holder, "BEGIN");
    run_beside(holder, "LOCK TABLE busy IN ACCESS EXCLUSIVE MODE");
    rig_collect(&rig, &c, NULL, 20000);
    run_beside(holder, "COMMIT");
    PQfinish(holder);
    assert_int_equal(c.outcome, COLLECTION_PARTIAL);
    assert_int_equal(c.results, 1);
    assert_has(c.error, "lock timeout (55P03)");
    /* What may pass gets one more try at the usual time. */
    rig_collect(&rig, &c, NULL, 20000);
    assert_int_equal(c.outcome, COLLECTION_OK);
}

static void test_idle_session_killed(void **state)
{
    (void)state;
    struct rig_collection c;
    pool_on_socket();
    for (int i = 0; i < 3; i++) {
        rig_collect(&rig, &c, NULL, 20000);
        assert_string_equal(c.error, "");
        assert_int_equal(c.results, 3);
        assert_int_equal(backends(1), 1);
        assert_int_equal(cluster_sql(&cluster, "postgres",
                                     "SELECT count(pg_terminate_backend(pid, 20000)) FROM "
                                     "pg_stat_activity WHERE application_name = 'pgweir'"),
                         1);
    }
    assert_int_equal(rig_value(&rig, TELEMETRY_CLOSED_LOST), 2);
    assert_int_equal(rig_value(&rig, TELEMETRY_CONNECTS_OK), 3);
    assert_int_equal(rig_value(&rig, TELEMETRY_CONNECTS_FAILED), 0);
}

static void test_killed_in_mid_result(void **state)
{
    (void)state;
    static const struct rig_query queries[] = {
        {.name = "first", .sql = "SELECT 1"},
        {.name = "suicide", .sql = "SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(1)"},
        {.name = "never", .sql = "SELECT 3"},
        {0},
    };
    struct rig_collection c;
    rig_plan(&rig, queries);
    pool_on_socket();
    rig_collect(&rig, &c, NULL, 20000);
    assert_int_equal(c.outcome, COLLECTION_FAILED);
    assert_int_equal(c.results, 1);
    assert_has(c.error, "connection lost after 1 of 3 statements");
    assert_has(c.error, "57P01");
    assert_int_equal(rig_value(&rig, TELEMETRY_CLOSED_LOST), 1);
    assert_int_equal(pool_connections(rig.pool), 0);
    /* The session's end is no failure of the statement: it is asked again. */
    rig_collect(&rig, &c, NULL, 20000);
    assert_int_equal(c.results, 1);
    assert_has(c.error, "connection lost");
}

static void test_waits_no_longer_than_deadline(void **state)
{
    (void)state;
    static const struct rig_query queries[] = {
        {.name = "slow", .sql = "SELECT 1 FROM pg_advisory_xact_lock(1)"},
        {0},
    };
    struct rig_collection c[2];
    rig.server.connections = 1;
    rig.session.lock_timeout_ns = rig.session.statement_timeout_ns = 0;
    rig_plan(&rig, queries);
    pool_on_socket();
    rig_collect(&rig, &c[0], NULL, 20000);
    PGconn *holder = connect_beside();
    run_beside(holder, "SELECT pg_advisory_lock(1)");
    rig_ask(&rig, &c[0], NULL, 20000);
    rig_ask(&rig, &c[1], "template1", 100);
    rig_wait(&rig, &c[1], 1);
    assert_false(c[0].done);
    PQfinish(holder);
    rig_wait(&rig, c, 1);
    assert_int_equal(c[0].outcome, COLLECTION_OK);
    assert_int_equal(c[1].outcome, COLLECTION_FAILED);
    rig_check_waited(&c[1], "no connection became free within ", 0.1, " s: raise connections (1)");
}

/* A shard that stood still gives a collection its connection behind its deadline: it fails, and as
 * it never began its duration is not counted (it would be that since the machine's start). */
static void test_deadline_before_first_byte(void **state)
{
    (void)state;
    static const struct rig_query queries[] = {
        {.name = "slow", .sql = "SELECT 1 FROM pg_advisory_xact_lock(1)"},
        {0},
    };
    struct rig_collection c[2];
    rig.server.connections = 1;
    rig.session.lock_timeout_ns = rig.session.statement_timeout_ns = 0;
    rig_plan(&rig, queries);
    pool_on_socket();
    rig_collect(&rig, &c[0], NULL, 20000);
    PGconn *holder = connect_beside();
    run_beside(holder, "SELECT pg_advisory_lock(1)");
    rig_ask(&rig, &c[0], NULL, 20000);
    rig_run_ms(&rig, 1); /* it has left */
    rig_ask(&rig, &c[1], NULL, 150);
    usleep(200000);
    PQfinish(holder);
    usleep(100000); /* the answer is there before the shard goes on */
    rig_wait(&rig, c, 2);
    assert_int_equal(c[0].outcome, COLLECTION_OK);
    assert_int_equal(c[1].outcome, COLLECTION_FAILED);
    assert_int_equal(c[1].results, 0);
    const struct histogram *scrapes = rig.context.telemetry->histograms[TELEMETRY_HISTOGRAM_SCRAPE];
    assert_int_equal(counter_read(&scrapes->count), 2);
    assert_in_range(counter_read(&scrapes->max_ns), 100 * NS_PER_MS, 20 * NS_PER_S);
}

/* One duration for each statement executed, failed ones too; together they take what the collection
 * took, and the wait of the slow one is among them. */
static void test_statement_durations(void **state)
{
    (void)state;
    static const struct rig_query queries[] = {
        {.name = "quick", .sql = "SELECT 1"},
        {.name = "wrong", .sql = "SELECT 1/0"},
        {.name = "slow", .sql = "SELECT 1 FROM pg_sleep(0.2)"},
        {0},
    };
    struct rig_collection c;
    rig_plan(&rig, queries);
    pool_on_socket();
    rig_collect(&rig, &c, NULL, 20000);
    assert_int_equal(c.results, 2);
    const struct telemetry_set *set = rig.context.telemetry;
    const struct histogram *durations = set->histograms[TELEMETRY_HISTOGRAM_STATEMENT];
    const struct histogram *scrapes = set->histograms[TELEMETRY_HISTOGRAM_SCRAPE];
    assert_int_equal(rig_value(&rig, TELEMETRY_STATEMENTS), 3);
    assert_int_equal(counter_read(&durations->count), 3);
    assert_in_range(counter_read(&durations->sum_ns), 200 * NS_PER_MS,
                    counter_read(&scrapes->sum_ns));
    assert_in_range(counter_read(&durations->max_ns), 60 * NS_PER_MS, 20 * NS_PER_S);
}

static void test_deadline_closes_and_server_stops(void **state)
{
    (void)state;
    static const struct rig_query queries[] = {
        {.name = "quick", .sql = "SELECT 1"},
        {.name = "endless", .sql = "SELECT 1 FROM pg_sleep(60)"},
        {0},
    };
    struct rig_collection c;
    rig.session.statement_timeout_ns = 0;
    rig_plan(&rig, queries);
    pool_on_socket();
    rig_collect(&rig, &c, NULL, 3000);
    assert_int_equal(c.outcome, COLLECTION_FAILED);
    rig_check_waited(&c, "no answer within ", 3,
                     " s from query \"quick\" on, database \"postgres\" (0 of 2 statements "
                     "answered)");
    assert_in_range(c.done_ns - c.asked_ns, 3 * NS_PER_S, 15 * NS_PER_S);
    assert_int_equal(rig_value(&rig, TELEMETRY_CLOSED_DEADLINE), 1);
    /* The next one delivers what it can and names the culprit. */
    rig_collect(&rig, &c, NULL, 3000);
    assert_int_equal(c.results, 1);
    assert_has(c.error, "from query \"endless\" on");
    /* client_connection_check_interval ends the orphans. */
    assert_int_equal(backends(0), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        POOL_CASE(test_failing_statement_fails_alone),
        POOL_CASE(test_proven_statement_that_fails),
        POOL_CASE(test_prepared_statement_renewed),
        POOL_CASE(test_statement_forgotten_by_server),
        POOL_CASE(test_statement_timeout),
        POOL_CASE(test_locked_relation),
        POOL_CASE(test_idle_session_killed),
        POOL_CASE(test_killed_in_mid_result),
        POOL_CASE(test_waits_no_longer_than_deadline),
        POOL_CASE(test_deadline_before_first_byte),
        POOL_CASE(test_statement_durations),
        POOL_CASE(test_deadline_closes_and_server_stops),
    };
    return pool_run(tests, sizeof tests / sizeof tests[0]);
}
