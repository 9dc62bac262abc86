/* SPDX-License-Identifier: Apache-2.0 */
/* The prometheus exporter: a scrape endpoint with the last values of the whole fleet, with the
 * Collector's keys. The worker puts values into a table (scrape/table.h), and that is their
 * delivery; the server's thread reads it when it is asked. A scraper that is slow, or many of them,
 * cost the worker nothing.
 *
 * An answer is made while it is sent, so it takes a few hundred KiB whatever the fleet's size.
 *
 * Thread: consume(), finish(), tick() on the worker; all about requests on the server's. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "exporters/exporter.h"
#include "exporters/scrape/table.h"
#include "httpd/httpd.h"

enum {
    BLOCK_BYTES = 128 << 10,      /* of lines made at once */
    CONNECTION_BYTES = 128 << 10, /* what leaves at once */
    PEM_BYTES_MAX = 1 << 20,
};

struct scrape_tls {
    const char *cert_file, *key_file, *cert_pem, *key_pem;
};

struct conversion {
    bool enabled, exclude_service_attributes;
};

struct prometheus_settings {
    const char *endpoint;
    const char *namespace;
    struct text_map const_labels;
    bool send_timestamps;
    uint64_t metric_expiration_ns;
    struct conversion conversion;
    bool add_metric_suffixes;
    const char *translation_strategy;
    bool enable_open_metrics;
    bool without_scope_info;
    struct scrape_tls tls;
    const char *bearer_token;
    int64_t connections_max;
    uint64_t request_timeout_ns;
};

struct prometheus {
    const struct prometheus_settings *settings;
    const char *id;
    struct scrape_table *table;
    struct httpd *httpd;
    char *cert_pem, *key_pem; /* NULL: plain */
    bool full, full_logged;
};

/* ---- answers: the server's thread ---- */

struct answer_body {
    struct scrape *scrape;
    struct gzip_stream *gzip; /* NULL: plain */
    char *text;
    size_t space, used, at;
    bool last;  /* there is no more text */
    bool ended; /* nor anything else */
};

/* More text; false at the end, or out of memory (the answer is then cut off: its client sees it).
 */
static bool refill(struct answer_body *body)
{
    body->at = body->used = 0;
    body->used = scrape_read(body->scrape, body->text, body->space);
    size_t needed = scrape_line_bytes(body->scrape);
    if (body->used == 0 && needed > body->space) {
        char *larger = realloc(body->text, needed);
        if (larger == NULL)
            return false;
        body->text = larger;
        body->space = needed;
        body->used = scrape_read(body->scrape, body->text, body->space);
    }
    return body->used > 0;
}

static size_t copy_out(struct answer_body *body, uint8_t *out, size_t bytes_max)
{
    size_t bytes = body->used - body->at < bytes_max ? body->used - body->at : bytes_max;
    memcpy(out, body->text + body->at, bytes);
    body->at += bytes;
    body->ended = body->last;
    return bytes;
}

static size_t pack_out(struct answer_body *body, uint8_t *out, size_t bytes_max)
{
    const uint8_t *in = (const uint8_t *)body->text + body->at;
    size_t left = body->used - body->at;
    size_t bytes = gzip_stream_run(body->gzip, &in, &left, body->last, out, bytes_max);
    body->at = body->used - left;
    body->ended = body->last && left == 0 && bytes < bytes_max;
    return bytes;
}

static size_t produce(void *owner, char *buffer, size_t bytes_max)
{
    struct answer_body *body = owner;
    uint8_t *out = (uint8_t *)buffer;
    size_t used = 0;
    while (used < bytes_max && !body->ended) {
        if (body->at == body->used && !body->last)
            body->last = !refill(body);
        used += (body->gzip != NULL ? pack_out : copy_out)(body, out + used, bytes_max - used);
    }
    return used;
}

static void forget(void *owner)
{
    struct answer_body *body = owner;
    scrape_end(&body->scrape);
    gzip_stream_destroy(&body->gzip);
    free(body->text);
    free(body);
}

static bool accepts(const struct httpd_request *request, const char *header, const char *what)
{
    const char *value = httpd_header(request, header);
    return value != NULL && strstr(value, what) != NULL;
}

