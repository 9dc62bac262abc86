/* SPDX-License-Identifier: Apache-2.0 */
/* The half of the loop that does not depend on the kernel interface: places (watches), the list of
 * those that are ready, the turn, the wake-up.
 *
 * A turn collects first and acts afterwards. Collecting moves completed watches to the ready list;
 * then the callbacks run from its head. A callback may disarm or close a watch further down: it
 * leaves the list and will not be called. Completions that turn up while a callback waits for a
 * cancellation join the list's end. So nothing is lost and nothing is called twice.
 *
 * Every arming has a number of its own, carried by the kernel as user_data together with the place:
 * a completion that does not match is counted as stale and ignored. As loop_disarm() waits for the
 * poll's end, none should ever be seen; the counter proves it.
 *
 * Thread: the one that calls loop_arm() and loop_turn(); loop_create() and loop_destroy() may be
 * called by another while that one does not run. loop_wake() is for everybody. */
#include "loop/backend.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"

_Static_assert(EPOLLIN == POLLIN && EPOLLOUT == POLLOUT && EPOLLERR == POLLERR &&
                   EPOLLHUP == POLLHUP,
               "both back ends speak poll(2)");

uint64_t watch_token(const struct loop *loop, const struct watch *watch)
{
    uint64_t slot = (uint64_t)(watch - loop->watches);
    return (uint64_t)TOKEN_POLL << (TOKEN_SLOT_BITS + TOKEN_GENERATION_BITS) |
           slot << TOKEN_GENERATION_BITS | watch->generation;
}

enum token_kind token_kind(uint64_t token)
{
    return (enum token_kind)(token >> (TOKEN_SLOT_BITS + TOKEN_GENERATION_BITS));
}

uint32_t poll_bits(uint32_t events)
{
    return (events & LOOP_READ ? (uint32_t)POLLIN : 0) |
           (events & LOOP_WRITE ? (uint32_t)POLLOUT : 0);
}

static struct watch *watch_at(struct loop *loop, uint32_t slot)
{
    CHECK(slot < loop->watches_used && loop->watches[slot].state != WATCH_FREE);
    return &loop->watches[slot];
}

static void ready_push(struct loop *loop, struct watch *watch)
{
    uint32_t slot = (uint32_t)(watch - loop->watches);
    watch->next = WATCH_NONE;
    watch->previous = loop->ready_last;
    if (loop->ready_last == WATCH_NONE)
        loop->ready_first = slot;
    else
        loop->watches[loop->ready_last].next = slot;
    loop->ready_last = slot;
    loop->ready_count++;
    watch->state = WATCH_READY;
}

static void ready_remove(struct loop *loop, struct watch *watch)
{
    if (watch->previous == WATCH_NONE)
        loop->ready_first = watch->next;
    else
        loop->watches[watch->previous].next = watch->next;
    if (watch->next == WATCH_NONE)
        loop->ready_last = watch->previous;
    else
        loop->watches[watch->next].previous = watch->previous;
    loop->ready_count--;
    watch->state = WATCH_IDLE;
}

/* An error or a hang-up makes what was asked for ready too: the read or write tells the reason. */
static uint8_t ready_bits(uint32_t asked, int32_t result)
{
    if (result < 0 || result & (POLLERR | POLLHUP | POLLNVAL))
        return (uint8_t)(asked | LOOP_ERROR);
    return (uint8_t)((result & POLLIN ? LOOP_READ : 0) | (result & POLLOUT ? LOOP_WRITE : 0));
}

void loop_complete(struct loop *loop, uint64_t token, int32_t result)
{
    uint32_t slot = (uint32_t)(token >> TOKEN_GENERATION_BITS) & ((1u << TOKEN_SLOT_BITS) - 1);
    struct watch *watch = &loop->watches[slot];
    loop->stats.completions++;
    if (slot >= loop->watches_used || watch->generation != (uint32_t)token) {
        loop->stats.stale++;
    } else if (watch->state == WATCH_CANCELLING) {
        watch->state = WATCH_IDLE;
    } else if (watch->state == WATCH_ARMED) {
        watch->ready = ready_bits(watch->events, result);
        ready_push(loop, watch);
    } else {
        loop->stats.stale++;
    }
}

/* The flag last: a loop_wake() that comes between finds it set and writes nothing, but this turn
 * returns anyway. The other way round the count would be gone and the flag would stay set. */
void loop_drain_wake(struct loop *loop)
{
    uint64_t count;
    ssize_t bytes = read(loop->wake_fd, &count, sizeof count);
    (void)bytes; /* EAGAIN: nothing to drain */
    atomic_exchange_explicit(&loop->woken, false, memory_order_acq_rel);
}

