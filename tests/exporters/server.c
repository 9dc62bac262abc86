/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/exporters/server.h"

#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"

enum { THREADS_MAX = 256, REQUESTS_MAX = 1024, HEAD_MAX = 16384 };

struct server {
    const struct server_step *steps;
    uint32_t step_count;
    int listen_fd;
    uint16_t port;
    SSL_CTX *tls;
    pthread_t acceptor, threads[THREADS_MAX];
    uint32_t thread_count;
    atomic_bool stopping;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t moved; /* released or stopping: those who wait do so without a turn of theirs */
    bool released;
    uint32_t requests, connections;
    uint64_t request_ns[REQUESTS_MAX];
    char head[HEAD_MAX];
};

struct peer {
    struct server *server;
    int fd;
    SSL *ssl;
};

static bool wait_readable(const struct peer *peer)
{
    while (!atomic_load(&peer->server->stopping)) {
        struct pollfd poll_fd = {.fd = peer->fd, .events = POLLIN};
        if ((peer->ssl != NULL && SSL_pending(peer->ssl) > 0) || poll(&poll_fd, 1, 20) > 0)
            return true;
    }
    return false;
}

static ssize_t peer_read(struct peer *peer, void *to, size_t bytes)
{
    if (!wait_readable(peer))
        return -1;
    return peer->ssl != NULL ? SSL_read(peer->ssl, to, (int)bytes) : recv(peer->fd, to, bytes, 0);
}

