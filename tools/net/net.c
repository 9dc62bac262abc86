/* SPDX-License-Identifier: Apache-2.0 */
/* The half of a net that is about all connections: places, the list of those with work, the turn.
 *
 * A connection is *dirty* when something is to be done for it: bytes queued, reading resumed, a
 * close asked for, an edge or a completion seen. Calls of the owner only queue and mark; the work
 * (net_conn_work()) is done by the turn, once before it waits, for what was asked between turns,
 * and once behind the completions and timers. So callbacks come from the turn alone, and what one
 * turn queues for a connection leaves in one write.
 *
 * Places are in blocks and are freed only by the work itself, never inside a callback; each use of
 * a place has a generation, which the kernel carries, so a late completion is recognised.
 *
 * Thread: the net's. net_create() and net_listen() may be called by another one before it starts.
 */
#include "tools/net/backend.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"

enum {
    ROUNDS_PER_TURN = 4,    /* what work makes dirty again is done at once, to this depth */
    OTHER_DESCRIPTORS = 64, /* listeners, rings, files of the program */
};

/* Raises the soft limit to what is needed, and as root the hard one too. */
static bool descriptors_allow(uint32_t connections_max, struct error *error)
{
    rlim_t needed = (rlim_t)connections_max + OTHER_DESCRIPTORS;
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    if (limit.rlim_cur >= needed)
        return true;
    struct rlimit raised = {.rlim_cur = needed,
                            .rlim_max = limit.rlim_max > needed ? limit.rlim_max : needed};
    if (limit.rlim_max >= needed)
        raised.rlim_cur = limit.rlim_max; /* other nets of the process need some too */
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
        return true;
    return error_set(error,
                     "%u connections need %llu open files, but the limit is %llu (hard %llu): "
                     "raise it (ulimit -n %llu; LimitNOFILE= in systemd) or use fewer connections",
                     connections_max, (unsigned long long)needed,
                     (unsigned long long)limit.rlim_cur, (unsigned long long)limit.rlim_max,
                     (unsigned long long)needed);
}

bool net_create(struct net **ret_net, enum loop_kind kind, uint32_t connections_max,
                struct error *error)
{
    CHECK(connections_max > 0 && connections_max < 1u << NET_TOKEN_SLOT_BITS);
    if (!descriptors_allow(connections_max, error))
        return false;
    struct net *net = xcalloc(1, sizeof *net);
    net->connections_max = connections_max;
    net->dirty_last = &net->dirty_first;
    net->later_last = &net->later_first;
    size_t blocks = (connections_max + NET_CONNS_PER_BLOCK - 1) / NET_CONNS_PER_BLOCK;
    net->blocks = xcalloc(blocks, sizeof *net->blocks);
    net->now_ns = clock_monotonic_ns();
    net->wheel = wheel_create(net->now_ns);
    struct error denied = {0};
    if (kind != LOOP_EPOLL) {
        net->backend = &net_uring_backend;
        if (net->backend->open(net, kind == LOOP_AUTO ? &denied : error)) {
            *ret_net = net;
            return true;
        }
        if (kind == LOOP_IO_URING)
            goto fail;
    }
    net->backend = &net_epoll_backend;
    if (!net->backend->open(net, error))
        goto fail;
    *ret_net = net;
    return true;
fail:
    net_destroy(&net);
    return false;
}

static void close_conn_at_end(struct net_conn *conn)
{
    struct net *net = conn->net;
    if (conn->state == NET_CONN_FREE)
        return;
    if (conn->owner != NULL) {
        net->stats.open--;
        conn->listener->handler.closed(conn->owner, 0);
    }
    SSL_free(conn->ssl);
    net_buffer_release(&net->pool, &conn->in);
    net_buffer_release(&net->pool, &conn->plain);
    net_buffer_release(&net->pool, &conn->out);
    net_buffer_release(&net->pool, &conn->flight);
    close(conn->fd);
}

void net_destroy(struct net **place)
{
    struct net *net = *place;
    if (net == NULL)
        return;
    net->backend->close(net);
    for (uint32_t slot = 0; slot < net->used; slot++)
        close_conn_at_end(&net->blocks[slot / NET_CONNS_PER_BLOCK][slot % NET_CONNS_PER_BLOCK]);
    wheel_destroy(&net->wheel); /* its timers are in what is freed below */
    net_listeners_close(net);
    for (uint32_t i = 0; i < net->block_count; i++)
        free(net->blocks[i]);
    free(net->blocks);
    net_pool_fini(&net->pool);
    BIO_meth_free(net->bio_method);
    free(net);
    *place = NULL;
}

