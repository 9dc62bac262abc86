/* SPDX-License-Identifier: Apache-2.0 */
/* What loop.h promises, on both back ends. */
#include "loop/loop.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/time.h>

#include <cmocka.h>

#include "both.h"

static void test_level_triggered(void **state)
{
    (void)state;
    struct loop *loop = make_loop(4);
    struct seen seen;
    int pair[2];
    make_pair(pair);
    open_seen(&seen, loop);
    loop_arm(loop, seen.watch, pair[0], LOOP_READ);
    poll_once(loop);
    assert_int_equal(seen.calls, 0);
    put_byte(pair[1]);
    turn(loop);
    assert_int_equal(seen.calls, 1);
    assert_int_equal(seen.ready, LOOP_READ);
    poll_once(loop); /* one-shot: not armed again */
    assert_int_equal(seen.calls, 1);
    loop_arm(loop, seen.watch, pair[0], LOOP_READ); /* nothing was read: fires at once */
    turn(loop);
    assert_int_equal(seen.calls, 2);
    loop_arm(loop, seen.watch, pair[0], LOOP_READ | LOOP_WRITE);
    turn(loop);
    assert_int_equal(seen.calls, 3);
    assert_int_equal(seen.ready, LOOP_READ | LOOP_WRITE);
    close(pair[1]);
    loop_arm(loop, seen.watch, pair[0], LOOP_READ);
    turn(loop);
    assert_true(seen.ready & LOOP_READ); /* the byte, then the end */
    close(pair[0]);
    loop_destroy(&loop);
    assert_null(loop);
    loop_destroy(&loop);
}

static void test_rearming_replaces(void **state)
{
    (void)state;
    struct loop *loop = make_loop(4);
    struct seen seen;
    int one[2], two[2];
    make_pair(one);
    make_pair(two);
    open_seen(&seen, loop);
    loop_arm(loop, seen.watch, one[0], LOOP_READ);
    loop_arm(loop, seen.watch, one[0], LOOP_READ); /* the same: nothing to do */
    assert_int_equal(loop_stats(loop).arms, 1);
    poll_once(loop);
    loop_arm(loop, seen.watch, two[0], LOOP_READ); /* another descriptor */
    put_byte(one[1]);
    poll_once(loop);
    assert_int_equal(seen.calls, 0);
    loop_arm(loop, seen.watch, two[0], LOOP_WRITE); /* other events */
    turn(loop);
    assert_int_equal(seen.calls, 1);
    assert_int_equal(seen.ready, LOOP_WRITE);
    loop_arm(loop, seen.watch, one[0], LOOP_READ);
    turn(loop);
    assert_int_equal(seen.calls, 2);
    loop_close(loop, seen.watch);
    assert_int_equal(loop_stats(loop).stale, 0);
    loop_destroy(&loop);
    close(one[0]), close(one[1]), close(two[0]), close(two[1]);
}

/* After loop_disarm() close() must close: the peer sees the end at once, and what later happens on
 * the old file reaches nobody, although its number is in use again. */
static void test_number_is_reused(void **state)
{
    (void)state;
    struct loop *loop = make_loop(4);
    struct seen seen;
    open_seen(&seen, loop);
    for (int round = 0; round < 100; round++) {
        int old[2], young[2];
        char byte;
        make_pair(old);
        loop_arm(loop, seen.watch, old[0], LOOP_READ);
        if (round % 2 == 0)
            poll_once(loop); /* in the kernel already; else still queued */
        loop_disarm(loop, seen.watch);
        close(old[0]);
        assert_int_equal(read(old[1], &byte, 1), 0); /* FIN */
        make_pair(young);
        assert_int_equal(young[0], old[0]);
        loop_arm(loop, seen.watch, young[0], LOOP_READ);
        close(old[1]);
        poll_once(loop);
        assert_int_equal(seen.calls, (uint32_t)round);
        put_byte(young[1]);
        turn(loop);
        assert_int_equal(seen.calls, (uint32_t)round + 1);
        close(young[0]); /* after the callback: no disarm needed */
        assert_int_equal(read(young[1], &byte, 1), -1);
        assert_int_equal(errno, ECONNRESET); /* unread data: reset, but closed */
        close(young[1]);
    }
    assert_int_equal(loop_stats(loop).stale, 0);
    loop_destroy(&loop);
}

