/* SPDX-License-Identifier: Apache-2.0 */
/* How connections end: by whom, by what, after how many bytes, and that it is told once. */
#include "harness.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

static size_t answer_and_close(struct owner *owner, const uint8_t *bytes, size_t count)
{
    (void)bytes;
    owner->world->calling = true;
    net_send(owner->conn, "answer", 6);
    owner->world->calling = false;
    owner_close(owner);
    net_send(owner->conn, "too late", 8);
    return count > 2 ? 2 : count;
}

/* Bytes that nobody reads must not turn the FIN into a reset, which could cost the answer. */
static void test_close_is_a_fin(void **state)
{
    (void)state;
    struct world *world = world_open(kind_under_test, 4, NULL, false);
    world->receive = answer_and_close;
    struct peer *peer = peer_open(world, NULL);
    static uint8_t bytes[300000];
    peer_send(peer, bytes, sizeof bytes);
    UNTIL(world, peer_look(peer)->ended || peer->error != 0);
    assert_int_equal(peer->error, 0);
    assert_int_equal(peer->got_count, 6);
    assert_memory_equal(peer->got, "answer", 6);
    UNTIL(world, world->owners[0]->closed);
    assert_int_equal(world->owners[0]->error, 0);
    assert_int_equal(world->owners[0]->offers, 1);
    peer_close(&peer);
    /* Nor those that come when it is out, before the peer has looked. */
    peer = peer_open(world, NULL);
    peer_send(peer, bytes, 1);
    UNTIL(world, world->closed_count == 2);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(peer_try_send(peer, bytes, 1000), 1000);
        world_turn(world);
    }
    assert_int_equal(peer_look(peer)->got_count, 6);
    assert_true(peer->ended);
    assert_int_equal(peer->error, 0);
    peer_close(&peer);
    world_close(world);
}

/* Everything queued leaves before the FIN, however slowly it is read. */
static void test_close_flushes(void **state)
{
    (void)state;
    struct world *world = world_open(kind_under_test, 4, NULL, false);
    struct peer *peer = peer_open(world, NULL);
    struct owner *owner = world_owner(world, 1);
    enum { COUNT = 12 << 20 };
    uint8_t *bytes = malloc(COUNT);
    fill(bytes, COUNT, 9, 0);
    net_send(owner->conn, bytes, COUNT / 3);
    world_turn(world);
    net_send(owner->conn, bytes + COUNT / 3, COUNT - COUNT / 3);
    owner_close(owner);
    for (int i = 0; i < 20; i++)
        world_turn(world);
    assert_false(owner->closed); /* the window is smaller than that */
    UNTIL(world, peer_look(peer)->ended);
    assert_int_equal(peer->got_count, COUNT);
    assert_memory_equal(peer->got, bytes, COUNT);
    UNTIL(world, owner->closed);
    assert_int_equal(owner->error, 0);
    free(bytes);
    peer_close(&peer);
    world_close(world);
}

static void test_reset(void **state)
{
    (void)state;
    struct world *world = world_open(kind_under_test, 8, NULL, false);
    struct peer *peers[2] = {peer_open(world, NULL), peer_open(world, NULL)};
    struct owner *owner = (world_owner(world, 2), world->owners[0]);
    net_send(owner->conn, "dropped", 7);
    owner_reset(owner);
    owner_reset(owner);
    owner_close(owner);
    UNTIL(world, peer_look(peers[0])->error != 0);
    assert_int_equal(peers[0]->error, ECONNRESET);
    assert_int_equal(peers[0]->got_count, 0);
    UNTIL(world, owner->closed);
    assert_int_equal(owner->error, 0);
    /* One whose sends are stuck in the kernel. */
    owner = world->owners[1];
    uint8_t *bytes = calloc(1, 16 << 20);
    net_send(owner->conn, bytes, 16 << 20);
    for (int i = 0; i < 20; i++)
        world_turn(world);
    assert_true(net_pending(owner->conn) > 0);
    owner_reset(owner);
    assert_false(owner->closed);
    UNTIL(world, owner->closed);
    UNTIL(world, peer_look(peers[1])->error != 0 || peers[1]->ended);
    assert_int_equal(peers[1]->error, ECONNRESET);
    free(bytes);
    peer_close(&peers[0]);
    peer_close(&peers[1]);
    world_close(world);
}

