/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <openssl/ssl.h>

#include "base/error.h"
#include "loop/loop.h"
#include "tools/sink/http_parse.h"

/* An HTTP/1.1 server on tools/net, with keep-alive and TLS. It misbehaves on order, which is why it
 * is not a library's. One thread; callbacks run inside http_server_turn(). */
struct http_server;

/* The owner's memory in each connection, zeroed when a request's head has come. */
enum { HTTP_NOTE_BYTES = 96 };

struct http_request {
    struct span method, path, content_type, content_encoding; /* good until the callback returns */
    const uint8_t *body;                                      /* NULL: only the head is there */
    size_t body_bytes; /* where only the head is there: as announced, 0 when it did not say */
    bool reused;       /* not its connection's first */
    bool admin;        /* it came to the admin place */
    uint64_t now_ns;
};

/* What to do with a request once its head is there. */
enum http_go { HTTP_READ, HTTP_RESET, HTTP_STALL, HTTP_SWALLOW };

struct http_order {
    enum http_go go;
    size_t bytes; /* RESET, STALL: when so much of the body has come */
};

enum http_act {
    HTTP_ANSWER,
    HTTP_NO_ANSWER_CLOSE, /* closes without a byte */
    HTTP_NO_ANSWER_RESET,
    HTTP_NO_ANSWER, /* for ever */
    HTTP_GARBAGE,   /* bytes that are no HTTP, then closes */
    HTTP_CUT,       /* resets when `cut_bytes` of the answer have left */
};

struct http_reply {
    enum http_act act;
    int status;
    const char *content_type; /* of static duration; NULL: application/x-protobuf */
    const void *body;         /* copied; NULL with body_bytes: filler */
    size_t body_bytes;
    uint64_t delay_ns;
    bool has_retry_after;
    char retry_after[48];
    const char *location; /* lasts as long as the server; NULL: no header */
    size_t cut_bytes;
    uint32_t slice_bytes; /* 0: as fast as it goes */
    uint64_t slice_interval_ns;
    bool close_after; /* closes behind the answer without having said so */
};

/* What new connections meet. */
enum http_welcome {
    HTTP_WELCOME,
    HTTP_WELCOME_RESET,     /* at once */
    HTTP_WELCOME_SWALLOW,   /* reads, never answers */
    HTTP_WELCOME_ABORT,     /* resets at the first byte: in the TLS handshake */
    HTTP_WELCOME_PLAIN_TEXT /* answers a TLS handshake with plain text */
};

struct http_handler {
    /* *ret_tls stays NULL for plain HTTP. */
    enum http_welcome (*connected)(void *owner, SSL_CTX **ret_tls);
    struct http_order (*head)(void *owner, void *note, const struct http_request *request);
    /* The whole request; what the reply points to must last until it returns. */
    struct http_reply (*request)(void *owner, void *note, const struct http_request *request);
    /* The answer with this status has left, or none will (0). Once for each `head`. */
    void (*over)(void *owner, void *note, int status);
};

bool http_server_create(struct http_server **ret_server, enum loop_kind loop,
                        uint32_t connections_max, const struct http_handler *handler, void *owner,
                        struct error *error);
void http_server_destroy(struct http_server **server);

/* Listens on "host:port"; port 0 takes a free one. What it was for comes in messages: "--listen".
 */
bool http_server_listen(struct http_server *server, const char *option, const char *place,
                        bool admin, uint16_t *ret_port, struct error *error);

/* Refuses connections on the place that is not the admin's, or takes them again on the same port
 * (false: cannot; try again later). */
void http_server_refuse(struct http_server *server);
bool http_server_resume(struct http_server *server, struct error *error);

/* Resets all connections but the admin's. */
void http_server_drop_all(struct http_server *server);

/* One turn, until `deadline_ns` at the latest; the time after it. */
uint64_t http_server_turn(struct http_server *server, uint64_t deadline_ns);

/* Tells `over` of answers that have left, but of which the net has not told yet: before counting.
 */
void http_server_settle(struct http_server *server);

struct http_stats {
    uint64_t connections; /* accepted so far, the admin's left out */
    uint64_t open, received_bytes, sent_bytes, syscalls;
    const char *loop; /* "io_uring" or "epoll" */
};
struct http_stats http_server_stats(const struct http_server *server);
