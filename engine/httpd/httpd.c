/* SPDX-License-Identifier: Apache-2.0 */
/* One thread, one epoll of libmicrohttpd's.
 *
 * No client can hold it up. Answers are made without waiting for anybody, sockets are non-blocking,
 * requests are bounded in size. libmicrohttpd's own timeout counts from the last byte, so that a
 * client sending one byte a second would keep its place for ever; here a connection that has gone
 * `request_timeout` without a finished answer is shut down, whatever it trickles.
 *
 * Thread: the owner's creates and destroys; everything between runs on the server's own. */
#include "httpd/httpd.h"

#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
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
#include "base/memory.h"

enum {
    CONNECTION_BYTES = 16384, /* line and headers, and libmicrohttpd's own of the connection */
    BLOCK_BYTES = 32768,      /* of a streamed answer */
    SWEEP_MS = 100,           /* how exactly request_timeout is kept */
};

/* One open connection; fd -1: free. */
struct client {
    int fd;
    uint64_t since_ns; /* accepted, or last answer finished */
};

struct httpd {
    struct httpd_options options;
    struct MHD_Daemon *daemon;
    struct client *clients;
    bool local;
    uint16_t port;
    uint64_t swept_ns;
    pthread_t thread;
    bool thread_started;
    atomic_bool stopping;
    int stop_fd; /* eventfd */
};

struct httpd_request {
    struct MHD_Connection *connection;
};

/* ---- answers ---- */

const char *httpd_argument(const struct httpd_request *request, const char *key)
{
    return MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, key);
}

const char *httpd_header(const struct httpd_request *request, const char *key)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, key);
}

void httpd_add_header(const struct httpd_answer *answer, const char *key, const char *value)
{
    if (answer->response != NULL)
        MHD_add_response_header(answer->response, key, value);
}

struct httpd_answer httpd_text(unsigned status, const char *content_type, char *text)
{
    struct httpd_answer answer = {.status = status};
    if (text == NULL)
        return answer;
    answer.response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
    if (answer.response == NULL)
        free(text);
    httpd_add_header(&answer, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    return answer;
}

static ssize_t produce(void *owner, uint64_t position, char *buffer, size_t bytes_max)
{
    (void)position;
    const struct httpd_stream *stream = owner;
    size_t bytes = stream->produce(stream->owner, buffer, bytes_max);
    return bytes > 0 ? (ssize_t)bytes : MHD_CONTENT_READER_END_OF_STREAM;
}

static void forget(void *owner)
{
    struct httpd_stream *stream = owner;
    stream->forget(stream->owner);
    free(stream);
}

struct httpd_answer httpd_streamed(unsigned status, const char *content_type,
                                   const struct httpd_stream *stream)
{
    struct httpd_answer answer = {.status = status};
    struct httpd_stream *own = malloc(sizeof *own);
    if (own == NULL) {
        stream->forget(stream->owner);
        return answer;
    }
    *own = *stream;
    answer.response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES, produce, own, forget);
    if (answer.response == NULL)
        forget(own);
    httpd_add_header(&answer, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    return answer;
}

static enum MHD_Result on_request(void *owner, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *body,
                                  size_t *body_bytes, void **context)
{
    (void)version, (void)body, (void)body_bytes, (void)context;
    const struct httpd *httpd = owner;
    struct httpd_answer answer;
    if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0) {
        struct httpd_request request = {connection};
        answer = httpd->options.answer(httpd->options.owner, &request, url);
    } else {
        answer = httpd_text(MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain; charset=utf-8",
                            strdup("only GET and HEAD\n"));
        httpd_add_header(&answer, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    }
    if (answer.response == NULL)
        return MHD_NO;
    httpd_add_header(&answer, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    httpd_add_header(&answer, "X-Content-Type-Options", "nosniff");
    enum MHD_Result queued = MHD_queue_response(connection, answer.status, answer.response);
    MHD_destroy_response(answer.response);
    return queued;
}

/* ---- clients ---- */

static struct client *client_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info != NULL ? info->socket_context : NULL;
}

static void on_connection(void *owner, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct httpd *httpd = owner;
    struct client *client = *socket_context;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (client != NULL)
            client->fd = -1;
        return;
    }
    for (size_t i = 0; i < httpd->options.connections_max; i++) {
        client = &httpd->clients[i];
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
static void sweep(struct httpd *httpd, uint64_t now_ns)
{
    if (now_ns - httpd->swept_ns < SWEEP_MS * NS_PER_MS)
        return;
    httpd->swept_ns = now_ns;
    for (size_t i = 0; i < httpd->options.connections_max; i++) {
        struct client *client = &httpd->clients[i];
        if (client->fd >= 0 && now_ns - client->since_ns > httpd->options.request_timeout_ns)
            shutdown(client->fd, SHUT_RDWR);
    }
}

/* ---- the thread ---- */

__attribute__((format(printf, 2, 0))) static void on_log(void *owner, const char *format,
                                                         va_list arguments)
{
    const struct httpd *httpd = owner;
    char text[256];
    vsnprintf(text, sizeof text, format, arguments);
    text[strcspn(text, "\n")] = 0;
    LOG(LOG_LEVEL_DEBUG, httpd->options.name, text);
}

static unsigned open_count(struct httpd *httpd)
{
    return MHD_get_daemon_info(httpd->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS)->num_connections;
}

/* How long poll() may sleep: -1 for ever. */
static int sleep_ms(struct httpd *httpd, bool idle, uint64_t turn_ns, uint64_t now_ns)
{
    MHD_UNSIGNED_LONG_LONG timeout_ms = SWEEP_MS;
    if (idle)
        return turn_ns == UINT64_MAX ? -1
               : turn_ns > now_ns    ? (int)((turn_ns - now_ns) / NS_PER_MS + 1)
                                     : 0;
    if (MHD_get_timeout(httpd->daemon, &timeout_ms) != MHD_YES || timeout_ms > SWEEP_MS)
        timeout_ms = SWEEP_MS;
    return (int)timeout_ms;
}

static void *run(void *owner)
{
    struct httpd *httpd = owner;
    const struct httpd_options *options = &httpd->options;
    pthread_setname_np(pthread_self(), options->thread);
    struct pollfd waits[] = {
        {.fd = MHD_get_daemon_info(httpd->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd,
         .events = POLLIN},
        {.fd = httpd->stop_fd, .events = POLLIN},
    };
    bool idle = false;
    while (!atomic_load(&httpd->stopping)) {
        uint64_t now_ns = clock_monotonic_ns();
        uint64_t turn_ns =
            options->turn != NULL ? options->turn(options->owner, now_ns) : UINT64_MAX;
        int ready = poll(waits, 2, sleep_ms(httpd, idle, turn_ns, now_ns));
        CHECK(ready >= 0 || errno == EINTR);
        /* Once more after the last has gone: a listening socket that was left out at the limit
         * comes back into the epoll only then. */
        idle = open_count(httpd) == 0;
        MHD_run(httpd->daemon);
        sweep(httpd, clock_monotonic_ns());
    }
    return NULL;
}

/* Signals are for the main thread. */
static bool start_thread(struct httpd *httpd, struct error *error)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&httpd->thread, NULL, run, httpd);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    httpd->thread_started = code == 0;
    return code == 0 ||
           error_set(error, "cannot start a thread: %s; raise the process limit", strerror(code));
}

/* ---- life ---- */

static struct MHD_Daemon *start_daemon(struct httpd *httpd, int listen_fd)
{
    const struct httpd_options *options = &httpd->options;
    bool tls = options->cert_pem != NULL;
    size_t bytes = options->connection_bytes > 0 ? options->connection_bytes : CONNECTION_BYTES;
    /* The logger first: it applies to what follows. The last ones are for TLS alone. */
    return MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_ERROR_LOG | (tls ? MHD_USE_TLS : 0), 0, NULL,
                            NULL, on_request, httpd, MHD_OPTION_EXTERNAL_LOGGER, on_log, httpd,
                            MHD_OPTION_LISTEN_SOCKET, listen_fd, MHD_OPTION_CONNECTION_LIMIT,
                            (unsigned)options->connections_max, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                            bytes, MHD_OPTION_NOTIFY_CONNECTION, on_connection, httpd,
                            MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
                            tls ? MHD_OPTION_HTTPS_MEM_CERT : MHD_OPTION_END, options->cert_pem,
                            MHD_OPTION_HTTPS_MEM_KEY, options->key_pem, MHD_OPTION_HTTPS_PRIORITIES,
                            "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2", MHD_OPTION_END);
}

