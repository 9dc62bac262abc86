/* SPDX-License-Identifier: Apache-2.0 */
/* The spool's thread, and the two lanes between it and the worker.
 *
 *   worker:  put, ack, let go, read → [lane down] → thread: the store's files
 *   worker:  events                 ← [lane up]   ← thread
 *
 * Each lane is a ConcurrencyKit ring with one producer and one consumer. A put that finds the lane
 * full is the caller's again; everything else must not get lost and waits in a list of its own side
 * until there is room. Waking is as in ring.c: the sleeper announces it, then looks once more.
 *
 * The thread takes all messages there are before it writes. So a disk that hangs for seconds costs
 * nothing for parcels that were delivered meanwhile: they are never written.
 *
 * Invariant: what the store does is done on the thread alone, and nothing of the worker's waits for
 * it, except spool_stop(). */
#include "ring/spool.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "ring/ck.h"
#include "ring/spool_store.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

enum {
    CACHE_LINE = 64,
    LANE_SLOTS = 4096,
    PUTS_MAX = LANE_SLOTS, /* taken in one turn */
    EVENTS_RETRY_MS = 5,   /* while the lane up is full */
    STATUS_WORDS = (sizeof(struct spool_status) + 7) / 8,
};

enum message_kind { MESSAGE_PUT, MESSAGE_ACK, MESSAGE_LET_GO, MESSAGE_READ };

struct message {
    enum message_kind kind;
    uint64_t sequence;
    struct parcel *parcel;
};

CK_RING_PROTOTYPE(message, message)
CK_RING_PROTOTYPE(event, spool_event)

/* What did not fit into a lane yet, in order. */
struct messages {
    struct message *items;
    size_t first, count, capacity;
};

struct events {
    struct spool_event *items;
    size_t first, count, capacity;
};

struct spool {
    /* the worker's */
    _Alignas(CACHE_LINE) struct messages later;
    bool stopped; /* the thread has ended */
    /* the thread's */
    _Alignas(CACHE_LINE) struct spool_store *store;
    struct events unsent;
    bool sent; /* events since the worker was last told */
    struct parcel **puts;
    bool *let_go; /* of the puts */
    size_t put_count;
    uint32_t reads;
    /* both */
    _Alignas(CACHE_LINE) ck_ring_t down;
    _Alignas(CACHE_LINE) ck_ring_t up;
    _Alignas(CACHE_LINE) _Atomic bool asleep; /* the thread */
    _Atomic bool told;                        /* the worker, of events it has not looked for yet */
    _Atomic bool waiting;                     /* the worker has messages in `later` */
    _Atomic bool stopping;
    _Atomic uint64_t status_version;
    _Atomic uint64_t status_words[STATUS_WORDS];
    /* from here on read only */
    struct message *down_slots;
    struct spool_event *up_slots;
    int bell; /* eventfd that wakes the thread */
    int wake_fd;
    pthread_t thread;
};

static void ring_bell(int fd)
{
    uint64_t one = 1;
    ssize_t written;
    do
        written = write(fd, &one, sizeof one);
    while (written < 0 && errno == EINTR);
    CHECK(written == sizeof one || errno == EAGAIN); /* EAGAIN: it is readable anyway */
}

/* What did not fit into the lane up. */
static void send_unsent(struct spool *spool)
{
    struct events *unsent = &spool->unsent;
    while (unsent->count > 0 &&
           ck_ring_enqueue_spsc_event(&spool->up, spool->up_slots, &unsent->items[unsent->first])) {
        unsent->first++;
        unsent->count--;
        spool->sent = true;
    }
    if (unsent->count == 0)
        unsent->first = 0;
}

/* ---- the worker's side ---- */

static bool send_message(struct spool *spool, struct message message)
{
    if (!ck_ring_enqueue_spsc_message(&spool->down, spool->down_slots, &message))
        return false;
    ck_pr_fence_memory(); /* the message is visible before `asleep` is read */
    if (atomic_load_explicit(&spool->asleep, memory_order_relaxed) &&
        atomic_exchange(&spool->asleep, false))
        ring_bell(spool->bell);
    return true;
}

