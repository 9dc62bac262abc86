/* SPDX-License-Identifier: Apache-2.0 */
/* A target with several databases on a real PostgreSQL: databases that differ, one that cannot be
 * read; and what is left out under pressure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "cluster.h"
#include "pg/decode.h"
#include "shard/target.h"

enum {
    INTERVAL_MS = 100,
    CALM_MS = 200, /* longer than a collection takes on a slow machine */
};

static struct cluster cluster;

/* Which due times gave points of which group: bit i is those whose number is i modulo 4. */
struct seen {
    uint32_t core, tables;
    uint32_t tables_count, off_grid;
};

/* What a shard is for its targets. */
struct bench {
    struct loop *loop;
    struct resolver *resolver;
    struct handshaker *handshaker;
    struct random random;
    struct pg_budget budget;
    struct ring *ring;
    struct writer writer;
    struct target_context context;
    struct resource_chains chains;
    char endpoint[32];
    struct postgresql_settings settings;
    struct receiver receiver;
    struct status_board *board;
    struct target *target;
    uint64_t interval_ns, first_due_ns;
    struct seen seen;
};

static void wake(void *owner)
{
    loop_wake(owner);
}

static void bench_init(struct bench *bench, const char *const *databases, size_t count)
{
    static const char *const off[] = {"sizes", "statements"};
    static struct group_settings off_settings[2];
    *bench = (struct bench){.random.state = 1, .chains.count = 1};
    struct error error;
    uint64_t now_ns = clock_monotonic_ns();
    bench->first_due_ns = now_ns;
    bench->interval_ns = (count == 0 ? CALM_MS : INTERVAL_MS) * NS_PER_MS;
    CHECK(loop_create(&bench->loop, LOOP_EPOLL, 16, &error));
    CHECK(resolver_create(&bench->resolver, 1, &error));
    CHECK(handshaker_create(&bench->handshaker, 1, 1, &error));
    CHECK(ring_create(&bench->ring, 1, 64, &error));
    writer_init(&bench->writer, bench->ring, 0);
    struct telemetry_label label = {"shard", "0"};
    struct telemetry_set *telemetry = telemetry_open(TELEMETRY_SHARD, 1, &label);
    bench->context = (struct target_context){
        .pg = {.loop = bench->loop,
               .wheel = wheel_create(now_ns),
               .resolver = resolver_client(bench->resolver, 0, wake, bench->loop),
               .handshakes = handshake_client(bench->handshaker, 0, wake, bench->loop),
               .telemetry = telemetry,
               .random = &bench->random,
               .budget = &bench->budget},
        .writer = &bench->writer,
        .plans = plan_cache_create(),
        .telemetry = telemetry,
    };
    snprintf(bench->endpoint, sizeof bench->endpoint, "127.0.0.1:%u", cluster.port);
    bench->settings = (struct postgresql_settings){
        .server = {.endpoint = bench->endpoint,
                   .username = "postgres",
                   .database = "postgres",
                   .databases = {databases, count},
                   .tls.insecure = true,
                   .connections = 2},
        .session = {.connect_timeout_ns = 20 * NS_PER_S,
                    .statement_timeout_ns = 5 * NS_PER_S,
                    .lock_timeout_ns = 100 * NS_PER_MS,
                    .idle_in_transaction_session_timeout_ns = 10 * NS_PER_S,
                    .connection_max_age_ns = 3600 * NS_PER_S,
                    .backoff_initial_ns = 100 * NS_PER_MS,
                    .backoff_max_ns = NS_PER_S},
        .collection_interval_ns = bench->interval_ns,
        .timeout_ns = 20 * NS_PER_S,
    };
    if (count == 0)
        bench->settings.groups = (struct group_map){off, off_settings, 2};
    CHECK(receiver_init(&bench->receiver, "postgresql", &bench->settings, &error));
    bench->receiver.chains = &bench->chains;
    bench->board = status_board_create(1);
    bench->target =
        target_create(&bench->context, &(struct target_options){.receiver = &bench->receiver,
                                                                .server = &bench->settings.server,
                                                                .status = bench->board->slots,
                                                                .first_due_ns = now_ns});
}

