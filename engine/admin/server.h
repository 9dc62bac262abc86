/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <microhttpd.h>

#include "admin/admin.h"

/* What the files of this folder share; the admin's thread. */
struct request {
    const struct admin_sources *sources;
    struct MHD_Connection *connection;
    uint64_t started_wall_ns; /* the server's start */
    uint64_t now_wall_ns;
};

/* What a route answers; `response` NULL: out of memory, the connection is closed. */
struct answer {
    unsigned status;
    struct MHD_Response *response;
};

/* The answer to GET `url`; `path` is the configured place of the Collector's answer. */
struct answer route_answer(const struct request *request, const char *path, const char *url);

/* `text` is taken over and freed. */
struct answer answer_text(unsigned status, const char *content_type, char *text);

/* /targets: made while it is sent, in constant memory whatever the fleet's size. */
struct answer targets_answer(const struct request *request);

/* A listening socket for "host:port", ":port" or "[v6]:port"; -1 with the error set. */
int endpoint_listen(const char *endpoint, struct error *error);

/* Splits without resolving. */
bool endpoint_split(const char *endpoint, char host[256], char port[8], struct error *error);

/* The socket is bound to a loopback address. */
bool endpoint_is_loopback(int fd);
