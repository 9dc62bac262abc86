/* SPDX-License-Identifier: Apache-2.0 */
/* Each connection is read into one buffer until a whole request is there, handled, and answered
 * before the next one is looked at: requests on one connection never overlap. A connection is
 * either READING (waits for bytes), WAITING (its answer is delayed) or WRITING. */
#include "tools/sink_http.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"

enum {
    HEAD_BYTES_MAX = 32 << 10,
    BODY_BYTES_MAX = 64 << 20,
    READ_BYTES = 256 << 10,
    CONNECTIONS_MAX = 1024,
    EVENTS_MAX = 64,
    TICK_MS = 200,
};

enum connection_state { CONNECTION_READING, CONNECTION_WAITING, CONNECTION_WRITING };

struct connection {
    int fd; /* -1: free */
    enum connection_state state;
    uint8_t *in;
    size_t in_bytes, in_space;
    size_t head_bytes, body_bytes; /* of the request at the buffer's start; 0: not read yet */
    bool continued;                /* 100 Continue is sent */
    bool last;                     /* close after the answer */
    uint64_t answer_ns;
    uint8_t *out;
    size_t out_bytes, out_sent;
};

struct sink_server {
    int listen_fd, epoll_fd;
    uint16_t port;
    sink_handler handler;
    void *owner;
    uint64_t accepted;
    uint32_t waiting;
    struct connection connections[CONNECTIONS_MAX];
};

