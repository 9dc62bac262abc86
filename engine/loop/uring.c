/* SPDX-License-Identifier: Apache-2.0 */
/* The loop on io_uring: readiness by one-shot polls, one system call a turn that hands over all new
 * polls and waits. What was measured to go wrong, and the answer here:
 *  - multishot polls die silently when the completion queue overflows: only one-shot polls;
 *  - a poll in the kernel holds the file: close() sends no FIN, and the late completion arrives
 * when the number is somebody else's: disarm cancels by user_data and waits for the poll's own end;
 *  - a full submission queue: submit and go on, no poll is ever left out;
 *  - a wait that a signal interrupts returns success without a completion: only the queue counts;
 *  - the completion queue overflows: the kernel keeps what did not fit (NODROP is required) and the
 *    next call brings it; the queue is sized for two completions a watch up to the kernel's
 * maximum.
 *
 * The real ring starts disabled and is enabled by the first submission, so its single issuer is the
 * thread that runs the loop whoever created it; and it is restricted to the three operations used
 * here, as seccomp cannot see them. The probe at start does the same with a small ring and a real
 * poll, because sandboxes deny any of the three system calls.
 *
 * Thread: the loop's. */
#include "loop/backend.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"

enum {
    SQ_ENTRIES_MAX = 1024,
    CQ_ENTRIES_MIN = 64,
    CQ_ENTRIES_MAX = 65536, /* the kernel's (io_uring_setup(2)) */
    REAP_BATCH = 256,
    SUBMIT_TRIES = 1000, /* the kernel asks to be tried again when out of request memory */
    PROBE_LIMIT_MS = 1000,
    /* Without a timeout liburing waits on after a signal; a very long one overflows in the kernel.
     */
    LONGEST_WAIT_S = 3600,
};

#define WAKE_TOKEN   ((uint64_t)TOKEN_WAKE << (TOKEN_SLOT_BITS + TOKEN_GENERATION_BITS))
#define CANCEL_TOKEN ((uint64_t)TOKEN_CANCEL << (TOKEN_SLOT_BITS + TOKEN_GENERATION_BITS))

/* Best first; the kernel answers EINVAL to what it does not know. */
static const uint32_t flag_sets[LOOP_FLAG_SETS] = {
    IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_SUBMIT_ALL, /* 6.1 */
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,                               /* 5.19 */
    0,
};

static const uint8_t operations[] = {IORING_OP_NOP, IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL};

enum { OPERATION_COUNT = sizeof operations / sizeof operations[0] };

struct uring {
    struct io_uring ring;
    bool enabled, wake_armed;
};

static bool denied(struct error *error, const char *call, int code)
{
    const char *why = "";
    if (code == EPERM || code == EACCES)
        why = " (denied by a seccomp profile, as containers have, or by kernel.io_uring_disabled)";
    else if (code == ENOSYS)
        why = " (a kernel without it, or a container runtime that hides it)";
    else if (code == ENOMEM)
        why = " (before Linux 5.12 rings count as locked memory: raise LimitMEMLOCK)";
    else if (code == EMFILE || code == ENFILE)
        why = " (raise the open files limit)";
    return error_set(error, "io_uring is not usable: %s: %s%s", call, strerror(code), why);
}

