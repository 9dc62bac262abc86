/* SPDX-License-Identifier: Apache-2.0 */
/* Pools, connections and pipelines against a real PostgreSQL, on both kinds of loop. One server for
 * all cases; faults of the server itself are in test_pool_faults.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cluster.h"
#include "rig.h"

static struct cluster cluster;
static struct rig rig;
static enum loop_kind kind;

static const struct rig_query three[] = {
    {.name = "one", .sql = "/* pgweir */ SELECT 1"},
    {.name = "hundred", .sql = "/* pgweir */ SELECT g FROM generate_series(1, 100) g"},
    {.name = "local", .sql = "/* pgweir */ SELECT current_database()", .scope = QUERY_DATABASE},
    {0},
};

static int setup(void **state)
{
    (void)state;
    if (!rig_init(&rig, kind)) {
        print_message("this kind of loop is denied here\n");
        return 1;
    }
    rig_plan(&rig, three);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_fini(&rig);
    return 0;
}

static void pool_on_socket(void)
{
    rig_pool_dsn(&rig, "host=%s port=%u user=postgres dbname=postgres", cluster.directory,
                 cluster.port);
}

static void pool_on_tcp(const char *user, const char *password, const char *database)
{
    rig_pool_dsn(&rig, "postgresql://%s:%s@127.0.0.1:%u/%s", user, password, cluster.port,
                 database);
}

static uint64_t count_of(const char *query, const char *sqlstate)
{
    for (const struct telemetry_set *set = telemetry_first(); set != NULL; set = set->next)
        if (set->owner == TELEMETRY_FAILURE && strcmp(set->labels[1].value, query) == 0 &&
            strcmp(set->labels[2].value, sqlstate) == 0)
            return counter_read(&set->values[TELEMETRY_FAILURES]);
    return 0;
}

#define assert_has(text, part)                                                                     \
    do {                                                                                           \
        if (strstr((text), (part)) == NULL)                                                        \
            fail_msg("\"%s\" lacks \"%s\"", (text), (part));                                       \
    } while (0)