static void peer_write(struct peer *peer, const void *from, size_t bytes)
{
    const char *at = from;
    while (bytes > 0) {
        ssize_t sent = peer->ssl != NULL ? SSL_write(peer->ssl, at, (int)bytes)
                                         : send(peer->fd, at, bytes, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        at += sent;
        bytes -= (size_t)sent;
    }
}

/* Reads one request; false at the connection's end. */
static bool read_request(struct peer *peer, char *head)
{
    size_t used = 0;
    const char *end = NULL;
    while (end == NULL) {
        ssize_t bytes = peer_read(peer, head + used, HEAD_MAX - 1 - used);
        if (bytes <= 0)
            return false;
        used += (size_t)bytes;
        head[used] = '\0';
        end = memmem(head, used, "\r\n\r\n", 4);
    }
    const char *length = strcasestr(head, "Content-Length:");
    size_t body = length == NULL || length > end ? 0 : strtoul(length + 15, NULL, 10);
    size_t have = used - (size_t)(end + 4 - head);
    head[end + 4 - head] = '\0';
    char scrap[65536];
    while (have < body) {
        ssize_t bytes = peer_read(peer, scrap, sizeof scrap);
        if (bytes <= 0)
            return false;
        have += (size_t)bytes;
    }
    return true;
}

static const struct server_step *note_request(struct server *server, const char *head)
{
    pthread_mutex_lock(&server->lock);
    uint32_t n = server->requests++;
    if (n < REQUESTS_MAX)
        server->request_ns[n] = clock_monotonic_ns();
    memcpy(server->head, head, strlen(head) + 1);
    pthread_mutex_unlock(&server->lock);
    return &server->steps[n < server->step_count ? n : server->step_count - 1];
}

static void pause_before(struct server *server, const struct server_step *step)
{
    uint64_t end_ns = clock_monotonic_ns() + step->delay_ms * NS_PER_MS;
    struct timespec end = {(time_t)(end_ns / NS_PER_S), (long)(end_ns % NS_PER_S)};
    pthread_mutex_lock(&server->lock);
    while (!atomic_load(&server->stopping) && clock_monotonic_ns() < end_ns)
        pthread_cond_timedwait(&server->moved, &server->lock, &end);
    while (!atomic_load(&server->stopping) && step->held && !server->released)
        pthread_cond_wait(&server->moved, &server->lock);
    pthread_mutex_unlock(&server->lock);
}

/* False: the connection ends. */
static bool answer(struct peer *peer, const struct server_step *step)
{
    char head[512];
    pause_before(peer->server, step);
    if (step->act == SERVER_CLOSE)
        return false;
    if (step->act == SERVER_RAW) {
        peer_write(peer, step->body, strlen(step->body));
        return false;
    }
    size_t bytes = step->act == SERVER_OVERSIZE ? 5u << 20
                   : step->act == SERVER_CUT    ? 100
                                                : step->body_bytes;
    snprintf(head, sizeof head, "HTTP/1.1 %d Status\r\nContent-Length: %zu\r\n%s\r\n",
             step->status != 0 ? step->status : 200, bytes,
             step->headers != NULL ? step->headers : "");
    peer_write(peer, head, strlen(head));
    if (step->act == SERVER_OVERSIZE) {
        char *much = calloc(1, bytes);
        peer_write(peer, much, bytes);
        free(much);
    } else if (step->act == SERVER_CUT) {
        peer_write(peer, "0123456789", 10);
        return false;
    } else if (bytes > 0) {
        peer_write(peer, step->body, bytes);
    }
    return true;
}

static void *serve(void *argument)
{
    struct peer *peer = argument;
    char *head = malloc(HEAD_MAX);
    bool open = true;
    if (peer->server->tls != NULL) {
        peer->ssl = SSL_new(peer->server->tls);
        SSL_set_fd(peer->ssl, peer->fd);
        open = SSL_accept(peer->ssl) == 1;
    }
    if (!open) { /* closing with bytes unread would reset the connection before the alert arrives */
        shutdown(peer->fd, SHUT_WR);
        while (wait_readable(peer) && recv(peer->fd, head, HEAD_MAX, 0) > 0) {
        }
    }
    while (open && read_request(peer, head))
        open = answer(peer, note_request(peer->server, head));
    if (peer->ssl != NULL)
        SSL_free(peer->ssl);
    close(peer->fd);
    free(head);
    free(peer);
    return NULL;
}

static void *accept_all(void *argument)
{
    struct server *server = argument;
    while (!atomic_load(&server->stopping)) {
        struct pollfd poll_fd = {.fd = server->listen_fd, .events = POLLIN};
        if (poll(&poll_fd, 1, 20) <= 0)
            continue;
        int fd = accept(server->listen_fd, NULL, NULL);
        if (fd < 0)
            continue;
        CHECK(server->thread_count < THREADS_MAX);
        struct peer *peer = calloc(1, sizeof *peer);
        *peer = (struct peer){.server = server, .fd = fd};
        pthread_mutex_lock(&server->lock);
        server->connections++;
        pthread_mutex_unlock(&server->lock);
        CHECK(pthread_create(&server->threads[server->thread_count++], NULL, serve, peer) == 0);
    }
    return NULL;
}

struct server *server_start(const struct server_step *steps, uint32_t step_count,
                            const char *cert_file, const char *key_file)
{
    struct server *server = calloc(1, sizeof *server);
    server->steps = steps;
    server->step_count = step_count;
    signal(SIGPIPE, SIG_IGN); /* of SSL_write; the worker blocks signals itself */
    pthread_mutex_init(&server->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&server->moved, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (cert_file != NULL) {
        server->tls = SSL_CTX_new(TLS_server_method());
        CHECK(SSL_CTX_use_certificate_chain_file(server->tls, cert_file) == 1);
        CHECK(SSL_CTX_use_PrivateKey_file(server->tls, key_file, SSL_FILETYPE_PEM) == 1);
    }
    server->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    CHECK(bind(server->listen_fd, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(listen(server->listen_fd, 64) == 0);
    CHECK(getsockname(server->listen_fd, (struct sockaddr *)&address, &bytes) == 0);
    server->port = ntohs(address.sin_port);
    CHECK(pthread_create(&server->acceptor, NULL, accept_all, server) == 0);
    return server;
}

void server_ask_certificate(struct server *server, const char *ca_file)
{
    CHECK(SSL_CTX_load_verify_locations(server->tls, ca_file, NULL) == 1);
    SSL_CTX_set_verify(server->tls, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
}

void server_release(struct server *server)
{
    pthread_mutex_lock(&server->lock);
    server->released = true;
    pthread_cond_broadcast(&server->moved);
    pthread_mutex_unlock(&server->lock);
}

void server_stop(struct server **ret_server)
{
    struct server *server = *ret_server;
    pthread_mutex_lock(&server->lock);
    atomic_store(&server->stopping, true);
    pthread_cond_broadcast(&server->moved);
    pthread_mutex_unlock(&server->lock);
    pthread_join(server->acceptor, NULL);
    for (uint32_t i = 0; i < server->thread_count; i++)
        pthread_join(server->threads[i], NULL);
    close(server->listen_fd);
    SSL_CTX_free(server->tls);
    pthread_cond_destroy(&server->moved);
    pthread_mutex_destroy(&server->lock);
    free(server);
    *ret_server = NULL;
}

uint16_t server_port(const struct server *server)
{
    return server->port;
}

uint32_t server_requests(struct server *server)
{
    pthread_mutex_lock(&server->lock);
    uint32_t requests = server->requests;
    pthread_mutex_unlock(&server->lock);
    return requests;
}

uint32_t server_connections(struct server *server)
{
    pthread_mutex_lock(&server->lock);
    uint32_t connections = server->connections;
    pthread_mutex_unlock(&server->lock);
    return connections;
}

uint64_t server_request_ns(struct server *server, uint32_t n)
{
    pthread_mutex_lock(&server->lock);
    uint64_t at_ns = n < server->requests ? server->request_ns[n] : 0;
    pthread_mutex_unlock(&server->lock);
    return at_ns;
}

bool server_saw(struct server *server, const char *text)
{
    pthread_mutex_lock(&server->lock);
    bool saw = strstr(server->head, text) != NULL;
    pthread_mutex_unlock(&server->lock);
    return saw;
}