enum loop_kind net_kind_used(const struct net *net)
{
    return net->backend->kind;
}

struct wheel *net_wheel(struct net *net)
{
    return net->wheel;
}

struct net_stats net_stats(const struct net *net)
{
    return net->stats;
}

struct net_conn *net_conn_at(struct net *net, uint64_t token)
{
    uint32_t slot = net_token_slot(token);
    if (slot >= net->used)
        return NULL;
    struct net_conn *conn = &net->blocks[slot / NET_CONNS_PER_BLOCK][slot % NET_CONNS_PER_BLOCK];
    return conn->generation == (uint32_t)token && conn->state != NET_CONN_FREE ? conn : NULL;
}

static void conn_timer(struct timer *timer, uint64_t now_ns)
{
    (void)now_ns;
    net_conn_mark((struct net_conn *)(void *)((char *)timer - offsetof(struct net_conn, timer)));
}

struct net_conn *net_conn_acquire(struct net *net)
{
    struct net_conn *conn = net->free_first;
    if (conn != NULL) {
        net->free_first = conn->dirty_next;
    } else {
        if (net->used == net->connections_max)
            return NULL;
        uint32_t block = net->used / NET_CONNS_PER_BLOCK;
        if (block == net->block_count) {
            net->blocks[block] = xcalloc(NET_CONNS_PER_BLOCK, sizeof *conn);
            net->block_count++;
        }
        conn = &net->blocks[block][net->used % NET_CONNS_PER_BLOCK];
        conn->slot = net->used++;
    }
    *conn = (struct net_conn){
        .net = net,
        .slot = conn->slot,
        .generation = conn->generation,
        .fd = -1,
        .cut_bytes = UINT64_MAX,
    };
    timer_init(&conn->timer, conn_timer);
    return conn;
}

void net_conn_free(struct net_conn *conn)
{
    struct net *net = conn->net;
    CHECK(!conn->dirty && !conn->sending && !conn->receiving && conn->owner == NULL);
    wheel_cancel(net->wheel, &conn->timer);
    SSL_free(conn->ssl);
    conn->ssl = NULL;
    net_buffer_release(&net->pool, &conn->in);
    net_buffer_release(&net->pool, &conn->plain);
    net_buffer_release(&net->pool, &conn->out);
    net_buffer_release(&net->pool, &conn->flight);
    close(conn->fd);
    net->stats.syscalls++;
    conn->state = NET_CONN_FREE;
    conn->generation++;
    conn->dirty_next = net->free_first;
    net->free_first = conn;
}

void net_conn_mark(struct net_conn *conn)
{
    if (conn->dirty)
        return;
    conn->dirty = true;
    conn->dirty_next = NULL;
    *conn->net->dirty_last = conn;
    conn->net->dirty_last = &conn->dirty_next;
}

void net_conn_mark_later(struct net_conn *conn)
{
    if (conn->dirty)
        return;
    conn->dirty = true;
    conn->dirty_next = NULL;
    *conn->net->later_last = conn;
    conn->net->later_last = &conn->dirty_next;
}

static void take_up_later(struct net *net)
{
    if (net->later_first == NULL)
        return;
    *net->dirty_last = net->later_first;
    net->dirty_last = net->later_last;
    net->later_first = NULL;
    net->later_last = &net->later_first;
}

static void work_off(struct net *net)
{
    for (int round = 0; round < ROUNDS_PER_TURN && net->dirty_first != NULL; round++) {
        struct net_conn *conn = net->dirty_first;
        net->dirty_first = NULL;
        net->dirty_last = &net->dirty_first;
        while (conn != NULL) {
            struct net_conn *next = conn->dirty_next;
            net_conn_work(conn);
            conn = next;
        }
    }
}

static uint64_t wait_ns(const struct net *net, uint64_t deadline_ns)
{
    if (net->dirty_first != NULL || net->later_first != NULL)
        return 0;
    uint64_t next_ns = wheel_next_ns(net->wheel);
    if (next_ns < deadline_ns)
        deadline_ns = next_ns;
    if (deadline_ns == UINT64_MAX)
        return UINT64_MAX;
    return deadline_ns > net->now_ns ? deadline_ns - net->now_ns : 0;
}

uint64_t net_turn(struct net *net, uint64_t deadline_ns)
{
    net->turn++;
    net->stats.turns++;
    net->now_ns = clock_monotonic_ns();
    take_up_later(net);
    work_off(net);
    net->backend->collect(net, wait_ns(net, deadline_ns));
    wheel_run(net->wheel, net->now_ns);
    work_off(net);
    return net->now_ns;
}