/* Exactly k bytes, then a reset. */
static void cut_after(struct world *world, size_t k, size_t queued, bool at_once)
{
    struct peer *peer = peer_open(world, NULL);
    struct owner *owner = world_owner(world, world->owner_count + 1);
    uint8_t *bytes = malloc(queued);
    fill(bytes, queued, (uint32_t)k, 0);
    if (at_once)
        net_reset_after(owner->conn, k);
    net_send(owner->conn, bytes, queued);
    if (!at_once)
        net_reset_after(owner->conn, k);
    if (queued < k) { /* not yet */
        UNTIL(world, peer_look(peer)->got_count == queued);
        for (int i = 0; i < 3; i++)
            world_turn(world);
        assert_false(owner->closed);
        assert_int_equal(peer_look(peer)->error, 0);
        uint8_t *rest = malloc(k);
        fill(rest, k, (uint32_t)k, queued);
        net_send(owner->conn, rest, k); /* more than is let out */
        free(rest);
    }
    UNTIL(world, peer_look(peer)->error != 0 || peer->ended);
    assert_int_equal(peer->error, ECONNRESET);
    assert_int_equal(peer->got_count, k);
    assert_filled(peer->got, k, (uint32_t)k, 0);
    UNTIL(world, owner->closed);
    assert_int_equal(owner->error, 0);
    free(bytes);
    peer_close(&peer);
}

static void test_reset_after(void **state)
{
    (void)state;
    struct world *world = world_open(kind_under_test, 8, NULL, false);
    for (size_t k = 0; k <= 64; k++)
        cut_after(world, k, 50, k % 2 == 0);
    static const size_t large[] = {1000, 4095, 4096, 16384, 65535, 65536, 1 << 20, 5000000};
    for (size_t i = 0; i < sizeof large / sizeof large[0]; i++) {
        cut_after(world, large[i], large[i] + 1 + i, i % 2 == 0);
        cut_after(world, large[i], large[i], i % 2 == 1);
        cut_after(world, large[i], large[i] / 2, true);
    }
    world_close(world);
}

static void test_reset_after_while_closing(void **state)
{
    (void)state;
    struct world *world = world_open(kind_under_test, 8, NULL, false);
    struct peer *peer = peer_open(world, NULL);
    struct owner *owner = world_owner(world, 1);
    net_send(owner->conn, "0123456789", 10);
    net_reset_after(owner->conn, 4);
    owner_close(owner);
    UNTIL(world, peer_look(peer)->error != 0 || peer->ended);
    assert_int_equal(peer->error, ECONNRESET);
    assert_int_equal(peer->got_count, 4);
    peer_close(&peer);
    /* Fewer queued than would be let out: an ordinary end. */
    peer = peer_open(world, NULL);
    owner = world_owner(world, 2);
    net_send(owner->conn, "0123456789", 10);
    net_reset_after(owner->conn, 40);
    owner_close(owner);
    UNTIL(world, peer_look(peer)->error != 0 || peer->ended);
    assert_int_equal(peer->error, 0);
    assert_int_equal(peer->got_count, 10);
    peer_close(&peer);
    world_close(world);
}

static void test_slices(void **state)
{
    (void)state;
    struct world *world = world_open(kind_under_test, 8, NULL, false);
    struct peer *peer = peer_open(world, NULL);
    struct owner *owner = world_owner(world, 1);
    uint8_t bytes[20000];
    fill(bytes, sizeof bytes, 5, 0);
    net_slice(owner->conn, 7, 2 * NS_PER_MS);
    uint64_t begin_ns = clock_monotonic_ns();
    net_send(owner->conn, bytes, 70);
    size_t before = 0;
    world_patience(world);
    while (peer->got_count < 70) {
        world_wait(world, "ten slices", __LINE__);
        peer_look(peer);
        uint64_t passed_ns = clock_monotonic_ns() - begin_ns;
        assert_true(peer->got_count <= 7 * (passed_ns / (2 * NS_PER_MS) + 1));
        assert_true(peer->got_count >= before);
        before = peer->got_count;
    }
    assert_true(clock_monotonic_ns() - begin_ns >= 18 * NS_PER_MS);
    assert_filled(peer->got, 70, 5, 0);
    /* A pause as long as that is not for ever. */
    net_slice(owner->conn, 1, 3600 * NS_PER_S);
    net_send(owner->conn, bytes + 70, sizeof bytes - 70);
    UNTIL(world, peer_look(peer)->got_count == 71);
    for (int i = 0; i < 10; i++)
        world_turn(world);
    assert_int_equal(peer_look(peer)->got_count, 71);
    net_slice(owner->conn, 0, 0);
    UNTIL(world, peer_look(peer)->got_count == sizeof bytes);
    assert_filled(peer->got, sizeof bytes, 5, 0);
    /* Slices hold for what net_close() leaves to be sent. */
    net_slice(owner->conn, 10, NS_PER_MS);
    net_send(owner->conn, bytes, 100);
    owner_close(owner);
    begin_ns = clock_monotonic_ns();
    UNTIL(world, peer_look(peer)->ended);
    assert_true(clock_monotonic_ns() - begin_ns >= 8 * NS_PER_MS);
    assert_int_equal(peer->got_count, sizeof bytes + 100);
    peer_close(&peer);
    world_close(world);
}

