/* SPDX-License-Identifier: Apache-2.0 */
/* One connection: the owner's calls, which only queue and mark, and the work, which a turn does.
 *
 * The way of received bytes: back end -> net_conn_received() -> (TLS) -> net_conn_plain() -> the
 * owner, straight from the back end's buffer where nothing is kept from before; what the owner does
 * not consume goes to `in`. The way of sent bytes: net_send() -> (`plain` -> TLS) -> `out` ->
 * `flight`, which is with the kernel and does not move.
 *
 * Every state but OPEN has a time limit. `closed` is called by the work alone, never in the turn
 * that asked for it.
 *
 * Thread: the net's. */
#include "tools/net/backend.h"

#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"

enum {
    PENDING_STOPS_BYTES = 4 << 20, /* a peer that does not read is not read from */
    PENDING_RESUMES_BYTES = 1 << 20,
    FLUSH_STALL_S = 60, /* without progress */
    CUT_LIMIT_S = 5,
    CUT_LOOK_MS = 1,
    LINGER_S = 2,
};

static bool paused(const struct net_conn *conn)
{
    return conn->held || conn->throttled;
}

/* The timer may fire early for its purpose: the work looks at the time. */
static void arm_timer(struct net_conn *conn, uint64_t deadline_ns)
{
    if (!timer_armed(&conn->timer) || conn->timer.deadline_ns != deadline_ns)
        wheel_arm(conn->net->wheel, &conn->timer, deadline_ns);
}

/* The only writer of `state`. */
static void enter(struct net_conn *conn, enum net_conn_state state)
{
    static const uint64_t limit_s[] = {
        [NET_CONN_FLUSHING] = FLUSH_STALL_S,
        [NET_CONN_CUTTING] = CUT_LIMIT_S,
        [NET_CONN_LINGERING] = LINGER_S,
        [NET_CONN_ENDING] = 0,
    };
    CHECK(state > conn->state);
    conn->state = (uint8_t)state;
    conn->limit_ns = conn->net->now_ns + limit_s[state] * NS_PER_S;
    if (state == NET_CONN_FLUSHING)
        conn->limit_ns += conn->slice_interval_ns;
    net_conn_mark(conn);
}

void net_conn_close(struct net_conn *conn, int error)
{
    if (conn->state != NET_CONN_OPEN)
        return;
    conn->end_error = error;
    conn->held = conn->throttled = false; /* what comes is read, to be dropped */
    net_buffer_release(&conn->net->pool, &conn->in);
    enter(conn, NET_CONN_FLUSHING);
}

/* Nothing more is sent; what is in flight ends by cancellation. */
static void end_now(struct net_conn *conn, bool reset, int error)
{
    if (conn->state == NET_CONN_ENDING)
        return;
    struct net_pool *pool = &conn->net->pool;
    conn->reset = reset;
    if (conn->end_error == 0)
        conn->end_error = error;
    net_buffer_release(pool, &conn->in);
    net_buffer_release(pool, &conn->plain);
    net_buffer_release(pool, &conn->out);
    enter(conn, NET_CONN_ENDING);
}

void net_conn_fail(struct net_conn *conn, int error)
{
    end_now(conn, false, error);
}

/* -- the owner's calls -- */

size_t net_pending(const struct net_conn *conn)
{
    return net_buffer_count(conn->plain) + net_buffer_count(conn->out) +
           net_buffer_count(conn->flight);
}

static struct net_buffer **queue_of(struct net_conn *conn)
{
    return conn->ssl != NULL ? &conn->plain : &conn->out;
}

uint8_t *net_room(struct net_conn *conn, size_t count)
{
    return net_buffer_room(&conn->net->pool, queue_of(conn), count);
}

void net_wrote(struct net_conn *conn, size_t count)
{
    if (conn->state != NET_CONN_OPEN || count == 0)
        return;
    (*queue_of(conn))->end += (uint32_t)count;
    bool handshakes = conn->ssl != NULL && !SSL_is_init_finished(conn->ssl); /* must read */
    if (net_pending(conn) > PENDING_STOPS_BYTES && !handshakes)
        conn->throttled = true;
    net_conn_mark(conn);
}