static bool start(struct httpd *httpd, struct error *error)
{
    const char *endpoint = httpd->options.endpoint;
    httpd->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (httpd->stop_fd < 0)
        return error_set(error, "eventfd: %s; raise the open files limit (ulimit -n)",
                         strerror(errno));
    int listen_fd = endpoint_listen(endpoint, error);
    if (listen_fd < 0)
        return false;
    struct sockaddr_storage address;
    socklen_t bytes = sizeof address;
    httpd->local = endpoint_is_loopback(listen_fd);
    if (getsockname(listen_fd, (struct sockaddr *)&address, &bytes) == 0)
        httpd->port = ntohs(address.ss_family == AF_INET
                                ? ((const struct sockaddr_in *)&address)->sin_port
                                : ((const struct sockaddr_in6 *)&address)->sin6_port);
    httpd->daemon = start_daemon(httpd, listen_fd);
    if (httpd->daemon == NULL) {
        close(listen_fd);
        if (httpd->options.cert_pem != NULL)
            return error_set(error,
                             "endpoint %s: the HTTP server does not start with TLS: check that "
                             "the certificate and its key belong together",
                             endpoint);
        return error_set(error, "endpoint %s: the HTTP server does not start: %s", endpoint,
                         strerror(errno));
    }
    return start_thread(httpd, error);
}

bool httpd_create(struct httpd **ret_httpd, const struct httpd_options *options,
                  struct error *error)
{
    struct httpd *httpd = xcalloc(1, sizeof *httpd);
    CHECK(options->connections_max > 0);
    httpd->options = *options;
    httpd->clients = xcalloc(options->connections_max, sizeof *httpd->clients);
    for (size_t i = 0; i < options->connections_max; i++)
        httpd->clients[i].fd = -1;
    bool started = start(httpd, error);
    httpd->options.endpoint = NULL;
    if (started)
        *ret_httpd = httpd;
    else
        httpd_destroy(&httpd);
    return started;
}

void httpd_destroy(struct httpd **httpd_place)
{
    struct httpd *httpd = *httpd_place;
    *httpd_place = NULL;
    if (httpd == NULL)
        return;
    if (httpd->thread_started) {
        atomic_store(&httpd->stopping, true);
        ssize_t written = write(httpd->stop_fd, &(uint64_t){1}, sizeof(uint64_t));
        CHECK(written == sizeof(uint64_t));
        pthread_join(httpd->thread, NULL);
    }
    if (httpd->daemon != NULL)
        MHD_stop_daemon(httpd->daemon); /* closes the listening socket too */
    if (httpd->stop_fd >= 0)
        close(httpd->stop_fd);
    free(httpd->clients);
    free(httpd);
}

bool httpd_is_local(const struct httpd *httpd)
{
    return httpd->local;
}

uint16_t httpd_port(const struct httpd *httpd)
{
    return httpd->port;
}
