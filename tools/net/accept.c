/* SPDX-License-Identifier: Apache-2.0 */
/* Listening, and what happens to an accepted socket until it is somebody's connection.
 *
 * NULL for a host is all of 127.0.0.0/8 on one socket: bound to any address of the loopback device
 * and, whatever the kernel allows, a connection to an address that is not loopback is refused.
 * TCP_NODELAY is set once on the listener: Linux hands it down.
 *
 * Thread: the net's; net_listen() also another's before the first turn. */
#include "tools/net/backend.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"

enum { RETRY_MS = 50, BACKLOG = 65535 /* the kernel lowers it to net.core.somaxconn */ };

static const char unix_prefix[] = "unix:";

static bool loopback(struct in_addr address)
{
    return ntohl(address.s_addr) >> 24 == 127;
}

static void listener_close(struct net_listener *listener)
{
    if (listener->fd >= 0)
        close(listener->fd);
    listener->fd = -1;
}

static void retry_accept(struct timer *timer, uint64_t now_ns)
{
    struct net_listener *listener =
        (struct net_listener *)(void *)((char *)timer - offsetof(struct net_listener, retry));
    if (!listener->net->backend->listen(listener))
        wheel_arm(listener->net->wheel, timer, now_ns + RETRY_MS * NS_PER_MS);
}

void net_accept_failed(struct net_listener *listener, int error)
{
    struct net *net = listener->net;
    if (listener->over) {
        listener_close(listener);
        return;
    }
    bool passing = error == 0 || error == EINTR || error == EAGAIN || error == ECONNABORTED;
    if (!passing || !net->backend->listen(listener)) /* descriptors or memory are out */
        wheel_arm(net->wheel, &listener->retry, net->now_ns + RETRY_MS * NS_PER_MS);
}

/* False: not for us. */
static bool local_address(struct net_listener *listener, int fd, struct sockaddr_in *ret_local)
{
    *ret_local = listener->address;
    if (listener->path != NULL || listener->address.sin_addr.s_addr != htonl(INADDR_ANY))
        return true;
    socklen_t size = sizeof *ret_local;
    listener->net->stats.syscalls++;
    return getsockname(fd, (struct sockaddr *)ret_local, &size) == 0 &&
           (!listener->any_loopback || loopback(ret_local->sin_addr));
}

void net_accepted(struct net_listener *listener, int fd)
{
    struct net *net = listener->net;
    struct sockaddr_in local;
    struct net_conn *conn = NULL;
    if (local_address(listener, fd, &local))
        conn = net_conn_acquire(net);
    if (conn == NULL) {
        close(fd);
        net->stats.syscalls++;
        return;
    }
    conn->fd = fd;
    conn->listener = listener;
    conn->state = NET_CONN_OPEN;
    net->stats.accepted++;
    int failed = net->backend->conn_open(conn);
    if (failed != 0) {
        net_conn_fail(conn, failed);
        return;
    }
    net_conn_mark(conn);
    conn->owner = listener->handler.opened(listener->owner, conn, &local, net->now_ns);
    if (conn->owner != NULL)
        net->stats.open++;
    else
        net_conn_fail(conn, 0);
}

static bool unix_address(const char *path, struct sockaddr_un *ret_address, struct error *error)
{
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (path[0] == 0 || strlen(path) >= sizeof ret_address->sun_path)
        return error_set(error, "listen on %s%s: a Unix socket's path has 1 to %zu bytes",
                         unix_prefix, path, sizeof ret_address->sun_path - 1);
    strcpy(ret_address->sun_path, path);
    return true;
}

/* Removes a socket nobody listens on, as a killed program leaves behind. */
static void remove_stale(const struct sockaddr_un *address)
{
    struct stat status;
    if (stat(address->sun_path, &status) != 0 || !S_ISSOCK(status.st_mode))
        return;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    if (connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 &&
        errno == ECONNREFUSED)
        unlink(address->sun_path);
    close(fd);
}

static bool open_unix(struct net_listener *listener, const char *path, struct error *error)
{
    struct sockaddr_un address;
    if (!unix_address(path, &address, error))
        return false;
    remove_stale(&address);
    listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The mode before bind(): nobody else can connect, not even for a moment. */
    if (listener->fd < 0 || fchmod(listener->fd, 0600) != 0 ||
        bind(listener->fd, (struct sockaddr *)&address, sizeof address) != 0)
        return error_set(error, "listen on %s%s: %s; choose a path in a writable directory",
                         unix_prefix, path, strerror(errno));
    listener->path = xstrdup(path);
    if (listen(listener->fd, BACKLOG) != 0)
        return error_set(error, "listen on %s%s: %s", unix_prefix, path, strerror(errno));
    return true;
}

