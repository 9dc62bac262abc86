/* SPDX-License-Identifier: Apache-2.0 */
/* What servers and networks do to a pool: full, starting, promoted, frozen, crashed, cut off,
 * talking nonsense. Real PostgreSQL; a proxy for the network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <libpq-fe.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cluster.h"
#include "proxy.h"
#include "rig.h"

static struct cluster cluster;
static struct rig rig;
static enum loop_kind kind;

static const struct rig_query three[] = {
    {.name = "one", .sql = "/* pgweir */ SELECT 1"},
    {.name = "thousand",
     .sql = "/* pgweir */ SELECT g, repeat('x', 20) FROM generate_series(1, 1000) g"},
    {.name = "last", .sql = "/* pgweir */ SELECT 3"},
    {0},
};

#define assert_has(text, part)                                                                     \
    do {                                                                                           \
        if (strstr((text), (part)) == NULL)                                                        \
            fail_msg("\"%s\" lacks \"%s\"", (text), (part));                                       \
    } while (0)

static int setup(void **state)
{
    (void)state;
    if (!rig_init(&rig, kind))
        return 1;
    rig_plan(&rig, three);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_fini(&rig);
    return 0;
}

static void pool_on(uint16_t port)
{
    rig_pool_dsn(&rig, "host=127.0.0.1 port=%u user=postgres dbname=postgres", port);
}

/* Collects until it goes well, as a shard would, interval after interval. */
static void collect_until_good(struct rig_collection *c)
{
    for (int i = 0; i < 40; i++) {
        rig_collect(&rig, c, NULL, 20000);
        if (c->outcome == COLLECTION_OK)
            return;
        rig_run_ms(&rig, 100);
    }
    fail_msg("not well again: %s", c->error);
}

static void test_server_full(void **state)
{
    (void)state;
    PGconn *others[40];
    int count = 0;
    char dsn[128];
    struct rig_collection c;
    snprintf(dsn, sizeof dsn, "host=%s port=%u user=plain dbname=postgres", cluster.directory,
             cluster.port);
    do {
        others[count] = PQconnectdb(dsn);
    } while (PQstatus(others[count++]) == CONNECTION_OK && count < 40);
    rig_pool_dsn(&rig, "%s", dsn);
    rig_collect(&rig, &c, NULL, 20000);
    assert_int_equal(c.outcome, COLLECTION_FAILED);
    assert_has(c.error, "(53300): free connections on the server or raise its max_connections");
    while (count > 0)
        PQfinish(others[--count]);
    collect_until_good(&c);
}

static void test_server_starting_up(void **state)
{
    (void)state;
    struct rig_collection c;
    cluster_stop(&cluster, SIGINT);
    cluster_configure(&cluster, "hot_standby = off");
    cluster_standby(&cluster, true);
    cluster_launch(&cluster);
    pool_on(cluster.port);
    for (int i = 0; i < 50; i++) {
        rig_collect(&rig, &c, NULL, 1000);
        assert_int_equal(c.outcome, COLLECTION_FAILED);
        if (strstr(c.error, "57P03") != NULL)
            break;
        rig_run_ms(&rig, 100);
    }
    assert_has(c.error, "(57P03): the server is starting up or shutting down; it is tried again");
    /* Asked for 40 times a second, tried after 0.1 s, 0.2 s, 0.4 s, … only, less a quarter. */
    pool_on(cluster.port);
    uint64_t begun_ns = clock_monotonic_ns(), wait_ns = 0, failed_before, failed;
    failed_before = rig_value(&rig, TELEMETRY_CONNECTS_FAILED);
    for (failed = 0; failed < 4;) {
        rig_collect(&rig, &c, NULL, 10);
        assert_int_equal(c.outcome, COLLECTION_FAILED);
        rig_run_ms(&rig, 15);
        uint64_t now_failed = rig_value(&rig, TELEMETRY_CONNECTS_FAILED) - failed_before;
        for (; failed < now_failed; failed++) {
            assert_true(clock_monotonic_ns() - begun_ns >= wait_ns);
            wait_ns += (75 * NS_PER_MS) << failed;
        }
        assert_true(clock_monotonic_ns() - begun_ns < 60 * NS_PER_S);
    }
    assert_has(c.error, "57P03");
    cluster_stop(&cluster, SIGQUIT);
    cluster_standby(&cluster, false);
    cluster_configure(&cluster, "");
    cluster_start(&cluster);
    collect_until_good(&c);
}