/* A restricted ring, still disabled. */
static bool ring_open(struct io_uring *ring, const struct loop_sizes *sizes, struct error *error)
{
    int code = -EINVAL;
    for (uint32_t i = sizes->flag_set; i < LOOP_FLAG_SETS && code == -EINVAL; i++) {
        struct io_uring_params params = {
            .flags =
                flag_sets[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED,
            .cq_entries = sizes->cq_entries,
        };
        code = io_uring_queue_init_params(sizes->sq_entries, ring, &params);
    }
    if (code < 0)
        return denied(error, "io_uring_setup", -code);
    struct io_uring_restriction allowed[OPERATION_COUNT] = {0};
    for (int i = 0; i < OPERATION_COUNT; i++) {
        allowed[i].opcode = IORING_RESTRICTION_SQE_OP;
        allowed[i].sqe_op = operations[i];
    }
    code = io_uring_register((unsigned)ring->ring_fd, IORING_REGISTER_RESTRICTIONS, allowed,
                             OPERATION_COUNT);
    if (code < 0) {
        denied(error, "io_uring_register", -code);
    } else if (!(ring->features & IORING_FEAT_NODROP) || !(ring->features & IORING_FEAT_EXT_ARG)) {
        error_set(error, "io_uring is not usable: the kernel is older than Linux 5.11");
    } else {
        return true;
    }
    io_uring_queue_exit(ring);
    return false;
}

static int ring_enable(struct io_uring *ring)
{
    return io_uring_register((unsigned)ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

/* One NOP and one poll of a descriptor that is ready must both come back. */
static bool probe_polls(struct io_uring *ring, int ready_fd, struct error *error)
{
    int code = ring_enable(ring);
    if (code < 0)
        return denied(error, "io_uring_register", -code);
    struct io_uring_sqe *nop = io_uring_get_sqe(ring), *poll = io_uring_get_sqe(ring);
    CHECK(nop != NULL && poll != NULL);
    io_uring_prep_nop(nop);
    io_uring_sqe_set_data64(nop, 1);
    io_uring_prep_poll_add(poll, ready_fd, POLLIN);
    io_uring_sqe_set_data64(poll, 2);
    uint64_t seen = 0, deadline_ns = clock_monotonic_ns() + PROBE_LIMIT_MS * NS_PER_MS;
    while (seen != 3 && clock_monotonic_ns() < deadline_ns) {
        struct io_uring_cqe *cqe = NULL;
        struct __kernel_timespec wait = {.tv_nsec = 100 * (long long)NS_PER_MS};
        code = io_uring_submit_and_wait_timeout(ring, &cqe, 1, &wait, NULL);
        if (cqe == NULL && code < 0 && code != -ETIME && code != -EINTR)
            return denied(error, "io_uring_enter", -code);
        if (cqe == NULL)
            continue;
        if (cqe->res < 0)
            return denied(error, cqe->user_data == 1 ? "NOP" : "POLL_ADD", -cqe->res);
        seen |= cqe->user_data;
        io_uring_cqe_seen(ring, cqe);
    }
    if (seen == 3)
        return true;
    return error_set(error,
                     "io_uring is not usable: a poll of a ready descriptor did not complete");
}

static bool probe(uint32_t flag_set, struct error *error)
{
    struct io_uring ring;
    int ready_fd = eventfd(1, EFD_CLOEXEC);
    if (ready_fd < 0)
        return denied(error, "eventfd", errno);
    bool usable = ring_open(&ring, &(struct loop_sizes){8, 16, flag_set}, error);
    if (usable) {
        usable = probe_polls(&ring, ready_fd, error);
        io_uring_queue_exit(&ring);
    }
    close(ready_fd);
    return usable;
}

static uint32_t bounded(uint32_t value, uint32_t low, uint32_t high)
{
    return value < low ? low : value > high ? high : value;
}

static bool uring_open(struct loop *loop, const struct loop_sizes *asked, struct error *error)
{
    if (!probe(asked->flag_set, error))
        return false;
    struct uring *uring = xcalloc(1, sizeof *uring);
    uint32_t polls = loop->watches_max + 1;
    struct loop_sizes sizes = {
        .sq_entries = bounded(polls, CQ_ENTRIES_MIN / 2, SQ_ENTRIES_MAX),
        .cq_entries = bounded(2 * polls, CQ_ENTRIES_MIN, CQ_ENTRIES_MAX),
    };
    sizes.flag_set = asked->flag_set;
    if (asked->sq_entries != 0)
        sizes = *asked;
    if (!ring_open(&uring->ring, &sizes, error)) {
        free(uring);
        return false;
    }
    loop->kernel = uring;
    return true;
}

static void uring_close(struct loop *loop)
{
    struct uring *uring = loop->kernel;
    if (uring == NULL)
        return;
    io_uring_queue_exit(&uring->ring);
    free(uring);
    loop->kernel = NULL;
}

static void handle(struct loop *loop, struct uring *uring, const struct io_uring_cqe *cqe)
{
    switch (token_kind(cqe->user_data)) {
    case TOKEN_WAKE:
        loop_drain_wake(loop);
        uring->wake_armed = false;
        break;
    case TOKEN_CANCEL: /* found or not: the poll's own completion counts */
        break;
    case TOKEN_POLL:
        loop_complete(loop, cqe->user_data, cqe->res);
        break;
    }
}

/* Empties the completion queue, and what the kernel kept for want of room. Ends after at most all
 * that is armed, as nothing is submitted meanwhile. */
static void reap(struct loop *loop)
{
    struct uring *uring = loop->kernel;
    struct io_uring_cqe *batch[REAP_BATCH];
    unsigned count;
    do {
        if (io_uring_cq_has_overflow(&uring->ring))
            loop->stats.overflows++;
        count = io_uring_peek_batch_cqe(&uring->ring, batch, REAP_BATCH);
        for (unsigned i = 0; i < count; i++)
            handle(loop, uring, batch[i]);
        io_uring_cq_advance(&uring->ring, count);
    } while (count > 0);
}

static void enable_once(struct uring *uring)
{
    if (uring->enabled)
        return;
    CHECK(ring_enable(&uring->ring) == 0);
    uring->enabled = true;
}

/* Interrupted, or the kernel wants completions to be taken before it takes more: go on. */
static void check_enter(int code)
{
    CHECK(code >= 0 || code == -ETIME || code == -EINTR || code == -EBUSY || code == -EAGAIN);
}

static struct io_uring_sqe *next_sqe(struct loop *loop)
{
    struct uring *uring = loop->kernel;
    for (int tries = 0; tries < SUBMIT_TRIES; tries++) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
        if (sqe != NULL)
            return sqe;
        enable_once(uring);
        check_enter(io_uring_submit(&uring->ring));
        reap(loop);
    }
    bool kernel_takes_submissions = false;
    CHECK(kernel_takes_submissions);
    return NULL;
}

static void poll_queue(struct loop *loop, int fd, uint32_t events, uint64_t token)
{
    struct io_uring_sqe *sqe = next_sqe(loop);
    io_uring_prep_poll_add(sqe, fd, events);
    io_uring_sqe_set_data64(sqe, token);
}

static void uring_arm(struct loop *loop, struct watch *watch)
{
    poll_queue(loop, watch->fd, poll_bits(watch->events), watch_token(loop, watch));
}

static void uring_disarm(struct loop *loop, struct watch *watch)
{
    struct uring *uring = loop->kernel;
    reap(loop);
    if (watch->state != WATCH_CANCELLING)
        return; /* it had completed */
    struct io_uring_sqe *sqe = next_sqe(loop);
    io_uring_prep_cancel64(sqe, watch_token(loop, watch), 0);
    io_uring_sqe_set_data64(sqe, CANCEL_TOKEN);
    enable_once(uring);
    /* The poll ends by the cancellation or by itself; each wait brings at least one completion. */
    while (watch->state == WATCH_CANCELLING) {
        check_enter(io_uring_submit_and_wait(&uring->ring, 1));
        reap(loop);
    }
}

static void uring_collect(struct loop *loop, uint64_t wait_ns)
{
    struct uring *uring = loop->kernel;
    enable_once(uring);
    if (!uring->wake_armed) {
        poll_queue(loop, loop->wake_fd, POLLIN, WAKE_TOKEN);
        uring->wake_armed = true;
    }
    if (wait_ns == 0 || loop->ready_count > 0) {
        check_enter(io_uring_submit_and_get_events(&uring->ring));
    } else {
        struct io_uring_cqe *cqe = NULL;
        struct __kernel_timespec timeout = {
            .tv_sec = (long long)(wait_ns / NS_PER_S),
            .tv_nsec = (long long)(wait_ns % NS_PER_S),
        };
        if (wait_ns > LONGEST_WAIT_S * NS_PER_S)
            timeout = (struct __kernel_timespec){.tv_sec = LONGEST_WAIT_S};
        check_enter(io_uring_submit_and_wait_timeout(&uring->ring, &cqe, 1, &timeout, NULL));
    }
    reap(loop);
}

const struct backend uring_backend = {
    .kind = LOOP_IO_URING,
    .open = uring_open,
    .close = uring_close,
    .arm = uring_arm,
    .disarm = uring_disarm,
    .collect = uring_collect,
};
