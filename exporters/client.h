/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>

#include "exporters/exporter.h"

/* Settings that every exporter which posts requests has, with the Collector's keys: embed the
 * struct, put CLIENT_OPTIONS into the option table, call client_validate() and client_plan(). */

struct client_tls {
    bool insecure; /* Collector's users set it beside http:// as a matter of course */
    bool insecure_skip_verify;
    const char *ca_file, *cert_file, *key_file;
    const char *ca_pem, *cert_pem, *key_pem;
    int min_version; /* 0: TLS 1.2, 1: TLS 1.3 */
};

struct client_queue {
    bool enabled;
    int64_t num_consumers;
    int64_t queue_size;
    const char *storage; /* id of a file_storage extension; NULL: none */
};

struct client_rate {
    bool enabled, adaptive;
    double requests_per_second, points_per_minute;
};

struct client_concurrency {
    bool adaptive;
    int64_t max; /* 0: num_consumers */
    int64_t initial;
};

struct client_breaker {
    bool enabled;
    int64_t failures;
    uint64_t pause_ns, pause_max_ns, auth_pause_ns;
};

struct client_spool {
    const char *directory; /* NULL: none */
    int64_t size_bytes, segment_bytes, flush_bytes;
    uint64_t age_ns, flush_ns;
};

struct client_compression {
    int kind; /* enum compression: none, gzip or zstd */
    struct client_level {
        int64_t value;
    } level;
};

struct client_settings {
    struct text_map headers;
    uint64_t timeout_ns;
    struct client_tls tls;
    struct retry_settings retry;
    struct client_queue queue;
    struct client_rate rate;
    struct client_concurrency concurrency;
    struct client_breaker breaker;
    struct client_spool spool;
    const char *proxy_url;
    int64_t max_conns_per_host;
    uint64_t idle_conn_timeout_ns;
    bool disable_keep_alives;
};

extern const struct option_table client_tls_table, client_retry_table, client_queue_table,
    client_rate_table, client_concurrency_table, client_breaker_table, client_spool_table,
    client_level_table;
extern const char *const client_compressions[];

/* A row of an option table. */
#define CLIENT_ROW(owner, member, option_key, option_type, option_fallback, option_help, ...)      \
    {                                                                                              \
        .key = option_key, .type = option_type, .offset = offsetof(owner, member),                 \
        .fallback = option_fallback, .help = option_help, __VA_ARGS__                              \
    }
/* A key of the Collector that has no effect here. */
#define CLIENT_IGNORED(option_key, option_help)                                                    \
    {                                                                                              \
        .key = option_key, .type = OPTION_IGNORED, .help = option_help                             \
    }

enum { CLIENT_SENDERS_MAX = 256, CLIENT_HOUR_S = 3600 };

/* Rows for `member`, the struct client_settings inside `owner`. */
#define CLIENT_OPTIONS(owner, member)                                                              \
    CLIENT_ROW(owner, member.headers, "headers", OPTION_SECRET_MAP, NULL,                          \
               "Headers of every request, e.g. api-key."),                                         \
        CLIENT_ROW(owner, member.timeout_ns, "timeout", OPTION_DURATION, "30s",                    \
                   "Limit for one request, connecting included; 0 for none.",                      \
                   .max = CLIENT_HOUR_S * (int64_t)NS_PER_S),                                      \
        CLIENT_ROW(owner, member.tls, "tls", OPTION_GROUP, NULL, "TLS.",                           \
                   .table = &client_tls_table),                                                    \
        CLIENT_ROW(owner, member.retry, "retry_on_failure", OPTION_GROUP, NULL,                    \
                   "What happens after a failed request.", .table = &client_retry_table),          \
        CLIENT_ROW(owner, member.queue, "sending_queue", OPTION_GROUP, NULL,                       \
                   "The queue in memory.", .table = &client_queue_table),                          \
        CLIENT_ROW(owner, member.rate, "rate_limit", OPTION_GROUP, NULL,                           \
                   "Requests and points per second at most; learns the back end's own limit.",     \
                   .table = &client_rate_table),                                                   \
        CLIENT_ROW(owner, member.concurrency, "concurrency", OPTION_GROUP, NULL,                   \
                   "Requests in flight; follows the back end's latency.",                          \
                   .table = &client_concurrency_table),                                            \
        CLIENT_ROW(owner, member.breaker, "circuit_breaker", OPTION_GROUP, NULL,                   \
                   "Leaves a back end that fails alone, with one probe at a time.",                \
                   .table = &client_breaker_table),                                                \
        CLIENT_ROW(owner, member.spool, "spool", OPTION_GROUP, NULL,                               \
                   "Disk behind the queue: nothing is lost while the back end is away.",           \
                   .table = &client_spool_table),                                                  \
        CLIENT_ROW(owner, member.proxy_url, "proxy_url", OPTION_SECRET, NULL,                      \
                   "Proxy to go through; the environment's is never used."),                       \
        CLIENT_ROW(owner, member.max_conns_per_host, "max_conns_per_host", OPTION_INT, "0",        \
                   "Connections at most; 0 for as many as num_consumers.", .min = 0,               \
                   .max = CLIENT_SENDERS_MAX),                                                     \
        CLIENT_ROW(owner, member.idle_conn_timeout_ns, "idle_conn_timeout", OPTION_DURATION,       \
                   "90s", "A connection idle for longer is not used again.",                       \
                   .min = (int64_t)NS_PER_S, .max = 24 * CLIENT_HOUR_S * (int64_t)NS_PER_S),       \
        CLIENT_ROW(owner, member.disable_keep_alives, "disable_keep_alives", OPTION_BOOL, "false", \
                   "A new connection for every request."),                                         \
        CLIENT_IGNORED("max_idle_conns", "idle connections are as many as were in use"),           \
        CLIENT_IGNORED("max_idle_conns_per_host", "idle connections are as many as were in use"),  \
        CLIENT_IGNORED("read_buffer_size", "buffers are libcurl's own"),                           \
        CLIENT_IGNORED("write_buffer_size", "buffers are libcurl's own"),                          \
        CLIENT_IGNORED("force_attempt_http2", "HTTP/1.1 is spoken"),                               \
        CLIENT_IGNORED("http2_read_idle_timeout", "HTTP/1.1 is spoken"),                           \
        CLIENT_IGNORED("http2_ping_timeout", "HTTP/1.1 is spoken")

/* Rows for `member`, the struct client_compression inside `owner`, whose kind is `otherwise` where
 * nothing is said: for exporters of OTLP. */
#define CLIENT_COMPRESSION(owner, member, otherwise)                                               \
    CLIENT_ROW(owner, member.kind, "compression", OPTION_ENUM, otherwise,                          \
               "How bodies are compressed.", .choices = client_compressions),                      \
        CLIENT_ROW(owner, member.level, "compression_params", OPTION_GROUP, NULL,                  \
                   "Settings of the compressor.", .table = &client_level_table)

/* Checks `url` (named `key` in messages; NULL: not given, nothing to check) and all that no single
 * row can. */
bool client_validate(const struct client_settings *settings, const char *key, const char *url,
                     struct error *error);

/* Fills everything of the plan but url, content types, compression, body limits and split, and says
 * in the log what of the settings has no effect. The settings outlive the plan. */
void client_plan(const struct client_settings *settings, const char *id, const char *url,
                 struct request_plan *ret_plan);