static void test_peer_closes(void **state)
{
    (void)state;
    struct world *world = world_open(kind_under_test, 8, NULL, false);
    struct peer *peer = peer_open(world, NULL);
    peer_send(peer, "question", 8);
    shutdown(peer->fd, SHUT_WR); /* the answer still comes, then the end */
    UNTIL(world, peer_look(peer)->ended);
    assert_memory_equal(peer->got, "question", 8);
    assert_int_equal(peer->got_count, 8);
    UNTIL(world, world->closed_count == 1);
    assert_int_equal(world->owners[0]->error, 0);
    peer_close(&peer);
    peer = peer_open(world, NULL);
    world_owner(world, 2);
    peer_reset(peer);
    UNTIL(world, world->closed_count == 2);
    assert_int_equal(world->owners[1]->error, ECONNRESET);
    peer_close(&peer);
    /* A reset is told although nothing is read. */
    peer = peer_open(world, NULL);
    struct owner *owner = world_owner(world, 3);
    net_hold(owner->conn);
    owner->holding = true;
    world_turn(world);
    peer_reset(peer);
    UNTIL(world, owner->closed);
    assert_int_equal(owner->error, ECONNRESET);
    peer_close(&peer);
    /* Gone while bytes are on their way to it. */
    peer = peer_open(world, NULL);
    owner = world_owner(world, 4);
    uint8_t *bytes = calloc(1, 16 << 20);
    net_send(owner->conn, bytes, 16 << 20);
    for (int i = 0; i < 10; i++)
        world_turn(world);
    peer_close(&peer); /* with unread bytes: a reset */
    UNTIL(world, owner->closed);
    assert_true(owner->error == ECONNRESET || owner->error == EPIPE);
    free(bytes);
    world_close(world);
}

static void test_half_close(void **state)
{
    (void)state;
    struct world *world = world_open(kind_under_test, 8, NULL, true);
    world->receive = receive_nothing;
    struct peer *peer = peer_open(world, NULL);
    peer_send(peer, "document", 8);
    shutdown(peer->fd, SHUT_WR);
    struct owner *owner = world_owner(world, 1);
    UNTIL(world, owner->ended);
    assert_int_equal(owner->offered, 8);
    for (int i = 0; i < 10; i++)
        world_turn(world);
    assert_false(owner->closed);
    assert_false(peer_look(peer)->ended);
    net_send(owner->conn, "report", 6);
    owner_close(owner);
    UNTIL(world, peer_look(peer)->ended);
    assert_int_equal(peer->error, 0);
    assert_memory_equal(peer->got, "report", 6);
    UNTIL(world, owner->closed);
    peer_close(&peer);
    world_close(world);
}

/* -- everything at random -- */

enum { CHURN_CONNS = 2000, CHURN_OPEN = 300 };

static size_t receive_at_random(struct owner *owner, const uint8_t *bytes, size_t count)
{
    struct world *world = owner->world;
    switch (random_below(&world->random, 12)) {
    case 0:
        owner_close(owner);
        break;
    case 1:
        owner_reset(owner);
        break;
    case 2:
        net_reset_after(owner->conn, random_below(&world->random, 2000));
        break;
    case 3:
        net_slice(owner->conn, 1 + (uint32_t)random_below(&world->random, 500), NS_PER_MS / 4);
        break;
    case 4:
        net_hold(owner->conn);
        owner->holding = true;
        break;
    default:
        break;
    }
    net_send(owner->conn, bytes, count);
    if (random_below(&world->random, 30) == 0)
        owner_close(owner);
    return random_below(&world->random, count + 1);
}