/* True: nothing waits any more. */
static bool send_later(struct spool *spool)
{
    struct messages *later = &spool->later;
    while (later->count > 0 && send_message(spool, later->items[later->first])) {
        later->first++;
        later->count--;
    }
    if (later->count > 0)
        return false;
    if (later->first > 0) {
        later->first = 0;
        atomic_store(&spool->waiting, false);
    }
    return true;
}

/* Kept until there is room; the thread is told to say when. */
static void keep(struct spool *spool, struct message message)
{
    struct messages *later = &spool->later;
    if (later->first + later->count == later->capacity) {
        if (later->first > 0)
            memmove(later->items, later->items + later->first, later->count * sizeof *later->items);
        later->first = 0;
        if (later->count * 2 >= later->capacity) {
            later->capacity = later->capacity > 0 ? 2 * later->capacity : 256;
            later->items = xrealloc(later->items, later->capacity * sizeof *later->items);
        }
    }
    later->items[later->first + later->count++] = message;
    atomic_store(&spool->waiting, true);
    ring_bell(spool->bell);
}

static void send_surely(struct spool *spool, enum message_kind kind, uint64_t sequence)
{
    struct message message = {.kind = kind, .sequence = sequence};
    if (spool->stopped)
        return; /* at the next start it is as if it had got lost */
    if (!send_later(spool) || !send_message(spool, message))
        keep(spool, message);
}

bool spool_put(struct spool *spool, struct parcel *parcel)
{
    CHECK(parcel != NULL);
    return !spool->stopped && send_later(spool) &&
           send_message(spool, (struct message){.kind = MESSAGE_PUT, .parcel = parcel});
}

void spool_ack(struct spool *spool, uint64_t sequence)
{
    send_surely(spool, MESSAGE_ACK, sequence);
}

void spool_let_go(struct spool *spool, uint64_t sequence)
{
    send_surely(spool, MESSAGE_LET_GO, sequence);
}

void spool_read(struct spool *spool)
{
    send_surely(spool, MESSAGE_READ, 0);
}

bool spool_take_event(struct spool *spool, struct spool_event *ret_event)
{
    if (spool->stopped) { /* the thread's list is ours */
        send_unsent(spool);
        return ck_ring_dequeue_spsc_event(&spool->up, spool->up_slots, ret_event);
    }
    if (spool->later.count > 0)
        send_later(spool);
    if (ck_ring_dequeue_spsc_event(&spool->up, spool->up_slots, ret_event))
        return true;
    if (!atomic_load_explicit(&spool->told, memory_order_relaxed))
        return false;
    atomic_store(&spool->told, false);
    ck_pr_fence_memory(); /* `told` is visible before the lane is read again */
    return ck_ring_dequeue_spsc_event(&spool->up, spool->up_slots, ret_event);
}

void spool_read_status(const struct spool *spool, struct spool_status *ret_status)
{
    uint64_t words[STATUS_WORDS];
    for (;;) {
        uint64_t before = atomic_load_explicit(&spool->status_version, memory_order_acquire);
        for (size_t i = 0; i < STATUS_WORDS; i++)
            words[i] = atomic_load_explicit(&spool->status_words[i], memory_order_acquire);
        uint64_t after = atomic_load_explicit(&spool->status_version, memory_order_acquire);
        if (before == after && before % 2 == 0)
            break;
        sched_yield();
    }
    memcpy(ret_status, words, sizeof *ret_status);
}

/* ---- the thread's side ---- */

static struct spool_now read_clocks(void)
{
    return (struct spool_now){.ns = clock_monotonic_ns(), .wall_ns = clock_wall_ns()};
}

static void write_status(struct spool *spool)
{
    struct spool_status status;
    uint64_t words[STATUS_WORDS] = {0};
    spool_store_status(spool->store, &status);
    memcpy(words, &status, sizeof status);
    atomic_fetch_add_explicit(&spool->status_version, 1, memory_order_acq_rel);
    /* Released: a reader that sees a new word sees the odd version too, on any machine. */
    for (size_t i = 0; i < STATUS_WORDS; i++)
        atomic_store_explicit(&spool->status_words[i], words[i], memory_order_release);
    atomic_fetch_add_explicit(&spool->status_version, 1, memory_order_acq_rel);
}

