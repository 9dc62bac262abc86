/* SPDX-License-Identifier: Apache-2.0 */
/* The store with a real spool on a real disk: order, room, what comes back after a restart, and
 * that every point is in one place. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/exporters/store_bench.h"

/* Without a disk the oldest of nine is given up when eight fit. */
static void test_memory_only(void **state)
{
    (void)state;
    struct bench bench;
    bench_begin(&bench, false, false);
    for (uint32_t i = 1; i <= 9; i++)
        bench_add(&bench, i);
    assert_int_equal(bench_value(&bench, TELEMETRY_DROPPED_QUEUE_FULL), 1);
    assert_true(store_fill(bench.store) >= 1.0);
    assert_false(store_safe(bench.store));
    assert_false(bench_close(&bench));
    assert_int_equal(bench_value(&bench, TELEMETRY_DROPPED_STOP), 44);
    bench_finish(&bench);
}

/* With one nothing is given up: all 40 come, each once, fresh ones in between. */
static void test_more_than_memory_holds(void **state)
{
    (void)state;
    struct bench bench;
    bench_begin(&bench, true, false);
    for (uint32_t i = 1; i <= 40; i++)
        bench_add(&bench, i);
    assert_true(bench_value(&bench, TELEMETRY_POINTS_SPOOLED) > 0);
    assert_true(store_count(bench.store) <= 8);
    bool seen[64] = {false};
    uint32_t number, count = 0, last_fresh = 0;
    while ((number = bench_deliver(&bench)) > 0) {
        assert_false(seen[number]);
        seen[number] = true;
        count++;
        if (count == 10) { /* came while there is a backlog: overtakes it */
            bench_add(&bench, 50);
            last_fresh = count;
        }
        if (number == 50)
            last_fresh = count - last_fresh;
    }
    assert_int_equal(count, 41);
    assert_true(last_fresh <= 3);
    assert_true(bench_close(&bench));
    bench_finish(&bench);
}

/* What failed comes back to its place, disk or not: the next one is it again. */
static void test_failed(void **state)
{
    (void)state;
    for (int disk = 0; disk < 2; disk++) {
        struct bench bench;
        bench_begin(&bench, disk == 1, true);
        for (uint32_t i = 1; i <= 8; i++)
            bench_add(&bench, i);
        for (uint32_t i = 1; i <= 8; i++) {
            struct queued *item = NULL;
            for (int attempt = 0; attempt < 3; attempt++) {
                assert_int_equal(bench_take(&bench, &item), i);
                store_return(bench.store, item);
            }
            assert_int_equal(bench_deliver(&bench), i);
        }
        assert_true(bench_close(&bench));
        bench_finish(&bench);
    }
}

/* Where order matters, the order of adding is the order of taking, disk or not. */
static void test_order(void **state)
{
    (void)state;
    struct bench bench;
    bench_begin(&bench, true, true);
    for (uint32_t i = 1; i <= 30; i++)
        bench_add(&bench, i);
    for (uint32_t i = 1; i <= 45; i++) {
        if (i <= 15)
            bench_add(&bench, 30 + i);
        assert_int_equal(bench_deliver(&bench), i);
    }
    assert_int_equal(bench_deliver(&bench), 0);
    assert_true(bench_close(&bench));
    bench_finish(&bench);
}

/* Also where the disk refuses some while it has others: nothing overtakes what only it has. */
static void test_order_on_a_full_disk(void **state)
{
    (void)state;
    struct bench bench;
    bench_begin(&bench, true, true);
    uint32_t next = 1;
    for (int round = 0; round < 3; round++) {
        uint32_t first = next;
        while (next < first + 20)
            bench_add(&bench, next++);
        bench_wait(&bench, TELEMETRY_SPOOL_RECORDS, 20);
        atomic_store(&bench_disk_full, true);
        while (next < first + 23)
            bench_add(&bench, next++);
        bench_wait(&bench, TELEMETRY_SPOOL_WORKING, 0);
        bench_add(&bench, next++);
        for (uint32_t i = first; i < next; i++) {
            if (i == first + 10)
                atomic_store(&bench_disk_full, round == 1);
            assert_int_equal(bench_deliver(&bench), i);
        }
        assert_int_equal(bench_deliver(&bench), 0);
        atomic_store(&bench_disk_full, false);
        bench_wait(&bench, TELEMETRY_SPOOL_WORKING, 1);
    }
    assert_int_equal(bench_value(&bench, TELEMETRY_DROPPED_QUEUE_FULL), 0);
    assert_true(bench_close(&bench));
    bench_finish(&bench);
}

