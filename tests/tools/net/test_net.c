/* SPDX-License-Identifier: Apache-2.0 */
/* What net.h promises of bytes in both directions, on both back ends. */
#include "harness.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/clock.h"

enum { FRAMES_CONNS = 24, FRAMES_BYTES = 600000, FRAME_MAX = 100000 };

/* Frames: a length, then as many bytes. One offer may hold many; the owner takes some, sometimes
 * one byte of the next too few, and sometimes holds. */
static size_t receive_frames(struct owner *owner, const uint8_t *bytes, size_t count)
{
    size_t used = 0;
    struct world *world = owner->world;
    for (;;) {
        uint32_t length;
        if (count - used < sizeof length)
            return used;
        memcpy(&length, bytes + used, sizeof length);
        if (count - used - sizeof length < length)
            return used;
        if (random_below(&world->random, 2) == 0) {
            net_send(owner->conn, bytes + used, sizeof length + length);
        } else {
            memcpy(net_room(owner->conn, sizeof length + length), bytes + used,
                   sizeof length + length);
            net_wrote(owner->conn, sizeof length + length);
        }
        used += sizeof length + length;
        if (random_below(&world->random, 4) == 0) {
            net_hold(owner->conn);
            owner->holding = true;
            return used;
        }
    }
}

static void release_some(struct world *world)
{
    for (uint32_t i = 0; i < world->owner_count; i++) {
        struct owner *owner = world->owners[i];
        if (!owner->closed && owner->holding && random_below(&world->random, 2) == 0) {
            owner->holding = false;
            world->calling = true;
            net_release(owner->conn);
            world->calling = false;
        }
    }
}

static size_t make_frames(struct random *random, uint8_t *bytes, uint32_t seed)
{
    size_t count = 0;
    while (count < FRAMES_BYTES) {
        uint32_t length = (uint32_t)random_below(random, 20);
        if (random_below(random, 3) == 0)
            length = (uint32_t)random_below(random, FRAME_MAX);
        memcpy(bytes + count, &length, sizeof length);
        fill(bytes + count + sizeof length, length, seed, count);
        count += sizeof length + length;
    }
    return count;
}

static void test_echo_of_frames(void **state)
{
    (void)state;
    struct world *world = world_open(kind_under_test, FRAMES_CONNS, NULL, false);
    world->receive = receive_frames;
    struct peer *peers[FRAMES_CONNS];
    uint8_t *bytes[FRAMES_CONNS];
    size_t counts[FRAMES_CONNS], sent[FRAMES_CONNS] = {0};
    for (uint32_t i = 0; i < FRAMES_CONNS; i++) {
        peers[i] = peer_open(world, NULL);
        bytes[i] = malloc(FRAMES_BYTES + FRAME_MAX + 8);
        counts[i] = make_frames(&world->random, bytes[i], i);
    }
    world_patience(world);
    for (uint32_t done = 0; done < FRAMES_CONNS;) {
        done = 0;
        for (uint32_t i = 0; i < FRAMES_CONNS; i++) {
            size_t some = random_below(&world->random, 30000);
            if (some > counts[i] - sent[i])
                some = counts[i] - sent[i];
            sent[i] += peer_try_send(peers[i], bytes[i] + sent[i], some);
            if (random_below(&world->random, 3) > 0)
                peer_look(peers[i]);
            done += peers[i]->got_count == counts[i];
        }
        release_some(world);
        world_wait(world, "all frames", __LINE__);
    }
    for (uint32_t i = 0; i < FRAMES_CONNS; i++) {
        assert_memory_equal(peers[i]->got, bytes[i], counts[i]);
        assert_int_equal(peers[i]->error, 0);
        free(bytes[i]);
        peer_close(&peers[i]);
    }
    UNTIL(world, (release_some(world), world->closed_count == FRAMES_CONNS));
    world_close(world);
}

/* Partial consumption: the rest comes again with more behind it, and not before. */
static size_t consume_three(struct owner *owner, const uint8_t *bytes, size_t count)
{
    size_t used = count < 3 ? 0 : 3;
    receive_keep(owner, bytes, used);
    return used;
}