static void emit(void *context, const struct spool_event *event)
{
    struct spool *spool = context;
    struct events *unsent = &spool->unsent;
    struct spool_event copy = *event;
    spool->sent = true;
    if (unsent->count == 0 && ck_ring_enqueue_spsc_event(&spool->up, spool->up_slots, &copy))
        return;
    if (unsent->first + unsent->count == unsent->capacity) {
        if (unsent->first > 0)
            memmove(unsent->items, unsent->items + unsent->first,
                    unsent->count * sizeof *unsent->items);
        unsent->first = 0;
        if (unsent->count * 2 >= unsent->capacity) {
            unsent->capacity = unsent->capacity > 0 ? 2 * unsent->capacity : 256;
            unsent->items = xrealloc(unsent->items, unsent->capacity * sizeof *unsent->items);
        }
    }
    unsent->items[unsent->first + unsent->count++] = copy;
}

/* Once per turn, and only where the worker has not been told already. */
static void tell_worker(struct spool *spool)
{
    send_unsent(spool);
    bool call = atomic_load(&spool->waiting);
    if (spool->sent) {
        ck_pr_fence_memory(); /* the events are visible before `told` is read */
        call = !atomic_exchange(&spool->told, true) || call;
        spool->sent = false;
    }
    if (call)
        ring_bell(spool->wake_fd);
}

/* A parcel that waits to be written, by its sequence; put_count: none. The newest first, for that
 * is where an answer so quick belongs. */
static size_t find_put(const struct spool *spool, uint64_t sequence)
{
    for (size_t i = spool->put_count; i > 0; i--)
        if (spool->puts[i - 1] != NULL && spool->puts[i - 1]->sequence == sequence)
            return i - 1;
    return spool->put_count;
}

/* Delivered before it was written: there is nothing to do. */
static void drop_put(struct spool *spool, size_t at)
{
    struct parcel *parcel = spool->puts[at];
    spool->puts[at] = NULL;
    emit(spool, &(struct spool_event){.kind = SPOOL_STORED,
                                      .sequence = parcel->sequence,
                                      .points = parcel->points,
                                      .parcel = parcel});
}

static void take_message(struct spool *spool, const struct message *message, struct spool_now now)
{
    size_t at;
    switch (message->kind) {
    case MESSAGE_PUT:
        spool->let_go[spool->put_count] = false;
        spool->puts[spool->put_count++] = message->parcel;
        break;
    case MESSAGE_ACK:
        if (spool_store_ack(spool->store, message->sequence, now))
            break;
        at = find_put(spool, message->sequence);
        if (at < spool->put_count)
            drop_put(spool, at);
        break;
    case MESSAGE_LET_GO:
        if (spool_store_let_go(spool->store, message->sequence))
            break;
        at = find_put(spool, message->sequence);
        if (at < spool->put_count)
            spool->let_go[at] = true;
        break;
    case MESSAGE_READ:
        spool->reads++;
        break;
    }
}

static bool take_messages(struct spool *spool, struct spool_now now)
{
    struct message message;
    bool any = false;
    for (int i = 0; i < PUTS_MAX && spool->put_count < PUTS_MAX; i++) {
        if (!ck_ring_dequeue_spsc_message(&spool->down, spool->down_slots, &message))
            break;
        take_message(spool, &message, now);
        any = true;
    }
    return any;
}

static void write_puts(struct spool *spool, struct spool_now now)
{
    size_t count = 0;
    for (size_t i = 0; i < spool->put_count; i++) {
        if (spool->puts[i] == NULL)
            continue;
        spool->let_go[count] = spool->let_go[i];
        spool->puts[count++] = spool->puts[i];
    }
    spool->put_count = 0;
    if (count == 0)
        return;
    uint64_t *released = NULL;
    size_t released_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (!spool->let_go[i])
            continue;
        if (released == NULL)
            released = xmalloc(count * sizeof *released);
        released[released_count++] = spool->puts[i]->sequence; /* the parcel may be gone later */
    }
    spool_store_put(spool->store, spool->puts, count, now);
    for (size_t i = 0; i < released_count; i++)
        spool_store_let_go(spool->store, released[i]);
    free(released);
}

