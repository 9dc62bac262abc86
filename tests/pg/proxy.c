/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
}

static bool hand_on(struct proxy *proxy, int to, const char *data, size_t bytes, bool from_server,
                    uint64_t *served)
{
    int mode = from_server ? atomic_load(&proxy->mode) : PROXY_PASS;
    for (size_t i = 0; i < bytes;) {
        size_t chunk = mode == PROXY_SLICE || mode == PROXY_CUT ? 1 : bytes - i;
        if (mode == PROXY_CUT && *served >= atomic_load(&proxy->cut_bytes))
            return false;
        ssize_t sent = send(to, data + i, chunk, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        i += (size_t)sent;
        *served += (uint64_t)(from_server ? sent : 0);
    }
    return true;
}

/* Both ways until one side ends, or the cut. */
static void relay(struct proxy *proxy, int client)
{
    struct sockaddr_in address = loopback(proxy->server_port);
    int server = socket(AF_INET, SOCK_STREAM, 0);
    int on = 1;
    uint64_t served = 0;
    bool open = connect(server, (const struct sockaddr *)&address, sizeof address) == 0;
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    while (open) {
        struct pollfd polls[3] = {{.fd = client, .events = POLLIN},
                                  {.fd = server, .events = POLLIN},
                                  {.fd = proxy->stop_fd, .events = POLLIN}};
        char data[4096];
        if (poll(polls, 3, -1) < 0 || polls[2].revents != 0)
            break;
        for (int i = 0; i < 2 && open; i++) {
            if (polls[i].revents == 0)
                continue;
            ssize_t bytes = recv(polls[i].fd, data, sizeof data, 0);
            open = bytes > 0 &&
                   hand_on(proxy, i == 0 ? server : client, data, (size_t)bytes, i == 1, &served);
        }
    }
    struct linger linger = {.l_onoff = 1}; /* a reset, not an end */
    if (atomic_load(&proxy->mode) == PROXY_CUT)
        setsockopt(client, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(server);
}

static void serve(struct proxy *proxy, int client)
{
    static const char http[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    unsigned char garbage[512];
    switch ((enum proxy_mode)atomic_load(&proxy->mode)) {
    case PROXY_PASS:
    case PROXY_SLICE:
    case PROXY_CUT:
        relay(proxy, client);
        break;
    case PROXY_GARBAGE:
        for (size_t i = 0; i < sizeof garbage; i++)
            garbage[i] = (unsigned char)(i * 167 + 83);
        send(client, garbage, sizeof garbage, MSG_NOSIGNAL);
        recv(client, garbage, sizeof garbage, 0);
        break;
    case PROXY_HTTP:
        recv(client, garbage, sizeof garbage, 0);
        send(client, http, sizeof http - 1, MSG_NOSIGNAL);
        break;
    case PROXY_CLOSE:
        break;
    }
    close(client);
}

static void *run(void *owner)
{
    struct proxy *proxy = owner;
    for (;;) {
        struct pollfd polls[2] = {{.fd = proxy->listen_fd, .events = POLLIN},
                                  {.fd = proxy->stop_fd, .events = POLLIN}};
        if (poll(polls, 2, -1) < 0 || polls[1].revents != 0)
            return NULL;
        int client = accept(proxy->listen_fd, NULL, NULL);
        if (client < 0)
            continue;
        atomic_fetch_add(&proxy->accepted, 1);
        serve(proxy, client);
    }
}

void proxy_open(struct proxy *proxy, uint16_t server_port)
{
    *proxy = (struct proxy){.server_port = server_port};
    struct sockaddr_in address = loopback(0);
    socklen_t bytes = sizeof address;
    proxy->stop_fd = eventfd(0, 0);
    proxy->listen_fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(proxy->listen_fd, (const struct sockaddr *)&address, bytes) == 0);
    CHECK(listen(proxy->listen_fd, 16) == 0);
    CHECK(getsockname(proxy->listen_fd, (struct sockaddr *)&address, &bytes) == 0);
    proxy->port = ntohs(address.sin_port);
    CHECK(pthread_create(&proxy->thread, NULL, run, proxy) == 0);
}

void proxy_close(struct proxy *proxy)
{
    eventfd_write(proxy->stop_fd, 1);
    pthread_join(proxy->thread, NULL);
    close(proxy->listen_fd);
    close(proxy->stop_fd);
}
