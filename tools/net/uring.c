/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets by io_uring: multishot accepts and receives, armed once per listener and connection, and
 * one send per answer; all of a turn is handed over and waited for by one system call.
 *
 *  - Receives take their memory from a ring of provided buffers only when bytes are there, so an
 *    idle connection holds none; each is given back when its completion has been handled. When the
 *    ring runs dry, the kernel ends the receive (ENOBUFS), and the work arms it again.
 *  - A send is complete when the call that hands it over returns, but for a full window. Under load
 *    the same call brings the next receives; waiting for more than one completion would save an
 * idle net a call, and delay what depends on a send (a FIN, the rest of a partial one).
 *  - A receive in the kernel holds the file: close() would send no FIN. So a connection is closed
 *    when all its requests have ended, by themselves or cancelled.
 *  - Multishot requests may end at any time without an error (the completion queue overflows):
 *    whatever says it has ended is armed again.
 *
 * The ring starts disabled and is enabled by the first turn: its single issuer is the thread that
 * runs the net. Needs Linux 6.1 (DEFER_TASKRUN); the probe does a real receive and send.
 *
 * Thread: the net's. */
#include "tools/net/backend.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"

enum {
    SQ_ENTRIES = 1024,
    CQ_ENTRIES_MIN = 4096,
    CQ_ENTRIES_MAX = 65536, /* the kernel's */
    BUFFER_COUNT = 512,     /* a power of two */
    BUFFER_BYTES = 16 << 10,
    PROBE_LIMIT_MS = 1000,
    CLOSE_LIMIT_MS = 1000,
    LONGEST_WAIT_S = 3600,
};

struct uring {
    struct io_uring ring;
    struct io_uring_buf_ring *buffers;
    uint8_t *memory;   /* BUFFER_COUNT buffers */
    uint32_t inflight; /* accepts, receives, sends in the kernel or queued */
    bool enabled, initialised;
};

static bool denied(struct error *error, const char *call, int code)
{
    const char *why = "";
    if (code == EPERM || code == EACCES)
        why = " (denied by a seccomp profile, as containers have, or by kernel.io_uring_disabled)";
    else if (code == ENOSYS)
        why = " (a kernel without it, or a container runtime that hides it)";
    else if (code == EINVAL)
        why = " (the kernel is older than Linux 6.1)";
    else if (code == EMFILE || code == ENFILE)
        why = " (raise the open files limit)";
    return error_set(error, "io_uring is not usable: %s: %s%s; or use epoll", call, strerror(code),
                     why);
}

static void ring_close(struct uring *uring)
{
    if (uring->initialised)
        io_uring_queue_exit(&uring->ring);
    if (uring->buffers != NULL)
        munmap(uring->buffers, BUFFER_COUNT * sizeof(struct io_uring_buf));
    if (uring->memory != NULL)
        munmap(uring->memory, (size_t)BUFFER_COUNT * BUFFER_BYTES);
    *uring = (struct uring){0};
}

static void *map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static void give_buffer(struct uring *uring, unsigned id, int offset)
{
    io_uring_buf_ring_add(uring->buffers, uring->memory + (size_t)id * BUFFER_BYTES, BUFFER_BYTES,
                          (unsigned short)id, io_uring_buf_ring_mask(BUFFER_COUNT), offset);
}

/* A disabled ring with its buffers. */
static bool ring_open(struct uring *uring, uint32_t cq_entries, struct error *error)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_SUBMIT_ALL |
                 IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED,
        .cq_entries = cq_entries,
    };
    int code = io_uring_queue_init_params(SQ_ENTRIES, &uring->ring, &params);
    if (code < 0)
        return denied(error, "io_uring_setup", -code);
    uring->initialised = true;
    uring->buffers = map(BUFFER_COUNT * sizeof(struct io_uring_buf));
    uring->memory = map((size_t)BUFFER_COUNT * BUFFER_BYTES);
    if (uring->buffers == NULL || uring->memory == NULL)
        return denied(error, "mmap", ENOMEM);
    struct io_uring_buf_reg registration = {
        .ring_addr = (uint64_t)(uintptr_t)uring->buffers,
        .ring_entries = BUFFER_COUNT,
    };
    code = io_uring_register_buf_ring(&uring->ring, &registration, 0);
    if (code < 0)
        return denied(error, "io_uring_register(PBUF_RING)", -code);
    io_uring_buf_ring_init(uring->buffers);
    for (unsigned id = 0; id < BUFFER_COUNT; id++)
        give_buffer(uring, id, (int)id);
    io_uring_buf_ring_advance(uring->buffers, BUFFER_COUNT);
    return true;
}

