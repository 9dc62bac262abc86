/* SPDX-License-Identifier: Apache-2.0 */
/* Messages from N producers to one consumer: one ck SPSC lane per producer (what ring/ is made of),
 * ck's own MPSC ring, and a queue under a mutex; each side yields when it has nothing to do. `ring`
 * is ring/ring.c as it is: pages with their checks, states and the way back. The argument is the
 * number of producers; a round moves MESSAGES from each. */
#include "perf/shim/bench.h"
#include "ring/ck.h"
#include "ring/ring.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

enum { MESSAGES = 40000, ROUNDS = 5, SLOTS = 1024, PRODUCERS_MAX = 8, RING_PAGES = 64 };

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
    uint32_t number;
};

static void *produce(void *argument)
{
    const struct producer *producer = argument;
    static char message;
    for (int i = 0; i < MESSAGES; i++) {
        while (!producer->queue->push(producer->number, &message))
            sched_yield();
    }
    return NULL;
}

static void move(struct bench *bench, const struct queue *queue)
{
    uint32_t producers = (uint32_t)bench_argument(bench);
    while (bench_next(bench)) {
        struct producer arguments[PRODUCERS_MAX];
        pthread_t threads[PRODUCERS_MAX];
        queue->open(producers);
        for (uint32_t i = 0; i < producers; i++) {
            arguments[i] = (struct producer){queue, i};
            if (pthread_create(&threads[i], NULL, produce, &arguments[i]) != 0)
                abort();
        }
        for (uint32_t left = producers * MESSAGES; left > 0;) {
            if (queue->take())
                left--;
            else
                sched_yield();
        }
        for (uint32_t i = 0; i < producers; i++)
            pthread_join(threads[i], NULL);
        queue->close();
    }
    bench_items(bench, (uint64_t)producers * MESSAGES);
}

static void move_lanes(struct bench *bench)
{
    move(bench, &lanes);
}

static void move_mpsc(struct bench *bench)
{
    move(bench, &mpsc);
}

static void move_mutex(struct bench *bench)
{
    move(bench, &mutexed);
}

static void move_pages(struct bench *bench)
{
    move(bench, &pages);
}

/* One thread, no contention: what a page costs beyond its points. */
static void page_trip(struct bench *bench)
{
    open_pages(1);
    while (bench_next(bench)) {
        push_page(0, NULL);
        bench_keep(take_page());
    }
    bench_items(bench, 1);
    close_pages();
}

int main(int argc, char **argv)
{
    static const int64_t producers[] = {1, 3};
    bench_add("page_trip", page_trip, 0);
    for (int i = 0; i < 2; i++) {
        bench_add_rounds("lanes", move_lanes, producers[i], ROUNDS);
        bench_add_rounds("ck_mpsc", move_mpsc, producers[i], ROUNDS);
        bench_add_rounds("mutex", move_mutex, producers[i], ROUNDS);
        bench_add_rounds("ring", move_pages, producers[i], ROUNDS);
    }
    bench_headline("ck_mpsc_message_3", "ck_mpsc");
    bench_headline("mutex_message_3", "mutex");
    bench_headline("lane_message_3", "lanes");
    return bench_main(argc, argv);
}
