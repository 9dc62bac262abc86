/* SPDX-License-Identifier: Apache-2.0 */
/* Messages from N producers to one consumer: one ck SPSC lane per producer (what ring/ is made of),
 * ck's own MPSC ring, and a queue under a mutex; each side yields when it has nothing to do. `ring`
 * is ring/ring.c as it is: pages with their checks, states and the way back. The argument is the
 * number of producers; a round moves MESSAGES between them, or as many as it can in ROUND_LIMIT_NS:
 * ck's MPSC enqueue spins for a producer that was preempted in the middle, a time slice each.
 * Floors: `lane_trip`, a message into a lane and out of it on one thread, for the lanes; the lanes
 * for all else. */
#include "perf/shim/bench.h"
#include "ring/ck.h"
#include "ring/ring.h"

#include "base/clock.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { MESSAGES = 240000, ROUNDS = 5, SLOTS = 1024, PRODUCERS_MAX = 8, RING_PAGES = 64 };
#define ROUND_LIMIT_NS (250 * NS_PER_MS)
_Static_assert(MESSAGES % 3 == 0 && MESSAGES % PRODUCERS_MAX == 0, "producers push equally many");

/* What a kind of queue offers to the common harness. */
struct queue {
    void (*open)(uint32_t producers);
    void (*close)(void);
    bool (*push)(uint32_t producer, void *message); /* false: full */
    void *(*take)(void);                            /* NULL: empty */
};

/* ---- lanes and MPSC, both from ck ---- */

static struct {
    _Alignas(64) ck_ring_t ring; /* its cache lines are its own */
} rings[PRODUCERS_MAX];
static ck_ring_buffer_t slots[PRODUCERS_MAX][SLOTS];
static uint32_t ring_count, sweep;

static void open_lanes(uint32_t producers)
{
    ring_count = producers;
    sweep = 0;
    for (uint32_t i = 0; i < producers; i++)
        ck_ring_init(&rings[i].ring, SLOTS);
}

static void close_nothing(void)
{
}

static bool push_lane(uint32_t producer, void *message)
{
    return ck_ring_enqueue_spsc(&rings[producer].ring, slots[producer], message);
}

static void *take_lane(void)
{
    void *message;
    for (uint32_t i = 0; i < ring_count; i++) {
        uint32_t lane = sweep;
        sweep = sweep + 1 < ring_count ? sweep + 1 : 0;
        if (ck_ring_dequeue_spsc(&rings[lane].ring, slots[lane], &message))
            return message;
    }
    return NULL;
}

static bool push_mpsc(uint32_t producer, void *message)
{
    (void)producer;
    return ck_ring_enqueue_mpsc(&rings[0].ring, slots[0], message);
}

static void *take_mpsc(void)
{
    void *message;
    return ck_ring_dequeue_mpsc(&rings[0].ring, slots[0], &message) ? message : NULL;
}

/* ---- mutex ---- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static void *queue_slots[SLOTS];
static uint32_t queue_head, queue_tail;

static void open_mutex(uint32_t producers)
{
    (void)producers;
    queue_head = queue_tail = 0;
}

static bool push_mutex(uint32_t producer, void *message)
{
    (void)producer;
    pthread_mutex_lock(&mutex);
    bool room = queue_tail - queue_head < SLOTS;
    if (room)
        queue_slots[queue_tail++ % SLOTS] = message;
    pthread_mutex_unlock(&mutex);
    return room;
}

static void *take_mutex(void)
{
    pthread_mutex_lock(&mutex);
    void *message = queue_head == queue_tail ? NULL : queue_slots[queue_head++ % SLOTS];
    pthread_mutex_unlock(&mutex);
    return message;
}

/* ---- ring/ring.c, with pages and their return ---- */

static struct ring *page_ring;

static void open_pages(uint32_t producers)
{
    struct error error;
    if (!ring_create(&page_ring, producers, RING_PAGES, &error))
        abort();
}

static void close_pages(void)
{
    ring_destroy(&page_ring);
}

static bool push_page(uint32_t producer, void *message)
{
    (void)message;
    struct page *page = ring_acquire(page_ring, producer);
    if (!page)
        return false;
    page_reset(page, 0, 0);
    ring_push(page_ring, page, 0);
    return true;
}