static bool bind_address(struct sink_server *server, const char *listen_on, struct error *error)
{
    char host[256];
    const char *colon = strrchr(listen_on, ':');
    if (colon == NULL || (size_t)(colon - listen_on) >= sizeof host)
        return error_set(error, "--listen %s: use host:port, e.g. 127.0.0.1:4318", listen_on);
    snprintf(host, sizeof host, "%.*s", (int)(colon - listen_on), listen_on);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    int failure = getaddrinfo(host[0] != '\0' ? host : NULL, colon + 1, &hints, &found);
    if (failure != 0)
        return error_set(error, "--listen %s: %s", listen_on, gai_strerror(failure));
    int one = 1;
    server->listen_fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(server->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    bool bound = server->listen_fd >= 0 &&
                 bind(server->listen_fd, found->ai_addr, found->ai_addrlen) == 0 &&
                 listen(server->listen_fd, 512) == 0;
    freeaddrinfo(found);
    if (!bound)
        return error_set(error, "--listen %s: %s; is another program on that port?", listen_on,
                         strerror(errno));
    struct sockaddr_storage address;
    socklen_t bytes = sizeof address;
    CHECK(getsockname(server->listen_fd, (struct sockaddr *)&address, &bytes) == 0);
    server->port = ntohs(address.ss_family == AF_INET6
                             ? ((const struct sockaddr_in6 *)(const void *)&address)->sin6_port
                             : ((const struct sockaddr_in *)(const void *)&address)->sin_port);
    return true;
}

bool sink_server_create(struct sink_server **ret_server, const char *listen_on,
                        sink_handler handler, void *owner, struct error *error)
{
    struct sink_server *server = calloc(1, sizeof *server);
    CHECK(server != NULL);
    server->handler = handler;
    server->owner = owner;
    server->listen_fd = -1;
    for (int i = 0; i < CONNECTIONS_MAX; i++)
        server->connections[i].fd = -1;
    server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    CHECK(server->epoll_fd >= 0);
    if (!bind_address(server, listen_on, error)) {
        sink_server_destroy(&server);
        return false;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    CHECK(epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, server->listen_fd, &event) == 0);
    *ret_server = server;
    return true;
}

static void drop_connection(struct sink_server *server, struct connection *connection)
{
    server->waiting -= connection->state == CONNECTION_WAITING;
    close(connection->fd);
    free(connection->in);
    free(connection->out);
    *connection = (struct connection){.fd = -1};
}

void sink_server_destroy(struct sink_server **ret_server)
{
    struct sink_server *server = *ret_server;
    if (server == NULL)
        return;
    for (int i = 0; i < CONNECTIONS_MAX; i++)
        if (server->connections[i].fd >= 0)
            drop_connection(server, &server->connections[i]);
    if (server->listen_fd >= 0)
        close(server->listen_fd);
    close(server->epoll_fd);
    free(server);
    *ret_server = NULL;
}

uint16_t sink_server_port(const struct sink_server *server)
{
    return server->port;
}

uint64_t sink_server_connections(const struct sink_server *server)
{
    return server->accepted;
}

static void accept_all(struct sink_server *server)
{
    for (;;) {
        int fd = accept4(server->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        struct connection *connection = NULL;
        for (int i = 0; i < CONNECTIONS_MAX && connection == NULL; i++)
            if (server->connections[i].fd < 0)
                connection = &server->connections[i];
        if (connection == NULL) {
            close(fd);
            continue;
        }
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        *connection = (struct connection){.fd = fd};
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        CHECK(epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0);
        server->accepted++;
    }
}

static void watch(struct sink_server *server, struct connection *connection)
{
    struct epoll_event event = {.events = connection->state == CONNECTION_READING   ? EPOLLIN
                                          : connection->state == CONNECTION_WRITING ? EPOLLOUT
                                                                                    : 0,
                                .data.ptr = connection};
    CHECK(epoll_ctl(server->epoll_fd, EPOLL_CTL_MOD, connection->fd, &event) == 0);
}

/* The value of a header within the head (NUL-terminated lines after cut_lines()), or "". */
static const char *header(const char *head, const char *end, const char *name)
{
    size_t bytes = strlen(name);
    for (const char *line = head; line < end; line += strlen(line) + 1) {
        if (strncasecmp(line, name, bytes) != 0 || line[bytes] != ':')
            continue;
        const char *value = line + bytes + 1;
        while (*value == ' ' || *value == '\t')
            value++;
        return value;
    }
    return "";
}

static const char *reason(int status)
{
    static const struct {
        int status;
        const char *name;
    } names[] = {{200, "OK"},
                 {400, "Bad Request"},
                 {404, "Not Found"},
                 {411, "Length Required"},
                 {413, "Payload Too Large"},
                 {429, "Too Many Requests"},
                 {503, "Service Unavailable"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].status == status)
            return names[i].name;
    return "Answer";
}

static void set_out(struct connection *connection, const struct sink_reply *reply)
{
    static const char garbage[] = "\x16\x03\x01 this is not HTTP\r\n\r\n";
    char retry[64] = "";
    if (reply->retry_after_s > 0)
        snprintf(retry, sizeof retry, "Retry-After: %d\r\n", reply->retry_after_s);
    connection->out = malloc(512 + reply->body_bytes);
    CHECK(connection->out != NULL);
    connection->out_sent = 0;
    if (reply->garbage) {
        memcpy(connection->out, garbage, sizeof garbage - 1);
        connection->out_bytes = sizeof garbage - 1;
        connection->last = true;
        return;
    }
    int head =
        snprintf((char *)connection->out, 512,
                 "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s%s\r\n",
                 reply->status, reason(reply->status),
                 reply->content_type != NULL ? reply->content_type : "application/x-protobuf",
                 reply->body_bytes, retry, connection->last ? "Connection: close\r\n" : "");
    CHECK(head > 0 && head < 512);
    if (reply->body_bytes > 0)
        memcpy(connection->out + head, reply->body, reply->body_bytes);
    connection->out_bytes = (size_t)head + reply->body_bytes;
}

/* Splits the head into lines ended by NUL. */
static void cut_lines(char *head, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (head[i] == '\r' || head[i] == '\n')
            head[i] = '\0';
}

/* Reads the head when it is complete. False: refuse with *ret_status. */
static bool read_head(struct connection *connection, int *ret_status)
{
    const uint8_t *end = memmem(connection->in, connection->in_bytes, "\r\n\r\n", 4);
    if (end == NULL) {
        *ret_status = 400;
        return connection->in_bytes < HEAD_BYTES_MAX;
    }
    connection->head_bytes = (size_t)(end - connection->in) + 4;
    cut_lines((char *)connection->in, connection->head_bytes);
    const char *head = (const char *)connection->in, *stop = head + connection->head_bytes;
    if (header(head, stop, "Transfer-Encoding")[0] != '\0') {
        *ret_status = 411;
        return false;
    }
    char *rest;
    unsigned long long bytes = strtoull(header(head, stop, "Content-Length"), &rest, 10);
    *ret_status = bytes > BODY_BYTES_MAX ? 413 : 400;
    connection->body_bytes = (size_t)bytes;
    connection->last = strcasecmp(header(head, stop, "Connection"), "close") == 0;
    if (!connection->continued && strcasecmp(header(head, stop, "Expect"), "100-continue") == 0) {
        static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
        connection->continued = write(connection->fd, text, sizeof text - 1) > 0;
    }
    return bytes <= BODY_BYTES_MAX && *rest == '\0';
}

static struct sink_reply handle(struct sink_server *server, struct connection *connection)
{
    char *head = (char *)connection->in;
    const char *stop = head + connection->head_bytes;
    struct sink_request request = {
        .method = head,
        .path = "",
        .content_type = header(head, stop, "Content-Type"),
        .content_encoding = header(head, stop, "Content-Encoding"),
        .body = connection->in + connection->head_bytes,
        .body_bytes = connection->body_bytes,
    };
    char *space = strchr(head, ' ');
    if (space != NULL) {
        *space = '\0';
        char *path = space + 1;
        char *path_end = strpbrk(path, " ?");
        if (path_end != NULL)
            *path_end = '\0';
        request.path = path;
    }
    return server->handler(server->owner, &request);
}

static void write_out(struct sink_server *server, struct connection *connection);

/* What has been read, as far as it goes. */
static void process(struct sink_server *server, struct connection *connection)
{
    int status = 0;
    struct sink_reply reply;
    if (connection->head_bytes == 0 && !read_head(connection, &status)) {
        reply = (struct sink_reply){.status = status};
        connection->last = true;
    } else if (connection->head_bytes == 0 ||
               connection->in_bytes < connection->head_bytes + connection->body_bytes) {
        return;
    } else {
        reply = handle(server, connection);
        size_t used = connection->head_bytes + connection->body_bytes;
        connection->in_bytes -= used;
        memmove(connection->in, connection->in + used, connection->in_bytes);
    }
    connection->head_bytes = connection->body_bytes = 0;
    connection->continued = false;
    if (reply.close_early) {
        drop_connection(server, connection);
        return;
    }
    set_out(connection, &reply);
    if (reply.delay_ns > 0) {
        connection->state = CONNECTION_WAITING;
        connection->answer_ns = clock_monotonic_ns() + reply.delay_ns;
        server->waiting++;
        watch(server, connection);
        return;
    }
    write_out(server, connection);
}

static void write_out(struct sink_server *server, struct connection *connection)
{
    while (connection->out_sent < connection->out_bytes) {
        ssize_t sent = send(connection->fd, connection->out + connection->out_sent,
                            connection->out_bytes - connection->out_sent, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            connection->state = CONNECTION_WRITING;
            watch(server, connection);
            return;
        }
        if (sent < 0) {
            drop_connection(server, connection);
            return;
        }
        connection->out_sent += (size_t)sent;
    }
    free(connection->out);
    connection->out = NULL;
    if (connection->last) {
        shutdown(connection->fd, SHUT_WR);
        drop_connection(server, connection);
    } else if (connection->state != CONNECTION_READING) {
        connection->state = CONNECTION_READING;
        watch(server, connection);
    }
}

static void read_in(struct sink_server *server, struct connection *connection)
{
    size_t want = connection->head_bytes + connection->body_bytes;
    want = want > connection->in_bytes ? want - connection->in_bytes : 0;
    want = want > READ_BYTES ? want : READ_BYTES;
    if (connection->in_bytes + want > connection->in_space) {
        connection->in_space = connection->in_bytes + want;
        connection->in = realloc(connection->in, connection->in_space);
        CHECK(connection->in != NULL);
    }
    ssize_t bytes = recv(connection->fd, connection->in + connection->in_bytes,
                         connection->in_space - connection->in_bytes, 0);
    if (bytes < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (bytes <= 0) {
        drop_connection(server, connection);
        return;
    }
    connection->in_bytes += (size_t)bytes;
    /* more than one request may be there, if the client pipelines */
    size_t before;
    do {
        before = connection->in_bytes;
        process(server, connection);
    } while (connection->fd >= 0 && connection->state == CONNECTION_READING &&
             connection->in_bytes > 0 && connection->in_bytes < before);
}

static void answer_delayed(struct sink_server *server)
{
    uint64_t now_ns = clock_monotonic_ns();
    for (int i = 0; server->waiting > 0 && i < CONNECTIONS_MAX; i++) {
        struct connection *connection = &server->connections[i];
        if (connection->fd < 0 || connection->state != CONNECTION_WAITING ||
            connection->answer_ns > now_ns)
            continue;
        server->waiting--;
        connection->state = CONNECTION_WRITING;
        watch(server, connection);
        write_out(server, connection);
    }
}

void sink_server_run(struct sink_server *server, const volatile sig_atomic_t *stop)
{
    struct epoll_event events[EVENTS_MAX];
    while (!*stop) {
        int count = epoll_wait(server->epoll_fd, events, EVENTS_MAX, server->waiting ? 5 : TICK_MS);
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (connection == NULL)
                accept_all(server);
            else if (connection->fd < 0)
                continue; /* dropped earlier in this round */
            else if (connection->state == CONNECTION_READING)
                read_in(server, connection);
            else if (connection->state == CONNECTION_WRITING)
                write_out(server, connection);
            else
                drop_connection(server, connection); /* the client left while it waited */
        }
        answer_delayed(server);
    }
}
