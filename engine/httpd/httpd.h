/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* A small HTTP server on a thread of its own, and the only door to libmicrohttpd: GET and HEAD,
 * answers as text or made while they are sent. What it serves is made on its thread, so it must
 * wait for nobody. */
struct httpd;
struct httpd_request; /* good while it is answered */
struct MHD_Response;

/* Of those that are used here. */
enum httpd_status {
    HTTPD_OK = 200,
    HTTPD_BAD_REQUEST = 400,
    HTTPD_UNAUTHORIZED = 401,
    HTTPD_NOT_FOUND = 404,
    HTTPD_UNAVAILABLE = 503,
};

/* `response` NULL: out of memory, the connection is closed. */
struct httpd_answer {
    unsigned status;
    struct MHD_Response *response;
};

/* All borrowed until httpd_destroy(), but `endpoint`. */
struct httpd_options {
    const char *name;            /* the component, for the log */
    const char *thread;          /* the thread's name, at most 15 characters */
    const char *endpoint;        /* host:port */
    uint32_t connections_max;    /* more wait */
    uint64_t request_timeout_ns; /* from connect or last answer to the answer's last byte */
    size_t
        connection_bytes; /* for a request's line and headers, and pieces of an answer; 0: 16 KiB */
    const char *cert_pem, *key_pem; /* TLS; NULL: plain */
    void *owner;
    struct httpd_answer (*answer)(void *owner, const struct httpd_request *request,
                                  const char *path);
    /* In each turn of the thread; returns when it is next to be called at the latest, monotonic.
     * NULL: never. */
    uint64_t (*turn)(void *owner, uint64_t now_ns);
};

/* Binds and starts. The error names the endpoint and the cure. */
bool httpd_create(struct httpd **ret_httpd, const struct httpd_options *options,
                  struct error *error);
void httpd_destroy(struct httpd **httpd); /* NULL inside is fine */

/* The socket is bound to a loopback address. */
bool httpd_is_local(const struct httpd *httpd);

/* The port it listens on. */
uint16_t httpd_port(const struct httpd *httpd);

/* ---- while answering ---- */

/* Of ?key=value; NULL: not there. */
const char *httpd_argument(const struct httpd_request *request, const char *key);
const char *httpd_header(const struct httpd_request *request, const char *key);

/* `text` is taken over and freed; NULL inside is fine. */
struct httpd_answer httpd_text(unsigned status, const char *content_type, char *text);

/* An answer made piece by piece while it is sent: produce() writes at most `bytes_max` and returns
 * how many, 0 at the end; forget() comes last, whatever happened. */
struct httpd_stream {
    void *owner;
    size_t (*produce)(void *owner, char *buffer, size_t bytes_max);
    void (*forget)(void *owner);
};
struct httpd_answer httpd_streamed(unsigned status, const char *content_type,
                                   const struct httpd_stream *stream);

void httpd_add_header(const struct httpd_answer *answer, const char *key, const char *value);

/* ---- endpoint.c: addresses ---- */

/* A listening socket for "host:port", ":port" or "[v6]:port"; -1 with the error set. */
int endpoint_listen(const char *endpoint, struct error *error);

/* Splits without resolving. */
bool endpoint_split(const char *endpoint, char host[256], char port[8], struct error *error);

/* The socket is bound to a loopback address. */
bool endpoint_is_loopback(int fd);
