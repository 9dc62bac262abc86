/* SPDX-License-Identifier: Apache-2.0 */
/* The other end of the admin socket. */
#include "tools/sim/tell.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"
#include "base/memory.h"

enum { ANSWER_BYTES_MAX = 16 << 20, ANSWER_LIMIT_S = 30 };

static int dial(const char *path, struct error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct timeval limit = {.tv_sec = ANSWER_LIMIT_S};
    if (strlen(path) >= sizeof address.sun_path) {
        error_set(error, "%s: a Unix socket's path has at most %zu bytes", path,
                  sizeof address.sun_path - 1);
        return -1;
    }
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    error_set(error, "%s: %s: start the simulator with --admin %s", path, strerror(errno), path);
    close(fd);
    return -1;
}

static bool send_all(int fd, const char *text)
{
    size_t left = strlen(text);
    while (left > 0) {
        ssize_t sent = send(fd, text, left, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        text += sent;
        left -= (size_t)sent;
    }
    return shutdown(fd, SHUT_WR) == 0;
}

/* NULL: the connection broke. */
static char *read_all(int fd)
{
    size_t capacity = 4096, count = 0;
    char *text = xmalloc(capacity);
    while (capacity <= ANSWER_BYTES_MAX) {
        if (count + 1 == capacity) {
            capacity *= 2;
            text = xrealloc(text, capacity);
        }
        ssize_t got = recv(fd, text + count, capacity - count - 1, 0);
        if (got == 0) {
            text[count] = 0;
            return text;
        }
        if (got < 0)
            break;
        count += (size_t)got;
    }
    free(text);
    return NULL;
}

bool tell(const char *path, const char *text, char **ret_answer, struct error *error)
{
    int fd = dial(path, error);
    if (fd < 0)
        return false;
    *ret_answer = send_all(fd, text) ? read_all(fd) : NULL;
    close(fd);
    return (*ret_answer != NULL && (*ret_answer)[0] != 0) ||
           error_set(error, "%s: the simulator did not answer", path);
}