/* A watch leaves its descriptor disarmed; another takes over the number, then the file. */
static void test_watches_swap_descriptors(void **state)
{
    (void)state;
    struct loop *loop = make_loop(4);
    struct seen one, two;
    int pair[2], next[2];
    open_seen(&one, loop);
    open_seen(&two, loop);
    make_pair(pair);
    put_byte(pair[1]);
    loop_arm(loop, one.watch, pair[0], LOOP_READ);
    turn(loop);
    loop_arm(loop, two.watch, pair[0], LOOP_READ); /* the same file */
    turn(loop);
    assert_int_equal(one.calls, 1);
    assert_int_equal(two.calls, 1);
    assert_int_equal(two.ready, LOOP_READ);
    close(pair[0]);
    close(pair[1]);
    make_pair(next);
    assert_int_equal(next[0], pair[0]);
    loop_arm(loop, two.watch, next[0], LOOP_READ); /* the same number, another file */
    int other[2];
    make_pair(other);
    loop_arm(loop, one.watch, other[0], LOOP_READ);
    loop_disarm(loop, one.watch); /* must not take two's poll along */
    put_byte(next[1]);
    turn(loop);
    assert_int_equal(two.calls, 2);
    assert_int_equal(one.calls, 1);
    loop_destroy(&loop);
    close(next[0]), close(next[1]), close(other[0]), close(other[1]);
}

struct pair_closer {
    struct loop *loop;
    uint32_t own, other, calls;
    int mode;
};

static void close_other(void *owner, uint32_t ready, uint64_t now_ns)
{
    (void)ready, (void)now_ns;
    struct pair_closer *closer = owner;
    closer->calls++;
    if (closer->mode == 0)
        loop_disarm(closer->loop, closer->other);
    else
        loop_close(closer->loop, closer->other);
    if (closer->mode == 2) /* the place is somebody else's at once */
        assert_int_equal(loop_open(closer->loop, note, NULL), closer->other);
}

/* Both have completed when the first callback runs; it takes the second out. */
static void test_ready_watch_is_taken_out(void **state)
{
    (void)state;
    for (int mode = 0; mode < 3; mode++) {
        struct loop *loop = make_loop(4);
        int fd = eventfd(1, EFD_CLOEXEC), twin = eventfd(1, EFD_CLOEXEC);
        struct pair_closer first = {.loop = loop, .mode = mode}, second = first;
        first.own = second.other = loop_open(loop, close_other, &first);
        second.own = first.other = loop_open(loop, close_other, &second);
        loop_arm(loop, first.own, fd, LOOP_READ);
        loop_arm(loop, second.own, twin, LOOP_READ);
        turn(loop);
        assert_int_equal(first.calls + second.calls, 1);
        poll_once(loop);
        assert_int_equal(first.calls + second.calls, 1);
        loop_destroy(&loop);
        close(fd);
        close(twin);
    }
}

/* While one watch waits for its cancellation another completes: kept, and the next turn does not
 * sleep on it. */
static void test_completion_during_disarm(void **state)
{
    (void)state;
    struct loop *loop = make_loop(4);
    struct seen quiet, busy;
    int one[2], two[2];
    make_pair(one);
    make_pair(two);
    open_seen(&quiet, loop);
    open_seen(&busy, loop);
    loop_arm(loop, quiet.watch, one[0], LOOP_READ);
    loop_arm(loop, busy.watch, two[0], LOOP_READ);
    poll_once(loop);
    put_byte(two[1]);
    loop_disarm(loop, quiet.watch);
    uint64_t before_ns = clock_monotonic_ns();
    turn(loop);
    assert_int_equal(busy.calls, 1);
    assert_int_equal(quiet.calls, 0);
    assert_true(clock_monotonic_ns() - before_ns < 4 * NS_PER_S);
    loop_destroy(&loop);
    close(one[0]), close(one[1]), close(two[0]), close(two[1]);
}

static void test_places(void **state)
{
    (void)state;
    struct loop *loop = make_loop(3);
    struct seen seen[3];
    for (int i = 0; i < 3; i++)
        open_seen(&seen[i], loop);
    assert_int_equal(loop_open(loop, note, NULL), UINT32_MAX);
    int fd = eventfd(1, EFD_CLOEXEC);
    loop_arm(loop, seen[1].watch, fd, LOOP_READ);
    uint64_t token = watch_token(loop, &loop->watches[seen[1].watch]);
    loop_close(loop, seen[1].watch); /* completed or not: never called */
    uint32_t place = seen[1].watch;
    open_seen(&seen[1], loop);
    assert_int_equal(seen[1].watch, place);
    poll_once(loop);
    assert_int_equal(seen[1].calls, 0);
    /* what an earlier owner's poll would have brought is told by its generation */
    loop_arm(loop, seen[1].watch, fd, LOOP_READ);
    assert_int_equal(loop_stats(loop).stale, 0);
    loop_complete(loop, token, 1);
    assert_int_equal(loop_stats(loop).stale, 1);
    turn(loop);
    assert_int_equal(seen[1].calls, 1);
    loop_destroy(&loop);
    close(fd);
    loop = make_loop(200000); /* more than the kernel's largest completion queue holds */
    poll_once(loop);
    loop_destroy(&loop);
}

