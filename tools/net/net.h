/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "loop/loop.h"
#include "loop/wheel.h"

/* Sockets that a tool owns: accept, receive and send by io_uring, or by epoll where that is
 * forbidden (proven at start, as by loop/loop.h), with TLS on request. The simulator and the sink
 * stand on it. One thread owns a net and everything of it; callbacks run inside net_turn().
 *
 * 100,000 idle connections must be cheap: a connection holds a receive buffer only while a message
 * is incomplete, and a send buffer only while bytes wait. */
struct net;
struct net_conn;

struct net_handler {
    /* Accepted. `local` is the address the client chose (all zero on a Unix socket). Returns the
     * connection's owner, which the other callbacks get; NULL refuses (closed at once, no further
     * callback). */
    void *(*opened)(void *listener, struct net_conn *conn, const struct sockaddr_in *local,
                    uint64_t now_ns);
    /* Bytes came (decrypted, under TLS). Returns how many are consumed; the rest is kept and comes
     * again with more bytes behind it. May send and close. */
    size_t (*received)(void *owner, const uint8_t *bytes, size_t count, uint64_t now_ns);
    /* Everything sent so far is with the kernel. May be NULL. */
    void (*drained)(void *owner, uint64_t now_ns);
    /* The peer will send no more (FIN), and all it sent has been offered; it may still be sent to
     * (a half-closed request). The owner must come to net_close() or net_reset(). NULL: what is
     * queued is sent, then the connection is closed. */
    void (*ended)(void *owner, uint64_t now_ns);
    /* The last callback: the peer closed (error 0), the socket failed (errno), or net_close() or
     * net_reset() was called. The conn must not be used any more. */
    void (*closed)(void *owner, int error);
};

struct net_stats {
    uint64_t accepted, open, received_bytes, sent_bytes, turns, syscalls; /* syscalls made by net */
};

/* LOOP_AUTO takes io_uring and falls back to epoll. */
bool net_create(struct net **ret_net, enum loop_kind kind, uint32_t connections_max,
                struct error *error);
void net_destroy(struct net **net); /* closes all; `closed` is called for each connection */
enum loop_kind net_kind_used(const struct net *net);

/* Listens. `host` is an IPv4 address; NULL is every address of 127.0.0.0/8 (any address of the
 * loopback device, and nothing from outside). `host` "unix:PATH": a Unix socket (mode 0600). Port 0
 * takes a free one. SO_REUSEPORT where `shared`, for one net per thread on one port. */
struct net_place {
    const char *host;
    uint16_t port;
    bool shared;
};
bool net_listen(struct net *net, const struct net_place *place, const struct net_handler *handler,
                void *listener, uint16_t *ret_port, struct error *error);

/* Stops listening on that TCP port from now on: new connections are refused, also those that wait
 * to be accepted; open ones stay. The port may be listened on again at once. */
void net_unlisten(struct net *net, uint16_t port);

/* Queues a copy; what was queued in one turn leaves in as few writes as it can when the turn ends,
 * on io_uring as the next one begins: keep turning. */
void net_send(struct net_conn *conn, const void *bytes, size_t count);

/* The same without the copy: room for at least `count` bytes at the end of the send buffer, good
 * until the next call on this connection; then how many of them were written. */
uint8_t *net_room(struct net_conn *conn, size_t count);
void net_wrote(struct net_conn *conn, size_t count);
size_t net_pending(const struct net_conn *conn); /* bytes queued, not yet with the kernel */

/* Stops and resumes reading; what was kept unconsumed comes again at once on resuming. Meanwhile
 * the peer's FIN waits too; its reset does not. */
void net_hold(struct net_conn *conn);
void net_release(struct net_conn *conn);

/* From now on at most `slice_bytes` per write and one write per `interval_ns`: a slow peer. 0, 0
 * ends it. */
void net_slice(struct net_conn *conn, uint32_t slice_bytes, uint64_t interval_ns);

/* Sends what is queued, then closes (FIN). / Drops what is queued and resets (RST). `closed` is
 * called from the next turn, never from inside these. */
void net_close(struct net_conn *conn);
void net_reset(struct net_conn *conn);

/* Lets `count` more bytes out (of the wire: ciphertext under TLS; counted from what is with the
 * kernel now), then resets the connection once they are on their way: an answer cut short. */
void net_reset_after(struct net_conn *conn, size_t count);

/* The server's side of TLS from the next byte on; plaintext queued before still leaves as such. */
void net_start_tls(struct net_conn *conn, SSL_CTX *context);
const SSL *net_tls(const struct net_conn *conn); /* NULL: plaintext */

/* A context of a certificate and key (PEM), or, where both paths are NULL, of a self-signed one for
 * localhost and 127.0.0.1 made now; its certificate then goes to *ret_pem (to be freed) where that
 * is not NULL. */
bool net_tls_context(SSL_CTX **ret_context, const char *certificate_file, const char *key_file,
                     char **ret_pem, struct error *error);

/* Timers of the owner's; run by net_turn(). */
struct wheel *net_wheel(struct net *net);

/* One turn; waits at most until `deadline_ns` (monotonic), returns the time after it. Returns early
 * on a signal. */
uint64_t net_turn(struct net *net, uint64_t deadline_ns);

struct net_stats net_stats(const struct net *net);
