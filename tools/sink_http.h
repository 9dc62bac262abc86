/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* A small HTTP/1.1 server for the sink: one thread, one epoll, keep-alive, no TLS. It may also
 * misbehave on purpose, which is why it is not a library's. */
struct sink_server;

struct sink_request {
    const char *method, *path;
    const char *content_type, *content_encoding; /* "" when not given */
    const uint8_t *body;
    size_t body_bytes;
};

struct sink_reply {
    int status;
    int retry_after_s; /* 0: no header */
    const char *content_type;
    const void *body; /* copied */
    size_t body_bytes;
    uint64_t delay_ns; /* before the answer goes out */
    bool close_early;  /* close instead of answering */
    bool garbage;      /* bytes that are no HTTP, then close */
};

/* Called for each whole request; what the reply points to must last until it returns. */
typedef struct sink_reply (*sink_handler)(void *owner, const struct sink_request *request);

/* Listens on "host:port"; port 0 takes a free one. */
bool sink_server_create(struct sink_server **ret_server, const char *listen_on,
                        sink_handler handler, void *owner, struct error *error);
void sink_server_destroy(struct sink_server **server);

uint16_t sink_server_port(const struct sink_server *server);
uint64_t sink_server_connections(const struct sink_server *server); /* accepted so far */

/* Serves until *stop is set (by a signal handler). */
void sink_server_run(struct sink_server *server, const volatile sig_atomic_t *stop);