/* What the disk refused is put again when it works, and so survives the process. */
static void test_put_again(void **state)
{
    (void)state;
    for (int ordered = 0; ordered <= 1; ordered++) {
        struct bench bench;
        bench_begin(&bench, true, ordered);
        bench_add(&bench, 1);
        bench_wait(&bench, TELEMETRY_SPOOL_RECORDS, 1);
        atomic_store(&bench_disk_full, true);
        for (uint32_t i = 2; i <= 5; i++)
            bench_add(&bench, i);
        bench_wait(&bench, TELEMETRY_SPOOL_WORKING, 0);
        assert_false(store_safe(bench.store));
        atomic_store(&bench_disk_full, false);
        bench_wait(&bench, TELEMETRY_SPOOL_RECORDS, 5);
        assert_true(store_safe(bench.store));
        assert_true(bench_close(&bench));
        assert_int_equal(bench_value(&bench, TELEMETRY_POINTS_SPOOLED), 15);
        telemetry_reset();
        bench_open(&bench);
        assert_int_equal(bench_value(&bench, TELEMETRY_POINTS_RECOVERED), 15);
        uint32_t number, sum = 0, before = 0;
        while ((number = bench_deliver(&bench)) > 0) {
            assert_true(!ordered || number > before);
            before = number;
            sum += number;
        }
        assert_int_equal(sum, 15);
        assert_true(bench_close(&bench));
        bench_finish(&bench);
    }
}

/* How full it is, is how near it is to giving up the oldest: what was delivered counts while its
 * segment is there. */
static void test_fill(void **state)
{
    (void)state;
    struct bench bench;
    struct spool_status status;
    bench_begin(&bench, true, false);
    assert_true(bench_close(&bench));
    bench.plan.spool.size_bytes = 1 << 20;
    bench.plan.spool.segment_bytes = 64 << 10;
    telemetry_reset();
    bench_open(&bench);
    struct queued *old = NULL;
    bench_add(&bench, 1);
    bench_take(&bench, &old); /* this one the back end does not want */
    double fill = 0;
    for (uint32_t i = 2; i < 12; i++) {
        bench_add(&bench, i);
        bench_wait(&bench, TELEMETRY_SPOOL_RECORDS, 2);
        bench_deliver(&bench);
        bench_wait(&bench, TELEMETRY_SPOOL_RECORDS, 1);
        assert_true(store_fill(bench.store) > fill);
        fill = store_fill(bench.store);
    }
    assert_true(store_spool_status(bench.store, &status));
    assert_true(status.used_bytes > 10 * status.bytes && status.used_bytes <= status.disk_bytes);
    assert_true(fill == (double)status.used_bytes / (double)((1 << 20) - (64 << 10)));
    store_return(bench.store, old);
    assert_true(bench_close(&bench));
    bench_finish(&bench);
}

/* What was not delivered is there after a restart, what was is not; and nothing counts as lost. */
static void test_restart(void **state)
{
    (void)state;
    struct bench bench;
    bench_begin(&bench, true, false);
    for (uint32_t i = 1; i <= 20; i++)
        bench_add(&bench, i);
    uint32_t left = 20 * 21 / 2;
    for (int i = 0; i < 5; i++)
        left -= bench_deliver(&bench);
    struct queued *item = NULL;
    bench_take(&bench, &item); /* on the wire when it stops: not acknowledged */
    store_return(bench.store, item);
    assert_true(bench_close(&bench));
    assert_int_equal(bench_value(&bench, TELEMETRY_POINTS_SPOOLED), left);
    telemetry_reset();

    bench_open(&bench);
    assert_int_equal(bench_value(&bench, TELEMETRY_POINTS_RECOVERED), left);
    bench_add(&bench, 30);
    uint32_t number, sum = 0;
    while ((number = bench_deliver(&bench)) > 0)
        sum += number;
    assert_int_equal(sum, left + 30);
    assert_true(bench_close(&bench));
    assert_int_equal(bench_value(&bench, TELEMETRY_POINTS_DELIVERED), left + 30);
    telemetry_reset();

    bench_open(&bench);
    assert_int_equal(bench_value(&bench, TELEMETRY_POINTS_RECOVERED), 0);
    assert_true(bench_close(&bench));
    bench_finish(&bench);
}

static void make_parts(struct parcel *ret_parts[2])
{
    for (uint32_t i = 0; i < 2; i++) {
        ret_parts[i] = parcel_create(BODY_BYTES);
        ret_parts[i]->points = 3 + i;
        ret_parts[i]->created_ns = ret_parts[i]->due_ns = clock_wall_ns();
        memset(ret_parts[i]->body, (int)(3 + i), BODY_BYTES);
    }
}

