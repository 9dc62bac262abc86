/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"

enum { PATIENCE_S = 30 };

enum loop_kind kind_under_test = LOOP_EPOLL;

static uint32_t peer_descriptors; /* open ones of clients */

static uint32_t count_descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    assert_non_null(directory);
    uint32_t count = 0;
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

/* -- the server's side -- */

static void *on_opened(void *listener, struct net_conn *conn, const struct sockaddr_in *local,
                       uint64_t now_ns)
{
    struct world *world = listener;
    assert_false(world->calling);
    assert_true(now_ns > 0);
    if (world->refuse)
        return NULL;
    struct owner *owner = calloc(1, sizeof *owner);
    *owner =
        (struct owner){.world = world, .conn = conn, .local = *local, .number = world->owner_count};
    world->owners = reallocarray(world->owners, world->owner_count + 1, sizeof owner);
    world->owners[world->owner_count++] = owner;
    if (world->opened != NULL)
        world->opened(owner);
    return owner;
}

static size_t on_received(void *place, const uint8_t *bytes, size_t count, uint64_t now_ns)
{
    struct owner *owner = place;
    assert_false(owner->closed);
    assert_false(owner->ended);
    assert_false(owner->holding);
    assert_false(owner->world->calling);
    assert_true(now_ns > 0 && count > 0);
    owner->offered = count;
    owner->offers++;
    return owner->world->receive(owner, bytes, count);
}

static void on_drained(void *place, uint64_t now_ns)
{
    struct owner *owner = place;
    (void)now_ns;
    assert_false(owner->closed);
    assert_false(owner->world->calling);
    assert_int_equal(net_pending(owner->conn), 0);
    owner->drained++;
    if (owner->world->drained != NULL)
        owner->world->drained(owner);
}

static void on_ended(void *place, uint64_t now_ns)
{
    struct owner *owner = place;
    (void)now_ns;
    assert_false(owner->ended || owner->closed);
    assert_false(owner->world->calling);
    owner->ended = true;
}

static void on_closed(void *place, int error)
{
    struct owner *owner = place;
    assert_false(owner->closed);
    assert_false(owner->world->calling);
    if (owner->world->net != NULL) /* else net_destroy() */
        assert_true(net_stats(owner->world->net).turns > owner->asked_turn);
    owner->closed = true;
    owner->error = error;
    owner->world->closed_count++;
}

static void world_listen_at(struct world *world, const struct net_place *place)
{
    struct error error = {0};
    const struct net_handler handler = {
        .opened = on_opened,
        .received = on_received,
        .drained = on_drained,
        .ended = world->half_closing ? on_ended : NULL,
        .closed = on_closed,
    };
    if (!net_listen(world->net, place, &handler, world, &world->port, &error))
        fail_msg("%s", error.text);
}

void world_listen(struct world *world, uint16_t port)
{
    world_listen_at(world, &(struct net_place){.port = port});
}

struct world *world_open(enum loop_kind kind, uint32_t connections_max, const char *host,
                         bool half_closing)
{
    signal(SIGPIPE, SIG_IGN); /* of the clients */
    struct world *world = calloc(1, sizeof *world);
    *world = (struct world){.kind = kind,
                            .random.state = 42,
                            .receive = receive_echo,
                            .half_closing = half_closing,
                            .descriptors = count_descriptors() - peer_descriptors};
    struct error error = {0};
    if (!net_create(&world->net, kind, connections_max, &error))
        fail_msg("%s", error.text);
    assert_int_equal(net_kind_used(world->net), kind);
    world_listen_at(world, &(struct net_place){.host = host});
    return world;
}

void world_close(struct world *world)
{
    struct net *net = world->net;
    uint32_t open = world->owner_count - world->closed_count;
    assert_int_equal(net_stats(net).open, open);
    world->net = NULL;
    net_destroy(&net);
    assert_null(net);
    net_destroy(&net);
    assert_int_equal(world->closed_count, world->owner_count);
    assert_int_equal(count_descriptors() - peer_descriptors, world->descriptors);
    for (uint32_t i = 0; i < world->owner_count; i++) {
        free(world->owners[i]->got);
        free(world->owners[i]);
    }
    SSL_CTX_free(world->tls);
    free(world->owners);
    free(world);
}

