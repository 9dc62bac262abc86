/* SPDX-License-Identifier: Apache-2.0 */
/* The server: where it listens, and what is about all its connections. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/memory.h"
#include "tools/sink/http_conn.h"

bool http_server_create(struct http_server **ret_server, enum loop_kind loop,
                        uint32_t connections_max, const struct http_handler *handler, void *owner,
                        struct error *error)
{
    struct http_server *server = xcalloc(1, sizeof *server);
    server->handler = *handler;
    server->owner = owner;
    server->main = (struct listener){server, false};
    server->admin = (struct listener){server, true};
    server->keeper = -1;
    if (!net_create(&server->net, loop, connections_max, error)) {
        free(server);
        return false;
    }
    *ret_server = server;
    return true;
}

void http_server_destroy(struct http_server **ret_server)
{
    struct http_server *server = *ret_server;
    if (server == NULL)
        return;
    net_destroy(&server->net);
    if (server->keeper >= 0)
        close(server->keeper);
    free(server->scratch);
    free(server);
    *ret_server = NULL;
}

/* An IPv4 address of "host:port"; an empty host is any. */
static bool resolve(const char *option, const char *place, char host[INET_ADDRSTRLEN],
                    uint16_t *ret_port, struct error *error)
{
    char name[256];
    *ret_port = 0;
    const char *colon = strrchr(place, ':');
    if (colon == NULL || (size_t)(colon - place) >= sizeof name)
        return error_set(error, "%s %s: use host:port, e.g. 127.0.0.1:4318", option, place);
    snprintf(name, sizeof name, "%.*s", (int)(colon - place), place);
    struct addrinfo hints = {
        .ai_family = AF_INET, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    int failure = getaddrinfo(name[0] != '\0' ? name : NULL, colon + 1, &hints, &found);
    if (failure != 0)
        return error_set(error, "%s %s: %s", option, place, gai_strerror(failure));
    struct sockaddr_in address;
    memcpy(&address, found->ai_addr, sizeof address);
    freeaddrinfo(found);
    *ret_port = ntohs(address.sin_port);
    return inet_ntop(AF_INET, &address.sin_addr, host, INET_ADDRSTRLEN) != NULL;
}

/* The port stays ours while connections are refused: whoever was given it meanwhile would answer in
 * our name. A socket that never listens keeps it. Where that cannot be, listening says why. */
static void keep_port(struct http_server *server, const char *host, uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(*port)};
    socklen_t size = sizeof address;
    int on = 1;
    inet_pton(AF_INET, host, &address.sin_addr);
    server->keeper = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server->keeper < 0)
        return;
    setsockopt(server->keeper, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(server->keeper, (struct sockaddr *)&address, size) == 0 &&
        getsockname(server->keeper, (struct sockaddr *)&address, &size) == 0) {
        *port = ntohs(address.sin_port);
        return;
    }
    close(server->keeper);
    server->keeper = -1;
}

bool http_server_listen(struct http_server *server, const char *option, const char *place,
                        bool admin, uint16_t *ret_port, struct error *error)
{
    char host[INET_ADDRSTRLEN];
    uint16_t port;
    if (!resolve(option, place, host, &port, error))
        return false;
    if (!admin)
        keep_port(server, host, &port);
    struct net_place where = {.host = host, .port = port};
    if (!net_listen(server->net, &where, &http_conn_callbacks,
                    admin ? &server->admin : &server->main, ret_port, error))
        return error_prefix(error, "%s: ", option);
    if (!admin) {
        memcpy(server->host, host, sizeof host);
        server->port = *ret_port;
    }
    return true;
}

void http_server_refuse(struct http_server *server)
{
    net_unlisten(server->net, server->port);
}

bool http_server_resume(struct http_server *server, struct error *error)
{
    struct net_place where = {.host = server->host, .port = server->port};
    return net_listen(server->net, &where, &http_conn_callbacks, &server->main, NULL, error);
}

void http_server_drop_all(struct http_server *server)
{
    for (struct conn *conn = server->first; conn != NULL; conn = conn->next)
        if (!conn->admin)
            http_conn_reset(conn);
}

void http_server_settle(struct http_server *server)
{
    for (struct conn *conn = server->first; conn != NULL; conn = conn->next)
        http_conn_settle(conn);
}

uint64_t http_server_turn(struct http_server *server, uint64_t deadline_ns)
{
    return net_turn(server->net, deadline_ns);
}

struct http_stats http_server_stats(const struct http_server *server)
{
    struct net_stats stats = net_stats(server->net);
    return (struct http_stats){
        .connections = stats.accepted - server->admin_connections,
        .open = stats.open,
        .received_bytes = stats.received_bytes,
        .sent_bytes = stats.sent_bytes,
        .syscalls = stats.syscalls,
        .loop = net_kind_used(server->net) == LOOP_IO_URING ? "io_uring" : "epoll",
    };
}