static void poke_owner(struct world *world)
{
    if (world->owner_count == 0)
        return;
    uint32_t back = (uint32_t)random_below(&world->random, CHURN_OPEN);
    if (back >= world->owner_count)
        return;
    struct owner *owner = world->owners[world->owner_count - 1 - back];
    if (owner->closed)
        return;
    if (owner->holding) {
        owner->holding = false;
        net_release(owner->conn);
        return;
    }
    uint64_t what = random_below(&world->random, 8);
    if (what == 0)
        owner_close(owner);
    else if (what == 1)
        owner_reset(owner);
    else
        net_send(owner->conn, "spontaneous", 11);
}

static void poke_peer(struct world *world, struct peer **place)
{
    static const uint8_t bytes[3000];
    uint64_t what = random_below(&world->random, 16);
    if (what == 0) {
        peer_close(place);
    } else if (what == 1) {
        peer_reset(*place);
        peer_close(place);
    } else if (what == 2) {
        shutdown((*place)->fd, SHUT_WR);
    } else {
        peer_try_send(*place, bytes, 1 + random_below(&world->random, sizeof bytes));
        if (what % 2 == 0)
            peer_look(*place);
    }
}

static void release_all(struct world *world)
{
    for (uint32_t i = 0; i < world->owner_count; i++) {
        struct owner *owner = world->owners[i];
        if (!owner->closed && owner->holding) {
            owner->holding = false;
            net_release(owner->conn);
        }
    }
}

static void churn(uint64_t seed, uint32_t conns)
{
    struct world *world = world_open(kind_under_test, CHURN_OPEN * 2, NULL, false);
    world->random.state = seed;
    world->receive = receive_at_random;
    struct peer *peers[CHURN_OPEN] = {0};
    uint32_t opened = 0;
    world_patience(world);
    while (opened < conns) {
        for (int i = 0; i < 60; i++) {
            struct peer **place = &peers[random_below(&world->random, CHURN_OPEN)];
            if (*place != NULL) {
                poke_peer(world, place);
            } else {
                *place = peer_open(world, NULL);
                opened++;
            }
            poke_owner(world);
        }
        world_wait(world, "the churn's end", __LINE__);
    }
    for (int i = 0; i < CHURN_OPEN; i++)
        if (peers[i] != NULL && i % 2 == 0)
            peer_close(&peers[i]);
    UNTIL(world, (release_all(world), net_stats(world->net).open <= CHURN_OPEN / 2));
    world_close(world); /* with about half of them still open */
    for (int i = 0; i < CHURN_OPEN; i++)
        if (peers[i] != NULL)
            peer_close(&peers[i]);
}

static void test_churn(void **state)
{
    (void)state;
    churn(1, CHURN_CONNS);
    for (uint64_t seed = 2; seed < 6; seed++)
        churn(seed, CHURN_CONNS / 8);
}

static void test_destroy_with_open(void **state)
{
    (void)state;
    struct world *world = world_open(kind_under_test, 64, NULL, false);
    struct peer *peers[20];
    for (int i = 0; i < 20; i++)
        peers[i] = peer_open(world, NULL);
    world_owner(world, 20);
    for (uint32_t i = 0; i < 20; i++) {
        if (i % 4 == 0)
            net_send(world->owners[i]->conn, "never sent", 10);
        if (i % 5 == 0)
            owner_close(world->owners[i]);
        if (i % 7 == 0)
            owner_reset(world->owners[i]);
    }
    uint16_t port = world->port;
    world_close(world); /* checks that all were told */
    for (int i = 0; i < 20; i++) {
        struct pollfd poll_peer = {.fd = peers[i]->fd, .events = POLLIN};
        assert_int_equal(poll(&poll_peer, 1, 10000), 1);
        peer_look(peers[i]);
        assert_true(peers[i]->ended || peers[i]->error != 0);
        peer_close(&peers[i]);
    }
    /* Nobody has the port any more. */
    struct net *net = NULL;
    struct error error = {0};
    assert_true(net_create(&net, kind_under_test, 8, &error));
    const struct net_handler handler = {
        .opened = (void *)1, .received = (void *)1, .closed = (void *)1}; /* never called */
    struct net_place place = {.port = port};
    if (!net_listen(net, &place, &handler, NULL, &port, &error))
        fail_msg("%s", error.text);
    net_destroy(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_close_is_a_fin),
        cmocka_unit_test(test_close_flushes),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_reset_after),
        cmocka_unit_test(test_reset_after_while_closing),
        cmocka_unit_test(test_slices),
        cmocka_unit_test(test_peer_closes),
        cmocka_unit_test(test_half_close),
        cmocka_unit_test(test_churn),
        cmocka_unit_test(test_destroy_with_open),
    };
    return RUN_ON_BOTH(tests);
}
