/* SPDX-License-Identifier: Apache-2.0 */
/* The admin server: one thread, one epoll of libmicrohttpd's, answers made by routes.c.
 *
 * No client can hold it up. Answers are made from counters without waiting for anybody, sockets are
 * non-blocking, requests are bounded in size. libmicrohttpd's own timeout counts from the last
 * byte, so that a client sending one byte a second would keep its place for ever; here a connection
 * that has gone `request_timeout` without a finished answer is shut down, whatever it trickles.
 *
 * Thread: main creates and destroys; everything between runs on the admin's own. */
#include "admin/server.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"

enum {
    REQUEST_BYTES_MAX = 16384, /* line and headers, and libmicrohttpd's own of the connection */
    SWEEP_MS = 100,            /* how exactly request_timeout is kept */
};

/* One open connection; fd -1: free. */
struct client {
    int fd;
    uint64_t since_ns; /* accepted, or last answer finished */
};

struct admin {
    struct MHD_Daemon *daemon;
    struct admin_sources sources;
    char *path;
    uint64_t request_timeout_ns, started_wall_ns;
    struct client *clients;
    size_t client_count;
    uint64_t swept_ns;
    pthread_t thread;
    bool thread_started;
    atomic_bool stopping;
    int stop_fd; /* eventfd */
};

static struct client *client_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info != NULL ? info->socket_context : NULL;
}

static void on_connection(void *owner, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct admin *admin = owner;
    struct client *client = *socket_context;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (client != NULL)
            client->fd = -1;
        return;
    }
    for (size_t i = 0; i < admin->client_count; i++) {
        client = &admin->clients[i];
        if (client->fd >= 0)
            continue;
        client->fd =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        client->since_ns = clock_monotonic_ns();
        *socket_context = client;
        return;
    }
}

static void on_completed(void *owner, struct MHD_Connection *connection, void **request,
                         enum MHD_RequestTerminationCode code)
{
    (void)owner, (void)request, (void)code;
    struct client *client = client_of(connection);
    if (client != NULL)
        client->since_ns = clock_monotonic_ns();
}

/* libmicrohttpd sees the end of the stream and closes. */
static void sweep(struct admin *admin, uint64_t now_ns)
{
    if (now_ns - admin->swept_ns < SWEEP_MS * NS_PER_MS)
        return;
    admin->swept_ns = now_ns;
    for (size_t i = 0; i < admin->client_count; i++) {
        struct client *client = &admin->clients[i];
        if (client->fd >= 0 && now_ns - client->since_ns > admin->request_timeout_ns)
            shutdown(client->fd, SHUT_RDWR);
    }
}

static enum MHD_Result on_request(void *owner, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *body,
                                  size_t *body_bytes, void **context)
{
    (void)version, (void)body, (void)body_bytes, (void)context;
    struct admin *admin = owner;
    struct answer answer;
    if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0) {
        struct request request = {
            .sources = &admin->sources,
            .connection = connection,
            .started_wall_ns = admin->started_wall_ns,
            .now_wall_ns = clock_wall_ns(),
        };
        answer = route_answer(&request, admin->path, url);
    } else {
        answer = answer_text(MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain; charset=utf-8",
                             strdup("only GET and HEAD\n"));
        if (answer.response != NULL)
            MHD_add_response_header(answer.response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    }
    if (answer.response == NULL)
        return MHD_NO;
    MHD_add_response_header(answer.response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    MHD_add_response_header(answer.response, "X-Content-Type-Options", "nosniff");
    enum MHD_Result queued = MHD_queue_response(connection, answer.status, answer.response);
    MHD_destroy_response(answer.response);
    return queued;
}

__attribute__((format(printf, 2, 0))) static void on_log(void *owner, const char *format,
                                                         va_list arguments)
{
    (void)owner;
    char text[256];
    vsnprintf(text, sizeof text, format, arguments);
    text[strcspn(text, "\n")] = 0;
    LOG(LOG_LEVEL_DEBUG, "health_check", text);
}

static unsigned open_count(struct admin *admin)
{
    return MHD_get_daemon_info(admin->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS)->num_connections;
}

static void *run(void *owner)
{
    struct admin *admin = owner;
    pthread_setname_np(pthread_self(), "admin");
    struct pollfd waits[] = {
        {.fd = MHD_get_daemon_info(admin->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd,
         .events = POLLIN},
        {.fd = admin->stop_fd, .events = POLLIN},
    };
    bool idle = false;
    while (!atomic_load(&admin->stopping)) {
        MHD_UNSIGNED_LONG_LONG timeout_ms = SWEEP_MS;
        if (MHD_get_timeout(admin->daemon, &timeout_ms) != MHD_YES || timeout_ms > SWEEP_MS)
            timeout_ms = SWEEP_MS;
        int ready = poll(waits, 2, idle ? -1 : (int)timeout_ms);
        CHECK(ready >= 0 || errno == EINTR);
        /* Once more after the last has gone: a listening socket that was left out at the limit
         * comes back into the epoll only then. */
        idle = open_count(admin) == 0;
        MHD_run(admin->daemon);
        sweep(admin, clock_monotonic_ns());
    }
    return NULL;
}

/* Signals are for the main thread. */
static bool start_thread(struct admin *admin, struct error *error)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&admin->thread, NULL, run, admin);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    admin->thread_started = code == 0;
    return code == 0 ||
           error_set(error, "cannot start a thread: %s; raise the process limit", strerror(code));
}

