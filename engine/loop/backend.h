/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdatomic.h>

#include "loop/loop.h"

/* What loop.c and its two back ends share; nobody else includes this, but tests. Everything here
 * belongs to the loop's thread, `woken` excepted. */

/* user_data of a kernel request: what it is for, whose place, and which arming of that place. */
enum { TOKEN_SLOT_BITS = 24, TOKEN_GENERATION_BITS = 32 };
enum token_kind { TOKEN_POLL = 1, TOKEN_WAKE = 2, TOKEN_CANCEL = 3 };

enum watch_state {
    WATCH_FREE,       /* nobody's */
    WATCH_IDLE,       /* opened, nothing of the kernel's refers to it */
    WATCH_ARMED,      /* one poll is queued or in the kernel */
    WATCH_CANCELLING, /* loop_disarm() waits for the poll's own completion */
    WATCH_READY,      /* completed and on the ready list, its callback has not run */
};

enum { WATCH_NONE = UINT32_MAX };

struct watch {
    loop_fn *fn;
    void *owner;
    int fd;
    uint32_t generation; /* counts armings: a completion of an earlier one is stale */
    uint32_t next;       /* WATCH_READY: ready list; WATCH_FREE: free list */
    uint32_t previous;   /* WATCH_READY */
    int registered_fd;   /* epoll: the fd of the last arming, + 1 so that zero is none */
    uint8_t state, events, ready;
};

/* What a test sets: small queues (zero: what `watches_max` asks for), and the io_uring flags of an
 * older kernel (zero: the best this one takes). */
struct loop_sizes {
    uint32_t sq_entries, cq_entries;
    uint32_t flag_set; /* below LOOP_FLAG_SETS */
};

enum { LOOP_FLAG_SETS = 3 };

struct loop {
    const struct backend *backend;
    void *kernel; /* the back end's */
    struct watch *watches;
    uint32_t watches_max, watches_used; /* places ever used: the rest of the array is untouched */
    uint32_t free_first;
    uint32_t ready_first, ready_last, ready_count;
    int wake_fd; /* eventfd */
    atomic_bool woken;
    bool dispatching;
    struct loop_stats stats;
    struct error fallback;
};

struct backend {
    enum loop_kind kind;
    bool (*open)(struct loop *loop, const struct loop_sizes *sizes, struct error *error);
    void (*close)(struct loop *loop); /* NULL in loop->kernel is fine */
    /* The watch is WATCH_ARMED already; what fails is reported by loop_complete(). */
    void (*arm)(struct loop *loop, struct watch *watch);
    /* From WATCH_CANCELLING; returns when loop_complete() has been called for it. */
    void (*disarm)(struct loop *loop, struct watch *watch);
    /* Hands everything armed to the kernel, waits up to `wait_ns` (0: not at all, UINT64_MAX: for
     * ever) for a first completion, and calls loop_complete() for all there are. */
    void (*collect)(struct loop *loop, uint64_t wait_ns);
};

extern const struct backend uring_backend, epoll_backend;

/* loop_create() with sizes. */
bool loop_create_sized(struct loop **ret_loop, enum loop_kind kind, uint32_t watches_max,
                       const struct loop_sizes *sizes, struct error *error);

uint64_t watch_token(const struct loop *loop, const struct watch *watch);
enum token_kind token_kind(uint64_t token);

/* A poll has ended with these poll(2) events, or with -errno. Runs nothing: marks the watch and
 * queues it. */
void loop_complete(struct loop *loop, uint64_t token, int32_t result);

/* The eventfd is readable. */
void loop_drain_wake(struct loop *loop);

/* poll(2) bits of LOOP_READ and LOOP_WRITE; those of epoll are the same numbers. */
uint32_t poll_bits(uint32_t events);
