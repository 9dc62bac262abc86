/* SPDX-License-Identifier: Apache-2.0 */
/* The store with a real spool on a real disk: order, room, what comes back after a restart, and
 * that every point is in one place. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/random.h"
#include "exporters/ledger.h"
#include "exporters/store.h"
#include "ring/spool_file.h"
#include "tests/exporters/rig.h"

enum { BODY_BYTES = 1000, WAIT_MS = 20000 };

/* The system's files, on a disk that can be full. */
static atomic_bool disk_full;

static ssize_t write_unless_full(void *context, int fd, const struct iovec *parts, int count,
                                 off_t offset)
{
    if (!atomic_load(&disk_full))
        return spool_files_system.pwritev(context, fd, parts, count, offset);
    errno = ENOSPC;
    return -1;
}

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
    static struct spool_files files;
    files = spool_files_system;
    files.pwritev = write_unless_full;
    bench->plan.spool.files = &files;
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
    atomic_store(&disk_full, false);
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

static void wait_for(struct bench *bench, enum telemetry_value id, uint64_t wanted)
{
    uint64_t until_ns = clock_monotonic_ns() + WAIT_MS * NS_PER_MS;
    while (value(bench, id) != wanted && clock_monotonic_ns() < until_ns)
        step(bench);
    assert_int_equal(value(bench, id), wanted);
}

/* Also where the disk refuses some while it has others: nothing overtakes what only it has. */
static void test_order_on_a_full_disk(void **state)
{
    (void)state;
    struct bench bench;
    begin(&bench, true, true);
    uint32_t next = 1;
    for (int round = 0; round < 3; round++) {
        uint32_t first = next;
        while (next < first + 20)
            add(&bench, next++);
        wait_for(&bench, TELEMETRY_SPOOL_RECORDS, 20);
        atomic_store(&disk_full, true);
        while (next < first + 23)
            add(&bench, next++);
        wait_for(&bench, TELEMETRY_SPOOL_WORKING, 0);
        add(&bench, next++);
        for (uint32_t i = first; i < next; i++) {
            if (i == first + 10)
                atomic_store(&disk_full, round == 1);
            assert_int_equal(deliver(&bench), i);
        }
        assert_int_equal(deliver(&bench), 0);
        atomic_store(&disk_full, false);
        wait_for(&bench, TELEMETRY_SPOOL_WORKING, 1);
    }
    assert_int_equal(value(&bench, TELEMETRY_DROPPED_QUEUE_FULL), 0);
    assert_true(close_store(&bench));
    finish(&bench);
}

/* What the disk refused is put again when it works, and so survives the process. */
static void test_put_again(void **state)
{
    (void)state;
    for (int ordered = 0; ordered <= 1; ordered++) {
        struct bench bench;
        begin(&bench, true, ordered);
        add(&bench, 1);
        wait_for(&bench, TELEMETRY_SPOOL_RECORDS, 1);
        atomic_store(&disk_full, true);
        for (uint32_t i = 2; i <= 5; i++)
            add(&bench, i);
        wait_for(&bench, TELEMETRY_SPOOL_WORKING, 0);
        assert_false(store_safe(bench.store));
        atomic_store(&disk_full, false);
        wait_for(&bench, TELEMETRY_SPOOL_RECORDS, 5);
        assert_true(store_safe(bench.store));
        assert_true(close_store(&bench));
        assert_int_equal(value(&bench, TELEMETRY_POINTS_SPOOLED), 15);
        telemetry_reset();
        open_store(&bench);
        assert_int_equal(value(&bench, TELEMETRY_POINTS_RECOVERED), 15);
        uint32_t number, sum = 0, before = 0;
        while ((number = deliver(&bench)) > 0) {
            assert_true(!ordered || number > before);
            before = number;
            sum += number;
        }
        assert_int_equal(sum, 15);
        assert_true(close_store(&bench));
        finish(&bench);
    }
}

/* How full it is, is how near it is to giving up the oldest: what was delivered counts while its
 * segment is there. */