static void warn_when_open(int fd, const char *endpoint)
{
    if (endpoint_is_loopback(fd))
        return;
    LOG(LOG_LEVEL_WARN, "health_check",
        "reachable from other machines without encryption or login: it shows names, versions and "
        "errors of all servers",
        LOG_TEXT("endpoint", endpoint), LOG_TEXT("cure", "bind to localhost or filter the port"));
}

static struct MHD_Daemon *start_daemon(struct admin *admin, int listen_fd)
{
    unsigned limit = (unsigned)admin->client_count;
    /* The logger first: it applies to what follows. */
    return MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, admin,
                            MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET,
                            listen_fd, MHD_OPTION_CONNECTION_LIMIT, limit,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)REQUEST_BYTES_MAX,
                            MHD_OPTION_NOTIFY_CONNECTION, on_connection, admin,
                            MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_END);
}

bool admin_create(struct admin **ret_admin, const struct health_check_settings *settings,
                  const struct admin_sources *sources, struct error *error)
{
    struct admin *admin = calloc(1, sizeof *admin);
    CHECK(admin != NULL);
    admin->sources = *sources;
    admin->started_wall_ns = clock_wall_ns();
    admin->request_timeout_ns = settings->request_timeout_ns;
    admin->path = strdup(settings->path);
    admin->client_count = (size_t)settings->connections_max;
    admin->clients = calloc(admin->client_count, sizeof *admin->clients);
    CHECK(admin->path != NULL && admin->clients != NULL);
    for (size_t i = 0; i < admin->client_count; i++)
        admin->clients[i].fd = -1;
    int listen_fd = -1;
    admin->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (admin->stop_fd < 0) {
        error_set(error, "eventfd: %s; raise the open files limit (ulimit -n)", strerror(errno));
        goto fail;
    }
    listen_fd = endpoint_listen(settings->endpoint, error);
    if (listen_fd < 0)
        goto fail;
    warn_when_open(listen_fd, settings->endpoint);
    admin->daemon = start_daemon(admin, listen_fd);
    if (admin->daemon == NULL) {
        close(listen_fd);
        error_set(error, "endpoint %s: the HTTP server does not start: %s", settings->endpoint,
                  strerror(errno));
        goto fail;
    }
    if (!start_thread(admin, error))
        goto fail;
    *ret_admin = admin;
    return true;
fail:
    admin_destroy(&admin);
    return false;
}

void admin_destroy(struct admin **admin_place)
{
    struct admin *admin = *admin_place;
    if (admin == NULL)
        return;
    if (admin->thread_started) {
        atomic_store(&admin->stopping, true);
        ssize_t written = write(admin->stop_fd, &(uint64_t){1}, sizeof(uint64_t));
        CHECK(written == sizeof(uint64_t));
        pthread_join(admin->thread, NULL);
    }
    if (admin->daemon != NULL)
        MHD_stop_daemon(admin->daemon); /* closes the listening socket too */
    if (admin->stop_fd >= 0)
        close(admin->stop_fd);
    free(admin->clients);
    free(admin->path);
    free(admin);
    *admin_place = NULL;
}