void net_send(struct net_conn *conn, const void *bytes, size_t count)
{
    if (conn->state != NET_CONN_OPEN || count == 0)
        return;
    memcpy(net_room(conn, count), bytes, count);
    net_wrote(conn, count);
}

void net_hold(struct net_conn *conn)
{
    conn->held = true;
}

void net_release(struct net_conn *conn)
{
    if (!conn->held)
        return;
    conn->held = false;
    conn->offer = true;
    net_conn_mark(conn);
}

void net_slice(struct net_conn *conn, uint32_t slice_bytes, uint64_t interval_ns)
{
    conn->slice_bytes = slice_bytes;
    conn->slice_interval_ns = interval_ns;
    conn->slice_next_ns = 0;
    net_conn_mark(conn);
}

void net_close(struct net_conn *conn)
{
    conn->asked_turn = conn->net->turn;
    net_conn_close(conn, 0);
}

void net_reset(struct net_conn *conn)
{
    conn->asked_turn = conn->net->turn;
    end_now(conn, true, 0);
}

void net_reset_after(struct net_conn *conn, size_t count)
{
    conn->cut_bytes = count + conn->asked_bytes;
    net_conn_mark(conn);
}

/* -- received -- */

/* Offers the bytes that are kept. */
static void offer_kept(struct net_conn *conn)
{
    struct net *net = conn->net;
    conn->offer = false;
    size_t count = net_buffer_count(conn->in);
    if (count == 0)
        return;
    size_t used = conn->listener->handler.received(conn->owner, conn->in->bytes + conn->in->start,
                                                   count, net->now_ns);
    CHECK(used <= count);
    if (conn->in != NULL) /* a close inside has dropped it */
        net_buffer_take(&net->pool, &conn->in, used);
}

static void keep(struct net_conn *conn, const uint8_t *bytes, size_t count)
{
    if (net_buffer_count(conn->in) + count > NET_BUFFER_BYTES_MAX) {
        end_now(conn, true, EMSGSIZE);
        return;
    }
    net_buffer_append(&conn->net->pool, &conn->in, bytes, count);
}

void net_conn_plain(struct net_conn *conn, const uint8_t *bytes, size_t count)
{
    if (conn->state != NET_CONN_OPEN)
        return;
    if (paused(conn)) {
        keep(conn, bytes, count);
        conn->offer = true;
        net_conn_mark(conn);
    } else if (conn->in != NULL) {
        keep(conn, bytes, count);
        if (conn->state == NET_CONN_OPEN)
            offer_kept(conn);
    } else {
        size_t used =
            conn->listener->handler.received(conn->owner, bytes, count, conn->net->now_ns);
        CHECK(used <= count);
        if (conn->state == NET_CONN_OPEN && used < count)
            keep(conn, bytes + used, count - used);
    }
}

void net_conn_received(struct net_conn *conn, const uint8_t *bytes, size_t count)
{
    conn->net->stats.received_bytes += count;
    bool handshakes = conn->ssl != NULL && conn->state == NET_CONN_FLUSHING && conn->plain != NULL;
    if (conn->state != NET_CONN_OPEN && !handshakes)
        return;
    if (conn->ssl == NULL) {
        net_conn_plain(conn, bytes, count);
    } else if (!conn->tls_primed) {
        keep(conn, bytes, count);
        net_conn_mark(conn);
    } else {
        net_tls_input(conn, bytes, count);
    }
}

void net_conn_eof(struct net_conn *conn)
{
    conn->eof = true;
    net_conn_mark(conn);
}

/* What we sent to a peer that had closed came back as a reset, which recv() does not tell behind a
 * FIN. */
static int pending_error(const struct net_conn *conn)
{
    int code = 0;
    socklen_t size = sizeof code;
    return getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &code, &size) == 0 ? code : errno;
}

/* Everything was offered. */
static void input_ended(struct net_conn *conn)
{
    if (conn->ended)
        return;
    conn->ended = true;
    if (conn->listener->handler.ended != NULL)
        conn->listener->handler.ended(conn->owner, conn->net->now_ns);
    else
        net_conn_close(conn, pending_error(conn));
}