/* Sessions as the server sees them; those just closed linger for a moment. */
static int64_t backends(int64_t expected)
{
    int64_t count = -1;
    for (int i = 0; i < 400 && count != expected; i++) {
        if (i > 0)
            usleep(50000);
        count =
            cluster_sql(&cluster, "postgres",
                        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgweir'");
    }
    return count;
}

/* A session of the test's own. */
static PGconn *connect_beside(void)
{
    char dsn[256];
    snprintf(dsn, sizeof dsn, "host=%s port=%u user=postgres dbname=postgres", cluster.directory,
             cluster.port);
    PGconn *pg = PQconnectdb(dsn);
    if (PQstatus(pg) != CONNECTION_OK)
        fail_msg("%s", PQerrorMessage(pg));
    return pg;
}

static void run_beside(PGconn *pg, const char *sql)
{
    PGresult *result = PQexec(pg, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(pg));
    PQclear(result);
}

static void test_collects(void **state)
{
    (void)state;
    struct rig_collection c;
    pool_on_socket();
    rig_collect(&rig, &c, NULL, 20000);
    assert_string_equal(c.error, "");
    assert_int_equal(c.outcome, COLLECTION_OK);
    assert_int_equal(c.results, 3);
    assert_int_equal(c.rows, 102);
    assert_int_equal(c.collection.statements, 3);
    assert_int_equal(rig.identified, 1);
    assert_in_range(rig.plan.capabilities.version_num, 120000, 199999);
    assert_int_equal(rig.server_start_ns / NS_PER_S,
                     cluster_sql(&cluster, "postgres",
                                 "SELECT floor(extract(epoch FROM pg_postmaster_start_time()))"));
    /* Again on the same session, prepared now; another database's scope is narrower. */
    rig_collect(&rig, &c, NULL, 20000);
    assert_int_equal(c.results, 3);
    rig_collect(&rig, &c, "template1", 20000);
    assert_int_equal(c.results, 1);
    assert_int_equal(rig_value(&rig, TELEMETRY_CONNECTS_OK), 2);
    assert_int_equal(rig_value(&rig, TELEMETRY_STATEMENTS), 7);
    assert_int_equal(rig_value(&rig, TELEMETRY_CONNECTIONS_IDLE), 2);
    assert_int_equal(rig_value(&rig, TELEMETRY_CONNECTIONS_OPEN), 2);
    assert_int_equal(rig_value(&rig, TELEMETRY_CONNECTIONS_USED), 0);
    assert_int_equal(rig_value(&rig, TELEMETRY_CONNECTIONS_CONNECTING), 0);
    assert_int_equal(pool_connections(rig.pool), 2);
    assert_int_equal(backends(2), 2);
    assert_int_equal(rig.identified, 1);
}

static void test_groups(void **state)
{
    (void)state;
    static const struct rig_query queries[] = {
        {.name = "a", .sql = "SELECT 1", .group = 0},
        {.name = "b", .sql = "SELECT 1", .group = 1},
        {.name = "c", .sql = "SELECT 1", .group = 63},
        {0},
    };
    struct rig_collection c;
    rig_plan(&rig, queries);
    pool_on_socket();
    uint64_t now_ns = clock_monotonic_ns();
    rig_collect(&rig, &c, NULL, 20000);
    assert_int_equal(c.results, 3);
    c.done = false;
    c.results = 0;
    c.collection.groups = 1ull << 63 | 2;
    c.collection.deadline_ns = now_ns + 10 * NS_PER_S;
    pool_collect(rig.pool, &c.collection, clock_monotonic_ns());
    rig_wait(&rig, &c, 1);
    assert_int_equal(c.results, 2);
    /* Nothing due: the server is asked all the same whether it is there. */
    c.done = false;
    c.collection.groups = 1ull << 30;
    pool_collect(rig.pool, &c.collection, clock_monotonic_ns());
    rig_wait(&rig, &c, 1);
    assert_int_equal(c.outcome, COLLECTION_OK);
    assert_int_equal(c.collection.statements, 0);
}

static void test_session_guards(void **state)
{
    (void)state;
    static const struct rig_query queries[] = {
        {.name = "guards",
         .sql = "SELECT 1 WHERE current_setting('statement_timeout') = '5s'"
                " AND current_setting('lock_timeout') = '100ms'"
                " AND current_setting('idle_in_transaction_session_timeout') = '10s'"
                " AND current_setting('client_connection_check_interval') = '1s'"
                " AND current_setting('default_transaction_read_only') = 'on'"
                " AND current_setting('jit') = 'off'"
                " AND current_setting('application_name') = 'pgweir'"
                " AND current_setting('client_encoding') = 'UTF8'"},
        {.name = "own",
         .sql = "SELECT 1 WHERE current_setting('statement_timeout') = '250ms'",
         .timeout_ns = 250 * NS_PER_MS},
        {0},
    };
    struct rig_collection c;
    rig_plan(&rig, queries);
    pool_on_tcp("postgres", "x", "postgres");
    for (int i = 0; i < 2; i++) {
        rig_collect(&rig, &c, NULL, 20000);
        assert_int_equal(c.outcome, COLLECTION_OK);
        assert_int_equal(c.rows, 2);
    }
}

static void test_wrong_password(void **state)
{
    (void)state;
    struct rig_collection c;
    pool_on_tcp("mon", "sesame-guess", "postgres");
    rig_collect(&rig, &c, NULL, 20000);
    assert_int_equal(c.outcome, COLLECTION_FAILED);
    assert_has(c.error, "password authentication failed for user \"mon\" (28P01): check username");
    assert_has(c.error, "target 127.0.0.1:");
    assert_null(strstr(c.error, "sesame"));
    assert_true(c.done_ns - c.asked_ns < 10 * NS_PER_S);
    /* Asked again at once and a while later: told at once, no second attempt (that is due when all
     * of these are over). */
    for (int i = 0; i < 3; i++) {
        rig_collect(&rig, &c, NULL, 15000);
        assert_int_equal(c.outcome, COLLECTION_FAILED);
        assert_has(c.error, "28P01");
        assert_true(c.done_ns - c.asked_ns < 10 * NS_PER_S);
        rig_run_ms(&rig, 50);
    }
    assert_int_equal(rig_value(&rig, TELEMETRY_CONNECTS_FAILED), 1);
    /* With the right one the same role works. */
    pool_on_tcp("mon", "sesame", "postgres");
    rig_collect(&rig, &c, NULL, 20000);
    assert_int_equal(c.outcome, COLLECTION_OK);
}

static void test_missing_database(void **state)
{
    (void)state;
    struct rig_collection c[2];
    pool_on_socket();
    rig_ask(&rig, &c[0], "nowhere", 20000);
    rig_ask(&rig, &c[1], NULL, 20000);
    rig_wait(&rig, c, 2);
    assert_int_equal(c[0].outcome, COLLECTION_FAILED);
    assert_has(c[0].error, "database \"nowhere\" does not exist (3D000): check database");
    /* One missing database never holds up another. */
    assert_int_equal(c[1].outcome, COLLECTION_OK);
    rig_collect(&rig, &c[1], "template1", 20000);
    assert_int_equal(c[1].outcome, COLLECTION_OK);
}

static void test_closed_port(void **state)
{
    (void)state;
    struct rig_collection c;
    rig.server = (struct server_settings){
        .name = "db1", .endpoint = "127.0.0.1:1", .tls.insecure = true, .connections = 2};
    rig_pool(&rig);
    rig_collect(&rig, &c, NULL, 20000);
    assert_int_equal(c.outcome, COLLECTION_FAILED);
    assert_string_equal(c.error, "target db1 (127.0.0.1:1): Connection refused: check endpoint and "
                                 "that PostgreSQL listens there");
    /* The next attempt is due before this one's deadline: it waits for it, until 100 ms, give or
     * take a quarter, after the first failed. */
    uint64_t failed = rig_value(&rig, TELEMETRY_CONNECTS_FAILED), first_asked_ns = c.asked_ns;
    rig.session.backoff_initial_ns = rig.session.backoff_max_ns = 3600 * NS_PER_S; /* after that */
    rig_collect(&rig, &c, NULL, 20000);
    assert_true(c.done_ns - first_asked_ns >= 75 * NS_PER_MS);
    assert_int_equal(rig_value(&rig, TELEMETRY_CONNECTS_FAILED), failed + 1);
    /* Before the next attempt with no time to wait for it: told at once. */
    rig_collect(&rig, &c, NULL, 20000);
    assert_has(c.error, "Connection refused");
    assert_true(c.done_ns - c.asked_ns < 10 * NS_PER_S);
    assert_int_equal(rig_value(&rig, TELEMETRY_CONNECTS_FAILED), failed + 1);
    assert_int_equal(rig_value(&rig, TELEMETRY_CONNECTIONS_CONNECTING), 0);
}

/* An address no TCP connection can go to, on any machine: multicast. */
static void test_unreachable_host(void **state)
{
    (void)state;
    struct rig_collection c;
    rig.server = (struct server_settings){
        .name = "db1", .endpoint = "224.0.0.1:5432", .tls.insecure = true, .connections = 2};
    rig_pool(&rig);
    rig_collect(&rig, &c, NULL, 20000);
    assert_int_equal(c.outcome, COLLECTION_FAILED);
    assert_string_equal(c.error, "target db1 (224.0.0.1:5432): Network is unreachable: check "
                                 "endpoint and the network");
}

static void test_silent_host(void **state)
{
    (void)state;
    /* Takes connections (the backlog does) and never says a word. */
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
    socklen_t bytes = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, bytes), 0);
    assert_int_equal(listen(fd, 5), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &bytes), 0);
    struct rig_collection c;
    rig.session.connect_timeout_ns = 300 * NS_PER_MS;
    rig_pool_dsn(&rig, "host=127.0.0.1 port=%u", ntohs(address.sin_port));
    rig_collect(&rig, &c, NULL, 20000);
    assert_int_equal(c.outcome, COLLECTION_FAILED);
    rig_check_waited(&c, "no answer to the connection attempt within ", 0.3, " s: check endpoint");
    assert_in_range(c.done_ns - c.asked_ns, 290 * NS_PER_MS, 10 * NS_PER_S);
    /* A collection shorter than the attempt ends at its own deadline. */
    rig.session.connect_timeout_ns = 20 * NS_PER_S;
    rig_pool(&rig);
    rig_collect(&rig, &c, NULL, 120);
    assert_int_equal(c.outcome, COLLECTION_FAILED);
    assert_true(c.done_ns - c.asked_ns < 10 * NS_PER_S);
    close(fd);
}

