/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Helpers for tests that run on both back ends. Included after cmocka.h. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "loop/backend.h"

static enum loop_kind kind; /* of the group that runs */
static uint32_t flag_set;   /* with io_uring: that of an older kernel */

static inline struct loop *make_loop(uint32_t watches_max)
{
    struct loop *loop = NULL;
    struct error error;
    const struct loop_sizes sizes = {.flag_set = flag_set};
    if (!loop_create_sized(&loop, kind, watches_max, &sizes, &error))
        fail_msg("%s", error.text);
    assert_int_equal(loop_kind_used(loop), kind);
    return loop;
}

static inline void make_pair(int pair[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
}

static inline void put_byte(int fd)
{
    assert_int_equal(write(fd, "x", 1), 1);
}

/* A watch that remembers its calls. */
struct seen {
    struct loop *loop;
    uint32_t watch, calls, ready;
    uint64_t now_ns;
};

static inline void note(void *owner, uint32_t ready, uint64_t now_ns)
{
    struct seen *seen = owner;
    seen->calls++;
    seen->ready = ready;
    seen->now_ns = now_ns;
}

static inline void open_seen(struct seen *seen, struct loop *loop)
{
    *seen = (struct seen){.loop = loop};
    seen->watch = loop_open(loop, note, seen);
    assert_true(seen->watch != UINT32_MAX);
}

/* One turn that must find something within five seconds, or nothing at all. */
static inline void turn(struct loop *loop)
{
    loop_turn(loop, clock_monotonic_ns() + 5 * NS_PER_S);
}

static inline void poll_once(struct loop *loop)
{
    loop_turn(loop, 0);
}

/* Runs the group on each back end, io_uring as on three ages of kernel; io_uring is left out,
 * aloud, where the machine denies it. */
static inline int run_on_both(const struct CMUnitTest *tests, size_t count)
{
    int failed = 0;
    for (uint32_t i = 0; i <= LOOP_FLAG_SETS; i++) {
        struct loop *loop = NULL;
        struct error error;
        kind = i == 0 ? LOOP_EPOLL : LOOP_IO_URING;
        flag_set = i == 0 ? 0 : i - 1;
        printf("on %s, flag set %u\n", kind == LOOP_EPOLL ? "epoll" : "io_uring", flag_set);
        if (!loop_create(&loop, kind, 1, &error)) {
            printf("left out: %s\n", error.text);
            failed += kind == LOOP_EPOLL;
            continue;
        }
        loop_destroy(&loop);
        failed += _cmocka_run_group_tests("both", tests, count, NULL, NULL);
    }
    return failed;
}