bool loop_create_sized(struct loop **ret_loop, enum loop_kind kind, uint32_t watches_max,
                       const struct loop_sizes *sizes, struct error *error)
{
    CHECK(watches_max > 0 && watches_max < 1u << TOKEN_SLOT_BITS);
    struct loop *loop = xcalloc(1, sizeof *loop);
    loop->wake_fd = -1;
    loop->free_first = loop->ready_first = loop->ready_last = WATCH_NONE;
    loop->watches_max = watches_max;
    loop->watches = calloc(watches_max, sizeof *loop->watches);
    if (loop->watches == NULL) {
        error_set(error, "event loop: no memory for %u sockets; lower service.connections_max",
                  watches_max);
        goto fail;
    }
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->wake_fd < 0) {
        error_set(error, "event loop: eventfd: %s; raise the open files limit (ulimit -n)",
                  strerror(errno));
        goto fail;
    }
    if (kind != LOOP_EPOLL) {
        loop->backend = &uring_backend;
        if (uring_backend.open(loop, sizes, &loop->fallback)) {
            loop->fallback.text[0] = 0;
            *ret_loop = loop;
            return true;
        }
        if (kind == LOOP_IO_URING) {
            error_set(error, "%s; or set service.loop to auto or epoll", loop->fallback.text);
            goto fail;
        }
    }
    loop->backend = &epoll_backend;
    if (!epoll_backend.open(loop, sizes, error))
        goto fail;
    if (kind == LOOP_EPOLL)
        error_set(&loop->fallback, "epoll was asked for");
    *ret_loop = loop;
    return true;
fail:
    loop_destroy(&loop);
    return false;
}

bool loop_create(struct loop **ret_loop, enum loop_kind kind, uint32_t watches_max,
                 struct error *error)
{
    return loop_create_sized(ret_loop, kind, watches_max, &(struct loop_sizes){0}, error);
}

void loop_destroy(struct loop **loop_place)
{
    struct loop *loop = *loop_place;
    if (loop == NULL)
        return;
    if (loop->backend != NULL)
        loop->backend->close(loop);
    if (loop->wake_fd >= 0)
        close(loop->wake_fd);
    free(loop->watches);
    free(loop);
    *loop_place = NULL;
}

enum loop_kind loop_kind_used(const struct loop *loop)
{
    return loop->backend->kind;
}

const char *loop_fallback_reason(const struct loop *loop)
{
    return loop->fallback.text;
}

uint32_t loop_open(struct loop *loop, loop_fn *fn, void *owner)
{
    uint32_t slot = loop->free_first;
    if (slot != WATCH_NONE)
        loop->free_first = loop->watches[slot].next;
    else if (loop->watches_used < loop->watches_max)
        slot = loop->watches_used++;
    else
        return UINT32_MAX;
    struct watch *watch = &loop->watches[slot];
    watch->fn = fn;
    watch->owner = owner;
    watch->fd = -1;
    watch->state = WATCH_IDLE;
    return slot;
}

void loop_arm(struct loop *loop, uint32_t slot, int fd, uint32_t events)
{
    struct watch *watch = watch_at(loop, slot);
    CHECK((events & (LOOP_READ | LOOP_WRITE)) != 0 && (events & ~3u) == 0);
    if (watch->state == WATCH_ARMED && watch->fd == fd && watch->events == events)
        return;
    loop_disarm(loop, slot);
    watch->fd = fd;
    watch->events = (uint8_t)events;
    watch->generation++;
    watch->state = WATCH_ARMED;
    loop->stats.arms++;
    loop->backend->arm(loop, watch);
}

void loop_disarm(struct loop *loop, uint32_t slot)
{
    struct watch *watch = watch_at(loop, slot);
    if (watch->state == WATCH_READY)
        ready_remove(loop, watch);
    if (watch->state != WATCH_ARMED)
        return;
    loop->stats.disarms++;
    watch->state = WATCH_CANCELLING;
    loop->backend->disarm(loop, watch);
    CHECK(watch->state == WATCH_IDLE);
}

void loop_close(struct loop *loop, uint32_t slot)
{
    loop_disarm(loop, slot);
    struct watch *watch = watch_at(loop, slot);
    watch->state = WATCH_FREE;
    watch->generation++;
    watch->next = loop->free_first;
    loop->free_first = slot;
}

/* As many as were ready when it began: what callbacks make ready waits for the next turn. */
static void dispatch(struct loop *loop, uint64_t now_ns)
{
    loop->dispatching = true;
    for (uint32_t left = loop->ready_count; left > 0 && loop->ready_count > 0; left--) {
        struct watch *watch = &loop->watches[loop->ready_first];
        ready_remove(loop, watch);
        watch->fn(watch->owner, watch->ready, now_ns);
    }
    loop->dispatching = false;
}

uint64_t loop_turn(struct loop *loop, uint64_t deadline_ns)
{
    CHECK(!loop->dispatching);
    uint64_t wait_ns = 0;
    if (loop->ready_count == 0 && deadline_ns == UINT64_MAX) {
        wait_ns = UINT64_MAX;
    } else if (loop->ready_count == 0 && deadline_ns > 0) {
        uint64_t now_ns = clock_monotonic_ns();
        wait_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    }
    loop->backend->collect(loop, wait_ns);
    loop->stats.turns++;
    uint64_t now_ns = clock_monotonic_ns();
    dispatch(loop, now_ns);
    return now_ns;
}

void loop_wake(struct loop *loop)
{
    if (atomic_exchange_explicit(&loop->woken, true, memory_order_acq_rel))
        return; /* a wake-up is under way already */
    int saved_errno = errno;
    ssize_t written = write(loop->wake_fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)written; /* only EAGAIN when the counter is full, and then it is readable */
    errno = saved_errno;
}

struct loop_stats loop_stats(const struct loop *loop)
{
    return loop->stats;
}
