/* SPDX-License-Identifier: Apache-2.0 */
/* What exporters that post requests share: keys, checks, and how they become a request_plan. Main
 * thread, before the worker starts. Keys whose effect does not exist here are taken and warned
 * about, so that a Collector's file runs unchanged; a key that names something we lack (auth) stays
 * an error, because running without it would not be what was asked for. */
#include "exporters/client.h"

#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/log.h"

enum { QUEUE_MAX = 1000000 };
static const double retry_share = 0.1; /* of requests, and one a second */

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

static bool check_tls(const struct client_tls *tls, struct error *error)
{
    if ((tls->ca_file != NULL && tls->ca_pem != NULL) ||
        (tls->cert_file != NULL && tls->cert_pem != NULL) ||
        (tls->key_file != NULL && tls->key_pem != NULL))
        return error_set(error, "tls: a _file and a _pem key exclude each other: keep one");
    if ((tls->cert_file != NULL || tls->cert_pem != NULL) !=
        (tls->key_file != NULL || tls->key_pem != NULL))
        return error_set(error, "tls: a client certificate needs both cert_file and key_file");
    return true;
}

static bool check_spool(const struct client_settings *settings, struct error *error)
{
    const struct client_spool *spool = &settings->spool;
    if (spool->directory != NULL && settings->queue.storage != NULL)
        return error_set(error, "spool::directory and sending_queue::storage name the same thing: "
                                "keep one");
    if (spool->segment_bytes > spool->size_bytes / 4)
        return error_set(error,
                         "spool::segment must be at most a quarter of spool::size, whole segments "
                         "are given up when it is full: lower it, or raise size");
    return true;
}

bool client_validate(const struct client_settings *settings, const char *key, const char *url,
                     struct error *error)
{
    if (url != NULL && !http_check_url(url, error))
        return error_prefix(error, "%s: ", key);
    if (settings->proxy_url != NULL && !http_check_proxy(settings->proxy_url, error))
        return error_prefix(error, "proxy_url: ");
    for (size_t i = 0; i < settings->headers.count; i++)
        if (!check_header(&settings->headers.items[i], error))
            return false;
    if (settings->retry.multiplier < 1)
        return error_set(error, "retry_on_failure::multiplier must be at least 1");
    if (settings->breaker.pause_ns > settings->breaker.pause_max_ns)
        return error_set(error, "circuit_breaker::pause is longer than pause_max");
    return check_tls(&settings->tls, error) && check_spool(settings, error);
}

static uint32_t sender_count(const struct client_settings *settings)
{
    const struct client_queue *queue = &settings->queue;
    int64_t senders =
        settings->concurrency.max > 0 ? settings->concurrency.max : queue->num_consumers;
    if (!queue->enabled) /* one request at a time, and room for the one behind it */
        senders = 1;
    if (settings->max_conns_per_host > 0 && senders > settings->max_conns_per_host)
        senders = settings->max_conns_per_host;
    return (uint32_t)senders;
}

static void plan_limiter(const struct client_settings *settings, struct request_plan *plan)
{
    const struct client_rate *rate = &settings->rate;
    const struct client_breaker *breaker = &settings->breaker;
    plan->limiter = (struct limiter_settings){
        .rate = {.adaptive = rate->enabled && rate->adaptive,
                 .requests_per_second = rate->enabled ? rate->requests_per_second : 0,
                 .points_per_minute = rate->enabled ? rate->points_per_minute : 0},
        .concurrency = {.adaptive = settings->concurrency.adaptive,
                        .max = plan->sender_count,
                        .initial = (uint32_t)settings->concurrency.initial},
        .breaker = {.failures = breaker->enabled ? (uint32_t)breaker->failures : 0,
                    .pause_ns = breaker->pause_ns,
                    .pause_max_ns = breaker->pause_max_ns,
                    .pause_held_ns = breaker->auth_pause_ns},
        .retry_share = settings->retry.enabled ? retry_share : 0,
    };
    if (plan->limiter.concurrency.initial > plan->sender_count)
        plan->limiter.concurrency.initial = plan->sender_count;
}

