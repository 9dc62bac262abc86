/* SPDX-License-Identifier: Apache-2.0 */
/* TLS with OpenSSL's own client, on both back ends. */
#include "harness.h"

#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

static char *pem; /* of the server's certificate */

static void start_tls(struct owner *owner)
{
    net_start_tls(owner->conn, owner->world->tls);
    assert_non_null(net_tls(owner->conn));
}

static struct world *tls_world(void)
{
    struct world *world = world_open(kind_under_test, 64, NULL, false);
    struct error error = {0};
    free(pem);
    pem = NULL;
    if (!net_tls_context(&world->tls, NULL, NULL, &pem, &error))
        fail_msg("%s", error.text);
    world->opened = start_tls;
    return world;
}

static struct peer *tls_peer(struct world *world)
{
    struct peer *peer = peer_open(world, NULL);
    peer_start_tls(peer, pem);
    UNTIL(world, peer_shake(peer) || peer->error != 0);
    assert_int_equal(peer->error, 0);
    return peer;
}

static void test_echo(void **state)
{
    (void)state;
    struct world *world = tls_world();
    struct peer *peer = tls_peer(world);
    assert_int_equal(SSL_get_verify_result(peer->ssl), X509_V_OK);
    assert_true(SSL_version(peer->ssl) >= TLS1_2_VERSION);
    enum { COUNT = 3 << 20 };
    uint8_t *bytes = malloc(COUNT);
    fill(bytes, COUNT, 1, 0);
    size_t sent = 0;
    world_patience(world);
    while (peer->got_count < COUNT) {
        size_t some = 1 + random_below(&world->random, 50000);
        if (some > COUNT - sent)
            some = COUNT - sent;
        if (some > 0)
            sent += peer_try_send(peer, bytes + sent, some);
        if (random_below(&world->random, 2) == 0)
            peer_look(peer);
        world_wait(world, "the echo", __LINE__);
    }
    assert_int_equal(peer->got_count, COUNT);
    assert_memory_equal(peer->got, bytes, COUNT);
    free(bytes);
    SSL_shutdown(peer->ssl); /* close_notify is an end */
    UNTIL(world, world->closed_count == 1);
    assert_int_equal(world->owners[0]->error, 0);
    UNTIL(world, peer_look(peer)->ended); /* by one too */
    assert_int_equal(peer->error, 0);
    peer_close(&peer);
    world_close(world);
}

/* -- an upgrade as PostgreSQL's -- */

static const uint8_t ssl_request[8] = {0, 0, 0, 8, 4, 210, 22, 47};

static size_t receive_request(struct owner *owner, const uint8_t *bytes, size_t count)
{
    if (net_tls(owner->conn) != NULL)
        return receive_echo(owner, bytes, count);
    if (count < sizeof ssl_request)
        return 0;
    assert_memory_equal(bytes, ssl_request, sizeof ssl_request);
    net_send(owner->conn, "S", 1);
    net_start_tls(owner->conn, owner->world->tls);
    return sizeof ssl_request;
}

static void echo_over(struct peer *peer, size_t count)
{
    size_t before = peer->got_count;
    uint8_t *bytes = malloc(count);
    fill(bytes, count, 2, 0);
    peer_send(peer, bytes, count);
    UNTIL(peer->world, peer_look(peer)->got_count >= before + count);
    assert_int_equal(peer->got_count, before + count);
    assert_memory_equal(peer->got + before, bytes, count);
    free(bytes);
}

static void test_upgrade(void **state)
{
    (void)state;
    struct world *world = tls_world();
    world->opened = NULL;
    world->receive = receive_request;
    struct peer *peer = peer_open(world, NULL);
    for (size_t i = 0; i < sizeof ssl_request; i++) {
        peer_send(peer, ssl_request + i, 1);
        world_turn(world);
    }
    UNTIL(world, peer_look(peer)->got_count == 1);
    assert_int_equal(peer->got[0], 'S');
    peer_start_tls(peer, pem);
    UNTIL(world, peer_shake(peer) || peer->error != 0);
    assert_int_equal(peer->error, 0);
    echo_over(peer, 100000);
    peer_close(&peer);
    world_close(world);
}