static void test_rest_comes_again(void **state)
{
    (void)state;
    struct world *world = world_open(kind_under_test, 4, NULL, false);
    world->receive = consume_three;
    struct peer *peer = peer_open(world, NULL);
    peer_send(peer, "ab", 2);
    struct owner *owner = world_owner(world, 1);
    UNTIL(world, owner->offers == 1);
    assert_int_equal(owner->got_count, 0);
    peer_send(peer, "cdefg", 5);
    UNTIL(world, owner->offers == 2);
    assert_int_equal(owner->offered, 7);
    for (int i = 0; i < 5; i++)
        world_turn(world);
    assert_int_equal(owner->offers, 2);
    peer_send(peer, "h", 1);
    UNTIL(world, owner->offers == 3);
    assert_int_equal(owner->offered, 5);
    assert_memory_equal(owner->got, "abcdef", 6);
    peer_close(&peer);
    world_close(world);
}

static void test_hold(void **state)
{
    (void)state;
    struct world *world = world_open(kind_under_test, 4, NULL, false);
    world->receive = receive_keep;
    struct peer *peer = peer_open(world, NULL);
    struct owner *owner = world_owner(world, 1);
    for (int round = 0; round < 5; round++) {
        size_t before = owner->got_count;
        net_hold(owner->conn);
        owner->holding = true; /* the harness fails when it is offered anything */
        peer_send(peer, "held", 4);
        for (int i = 0; i < 10; i++)
            world_turn(world);
        peer_send(peer, "more", 4);
        for (int i = 0; i < 10; i++)
            world_turn(world);
        assert_int_equal(owner->got_count, before);
        owner->holding = false;
        net_release(owner->conn);
        assert_int_equal(owner->got_count, before); /* not inside the call */
        UNTIL(world, owner->got_count == before + 8);
        assert_memory_equal(owner->got + before, "heldmore", 8);
        net_release(owner->conn); /* not held: nothing */
    }
    /* A FIN waits too. */
    net_hold(owner->conn);
    owner->holding = true;
    peer_send(peer, "last", 4);
    peer_close(&peer);
    for (int i = 0; i < 20; i++)
        world_turn(world);
    assert_false(owner->closed);
    owner->holding = false;
    net_release(owner->conn);
    UNTIL(world, owner->closed);
    assert_int_equal(owner->got_count, 5 * 8 + 4);
    assert_int_equal(owner->error, 0);
    world_close(world);
}

/* A held connection is read no further than a little. */
static void test_hold_is_back_pressure(void **state)
{
    (void)state;
    struct world *world = world_open(kind_under_test, 4, NULL, false);
    world->receive = receive_keep;
    struct peer *peer = peer_open(world, NULL);
    struct owner *owner = world_owner(world, 1);
    net_hold(owner->conn);
    owner->holding = true;
    static uint8_t bytes[1 << 20];
    fill(bytes, sizeof bytes, 1, 0);
    size_t sent = 0, total = (size_t)32 << 20;
    int stuck = 0;
    for (world_patience(world); sent < total && stuck < 200;) {
        size_t from = sent % sizeof bytes;
        size_t some = peer_try_send(peer, bytes + from, sizeof bytes - from);
        stuck = some == 0 ? stuck + 1 : 0;
        sent += some;
        world_wait(world, "the window to fill", __LINE__);
    }
    assert_true(sent < total);
    assert_true(net_stats(world->net).received_bytes <= 8 << 20); /* io_uring's buffers */
    owner->holding = false;
    net_release(owner->conn);
    UNTIL(world, owner->got_count == sent);
    for (size_t from = 0; from < sent; from += sizeof bytes) {
        size_t count = sent - from < sizeof bytes ? sent - from : sizeof bytes;
        assert_filled(owner->got + from, count, 1, 0);
    }
    peer_close(&peer);
    world_close(world);
}

