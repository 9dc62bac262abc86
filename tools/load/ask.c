/* SPDX-License-Identifier: Apache-2.0 */
/* A small HTTP client for loopback: the admin endpoint, the sink's report, the simulator's socket.
 * Not libcurl, which is the exporters' alone: this one asks five short questions a second and must
 * cost nothing beside what is measured.
 *
 * One thread at a time. */
#include "tools/load/ask.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"

enum { ANSWER_BYTES_MAX = 256 << 20, BLOCK_BYTES = 65536, HEAD_BYTES = 1024 };

struct answer {
    char *bytes;
    size_t used, room;
};

static bool wait_for(int fd, short events, uint64_t deadline_ns)
{
    for (;;) {
        uint64_t now_ns = clock_monotonic_ns();
        if (now_ns >= deadline_ns)
            return false;
        struct pollfd one = {.fd = fd, .events = events};
        int ready = poll(&one, 1, (int)((deadline_ns - now_ns) / NS_PER_MS + 1));
        if (ready > 0)
            return true;
        if (ready < 0 && errno != EINTR)
            return false;
    }
}

static bool send_all(int fd, const char *bytes, size_t count, uint64_t deadline_ns)
{
    while (count > 0) {
        ssize_t sent = send(fd, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        if (sent < 0 && !wait_for(fd, POLLOUT, deadline_ns))
            return false;
        if (sent > 0) {
            bytes += sent;
            count -= (size_t)sent;
        }
    }
    return true;
}

/* Until the other side closes; always NUL-terminated. */
static bool receive_all(int fd, struct answer *answer, uint64_t deadline_ns)
{
    for (;;) {
        if (answer->room - answer->used < BLOCK_BYTES) {
            if (answer->used > ANSWER_BYTES_MAX)
                return false;
            answer->room = 2 * answer->room + 2 * BLOCK_BYTES;
            answer->bytes = xrealloc(answer->bytes, answer->room);
        }
        ssize_t count = recv(fd, answer->bytes + answer->used, BLOCK_BYTES - 1, MSG_DONTWAIT);
        if (count > 0)
            answer->used += (size_t)count;
        answer->bytes[answer->used] = 0;
        if (count == 0)
            return true;
        if (count < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        if (count < 0 && !wait_for(fd, POLLIN, deadline_ns))
            return false;
    }
}

static int dial(const char *place)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    char host[64];
    const char *colon = strrchr(place, ':');
    if (colon == NULL || (size_t)(colon - place) >= sizeof host)
        return -1;
    snprintf(host, sizeof host, "%.*s", (int)(colon - place), place);
    if (strcmp(host, "localhost") == 0)
        snprintf(host, sizeof host, "127.0.0.1");
    address.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
        return -1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* The value of a header, or NULL; `head` ends before `body`. */
static const char *find_header(const char *head, const char *body, const char *name)
{
    size_t bytes = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line != NULL && line < body;
         line = strstr(line + 2, "\r\n"))
        if (strncasecmp(line + 2, name, bytes) == 0)
            return line + 2 + bytes + strspn(line + 2 + bytes, ": ");
    return NULL;
}

/* Chunks are moved together in place. */
static bool join_chunks(char *body)
{
    char *out = body, *at = body;
    for (;;) {
        char *end;
        unsigned long bytes = strtoul(at, &end, 16);
        char *data = strstr(end, "\r\n");
        if (end == at || data == NULL || strlen(data + 2) < bytes)
            return false;
        if (bytes == 0)
            break;
        memmove(out, data + 2, bytes);
        out += bytes;
        at = data + 2 + bytes + 2;
    }
    *out = 0;
    return true;
}

/* Leaves the body alone in the answer's bytes. */
static bool open_answer(const struct ask *ask, struct answer *answer, struct error *error)
{
    int status = 0;
    char *end = answer->bytes != NULL ? strstr(answer->bytes, "\r\n\r\n") : NULL;
    if (end == NULL || sscanf(answer->bytes, "HTTP/1.%*d %d", &status) != 1)
        return error_set(error, "http://%s%s: the answer is no HTTP", ask->place, ask->path);
    char *body = end + 4;
    const char *coding = find_header(answer->bytes, end, "Transfer-Encoding");
    if (coding != NULL && strncasecmp(coding, "chunked", 7) == 0 && !join_chunks(body))
        return error_set(error, "http://%s%s: the answer was cut off", ask->place, ask->path);
    memmove(answer->bytes, body, strlen(body) + 1);
    if (status >= 200 && status < 300)
        return true;
    return error_set(error, "http://%s%s: status %d: %.200s", ask->place, ask->path, status,
                     answer->bytes);
}

bool ask_http(const struct ask *ask, char **ret_text, struct error *error)
{
    char head[HEAD_BYTES];
    uint64_t deadline_ns = clock_monotonic_ns() + ask->timeout_ns;
    size_t body_bytes = ask->body != NULL ? strlen(ask->body) : 0;
    int head_bytes =
        snprintf(head, sizeof head,
                 "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Type: "
                 "%s\r\nContent-Length: %zu\r\n\r\n",
                 ask->method, ask->path, ask->place,
                 ask->content_type != NULL ? ask->content_type : "text/plain", body_bytes);
    CHECK(head_bytes < HEAD_BYTES);
    int fd = dial(ask->place);
    if (fd < 0)
        return error_set(error, "http://%s%s: cannot connect: %s", ask->place, ask->path,
                         strerror(errno));
    struct answer answer = {0};
    bool done = send_all(fd, head, (size_t)head_bytes, deadline_ns) &&
                send_all(fd, ask->body, body_bytes, deadline_ns) &&
                receive_all(fd, &answer, deadline_ns);
    close(fd);
    if (!done)
        error_set(error, "http://%s%s: no whole answer within %.1f s", ask->place, ask->path,
                  (double)ask->timeout_ns / (double)NS_PER_S);
    if (done && open_answer(ask, &answer, error)) {
        *ret_text = answer.bytes;
        return true;
    }
    free(answer.bytes);
    return false;
}

bool ask_socket(const char *path, const char *document, uint64_t timeout_ns, char **ret_text,
                struct error *error)
{
    uint64_t deadline_ns = clock_monotonic_ns() + timeout_ns;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct answer answer = {0};
    if (strlen(path) >= sizeof address.sun_path)
        return error_set(error, "%s: too long for a socket's path", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        error_set(error, "%s: cannot connect: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return false;
    }
    bool done = send_all(fd, document, strlen(document), deadline_ns) &&
                shutdown(fd, SHUT_WR) == 0 && receive_all(fd, &answer, deadline_ns);
    close(fd);
    if (done) {
        *ret_text = answer.bytes;
        return true;
    }
    free(answer.bytes);
    return error_set(error, "%s: no whole answer within %.1f s", path,
                     (double)timeout_ns / (double)NS_PER_S);
}

uint16_t ask_free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    uint16_t port = 0;
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        getsockname(fd, (struct sockaddr *)&address, &bytes) == 0)
        port = ntohs(address.sin_port);
    if (fd >= 0)
        close(fd);
    return port;
}