static void test_promotion(void **state)
{
    (void)state;
    struct rig_collection c;
    cluster_stop(&cluster, SIGINT);
    cluster_standby(&cluster, true);
    cluster_start(&cluster);
    pool_on(cluster.port);
    rig_collect(&rig, &c, NULL, 20000);
    assert_string_equal(c.error, "");
    assert_ptr_equal(rig.identified_plan, &rig.standby_plan);
    assert_int_equal(rig.identified, 1);
    cluster_sql(&cluster, "postgres", "SELECT pg_promote()::int");
    /* The server says so itself, at the end of the first collection after it. */
    for (int i = 0; i < 3; i++) {
        rig_collect(&rig, &c, NULL, 20000);
        assert_string_equal(c.error, "");
    }
    assert_int_equal(rig.identified, 2);
    assert_ptr_equal(rig.identified_plan, &rig.plan);
    assert_int_equal(rig_value(&rig, TELEMETRY_CONNECTS_OK), 1);
}

static void test_restart_between_collections(void **state)
{
    (void)state;
    struct rig_collection c;
    pool_on(cluster.port);
    rig_collect(&rig, &c, NULL, 20000);
    uint64_t start_ns = rig.server_start_ns;
    cluster_stop(&cluster, SIGINT);
    rig_collect(&rig, &c, NULL, 1000);
    assert_int_equal(c.outcome, COLLECTION_FAILED);
    assert_has(c.error, "Connection refused");
    cluster_start(&cluster);
    collect_until_good(&c);
    /* A new start time, or counters would seem to have run backwards. */
    assert_true(rig.server_start_ns > start_ns);
    assert_int_equal(rig.identified, 2);
}

static void test_backend_crash(void **state)
{
    (void)state;
    static const struct rig_query queries[] = {
        {.name = "first", .sql = "SELECT 1"},
        {.name = "long", .sql = "SELECT 1 FROM pg_sleep(60)"},
        {0},
    };
    struct rig_collection c;
    rig_plan(&rig, queries);
    pool_on(cluster.port);
    rig.session.statement_timeout_ns = 0;
    rig_ask(&rig, &c, NULL, 20000);
    int64_t pid = 0;
    while (pid == 0) {
        assert_false(c.done);
        rig_run_ms(&rig, 20);
        pid = cluster_sql(&cluster, "postgres",
                          "SELECT pid FROM pg_stat_activity WHERE application_name = 'pgweir' "
                          "AND wait_event = 'PgSleep'");
    }
    kill((pid_t)pid, SIGKILL);
    rig_wait(&rig, &c, 1);
    assert_int_equal(c.outcome, COLLECTION_FAILED);
    /* No busy loop over a session that is gone. */
    uint64_t cpu_ns = clock_thread_cpu_ns();
    rig_run_ms(&rig, 300);
    assert_true(clock_thread_cpu_ns() - cpu_ns < 50 * NS_PER_MS);
    rig_plan(&rig, three);
    pool_on(cluster.port);
    collect_until_good(&c);
}

static void test_frozen_server(void **state)
{
    (void)state;
    struct rig_collection c;
    rig.session.connect_timeout_ns = 2 * NS_PER_S;
    pool_on(cluster.port);
    collect_until_good(&c);
    cluster_signal_all(&cluster, SIGSTOP);
    /* Frozen under a session: its deadline closes it. */
    rig_collect(&rig, &c, NULL, 200);
    assert_int_equal(c.outcome, COLLECTION_FAILED);
    rig_check_waited(&c, "no answer within ", 0.2, " s from query");
    assert_true(c.done_ns - c.asked_ns < 10 * NS_PER_S);
    /* Frozen for a newcomer: the kernel takes the connection, nobody answers. */
    rig_collect(&rig, &c, NULL, 20000);
    assert_int_equal(c.outcome, COLLECTION_FAILED);
    rig_check_waited(&c, "no answer to the connection attempt within ", 2, " s: check endpoint");
    assert_true(c.done_ns - c.asked_ns < 10 * NS_PER_S);
    cluster_signal_all(&cluster, SIGCONT);
    collect_until_good(&c);
    assert_int_equal(rig_value(&rig, TELEMETRY_CLOSED_DEADLINE), 1);
}

