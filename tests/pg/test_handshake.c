/* SPDX-License-Identifier: Apache-2.0 */
/* Handshakes beside the loop: who pays for a SCRAM proof, and what becomes of one whose pool goes
 * away under it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "cluster.h"
#include "pg/handshake.h"
#include "rig.h"

static struct cluster cluster;
static struct rig rig;

static const struct rig_query queries[] = {{.name = "one", .sql = "SELECT 1::int8"}, {0}};

static uint64_t process_cpu_ns(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now) == 0);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static int cluster_up(void **state)
{
    (void)state;
    cluster_create(&cluster, "max_connections = 40\n");
    cluster_sql(&cluster, "postgres", "CREATE ROLE watcher LOGIN PASSWORD 'secret'");
    cluster_hba(&cluster, "host all watcher 127.0.0.1/32 scram-sha-256");
    return 0;
}

static int cluster_down(void **state)
{
    (void)state;
    cluster_destroy(&cluster);
    return 0;
}

static void use_pool(const char *password)
{
    rig_plan(&rig, queries);
    rig_pool_dsn(&rig,
                 "host=127.0.0.1 port=%u user=watcher password=%s dbname=postgres sslmode=disable",
                 cluster.port, password);
}

/* The thread of the loop must not do the 4096 rounds of hashing. */
static void test_proof_beside_the_loop(void **state)
{
    (void)state;
    assert_true(rig_init(&rig, LOOP_EPOLL));
    uint64_t process_ns = process_cpu_ns(), thread_ns = clock_thread_cpu_ns();
    for (int i = 0; i < 8; i++) {
        struct rig_collection c;
        use_pool("secret");
        rig_collect(&rig, &c, NULL, 10000);
        assert_string_equal(c.error, "");
        assert_int_equal(c.outcome, COLLECTION_OK);
    }
    process_ns = process_cpu_ns() - process_ns;
    thread_ns = clock_thread_cpu_ns() - thread_ns;
    assert_true(thread_ns < process_ns / 2);
    rig_fini(&rig);
}

static void test_wrong_password(void **state)
{
    (void)state;
    struct rig_collection c;
    assert_true(rig_init(&rig, LOOP_EPOLL));
    use_pool("wrong");
    rig_collect(&rig, &c, NULL, 10000);
    assert_int_equal(c.outcome, COLLECTION_FAILED);
    assert_non_null(strstr(c.error, "28P01"));
    rig_fini(&rig);
}

/* Closed at any point of a handshake: nothing is leaked and nothing is touched any more. */
static void test_closed_under_way(void **state)
{
    (void)state;
    uint32_t descriptors = rig_descriptors();
    for (uint64_t ms = 0; ms < 24; ms++) {
        struct rig_collection c;
        assert_true(rig_init(&rig, ms % 2 == 0 ? LOOP_EPOLL : LOOP_AUTO));
        use_pool("secret");
        rig_ask(&rig, &c, NULL, 10000);
        rig_run_ms(&rig, ms);
        rig_fini(&rig);
    }
    assert_int_equal(rig_descriptors(), descriptors);
}

/* What is done but never taken, and what was never begun, goes with the handshaker. */
static void test_timeout_under_way(void **state)
{
    (void)state;
    struct rig_collection c;
    assert_true(rig_init(&rig, LOOP_EPOLL));
    rig.session.connect_timeout_ns = NS_PER_MS; /* passes while the proof is made */
    use_pool("secret");
    rig_collect(&rig, &c, NULL, 300);
    assert_int_equal(c.outcome, COLLECTION_FAILED);
    rig.session.connect_timeout_ns = 5 * NS_PER_S;
    use_pool("secret");
    rig_collect(&rig, &c, NULL, 10000);
    assert_int_equal(c.outcome, COLLECTION_OK);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_proof_beside_the_loop),
        cmocka_unit_test(test_wrong_password),
        cmocka_unit_test(test_closed_under_way),
        cmocka_unit_test(test_timeout_under_way),
    };
    return cmocka_run_group_tests(tests, cluster_up, cluster_down);
}