static const char *cure(int code)
{
    if (code == EADDRINUSE)
        return "; another program has the port: choose another, or 0 for a free one";
    if (code == EADDRNOTAVAIL)
        return "; no device has this address";
    if (code == EACCES)
        return "; ports below 1024 need root";
    if (code == EMFILE || code == ENFILE)
        return "; raise the open files limit (ulimit -n)";
    return "";
}

static bool open_tcp(struct net_listener *listener, const struct net_place *place,
                     struct error *error)
{
    const char *host = place->host == NULL ? "127.0.0.0/8" : place->host;
    struct sockaddr_in *address = &listener->address;
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(place->port)};
    address->sin_addr.s_addr = htonl(INADDR_ANY);
    listener->any_loopback = place->host == NULL;
    if (place->host != NULL && inet_pton(AF_INET, place->host, &address->sin_addr) != 1)
        return error_set(error, "listen on %s: not an IPv4 address such as 127.0.0.1", host);
    listener->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener->fd < 0)
        return error_set(error, "listen on %s:%u: %s%s", host, place->port, strerror(errno),
                         cure(errno));
    int on = 1;
    setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(listener->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (place->shared)
        setsockopt(listener->fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (listener->any_loopback) /* may be forbidden: net_accepted() looks again */
        setsockopt(listener->fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", sizeof "lo");
    socklen_t size = sizeof *address;
    if (bind(listener->fd, (struct sockaddr *)address, size) != 0 ||
        listen(listener->fd, BACKLOG) != 0 ||
        getsockname(listener->fd, (struct sockaddr *)address, &size) != 0)
        return error_set(error, "listen on %s:%u: %s%s", host, place->port, strerror(errno),
                         cure(errno));
    return true;
}

static void listener_free(struct net_listener *listener)
{
    listener_close(listener);
    if (listener->path != NULL)
        unlink(listener->path);
    free(listener->path);
    free(listener);
}

bool net_listen(struct net *net, const struct net_place *place, const struct net_handler *handler,
                void *owner, uint16_t *ret_port, struct error *error)
{
    CHECK(handler->opened != NULL && handler->received != NULL && handler->closed != NULL);
    struct net_listener *listener = xcalloc(1, sizeof *listener);
    *listener = (struct net_listener){.net = net, .handler = *handler, .owner = owner, .fd = -1};
    timer_init(&listener->retry, retry_accept);
    size_t prefix = sizeof unix_prefix - 1;
    bool unix_socket = place->host != NULL && strncmp(place->host, unix_prefix, prefix) == 0;
    if (unix_socket ? !open_unix(listener, place->host + prefix, error)
                    : !open_tcp(listener, place, error)) {
        listener_free(listener);
        return false;
    }
    uint32_t count = net->listener_count;
    if ((count & (count - 1)) == 0) { /* a power of two: full */
        net->listeners =
            reallocarray(net->listeners, count == 0 ? 1 : 2 * (size_t)count, sizeof listener);
        CHECK(net->listeners != NULL);
    }
    listener->slot = count;
    net->listeners[net->listener_count++] = listener;
    if (ret_port != NULL)
        *ret_port = ntohs(listener->address.sin_port);
    if (!net->backend->listen(listener))
        wheel_arm(net->wheel, &listener->retry, net->now_ns);
    return true;
}

/* A listener that is shut down ends the accept that is in the kernel, which then closes it. */
void net_unlisten(struct net *net, uint16_t port)
{
    for (uint32_t i = 0; i < net->listener_count; i++) {
        struct net_listener *listener = net->listeners[i];
        if (listener->over || listener->path != NULL || ntohs(listener->address.sin_port) != port)
            continue;
        listener->over = true;
        shutdown(listener->fd, SHUT_RDWR);
        net->stats.syscalls++;
        if (timer_armed(&listener->retry)) {
            wheel_cancel(net->wheel, &listener->retry);
            listener_close(listener);
        }
    }
}

void net_listeners_close(struct net *net)
{
    for (uint32_t i = 0; i < net->listener_count; i++)
        listener_free(net->listeners[i]);
    free(net->listeners);
}
