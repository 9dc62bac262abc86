/* SPDX-License-Identifier: Apache-2.0 */
/* Pools and connections against a real PostgreSQL, on both kinds of loop: collecting, connecting,
 * what a pool may open and for how long. Statements are in test_pool_statements.c, faults of the
 * server in test_pool_faults.c. */
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
#include "pool_bench.h"

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

int main(void)
{
    static const struct CMUnitTest tests[] = {
        POOL_CASE(test_collects),
        POOL_CASE(test_groups),
        POOL_CASE(test_session_guards),
        POOL_CASE(test_wrong_password),
        POOL_CASE(test_missing_database),
        POOL_CASE(test_closed_port),
        POOL_CASE(test_unreachable_host),
        POOL_CASE(test_silent_host),
        POOL_CASE(test_bad_settings),
        POOL_CASE(test_unresolvable_then_localhost),
        POOL_CASE(test_five_databases_over_two_connections),
        POOL_CASE(test_one_connection_many_groups),
        POOL_CASE(test_ageing),
        POOL_CASE(test_budget_of_all_pools),
        POOL_CASE(test_connects_in_line),
        POOL_CASE(test_failing_server_stands_back),
        POOL_CASE(test_unfit_server),
        POOL_CASE(test_destroy_ends_everything),
    };
    return pool_run(tests, sizeof tests / sizeof tests[0]);
}
