/* SPDX-License-Identifier: Apache-2.0 */
/* Pages between real threads: each arrives once, in its shard's order, with its values; pages are
 * reused; no wake-up is lost (a worker that sleeps too long fails the test); misuse aborts. */
#include "ring/ring.h"

#include "base/random.h"
#include "tests/ring/dies.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

enum { SHARDS = 4, PAGES = 5, LOST_WAKEUP_MS = 20000 };

static const struct metric metric = {.name = "m", .unit = "1", .description = ""};
static const struct attrs no_attrs = {.tag = ATTRS_POINT};
static const struct attrs resource_attrs = {.tag = ATTRS_RESOURCE};
static const struct resource resource = {.variants = {&resource_attrs}};

static struct ring *open_ring(uint32_t shards, uint32_t pages)
{
    struct ring *ring;
    struct error error = {0};
    assert_true(ring_create(&ring, shards, pages, &error));
    return ring;
}

static int64_t value_of(uint32_t shard, uint64_t sequence, uint32_t point)
{
    return (int64_t)((uint64_t)shard << 56 | sequence << 16 | point);
}

static void fill(struct page *page, uint64_t sequence)
{
    uint32_t count = (uint32_t)(sequence % 9); /* sometimes none */
    page_reset(page, 0, sequence);
    struct point *points = page_begin_run(page, &metric, NULL, &resource, sequence);
    for (uint32_t i = 0; i < count; i++)
        points[i] =
            (struct point){.attrs = &no_attrs, .value.integer = value_of(page->shard, sequence, i)};
    page_end_run(page, count);
}

static bool holds(const struct page *page, uint64_t sequence)
{
    bool good = page->sequence == sequence && page->scrape_start_ns == sequence &&
                page->pushed_ns == sequence + 1 && page->point_count == sequence % 9;
    for (uint32_t i = 0; i < page->point_count; i++)
        good =
            good && page_points_const(page)[i].value.integer == value_of(page->shard, sequence, i);
    return good;
}

struct producer {
    struct ring *ring;
    uint32_t shard;
    uint64_t pushes;
    bool pauses; /* lets the worker run dry and sleep */
    bool good;
    uint64_t waits;
};

static void *produce(void *argument)
{
    struct producer *producer = argument;
    struct ring *ring = producer->ring;
    struct random random = {.state = producer->shard};
    producer->good = true;
    for (uint64_t sequence = 1; sequence <= producer->pushes; sequence++) {
        struct page *page;
        while (!(page = ring_acquire(ring, producer->shard))) {
            producer->waits++;
            sched_yield();
        }
        if (random_below(&random, 8) == 0) { /* changes its mind once */
            ring_release(ring, page);
            page = ring_acquire(ring, producer->shard);
        }
        fill(page, sequence);
        producer->good &= ring_next_sequence(ring, producer->shard) == sequence;
        ring_push(ring, page, sequence + 1);
        uint64_t returned = ring_returned_sequence(ring, producer->shard);
        producer->good &= returned <= sequence && returned + PAGES >= sequence;
        if (producer->pauses && random_below(&random, 3) == 0)
            nanosleep(&(struct timespec){.tv_nsec = (long)random_below(&random, 60000)}, NULL);
    }
    return NULL;
}

struct outcome {
    uint64_t taken, sleeps;
    bool good;
};

/* The worker: sleeps only as ring_try_sleep() allows. Takes `expected` pages. */
static struct outcome consume(struct ring *ring, uint64_t expected)
{
    struct outcome outcome = {.good = true};
    uint64_t next[SHARDS] = {1, 1, 1, 1};
    struct pollfd wake = {.fd = ring_wake_fd(ring), .events = POLLIN};
    while (outcome.taken < expected) {
        struct page *page = ring_take(ring);
        if (page) {
            outcome.good &= holds(page, next[page->shard]++);
            outcome.taken++;
            ring_give(ring, page);
            continue;
        }
        if (!ring_try_sleep(ring, 0))
            continue;
        outcome.sleeps++;
        if (poll(&wake, 1, LOST_WAKEUP_MS) <= 0) {
            outcome.good = false; /* a lost wake-up */
            return outcome;
        }
        ring_awake(ring);
    }
    return outcome;
}