/* Two parts take the whole's place, on disk as well. */
static void test_replace(void **state)
{
    (void)state;
    struct bench bench;
    bench_begin(&bench, true, false);
    bench_add(&bench, 7);
    struct queued *item = NULL;
    assert_int_equal(bench_take(&bench, &item), 7);
    struct parcel *parts[2];
    make_parts(parts);
    store_replace(bench.store, item, parts);
    rig_check_books(bench.set);
    assert_true(bench_close(&bench));
    telemetry_reset();
    bench_open(&bench);
    assert_int_equal(bench_value(&bench, TELEMETRY_POINTS_RECOVERED), 7);
    uint32_t first = bench_deliver(&bench), second = bench_deliver(&bench);
    assert_int_equal(first + second, 7);
    assert_int_equal(bench_deliver(&bench), 0);
    assert_true(bench_close(&bench));
    bench_finish(&bench);
}

/* In order, the disk keeps the whole: a restart gives it in its place, whatever became of a part.
 */
static void test_replace_in_order(void **state)
{
    (void)state;
    for (int restart = 0; restart <= 1; restart++) {
        struct bench bench;
        bench_begin(&bench, true, true);
        bench_add(&bench, 7);
        bench_add(&bench, 8);
        struct queued *item = NULL;
        assert_int_equal(bench_take(&bench, &item), 7);
        struct parcel *parts[2];
        make_parts(parts);
        store_replace(bench.store, item, parts);
        rig_check_books(bench.set);
        bench_add(&bench, 9);
        assert_int_equal(bench_deliver(&bench), 3);
        assert_true(store_safe(bench.store));
        if (restart) {
            assert_true(bench_close(&bench));
            assert_int_equal(bench_value(&bench, TELEMETRY_POINTS_SPOOLED), 4 + 8 + 9);
            telemetry_reset();
            bench_open(&bench);
            assert_int_equal(bench_value(&bench, TELEMETRY_POINTS_RECOVERED), 7 + 8 + 9);
            assert_int_equal(bench_deliver(&bench), 7);
        } else {
            bench_wait(&bench, TELEMETRY_SPOOL_RECORDS, 3);
            assert_int_equal(bench_deliver(&bench), 4);
            bench_wait(&bench, TELEMETRY_SPOOL_RECORDS, 2); /* now it is settled there, too */
        }
        assert_int_equal(bench_deliver(&bench), 8);
        assert_int_equal(bench_deliver(&bench), 9);
        assert_int_equal(bench_deliver(&bench), 0);
        assert_true(bench_close(&bench));
        bench_finish(&bench);
    }
}

/* A second collector on the same directory does not start. */
static void test_one_owner(void **state)
{
    (void)state;
    struct bench bench;
    bench_begin(&bench, true, false);
    struct store *second = NULL;
    struct error error = {{0}};
    const struct store_options options = {.id = "otlp_http/a",
                                          .plan = &bench.plan,
                                          .set = bench.set,
                                          .wake_fd = bench.wake_fd,
                                          .spool_directory = bench.directory};
    assert_false(store_create(&second, &options, &error));
    assert_non_null(strstr(error.text, bench.directory));
    assert_true(bench_close(&bench));
    bench_finish(&bench);
}

/* A directory that cannot be used at start and later can: what an earlier run left there is found,
 * counted and delivered then. */
static void test_found_later(void **state)
{
    (void)state;
    struct bench bench;
    char path[128], aside[128];
    bench_begin(&bench, true, false);
    for (uint32_t i = 1; i <= 5; i++)
        bench_add(&bench, i);
    assert_true(bench_close(&bench));
    telemetry_reset();
    snprintf(path, sizeof path, "%s/otlp_http_a", bench.directory);
    snprintf(aside, sizeof aside, "%s/aside", bench.directory);
    assert_int_equal(rename(path, aside), 0);
    FILE *in_the_way = fopen(path, "we");
    assert_non_null(in_the_way);
    fclose(in_the_way);

    bench_open(&bench);
    assert_int_equal(bench_value(&bench, TELEMETRY_POINTS_RECOVERED), 0);
    bench_add(&bench, 20);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rename(aside, path), 0);
    uint64_t until_ns = clock_monotonic_ns() + WAIT_MS * NS_PER_MS;
    while (bench_value(&bench, TELEMETRY_POINTS_RECOVERED) < 15 && clock_monotonic_ns() < until_ns)
        bench_step(&bench);
    assert_int_equal(bench_value(&bench, TELEMETRY_POINTS_RECOVERED), 15);
    uint32_t number, sum = 0;
    while ((number = bench_deliver(&bench)) > 0)
        sum += number;
    assert_int_equal(sum, 35);
    assert_true(bench_close(&bench));
    bench_finish(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_only),
        cmocka_unit_test(test_more_than_memory_holds),
        cmocka_unit_test(test_failed),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_replace),

        cmocka_unit_test(test_put_again),
        cmocka_unit_test(test_fill),
        cmocka_unit_test(test_order_on_a_full_disk),
        cmocka_unit_test(test_replace_in_order),
        cmocka_unit_test(test_one_owner),
        cmocka_unit_test(test_found_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
