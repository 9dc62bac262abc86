/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

/* A socket at a port of 127.0.0.1 that nobody uses, or -1. It does not listen: connections are
 * refused. Kept open it keeps the port: who sets SO_REUSEADDR, as servers do, can listen there, and
 * nobody else is given it. The port lies below those that the kernel gives to sockets by itself, so
 * that no connection gets it, either, when the socket is closed long before a server binds it. */
static inline int free_port_hold(uint16_t *ret_port)
{
    for (int tries = 0; tries < 1000; tries++) {
        uint16_t number;
        if (getrandom(&number, sizeof number, 0) != sizeof number)
            return -1;
        uint16_t port = (uint16_t)(20000 + number % 12000);
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_port = htons(port),
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
            return -1;
        if (bind(fd, (const struct sockaddr *)&address, sizeof address) == 0) {
            int on = 1; /* not before: a port that somebody else holds is not free */
            setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
            *ret_port = port;
            return fd;
        }
        close(fd);
    }
    return -1;
}

/* Such a port, 0 where there is none. */
static inline uint16_t free_port(void)
{
    uint16_t port = 0;
    int fd = free_port_hold(&port);
    if (fd >= 0)
        close(fd);
    return port;
}