static void *take_page(void)
{
    struct page *page = ring_take(page_ring);
    if (page)
        ring_give(page_ring, page);
    return page;
}

/* ---- the harness ---- */

static const struct queue lanes = {open_lanes, close_nothing, push_lane, take_lane};
static const struct queue mpsc = {open_lanes, close_nothing, push_mpsc, take_mpsc};
static const struct queue mutexed = {open_mutex, close_nothing, push_mutex, take_mutex};
static const struct queue pages = {open_pages, close_pages, push_page, take_page};

struct producer {
    const struct queue *queue;
    uint32_t number, messages;
};

static atomic_bool over; /* the round's time is up */

static bool is_over(void)
{
    return atomic_load_explicit(&over, memory_order_relaxed);
}

static void *produce(void *argument)
{
    const struct producer *producer = argument;
    static char message;
    for (uint32_t i = 0; i < producer->messages && !is_over(); i++) {
        while (!producer->queue->push(producer->number, &message) && !is_over())
            sched_yield();
    }
    return NULL;
}

/* Takes up to `messages`, as long as there is time. */
static uint32_t consume(const struct queue *queue, uint32_t messages)
{
    uint64_t end_ns = clock_monotonic_ns() + ROUND_LIMIT_NS;
    uint32_t taken = 0;
    while (taken < messages) {
        if (queue->take()) {
            taken++;
            continue;
        }
        if (clock_monotonic_ns() > end_ns)
            break;
        sched_yield();
    }
    return taken;
}

static void move(struct bench *bench)
{
    const struct queue *queue = bench_data(bench);
    uint32_t producers = (uint32_t)bench_argument(bench);
    uint64_t moved = 0, rounds = 0;
    while (bench_next(bench)) {
        struct producer arguments[PRODUCERS_MAX];
        pthread_t threads[PRODUCERS_MAX];
        queue->open(producers);
        atomic_store(&over, false);
        for (uint32_t i = 0; i < producers; i++) {
            arguments[i] = (struct producer){queue, i, MESSAGES / producers};
            if (pthread_create(&threads[i], NULL, produce, &arguments[i]) != 0)
                abort();
        }
        moved += consume(queue, MESSAGES);
        atomic_store(&over, true);
        for (uint32_t i = 0; i < producers; i++)
            pthread_join(threads[i], NULL);
        while (queue->take())
            moved++;
        queue->close();
        rounds++;
    }
    if (moved < rounds)
        bench_fail(bench, "nothing moved in time");
    else
        bench_items(bench, moved / rounds);
}

/* One thread, no contention: what a page costs beyond its points. */
static void trip(struct bench *bench)
{
    enum { TRIPS = 100 };
    const struct queue *queue = bench_data(bench);
    static char message;
    queue->open(1);
    while (bench_next(bench))
        for (int i = 0; i < TRIPS; i++) {
            queue->push(0, &message);
            bench_keep(queue->take());
        }
    bench_items(bench, TRIPS);
    queue->close();
}

/* N producers, beside lanes of as many. */
#define MOVED(n)                                                                                   \
    {"lanes", move, n, &lanes, "message", "lane_trip", ROUNDS, 0},                                 \
        {"ck_mpsc", move, n, &mpsc, "message", "lanes/" #n, ROUNDS, 0},                            \
        {"mutex", move, n, &mutexed, "message", "lanes/" #n, ROUNDS, 0},                           \
    {                                                                                              \
        "ring", move, n, &pages, "page", "lanes/" #n, ROUNDS, 0                                    \
    }

static const struct bench_case cases[] = {
    {"lane_trip", trip, .data = &lanes, .unit = "message"},
    {"mpsc_trip", trip, .data = &mpsc, .unit = "message", .floor = "lane_trip"},
    {"mutex_trip", trip, .data = &mutexed, .unit = "message", .floor = "lane_trip"},
    {"page_trip", trip, .data = &pages, .unit = "page", .floor = "lane_trip"},
    MOVED(1),
    MOVED(2),
    MOVED(3),
    MOVED(8),
};

int main(int argc, char **argv)
{
    bench_add_cases(cases, sizeof cases / sizeof *cases);
    bench_headline("ck_mpsc_message_3", "ck_mpsc/3");
    bench_headline("mutex_message_3", "mutex/3");
    bench_headline("lane_message_3", "lanes/3");
    return bench_main(argc, argv);
}