/* A client that does not wait for the S: its hello comes in one piece with the request. */
static void test_upgrade_in_one_piece(void **state)
{
    (void)state;
    struct world *world = tls_world();
    world->opened = NULL;
    world->receive = receive_request;
    struct peer *peer = peer_open(world, NULL);
    peer_start_tls(peer, pem);
    BIO *written = BIO_new(BIO_s_mem()), *nothing = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(nothing, -1);
    SSL_set_bio(peer->ssl, nothing, written);
    peer_shake(peer);
    char *hello = NULL;
    size_t count = (size_t)BIO_get_mem_data(written, &hello);
    uint8_t *both = malloc(sizeof ssl_request + count);
    memcpy(both, ssl_request, sizeof ssl_request);
    memcpy(both + sizeof ssl_request, hello, count);
    assert_int_equal(send(peer->fd, both, sizeof ssl_request + count, 0),
                     sizeof ssl_request + count);
    free(both);
    SSL_set_fd(peer->ssl, peer->fd);
    uint8_t byte = 0;
    UNTIL(world, recv(peer->fd, &byte, 1, 0) == 1);
    assert_int_equal(byte, 'S');
    UNTIL(world, peer_shake(peer) || peer->error != 0);
    assert_int_equal(peer->error, 0);
    echo_over(peer, 50000);
    peer_close(&peer);
    world_close(world);
}

/* One byte per write in both directions, from the first of the handshake on. */
static void slice_and_start(struct owner *owner)
{
    net_slice(owner->conn, 1, 0);
    start_tls(owner);
}