static void test_what_cannot_be_polled(void **state)
{
    (void)state;
    struct loop *loop = make_loop(4);
    struct seen bad, file;
    open_seen(&bad, loop);
    open_seen(&file, loop);
    char name[] = "/tmp/test_loop.XXXXXX";
    int fd = mkstemp(name);
    unlink(name);
    loop_arm(loop, bad.watch, 19999, LOOP_READ);
    loop_arm(loop, file.watch, fd, LOOP_WRITE);
    uint64_t before_ns = clock_monotonic_ns();
    for (int i = 0; i < 3 && bad.calls + file.calls < 2; i++)
        turn(loop);
    assert_true(clock_monotonic_ns() - before_ns < 3 * NS_PER_S); /* at once */
    assert_int_equal(bad.calls, 1);
    assert_int_equal(bad.ready, LOOP_READ | LOOP_ERROR);
    assert_int_equal(file.calls, 1); /* files are always ready */
    assert_true(file.ready & LOOP_WRITE);
    loop_destroy(&loop);
    close(fd);
}

static void test_deadline(void **state)
{
    (void)state;
    struct loop *loop = make_loop(4);
    static const uint64_t waits_ns[] = {0, 1, 50 * NS_PER_US, NS_PER_MS + 1, 20 * NS_PER_MS};
    for (size_t i = 0; i < sizeof waits_ns / sizeof waits_ns[0]; i++) {
        uint64_t best_ns = UINT64_MAX;
        for (int tries = 0; tries < 3; tries++) {
            uint64_t deadline_ns = clock_monotonic_ns() + waits_ns[i];
            uint64_t after_ns = loop_turn(loop, deadline_ns);
            assert_true(after_ns >= deadline_ns); /* never early: the wheel would spin */
            if (after_ns - deadline_ns < best_ns)
                best_ns = after_ns - deadline_ns;
        }
        assert_true(best_ns < NS_PER_S); /* a loaded machine; normally 0.1 ms */
    }
    loop_destroy(&loop);
}

static struct loop *signalled;

static void on_alarm(int number)
{
    (void)number;
    if (signalled != NULL)
        loop_wake(signalled);
}

static void test_signal(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = on_alarm};
    sigaction(SIGALRM, &action, NULL);
    for (int waking = 0; waking < 3; waking++) {
        struct loop *loop = make_loop(4);
        signalled = waking == 2 ? loop : NULL;
        /* Again and again: the first may come before the loop sleeps. */
        struct itimerval soon = {{.tv_usec = 20000}, {.tv_usec = 20000}};
        setitimer(ITIMER_REAL, &soon, NULL);
        uint64_t before_ns = clock_monotonic_ns();
        loop_turn(loop, waking == 1 ? before_ns + 20 * NS_PER_S : UINT64_MAX);
        assert_true(clock_monotonic_ns() - before_ns < 10 * NS_PER_S);
        setitimer(ITIMER_REAL, &(struct itimerval){{0}, {0}}, NULL);
        signalled = NULL;
        loop_destroy(&loop);
    }
}

enum { WAKERS = 4, MESSAGES = 5000 };

struct waker {
    pthread_t thread;
    struct loop *loop;
    _Atomic uint32_t sent;
};

static void *send_messages(void *argument)
{
    struct waker *waker = argument;
    for (uint32_t i = 0; i < MESSAGES; i++) {
        atomic_fetch_add_explicit(&waker->sent, 1, memory_order_release);
        loop_wake(waker->loop);
        if (i % 64 == 0)
            usleep(1);
    }
    return NULL;
}

