/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A bad network between a test and a server: listens on 127.0.0.1, on a thread of its own, one
 * connection at a time. */
enum proxy_mode {
    PROXY_PASS,    /* hands on what comes */
    PROXY_SLICE,   /* hands on the server's bytes one by one */
    PROXY_CUT,     /* resets the connection after `cut_bytes` from the server */
    PROXY_GARBAGE, /* answers with bytes that are no protocol */
    PROXY_CLOSE,   /* closes as soon as it was connected to */
    PROXY_HTTP,    /* is a web server */
};

struct proxy {
    _Atomic int mode; /* enum proxy_mode */
    _Atomic uint64_t cut_bytes;
    _Atomic uint32_t accepted;
    uint16_t port, server_port;
    int listen_fd, stop_fd;
    pthread_t thread;
};

void proxy_open(struct proxy *proxy, uint16_t server_port);
void proxy_close(struct proxy *proxy);
