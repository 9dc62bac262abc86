/* SPDX-License-Identifier: Apache-2.0 */
/* The store with a real spool on a real disk: order, room, what comes back after a restart, and
 * that every point is in one place. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "exporters/ledger.h"
#include "exporters/store.h"
#include "tests/exporters/rig.h"

enum { BODY_BYTES = 1000, WAIT_MS = 20000 };

struct bench {
    char directory[64];
    struct request_plan plan;
    struct telemetry_set *set;
    struct store *store;
    int wake_fd;
    uint64_t read_wait_ns;
};

static void open_store(struct bench *bench)
{
    struct telemetry_label label = {.key = "exporter", .value = "otlp_http/a"};
    struct error error = {{0}};
    bench->set = telemetry_open(TELEMETRY_DESTINATION, 1, &label);
    bench->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    const struct store_options options = {.id = "otlp_http/a",
                                          .plan = &bench->plan,
                                          .set = bench->set,
                                          .wake_fd = bench->wake_fd,
                                          .spool_directory =
                                              bench->directory[0] != 0 ? bench->directory : NULL};
    if (!store_create(&bench->store, &options, &error))
        fail_msg("%s", error.text);
}

static void begin(struct bench *bench, bool disk, bool ordered)
{
    *bench = (struct bench){.plan = {.sender_count = ordered ? 1 : 2,
                                     .queue_capacity = 8,
                                     .ordered = ordered,
                                     .spool = {.size_bytes = 64 << 20,
                                               .age_ns = 3600 * NS_PER_S,
                                               .segment_bytes = 1 << 20,
                                               .flush_ns = 10 * NS_PER_MS,
                                               .flush_bytes = 1 << 20}}};
    if (disk) {
        strcpy(bench->directory, "/tmp/pgweir-store-XXXXXX");
        assert_non_null(mkdtemp(bench->directory));
    }
    open_store(bench);
}

static bool close_store(struct bench *bench)
{
    bool whole = store_close(bench->store);
    store_destroy(&bench->store);
    rig_check_books(bench->set);
    close(bench->wake_fd);
    return whole;
}

static void finish(struct bench *bench)
{
    char command[128];
    if (bench->directory[0] != 0) {
        snprintf(command, sizeof command, "rm -rf %s", bench->directory);
        assert_int_equal(system(command), 0);
    }
    telemetry_reset();
}

/* The batch's number is its points and the first byte of its body. */
static void add(struct bench *bench, uint32_t number)
{
    struct parcel *parcel = parcel_create(BODY_BYTES);
    assert_non_null(parcel);
    memset(parcel->body, (int)number, BODY_BYTES);
    parcel->points = number;
    parcel->created_ns = parcel->due_ns = clock_wall_ns();
    ledger_collect(bench->set, number, 0);
    store_add(bench->store, parcel, clock_monotonic_ns());
    rig_check_books(bench->set);
}

static uint64_t value(const struct bench *bench, enum telemetry_value id)
{
    return counter_read(&bench->set->values[id]);
}

/* One step, with the sleep the worker would have. */
static void step(struct bench *bench)
{
    store_step(bench->store, clock_monotonic_ns());
    rig_check_books(bench->set);
    struct pollfd wake = {.fd = bench->wake_fd, .events = POLLIN};
    eventfd_t count;
    if (poll(&wake, 1, 5) > 0)
        eventfd_read(bench->wake_fd, &count);
}

/* Takes the next batch, waiting for the disk; its number, 0: none came. */
static uint32_t take(struct bench *bench, struct queued **ret_item)
{
    uint64_t next_ns, until_ns = clock_monotonic_ns() + WAIT_MS * NS_PER_MS;
    while (clock_monotonic_ns() < until_ns) {
        struct queued *item = store_next(bench->store, false, clock_monotonic_ns(), &next_ns);
        if (item != NULL) {
            store_take(bench->store, item);
            assert_int_equal(item->parcel->body[0], item->parcel->points);
            *ret_item = item;
            return item->parcel->points;
        }
        if (value(bench, TELEMETRY_POINTS_SPOOLED) == 0)
            return 0;
        step(bench);
    }
    fail_msg("nothing came back from disk");
    return 0;
}