void client_plan(const struct client_settings *settings, const char *id, const char *url,
                 struct request_plan *plan)
{
    const struct client_tls *tls = &settings->tls;
    const struct client_spool *spool = &settings->spool;
    if (tls->insecure && strncasecmp(url, "https:", 6) == 0)
        LOG(LOG_LEVEL_WARN, "exporter",
            "tls.insecure has no effect with https://: TLS is used and the certificate checked; "
            "write http:// to send in clear, or insecure_skip_verify to take any certificate",
            LOG_TEXT("exporter", id));
    plan->endpoint = (struct http_endpoint){
        .url = url,
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
        .key_pem = tls->key_pem,
    };
    plan->retry = settings->retry;
    plan->queue_capacity = settings->queue.enabled ? (uint32_t)settings->queue.queue_size : 2;
    plan->sender_count = sender_count(settings);
    if (plan->sender_count > plan->queue_capacity)
        plan->sender_count = plan->queue_capacity;
    plan_limiter(settings, plan);
    plan->storage = settings->queue.storage;
    plan->spool = (struct spool_settings){
        .directory = spool->directory,
        .size_bytes = (uint64_t)spool->size_bytes,
        .age_ns = spool->age_ns,
        .segment_bytes = (uint64_t)spool->segment_bytes,
        .flush_ns = spool->flush_ns,
        .flush_bytes = (uint64_t)spool->flush_bytes,
    };
}

/* ---- options ---- */

const char *const client_compressions[] = {"none", "gzip", "zstd", NULL};
_Static_assert(COMPRESSION_NONE == 0 && COMPRESSION_GZIP == 1 && COMPRESSION_ZSTD == 2,
               "order of client_compressions[]");

static const struct option level_options[] = {
    CLIENT_ROW(struct client_level, value, "level", OPTION_INT, "0",
               "Level of the compressor, 0 for its default.", .min = 0, .max = 22),
    {.key = NULL},
};
const struct option_table client_level_table = {sizeof(struct client_level), level_options};

static const char *const tls_versions[] = {"1.2", "1.3", NULL};

static const struct option tls_options[] = {
    CLIENT_ROW(struct client_tls, insecure_skip_verify, "insecure_skip_verify", OPTION_BOOL,
               "false", "Takes any certificate: for tests only."),
    CLIENT_ROW(struct client_tls, ca_file, "ca_file", OPTION_TEXT, NULL,
               "Certificate authority (PEM) that signs the server's certificate, instead of the "
               "system's."),
    CLIENT_ROW(struct client_tls, cert_file, "cert_file", OPTION_TEXT, NULL,
               "Client certificate (PEM)."),
    CLIENT_ROW(struct client_tls, key_file, "key_file", OPTION_TEXT, NULL,
               "Key of the client certificate."),
    CLIENT_ROW(struct client_tls, ca_pem, "ca_pem", OPTION_TEXT, NULL,
               "As ca_file, the text itself."),
    CLIENT_ROW(struct client_tls, cert_pem, "cert_pem", OPTION_TEXT, NULL,
               "As cert_file, the text itself."),
    CLIENT_ROW(struct client_tls, key_pem, "key_pem", OPTION_SECRET, NULL,
               "As key_file, the text itself."),
    CLIENT_ROW(struct client_tls, min_version, "min_version", OPTION_ENUM, "1.2",
               "Oldest TLS version.", .choices = tls_versions),
    CLIENT_ROW(struct client_tls, insecure, "insecure", OPTION_BOOL, "false",
               "Goes with an http:// endpoint; the scheme alone decides about TLS."),
    CLIENT_IGNORED("reload_interval", "files are read when a connection is made"),
    {.key = NULL},
};
const struct option_table client_tls_table = {sizeof(struct client_tls), tls_options};