static struct httpd_answer metrics(const struct prometheus *state,
                                   const struct httpd_request *request)
{
    static const char text[] = "text/plain; version=0.0.4; charset=utf-8",
                      open[] = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    struct scrape_format format = {.open_metrics =
                                       state->settings->enable_open_metrics &&
                                       accepts(request, "Accept", "application/openmetrics-text"),
                                   .timestamps = state->settings->send_timestamps};
    struct answer_body *body = xcalloc(1, sizeof *body);
    body->scrape = scrape_begin(state->table, format);
    body->text = xmalloc(BLOCK_BYTES);
    body->space = BLOCK_BYTES;
    if (accepts(request, "Accept-Encoding", "gzip"))
        body->gzip = gzip_stream_create();
    bool packed = body->gzip != NULL;
    struct httpd_answer answer = httpd_streamed(HTTPD_OK, format.open_metrics ? open : text,
                                                &(struct httpd_stream){body, produce, forget});
    if (packed)
        httpd_add_header(&answer, "Content-Encoding", "gzip");
    return answer;
}

/* In a time that does not depend on where they differ. */
static bool same_text(const char *a, const char *b)
{
    size_t bytes = strlen(b);
    unsigned char different = strlen(a) != bytes;
    for (size_t i = 0; i < bytes && !different; i++)
        different |= (unsigned char)(a[i] ^ b[i]);
    return different == 0;
}

static bool may_read(const struct prometheus *state, const struct httpd_request *request)
{
    static const char scheme[] = "Bearer ";
    const char *token = state->settings->bearer_token;
    const char *given = httpd_header(request, "Authorization");
    return token == NULL || (given != NULL && strncmp(given, scheme, sizeof scheme - 1) == 0 &&
                             same_text(given + sizeof scheme - 1, token));
}

static struct httpd_answer answer(void *owner, const struct httpd_request *request,
                                  const char *path)
{
    static const char plain[] = "text/plain; charset=utf-8";
    const struct prometheus *state = owner;
    if (!may_read(state, request)) {
        struct httpd_answer refusal = httpd_text(
            HTTPD_UNAUTHORIZED, plain, strdup("give the bearer token: Authorization: Bearer …\n"));
        httpd_add_header(&refusal, "WWW-Authenticate", "Bearer");
        return refusal;
    }
    if (strcmp(path, "/metrics") == 0)
        return metrics(state, request);
    return httpd_text(HTTPD_NOT_FOUND, plain, strdup("not found; there is /metrics\n"));
}

/* ---- life ---- */

static bool validate(const void *given, struct error *error)
{
    const struct prometheus_settings *settings = given;
    const struct scrape_tls *tls = &settings->tls;
    char host[256], port[8];
    if (!endpoint_split(settings->endpoint, host, port, error))
        return false;
    if ((tls->cert_file != NULL && tls->cert_pem != NULL) ||
        (tls->key_file != NULL && tls->key_pem != NULL))
        return error_set(error, "tls: a _file and a _pem key exclude each other: keep one");
    if ((tls->cert_file != NULL || tls->cert_pem != NULL) !=
        (tls->key_file != NULL || tls->key_pem != NULL))
        return error_set(error, "tls: both cert_file and key_file are needed");
    if (settings->bearer_token != NULL && settings->bearer_token[0] == '\0')
        return error_set(error, "bearer_token is empty: leave it out to ask for none");
    return prom_check_strategy(settings->translation_strategy, error) &&
           labels_check("const_labels", &settings->const_labels, error);
}