static void test_nonsense(void **state)
{
    (void)state;
    static const enum proxy_mode modes[] = {PROXY_GARBAGE, PROXY_HTTP, PROXY_CLOSE};
    struct proxy proxy;
    struct rig_collection c;
    proxy_open(&proxy, cluster.port);
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        atomic_store(&proxy.mode, modes[i]);
        rig.session.connect_timeout_ns = 500 * NS_PER_MS;
        pool_on(proxy.port);
        rig_collect(&rig, &c, NULL, 2000);
        assert_int_equal(c.outcome, COLLECTION_FAILED);
        for (const char *at = c.error; *at != 0; at++)
            assert_true((unsigned char)*at >= ' ');
    }
    pool_destroy(&rig.pool);
    proxy_close(&proxy);
}

static void test_slices(void **state)
{
    (void)state;
    struct proxy proxy;
    struct rig_collection c;
    proxy_open(&proxy, cluster.port);
    atomic_store(&proxy.mode, PROXY_SLICE);
    pool_on(proxy.port);
    for (int i = 0; i < 2; i++) {
        rig_collect(&rig, &c, NULL, 10000);
        assert_string_equal(c.error, "");
        assert_int_equal(c.rows, 1002);
    }
    pool_destroy(&rig.pool);
    proxy_close(&proxy);
}

/* Cut after k bytes, in the handshake, in the set-up, in any result: the collection fails or starts
 * anew, never delivers half a result, and the next one is well. */
static void test_cut_anywhere(void **state)
{
    (void)state;
    struct proxy proxy;
    struct rig_collection c;
    uint32_t descriptors = rig_descriptors();
    proxy_open(&proxy, cluster.port);
    for (uint64_t bytes = 0; bytes < 40000; bytes += 1 + bytes / 5) {
        atomic_store(&proxy.mode, PROXY_CUT);
        atomic_store(&proxy.cut_bytes, bytes);
        rig.session.backoff_initial_ns = NS_PER_MS;
        pool_on(proxy.port);
        rig_collect(&rig, &c, NULL, 20000);
        assert_int_equal(c.outcome, COLLECTION_FAILED);
        assert_true(c.rows == 0 || c.rows == 1 || c.rows == 1001);
        atomic_store(&proxy.mode, PROXY_PASS);
        collect_until_good(&c);
        assert_int_equal(c.rows, 1002);
    }
    pool_destroy(&rig.pool);
    proxy_close(&proxy);
    assert_int_equal(rig_descriptors(), descriptors);
    assert_int_equal(rig_value(&rig, TELEMETRY_CONNECTIONS_OPEN), 0);
    assert_int_equal(rig_value(&rig, TELEMETRY_CONNECTIONS_CONNECTING), 0);
}

static void assert_breaker(uint64_t closed, uint64_t open, uint64_t half_open)
{
    assert_int_equal(rig_value(&rig, TELEMETRY_TARGET_BREAKERS_CLOSED), closed);
    assert_int_equal(rig_value(&rig, TELEMETRY_TARGET_BREAKERS_OPEN), open);
    assert_int_equal(rig_value(&rig, TELEMETRY_TARGET_BREAKERS_HALF_OPEN), half_open);
}

/* However many databases of a server that is away are asked for: after each pause one connection
 * finds out, and when it succeeds all go on. */