static struct outcome run_threads(uint64_t pushes, bool pauses)
{
    struct ring *ring = open_ring(SHARDS, PAGES);
    struct producer producers[SHARDS];
    pthread_t threads[SHARDS];
    for (uint32_t i = 0; i < SHARDS; i++) {
        producers[i] =
            (struct producer){.ring = ring, .shard = i, .pushes = pushes, .pauses = pauses};
        assert_int_equal(pthread_create(&threads[i], NULL, produce, &producers[i]), 0);
    }
    struct outcome outcome = consume(ring, SHARDS * pushes);
    for (uint32_t i = 0; i < SHARDS; i++) {
        pthread_join(threads[i], NULL);
        assert_true(producers[i].good);
        assert_int_equal(ring_returned_sequence(ring, i), pushes);
        assert_int_equal(ring_next_sequence(ring, i), pushes + 1);
    }
    assert_true(outcome.good);
    assert_int_equal(outcome.taken, SHARDS * pushes);
    assert_null(ring_take(ring));
    assert_int_equal(ring_waiting(ring), 0);
    ring_destroy(&ring);
    return outcome;
}

static void test_flood(void **state)
{
    (void)state;
    run_threads(20000, false);
}

static void test_sleep_and_wake(void **state)
{
    (void)state;
    struct outcome outcome = run_threads(1500, true);
    assert_true(outcome.sleeps > 100);
}

/* Pages are finite, come back through the return lane, and are the same ones. */
static void test_return_lane(void **state)
{
    (void)state;
    struct ring *ring = open_ring(1, 3);
    struct page *first[3], *again[3];
    for (int i = 0; i < 3; i++) {
        first[i] = ring_acquire(ring, 0);
        fill(first[i], (uint64_t)i + 1);
        ring_push(ring, first[i], 0);
    }
    assert_null(ring_acquire(ring, 0));
    assert_int_equal(ring_waiting(ring), 3);
    assert_true(ring_fill(ring) > 0 && ring_fill(ring) <= 1);
    assert_int_equal(ring_returned_sequence(ring, 0), 0);
    for (int i = 0; i < 3; i++) {
        struct page *page = ring_take(ring);
        assert_ptr_equal(page, first[i]);
        assert_int_equal(ring_waiting(ring), 2 - i);
        ring_give(ring, page);
        assert_int_equal(ring_returned_sequence(ring, 0), i + 1);
    }
    for (int i = 0; i < 3; i++) {
        again[i] = ring_acquire(ring, 0);
        assert_true(again[i] == first[0] || again[i] == first[1] || again[i] == first[2]);
        for (int j = 0; j < i; j++)
            assert_ptr_not_equal(again[i], again[j]);
    }
    assert_null(ring_acquire(ring, 0));
    ring_destroy(&ring);
    assert_null(ring);
    ring_destroy(&ring);
}

/* A shard with much to say does not starve the others. */
static void test_sweep_is_fair(void **state)
{
    (void)state;
    struct ring *ring = open_ring(3, 4);
    static const uint32_t pushed[] = {0, 0, 0, 2, 2, 1};
    static const uint32_t expected[] = {0, 1, 2, 0, 2, 0};
    for (int i = 0; i < 6; i++) {
        struct page *page = ring_acquire(ring, pushed[i]);
        page_reset(page, 0, 0);
        ring_push(ring, page, 0);
    }
    for (int i = 0; i < 6; i++) {
        struct page *page = ring_take(ring);
        assert_int_equal(page->shard, expected[i]);
        ring_give(ring, page);
    }
    ring_destroy(&ring);
}

static int readable(struct ring *ring)
{
    struct pollfd wake = {.fd = ring_wake_fd(ring), .events = POLLIN};
    return poll(&wake, 1, 0);
}

static void push_one(struct ring *ring)
{
    struct page *page = ring_acquire(ring, 0);
    page_reset(page, 0, 0);
    ring_push(ring, page, 0);
}

