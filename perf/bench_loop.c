/* SPDX-License-Identifier: Apache-2.0 */
/* One turn of a shard's loop with N sockets that have something to read: ns per socket from the
 * byte's write to its read in the callback, re-arming included, by io_uring and by epoll. `idle`:
 * the same with one ready socket among 1,000 that are armed and silent, as a fleet's connections
 * are. Floor: the same writes and reads with a bare poll(2) over the ready sockets alone. */
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "loop/loop.h"
#include "perf/shim/bench.h"

enum { PAIRS_MAX = 1001 };

struct pair {
    struct loop *loop;
    uint32_t watch;
    int near, far;
};
static struct pair pairs[PAIRS_MAX];
static uint32_t reads;

static void open_pairs(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        int ends[2];
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
        pairs[i] = (struct pair){.near = ends[0], .far = ends[1]};
    }
}

static void close_pairs(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        close(pairs[i].near);
        close(pairs[i].far);
    }
}

static void poke(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        CHECK(write(pairs[i].far, "x", 1) == 1);
}

static void read_byte(struct pair *pair)
{
    char byte;
    CHECK(read(pair->near, &byte, 1) == 1);
    reads++;
}

static void on_readable(void *owner, uint32_t ready, uint64_t now_ns)
{
    struct pair *pair = owner;
    (void)now_ns;
    CHECK((ready & LOOP_READ) != 0);
    read_byte(pair);
    loop_arm(pair->loop, pair->watch, pair->near, LOOP_READ);
}

static void turn(struct bench *bench, uint32_t ready_count, uint32_t idle_count)
{
    const enum loop_kind *kind = bench_data(bench);
    struct loop *loop;
    struct error error;
    if (!loop_create(&loop, *kind, PAIRS_MAX, &error)) {
        bench_fail(bench, "this kind of loop is denied here");
        return;
    }
    uint32_t count = ready_count + idle_count;
    open_pairs(count);
    for (uint32_t i = 0; i < count; i++) {
        pairs[i].loop = loop;
        pairs[i].watch = loop_open(loop, on_readable, &pairs[i]);
        loop_arm(loop, pairs[i].watch, pairs[i].near, LOOP_READ);
    }
    while (bench_next(bench)) {
        poke(ready_count);
        for (reads = 0; reads < ready_count;)
            loop_turn(loop, 0);
    }
    bench_items(bench, ready_count);
    for (uint32_t i = 0; i < count; i++)
        loop_close(loop, pairs[i].watch);
    loop_destroy(&loop);
    close_pairs(count);
}

static void ready_turn(struct bench *bench)
{
    turn(bench, (uint32_t)bench_argument(bench), 0);
}

static void idle_turn(struct bench *bench)
{
    turn(bench, 1, (uint32_t)bench_argument(bench));
}

static void poll_floor(struct bench *bench)
{
    uint32_t count = (uint32_t)bench_argument(bench);
    static struct pollfd polled[PAIRS_MAX];
    open_pairs(count);
    for (uint32_t i = 0; i < count; i++)
        polled[i] = (struct pollfd){.fd = pairs[i].near, .events = POLLIN};
    while (bench_next(bench)) {
        poke(count);
        CHECK(poll(polled, count, -1) == (int)count);
        for (uint32_t i = 0; i < count; i++)
            read_byte(&pairs[i]);
    }
    bench_items(bench, count);
    close_pairs(count);
}

static const enum loop_kind by_uring = LOOP_IO_URING, by_epoll = LOOP_EPOLL;

static const struct bench_case cases[] = {
    {"poll_floor", poll_floor, .argument = 1, .unit = "socket"},
    {"uring", ready_turn, .argument = 1, .data = &by_uring, .unit = "socket",
     .floor = "poll_floor/1", .exact = -1},
    {"epoll", ready_turn, .argument = 1, .data = &by_epoll, .unit = "socket",
     .floor = "poll_floor/1"},
    {"poll_floor", poll_floor, .argument = 64, .unit = "socket"},
    {"uring", ready_turn, .argument = 64, .data = &by_uring, .unit = "socket",
     .floor = "poll_floor/64", .exact = -1},
    {"epoll", ready_turn, .argument = 64, .data = &by_epoll, .unit = "socket",
     .floor = "poll_floor/64"},
    {"uring_idle", idle_turn, .argument = 1000, .data = &by_uring, .unit = "socket",
     .floor = "poll_floor/1", .exact = -1},
    {"epoll_idle", idle_turn, .argument = 1000, .data = &by_epoll, .unit = "socket",
     .floor = "poll_floor/1"},
};

int main(int argc, char **argv)
{
    struct rlimit files;
    CHECK(getrlimit(RLIMIT_NOFILE, &files) == 0);
    files.rlim_cur = files.rlim_max; /* 1,001 pairs */
    CHECK(setrlimit(RLIMIT_NOFILE, &files) == 0);
    bench_add_cases(cases, sizeof cases / sizeof *cases);
    bench_headline("epoll_socket", "epoll/1");
    return bench_main(argc, argv);
}