static void note_page(struct bench *bench, const struct page *page)
{
    uint64_t since_ns = page->scrape_start_ns - bench->first_due_ns;
    uint32_t bit = 1u << since_ns / bench->interval_ns % 4;
    bench->seen.off_grid += since_ns % bench->interval_ns != 0;
    for (uint32_t i = 0; i < page->run_count; i++) {
        const char *name = page_run_const(page, i)->metric->name;
        if (strcmp(name, "postgresql.backends") == 0)
            bench->seen.core |= bit;
        if (strcmp(name, "postgresql.table.count") == 0) {
            bench->seen.tables |= bit;
            bench->seen.tables_count++;
        }
    }
}

static void take_pages(struct bench *bench)
{
    struct page *page;
    while ((page = ring_take(bench->ring)) != NULL) {
        note_page(bench, page);
        ring_give(bench->ring, page);
    }
}

static void bench_turn(struct bench *bench)
{
    uint64_t now_ns = loop_turn(bench->loop, wheel_next_ns(bench->context.pg.wheel));
    pool_shaken(&bench->context.pg, now_ns);
    wheel_run(bench->context.pg.wheel, now_ns);
    writer_flush(&bench->writer, now_ns);
    series_reclaim(bench->ring, 0);
    take_pages(bench);
}

static void bench_run(struct bench *bench, uint64_t scrapes)
{
    uint64_t end_ns = clock_monotonic_ns() + 60 * NS_PER_S;
    while (target_scrapes(bench->target) < scrapes) {
        CHECK(clock_monotonic_ns() < end_ns);
        bench_turn(bench);
    }
}

static struct target_status bench_status(const struct bench *bench)
{
    struct target_status status;
    status_read(bench->board->slots, &status);
    return status;
}

static void bench_fini(struct bench *bench)
{
    target_close(bench->target);
    writer_flush(&bench->writer, clock_monotonic_ns());
    take_pages(bench);
    series_reclaim(bench->ring, 0);
    target_free(&bench->target);
    assert_int_equal(counter_read(&bench->context.telemetry->values[TELEMETRY_SERIES]), 0);
    assert_int_equal(atomic_load(&bench->budget.connections), 0);
    plan_cache_destroy(&bench->context.plans);
    wheel_destroy(&bench->context.pg.wheel);
    resolver_destroy(&bench->resolver);
    handshaker_destroy(&bench->handshaker);
    loop_destroy(&bench->loop);
    ring_destroy(&bench->ring);
    status_board_destroy(&bench->board);
    receiver_fini(&bench->receiver);
    telemetry_reset();
}

/* An extension lives in one database: the others' plans are not the server's. */
static void databases_have_plans_of_their_own(void **state)
{
    (void)state;
    static const char *const databases[] = {"postgres", "app", "shop"};
    struct bench bench;
    bench_init(&bench, databases, 3);
    bench_run(&bench, 2);
    struct target_status status = bench_status(&bench);
    assert_string_equal(status.error, "");
    assert_int_equal(status.state, TARGET_UP);
    assert_true(status.scrapes >= 6);
    bench_fini(&bench);
}

/* The maintenance database is told that it changed while another database is collected by what was
 * known before. */