/* A peer that sends and does not read: what waits for it is bounded, and nothing is lost. */
static void test_pending_is_bounded(void **state)
{
    (void)state;
    struct world *world = world_open(kind_under_test, 4, NULL, false);
    struct peer *peer = peer_open(world, NULL);
    struct owner *owner = world_owner(world, 1);
    enum { PIECE = 1 << 18, PIECES = 200 };
    static uint8_t piece[PIECE];
    fill(piece, PIECE, 7, 0);
    size_t sent = 0, total = (size_t)PIECE * PIECES, pending_max = 0;
    int stuck = 0;
    for (world_patience(world); sent < total && stuck < 300;) {
        size_t some = peer_try_send(peer, piece + sent % PIECE, PIECE - sent % PIECE);
        sent += some;
        stuck = some == 0 ? stuck + 1 : 0;
        world_wait(world, "the connection to be throttled", __LINE__);
        if (net_pending(owner->conn) > pending_max)
            pending_max = net_pending(owner->conn);
    }
    assert_true(sent < total);
    assert_true(pending_max > 4 << 20);
    assert_true(pending_max < 5 << 20);
    world_patience(world);
    while (peer->got_count < total) {
        peer_look(peer);
        if (sent < total)
            sent += peer_try_send(peer, piece + sent % PIECE, PIECE - sent % PIECE);
        world_wait(world, "all of it", __LINE__);
    }
    for (size_t i = 0; i < PIECES; i++)
        assert_memory_equal(peer->got + i * PIECE, piece, PIECE);
    assert_int_equal(net_stats(world->net).received_bytes, total);
    assert_int_equal(net_stats(world->net).sent_bytes, total);
    peer_close(&peer);
    world_close(world);
}

static void send_numbers(struct owner *owner)
{
    if (owner->drained < 50) {
        uint8_t bytes[1000];
        fill(bytes, sizeof bytes, 3, owner->got_count);
        owner->got_count += sizeof bytes;
        net_send(owner->conn, bytes, sizeof bytes);
        net_send(owner->conn, bytes, 0);
        owner->asked_turn = owner->drained;
    }
}

/* drained() as the source of what is sent; several sends of one turn are one write. */
static void test_drained(void **state)
{
    (void)state;
    struct world *world = world_open(kind_under_test, 4, NULL, false);
    world->drained = send_numbers;
    struct peer *peer = peer_open(world, NULL);
    struct owner *owner = world_owner(world, 1);
    send_numbers(owner);
    UNTIL(world, owner->drained == 50);
    UNTIL(world, peer_look(peer)->got_count == 50000);
    assert_filled(peer->got, 50000, 3, 0);
    owner->asked_turn = 0;
    for (int i = 0; i < 1000; i++)
        net_send(owner->conn, "0123456789", 10);
    assert_int_equal(net_pending(owner->conn), 10000);
    UNTIL(world, owner->drained == 51);
    UNTIL(world, peer_look(peer)->got_count == 60000);
    peer_close(&peer);
    world_close(world);
}

/* A request and its answer cost no more system calls than they must. */
static void test_calls_per_round_trip(void **state)
{
    (void)state;
    struct world *world = world_open(kind_under_test, 4, NULL, false);
    struct peer *peer = peer_open(world, NULL);
    world_owner(world, 1);
    peer_send(peer, "warm", 4);
    size_t got = 4;
    UNTIL(world, peer_look(peer)->got_count == got);
    uint64_t best = UINT64_MAX;
    for (int tries = 0; tries < 3; tries++) { /* a busy machine adds turns that wait in vain */
        uint64_t before = net_stats(world->net).syscalls;
        for (size_t i = 0; i < 100; i++) {
            assert_int_equal(peer_try_send(peer, "question", 8), 8);
            got += 8;
            UNTIL(world, peer_look(peer)->got_count >= got);
        }
        uint64_t calls = net_stats(world->net).syscalls - before;
        best = calls < best ? calls : best;
    }
    /* One more turn may have waited in vain for each. */
    assert_true(best <= (kind_under_test == LOOP_EPOLL ? 450 : 250));
    peer_close(&peer);
    world_close(world);
}

/* Turns that would wait long return for each question, although another peer's window is full and
 * more is queued for it in each of them. */
static void test_stuck_peer_delays_nobody(void **state)
{
    (void)state;
    struct world *world = world_open(kind_under_test, 4, NULL, false);
    struct peer *stuck = peer_open(world, NULL), *peer = peer_open(world, NULL);
    struct owner *owner = (world_owner(world, 2), world->owners[0]);
    uint8_t bytes[20000] = {0};
    uint64_t begin_ns = clock_monotonic_ns();
    for (size_t i = 0; i < 1000; i++) {
        net_send(owner->conn, bytes, sizeof bytes);
        net_send(owner->conn, "more", 4);
        assert_int_equal(peer_try_send(peer, "question", 8), 8);
        while (peer_look(peer)->got_count < 8 * (i + 1))
            net_turn(world->net, clock_monotonic_ns() + 3600 * NS_PER_S);
    }
    assert_true(net_pending(owner->conn) > 1 << 20);
    assert_true(clock_monotonic_ns() - begin_ns < 60 * NS_PER_S);
    UNTIL(world, peer_look(stuck)->got_count == 1000 * (sizeof bytes + 4));
    peer_close(&stuck);
    peer_close(&peer);
    world_close(world);
}

