/* SPDX-License-Identifier: Apache-2.0 */
/* Random walks of a store with a spool: adds, answers, splits, returns, full disks and restarts in
 * any order; order and books must hold. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/random.h"
#include "tests/exporters/store_bench.h"

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
    bench_close(&walk->bench);
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        walk->dropped += bench_value(&walk->bench, reasons[i]);
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
            bench_step(bench);
            return;
        }
        store_take(bench->store, item);
        settle_one(walk, item);
    } else if (dice < 97) {
        store_step(bench->store, clock_monotonic_ns());
    } else if (dice < 99) {
        atomic_store(&bench_disk_full, random_below(&walk->random, 2) == 0);
    } else {
        close_walk(walk);
        bench_open(bench);
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
        bench_begin(bench, true, seed % 2 == 0);
        while (walk.added < BATCHES)
            walk_one(&walk);
        atomic_store(&bench_disk_full, false);
        uint64_t until_ns = clock_monotonic_ns() + WAIT_MS * NS_PER_MS;
        while (store_count(bench->store) > 0 || bench_value(bench, TELEMETRY_POINTS_SPOOLED) > 0) {
            assert_true(clock_monotonic_ns() < until_ns);
            uint64_t next_ns;
            struct queued *item = store_next(bench->store, false, clock_monotonic_ns(), &next_ns);
            if (item == NULL) {
                bench_step(bench);
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
        bench_finish(bench);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_walks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
