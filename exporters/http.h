/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/component.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* The only door to libcurl: POST requests on the worker's thread, many in flight, none blocking. */

/* Where requests go and how. All texts are borrowed for the life of the senders. */
struct http_endpoint {
    const char *url;
    const struct text_map *headers; /* of the user; values are secret */
    const char *extra_header;       /* one more line, "Name: value"; NULL: none */
    uint64_t timeout_ns;            /* whole request; 0: none */
    uint64_t idle_timeout_ns;       /* a connection idle for longer is not used again; 0: 90 s */
    const char *proxy_url;          /* NULL: none, whatever the environment says */
    bool keep_alive;
    bool skip_verify;
    bool tls13; /* at least TLS 1.3, else 1.2 */
    const char *ca_file, *cert_file, *key_file;
    const char *ca_pem, *cert_pem, *key_pem; /* the same as text */
};

/* One request's body; borrowed until the answer. */
struct http_body {
    const void *bytes;
    size_t size;
    const char *content_type;
    const char *content_encoding; /* NULL: none */
};

enum http_outcome {
    HTTP_ANSWERED,    /* there is a status */
    HTTP_UNREACHABLE, /* no connection, or it broke before the whole body was handed over */
    HTTP_LOST,        /* the body was handed over, then no (whole, sensible) answer came */
    HTTP_TIMEOUT,
    HTTP_UNTRUSTED, /* the certificate is not what it should be */
    HTTP_OVERSIZED, /* answer over LIMIT_RESPONSE_BYTES */
};

struct http_answer {
    enum http_outcome outcome;
    int status;              /* HTTP_ANSWERED, else 0 */
    bool ambiguous;          /* no answer, but the back end may have the whole body */
    uint64_t retry_after_ns; /* 0: not said */
    const uint8_t *body;     /* until the sender's next request */
    size_t body_bytes;
    const char *content_type; /* NULL: not said; as long as body */
    char text[256];           /* what went wrong, where there is no status */
};

/* All senders of a worker share one set of connections. */
struct http;
/* One request at a time. */
struct http_sender;

bool http_create(struct http **ret_http, struct error *error);
void http_destroy(struct http **http);

/* Checks an absolute http(s) URL without credentials in it; the text names what is wrong. */
bool http_check_url(const char *url, struct error *error);

/* Checks a proxy's address as libcurl reads it. The text never quotes it, libcurl's own does. */
bool http_check_proxy(const char *url, struct error *error);

/* Fails where a certificate file cannot be read. */
bool http_sender_create(struct http_sender **ret_sender, struct http *http,
                        const struct http_endpoint *endpoint, struct error *error);
void http_sender_destroy(struct http_sender **sender); /* ends its request; NULL inside is fine */

/* Begins a request. The sender must be free. `owner` comes back with the answer. */
void http_send(struct http_sender *sender, const struct http_body *body, void *owner);

/* Moves all requests on, without waiting. */
void http_run(struct http *http);

/* The next request that ended since http_run(): its owner, its answer; NULL when there is none. */
void *http_take_answer(struct http *http, struct http_answer *ret_answer);

/* Sleeps until a socket of ours or `fd` is readable, at most `timeout_ns`. */
void http_wait(struct http *http, int fd, uint64_t timeout_ns);

/* "Unauthorized" for 401; "" for a status that has no well-known name. */
const char *http_status_name(int status);
