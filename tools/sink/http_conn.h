/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <netinet/in.h>

#include "tools/net/net.h"
#include "tools/sink/http.h"

/* What http.c (connections) and http_server.c share. */
enum conn_state {
    CONN_HEAD,     /* waits for a request's head */
    CONN_BODY,     /* waits for its body */
    CONN_STALLING, /* stops reading when so much of the body has come */
    CONN_WAITING,  /* the answer's time has not come */
    CONN_WRITING,  /* the answer is leaving */
    CONN_SWALLOW,  /* reads for ever */
    CONN_ABORT,    /* resets at the first byte */
    CONN_PLAIN,    /* answers the first byte with text, then closes */
    CONN_CLOSING,  /* the net was told to end it */
};

struct conn {
    struct http_server *server;
    struct net_conn *net;
    struct conn *next, *previous; /* of the server's */
    struct timer timer;           /* WAITING: the answer is due; STALLING: it is enough */
    enum conn_state state;
    bool admin, exchanging;
    bool kept;  /* bytes came that must wait for the answer to leave */
    int status; /* of the answer that is leaving; 0: it does not count as one */
    uint64_t requests;
    struct http_head head; /* its spans are of no use: bytes move */
    struct http_order order;
    struct http_reply reply;
    void *kept_body; /* reply.body, while WAITING */
    _Alignas(16) uint8_t note[HTTP_NOTE_BYTES];
};

struct listener {
    struct http_server *server;
    bool admin;
};

struct http_server {
    struct net *net;
    struct http_handler handler;
    void *owner;
    struct conn *first;
    struct listener main, admin;
    char host[INET_ADDRSTRLEN];
    uint16_t port;
    int keeper; /* bound to the main port, never listening; −1: none */
    uint64_t admin_connections;
    uint8_t *scratch; /* a chunked body put together */
    size_t scratch_bytes;
};

extern const struct net_handler http_conn_callbacks;

/* Resets it. */
void http_conn_reset(struct conn *conn);

/* Tells `over` where the answer has left and the net has not said so yet. */
void http_conn_settle(struct conn *conn);