static void *turn_elsewhere(void *place)
{
    struct world *world = place;
    while (world->owner_count == 0 || world->owners[0]->got_count < 4)
        net_turn(world->net, clock_monotonic_ns() + NS_PER_MS);
    return NULL;
}

/* Made by one thread, run by another, and when that has ended, destroyed by the first. */
static void test_thread_of_its_own(void **state)
{
    (void)state;
    struct world *world = world_open(kind_under_test, 4, NULL, false);
    world->receive = receive_keep;
    struct peer *peer = peer_open(world, NULL);
    assert_int_equal(peer_try_send(peer, "here", 4), 4);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, turn_elsewhere, world), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    world_close(world);
    peer_close(&peer);
}

/* hold and release in one callback: what was not consumed comes again all the same. */
static size_t hold_and_release(struct owner *owner, const uint8_t *bytes, size_t count)
{
    net_hold(owner->conn);
    net_release(owner->conn);
    return receive_keep(owner, bytes, count > 5 ? 5 : count);
}

static void test_release_inside(void **state)
{
    (void)state;
    struct world *world = world_open(kind_under_test, 4, NULL, false);
    world->receive = hold_and_release;
    struct peer *peer = peer_open(world, NULL);
    peer_send(peer, "0123456789012345678901234567890123456789", 40);
    UNTIL(world, world->owner_count == 1 && world->owners[0]->got_count == 40);
    assert_int_equal(world->owners[0]->offers, 8);
    peer_close(&peer);
    world_close(world);
}

static void count_timer(struct timer *timer, uint64_t now_ns)
{
    assert_true(now_ns >= timer->deadline_ns);
    timer->deadline_ns = 0;
}

static void test_turns_and_timers(void **state)
{
    (void)state;
    struct world *world = world_open(kind_under_test, 4, NULL, false);
    struct timer timer;
    timer_init(&timer, count_timer);
    wheel_arm(net_wheel(world->net), &timer, clock_monotonic_ns() + 3 * NS_PER_MS);
    UNTIL(world, timer.deadline_ns == 0);
    /* The timer, not the caller's deadline, ends a turn. */
    wheel_arm(net_wheel(world->net), &timer, clock_monotonic_ns() + 3 * NS_PER_MS);
    world_patience(world);
    while (timer.deadline_ns != 0) {
        assert_true(clock_monotonic_ns() < world->deadline_ns);
        net_turn(world->net, UINT64_MAX);
    }
    uint64_t deadline_ns = clock_monotonic_ns() + 5 * NS_PER_MS;
    while (net_turn(world->net, deadline_ns) < deadline_ns)
        assert_true(clock_monotonic_ns() < world->deadline_ns);
    world_close(world);
}

static void on_alarm(int number)
{
    (void)number;
}

static void test_signal_returns(void **state)
{
    (void)state;
    struct world *world = world_open(kind_under_test, 4, NULL, false);
    net_turn(world->net, 0);
    struct sigaction action = {.sa_handler = on_alarm};
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    struct itimerval soon = {.it_value.tv_usec = 20000, .it_interval.tv_usec = 20000};
    assert_int_equal(setitimer(ITIMER_REAL, &soon, NULL), 0);
    uint64_t before_ns = clock_monotonic_ns();
    uint64_t after_ns = net_turn(world->net, before_ns + 20 * NS_PER_S);
    assert_true(after_ns - before_ns < 10 * NS_PER_S);
    soon = (struct itimerval){0};
    setitimer(ITIMER_REAL, &soon, NULL);
    world_close(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo_of_frames),
        cmocka_unit_test(test_rest_comes_again),
        cmocka_unit_test(test_hold),
        cmocka_unit_test(test_hold_is_back_pressure),
        cmocka_unit_test(test_pending_is_bounded),
        cmocka_unit_test(test_drained),
        cmocka_unit_test(test_calls_per_round_trip),
        cmocka_unit_test(test_turns_and_timers),
        cmocka_unit_test(test_signal_returns),
        cmocka_unit_test(test_stuck_peer_delays_nobody),
        cmocka_unit_test(test_thread_of_its_own),
        cmocka_unit_test(test_release_inside),
    };
    return RUN_ON_BOTH(tests);
}