static int ring_enable(struct uring *uring)
{
    if (uring->enabled)
        return 0;
    int code =
        io_uring_register((unsigned)uring->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    uring->enabled = code >= 0;
    return code;
}

static void prepare_receive(struct io_uring_sqe *sqe, int fd, uint64_t token)
{
    io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = 0;
    io_uring_sqe_set_data64(sqe, token);
}

/* One byte sent from one end of a pair must come in at the other, by a receive that stays armed. */
static bool probe_pair(struct uring *uring, const int pair[2], struct error *error)
{
    int code = ring_enable(uring);
    if (code < 0)
        return denied(error, "io_uring_register", -code);
    struct io_uring_sqe *receive = io_uring_get_sqe(&uring->ring);
    struct io_uring_sqe *send = io_uring_get_sqe(&uring->ring);
    CHECK(receive != NULL && send != NULL);
    prepare_receive(receive, pair[0], 1);
    io_uring_prep_send(send, pair[1], "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    io_uring_sqe_set_data64(send, 2);
    uint64_t seen = 0, deadline_ns = clock_monotonic_ns() + PROBE_LIMIT_MS * NS_PER_MS;
    while (seen != 3 && clock_monotonic_ns() < deadline_ns) {
        struct io_uring_cqe *cqe = NULL;
        struct __kernel_timespec wait = {.tv_nsec = 100 * (long long)NS_PER_MS};
        code = io_uring_submit_and_wait_timeout(&uring->ring, &cqe, 1, &wait, NULL);
        if (cqe == NULL && code < 0 && code != -ETIME && code != -EINTR)
            return denied(error, "io_uring_enter", -code);
        if (cqe == NULL)
            continue;
        if (cqe->res < 0)
            return denied(error, cqe->user_data == 1 ? "RECV (multishot)" : "SEND", -cqe->res);
        if (cqe->user_data == 1 && !(cqe->flags & IORING_CQE_F_MORE))
            return denied(error, "RECV (multishot)", EINVAL);
        seen |= cqe->user_data;
        io_uring_cqe_seen(&uring->ring, cqe);
    }
    return seen == 3 || error_set(error, "io_uring is not usable: a send did not arrive");
}

static bool probe(struct error *error)
{
    struct uring uring = {0};
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return denied(error, "socketpair", errno);
    bool usable = ring_open(&uring, 2 * SQ_ENTRIES, error) && probe_pair(&uring, pair, error);
    ring_close(&uring);
    close(pair[0]);
    close(pair[1]);
    return usable;
}

static bool uring_open(struct net *net, struct error *error)
{
    if (!probe(error))
        return false;
    struct uring *uring = xcalloc(1, sizeof *uring);
    uint32_t cq_entries = CQ_ENTRIES_MIN;
    while (cq_entries < CQ_ENTRIES_MAX && cq_entries / 2 < net->connections_max)
        cq_entries *= 2;
    if (!ring_open(uring, cq_entries, error)) {
        ring_close(uring);
        free(uring);
        return false;
    }
    net->kernel = uring;
    return true;
}

/* Interrupted, or the kernel wants completions to be taken before it takes more: go on. */
static void check_enter(int code)
{
    CHECK(code >= 0 || code == -ETIME || code == -EINTR || code == -EBUSY || code == -EAGAIN);
}

/* NULL: the kernel takes no more now. */
static struct io_uring_sqe *next_sqe(struct net *net)
{
    struct uring *uring = net->kernel;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
    if (sqe != NULL || !uring->enabled)
        return sqe;
    net->stats.syscalls++;
    check_enter(io_uring_submit(&uring->ring));
    return io_uring_get_sqe(&uring->ring);
}

static bool uring_listen(struct net_listener *listener)
{
    struct io_uring_sqe *sqe = next_sqe(listener->net);
    if (sqe == NULL)
        return false;
    io_uring_prep_multishot_accept(sqe, listener->fd, NULL, NULL, SOCK_CLOEXEC);
    io_uring_sqe_set_data64(sqe, net_token(NET_TOKEN_ACCEPT, listener->slot, 0));
    ((struct uring *)listener->net->kernel)->inflight++;
    return true;
}

static int uring_conn_open(struct net_conn *conn)
{
    (void)conn; /* the first work arms the receive */
    return 0;
}

static uint64_t conn_token(const struct net_conn *conn, enum net_token_kind kind)
{
    return net_token(kind, conn->slot, conn->generation);
}

static void uring_read(struct net_conn *conn)
{
    if (conn->receiving || conn->eof)
        return;
    struct io_uring_sqe *sqe = next_sqe(conn->net);
    if (sqe == NULL) {
        conn->retry = true;
        return;
    }
    prepare_receive(sqe, conn->fd, conn_token(conn, NET_TOKEN_RECV));
    conn->receiving = true;
    ((struct uring *)conn->net->kernel)->inflight++;
}

static void uring_pause(struct net_conn *conn)
{
    if (!conn->receiving || conn->cancelling)
        return;
    struct io_uring_sqe *sqe = next_sqe(conn->net);
    if (sqe == NULL) {
        conn->retry = true;
        return;
    }
    io_uring_prep_cancel64(sqe, conn_token(conn, NET_TOKEN_RECV), 0);
    io_uring_sqe_set_data64(sqe, net_token(NET_TOKEN_CANCEL, 0, 0));
    conn->cancelling = true;
}

static bool uring_send(struct net_conn *conn, const uint8_t *bytes, size_t count)
{
    struct uring *uring = conn->net->kernel;
    struct io_uring_sqe *sqe = next_sqe(conn->net);
    if (sqe == NULL) {
        conn->retry = true;
        return false;
    }
    io_uring_prep_send(sqe, conn->fd, bytes, count, MSG_NOSIGNAL);
    io_uring_sqe_set_data64(sqe, conn_token(conn, NET_TOKEN_SEND));
    uring->inflight++;
    return true;
}

static bool uring_quiesce(struct net_conn *conn)
{
    if (!conn->receiving && !conn->sending)
        return true;
    if (conn->quiescing)
        return false;
    struct io_uring_sqe *sqe = next_sqe(conn->net);
    if (sqe == NULL) {
        net_conn_mark_later(conn);
        return false;
    }
    io_uring_prep_cancel_fd(sqe, conn->fd, IORING_ASYNC_CANCEL_ALL);
    io_uring_sqe_set_data64(sqe, net_token(NET_TOKEN_CANCEL, 0, 0));
    conn->quiescing = true;
    return false;
}

static void received(struct net *net, const struct io_uring_cqe *cqe)
{
    struct uring *uring = net->kernel;
    struct net_conn *conn = net_conn_at(net, cqe->user_data);
    CHECK(conn != NULL && conn->receiving); /* a place is kept until its requests have ended */
    bool more = (cqe->flags & IORING_CQE_F_MORE) != 0;
    if (!more) {
        conn->receiving = conn->cancelling = false;
        net_conn_mark(conn);
    }
    if (cqe->res > 0) {
        unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
        CHECK((cqe->flags & IORING_CQE_F_BUFFER) != 0 && id < BUFFER_COUNT);
        net_conn_received(conn, uring->memory + (size_t)id * BUFFER_BYTES, (size_t)cqe->res);
    } else if (cqe->res == 0) {
        net_conn_eof(conn);
    } else if (cqe->res != -ENOBUFS && cqe->res != -ECANCELED && cqe->res != -EINTR) {
        net_conn_fail(conn, -cqe->res);
    }
}

static void sent(struct net *net, const struct io_uring_cqe *cqe)
{
    struct net_conn *conn = net_conn_at(net, cqe->user_data);
    CHECK(conn != NULL && conn->sending);
    net_conn_sent(conn, cqe->res == -EAGAIN || cqe->res == -EINTR ? 0 : cqe->res);
}

static void accepted(struct net *net, const struct io_uring_cqe *cqe)
{
    struct net_listener *listener = net->listeners[net_token_slot(cqe->user_data)];
    if (cqe->res >= 0)
        net_accepted(listener, cqe->res);
    if (!(cqe->flags & IORING_CQE_F_MORE))
        net_accept_failed(listener, cqe->res < 0 ? -cqe->res : 0);
}

static void handle(struct net *net, struct uring *uring, const struct io_uring_cqe *cqe)
{
    enum net_token_kind kind = net_token_kind(cqe->user_data);
    if (kind != NET_TOKEN_CANCEL && !(cqe->flags & IORING_CQE_F_MORE))
        uring->inflight--;
    switch (kind) {
    case NET_TOKEN_ACCEPT:
        accepted(net, cqe);
        break;
    case NET_TOKEN_RECV:
        received(net, cqe);
        break;
    case NET_TOKEN_SEND:
        sent(net, cqe);
        break;
    case NET_TOKEN_CANCEL: /* found or not: the request's own completion counts */
        break;
    }
}

/* What is there now; completions that come meanwhile wait for the next turn. */
static void reap(struct net *net)
{
    struct uring *uring = net->kernel;
    unsigned head, left = io_uring_cq_ready(&uring->ring), count = 0;
    int given = 0;
    struct io_uring_cqe *cqe;
    io_uring_for_each_cqe(&uring->ring, head, cqe)
    {
        if (left-- == 0)
            break;
        handle(net, uring, cqe);
        if (cqe->flags & IORING_CQE_F_BUFFER)
            give_buffer(uring, cqe->flags >> IORING_CQE_BUFFER_SHIFT, given++);
        count++;
    }
    io_uring_buf_ring_advance(uring->buffers, given);
    io_uring_cq_advance(&uring->ring, count);
}

static void uring_collect(struct net *net, uint64_t wait_ns)
{
    struct uring *uring = net->kernel;
    CHECK(ring_enable(uring) >= 0);
    net->stats.syscalls++;
    if (wait_ns == 0 || io_uring_cq_has_overflow(&uring->ring)) {
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
    net->now_ns = clock_monotonic_ns();
    reap(net);
}

/* Ends all requests and waits for that: nobody listens any more, and no memory is written to. */
static void cancel_all(struct uring *uring)
{
    uint64_t deadline_ns = clock_monotonic_ns() + CLOSE_LIMIT_MS * NS_PER_MS;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
    if (sqe == NULL) {
        io_uring_submit(&uring->ring);
        sqe = io_uring_get_sqe(&uring->ring);
    }
    if (sqe == NULL)
        return;
    io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
    io_uring_sqe_set_data64(sqe, net_token(NET_TOKEN_CANCEL, 0, 0));
    while (uring->inflight > 0 && clock_monotonic_ns() < deadline_ns) {
        struct io_uring_cqe *cqe = NULL;
        struct __kernel_timespec wait = {.tv_nsec = 10 * (long long)NS_PER_MS};
        int code = io_uring_submit_and_wait_timeout(&uring->ring, &cqe, 1, &wait, NULL);
        if (code == -EEXIST)
            return; /* another thread than the one that ran it: the exit cancels */
        if (cqe == NULL)
            continue;
        enum net_token_kind kind = net_token_kind(cqe->user_data);
        if (kind == NET_TOKEN_ACCEPT && cqe->res >= 0)
            close(cqe->res);
        if (kind != NET_TOKEN_CANCEL && !(cqe->flags & IORING_CQE_F_MORE))
            uring->inflight--;
        io_uring_cqe_seen(&uring->ring, cqe);
    }
}

static void uring_close(struct net *net)
{
    struct uring *uring = net->kernel;
    if (uring == NULL)
        return;
    if (uring->enabled)
        cancel_all(uring);
    ring_close(uring);
    free(uring);
    net->kernel = NULL;
}

const struct net_backend net_uring_backend = {
    .kind = LOOP_IO_URING,
    .open = uring_open,
    .close = uring_close,
    .listen = uring_listen,
    .conn_open = uring_conn_open,
    .read = uring_read,
    .pause = uring_pause,
    .send = uring_send,
    .quiesce = uring_quiesce,
    .collect = uring_collect,
};