void world_turn(struct world *world)
{
    uint64_t before_ns = clock_monotonic_ns();
    uint64_t after_ns = net_turn(world->net, before_ns + NS_PER_MS);
    assert_true(after_ns >= before_ns);
}

void world_patience(struct world *world)
{
    world->deadline_ns = clock_monotonic_ns() + PATIENCE_S * NS_PER_S;
}

void world_wait(struct world *world, const char *what, int line)
{
    if (clock_monotonic_ns() > world->deadline_ns)
        fail_msg("line %d: in vain: %s", line, what);
    world_turn(world);
}

struct owner *world_owner(struct world *world, uint32_t count)
{
    UNTIL(world, world->owner_count >= count);
    return world->owners[count - 1];
}

void owner_close(struct owner *owner)
{
    owner->asked_turn = net_stats(owner->world->net).turns;
    owner->world->calling = true;
    net_close(owner->conn);
    owner->world->calling = false;
}

void owner_reset(struct owner *owner)
{
    owner->asked_turn = net_stats(owner->world->net).turns;
    owner->world->calling = true;
    net_reset(owner->conn);
    owner->world->calling = false;
}

static void append(uint8_t **bytes, size_t *count, const uint8_t *more, size_t more_count)
{
    if (more_count == 0)
        return;
    size_t capacity = *count == 0 ? 0 : 4096;
    while (capacity != 0 && capacity < *count)
        capacity *= 2;
    if (*count + more_count > capacity) {
        for (capacity = 4096; capacity < *count + more_count;)
            capacity *= 2;
        *bytes = realloc(*bytes, capacity);
        assert_non_null(*bytes);
    }
    memcpy(*bytes + *count, more, more_count);
    *count += more_count;
}

size_t receive_keep(struct owner *owner, const uint8_t *bytes, size_t count)
{
    append(&owner->got, &owner->got_count, bytes, count);
    return count;
}

size_t receive_echo(struct owner *owner, const uint8_t *bytes, size_t count)
{
    owner->world->calling = true;
    net_send(owner->conn, bytes, count);
    owner->world->calling = false;
    return count;
}

size_t receive_nothing(struct owner *owner, const uint8_t *bytes, size_t count)
{
    (void)owner, (void)bytes, (void)count;
    return 0;
}

/* -- the clients -- */

struct peer *peer_open(struct world *world, const char *host)
{
    struct peer *peer = calloc(1, sizeof *peer);
    *peer = (struct peer){.world = world};
    bool unix_socket = host != NULL && host[0] == '/';
    peer->fd = socket(unix_socket ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(peer->fd >= 0);
    peer_descriptors++;
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(world->port)};
    if (unix_socket)
        strcpy(path.sun_path, host);
    else
        assert_int_equal(inet_pton(AF_INET, host == NULL ? "127.0.0.1" : host, &address.sin_addr),
                         1);
    const struct sockaddr *to = (struct sockaddr *)&address;
    socklen_t size = sizeof address;
    if (unix_socket) {
        to = (struct sockaddr *)&path;
        size = sizeof path;
    }
    if (connect(peer->fd, to, size) != 0)
        peer->error = errno;
    int on = 1;
    if (!unix_socket)
        setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(peer->fd, F_SETFL, O_NONBLOCK);
    return peer;
}

size_t peer_try_send(struct peer *peer, const void *bytes, size_t count)
{
    size_t sent = 0;
    if (peer->ssl != NULL) {
        ERR_clear_error();
        return SSL_write_ex(peer->ssl, bytes, count, &sent) == 1 ? sent : 0;
    }
    ssize_t result = send(peer->fd, bytes, count, MSG_NOSIGNAL);
    return result < 0 ? 0 : (size_t)result;
}

void peer_send(struct peer *peer, const void *bytes, size_t count)
{
    size_t sent = 0;
    UNTIL(peer->world, (peer_look(peer), sent += peer_try_send(peer, (const uint8_t *)bytes + sent,
                                                               count - sent)) == count);
}