static uint32_t deliver(struct bench *bench)
{
    struct queued *item = NULL;
    uint32_t number = take(bench, &item);
    if (number > 0)
        store_settle(bench->store, item, 0, 0);
    rig_check_books(bench->set);
    return number;
}

/* Without a disk the oldest of nine is given up when eight fit. */
static void test_memory_only(void **state)
{
    (void)state;
    struct bench bench;
    begin(&bench, false, false);
    for (uint32_t i = 1; i <= 9; i++)
        add(&bench, i);
    assert_int_equal(value(&bench, TELEMETRY_DROPPED_QUEUE_FULL), 1);
    assert_true(store_fill(bench.store) >= 1.0);
    assert_false(store_safe(bench.store));
    assert_false(close_store(&bench));
    assert_int_equal(value(&bench, TELEMETRY_DROPPED_STOP), 44);
    finish(&bench);
}

/* With one nothing is given up: all 40 come, each once, fresh ones in between. */
static void test_more_than_memory_holds(void **state)
{
    (void)state;
    struct bench bench;
    begin(&bench, true, false);
    for (uint32_t i = 1; i <= 40; i++)
        add(&bench, i);
    assert_true(value(&bench, TELEMETRY_POINTS_SPOOLED) > 0);
    assert_true(store_count(bench.store) <= 8);
    bool seen[64] = {false};
    uint32_t number, count = 0, last_fresh = 0;
    while ((number = deliver(&bench)) > 0) {
        assert_false(seen[number]);
        seen[number] = true;
        count++;
        if (count == 10) { /* came while there is a backlog: overtakes it */
            add(&bench, 50);
            last_fresh = count;
        }
        if (number == 50)
            last_fresh = count - last_fresh;
    }
    assert_int_equal(count, 41);
    assert_true(last_fresh <= 3);
    assert_true(close_store(&bench));
    finish(&bench);
}

/* What failed comes back to its place, disk or not: the next one is it again. */
static void test_failed(void **state)
{
    (void)state;
    for (int disk = 0; disk < 2; disk++) {
        struct bench bench;
        begin(&bench, disk == 1, true);
        for (uint32_t i = 1; i <= 8; i++)
            add(&bench, i);
        for (uint32_t i = 1; i <= 8; i++) {
            struct queued *item = NULL;
            for (int attempt = 0; attempt < 3; attempt++) {
                assert_int_equal(take(&bench, &item), i);
                store_return(bench.store, item);
            }
            assert_int_equal(deliver(&bench), i);
        }
        assert_true(close_store(&bench));
        finish(&bench);
    }
}

/* Where order matters, the order of adding is the order of taking, disk or not. */
static void test_order(void **state)
{
    (void)state;
    struct bench bench;
    begin(&bench, true, true);
    for (uint32_t i = 1; i <= 30; i++)
        add(&bench, i);
    for (uint32_t i = 1; i <= 45; i++) {
        if (i <= 15)
            add(&bench, 30 + i);
        assert_int_equal(deliver(&bench), i);
    }
    assert_int_equal(deliver(&bench), 0);
    assert_true(close_store(&bench));
    finish(&bench);
}

/* What was not delivered is there after a restart, what was is not; and nothing counts as lost. */
static void test_restart(void **state)
{
    (void)state;
    struct bench bench;
    begin(&bench, true, false);
    for (uint32_t i = 1; i <= 20; i++)
        add(&bench, i);
    uint32_t left = 20 * 21 / 2;
    for (int i = 0; i < 5; i++)
        left -= deliver(&bench);
    struct queued *item = NULL;
    take(&bench, &item); /* on the wire when it stops: not acknowledged */
    store_return(bench.store, item);
    assert_true(close_store(&bench));
    assert_int_equal(value(&bench, TELEMETRY_POINTS_SPOOLED), left);
    telemetry_reset();

    open_store(&bench);
    assert_int_equal(value(&bench, TELEMETRY_POINTS_RECOVERED), left);
    add(&bench, 30);
    uint32_t number, sum = 0;
    while ((number = deliver(&bench)) > 0)
        sum += number;
    assert_int_equal(sum, left + 30);
    assert_true(close_store(&bench));
    assert_int_equal(value(&bench, TELEMETRY_POINTS_DELIVERED), left + 30);
    telemetry_reset();

    open_store(&bench);
    assert_int_equal(value(&bench, TELEMETRY_POINTS_RECOVERED), 0);
    assert_true(close_store(&bench));
    finish(&bench);
}

