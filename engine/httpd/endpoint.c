/* SPDX-License-Identifier: Apache-2.0 */
/* Where a server listens: as Go's net.Listen reads it, so that a Collector's endpoint means the
 * same here. A name takes its IPv4 address first; no host listens on all addresses of both
 * families. */
#include "httpd/httpd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 512 };

bool endpoint_split(const char *endpoint, char host[256], char port[8], struct error *error)
{
    const char *colon = strrchr(endpoint, ':');
    const char *start = endpoint, *end = colon;
    if (colon != NULL && *endpoint == '[' && colon > endpoint && colon[-1] == ']') {
        start = endpoint + 1;
        end = colon - 1;
    } else if (colon != NULL && memchr(endpoint, ':', (size_t)(colon - endpoint)) != NULL) {
        return error_set(error,
                         "endpoint \"%s\": write an IPv6 address in brackets, as in [::1]:13133",
                         endpoint);
    }
    char *rest = NULL;
    long number =
        colon != NULL && colon[1] >= '0' && colon[1] <= '9' ? strtol(colon + 1, &rest, 10) : -1;
    if (number < 0 || number > 65535 || *rest != 0)
        return error_set(error,
                         "endpoint \"%s\" has no port from 0 to 65535; write host:port, as in "
                         "localhost:13133",
                         endpoint);
    if ((size_t)(end - start) >= 256)
        return error_set(error, "endpoint: the host name is longer than 255 bytes");
    snprintf(host, 256, "%.*s", (int)(end - start), start);
    snprintf(port, 8, "%ld", number);
    return true;
}

bool endpoint_is_loopback(int fd)
{
    struct sockaddr_storage address;
    socklen_t bytes = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &bytes) != 0)
        return false;
    if (address.ss_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)&address)->sin_addr.s_addr) >> 24 == 127;
    const struct in6_addr *v6 = &((const struct sockaddr_in6 *)&address)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(v6) || (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == 127);
}

/* -1 with errno set. */
static int listen_on(const struct addrinfo *address)
{
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    int on = 1, off = 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int code = errno;
    close(fd);
    errno = code;
    return -1;
}

static void explain(struct error *error, const char *endpoint, const char *port, int code)
{
    if (code == EADDRINUSE)
        error_set(error,
                  "endpoint %s: port %s is taken by another process (`ss -ltnp 'sport = :%s'` "
                  "shows which); stop it or set another endpoint",
                  endpoint, port, port);
    else if (code == EACCES)
        error_set(error,
                  "endpoint %s: no right to listen on port %s; ports below 1024 need "
                  "CAP_NET_BIND_SERVICE: set an endpoint with a higher one",
                  endpoint, port);
    else if (code == EADDRNOTAVAIL)
        error_set(error,
                  "endpoint %s: this machine has no such address; use localhost:%s or one that "
                  "`ip address` shows",
                  endpoint, port);
    else
        error_set(error, "endpoint %s: cannot listen: %s", endpoint, strerror(code));
}

int endpoint_listen(const char *endpoint, struct error *error)
{
    char host[256], port[8];
    if (!endpoint_split(endpoint, host, port, error))
        return -1;
    struct addrinfo *found = NULL;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    int code = getaddrinfo(*host != 0 ? host : NULL, port, &hints, &found);
    if (code != 0) {
        error_set(error, "endpoint %s: host \"%s\" does not resolve: %s; use localhost:%s",
                  endpoint, host, gai_strerror(code), port);
        return -1;
    }
    int preferred = *host != 0 ? AF_INET : AF_INET6;
    int fd = -1, first_code = 0;
    for (int pass = 0; pass < 2 && fd < 0; pass++) {
        for (const struct addrinfo *at = found; at != NULL && fd < 0; at = at->ai_next) {
            if ((at->ai_family == preferred) != (pass == 0))
                continue;
            fd = listen_on(at);
            if (fd < 0 && first_code == 0)
                first_code = errno;
        }
        /* "localhost" taken on IPv4 must not slip to IPv6, where nobody looks for it. */
        if (first_code == EADDRINUSE)
            break;
    }
    freeaddrinfo(found);
    if (fd < 0)
        explain(error, endpoint, port, first_code);
    return fd;
}
