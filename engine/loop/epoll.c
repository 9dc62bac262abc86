/* SPDX-License-Identifier: Apache-2.0 */
/* The loop on epoll, for kernels and containers that forbid io_uring. One-shot registrations give
 * io_uring's one-shot polls: an event disables its registration, arming again is one epoll_ctl.
 *
 * A disabled registration stays in the set until its file is closed, which takes it out by itself:
 * the owner may close without telling us. So a later arming modifies what it left and adds where
 * nothing is left, and never deletes by an old number that may be another watch's by now. At most
 * one watch may be armed for a descriptor (io_uring would allow more).
 *
 * Thread: the loop's. */
#include "loop/backend.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"

enum { EVENTS_PER_WAIT = 512 };

struct epoll {
    int fd;
    bool milliseconds; /* no epoll_pwait2 (before Linux 5.11, or forbidden): rounds up */
    struct epoll_event events[EVENTS_PER_WAIT];
};

static void epoll_close(struct loop *loop)
{
    struct epoll *epoll = loop->kernel;
    if (epoll == NULL)
        return;
    if (epoll->fd >= 0)
        close(epoll->fd);
    free(epoll);
    loop->kernel = NULL;
}

static bool epoll_open(struct loop *loop, const struct loop_sizes *sizes, struct error *error)
{
    (void)sizes;
    struct epoll *epoll = xcalloc(1, sizeof *epoll);
    loop->kernel = epoll;
    epoll->fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {
        .events = EPOLLIN,
        .data.u64 = (uint64_t)TOKEN_WAKE << (TOKEN_SLOT_BITS + TOKEN_GENERATION_BITS),
    };
    if (epoll->fd >= 0 && epoll_ctl(epoll->fd, EPOLL_CTL_ADD, loop->wake_fd, &event) == 0)
        return true;
    error_set(error, "event loop: epoll: %s; raise the open files limit (ulimit -n)",
              strerror(errno));
    epoll_close(loop);
    return false;
}

static void epoll_arm(struct loop *loop, struct watch *watch)
{
    struct epoll *epoll = loop->kernel;
    uint64_t token = watch_token(loop, watch);
    struct epoll_event event = {
        .events = poll_bits(watch->events) | EPOLLONESHOT,
        .data.u64 = token,
    };
    bool known = watch->registered_fd == watch->fd + 1;
    int failed = epoll_ctl(epoll->fd, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, watch->fd, &event);
    if (failed && known && errno == ENOENT) /* the number's new file */
        failed = epoll_ctl(epoll->fd, EPOLL_CTL_ADD, watch->fd, &event);
    else if (failed && !known && errno == EEXIST) /* another watch had this file before */
        failed = epoll_ctl(epoll->fd, EPOLL_CTL_MOD, watch->fd, &event);
    watch->registered_fd = failed ? 0 : watch->fd + 1;
    if (failed && errno == EPERM) /* regular files are always ready */
        loop_complete(loop, token, POLLIN | POLLOUT);
    else if (failed)
        loop_complete(loop, token, -errno);
}

static void epoll_disarm(struct loop *loop, struct watch *watch)
{
    struct epoll *epoll = loop->kernel;
    /* Fails only where the file was closed while armed: then nothing is left to take out. */
    epoll_ctl(epoll->fd, EPOLL_CTL_DEL, watch->fd, &(struct epoll_event){0});
    watch->registered_fd = 0;
    loop_complete(loop, watch_token(loop, watch), -ECANCELED);
}

static int wait_milliseconds(struct epoll *epoll, uint64_t wait_ns)
{
    uint64_t milliseconds = wait_ns / NS_PER_MS + (wait_ns % NS_PER_MS != 0);
    int timeout = -1;
    if (wait_ns != UINT64_MAX)
        timeout = milliseconds < INT32_MAX ? (int)milliseconds : INT32_MAX;
    return epoll_wait(epoll->fd, epoll->events, EVENTS_PER_WAIT, timeout);
}

static int wait_events(struct epoll *epoll, uint64_t wait_ns)
{
    if (!epoll->milliseconds) {
        struct timespec timeout = {(time_t)(wait_ns / NS_PER_S), (long)(wait_ns % NS_PER_S)};
        int count = epoll_pwait2(epoll->fd, epoll->events, EVENTS_PER_WAIT,
                                 wait_ns == UINT64_MAX ? NULL : &timeout, NULL);
        if (count >= 0 || (errno != ENOSYS && errno != EPERM))
            return count;
        epoll->milliseconds = true;
    }
    return wait_milliseconds(epoll, wait_ns);
}

static void epoll_collect(struct loop *loop, uint64_t wait_ns)
{
    struct epoll *epoll = loop->kernel;
    int count;
    /* One-shot events do not come back: this ends after at most all watches. */
    do {
        count = wait_events(epoll, wait_ns);
        CHECK(count >= 0 || errno == EINTR);
        for (int i = 0; i < count; i++) {
            if (token_kind(epoll->events[i].data.u64) == TOKEN_WAKE)
                loop_drain_wake(loop);
            else
                loop_complete(loop, epoll->events[i].data.u64, (int32_t)epoll->events[i].events);
        }
        wait_ns = 0;
    } while (count == EVENTS_PER_WAIT);
}

const struct backend epoll_backend = {
    .kind = LOOP_EPOLL,
    .open = epoll_open,
    .close = epoll_close,
    .arm = epoll_arm,
    .disarm = epoll_disarm,
    .collect = epoll_collect,
};
