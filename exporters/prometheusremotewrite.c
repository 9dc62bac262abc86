/* SPDX-License-Identifier: Apache-2.0 */
/* The prometheusremotewrite exporter: the Collector's keys turned into a request_plan and the
 * settings of the encoder (remote/encode.h); outbox.c does the rest. Prometheus takes a series'
 * samples in order of time only, so requests are ordered: one at a time, oldest first. A 400 says
 * that some sample came too late or twice; the request is dropped and counted, as it would be
 * refused for ever. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "exporters/client.h"
#include "exporters/remote/encode.h"
#include "exporters/remote/labels.h"
#include "exporters/remote/split.h"

enum { BODY_BYTES_DEFAULT = 3000000, QUEUE_MAX = 1000000 };

struct remote_queue {
    bool enabled;
    int64_t queue_size; /* 0: sending_queue's */
};

struct conversion {
    bool enabled, exclude_service_attributes;
};

struct remote_write_settings {
    const char *endpoint;
    const char *namespace;
    bool add_metric_suffixes;
    const char *translation_strategy; /* NULL: add_metric_suffixes says */
    struct text_map external_labels;
    struct conversion conversion;
    bool target_info;
    bool disable_scope_info;
    bool send_metadata;
    int64_t body_bytes_max;
    int compression;
    const char *protobuf_message;
    struct remote_queue queue;
    struct client_settings client;
};

struct remote_write {
    struct request_plan plan;
    struct text_map headers;
    struct remote_encoder *encoder;
};

static const char write_request[] = "prometheus.WriteRequest";

static bool validate(const void *given, struct error *error)
{
    const struct remote_write_settings *settings = given;
    if (strcmp(settings->protobuf_message, write_request) != 0)
        return error_set(error, "protobuf_message: only %s is spoken (remote write 1.0)",
                         write_request);
    return prom_check_strategy(settings->translation_strategy, error) &&
           labels_check("external_labels", &settings->external_labels, error) &&
           client_validate(&settings->client, "endpoint", settings->endpoint, error);
}

/* The user's headers and the protocol's. */
static void add_headers(struct remote_write *state, const struct text_map *given)
{
    state->headers.items = xcalloc(given->count + 1, sizeof *state->headers.items);
    state->headers.items[state->headers.count++] =
        (struct text_pair){"X-Prometheus-Remote-Write-Version", "0.1.0"};
    for (size_t i = 0; i < given->count; i++)
        state->headers.items[state->headers.count++] = given->items[i];
}

/* Samples stay in order, so one request at a time, whatever the client's rows say. */
static void warn_ignored(const char *id, const struct client_settings *client)
{
    const char *key = client->concurrency.max > 1      ? "concurrency::max"
                      : client->max_conns_per_host > 1 ? "max_conns_per_host"
                                                       : NULL;
    if (key != NULL)
        LOG(LOG_LEVEL_WARN, "exporter",
            "key has no effect: samples stay in order, so one request at a time",
            LOG_TEXT("exporter", id), LOG_TEXT("key", key));
}

static void make_plan(struct remote_write *state, const char *id,
                      const struct remote_write_settings *settings)
{
    struct request_plan *plan = &state->plan;
    client_plan(&settings->client, id, settings->endpoint, plan);
    warn_ignored(id, &settings->client);
    add_headers(state, &settings->client.headers);
    plan->endpoint.headers = &state->headers;
    plan->compression = COMPRESSION_SNAPPY;
    plan->split = remote_split;
    plan->ordered = true;
    plan->retry.every_5xx = true;
    if (!settings->queue.enabled)
        plan->queue_capacity = 2;
    else if (settings->queue.queue_size > 0)
        plan->queue_capacity = (uint32_t)settings->queue.queue_size;
    plan->sender_count = 1;
    plan->limiter.concurrency.max = plan->limiter.concurrency.initial = 1;
}

static bool open_exporter(const char *id, const void *given, struct exporter_output *ret_output,
                          struct error *error)
{
    (void)error;
    const struct remote_write_settings *settings = given;
    struct remote_write *state = xcalloc(1, sizeof *state);
    make_plan(state, id, settings);
    state->encoder = remote_encoder_create(&(struct remote_settings){
        .naming = {.namespace = settings->namespace,
                   .suffixes = prom_suffixes(settings->translation_strategy,
                                             settings->add_metric_suffixes)},
        .external_labels = settings->external_labels,
        .resource_labels = settings->conversion.enabled,
        .exclude_service = settings->conversion.exclude_service_attributes,
        .target_info = settings->target_info,
        .metadata = settings->send_metadata,
        .scope_labels = !settings->disable_scope_info,
    });
    *ret_output = (struct exporter_output){
        .format = BODY_REMOTE_WRITE,
        .body_bytes_max = settings->body_bytes_max > 0 ? (uint32_t)settings->body_bytes_max
                                                       : (uint32_t)BODY_BYTES_DEFAULT,
        .requests = &state->plan,
        .state = state};
    return true;
}

static uint8_t *encode(void *state, const struct page *page, struct page_slice slice,
                       uint32_t variant, struct space space)
{
    struct remote_write *own = state;
    return remote_encode(own->encoder, page, slice, variant, space);
}