static void test_bad_settings(void **state)
{
    (void)state;
    struct rig_collection c;
    rig_pool_dsn(&rig, "postgresql://mon:hush%%zz@host/db");
    rig_collect(&rig, &c, NULL, 20000);
    assert_int_equal(c.outcome, COLLECTION_FAILED);
    assert_has(c.error, "dsn cannot be read: write postgresql://");
    assert_null(strstr(c.error, "hush"));
    rig_pool_dsn(&rig, "host=/nowhere/at/all user=postgres");
    rig_collect(&rig, &c, NULL, 20000);
    assert_has(c.error, "No such file or directory: check endpoint");
    rig.server.tls = (struct server_tls){.insecure_skip_verify = true};
    rig_pool_dsn(&rig, "host=127.0.0.1 port=%u user=postgres sslmode=require", cluster.port);
    rig_collect(&rig, &c, NULL, 20000);
    assert_has(c.error, "does not support SSL");
    assert_has(c.error, "insecure: true");
    rig_pool_dsn(&rig, "host=127.0.0.1 port=%u user=postgres", cluster.port);
    rig_collect(&rig, &c, NULL, 20000);
    assert_string_equal(c.error, "");
}

static void test_unresolvable_then_localhost(void **state)
{
    (void)state;
    struct rig_collection c;
    /* RFC 6761: .invalid never resolves; a label this long cannot even be asked for. */
    rig_pool_dsn(&rig, "host=%064d.invalid user=postgres", 7);
    rig_collect(&rig, &c, NULL, 20000);
    assert_int_equal(c.outcome, COLLECTION_FAILED);
    assert_has(c.error, "does not resolve");
    assert_has(c.error, "check endpoint");
    rig_pool_dsn(&rig, "host=localhost port=%u user=postgres", cluster.port);
    rig_collect(&rig, &c, NULL, 20000);
    assert_string_equal(c.error, "");
    const char *host;
    uint16_t port;
    pool_endpoint(rig.pool, &host, &port);
    assert_string_equal(host, "localhost");
    assert_int_equal(port, cluster.port);
}

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