/* A lost wake-up leaves the loop asleep for ever: the last message of each sender is the test. */
static void test_wake_from_threads(void **state)
{
    (void)state;
    struct loop *loop = make_loop(4);
    loop_wake(loop);
    loop_wake(loop);
    loop_turn(loop, UINT64_MAX); /* woken before it slept */
    struct waker wakers[WAKERS] = {0};
    for (int i = 0; i < WAKERS; i++) {
        wakers[i].loop = loop;
        assert_int_equal(pthread_create(&wakers[i].thread, NULL, send_messages, &wakers[i]), 0);
    }
    for (uint32_t seen = 0; seen < WAKERS * MESSAGES;) {
        loop_turn(loop, UINT64_MAX);
        seen = 0;
        for (int i = 0; i < WAKERS; i++)
            seen += atomic_load_explicit(&wakers[i].sent, memory_order_acquire);
    }
    for (int i = 0; i < WAKERS; i++)
        pthread_join(wakers[i].thread, NULL);
    poll_once(loop);
    poll_once(loop);
    uint64_t deadline_ns = clock_monotonic_ns() + 5 * NS_PER_MS; /* and it sleeps again */
    assert_true(loop_turn(loop, deadline_ns) >= deadline_ns);
    loop_destroy(&loop);
}

static void *run_elsewhere(void *argument)
{
    struct seen *seen = argument;
    int fd = eventfd(1, EFD_CLOEXEC);
    open_seen(seen, seen->loop);
    loop_arm(seen->loop, seen->watch, fd, LOOP_READ);
    turn(seen->loop);
    close(fd);
    return NULL;
}

static void test_created_elsewhere(void **state)
{
    (void)state;
    struct seen seen = {.loop = make_loop(4)};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run_elsewhere, &seen), 0);
    pthread_join(thread, NULL);
    assert_int_equal(seen.calls, 1);
    loop_destroy(&seen.loop);
}

static uint32_t crowd_size(uint32_t wanted)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    uint32_t most = limit.rlim_cur > 100000 ? 100000 : (uint32_t)limit.rlim_cur;
    return most - 100 < wanted ? most - 100 : wanted;
}

/* More watches ready at once than either queue of the kernel holds: every one is called, every
 * time, and none is left in the kernel afterwards. */
static void test_crowd_on_small_queues(void **state)
{
    (void)state;
    uint32_t count = crowd_size(20000);
    struct loop *loop = NULL;
    struct error error;
    assert_true(
        loop_create_sized(&loop, kind, count, &(struct loop_sizes){64, 128, flag_set}, &error));
    struct seen *seen = calloc(count, sizeof *seen);
    int *fds = calloc(count, sizeof *fds), source = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    for (uint32_t i = 0; i < count; i++) {
        fds[i] = fcntl(source, F_DUPFD_CLOEXEC, 0);
        assert_true(fds[i] >= 0);
        open_seen(&seen[i], loop);
    }
    for (uint32_t round = 1; round <= 2; round++) {
        uint64_t value = 1;
        assert_int_equal(read(source, &value, sizeof value), sizeof value); /* all quiet */
        for (uint32_t i = 0; i < count; i++)
            loop_arm(loop, seen[i].watch, fds[i], LOOP_READ);
        poll_once(loop);
        assert_int_equal(seen[0].calls, round - 1);
        assert_int_equal(write(source, &value, sizeof value), sizeof value); /* all ready */
        for (uint32_t turns = 0, done = 0; done < count && turns < count; turns++) {
            turn(loop);
            for (done = 0; done < count && seen[done].calls == round; done++)
                continue;
        }
        for (uint32_t i = 0; i < count; i++)
            assert_int_equal(seen[i].calls, round);
    }
    if (kind == LOOP_IO_URING && flag_set > 0) /* newer kernels take completions in small bites */
        assert_true(loop_stats(loop).overflows > 0); /* or it tested nothing */
    for (uint32_t i = 0; i < count; i++) {           /* ready, but taken back before the turn */
        loop_arm(loop, seen[i].watch, fds[i], i % 2 ? LOOP_READ : LOOP_WRITE);
        if (i % 3 == 0)
            loop_close(loop, seen[i].watch);
    }
    for (uint32_t i = 0; i < count; i++)
        if (i % 3 != 0)
            loop_disarm(loop, seen[i].watch);
    poll_once(loop);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(seen[i].calls, 2);
        close(fds[i]);
    }
    assert_int_equal(loop_stats(loop).stale, 0);
    close(source);
    loop_destroy(&loop);
    free(seen);
    free(fds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_level_triggered),
        cmocka_unit_test(test_rearming_replaces),
        cmocka_unit_test(test_number_is_reused),
        cmocka_unit_test(test_watches_swap_descriptors),
        cmocka_unit_test(test_ready_watch_is_taken_out),
        cmocka_unit_test(test_completion_during_disarm),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_what_cannot_be_polled),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_signal),
        cmocka_unit_test(test_wake_from_threads),
        cmocka_unit_test(test_created_elsewhere),
        cmocka_unit_test(test_crowd_on_small_queues),
    };
    return run_on_both(tests, sizeof tests / sizeof tests[0]);
}
