/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets by epoll, where io_uring is forbidden. A connection is registered once, edge-triggered,
 * for both directions; the edges seen are kept as flags, and a receive or a send that the kernel
 * did not fill takes the flag away. So a request and its answer cost one receive and one send.
 *
 * Collecting only sets flags; receiving and sending are done by the connection's work.
 *
 * Thread: the net's. */
#include "tools/net/backend.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"

enum {
    EVENTS_PER_WAIT = 512,
    ACCEPTS_PER_EVENT = 64, /* the listener is level-triggered: the rest comes again */
    READS_PER_WORK = 4,     /* so that one fast peer does not keep the others waiting */
};

struct epoll {
    int fd;
    bool milliseconds; /* no epoll_pwait2 (before Linux 5.11, or forbidden): rounds up */
    struct epoll_event events[EVENTS_PER_WAIT];
};

static void epoll_close(struct net *net)
{
    struct epoll *epoll = net->kernel;
    if (epoll == NULL)
        return;
    close(epoll->fd);
    free(epoll);
    net->kernel = NULL;
}

static bool epoll_open(struct net *net, struct error *error)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0)
        return error_set(error, "epoll: %s; raise the open files limit (ulimit -n)",
                         strerror(errno));
    struct epoll *epoll = xcalloc(1, sizeof *epoll);
    epoll->fd = fd;
    net->kernel = epoll;
    return true;
}

static bool epoll_listen(struct net_listener *listener)
{
    struct epoll *epoll = listener->net->kernel;
    struct epoll_event event = {
        .events = EPOLLIN,
        .data.u64 = net_token(NET_TOKEN_ACCEPT, listener->slot, 0),
    };
    listener->net->stats.syscalls++;
    return epoll_ctl(epoll->fd, EPOLL_CTL_ADD, listener->fd, &event) == 0 || errno == EEXIST;
}

static void accept_all(struct net_listener *listener)
{
    struct net *net = listener->net;
    struct epoll *epoll = net->kernel;
    for (int i = 0; i < ACCEPTS_PER_EVENT; i++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        net->stats.syscalls++;
        if (fd >= 0) {
            net_accepted(listener, fd);
            continue;
        }
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
            int code = errno; /* level-triggered: out of the set, or it spins */
            epoll_ctl(epoll->fd, EPOLL_CTL_DEL, listener->fd, NULL);
            net_accept_failed(listener, code);
        }
        return;
    }
}

static int epoll_conn_open(struct net_conn *conn)
{
    struct epoll *epoll = conn->net->kernel;
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
        .data.u64 = net_token(NET_TOKEN_RECV, conn->slot, conn->generation),
    };
    conn->writable = true;
    conn->net->stats.syscalls++;
    return epoll_ctl(epoll->fd, EPOLL_CTL_ADD, conn->fd, &event) == 0 ? 0 : errno;
}

/* Less than asked for is all there was, but not where a FIN may be behind it. */
static void epoll_read(struct net_conn *conn)
{
    struct net *net = conn->net;
    uint8_t state = conn->state;
    for (int reads = 0; conn->readable && !conn->eof && conn->state == state; reads++) {
        if (reads == READS_PER_WORK || conn->held || conn->throttled) {
            conn->retry = reads == READS_PER_WORK;
            return;
        }
        ssize_t count = recv(conn->fd, net->scratch, sizeof net->scratch, 0);
        net->stats.syscalls++;
        if (count < 0 && errno == EINTR)
            continue;
        conn->readable = count == (ssize_t)sizeof net->scratch || (count > 0 && conn->hung);
        if (count > 0)
            net_conn_received(conn, net->scratch, (size_t)count);
        else if (count == 0)
            net_conn_eof(conn);
        else if (errno != EAGAIN)
            net_conn_fail(conn, errno);
    }
}

static void epoll_pause(struct net_conn *conn)
{
    (void)conn; /* nothing is received unless the work asks for it */
}

static bool epoll_send(struct net_conn *conn, const uint8_t *bytes, size_t count)
{
    if (!conn->writable)
        return false;
    ssize_t sent = send(conn->fd, bytes, count, MSG_NOSIGNAL);
    conn->net->stats.syscalls++;
    if (sent < 0 && errno == EINTR) {
        conn->retry = true;
        return false;
    }
    if (sent < 0 && errno == EAGAIN) {
        conn->writable = false;
        return false;
    }
    net_conn_sent(conn, sent < 0 ? -errno : sent);
    return true;
}

static bool epoll_quiesce(struct net_conn *conn)
{
    (void)conn; /* closing the descriptor takes it out of the set */
    return true;
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
    uint64_t milliseconds = wait_ns / NS_PER_MS + (wait_ns % NS_PER_MS != 0);
    int timeout = -1;
    if (wait_ns != UINT64_MAX)
        timeout = milliseconds < INT32_MAX ? (int)milliseconds : INT32_MAX;
    return epoll_wait(epoll->fd, epoll->events, EVENTS_PER_WAIT, timeout);
}

/* A reset is told even while nothing is read. */
static void look_for_reset(struct net_conn *conn)
{
    int code = 0;
    socklen_t size = sizeof code;
    conn->net->stats.syscalls++;
    if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &code, &size) == 0 && code != 0)
        net_conn_fail(conn, code);
}

static void handle(struct net *net, const struct epoll_event *event)
{
    if (net_token_kind(event->data.u64) == NET_TOKEN_ACCEPT) {
        accept_all(net->listeners[net_token_slot(event->data.u64)]);
        return;
    }
    struct net_conn *conn = net_conn_at(net, event->data.u64);
    if (conn == NULL)
        return;
    uint32_t hung = event->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
    conn->hung |= hung != 0;
    conn->readable |= hung != 0 || (event->events & EPOLLIN) != 0;
    conn->writable |= hung != 0 || (event->events & EPOLLOUT) != 0;
    net_conn_mark(conn);
    if ((event->events & EPOLLERR) != 0 && (conn->held || conn->throttled))
        look_for_reset(conn);
}

static void epoll_collect(struct net *net, uint64_t wait_ns)
{
    struct epoll *epoll = net->kernel;
    int count = wait_events(epoll, wait_ns);
    net->stats.syscalls++;
    CHECK(count >= 0 || errno == EINTR);
    net->now_ns = clock_monotonic_ns();
    for (int i = 0; i < count; i++)
        handle(net, &epoll->events[i]);
}

const struct net_backend net_epoll_backend = {
    .kind = LOOP_EPOLL,
    .open = epoll_open,
    .close = epoll_close,
    .listen = epoll_listen,
    .conn_open = epoll_conn_open,
    .read = epoll_read,
    .pause = epoll_pause,
    .send = epoll_send,
    .quiesce = epoll_quiesce,
    .collect = epoll_collect,
};
