/* SPDX-License-Identifier: Apache-2.0 */
/* The otlp_http exporter: the Collector's keys turned into a request_plan; outbox.c does the rest.
 * Keys whose effect does not exist here are taken and warned about, so that a Collector's file runs
 * unchanged; keys that name something we lack (auth, sending_queue::storage) stay errors, because
 * running without them would not be what was asked for. */
#include <stdio.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/arena.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "exporters/exporter.h"

enum { SENDERS_MAX = 256, QUEUE_MAX = 1000000 };

enum encoding { ENCODING_PROTO, ENCODING_JSON };

struct tls_settings {
    bool insecure; /* Collector's users set it beside http:// as a matter of course */
    bool insecure_skip_verify;
    const char *ca_file, *cert_file, *key_file;
    const char *ca_pem, *cert_pem, *key_pem;
    int min_version; /* index into tls_versions */
};

struct queue_settings {
    bool enabled;
    int64_t num_consumers;
    int64_t queue_size;
};

struct compression_settings {
    int64_t level;
};

struct otlp_http_settings {
    const char *endpoint;
    const char *metrics_endpoint;
    struct text_map headers;
    int compression; /* enum compression */
    struct compression_settings compression_params;
    uint64_t timeout_ns;
    int encoding; /* enum encoding */
    struct tls_settings tls;
    struct retry_settings retry;
    struct queue_settings queue;
    const char *proxy_url;
    int64_t max_conns_per_host;
    uint64_t idle_conn_timeout_ns;
    bool disable_keep_alives;
};

struct otlp_http {
    struct request_plan plan;
    struct arena arena;
};

static bool check_header(const struct text_pair *header, struct error *error)
{
    static const char token[] = "!#$%&'*+-.^_`|~0123456789"
                                "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    size_t bytes = strlen(header->key);
    if (bytes == 0 || strspn(header->key, token) != bytes)
        return error_set(error,
                         "headers: \"%s\" is no header name: letters, digits and - are "
                         "allowed",
                         header->key);
    if (strpbrk(header->value, "\r\n") != NULL)
        return error_set(error,
                         "headers::%s: the value holds a line break: remove it (a secret "
                         "read from a file may end with one)",
                         header->key);
    return true;
}

static bool check_url(const char *key, const char *url, struct error *error)
{
    return url == NULL || http_check_url(url, error) || error_prefix(error, "%s: ", key);
}

static bool validate(const void *settings, struct error *error)
{
    const struct otlp_http_settings *http = settings;
    if (http->endpoint == NULL && http->metrics_endpoint == NULL)
        return error_set(error, "endpoint is missing: set it to the back end's address, e.g. "
                                "endpoint: https://otlp.example.com:4318");
    if (!check_url("endpoint", http->endpoint, error) ||
        !check_url("metrics_endpoint", http->metrics_endpoint, error))
        return false;
    if (http->proxy_url != NULL && !http_check_proxy(http->proxy_url, error))
        return error_prefix(error, "proxy_url: ");
    for (size_t i = 0; i < http->headers.count; i++)
        if (!check_header(&http->headers.items[i], error))
            return false;
    const struct tls_settings *tls = &http->tls;
    if ((tls->ca_file != NULL && tls->ca_pem != NULL) ||
        (tls->cert_file != NULL && tls->cert_pem != NULL) ||
        (tls->key_file != NULL && tls->key_pem != NULL))
        return error_set(error, "tls: a _file and a _pem key exclude each other: keep one");
    if ((tls->cert_file != NULL || tls->cert_pem != NULL) !=
        (tls->key_file != NULL || tls->key_pem != NULL))
        return error_set(error, "tls: a client certificate needs both cert_file and key_file");
    if (http->retry.multiplier < 1)
        return error_set(error, "retry_on_failure::multiplier must be at least 1");
    return true;
}