static void test_five_databases_over_two_connections(void **state)
{
    (void)state;
    static const char *const names[] = {"db0", "db1", "db2", "db3", "db4"};
    struct rig_collection c[5];
    pool_on_socket();
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 5; i++)
            rig_ask(&rig, &c[i], names[i], 20000);
        while (!c[0].done || !c[1].done || !c[2].done || !c[3].done || !c[4].done) {
            rig_run_ms(&rig, 1);
            assert_in_range(atomic_load(&rig.budget.connections), 0, 2);
            assert_true(c[0].done_ns == 0 || c[0].done_ns - c[0].asked_ns < 20 * NS_PER_S);
        }
        for (uint32_t i = 0; i < 5; i++) {
            assert_string_equal(c[i].error, "");
            assert_int_equal(c[i].results, 1);
        }
        assert_int_equal(backends(2), 2);
    }
    assert_true(rig_value(&rig, TELEMETRY_CLOSED_REUSED) >= 3);
    assert_true(rig_value(&rig, TELEMETRY_CONNECTION_WAITS) >= 13);
    assert_true(
        counter_read(
            &rig.context.telemetry->histograms[TELEMETRY_HISTOGRAM_CONNECTION_WAIT]->count) >= 13);
}

static void test_one_connection_many_groups(void **state)
{
    (void)state;
    struct rig_collection c[8];
    rig.server.connections = 1;
    pool_on_socket();
    for (uint32_t i = 0; i < 8; i++)
        rig_ask(&rig, &c[i], NULL, 20000);
    rig_wait(&rig, c, 8);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(c[i].outcome, COLLECTION_OK);
    assert_int_equal(rig_value(&rig, TELEMETRY_CONNECTS_OK), 1);
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

static void test_ageing(void **state)
{
    (void)state;
    struct rig_collection c;
    rig.session.connection_max_age_ns = 200 * NS_PER_MS;
    pool_on_socket();
    rig_collect(&rig, &c, NULL, 20000);
    rig_run_ms(&rig, 300);
    assert_int_equal(rig_value(&rig, TELEMETRY_CLOSED_AGED), 1);
    assert_int_equal(pool_connections(rig.pool), 0);
    rig_collect(&rig, &c, NULL, 20000);
    assert_int_equal(c.outcome, COLLECTION_OK);
    assert_int_equal(rig_value(&rig, TELEMETRY_CONNECTS_OK), 2);
}

static void test_budget_of_all_pools(void **state)
{
    (void)state;
    struct rig_collection a, b;
    rig.budget.connections_max = 1;
    pool_on_socket();
    struct pool *first = rig.pool;
    rig_collect(&rig, &a, NULL, 20000);
    assert_int_equal(pool_connections(first), 1);
    /* Another server's pool takes the place of the idle one. */
    rig.pool = NULL;
    pool_on_socket();
    rig_collect(&rig, &b, NULL, 20000);
    assert_int_equal(b.outcome, COLLECTION_OK);
    assert_int_equal(pool_connections(first), 0);
    assert_int_equal(rig_value(&rig, TELEMETRY_CLOSED_IDLE), 1);
    assert_int_equal(atomic_load(&rig.budget.connections), 1);
    /* No room for a connect at all: the collection fails at its deadline and says why. */
    struct pool *second = rig.pool;
    rig.pool = first;
    atomic_store(&rig.budget.connects_in_flight, rig.budget.connects_in_flight_max);
    rig_collect(&rig, &a, NULL, 100);
    assert_has(a.error, "limits of all servers together are used up");
    atomic_store(&rig.budget.connects_in_flight, 0);
    rig_collect(&rig, &a, NULL, 20000);
    assert_int_equal(a.outcome, COLLECTION_OK);
    pool_destroy(&first);
    rig.pool = second;
}

/* Many pools, one connect at a time: each gets its turn, none asks in vain again and again. */
static void test_connects_in_line(void **state)
{
    (void)state;
    enum { POOLS = 20 };
    struct pool *pools[POOLS];
    struct rig_collection c[POOLS];
    rig.budget.connects_in_flight_max = 1;
    rig.budget.connections_max = 5;
    for (uint32_t i = 0; i < POOLS; i++) {
        rig.pool = NULL;
        pool_on_socket();
        pools[i] = rig.pool;
        rig_ask(&rig, &c[i], NULL, 20000);
    }
    uint64_t last_ns = 0;
    for (uint32_t i = 0; i < POOLS; i++) {
        rig_wait(&rig, &c[i], 1);
        assert_string_equal(c[i].error, "");
        assert_true(c[i].collection.started_ns >= last_ns);
        last_ns = c[i].collection.started_ns;
        assert_in_range(atomic_load(&rig.budget.connections), 1, 5);
    }
    assert_int_equal(rig_value(&rig, TELEMETRY_CLOSED_IDLE), POOLS - 5);
    /* One that goes away while it stands in line leaves the line in order. */
    atomic_store(&rig.budget.connects_in_flight, 1);
    for (uint32_t i = 0; i < 3; i++) {
        rig.pool = pools[i];
        rig_ask(&rig, &c[i], NULL, 20000);
    }
    rig_run_ms(&rig, 60);
    atomic_store(&rig.budget.connects_in_flight, 0);
    for (uint32_t i = 0; i < POOLS; i++)
        pool_destroy(&pools[i]);
    rig.pool = NULL;
}

/* Servers that do not answer hold their attempts for long: they leave room for the others. */
static void test_failing_server_stands_back(void **state)
{
    (void)state;
    struct rig_collection a, b;
    rig.budget.connects_in_flight_max = 4;
    rig_pool_dsn(&rig, "host=127.0.0.1 port=1 user=plain dbname=postgres");
    rig_collect(&rig, &a, NULL, 20000);
    assert_has(a.error, "Connection refused");
    uint64_t failed = rig_value(&rig, TELEMETRY_CONNECTS_FAILED);
    rig_run_ms(&rig, 150); /* its back-off is over */
    struct pool *dead = rig.pool;
    atomic_store(&rig.budget.connects_in_flight, 3);
    rig_ask(&rig, &a, NULL, 200);
    rig.pool = NULL;
    pool_on_socket();
    rig_collect(&rig, &b, NULL, 20000);
    assert_int_equal(b.outcome, COLLECTION_OK);
    rig_wait(&rig, &a, 1);
    assert_has(a.error, "Connection refused");
    assert_int_equal(rig_value(&rig, TELEMETRY_CONNECTS_FAILED), failed);
    /* With room again it is tried again. */
    atomic_store(&rig.budget.connects_in_flight, 0);
    struct pool *living = rig.pool;
    rig.pool = dead;
    rig_collect(&rig, &a, NULL, 20000);
    assert_true(rig_value(&rig, TELEMETRY_CONNECTS_FAILED) > failed);
    pool_destroy(&rig.pool);
    rig.pool = living;
}

static void test_unfit_server(void **state)
{
    (void)state;
    struct rig_collection c;
    rig.unfit = "PostgreSQL 9.6 is older than 12";
    rig.session.backoff_max_ns = 3600 * NS_PER_S;
    pool_on_socket();
    rig_collect(&rig, &c, NULL, 20000);
    assert_int_equal(c.outcome, COLLECTION_FAILED);
    assert_has(c.error, "PostgreSQL 9.6 is older than 12");
    rig_collect(&rig, &c, NULL, 20000);
    assert_has(c.error, "older than 12");
    assert_true(c.done_ns - c.asked_ns < 10 * NS_PER_S);
    assert_int_equal(rig_value(&rig, TELEMETRY_CONNECTS_FAILED), 1);
    assert_int_equal(backends(0), 0);
}

static void test_destroy_ends_everything(void **state)
{
    (void)state;
    static const struct rig_query queries[] = {
        {.name = "slow", .sql = "SELECT 1 FROM pg_sleep(60)"},
        {0},
    };
    struct rig_collection c[3];
    uint32_t descriptors = rig_descriptors();
    rig.server.connections = 1;
    rig_plan(&rig, queries);
    pool_on_socket();
    rig_ask(&rig, &c[0], NULL, 20000);
    rig_ask(&rig, &c[1], NULL, 20000);
    while (rig_value(&rig, TELEMETRY_CONNECTIONS_USED) == 0 && !c[0].done)
        rig_run_ms(&rig, 1);
    rig_ask(&rig, &c[2], "template1", 20000);
    pool_destroy(&rig.pool);
    for (int i = 0; i < 3; i++) {
        assert_true(c[i].done);
        assert_int_equal(c[i].outcome, COLLECTION_FAILED);
        assert_has(c[i].error, "being stopped");
    }
    assert_int_equal(rig_value(&rig, TELEMETRY_CLOSED_STOP), 1);
    assert_int_equal(rig_value(&rig, TELEMETRY_CONNECTIONS_OPEN), 0);
    assert_int_equal(rig_value(&rig, TELEMETRY_CONNECTIONS_USED), 0);
    assert_int_equal(rig_descriptors(), descriptors);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_collects),
        CASE(test_groups),
        CASE(test_session_guards),
        CASE(test_wrong_password),
        CASE(test_missing_database),
        CASE(test_closed_port),
        CASE(test_unreachable_host),
        CASE(test_silent_host),
        CASE(test_bad_settings),
        CASE(test_unresolvable_then_localhost),
        CASE(test_failing_statement_fails_alone),
        CASE(test_proven_statement_that_fails),
        CASE(test_prepared_statement_renewed),
        CASE(test_statement_forgotten_by_server),
        CASE(test_statement_timeout),
        CASE(test_locked_relation),
        CASE(test_idle_session_killed),
        CASE(test_killed_in_mid_result),
        CASE(test_five_databases_over_two_connections),
        CASE(test_one_connection_many_groups),
        CASE(test_waits_no_longer_than_deadline),
        CASE(test_deadline_before_first_byte),
        CASE(test_statement_durations),
        CASE(test_deadline_closes_and_server_stops),
        CASE(test_ageing),
        CASE(test_budget_of_all_pools),
        CASE(test_connects_in_line),
        CASE(test_failing_server_stands_back),
        CASE(test_unfit_server),
        CASE(test_destroy_ends_everything),
    };
    static const enum loop_kind kinds[] = {LOOP_IO_URING, LOOP_EPOLL};
    int failed = 0;
    cluster_create(&cluster, "");
    cluster_sql(&cluster, "postgres",
                "CREATE ROLE mon LOGIN PASSWORD 'sesame'; CREATE ROLE plain LOGIN; "
                "GRANT CREATE ON SCHEMA public TO plain");
    for (int i = 0; i < 5; i++) {
        char sql[64];
        snprintf(sql, sizeof sql, "CREATE DATABASE db%d STRATEGY file_copy", i);
        cluster_sql(&cluster, "postgres", sql);
    }
    cluster_hba(&cluster, "host all mon 127.0.0.1/32 scram-sha-256");
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct loop *loop = NULL;
        struct error error;
        kind = kinds[i];
        if (!loop_create(&loop, kind, 4, &error)) {
            print_message("skipped: %s\n", error.text);
            continue;
        }
        loop_destroy(&loop);
        failed += cmocka_run_group_tests_name(kind == LOOP_EPOLL ? "epoll" : "io_uring", tests,
                                              NULL, NULL);
    }
    cluster_destroy(&cluster);
    return failed;
}