static const struct option retry_options[] = {
    CLIENT_ROW(struct retry_settings, enabled, "enabled", OPTION_BOOL, "true",
               "Repeats requests after 429, 502, 503, 504, a lost connection or a timeout."),
    CLIENT_ROW(struct retry_settings, initial_interval_ns, "initial_interval", OPTION_DURATION,
               "5s", "Wait before the first repetition.", .min = (int64_t)NS_PER_MS,
               .max = CLIENT_HOUR_S * (int64_t)NS_PER_S),
    CLIENT_ROW(struct retry_settings, multiplier, "multiplier", OPTION_DOUBLE, "1.5",
               "Growth of the wait from one repetition to the next."),
    CLIENT_ROW(struct retry_settings, randomization_factor, "randomization_factor", OPTION_DOUBLE,
               "0.5", "Share by which each wait is randomly longer or shorter.", .min = 0,
               .max = 1),
    CLIENT_ROW(struct retry_settings, max_interval_ns, "max_interval", OPTION_DURATION, "30s",
               "Longest wait.", .min = (int64_t)NS_PER_MS,
               .max = 24 * CLIENT_HOUR_S * (int64_t)NS_PER_S),
    CLIENT_ROW(
        struct retry_settings, max_elapsed_ns, "max_elapsed_time", OPTION_DURATION, "0s",
        "Age since its first attempt at which a batch is given up (anew where it is read from "
        "the spool, which has an age of its own); 0 for never: the queue's or the spool's "
        "bounds decide. (The Collector gives up after 300s.)"),
    {.key = NULL},
};
const struct option_table client_retry_table = {sizeof(struct retry_settings), retry_options};

static const struct option queue_options[] = {
    CLIENT_ROW(struct client_queue, enabled, "enabled", OPTION_BOOL, "true",
               "Off: one request at a time, and room for one more."),
    CLIENT_ROW(struct client_queue, num_consumers, "num_consumers", OPTION_INT, "10",
               "Requests in flight at most.", .min = 1, .max = CLIENT_SENDERS_MAX),
    CLIENT_ROW(struct client_queue, queue_size, "queue_size", OPTION_INT, "1000",
               "Batches held in memory at most, those in flight included, and 512 MiB; then the "
               "oldest goes on from disk only, or, without a spool, is dropped and counted.",
               .min = 1, .max = QUEUE_MAX),
    CLIENT_ROW(struct client_queue, storage, "storage", OPTION_TEXT, NULL,
               "Id of a file_storage extension: the queue is then on disk as well (spool, with the "
               "extension's directory)."),
    CLIENT_IGNORED("sizer", "the queue counts requests"),
    CLIENT_IGNORED("block_on_overflow", "collection never waits for a back end"),
    CLIENT_IGNORED("wait_for_result", "nobody waits for a result"),
    CLIENT_IGNORED("batch", "use the batch processor"),
    {.key = NULL},
};
const struct option_table client_queue_table = {sizeof(struct client_queue), queue_options};

static const struct option rate_options[] = {
    CLIENT_ROW(struct client_rate, enabled, "enabled", OPTION_BOOL, "true",
               "Off: no limit but the back end's Retry-After."),
    CLIENT_ROW(struct client_rate, adaptive, "adaptive", OPTION_BOOL, "true",
               "Learns the back end's own limit from its 429 answers; off: fixed values only."),
    CLIENT_ROW(struct client_rate, requests_per_second, "requests_per_second", OPTION_DOUBLE, "500",
               "Requests in any one second at most; 0 for no such limit.", .min = 0,
               .max = 1000000),
    CLIENT_ROW(struct client_rate, points_per_minute, "points_per_minute", OPTION_DOUBLE, "0",
               "Points a minute at most (New Relic's limit of data points per minute); 0 for no "
               "such limit.",
               .min = 0, .max = 1000000000000),
    {.key = NULL},
};
const struct option_table client_rate_table = {sizeof(struct client_rate), rate_options};