static ssize_t receive_some(struct peer *peer, uint8_t *bytes, size_t count)
{
    if (peer->ssl == NULL) {
        ssize_t result = recv(peer->fd, bytes, count, 0);
        return result < 0 ? -errno : result;
    }
    size_t some = 0;
    ERR_clear_error();
    errno = 0;
    int result = SSL_read_ex(peer->ssl, bytes, count, &some);
    if (result == 1)
        return (ssize_t)some;
    switch (SSL_get_error(peer->ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        return errno != 0 ? -errno : -EPROTO;
    }
}

struct peer *peer_look(struct peer *peer)
{
    static uint8_t bytes[1 << 16];
    while (!peer->ended && peer->error == 0) {
        ssize_t count = receive_some(peer, bytes, sizeof bytes);
        if (count == -EAGAIN)
            break;
        if (count < 0)
            peer->error = (int)-count;
        else if (count == 0)
            peer->ended = true;
        else
            append(&peer->got, &peer->got_count, bytes, (size_t)count);
    }
    return peer;
}

bool peer_shake(struct peer *peer)
{
    ERR_clear_error();
    int result = SSL_do_handshake(peer->ssl);
    if (result == 1)
        return true;
    int code = SSL_get_error(peer->ssl, result);
    if (code != SSL_ERROR_WANT_READ && code != SSL_ERROR_WANT_WRITE && peer->error == 0)
        peer->error = EPROTO;
    return false;
}

void peer_start_tls(struct peer *peer, const char *pem)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    assert_non_null(context);
    if (pem != NULL) {
        BIO *memory = BIO_new_mem_buf(pem, -1);
        X509 *certificate = PEM_read_bio_X509(memory, NULL, NULL, NULL);
        assert_non_null(certificate);
        assert_int_equal(X509_STORE_add_cert(SSL_CTX_get_cert_store(context), certificate), 1);
        X509_free(certificate);
        BIO_free(memory);
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    }
    peer->ssl = SSL_new(context);
    SSL_CTX_free(context);
    assert_int_equal(SSL_set1_host(peer->ssl, "localhost"), 1);
    SSL_set_fd(peer->ssl, peer->fd);
    SSL_set_mode(peer->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_set_connect_state(peer->ssl);
}

static void close_descriptor(struct peer *peer)
{
    if (peer->fd < 0)
        return;
    close(peer->fd);
    peer->fd = -1;
    peer_descriptors--;
}

void peer_reset(struct peer *peer)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    close_descriptor(peer);
}

void peer_close(struct peer **place)
{
    struct peer *peer = *place;
    *place = NULL;
    SSL_free(peer->ssl);
    close_descriptor(peer);
    free(peer->got);
    free(peer);
}

/* -- bytes, tests -- */

static uint8_t byte_at(uint32_t seed, size_t place)
{
    uint64_t hash = (place / 8 + 1) * 0x9e3779b97f4a7c15ull + seed * 0xbf58476d1ce4e5b9ull;
    hash ^= hash >> 29;
    return (uint8_t)(hash >> (place % 8 * 8));
}

void fill(uint8_t *bytes, size_t count, uint32_t seed, size_t from)
{
    for (size_t i = 0; i < count; i++)
        bytes[i] = byte_at(seed, from + i);
}

void assert_filled(const uint8_t *bytes, size_t count, uint32_t seed, size_t from)
{
    for (size_t i = 0; i < count; i++)
        if (bytes[i] != byte_at(seed, from + i))
            fail_msg("byte %zu of %zu is wrong (seed %u)", i, count, seed);
}

int run_on_both(const struct CMUnitTest *tests, size_t count)
{
    (void)count;
    kind_under_test = LOOP_EPOLL;
    int failures = _cmocka_run_group_tests("epoll", tests, count, NULL, NULL);
    struct net *net = NULL;
    struct error error;
    if (!net_create(&net, LOOP_IO_URING, 8, &error)) {
        printf("left out on io_uring: %s\n", error.text);
        return failures;
    }
    net_destroy(&net);
    kind_under_test = LOOP_IO_URING;
    return failures + _cmocka_run_group_tests("io_uring", tests, count, NULL, NULL);
}