static void test_slices(void **state)
{
    (void)state;
    struct world *world = tls_world();
    world->opened = slice_and_start;
    struct peer *peer = peer_open(world, NULL);
    peer_start_tls(peer, pem);
    int small = 1;
    setsockopt(peer->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    UNTIL(world, peer_shake(peer) || peer->error != 0);
    assert_int_equal(peer->error, 0);
    echo_over(peer, 300);
    owner_close(world->owners[0]);
    UNTIL(world, peer_look(peer)->ended);
    peer_close(&peer);
    world_close(world);
}

static void test_hold(void **state)
{
    (void)state;
    struct world *world = tls_world();
    world->receive = receive_keep;
    struct peer *peer = tls_peer(world);
    struct owner *owner = world_owner(world, 1);
    net_hold(owner->conn);
    owner->holding = true;
    uint8_t bytes[50000];
    fill(bytes, sizeof bytes, 4, 0);
    peer_send(peer, bytes, sizeof bytes);
    SSL_shutdown(peer->ssl);
    for (int i = 0; i < 20; i++)
        world_turn(world);
    assert_int_equal(owner->got_count, 0);
    assert_false(owner->closed);
    owner->holding = false;
    net_release(owner->conn);
    UNTIL(world, owner->closed);
    assert_int_equal(owner->got_count, sizeof bytes);
    assert_filled(owner->got, sizeof bytes, 4, 0);
    peer_close(&peer);
    world_close(world);
}

/* What is queued before the handshake is done waits for it; and so does the end. */
static void greet_and_close(struct owner *owner)
{
    start_tls(owner);
    net_send(owner->conn, "go away", 7);
    assert_int_equal(net_pending(owner->conn), 7);
    owner_close(owner);
}

static void test_close_before_handshake(void **state)
{
    (void)state;
    struct world *world = tls_world();
    world->opened = greet_and_close;
    struct peer *peer = tls_peer(world);
    UNTIL(world, peer_look(peer)->ended || peer->error != 0);
    assert_int_equal(peer->error, 0);
    assert_int_equal(peer->got_count, 7);
    UNTIL(world, world->closed_count == 1);
    peer_close(&peer);
    /* Gone before it begins: nothing to wait for. */
    peer = peer_open(world, NULL);
    world_owner(world, 2);
    peer_close(&peer);
    UNTIL(world, world->closed_count == 2);
    world_close(world);
}

static void test_not_tls(void **state)
{
    (void)state;
    struct world *world = tls_world();
    static const char *const starts[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                                         "\x16\x03\x01\x01\x01 not a hello at all"};
    struct peer *peer;
    for (uint32_t i = 0; i < 2; i++) {
        peer = peer_open(world, NULL);
        uint8_t bytes[300] = {0};
        strcpy((char *)bytes, starts[i]);
        peer_send(peer, bytes, sizeof bytes);
        UNTIL(world, world->closed_count == i + 1);
        assert_int_equal(world->owners[i]->error, EPROTO);
        assert_int_equal(world->owners[i]->offers, 0);
        UNTIL(world, peer_look(peer)->ended);
        if (i == 1) { /* the first gets no alert from OpenSSL */
            assert_int_equal(peer->got_count, 7);
            assert_int_equal(peer->got[0], 21);
        }
        peer_close(&peer);
    }
    /* Garbage behind a good handshake. */
    peer = tls_peer(world);
    uint8_t garbage[64];
    memset(garbage, 0x17, sizeof garbage);
    assert_int_equal(send(peer->fd, garbage, sizeof garbage, 0), sizeof garbage);
    UNTIL(world, world->closed_count == 3);
    assert_int_equal(world->owners[2]->error, EPROTO);
    peer_close(&peer);
    /* Gone in the middle of the handshake. */
    peer = peer_open(world, NULL);
    peer_start_tls(peer, pem);
    peer_shake(peer);
    world_owner(world, 4);
    world_turn(world);
    peer_close(&peer);
    UNTIL(world, world->closed_count == 4);
    world_close(world);
}

static void test_old_version(void **state)
{
    (void)state;
    struct world *world = tls_world();
    struct peer *peer = peer_open(world, NULL);
    peer_start_tls(peer, pem);
    SSL_set_security_level(peer->ssl, 0);
    SSL_set_min_proto_version(peer->ssl, TLS1_1_VERSION);
    SSL_set_max_proto_version(peer->ssl, TLS1_1_VERSION);
    UNTIL(world, peer_shake(peer) || peer->error != 0);
    assert_int_equal(peer->error, EPROTO);
    UNTIL(world, world->closed_count == 1);
    peer_close(&peer);
    peer = peer_open(world, NULL); /* while 1.2 is fine */
    peer_start_tls(peer, pem);
    SSL_set_max_proto_version(peer->ssl, TLS1_2_VERSION);
    UNTIL(world, peer_shake(peer) || peer->error != 0);
    assert_int_equal(peer->error, 0);
    echo_over(peer, 40000);
    peer_close(&peer);
    world_close(world);
}

/* The wire's bytes are counted: a record is cut in its middle, and nothing of it is delivered. */
static void test_reset_after(void **state)
{
    (void)state;
    struct world *world = tls_world();
    for (size_t k = 0; k < 200; k += 7) {
        struct peer *peer = tls_peer(world);
        struct owner *owner = world_owner(world, world->owner_count);
        net_send(owner->conn, "0123456789012345678901234567890123456789", 40);
        net_reset_after(owner->conn, k);
        if (k > 50) /* more than that is on its way */
            net_send(owner->conn, pem, 200);
        uint8_t raw[1000];
        size_t count = 0;
        ssize_t some = 0;
        UNTIL(world, (some = recv(peer->fd, raw + count, sizeof raw - count, 0)) == 0 ||
                         (some < 0 && errno != EAGAIN) ||
                         (count += some > 0 ? (size_t)some : 0) > 500);
        assert_int_equal(errno, ECONNRESET);
        assert_int_equal(count, k);
        UNTIL(world, owner->closed);
        peer_close(&peer);
    }
    world_close(world);
}

static void test_churn(void **state)
{
    (void)state;
    struct world *world = tls_world();
    enum { CONNS = 60, AT_ONCE = 12 };
    struct peer *peers[AT_ONCE] = {0};
    uint32_t opened = 0;
    for (world_patience(world); opened < CONNS;) {
        struct peer **place = &peers[random_below(&world->random, AT_ONCE)];
        uint64_t what = random_below(&world->random, 20);
        if (*place == NULL) {
            *place = peer_open(world, NULL);
            peer_start_tls(*place, pem);
            opened++;
        } else if (what == 0) {
            peer_reset(*place);
            peer_close(place);
        } else if (what == 1) {
            peer_close(place);
        } else if (peer_shake(*place)) {
            peer_try_send(*place, "some bytes", 10);
            peer_look(*place);
        }
        struct owner *owner = NULL;
        if (world->owner_count > 0)
            owner = world->owners[random_below(&world->random, world->owner_count)];
        if (owner != NULL && !owner->closed && what == 2)
            owner_reset(owner);
        if (owner != NULL && !owner->closed && what == 3)
            owner_close(owner);
        world_wait(world, "the churn's end", __LINE__);
    }
    world_close(world);
    for (int i = 0; i < AT_ONCE; i++)
        if (peers[i] != NULL)
            peer_close(&peers[i]);
}

/* -- files -- */

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void refused(const char *certificate, const char *key, const char *expected)
{
    SSL_CTX *context = NULL;
    struct error error = {0};
    assert_false(net_tls_context(&context, certificate, key, NULL, &error));
    assert_null(context);
    if (strstr(error.text, expected) == NULL)
        fail_msg("no \"%s\" in \"%s\"", expected, error.text);
}

static void test_files(void **state)
{
    (void)state;
    char directory[] = "/tmp/test_net_tls.XXXXXX", certificate[64], key[64], other[64];
    assert_non_null(mkdtemp(directory));
    snprintf(certificate, sizeof certificate, "%s/server.crt", directory);
    snprintf(key, sizeof key, "%s/server.key", directory);
    snprintf(other, sizeof other, "%s/other.crt", directory);
    SSL_CTX *made = NULL, *loaded = NULL, *second = NULL;
    char *text = NULL, *other_text = NULL;
    struct error error = {0};
    assert_true(net_tls_context(&made, NULL, NULL, &text, &error));
    assert_true(net_tls_context(&second, NULL, NULL, &other_text, &error));
    write_file(certificate, text);
    write_file(other, other_text);
    FILE *file = fopen(key, "w");
    assert_int_equal(
        PEM_write_PrivateKey(file, SSL_CTX_get0_privatekey(made), NULL, NULL, 0, NULL, NULL), 1);
    fclose(file);
    if (!net_tls_context(&loaded, certificate, key, NULL, &error))
        fail_msg("%s", error.text);
    X509 *leaf = SSL_CTX_get0_certificate(loaded);
    assert_int_equal(X509_cmp(leaf, SSL_CTX_get0_certificate(made)), 0);
    assert_int_equal(X509_check_host(leaf, "localhost", 0, 0, NULL), 1);
    assert_int_equal(X509_check_ip_asc(leaf, "127.0.0.1", 0), 1);
    assert_int_equal(X509_check_host(leaf, "example.org", 0, 0, NULL), 0);
    refused(other, key, key); /* not of this certificate */
    refused(key, key, "certificate");
    refused("/nonexistent.crt", key, "/nonexistent.crt");
    refused(certificate, "/nonexistent.key", "/nonexistent.key");
    refused(certificate, NULL, "both");
    refused(NULL, key, "both");
    SSL_CTX_free(made);
    SSL_CTX_free(loaded);
    SSL_CTX_free(second);
    free(text);
    free(other_text);
    unlink(certificate);
    unlink(key);
    unlink(other);
    rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_upgrade),
        cmocka_unit_test(test_upgrade_in_one_piece),
        cmocka_unit_test(test_slices),
        cmocka_unit_test(test_hold),
        cmocka_unit_test(test_close_before_handshake),
        cmocka_unit_test(test_not_tls),
        cmocka_unit_test(test_old_version),
        cmocka_unit_test(test_reset_after),
        cmocka_unit_test(test_churn),
        cmocka_unit_test(test_files),
    };
    int failures = RUN_ON_BOTH(tests);
    free(pem);
    return failures;
}