static const char *metrics_url(struct otlp_http *state, const struct otlp_http_settings *settings)
{
    if (settings->metrics_endpoint != NULL)
        return arena_text(&state->arena, settings->metrics_endpoint);
    size_t bytes = strlen(settings->endpoint);
    while (bytes > 0 && settings->endpoint[bytes - 1] == '/')
        bytes--;
    return arena_format(&state->arena, "%.*s/v1/metrics", (int)bytes, settings->endpoint);
}

static void plan_queue(struct request_plan *plan, const struct otlp_http_settings *settings)
{
    uint32_t senders = (uint32_t)settings->queue.num_consumers;
    uint32_t capacity = (uint32_t)settings->queue.queue_size;
    if (!settings->queue.enabled) { /* one request at a time, and room for the one behind it */
        senders = 1;
        capacity = 2;
    }
    if (settings->max_conns_per_host > 0 && senders > settings->max_conns_per_host)
        senders = (uint32_t)settings->max_conns_per_host;
    plan->sender_count = senders < capacity ? senders : capacity;
    plan->queue_capacity = capacity;
}

static void warn_of_scheme(const char *id, const struct otlp_http_settings *settings)
{
    const char *url =
        settings->metrics_endpoint != NULL ? settings->metrics_endpoint : settings->endpoint;
    if (settings->tls.insecure && strncasecmp(url, "https:", 6) == 0)
        LOG(LOG_LEVEL_WARN, "exporter",
            "tls.insecure has no effect with https://: TLS is used and the certificate checked; "
            "write http:// to send in clear, or insecure_skip_verify to take any certificate",
            LOG_TEXT("exporter", id));
}

static bool open_exporter(const char *id, const void *given, struct exporter_output *ret_output,
                          struct error *error)
{
    (void)error;
    const struct otlp_http_settings *settings = given;
    warn_of_scheme(id, settings);
    struct otlp_http *state = calloc(1, sizeof *state);
    CHECK(state != NULL);
    const struct tls_settings *tls = &settings->tls;
    enum compression compression = (enum compression)settings->compression;
    state->plan = (struct request_plan){
        .endpoint = {.url = metrics_url(state, settings),
                     .content_type = settings->encoding == ENCODING_JSON ? "application/json"
                                                                         : "application/x-protobuf",
                     .content_encoding = compression_name(compression),
                     .headers = &settings->headers,
                     .timeout_ns = settings->timeout_ns,
                     .idle_timeout_ns = settings->idle_conn_timeout_ns,
                     .proxy_url = settings->proxy_url,
                     .keep_alive = !settings->disable_keep_alives,
                     .skip_verify = tls->insecure_skip_verify,
                     .tls13 = tls->min_version == 1,
                     .ca_file = tls->ca_file,
                     .cert_file = tls->cert_file,
                     .key_file = tls->key_file,
                     .ca_pem = tls->ca_pem,
                     .cert_pem = tls->cert_pem,
                     .key_pem = tls->key_pem},
        .compression = compression,
        .compression_level = (int)settings->compression_params.level,
        .retry = settings->retry,
    };
    plan_queue(&state->plan, settings);
    *ret_output = (struct exporter_output){
        .format = settings->encoding == ENCODING_JSON ? BODY_JSON : BODY_PROTO,
        .requests = &state->plan,
        .state = state};
    return true;
}

static void close_exporter(void **ret_state)
{
    struct otlp_http *state = *ret_state;
    if (state == NULL)
        return;
    arena_fini(&state->arena);
    free(state);
    *ret_state = NULL;
}

static const char *const compressions[] = {"none", "gzip", "zstd", NULL};
_Static_assert(COMPRESSION_NONE == 0 && COMPRESSION_GZIP == 1 && COMPRESSION_ZSTD == 2,
               "order of compressions[]");
static const char *const encodings[] = {"proto", "json", NULL};
static const char *const tls_versions[] = {"1.2", "1.3", NULL};

#define ROW(struct_name, member, option_key, option_type, option_fallback, option_help, ...)       \
    {                                                                                              \
        .key = option_key, .type = option_type, .offset = offsetof(struct struct_name, member),    \
        .fallback = option_fallback, .help = option_help, __VA_ARGS__                              \
    }
