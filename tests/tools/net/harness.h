/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/random.h"
#include "tools/net/net.h"

/* A net and the clients that test it, in one thread: clients never block, and whatever a test waits
 * for, UNTIL() turns the net meanwhile, with a deadline. Of every connection it is checked that
 * `closed` is the last callback, comes once, outside of the owner's calls and in a later turn. */
struct world;

struct owner {
    struct world *world;
    struct net_conn *conn;
    struct sockaddr_in local;
    uint8_t *got; /* what receive_keep() has consumed */
    size_t got_count;
    size_t offered; /* of the last received() */
    uint32_t drained, offers;
    uint32_t number;
    uint64_t asked_turn; /* of owner_close() and owner_reset() */
    bool closed, ended, holding;
    int error;
};

struct world {
    enum loop_kind kind;
    struct net *net;
    uint16_t port;
    struct random random;
    struct owner **owners;
    uint32_t owner_count, closed_count;
    bool calling; /* an owner's call is under way: no callback may come */
    bool refuse;
    bool half_closing; /* the owners answer after the peer's FIN */
    void (*opened)(struct owner *owner);
    size_t (*receive)(struct owner *owner, const uint8_t *bytes, size_t count);
    void (*drained)(struct owner *owner);
    SSL_CTX *tls; /* the server's */
    uint64_t deadline_ns;
    uint32_t descriptors; /* open before */
};

struct peer {
    struct world *world;
    int fd;
    SSL *ssl;
    uint8_t *got;
    size_t got_count;
    bool ended; /* FIN, or close_notify */
    int error;  /* errno of the receive that failed */
};

/* `host` as in struct net_place. */
struct world *world_open(enum loop_kind kind, uint32_t connections_max, const char *host,
                         bool half_closing);
void world_listen(struct world *world, uint16_t port);
/* Everything was given back: callbacks, descriptors. */
void world_close(struct world *world);
void world_turn(struct world *world); /* at most 1 ms */
void world_patience(struct world *world);
void world_wait(struct world *world, const char *what, int line);

#define UNTIL(world, condition)                                                                    \
    do {                                                                                           \
        world_patience(world);                                                                     \
        while (!(condition))                                                                       \
            world_wait((world), #condition, __LINE__);                                             \
    } while (0)

/* The newest connection, once there are `count`. */
struct owner *world_owner(struct world *world, uint32_t count);
void owner_close(struct owner *owner);
void owner_reset(struct owner *owner);

size_t receive_keep(struct owner *owner, const uint8_t *bytes, size_t count);
size_t receive_echo(struct owner *owner, const uint8_t *bytes, size_t count);
size_t receive_nothing(struct owner *owner, const uint8_t *bytes, size_t count);

struct peer *peer_open(struct world *world, const char *host); /* NULL: 127.0.0.1 */
/* Until all is written, receiving meanwhile. */
void peer_send(struct peer *peer, const void *bytes, size_t count);
size_t peer_try_send(struct peer *peer, const void *bytes, size_t count);
/* Receives what is there. */
struct peer *peer_look(struct peer *peer);
/* As a client that verifies the server by `pem` as localhost; until the handshake is done. */
void peer_start_tls(struct peer *peer, const char *pem);
bool peer_shake(struct peer *peer); /* one step of the handshake; true: done */
void peer_reset(struct peer *peer);
void peer_close(struct peer **peer);

/* Bytes of which every place is recognised. */
void fill(uint8_t *bytes, size_t count, uint32_t seed, size_t from);
void assert_filled(const uint8_t *bytes, size_t count, uint32_t seed, size_t from);

/* Runs each test on both back ends, io_uring only where the machine allows it. */
int run_on_both(const struct CMUnitTest *tests, size_t count);
#define RUN_ON_BOTH(tests) run_on_both((tests), sizeof(tests) / sizeof((tests)[0]))
extern enum loop_kind kind_under_test;