/* The descriptor is written once per sleep, never while the worker is awake. */
static void test_wake_protocol(void **state)
{
    (void)state;
    struct ring *ring = open_ring(1, 4);
    push_one(ring);
    assert_int_equal(readable(ring), 0);
    assert_false(ring_try_sleep(ring, 0)); /* there is a page */
    push_one(ring);
    assert_int_equal(readable(ring), 0);
    ring_give(ring, ring_take(ring));
    ring_give(ring, ring_take(ring));
    assert_true(ring_try_sleep(ring, 0));
    push_one(ring);
    push_one(ring);
    assert_int_equal(readable(ring), 1);
    uint64_t wakes = 0;
    assert_int_equal(read(ring_wake_fd(ring), &wakes, sizeof wakes), sizeof wakes);
    assert_int_equal(wakes, 1);
    ring_awake(ring);
    assert_int_equal(readable(ring), 0);
    ring_wake(ring); /* a reason of one's own, before the worker sleeps */
    assert_int_equal(readable(ring), 1);
    ring_awake(ring);
    assert_int_equal(readable(ring), 0);
    ring_destroy(&ring);
}

static void push_twice(void *ring)
{
    struct page *page = ring_acquire(ring, 0);
    page_reset(page, 0, 0);
    ring_push(ring, page, 0);
    ring_push(ring, page, 0);
}

static void give_out_of_order(void *ring)
{
    push_one(ring);
    push_one(ring);
    struct page *first = ring_take(ring), *second = ring_take(ring);
    (void)first;
    ring_give(ring, second);
}

static void release_what_was_pushed(void *ring)
{
    struct page *page = ring_acquire(ring, 0);
    page_reset(page, 0, 0);
    ring_push(ring, page, 0);
    ring_release(ring, page);
}

static void touch_what_was_pushed(void *ring)
{
    struct page *page = ring_acquire(ring, 0);
    page_reset(page, 0, 0);
    ring_push(ring, page, 0);
    page_begin_run(page, &metric, NULL, &resource, 0);
    ring_take(ring);
}

static void no_such_shard(void *ring)
{
    ring_acquire(ring, 1);
}

static void test_misuse_dies(void **state)
{
    (void)state;
    void (*const acts[])(void *) = {push_twice, give_out_of_order, release_what_was_pushed,
                                    touch_what_was_pushed, no_such_shard};
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
        struct ring *ring = open_ring(1, 4);
        assert_true(dies(acts[i], ring));
        ring_destroy(&ring);
    }
}

static void test_bad_sizes(void **state)
{
    (void)state;
    static const uint32_t sizes[][2] = {{0, 1}, {LIMIT_SHARDS + 1, 1}, {1, 0}, {1, 1u << 20}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct ring *ring = NULL;
        struct error error = {0};
        assert_false(ring_create(&ring, sizes[i][0], sizes[i][1], &error));
        assert_null(ring);
        assert_non_null(strstr(error.text, "possible"));
    }
}

static void level_too_high(void *ring)
{
    ring_put_pressure(ring, 0, RING_PRESSURE_MAX + 1);
}

/* A number a route, 0 until the worker says otherwise. */
static void test_pressure(void **state)
{
    (void)state;
    struct ring *ring = open_ring(2, 4);
    for (uint32_t route = 0; route < 32; route++)
        assert_int_equal(ring_pressure(ring, route), 0);
    ring_put_pressure(ring, 0, RING_PRESSURE_MAX);
    ring_put_pressure(ring, 31, 2);
    ring_put_pressure(ring, 0, 1);
    for (uint32_t route = 0; route < 32; route++)
        assert_int_equal(ring_pressure(ring, route), route == 0 ? 1 : route == 31 ? 2 : 0);
    assert_true(dies(level_too_high, ring));
    ring_destroy(&ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flood),         cmocka_unit_test(test_sleep_and_wake),
        cmocka_unit_test(test_return_lane),   cmocka_unit_test(test_sweep_is_fair),
        cmocka_unit_test(test_wake_protocol), cmocka_unit_test(test_misuse_dies),
        cmocka_unit_test(test_bad_sizes),     cmocka_unit_test(test_pressure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