static void test_one_probe(void **state)
{
    (void)state;
    static const char *const databases[] = {"postgres", "template1", "a", "b", "c"};
    struct rig_collection c, many[5];
    rig.server.connections = 5;
    rig.session.backoff_initial_ns = 300 * NS_PER_MS;
    cluster_stop(&cluster, SIGINT);
    pool_on(cluster.port);
    assert_breaker(1, 0, 0);
    rig_collect(&rig, &c, NULL, 20000);
    assert_int_equal(c.outcome, COLLECTION_FAILED);
    assert_breaker(0, 1, 0);
    for (int pause = 0; pause < 3; pause++) {
        uint64_t failed = rig_value(&rig, TELEMETRY_CONNECTS_FAILED);
        for (int i = 0; i < 5; i++)
            rig_ask(&rig, &many[i], databases[i], 20000);
        rig_wait(&rig, many, 5);
        for (int i = 0; i < 5; i++)
            assert_int_equal(many[i].outcome, COLLECTION_FAILED);
        assert_int_equal(rig_value(&rig, TELEMETRY_CONNECTS_FAILED) - failed, 1);
        assert_breaker(0, 1, 0);
    }
    uint64_t failed = rig_value(&rig, TELEMETRY_CONNECTS_FAILED);
    cluster_start(&cluster);
    for (int i = 0; i < 2; i++)
        rig_ask(&rig, &many[i], databases[i], 20000);
    rig_wait(&rig, many, 2);
    for (int i = 0; i < 2; i++)
        assert_string_equal(many[i].error, "");
    assert_int_equal(rig_value(&rig, TELEMETRY_CONNECTS_FAILED), failed);
    assert_int_equal(rig_value(&rig, TELEMETRY_TARGET_BREAKER_TRIPS), 1);
    assert_int_equal(rig_value(&rig, TELEMETRY_TARGET_BREAKER_RECOVERIES), 1);
    assert_true(rig_value(&rig, TELEMETRY_TARGET_BREAKER_OPEN_MS) >= 300);
    assert_breaker(1, 0, 0);
    pool_destroy(&rig.pool);
    assert_breaker(0, 0, 0);
}

/* One connection may be the probe of two breakers: what fails for the server says nothing about the
 * database, and what fails for the database shows that the server is there. */
static void test_server_and_database(void **state)
{
    (void)state;
    struct rig_collection c;
    rig.session.backoff_initial_ns = 50 * NS_PER_MS;
    pool_on(cluster.port);
    rig_collect(&rig, &c, "late", 20000);
    assert_has(c.error, "3D000");
    assert_breaker(1, 0, 0);
    cluster_stop(&cluster, SIGINT);
    rig_collect(&rig, &c, "late", 20000);
    assert_int_equal(c.outcome, COLLECTION_FAILED);
    assert_breaker(0, 1, 0);
    cluster_start(&cluster);
    rig_collect(&rig, &c, "late", 20000);
    assert_has(c.error, "3D000");
    assert_breaker(1, 0, 0);
    cluster_sql(&cluster, "postgres", "CREATE DATABASE late");
    for (int i = 0; i < 40 && c.outcome != COLLECTION_OK; i++) {
        rig_collect(&rig, &c, "late", 20000);
        rig_run_ms(&rig, 50);
    }
    assert_string_equal(c.error, "");
    pool_destroy(&rig.pool);
    cluster_sql(&cluster, "postgres", "DROP DATABASE late");
}

/* A probe whose pool goes away says nothing; its pool leaves no trace in the gauges. */
static void test_probe_cut_short(void **state)
{
    (void)state;
    struct rig_collection c;
    rig.session.backoff_initial_ns = 50 * NS_PER_MS;
    cluster_stop(&cluster, SIGINT);
    pool_on(cluster.port);
    rig_collect(&rig, &c, NULL, 20000);
    assert_breaker(0, 1, 0);
    cluster_start(&cluster);
    cluster_signal_all(&cluster, SIGSTOP); /* takes connections, answers nothing */
    rig_ask(&rig, &c, NULL, 20000);
    for (int i = 0; i < 500 && rig_value(&rig, TELEMETRY_TARGET_BREAKERS_HALF_OPEN) == 0; i++)
        rig_run_ms(&rig, 10);
    assert_breaker(0, 0, 1);
    pool_destroy(&rig.pool);
    assert_int_equal(c.outcome, COLLECTION_FAILED);
    assert_breaker(0, 0, 0);
    cluster_signal_all(&cluster, SIGCONT);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_server_full),     CASE(test_server_starting_up),
        CASE(test_promotion),       CASE(test_restart_between_collections),
        CASE(test_backend_crash),   CASE(test_frozen_server),
        CASE(test_nonsense),        CASE(test_slices),
        CASE(test_cut_anywhere),    CASE(test_one_probe),
        CASE(test_probe_cut_short), CASE(test_server_and_database),
    };
    static const enum loop_kind kinds[] = {LOOP_IO_URING, LOOP_EPOLL};
    int failed = 0;
    cluster_create(&cluster, "");
    cluster_sql(&cluster, "postgres", "CREATE ROLE plain LOGIN");
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