/* Two parts take the whole's place, on disk as well. */
static void test_replace(void **state)
{
    (void)state;
    struct bench bench;
    begin(&bench, true, false);
    add(&bench, 7);
    struct queued *item = NULL;
    assert_int_equal(take(&bench, &item), 7);
    struct parcel *parts[2];
    for (uint32_t i = 0; i < 2; i++) {
        parts[i] = parcel_create(BODY_BYTES);
        parts[i]->points = 3 + i;
        parts[i]->created_ns = parts[i]->due_ns = clock_wall_ns();
        memset(parts[i]->body, (int)(3 + i), BODY_BYTES);
    }
    store_replace(bench.store, item, parts);
    rig_check_books(bench.set);
    assert_true(close_store(&bench));
    telemetry_reset();
    open_store(&bench);
    assert_int_equal(value(&bench, TELEMETRY_POINTS_RECOVERED), 7);
    uint32_t first = deliver(&bench), second = deliver(&bench);
    assert_int_equal(first + second, 7);
    assert_int_equal(deliver(&bench), 0);
    assert_true(close_store(&bench));
    finish(&bench);
}

/* A second collector on the same directory does not start. */
static void test_one_owner(void **state)
{
    (void)state;
    struct bench bench;
    begin(&bench, true, false);
    struct store *second = NULL;
    struct error error = {{0}};
    const struct store_options options = {.id = "otlp_http/a",
                                          .plan = &bench.plan,
                                          .set = bench.set,
                                          .wake_fd = bench.wake_fd,
                                          .spool_directory = bench.directory};
    assert_false(store_create(&second, &options, &error));
    assert_non_null(strstr(error.text, bench.directory));
    assert_true(close_store(&bench));
    finish(&bench);
}

/* A directory that cannot be used at start and later can: what an earlier run left there is found,
 * counted and delivered then. */
static void test_found_later(void **state)
{
    (void)state;
    struct bench bench;
    char path[128], aside[128];
    begin(&bench, true, false);
    for (uint32_t i = 1; i <= 5; i++)
        add(&bench, i);
    assert_true(close_store(&bench));
    telemetry_reset();
    snprintf(path, sizeof path, "%s/otlp_http_a", bench.directory);
    snprintf(aside, sizeof aside, "%s/aside", bench.directory);
    assert_int_equal(rename(path, aside), 0);
    FILE *in_the_way = fopen(path, "we");
    assert_non_null(in_the_way);
    fclose(in_the_way);

    open_store(&bench);
    assert_int_equal(value(&bench, TELEMETRY_POINTS_RECOVERED), 0);
    add(&bench, 20);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rename(aside, path), 0);
    uint64_t until_ns = clock_monotonic_ns() + WAIT_MS * NS_PER_MS;
    while (value(&bench, TELEMETRY_POINTS_RECOVERED) < 15 && clock_monotonic_ns() < until_ns)
        step(&bench);
    assert_int_equal(value(&bench, TELEMETRY_POINTS_RECOVERED), 15);
    uint32_t number, sum = 0;
    while ((number = deliver(&bench)) > 0)
        sum += number;
    assert_int_equal(sum, 35);
    assert_true(close_store(&bench));
    finish(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_only), cmocka_unit_test(test_more_than_memory_holds),
        cmocka_unit_test(test_failed),      cmocka_unit_test(test_order),
        cmocka_unit_test(test_restart),     cmocka_unit_test(test_replace),
        cmocka_unit_test(test_one_owner),   cmocka_unit_test(test_found_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