#define IGNORED(option_key, option_help)                                                           \
    {                                                                                              \
        .key = option_key, .type = OPTION_IGNORED, .help = option_help                             \
    }

static const struct option tls_options[] = {
    ROW(tls_settings, insecure_skip_verify, "insecure_skip_verify", OPTION_BOOL, "false",
        "Takes any certificate: for tests only."),
    ROW(tls_settings, ca_file, "ca_file", OPTION_TEXT, NULL,
        "Certificate authority (PEM) that signs the server's certificate, instead of the "
        "system's."),
    ROW(tls_settings, cert_file, "cert_file", OPTION_TEXT, NULL, "Client certificate (PEM)."),
    ROW(tls_settings, key_file, "key_file", OPTION_TEXT, NULL, "Key of the client certificate."),
    ROW(tls_settings, ca_pem, "ca_pem", OPTION_TEXT, NULL, "As ca_file, the text itself."),
    ROW(tls_settings, cert_pem, "cert_pem", OPTION_TEXT, NULL, "As cert_file, the text itself."),
    ROW(tls_settings, key_pem, "key_pem", OPTION_SECRET, NULL, "As key_file, the text itself."),
    ROW(tls_settings, min_version, "min_version", OPTION_ENUM, "1.2", "Oldest TLS version.",
        .choices = tls_versions),
    ROW(tls_settings, insecure, "insecure", OPTION_BOOL, "false",
        "Goes with an http:// endpoint; the scheme alone decides about TLS."),
    IGNORED("reload_interval", "files are read when a connection is made"),
    {.key = NULL},
};
static const struct option_table tls_table = {sizeof(struct tls_settings), tls_options};

static const struct option retry_options[] = {
    ROW(retry_settings, enabled, "enabled", OPTION_BOOL, "true",
        "Repeats requests after 429, 502, 503, 504, a lost connection or a timeout."),
    ROW(retry_settings, initial_interval_ns, "initial_interval", OPTION_DURATION, "5s",
        "Wait before the first repetition.", .min = (int64_t)NS_PER_MS,
        .max = 3600 * (int64_t)NS_PER_S),
    ROW(retry_settings, multiplier, "multiplier", OPTION_DOUBLE, "1.5",
        "Growth of the wait from one repetition to the next."),
    ROW(retry_settings, randomization_factor, "randomization_factor", OPTION_DOUBLE, "0.5",
        "Share by which each wait is randomly longer or shorter.", .min = 0, .max = 1),
    ROW(retry_settings, max_interval_ns, "max_interval", OPTION_DURATION, "30s",
        "Longest wait; also the pace while credentials or a certificate are wrong.",
        .min = (int64_t)NS_PER_MS, .max = 24 * 3600 * (int64_t)NS_PER_S),
    ROW(retry_settings, max_elapsed_ns, "max_elapsed_time", OPTION_DURATION, "300s",
        "Age since its first attempt at which a batch is given up; 0 for never."),
    {.key = NULL},
};
static const struct option_table retry_table = {sizeof(struct retry_settings), retry_options};

static const struct option queue_options[] = {
    ROW(queue_settings, enabled, "enabled", OPTION_BOOL, "true",
        "Off: one request at a time, and room for one more."),
    ROW(queue_settings, num_consumers, "num_consumers", OPTION_INT, "10",
        "Requests in flight at most.", .min = 1, .max = SENDERS_MAX),
    ROW(queue_settings, queue_size, "queue_size", OPTION_INT, "1000",
        "Batches held at most, those in flight included, and 512 MiB; then the oldest is "
        "dropped and counted.",
        .min = 1, .max = QUEUE_MAX),
    IGNORED("sizer", "the queue counts requests"),
    IGNORED("block_on_overflow", "collection never waits for a back end"),
    IGNORED("wait_for_result", "nobody waits for a result"),
    IGNORED("batch", "use the batch processor"),
    {.key = NULL},
};
static const struct option_table queue_table = {sizeof(struct queue_settings), queue_options};

