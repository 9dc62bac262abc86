/* SPDX-License-Identifier: Apache-2.0 */
/* The otlp_http exporter: the Collector's keys turned into a request_plan; outbox.c does the rest.
 * Keys whose effect does not exist here are taken and warned about, so that a Collector's file runs
 * unchanged; a key that names something we lack (auth) stays an error, because running without it
 * would not be what was asked for. */
#include <stdio.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/memory.h"
#include "exporters/client.h"

enum encoding { ENCODING_PROTO, ENCODING_JSON };

struct otlp_http_settings {
    const char *endpoint;
    const char *metrics_endpoint;
    struct client_compression compression;
    int encoding;    /* enum encoding */
    int temporality; /* index of exporter_temporalities */
    struct client_settings client;
};

struct otlp_http {
    struct request_plan plan;
    struct arena arena;
};

static bool validate(const void *settings, struct error *error)
{
    const struct otlp_http_settings *http = settings;
    if (http->endpoint == NULL && http->metrics_endpoint == NULL)
        return error_set(error, "endpoint is missing: set it to the back end's address, e.g. "
                                "endpoint: https://otlp.example.com:4318");
    return client_validate(&http->client, "endpoint", http->endpoint, error) &&
           client_validate(&http->client, "metrics_endpoint", http->metrics_endpoint, error);
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

static bool open_exporter(const char *id, const void *given, struct exporter_output *ret_output,
                          struct error *error)
{
    (void)error;
    const struct otlp_http_settings *settings = given;
    struct otlp_http *state = xcalloc(1, sizeof *state);
    struct request_plan *plan = &state->plan;
    client_plan(&settings->client, id, metrics_url(state, settings), plan);
    plan->compression = (enum compression)settings->compression.kind;
    plan->compression_level = (int)settings->compression.level.value;
    plan->split = settings->encoding == ENCODING_PROTO ? otlp_split : NULL;
    *ret_output = (struct exporter_output){
        .format = settings->encoding == ENCODING_JSON ? BODY_JSON : BODY_PROTO,
        .requests = &state->plan,
        .delta = settings->temporality != 0,
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

static const char *const encodings[] = {"proto", "json", NULL};

static const struct option options[] = {
    CLIENT_ROW(struct otlp_http_settings, endpoint, "endpoint", OPTION_TEXT, NULL,
               "Address of the back end; /v1/metrics is appended."),
    CLIENT_ROW(struct otlp_http_settings, metrics_endpoint, "metrics_endpoint", OPTION_TEXT, NULL,
               "Whole URL for metrics, instead of endpoint."),
    CLIENT_COMPRESSION(struct otlp_http_settings, compression, "gzip"),
    CLIENT_ROW(struct otlp_http_settings, encoding, "encoding", OPTION_ENUM, "proto",
               "Form of bodies; json costs many times more CPU.", .choices = encodings),
    EXPORTER_TEMPORALITY(struct otlp_http_settings, temporality),
    CLIENT_OPTIONS(struct otlp_http_settings, client),
    CLIENT_IGNORED("traces_endpoint", "only metrics are sent"),
    CLIENT_IGNORED("logs_endpoint", "only metrics are sent"),
    CLIENT_IGNORED("profiles_endpoint", "only metrics are sent"),
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
                  .validate = validate,
                  .extension_offset = offsetof(struct otlp_http_settings, client.queue.storage),
                  .extension_key = "sending_queue::storage"},
    .open = open_exporter,
    .close = close_exporter,
};
