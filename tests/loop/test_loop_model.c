/* SPDX-License-Identifier: Apache-2.0 */
/* Random use of many watches against a model that knows which are armed and which have data:
 * nothing fires that should not, and everything that should fires on the next turn. */
#include "loop/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/random.h"
#include "both.h"

enum { PEERS = 48, STEPS = 20000 };

struct peer {
    struct model *model;
    int pair[2];
    uint32_t watch, events;
    bool opened, armed, data;
};

struct model {
    struct loop *loop;
    struct random random;
    struct peer peers[PEERS];
    uint64_t fired;
};

static uint32_t expected(const struct peer *peer)
{
    return peer->events & ((peer->data ? LOOP_READ : 0u) | LOOP_WRITE);
}

static void on_ready(void *owner, uint32_t ready, uint64_t now_ns);

static void act(struct model *model)
{
    struct peer *peer = &model->peers[random_below(&model->random, PEERS)];
    char bytes[64];
    switch (random_below(&model->random, 10)) {
    case 0:
        if (peer->opened) {
            loop_close(model->loop, peer->watch);
            peer->opened = peer->armed = false;
        }
        break;
    case 1:
        if (peer->opened)
            loop_disarm(model->loop, peer->watch);
        peer->armed = false;
        break;
    case 2: /* the socket goes, its number comes back with the next */
        if (peer->opened)
            loop_disarm(model->loop, peer->watch);
        peer->armed = peer->data = false;
        close(peer->pair[0]);
        close(peer->pair[1]);
        make_pair(peer->pair);
        break;
    case 3:
        while (read(peer->pair[0], bytes, sizeof bytes) > 0)
            continue;
        peer->data = false;
        break;
    case 4:
    case 5:
        put_byte(peer->pair[1]);
        peer->data = true;
        break;
    default:
        if (!peer->opened)
            peer->watch = loop_open(model->loop, on_ready, peer);
        peer->opened = peer->armed = true;
        peer->events = 1 + (uint32_t)random_below(&model->random, 8) % 3;
        loop_arm(model->loop, peer->watch, peer->pair[0], peer->events);
    }
}

static void on_ready(void *owner, uint32_t ready, uint64_t now_ns)
{
    (void)now_ns;
    struct peer *peer = owner;
    assert_true(peer->opened && peer->armed);
    peer->armed = false;
    peer->model->fired++;
    assert_true(ready != 0 && (ready & ~peer->events) == 0);
    if (random_below(&peer->model->random, 2) == 0)
        act(peer->model);
}

static void test_model(void **state)
{
    (void)state;
    static struct model model;
    model = (struct model){.loop = make_loop(PEERS), .random = {.state = 7}};
    for (int i = 0; i < PEERS; i++) {
        model.peers[i].model = &model;
        make_pair(model.peers[i].pair);
    }
    for (int step = 0; step < STEPS; step++) {
        if (random_below(&model.random, 4) != 0) {
            act(&model);
            continue;
        }
        bool due[PEERS];
        uint64_t arms[PEERS];
        for (int i = 0; i < PEERS; i++) {
            due[i] = model.peers[i].armed && expected(&model.peers[i]) != 0;
            arms[i] =
                model.peers[i].armed ? model.loop->watches[model.peers[i].watch].generation : 0;
        }
        poll_once(model.loop);
        for (int i = 0; i < PEERS; i++) { /* called, or a callback before it changed its arming */
            struct peer *peer = &model.peers[i];
            assert_false(due[i] && peer->armed && peer->data &&
                         model.loop->watches[peer->watch].generation == arms[i]);
        }
    }
    assert_true(model.fired > 1000);
    assert_int_equal(loop_stats(model.loop).stale, 0);
    loop_destroy(&model.loop);
    for (int i = 0; i < PEERS; i++) {
        close(model.peers[i].pair[0]);
        close(model.peers[i].pair[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_model)};
    return run_on_both(tests, sizeof tests / sizeof tests[0]);
}