static void close_exporter(void **ret_state)
{
    struct remote_write *state = *ret_state;
    if (state == NULL)
        return;
    remote_encoder_destroy(&state->encoder);
    free(state->headers.items);
    free(state);
    *ret_state = NULL;
}

#define ROW(member, key, type, fallback, help, ...)                                                \
    CLIENT_ROW(struct remote_write_settings, member, key, type, fallback, help, __VA_ARGS__)

static const char *const compressions[] = {"snappy", NULL};

static const struct option conversion_options[] = {
    CLIENT_ROW(struct conversion, enabled, "enabled", OPTION_BOOL, "false",
               "All attributes of a server's resource are labels of every series."),
    CLIENT_ROW(struct conversion, exclude_service_attributes, "exclude_service_attributes",
               OPTION_BOOL, "false", "Leaves out service.*, of which job and instance are made."),
    {.key = NULL},
};
static const struct option_table conversion_table = {sizeof(struct conversion), conversion_options};

static const struct option info_options[] = {
    {.key = "enabled",
     .type = OPTION_BOOL,
     .fallback = "true",
     .help = "Sends target_info, whose labels are the resource's attributes, once a minute for "
             "each server."},
    {.key = NULL},
};
static const struct option_table info_table = {sizeof(bool), info_options};

static const struct option queue_options[] = {
    CLIENT_ROW(struct remote_queue, enabled, "enabled", OPTION_BOOL, "true",
               "Off: one request, and room for the one behind it."),
    CLIENT_ROW(struct remote_queue, queue_size, "queue_size", OPTION_INT, "0",
               "Batches held in memory at most; 0 for sending_queue::queue_size.", .min = 0,
               .max = QUEUE_MAX),
    CLIENT_IGNORED("num_consumers", "samples stay in order: one request at a time"),
    {.key = NULL},
};
static const struct option_table queue_table = {sizeof(struct remote_queue), queue_options};

static const struct option options[] = {
    ROW(endpoint, "endpoint", OPTION_TEXT, NULL,
        "Whole URL of the back end, e.g. http://prometheus.example:9090/api/v1/write.",
        .required = true),
    ROW(namespace, "namespace", OPTION_TEXT, NULL, "Put in front of every name, with _."),
    ROW(add_metric_suffixes, "add_metric_suffixes", OPTION_BOOL, "true",
        "Units and kinds become parts of names: _bytes, _seconds, _ratio, _total."),
    ROW(translation_strategy, "translation_strategy", OPTION_TEXT, NULL,
        "UnderscoreEscapingWithSuffixes or …WithoutSuffixes, instead of add_metric_suffixes."),
    ROW(external_labels, "external_labels", OPTION_TEXT_MAP, NULL,
        "Labels of every series; a label of the series' own with this name goes before."),
    ROW(conversion, "resource_to_telemetry_conversion", OPTION_GROUP, NULL,
        "Attributes of resources as labels.", .table = &conversion_table),
    ROW(target_info, "target_info", OPTION_GROUP, NULL, "The series that describes a server.",
        .table = &info_table),
    ROW(disable_scope_info, "disable_scope_info", OPTION_BOOL, "true",
        "Off: every series carries otel_scope_name and otel_scope_version, and changes with each "
        "version. (The Collector's default is off.)"),
    ROW(send_metadata, "send_metadata", OPTION_BOOL, "false",
        "Sends kind, unit and description of each metric, once a minute."),
    ROW(body_bytes_max, "max_batch_size_bytes", OPTION_INT, "3000000",
        "A request's bytes at most, before compression; 0 for the default.", .min = 0,
        .max = 8 << 20),
    ROW(compression, "compression", OPTION_ENUM, "snappy", "What the protocol asks for.",
        .choices = compressions),
    ROW(protobuf_message, "protobuf_message", OPTION_TEXT, write_request,
        "Only remote write 1.0 is spoken."),
    ROW(queue, "remote_write_queue", OPTION_GROUP, NULL,
        "The Collector's name of the queue in memory.", .table = &queue_table),
    CLIENT_OPTIONS(struct remote_write_settings, client),
    CLIENT_IGNORED("max_batch_request_parallelism", "samples stay in order: one request at a time"),
    CLIENT_IGNORED("export_created_metric", "there are no _created series"),
    CLIENT_IGNORED("include_metadata_keys", "there is no metadata of requests"),
    CLIENT_IGNORED("convert_explicit_histograms_to_nhcb", "histograms are classic ones"),
    CLIENT_IGNORED("keep_classic_histograms", "histograms are classic ones"),
    {.key = NULL},
};

static const char *const aliases[] = {"prometheus_remote_write", NULL};

const struct exporter prometheusremotewrite_exporter = {
    .component = {.kind = COMPONENT_EXPORTER,
                  .type = "prometheusremotewrite",
                  .aliases = aliases,
                  .about = "Sends metrics to Prometheus and what speaks its remote write",
                  .stability = "beta",
                  .table = {.size = sizeof(struct remote_write_settings), .options = options},
                  .validate = validate,
                  .extension_offset = offsetof(struct remote_write_settings, client.queue.storage),
                  .extension_key = "sending_queue::storage"},
    .open = open_exporter,
    .encode = encode,
    .close = close_exporter,
};