/* What net_start_tls() found kept is ciphertext. */
static void prime_tls(struct net_conn *conn)
{
    if (conn->ssl == NULL || conn->tls_primed || conn->state > NET_CONN_FLUSHING)
        return;
    conn->tls_primed = true;
    struct net_buffer *kept = conn->in;
    conn->in = NULL;
    if (kept != NULL)
        net_tls_input(conn, kept->bytes + kept->start, net_buffer_count(kept));
    net_buffer_release(&conn->net->pool, &kept);
}

static void work_input(struct net_conn *conn)
{
    if (paused(conn)) {
        if (conn->in != NULL)
            conn->net->backend->pause(conn);
        return;
    }
    if (conn->offer)
        offer_kept(conn);
    if (conn->state == NET_CONN_OPEN && !paused(conn) && !conn->eof)
        conn->net->backend->read(conn);
    if (conn->state == NET_CONN_OPEN && !paused(conn) && conn->eof)
        input_ended(conn);
}

/* -- sent -- */

void net_conn_sent(struct net_conn *conn, ssize_t result)
{
    struct net *net = conn->net;
    conn->sending = false;
    conn->asked_bytes = 0;
    if (result < 0) {
        net_conn_fail(conn, (int)-result);
        net_conn_mark(conn); /* ENDING already: it waited for this */
        return;
    }
    net->stats.sent_bytes += (uint64_t)result;
    net_buffer_take(&net->pool, &conn->flight, (size_t)result);
    if (conn->cut_bytes != UINT64_MAX)
        conn->cut_bytes -= (uint64_t)result;
    if (conn->slice_bytes != 0)
        conn->slice_next_ns = net->now_ns + conn->slice_interval_ns;
    if (conn->state == NET_CONN_FLUSHING)
        conn->limit_ns = net->now_ns + FLUSH_STALL_S * NS_PER_S + conn->slice_interval_ns;
    size_t pending = net_pending(conn);
    if (conn->throttled && pending < PENDING_RESUMES_BYTES)
        conn->throttled = false;
    conn->drain_due = pending == 0 && conn->listener->handler.drained != NULL;
    if (pending > 0 || conn->drain_due || conn->cut_bytes == 0 || conn->offer || conn->eof ||
        conn->state != NET_CONN_OPEN)
        net_conn_mark(conn);
}

/* How many bytes of the flight may leave now; 0: none until the timer, or the cut. */
static size_t allowance(struct net_conn *conn)
{
    size_t count = net_buffer_count(conn->flight);
    if (conn->slice_bytes != 0) {
        if (conn->net->now_ns < conn->slice_next_ns)
            return 0;
        if (count > conn->slice_bytes)
            count = conn->slice_bytes;
    }
    return count > conn->cut_bytes ? (size_t)conn->cut_bytes : count;
}

/* Everything that may leave, as far as the kernel takes it. */
static void work_output(struct net_conn *conn)
{
    struct net *net = conn->net;
    if (conn->plain != NULL)
        net_tls_output(conn);
    while (!conn->sending && (conn->state == NET_CONN_OPEN || conn->state == NET_CONN_FLUSHING)) {
        if (net_buffer_count(conn->flight) == 0) {
            net_buffer_release(&net->pool, &conn->flight);
            conn->flight = conn->out;
            conn->out = NULL;
        }
        if (conn->cut_bytes == 0) {
            enter(conn, NET_CONN_CUTTING);
            break;
        }
        size_t count = allowance(conn);
        if (count == 0)
            break;
        conn->sending = true;
        conn->asked_bytes = (uint32_t)count;
        if (!net->backend->send(conn, conn->flight->bytes + conn->flight->start, count)) {
            conn->sending = false;
            conn->asked_bytes = 0;
            break;
        }
    }
}

static void tell_drained(struct net_conn *conn)
{
    if (conn->drain_due && conn->state == NET_CONN_OPEN && net_pending(conn) == 0) {
        conn->drain_due = false;
        conn->listener->handler.drained(conn->owner, conn->net->now_ns);
    }
}

/* -- the end -- */