static const struct option compression_options[] = {
    ROW(compression_settings, level, "level", OPTION_INT, "0",
        "Level of the compressor, 0 for its default.", .min = 0, .max = 22),
    {.key = NULL},
};
static const struct option_table compression_table = {sizeof(struct compression_settings),
                                                      compression_options};

static const struct option options[] = {
    ROW(otlp_http_settings, endpoint, "endpoint", OPTION_TEXT, NULL,
        "Address of the back end; /v1/metrics is appended."),
    ROW(otlp_http_settings, metrics_endpoint, "metrics_endpoint", OPTION_TEXT, NULL,
        "Whole URL for metrics, instead of endpoint."),
    ROW(otlp_http_settings, headers, "headers", OPTION_SECRET_MAP, NULL,
        "Headers of every request, e.g. api-key."),
    ROW(otlp_http_settings, compression, "compression", OPTION_ENUM, "gzip",
        "How bodies are compressed.", .choices = compressions),
    ROW(otlp_http_settings, compression_params, "compression_params", OPTION_GROUP, NULL,
        "Settings of the compressor.", .table = &compression_table),
    ROW(otlp_http_settings, timeout_ns, "timeout", OPTION_DURATION, "30s",
        "Limit for one request, connecting included; 0 for none.", .max = 3600 * (int64_t)NS_PER_S),
    ROW(otlp_http_settings, encoding, "encoding", OPTION_ENUM, "proto",
        "Form of bodies; json costs many times more CPU.", .choices = encodings),
    ROW(otlp_http_settings, tls, "tls", OPTION_GROUP, NULL, "TLS.", .table = &tls_table),
    ROW(otlp_http_settings, retry, "retry_on_failure", OPTION_GROUP, NULL,
        "What happens after a failed request.", .table = &retry_table),
    ROW(otlp_http_settings, queue, "sending_queue", OPTION_GROUP, NULL, "The queue in memory.",
        .table = &queue_table),
    ROW(otlp_http_settings, proxy_url, "proxy_url", OPTION_SECRET, NULL,
        "Proxy to go through; the environment's is never used."),
    ROW(otlp_http_settings, max_conns_per_host, "max_conns_per_host", OPTION_INT, "0",
        "Connections at most; 0 for as many as num_consumers.", .min = 0, .max = SENDERS_MAX),
    ROW(otlp_http_settings, idle_conn_timeout_ns, "idle_conn_timeout", OPTION_DURATION, "90s",
        "A connection idle for longer is not used again.", .min = (int64_t)NS_PER_S,
        .max = 24 * 3600 * (int64_t)NS_PER_S),
    ROW(otlp_http_settings, disable_keep_alives, "disable_keep_alives", OPTION_BOOL, "false",
        "A new connection for every request."),
    IGNORED("max_idle_conns", "idle connections are as many as were in use"),
    IGNORED("max_idle_conns_per_host", "idle connections are as many as were in use"),
    IGNORED("read_buffer_size", "buffers are libcurl's own"),
    IGNORED("write_buffer_size", "buffers are libcurl's own"),
    IGNORED("force_attempt_http2", "HTTP/1.1 is spoken"),
    IGNORED("http2_read_idle_timeout", "HTTP/1.1 is spoken"),
    IGNORED("http2_ping_timeout", "HTTP/1.1 is spoken"),
    IGNORED("traces_endpoint", "only metrics are sent"),
    IGNORED("logs_endpoint", "only metrics are sent"),
    IGNORED("profiles_endpoint", "only metrics are sent"),
    {.key = NULL},
};

static const char *const aliases[] = {"otlphttp", NULL};

const struct exporter otlp_http_exporter = {
    .component = {.kind = COMPONENT_EXPORTER,
                  .type = "otlp_http",
                  .aliases = aliases,
                  .about = "Sends metrics to any OTLP back end over HTTP",
                  .stability = "beta",
                  .table = {.size = sizeof(struct otlp_http_settings), .options = options},
                  .validate = validate},
    .open = open_exporter,
    .close = close_exporter,
};