static void test_fill(void **state)
{
    (void)state;
    struct bench bench;
    struct spool_status status;
    begin(&bench, true, false);
    assert_true(close_store(&bench));
    bench.plan.spool.size_bytes = 1 << 20;
    bench.plan.spool.segment_bytes = 64 << 10;
    telemetry_reset();
    open_store(&bench);
    struct queued *old = NULL;
    add(&bench, 1);
    take(&bench, &old); /* this one the back end does not want */
    double fill = 0;
    for (uint32_t i = 2; i < 12; i++) {
        add(&bench, i);
        wait_for(&bench, TELEMETRY_SPOOL_RECORDS, 2);
        deliver(&bench);
        wait_for(&bench, TELEMETRY_SPOOL_RECORDS, 1);
        assert_true(store_fill(bench.store) > fill);
        fill = store_fill(bench.store);
    }
    assert_true(store_spool_status(bench.store, &status));
    assert_true(status.used_bytes > 10 * status.bytes && status.used_bytes <= status.disk_bytes);
    assert_true(fill == (double)status.used_bytes / (double)((1 << 20) - (64 << 10)));
    store_return(bench.store, old);
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
    begin(&bench, true, false);
    add(&bench, 7);
    struct queued *item = NULL;
    assert_int_equal(take(&bench, &item), 7);
    struct parcel *parts[2];
    make_parts(parts);
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

/* In order, the disk keeps the whole: a restart gives it in its place, whatever became of a part.
 */
static void test_replace_in_order(void **state)
{
    (void)state;
    for (int restart = 0; restart <= 1; restart++) {
        struct bench bench;
        begin(&bench, true, true);
        add(&bench, 7);
        add(&bench, 8);
        struct queued *item = NULL;
        assert_int_equal(take(&bench, &item), 7);
        struct parcel *parts[2];
        make_parts(parts);
        store_replace(bench.store, item, parts);
        rig_check_books(bench.set);
        add(&bench, 9);
        assert_int_equal(deliver(&bench), 3);
        assert_true(store_safe(bench.store));
        if (restart) {
            assert_true(close_store(&bench));
            assert_int_equal(value(&bench, TELEMETRY_POINTS_SPOOLED), 4 + 8 + 9);
            telemetry_reset();
            open_store(&bench);
            assert_int_equal(value(&bench, TELEMETRY_POINTS_RECOVERED), 7 + 8 + 9);
            assert_int_equal(deliver(&bench), 7);
        } else {
            wait_for(&bench, TELEMETRY_SPOOL_RECORDS, 3);
            assert_int_equal(deliver(&bench), 4);
            wait_for(&bench, TELEMETRY_SPOOL_RECORDS, 2); /* now it is settled there, too */
        }
        assert_int_equal(deliver(&bench), 8);
        assert_int_equal(deliver(&bench), 9);
        assert_int_equal(deliver(&bench), 0);
        assert_true(close_store(&bench));
        finish(&bench);
    }
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

/* ---- all of it at once ---- */

enum { BATCHES = 400, WALKS = 12 };

struct walk {
    struct bench bench;
    struct random random;
    uint32_t added, last; /* numbers from 1 */
    uint32_t delivered[BATCHES + 1];
    uint64_t dropped; /* of stores that are closed */
};

static uint32_t points_of(uint32_t number)
{
    return 2 + number * 7 % 100;
}

static struct parcel *numbered_parcel(uint32_t number, uint32_t points)
{
    struct parcel *parcel = parcel_create(BODY_BYTES);
    memset(parcel->body, 0, BODY_BYTES);
    memcpy(parcel->body, &number, sizeof number);
    parcel->points = points;
    parcel->created_ns = parcel->due_ns = clock_wall_ns();
    return parcel;
}

static void settle_one(struct walk *walk, struct queued *item)
{
    uint32_t number, points = item->parcel->points;
    memcpy(&number, item->parcel->body, sizeof number);
    assert_in_range(number, 1, walk->added);
    struct parcel *parts[2];
    switch (random_below(&walk->random, 6)) {
    case 0:
        store_return(walk->bench.store, item);
        return;
    case 1:
        if (points < 2)
            break;
        parts[0] = numbered_parcel(number, points / 2);
        parts[1] = numbered_parcel(number, points - points / 2);
        store_replace(walk->bench.store, item, parts);
        return;
    default:
        break;
    }
    if (walk->bench.plan.ordered && number < walk->last)
        fail_msg("%u after %u", number, walk->last);
    walk->last = number;
    walk->delivered[number] += points;
    store_settle(walk->bench.store, item, 0, 0);
}

static void close_walk(struct walk *walk)
{
    static const enum telemetry_value reasons[] = {
        TELEMETRY_DROPPED_QUEUE_FULL, TELEMETRY_DROPPED_STOP, TELEMETRY_DROPPED_SPOOL_FULL,
        TELEMETRY_DROPPED_TOO_OLD, TELEMETRY_DROPPED_CORRUPT};
    close_store(&walk->bench);
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        walk->dropped += value(&walk->bench, reasons[i]);
    telemetry_reset();
}

static void walk_one(struct walk *walk)
{
    struct bench *bench = &walk->bench;
    uint64_t next_ns;
    uint64_t dice = random_below(&walk->random, 100);
    if (dice < 45 && walk->added < BATCHES) {
        walk->added++;
        ledger_collect(bench->set, points_of(walk->added), 0);
        store_add(bench->store, numbered_parcel(walk->added, points_of(walk->added)),
                  clock_monotonic_ns());
    } else if (dice < 92) {
        struct queued *item = store_next(bench->store, false, clock_monotonic_ns(), &next_ns);
        if (item == NULL) {
            step(bench);
            return;
        }
        store_take(bench->store, item);
        settle_one(walk, item);
    } else if (dice < 97) {
        store_step(bench->store, clock_monotonic_ns());
    } else if (dice < 99) {
        atomic_store(&disk_full, random_below(&walk->random, 2) == 0);
    } else {
        close_walk(walk);
        open_store(bench);
        walk->last = 0; /* acks may have found the disk full: then some come again */
    }
    rig_check_books(bench->set);
}

/* Whatever happens in whatever order: in order where that matters, and all is delivered but what is
 * counted. */
static void test_walks(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < WALKS; seed++) {
        static struct walk walk;
        walk = (struct walk){.random = {.state = seed}};
        struct bench *bench = &walk.bench;
        begin(bench, true, seed % 2 == 0);
        while (walk.added < BATCHES)
            walk_one(&walk);
        atomic_store(&disk_full, false);
        uint64_t until_ns = clock_monotonic_ns() + WAIT_MS * NS_PER_MS;
        while (store_count(bench->store) > 0 || value(bench, TELEMETRY_POINTS_SPOOLED) > 0) {
            assert_true(clock_monotonic_ns() < until_ns);
            uint64_t next_ns;
            struct queued *item = store_next(bench->store, false, clock_monotonic_ns(), &next_ns);
            if (item == NULL) {
                step(bench);
                continue;
            }
            store_take(bench->store, item);
            settle_one(&walk, item);
        }
        close_walk(&walk);
        uint64_t missing = 0;
        for (uint32_t i = 1; i <= BATCHES; i++)
            if (walk.delivered[i] < points_of(i))
                missing += points_of(i) - walk.delivered[i];
        if (missing > walk.dropped)
            fail_msg("walk %u: %llu points missing, %llu dropped", (unsigned)seed,
                     (unsigned long long)missing, (unsigned long long)walk.dropped);
        finish(bench);
    }
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
        cmocka_unit_test(test_memory_only),
        cmocka_unit_test(test_more_than_memory_holds),
        cmocka_unit_test(test_failed),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_replace),
        cmocka_unit_test(test_walks),
        cmocka_unit_test(test_put_again),
        cmocka_unit_test(test_fill),
        cmocka_unit_test(test_order_on_a_full_disk),
        cmocka_unit_test(test_replace_in_order),
        cmocka_unit_test(test_one_owner),
        cmocka_unit_test(test_found_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