static const struct option concurrency_options[] = {
    CLIENT_ROW(struct client_concurrency, adaptive, "adaptive", OPTION_BOOL, "true",
               "Follows the latency of the back end's answers; off: always as many as max."),
    CLIENT_ROW(struct client_concurrency, max, "max", OPTION_INT, "0",
               "Requests in flight at most; 0 for sending_queue::num_consumers.", .min = 0,
               .max = CLIENT_SENDERS_MAX),
    CLIENT_ROW(struct client_concurrency, initial, "initial", OPTION_INT, "2",
               "Requests in flight to begin with.", .min = 1, .max = CLIENT_SENDERS_MAX),
    {.key = NULL},
};
const struct option_table client_concurrency_table = {sizeof(struct client_concurrency),
                                                      concurrency_options};

static const struct option breaker_options[] = {
    CLIENT_ROW(struct client_breaker, enabled, "enabled", OPTION_BOOL, "true",
               "Off: failed requests are repeated by retry_on_failure alone."),
    CLIENT_ROW(struct client_breaker, failures, "failures", OPTION_INT, "5",
               "Failures in a row (not 429) after which only probes are sent.", .min = 1,
               .max = 1000),
    CLIENT_ROW(struct client_breaker, pause_ns, "pause", OPTION_DURATION, "250ms",
               "Wait before the first probe; doubles from one to the next.",
               .min = (int64_t)NS_PER_MS, .max = CLIENT_HOUR_S * (int64_t)NS_PER_S),
    CLIENT_ROW(struct client_breaker, pause_max_ns, "pause_max", OPTION_DURATION, "15s",
               "Longest wait between probes.", .min = (int64_t)NS_PER_MS,
               .max = CLIENT_HOUR_S * (int64_t)NS_PER_S),
    CLIENT_ROW(struct client_breaker, auth_pause_ns, "auth_pause", OPTION_DURATION, "60s",
               "Wait between probes while the back end refuses the credentials or the certificate "
               "is not trusted.",
               .min = (int64_t)NS_PER_MS, .max = 24 * CLIENT_HOUR_S * (int64_t)NS_PER_S),
    {.key = NULL},
};
const struct option_table client_breaker_table = {sizeof(struct client_breaker), breaker_options};

static const struct option spool_options[] = {
    CLIENT_ROW(struct client_spool, directory, "directory", OPTION_TEXT, NULL,
               "Where; each exporter has a directory of its own in it. Unset: no spool."),
    CLIENT_ROW(struct client_spool, size_bytes, "size", OPTION_BYTES, "1GiB",
               "Disk space at most; then the oldest is given up and counted.", .min = 1 << 20,
               .max = (int64_t)1 << 50),
    CLIENT_ROW(struct client_spool, age_ns, "age", OPTION_DURATION, "47h",
               "Age at which a batch is given up (New Relic drops what is older than 48 h).",
               .min = (int64_t)NS_PER_S, .max = 8760 * CLIENT_HOUR_S * (int64_t)NS_PER_S),
    CLIENT_ROW(struct client_spool, segment_bytes, "segment", OPTION_BYTES, "16MiB",
               "Size of a file; space is given back in whole files.", .min = 1 << 16,
               .max = (int64_t)1 << 32),
    CLIENT_ROW(struct client_spool, flush_ns, "flush_interval", OPTION_DURATION, "200ms",
               "What a power failure can cost: time between group commits (fdatasync).",
               .min = (int64_t)NS_PER_MS, .max = CLIENT_HOUR_S * (int64_t)NS_PER_S),
    CLIENT_ROW(struct client_spool, flush_bytes, "flush_bytes", OPTION_BYTES, "4MiB",
               "Bytes after which a group commit is made earlier.", .min = 1,
               .max = (int64_t)1 << 32),
    {.key = NULL},
};
const struct option_table client_spool_table = {sizeof(struct client_spool), spool_options};
