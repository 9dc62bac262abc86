/* SPDX-License-Identifier: Apache-2.0 */
/* The newrelic exporter: otlp_http with what New Relic asks for, so that a key is all one has to
 * know. What its limits mean here:
 *
 *   body           less than 10^6 bytes as sent: larger ones are split before they are queued
 *   age            points over 48 h are dropped there: batches are given up at 47 h at the latest
 *   attributes     at most 128 a point, 64 a resource; names of 255, values of 4095 characters:
 * kept by whoever makes attribute sets (ring/attrs.h) and by the catalogue, for all back ends, once
 * per set NaN, infinite  never leave the decoder 429            limits per minute, with Retry-After
 * for its rest: the limiter learns them; rate_limit::points_per_minute states the account's answers
 * 200 has no body; what is wrong with the data is told later, as NrIntegrationError
 *
 * Counters are cumulative by default although New Relic, a delta system, advises delta: cumulative
 * points that arrive twice, late or not at all change no total, and ours come from counters that
 * count on while we are away. With `temporality: delta` its queries read them without a conversion.
 * Source: docs.newrelic.com, "New Relic OTLP endpoint", "Metric API limits and restricted
 * attributes". */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/memory.h"
#include "exporters/client.h"

enum region { REGION_US, REGION_EU, REGION_JP, REGION_FEDRAMP };

enum { BODY_BYTES_MAX = 950000, AGE_MAX_H = 47 };
_Static_assert(BODY_BYTES_MAX < 1000000, "a body is smaller than 10^6 bytes");

static const char *const region_names[] = {"us", "eu", "jp", "fedramp", NULL};
static const char *const region_urls[] = {
    [REGION_US] = "https://otlp.nr-data.net",
    [REGION_EU] = "https://otlp.eu01.nr-data.net",
    [REGION_JP] = "https://otlp.jp.nr-data.net",
    [REGION_FEDRAMP] = "https://gov-otlp.nr-data.net",
};

struct newrelic_settings {
    int region; /* enum region */
    const char *api_key;
    const char *endpoint; /* instead of the region's; NULL: that */
    struct client_compression compression;
    int temporality; /* index of exporter_temporalities */
    struct client_settings client;
};

struct newrelic {
    struct request_plan plan;
    struct text_map headers; /* the user's, and api-key */
    struct arena arena;
};

/* Mistakes that would otherwise be a 401 or 403 some seconds after the start. */
static bool check_key(const struct newrelic_settings *settings, struct error *error)
{
    const char *key = settings->api_key;
    if (key == NULL || key[0] == '\0')
        return error_set(error, "api_key is missing: set it to a key of type \"Ingest - License\", "
                                "e.g. api_key: ${env:NEW_RELIC_LICENSE_KEY}");
    for (const char *at = key; *at != '\0'; at++)
        if (*at <= ' ' || *at > '~')
            return error_set(error, "api_key holds a space, a line break or another character that "
                                    "no key has: a secret read from a file may end with one");
    if (strncmp(key, "NRAK-", 5) == 0)
        return error_set(error,
                         "api_key is a user key (NRAK-…), which cannot send data: make one of "
                         "type \"Ingest - License\"");
    if (strncmp(key, "eu01xx", 6) == 0 && settings->region != REGION_EU && !settings->endpoint)
        return error_set(error, "api_key belongs to the EU region: set region: eu");
    return true;
}

static bool validate(const void *given, struct error *error)
{
    const struct newrelic_settings *settings = given;
    const struct text_map *headers = &settings->client.headers;
    if (!check_key(settings, error))
        return false;
    for (size_t i = 0; i < headers->count; i++)
        if (strcasecmp(headers->items[i].key, "api-key") == 0)
            return error_set(error, "headers::%s: api_key sets this header: remove it here",
                             headers->items[i].key);
    uint64_t age_ns = settings->client.spool.age_ns;
    if (age_ns == 0 || age_ns > AGE_MAX_H * 3600 * NS_PER_S)
        return error_set(error,
                         "spool::age must be between 1s and %dh: New Relic drops points that are "
                         "older than 48 hours",
                         AGE_MAX_H);
    return client_validate(&settings->client, "endpoint", settings->endpoint, error);
}

/* The user's headers and the key; texts stay the settings'. */
static void make_headers(struct newrelic *state, const struct newrelic_settings *settings)
{
    const struct text_map *given = &settings->client.headers;
    struct text_pair *items = arena_take(&state->arena, (given->count + 1) * sizeof *items);
    for (size_t i = 0; i < given->count; i++)
        items[i] = given->items[i];
    items[given->count] = (struct text_pair){"api-key", settings->api_key};
    state->headers = (struct text_map){items, given->count + 1};
}

static const char *metrics_url(struct newrelic *state, const struct newrelic_settings *settings)
{
    const char *url =
        settings->endpoint != NULL ? settings->endpoint : region_urls[settings->region];
    size_t bytes = strlen(url);
    while (bytes > 0 && url[bytes - 1] == '/')
        bytes--;
    return arena_format(&state->arena, "%.*s/v1/metrics", (int)bytes, url);
}

static bool open_exporter(const char *id, const void *given, struct exporter_output *ret_output,
                          struct error *error)
{
    (void)error;
    const struct newrelic_settings *settings = given;
    struct newrelic *state = xcalloc(1, sizeof *state);
    struct request_plan *plan = &state->plan;
    client_plan(&settings->client, id, metrics_url(state, settings), plan);
    make_headers(state, settings);
    plan->endpoint.headers = &state->headers;
    plan->compression = (enum compression)settings->compression.kind;
    plan->compression_level = (int)settings->compression.level.value;
    plan->split = otlp_split;
    plan->body_bytes_max = BODY_BYTES_MAX;
    *ret_output = (struct exporter_output){.format = BODY_PROTO,
                                           .requests = plan,
                                           .delta = settings->temporality != 0,
                                           .state = state};
    return true;
}

static void close_exporter(void **ret_state)
{
    struct newrelic *state = *ret_state;
    if (state == NULL)
        return;
    arena_fini(&state->arena);
    free(state);
    *ret_state = NULL;
}

static const struct option options[] = {
    CLIENT_ROW(struct newrelic_settings, region, "region", OPTION_ENUM, "us",
               "Where the account's data is kept; says which endpoint is used.",
               .choices = region_names),
    CLIENT_ROW(struct newrelic_settings, api_key, "api_key", OPTION_SECRET, NULL,
               "Key of type \"Ingest - License\", sent as header api-key.", .required = true),
    CLIENT_ROW(struct newrelic_settings, endpoint, "endpoint", OPTION_TEXT, NULL,
               "Address to use instead of the region's, e.g. of a proxy; /v1/metrics is "
               "appended."),
    CLIENT_COMPRESSION(struct newrelic_settings, compression, "zstd"),
    EXPORTER_TEMPORALITY(struct newrelic_settings, temporality),
    CLIENT_OPTIONS(struct newrelic_settings, client),
    {.key = NULL},
};

const struct exporter newrelic_exporter = {
    .component = {.kind = COMPONENT_EXPORTER,
                  .type = "newrelic",
                  .about = "Sends metrics to New Relic over OTLP, within its limits",
                  .stability = "beta",
                  .table = {.size = sizeof(struct newrelic_settings), .options = options},
                  .validate = validate,
                  .extension_offset = offsetof(struct newrelic_settings, client.queue.storage),
                  .extension_key = "sending_queue::storage"},
    .open = open_exporter,
    .close = close_exporter,
};