/* Until something comes or is due. */
static void sleep_until(struct spool *spool, uint64_t due_ns)
{
    uint64_t now_ns = clock_monotonic_ns();
    uint64_t left_ms = due_ns > now_ns ? (due_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS : 0;
    int timeout_ms = left_ms < 1000 ? (int)left_ms : 1000;
    if (spool->unsent.count > 0 && timeout_ms > EVENTS_RETRY_MS)
        timeout_ms = EVENTS_RETRY_MS;
    atomic_store(&spool->asleep, true);
    ck_pr_fence_memory(); /* `asleep` is visible before the lane is read */
    if (ck_ring_size(&spool->down) == 0 && !atomic_load(&spool->stopping)) {
        struct pollfd bell = {.fd = spool->bell, .events = POLLIN};
        poll(&bell, 1, timeout_ms);
    }
    atomic_store(&spool->asleep, false);
    uint64_t rings;
    while (read(spool->bell, &rings, sizeof rings) < 0 && errno == EINTR)
        ;
}

static void *run(void *given)
{
    struct spool *spool = given;
    prctl(PR_SET_NAME, "spool");
    for (;;) {
        bool stopping = atomic_load(&spool->stopping); /* before the last look into the lane */
        struct spool_now now = read_clocks();
        bool any = take_messages(spool, now);
        write_puts(spool, now);
        uint64_t due_ns = spool_store_turn(spool->store, read_clocks());
        for (; spool->reads > 0; spool->reads--)
            spool_store_read(spool->store, now);
        write_status(spool);
        tell_worker(spool);
        if (any)
            continue;
        if (stopping)
            break;
        sleep_until(spool, due_ns);
    }
    spool_store_finish(spool->store, read_clocks());
    write_status(spool);
    spool_store_close(&spool->store, read_clocks());
    return NULL;
}

/* ---- life ---- */

static void release(struct spool *spool)
{
    free(spool->later.items);
    free(spool->unsent.items);
    free(spool->puts);
    free(spool->let_go);
    free(spool->down_slots);
    free(spool->up_slots);
    if (spool->bell >= 0)
        close(spool->bell);
    free(spool);
}

/* Signals are the main thread's. Blocked here, SIGXFSZ of a file that may not grow is EFBIG. */
static void start_thread(struct spool *spool)
{
    sigset_t all, before;
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    xdone(pthread_create(&spool->thread, NULL, run, spool) == 0);
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
}

bool spool_open(struct spool **ret_spool, const struct spool_settings *settings, int wake_fd,
                uint64_t *ret_next, struct error *error)
{
    struct spool *spool = xaligned(CACHE_LINE, sizeof *spool);
    ck_ring_init(&spool->down, LANE_SLOTS);
    ck_ring_init(&spool->up, LANE_SLOTS);
    spool->down_slots = xaligned(CACHE_LINE, LANE_SLOTS * sizeof *spool->down_slots);
    spool->up_slots = xaligned(CACHE_LINE, LANE_SLOTS * sizeof *spool->up_slots);
    spool->puts = xaligned(CACHE_LINE, PUTS_MAX * sizeof *spool->puts);
    spool->let_go = xaligned(CACHE_LINE, PUTS_MAX * sizeof *spool->let_go);
    spool->wake_fd = wake_fd;
    spool->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (spool->bell < 0) {
        error_set(error, "spool: eventfd: %s: raise the limit of open files (ulimit -n)",
                  strerror(errno));
        release(spool);
        return false;
    }
    spool->store = spool_store_open(settings, emit, spool, read_clocks(), error);
    if (spool->store == NULL) {
        release(spool);
        return false;
    }
    *ret_next = spool_store_next(spool->store);
    write_status(spool);
    start_thread(spool);
    *ret_spool = spool;
    return true;
}

void spool_stop(struct spool *spool)
{
    if (spool->stopped)
        return;
    while (!send_later(spool))
        sched_yield(); /* the thread makes room */
    atomic_store(&spool->stopping, true);
    ring_bell(spool->bell);
    CHECK(pthread_join(spool->thread, NULL) == 0);
    spool->stopped = true;
}

void spool_close(struct spool **spool)
{
    struct spool *dead = *spool;
    *spool = NULL;
    if (dead == NULL)
        return;
    spool_stop(dead);
    struct spool_event event;
    while (spool_take_event(dead, &event))
        parcel_release(&event.parcel);
    release(dead);
}