/* Tells the owner, in a later turn than the one it asked in; true when it is told. */
static bool tell_owner(struct net_conn *conn)
{
    struct net *net = conn->net;
    void *owner = conn->owner;
    if (owner == NULL)
        return true;
    if (conn->asked_turn == net->turn) {
        net_conn_mark_later(conn);
        return false;
    }
    conn->owner = NULL;
    net->stats.open--;
    conn->listener->handler.closed(owner, conn->end_error);
    return true;
}

static void work_flushing(struct net_conn *conn)
{
    struct net *net = conn->net;
    if (net->now_ns >= conn->limit_ns) {
        end_now(conn, true, ETIMEDOUT);
        return;
    }
    if (net_pending(conn) > 0 || conn->sending)
        return;
    if (conn->ssl != NULL && !conn->tls_shut) {
        conn->tls_shut = true;
        if (net_tls_shut(conn))
            work_output(conn);
        if (conn->state != NET_CONN_FLUSHING || net_pending(conn) > 0 || conn->sending)
            return;
    }
    if (!tell_owner(conn))
        return;
    if (conn->eof) {
        enter(conn, NET_CONN_ENDING);
        return;
    }
    shutdown(conn->fd, SHUT_WR);
    net->stats.syscalls++;
    enter(conn, NET_CONN_LINGERING);
}

static void work_cutting(struct net_conn *conn)
{
    int unsent = 0;
    bool tcp = conn->listener->path == NULL;
    if (tcp && conn->net->now_ns < conn->limit_ns && ioctl(conn->fd, SIOCOUTQNSD, &unsent) == 0 &&
        unsent > 0) {
        arm_timer(conn, conn->net->now_ns + CUT_LOOK_MS * NS_PER_MS);
        return;
    }
    end_now(conn, true, 0);
}

static void work_ending(struct net_conn *conn)
{
    struct net *net = conn->net;
    if (!tell_owner(conn) || !net->backend->quiesce(conn) || conn->dirty)
        return;
    if (conn->reset) {
        struct linger linger = {.l_onoff = 1, .l_linger = 0};
        setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
        net->stats.syscalls++;
    }
    net_conn_free(conn);
}

/* The next time at which something is due by itself. */
static void arm_next(struct net_conn *conn)
{
    uint64_t next_ns = UINT64_MAX;
    if (conn->state == NET_CONN_FLUSHING || conn->state == NET_CONN_LINGERING)
        next_ns = conn->limit_ns;
    if (conn->slice_next_ns > conn->net->now_ns && conn->slice_next_ns < next_ns &&
        net_buffer_count(conn->flight) > 0)
        next_ns = conn->slice_next_ns;
    if (next_ns != UINT64_MAX)
        arm_timer(conn, next_ns);
}

/* Input that only now can go on: by what the owner did when it was offered the last. */
static bool input_left(const struct net_conn *conn)
{
    return conn->state == NET_CONN_OPEN && !paused(conn) &&
           ((conn->offer && conn->in != NULL) || (conn->eof && !conn->ended));
}

void net_conn_work(struct net_conn *conn)
{
    bool was_throttled = conn->throttled;
    prime_tls(conn);
    if (conn->state == NET_CONN_OPEN)
        work_input(conn);
    else if (conn->state == NET_CONN_FLUSHING || conn->state == NET_CONN_LINGERING)
        conn->net->backend->read(conn);
    prime_tls(conn); /* the owner may just have started it */
    if (conn->state == NET_CONN_OPEN || conn->state == NET_CONN_FLUSHING)
        work_output(conn);
    conn->dirty = false; /* what asked for work so far is done here; what asks now comes again */
    if (conn->retry || (was_throttled && !conn->throttled))
        net_conn_mark_later(conn);
    conn->retry = false;
    if (input_left(conn))
        net_conn_mark(conn);
    tell_drained(conn);
    if (conn->state == NET_CONN_FLUSHING)
        work_flushing(conn);
    if (conn->state == NET_CONN_CUTTING)
        work_cutting(conn);
    if (conn->state == NET_CONN_LINGERING && (conn->eof || conn->net->now_ns >= conn->limit_ns))
        enter(conn, NET_CONN_ENDING);
    if (conn->state == NET_CONN_ENDING)
        work_ending(conn);
    else
        arm_next(conn);
}