static char *read_pem(const char *key, const char *path, struct error *error)
{
    char *text = xcalloc(1, PEM_BYTES_MAX + 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    ssize_t bytes = fd >= 0 ? read(fd, text, PEM_BYTES_MAX) : -1;
    int why = errno;
    if (fd >= 0)
        close(fd);
    if (bytes > 0)
        return text;
    free(text);
    error_set(error, "tls::%s: cannot read %s: %s", key, path,
              bytes == 0 ? "it is empty" : strerror(why));
    return NULL;
}

/* Neither set: plain. */
static bool load_tls(struct prometheus *state, struct error *error)
{
    const struct scrape_tls *tls = &state->settings->tls;
    if (tls->cert_file == NULL && tls->cert_pem == NULL)
        return true;
    state->cert_pem = tls->cert_pem != NULL ? strdup(tls->cert_pem)
                                            : read_pem("cert_file", tls->cert_file, error);
    if (state->cert_pem == NULL)
        return false;
    state->key_pem =
        tls->key_pem != NULL ? strdup(tls->key_pem) : read_pem("key_file", tls->key_file, error);
    return state->key_pem != NULL;
}

static void say_where(const struct prometheus *state)
{
    const struct prometheus_settings *settings = state->settings;
    LOG(LOG_LEVEL_INFO, "exporter", "values of the fleet are to be scraped",
        LOG_TEXT("exporter", state->id), LOG_TEXT("endpoint", settings->endpoint),
        LOG_NUMBER("port", httpd_port(state->httpd)), LOG_TEXT("path", "/metrics"));
    if (httpd_is_local(state->httpd) || (state->cert_pem != NULL && settings->bearer_token != NULL))
        return;
    LOG(LOG_LEVEL_WARN, "exporter",
        "reachable from other machines without encryption and login: it shows names and figures of "
        "all servers",
        LOG_TEXT("exporter", state->id), LOG_TEXT("endpoint", settings->endpoint),
        LOG_TEXT("cure", "bind to localhost, or set tls and bearer_token"));
}

static void close_exporter(void **ret_state)
{
    struct prometheus *state = *ret_state;
    *ret_state = NULL;
    if (state == NULL)
        return;
    httpd_destroy(&state->httpd); /* first: it reads the table */
    scrape_table_destroy(&state->table);
    free(state->cert_pem);
    if (state->key_pem != NULL)
        explicit_bzero(state->key_pem, strlen(state->key_pem));
    free(state->key_pem);
    free(state);
}

static enum labels_resource resource_labels(const struct conversion *conversion)
{
    if (!conversion->enabled)
        return LABELS_IDENTITY;
    return conversion->exclude_service_attributes ? LABELS_OTHERS : LABELS_ALL;
}

static bool open_exporter(const char *id, const void *given, struct exporter_output *ret_output,
                          struct error *error)
{
    const struct prometheus_settings *settings = given;
    struct prometheus *state = xcalloc(1, sizeof *state);
    void *opened = state;
    state->settings = settings;
    state->id = id;
    state->table = scrape_table_create(&(struct scrape_table_settings){
        .naming = {.namespace = settings->namespace,
                   .suffixes = prom_suffixes(settings->translation_strategy,
                                             settings->add_metric_suffixes)},
        .const_labels = settings->const_labels,
        .resource = resource_labels(&settings->conversion),
        .scope_labels = !settings->without_scope_info,
        .expiration_ns = settings->metric_expiration_ns,
    });
    struct httpd_options options = {.name = id,
                                    .thread = "scrape",
                                    .endpoint = settings->endpoint,
                                    .connections_max = (uint32_t)settings->connections_max,
                                    .request_timeout_ns = settings->request_timeout_ns,
                                    .connection_bytes = CONNECTION_BYTES,
                                    .owner = state,
                                    .answer = answer};
    bool good = load_tls(state, error);
    options.cert_pem = state->cert_pem;
    options.key_pem = state->key_pem;
    if (!good || !httpd_create(&state->httpd, &options, error)) {
        close_exporter(&opened);
        return false;
    }
    say_where(state);
    *ret_output = (struct exporter_output){.format = BODY_NONE, .state = state};
    return true;
}

/* ---- the worker's side ---- */

static void consume(void *owner, const struct page *page, struct page_slice slice, uint32_t variant)
{
    struct prometheus *state = owner;
    if (!scrape_table_take(state->table, page, slice, variant, clock_monotonic_ns()))
        state->full = true;
}

/* A batch of which some points found no place counts as lost, although the others are there. */
static bool finish(void *owner, const uint8_t *body, size_t body_bytes)
{
    (void)body, (void)body_bytes;
    struct prometheus *state = owner;
    bool good = !state->full;
    state->full = false;
    if (!good && !state->full_logged)
        LOG(LOG_LEVEL_ERROR, "exporter", "more series than the scrape endpoint holds",
            LOG_TEXT("exporter", state->id), LOG_NUMBER("series_max", SCRAPE_SERIES_MAX));
    state->full_logged = state->full_logged || !good;
    errno = good ? 0 : ENOBUFS;
    return good;
}

static uint64_t tick(void *owner, uint64_t now_ns)
{
    struct prometheus *state = owner;
    return scrape_table_tick(state->table, now_ns);
}

/* ---- options ---- */

#define ROW(owner, member, option_key, option_type, option_fallback, option_help, ...)             \
    {                                                                                              \
        .key = option_key, .type = option_type, .offset = offsetof(struct owner, member),          \
        .fallback = option_fallback, .help = option_help, __VA_ARGS__                              \
    }
#define OWN(member, key, type, fallback, help, ...)                                                \
    ROW(prometheus_settings, member, key, type, fallback, help, __VA_ARGS__)
#define IGNORED(option_key, option_help)                                                           \
    {                                                                                              \
        .key = option_key, .type = OPTION_IGNORED, .help = option_help                             \
    }

static const struct option tls_options[] = {
    ROW(scrape_tls, cert_file, "cert_file", OPTION_TEXT, NULL, "Certificate (PEM)."),
    ROW(scrape_tls, key_file, "key_file", OPTION_TEXT, NULL, "Its key (PEM)."),
    ROW(scrape_tls, cert_pem, "cert_pem", OPTION_TEXT, NULL, "As cert_file, the text itself."),
    ROW(scrape_tls, key_pem, "key_pem", OPTION_SECRET, NULL, "As key_file, the text itself."),
    IGNORED("reload_interval", "files are read at start"),
    {.key = NULL},
};
static const struct option_table tls_table = {sizeof(struct scrape_tls), tls_options};

static const struct option conversion_options[] = {
    ROW(conversion, enabled, "enabled", OPTION_BOOL, "false",
        "All attributes of a server's resource are labels of every series."),
    ROW(conversion, exclude_service_attributes, "exclude_service_attributes", OPTION_BOOL, "false",
        "Leaves out service.*, of which job and instance are made."),
    {.key = NULL},
};
static const struct option_table conversion_table = {sizeof(struct conversion), conversion_options};

static const struct option options[] = {
    OWN(endpoint, "endpoint", OPTION_TEXT, "localhost:8889",
        "Address to listen on, host:port; the values are at /metrics."),
    OWN(namespace, "namespace", OPTION_TEXT, NULL, "Put in front of every name, with _."),
    OWN(const_labels, "const_labels", OPTION_TEXT_MAP, NULL,
        "Labels of every series; a label of the series' own with this name goes before."),
    OWN(send_timestamps, "send_timestamps", OPTION_BOOL, "false",
        "Tells with each value when it was read; else it counts from the scrape."),
    OWN(metric_expiration_ns, "metric_expiration", OPTION_DURATION, "5m",
        "A series without a new value for so long is not shown any more.", .min = 1000000000,
        .max = 30ll * 24 * 3600 * 1000000000),
    OWN(conversion, "resource_to_telemetry_conversion", OPTION_GROUP, NULL,
        "Attributes of resources as labels.", .table = &conversion_table),
    OWN(add_metric_suffixes, "add_metric_suffixes", OPTION_BOOL, "true",
        "Units and kinds become parts of names: _bytes, _seconds, _ratio, _total."),
    OWN(translation_strategy, "translation_strategy", OPTION_TEXT, NULL,
        "UnderscoreEscapingWithSuffixes or …WithoutSuffixes, instead of add_metric_suffixes."),
    OWN(enable_open_metrics, "enable_open_metrics", OPTION_BOOL, "false",
        "Answers in OpenMetrics 1.0 where it is asked for."),
    OWN(without_scope_info, "without_scope_info", OPTION_BOOL, "true",
        "Off: every series carries otel_scope_name and otel_scope_version, and changes with each "
        "version. (The Collector's default is off.)"),
    OWN(tls, "tls", OPTION_GROUP, NULL, "TLS, where a certificate is given.", .table = &tls_table),
    OWN(bearer_token, "bearer_token", OPTION_SECRET, NULL,
        "What a scraper must show (authorization: {credentials: …} in Prometheus)."),
    OWN(connections_max, "connections_max", OPTION_INT, "16",
        "Connections open at once; more wait.", .min = 1, .max = 1024),
    OWN(request_timeout_ns, "request_timeout", OPTION_DURATION, "120s",
        "A connection is closed when a request, with the wait for it, takes longer.",
        .min = 100000000, .max = 3600000000000),
    IGNORED("sending_queue", "a scrape has no queue"),
    IGNORED("retry_on_failure", "a scrape has nothing to repeat"),
    IGNORED("timeout", "a scrape has nothing to wait for"),
    IGNORED("cors", "no cross-origin headers are sent"),
    IGNORED("max_request_body_size", "requests have no bodies"),
    IGNORED("include_metadata", "there is nothing to pass metadata on to"),
    IGNORED("response_headers", "no extra headers are sent"),
    IGNORED("compression_algorithms", "requests have no bodies; answers are gzip where accepted"),
    IGNORED("keep_alives_enabled", "always on"),
    IGNORED("read_timeout", "request_timeout bounds the whole"),
    IGNORED("read_header_timeout", "request_timeout bounds the whole"),
    IGNORED("write_timeout", "request_timeout bounds the whole"),
    IGNORED("idle_timeout", "request_timeout bounds the whole"),
    IGNORED("transport", "always tcp"),
    {.key = NULL},
};

const struct exporter prometheus_exporter = {
    .component = {.kind = COMPONENT_EXPORTER,
                  .type = "prometheus",
                  .about = "Shows the fleet's last values to whoever scrapes them",
                  .stability = "beta",
                  .table = {.size = sizeof(struct prometheus_settings), .options = options},
                  .validate = validate},
    .open = open_exporter,
    .consume = consume,
    .finish = finish,
    .tick = tick,
    .close = close_exporter,
};
