/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* A back end that follows a script, one step a request, the last step for ever. Its own threads,
 * real sockets, TLS where a certificate is given. */
enum server_act {
    SERVER_ANSWER,   /* status, headers, body */
    SERVER_CLOSE,    /* reads the whole request, then closes without a byte */
    SERVER_RAW,      /* body as it is, no head, then closes */
    SERVER_OVERSIZE, /* 200 with a body of 5 MiB */
    SERVER_CUT,      /* promises 100 bytes of body, sends 10, closes */
};

struct server_step {
    enum server_act act;
    int status;
    const char *headers; /* "Retry-After: 1\r\n" */
    const char *body;
    uint32_t body_bytes;
    uint32_t delay_ms;
    bool held; /* answered after server_release() */
};

struct server;

struct server *server_start(const struct server_step *steps, uint32_t step_count,
                            const char *cert_file, const char *key_file);
/* From now on clients must show a certificate signed by this authority. */
void server_ask_certificate(struct server *server, const char *ca_file);
/* Lets held answers go, those to come, too. */
void server_release(struct server *server);
void server_stop(struct server **server);
uint16_t server_port(const struct server *server);
uint32_t server_requests(struct server *server);
uint32_t server_connections(struct server *server);
/* When the n-th request (from 0) had come, monotonic. */
uint64_t server_request_ns(struct server *server, uint32_t n);
/* Whether the last request's head held this text. */
bool server_saw(struct server *server, const char *text);