static void a_plan_changes_under_the_others(void **state)
{
    (void)state;
    static const char *const databases[] = {"postgres", "app"};
    struct bench bench;
    bench_init(&bench, databases, 2);
    bench_run(&bench, 1);
    cluster_sql(&cluster, "postgres", "DROP EXTENSION pg_stat_statements");
    cluster_sql(&cluster, "postgres",
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE application_name = 'pgweir' AND datname = 'postgres'");
    uint64_t scrapes = target_scrapes(bench.target);
    bench_run(&bench, scrapes + 3);
    assert_int_equal(bench_status(&bench).state, TARGET_UP);
    cluster_sql(&cluster, "postgres", "CREATE EXTENSION pg_stat_statements");
    bench_fini(&bench);
}

/* Degraded it stays, and says why, until all is well again: no change with every collection. */
static void one_bad_database_degrades(void **state)
{
    (void)state;
    static const char *const databases[] = {"postgres", "absent", "app"};
    struct bench bench;
    bench_init(&bench, databases, 3);
    bench_run(&bench, 1);
    uint64_t end_ns = clock_monotonic_ns() + 4 * INTERVAL_MS * NS_PER_MS;
    while (clock_monotonic_ns() < end_ns) {
        assert_int_equal(target_state(bench.target), TARGET_DEGRADED);
        assert_non_null(strstr(bench_status(&bench).error, "absent"));
        bench_turn(&bench);
    }
    cluster_sql(&cluster, "postgres", "CREATE DATABASE absent");
    end_ns += 10 * NS_PER_S;
    while (target_state(bench.target) != TARGET_UP && clock_monotonic_ns() < end_ns)
        bench_turn(&bench);
    assert_int_equal(target_state(bench.target), TARGET_UP);
    assert_string_equal(bench_status(&bench).error, "");
    bench_fini(&bench);
}

enum { EVEN = 5, ODD = 10 };

/* Sets the level, waits until it is in force, then looks until `enough`. */
static void press(struct bench *bench, uint32_t level, bool (*enough)(const struct seen *))
{
    ring_put_pressure(bench->ring, 0, level);
    bench_run(bench, target_scrapes(bench->target) + 3);
    uint64_t end_ns = clock_monotonic_ns() + 30 * NS_PER_S;
    bench->seen = (struct seen){.off_grid = bench->seen.off_grid};
    while (!enough(&bench->seen)) {
        CHECK(clock_monotonic_ns() < end_ns);
        bench_turn(bench);
    }
}

static bool all_collected(const struct seen *seen)
{
    return (seen->tables & EVEN) != 0 && (seen->tables & ODD) != 0 && (seen->core & EVEN) != 0 &&
           (seen->core & ODD) != 0;
}

static bool core_goes_on(const struct seen *seen)
{
    return (seen->core & EVEN) != 0 && (seen->core & ODD) != 0 && seen->tables_count >= 3;
}

static bool tables_twice(const struct seen *seen)
{
    return seen->tables_count >= 2 && (seen->core & EVEN) != 0 && (seen->core & ODD) != 0;
}

/* The dear group more rarely, then much more rarely, while core goes on; then all again: each at
 * its old times. */
static void pressure_stretches_and_ends(void **state)
{
    (void)state;
    struct bench bench;
    bench_init(&bench, NULL, 0);
    const struct counter *left_out = &bench.context.telemetry->values[TELEMETRY_STRETCHED];
    press(&bench, 0, all_collected);
    assert_int_equal(counter_read(left_out), 0);
    press(&bench, 1, core_goes_on);
    assert_true((bench.seen.tables & EVEN) == 0 || (bench.seen.tables & ODD) == 0);
    assert_true(counter_read(left_out) > 0);
    press(&bench, 2, tables_twice);
    assert_true((bench.seen.tables & (bench.seen.tables - 1)) == 0); /* one in four */
    press(&bench, 0, all_collected);
    assert_int_equal(bench.seen.off_grid, 0);
    assert_int_equal(bench_status(&bench).state, TARGET_UP);
    bench_fini(&bench);
}

static int make_cluster(void **state)
{
    (void)state;
    cluster_create(&cluster, "shared_preload_libraries = 'pg_stat_statements'\n");
    cluster_sql(&cluster, "postgres", "CREATE EXTENSION pg_stat_statements");
    cluster_sql(&cluster, "postgres", "CREATE DATABASE app");
    cluster_sql(&cluster, "postgres", "CREATE DATABASE shop");
    return 0;
}

static int destroy_cluster(void **state)
{
    (void)state;
    cluster_destroy(&cluster);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(databases_have_plans_of_their_own),
        cmocka_unit_test(a_plan_changes_under_the_others),
        cmocka_unit_test(one_bad_database_degrades),
        cmocka_unit_test(pressure_stretches_and_ends),
    };
    return cmocka_run_group_tests(tests, make_cluster, destroy_cluster);
}
