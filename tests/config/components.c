/* SPDX-License-Identifier: Apache-2.0 */
/* See the header. */
#include "components.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "pg/settings.h"

static const char *const modes[] = {[SAMPLE_FAST] = "fast", [SAMPLE_SAFE] = "safe", NULL};
static const char *const compressions[] = {"none", "gzip", "zstd", NULL};

static const struct option nested_options[] = {
    {.key = "on", .type = OPTION_BOOL, .offset = 0, .fallback = "true", .help = "switch"},
    {0},
};
static const struct option_table nested_table = {sizeof(bool), nested_options};

#define ITEM(field) offsetof(struct sample_item, field)
static const struct option item_options[] = {
    {.key = "name", .type = OPTION_TEXT, .offset = ITEM(name), .help = "a name"},
    {.key = "weight",
     .type = OPTION_INT,
     .offset = ITEM(weight),
     .fallback = "1",
     .min = 1,
     .max = 9,
     .help = "a weight"},
    {.key = "nested",
     .type = OPTION_GROUP,
     .offset = ITEM(nested),
     .table = &nested_table,
     .help = "deeper"},
    {0},
};
static const struct option_table item_table = {sizeof(struct sample_item), item_options};

static const struct option named_options[] = {
    {.key = "name", .type = OPTION_TEXT, .offset = ITEM(name), .required = true, .help = "a name"},
    {0},
};
static const struct option_table named_table = {sizeof(struct sample_item), named_options};

#define SAMPLE(field) offsetof(struct sample_settings, field)
static const struct option sample_options[] = {
    {.key = "flag", .type = OPTION_BOOL, .offset = SAMPLE(flag), .help = "a | b"},
    {.key = "number",
     .type = OPTION_INT,
     .offset = SAMPLE(number),
     .fallback = "8192",
     .min = 1,
     .max = 10000,
     .help = "n"},
    {.key = "ratio",
     .type = OPTION_DOUBLE,
     .offset = SAMPLE(ratio),
     .fallback = "0.5",
     .max = 1,
     .help = "r"},
    {.key = "wait",
     .type = OPTION_DURATION,
     .offset = SAMPLE(wait_ns),
     .fallback = "200ms",
     .max = 3600 * (int64_t)NS_PER_S,
     .help = "w"},
    {.key = "room",
     .type = OPTION_BYTES,
     .offset = SAMPLE(room_bytes),
     .fallback = "4MiB",
     .min = 1024,
     .max = 1 << 30,
     .help = "b"},
    {.key = "text", .type = OPTION_TEXT, .offset = SAMPLE(text), .fallback = "*", .help = "t"},
    {.key = "secret", .type = OPTION_SECRET, .offset = SAMPLE(secret), .help = "s"},
    {.key = "mode",
     .type = OPTION_ENUM,
     .offset = SAMPLE(mode),
     .choices = modes,
     .fallback = "safe",
     .help = "m"},
    {.key = "list",
     .type = OPTION_TEXT_LIST,
     .offset = SAMPLE(list),
     .fallback = "[a, b]",
     .help = "l"},
    {.key = "map", .type = OPTION_TEXT_MAP, .offset = SAMPLE(map), .help = "m"},
    {.key = "headers", .type = OPTION_SECRET_MAP, .offset = SAMPLE(headers), .help = "h"},
    {.key = "base",
     .type = OPTION_GROUP,
     .offset = SAMPLE(base),
     .table = &item_table,
     .help = "what items begin as"},
    {.key = "items",
     .type = OPTION_GROUP_LIST,
     .offset = SAMPLE(items),
     .table = &item_table,
     .inherits = true,
     .inherit_offset = SAMPLE(base),
     .help = "items"},
    {.key = "plain_items",
     .type = OPTION_GROUP_LIST,
     .offset = SAMPLE(plain_items),
     .table = &item_table,
     .help = "items"},
    {.key = "named",
     .type = OPTION_GROUP_MAP,
     .offset = SAMPLE(named),
     .table = &named_table,
     .help = "by name"},
    {.key = "sampling", .type = OPTION_IGNORED, .help = "nothing is sampled"},
    {0},
};

static bool sample_validate(const void *settings, struct error *error)
{
    const struct sample_settings *sample = settings;
    const struct sample_item *items = sample->items.items;
    for (size_t i = 0; i < sample->items.count; i++)
        if (items[i].weight == 9)
            return error_set(error, "items[%zu].weight: 9 is taken", i);
    return true;
}

const struct component sample_exporter = {
    .kind = COMPONENT_EXPORTER,
    .type = "sample",
    .about = "has one of each",
    .stability = "beta",
    .table = {sizeof(struct sample_settings), sample_options},
    .validate = sample_validate,
};

static const char *const otlp_aliases[] = {"otlphttp", NULL};
static const struct option otlp_options[] = {
    {.key = "endpoint",
     .type = OPTION_TEXT,
     .offset = offsetof(struct otlp_sample_settings, endpoint),
     .required = true,
     .help = "where to"},
    {.key = "headers",
     .type = OPTION_SECRET_MAP,
     .offset = offsetof(struct otlp_sample_settings, headers),
     .help = "sent with each request"},
    {.key = "compression",
     .type = OPTION_ENUM,
     .offset = offsetof(struct otlp_sample_settings, compression),
     .choices = compressions,
     .fallback = "gzip",
     .help = "of bodies"},
    {.key = "timeout",
     .type = OPTION_DURATION,
     .offset = offsetof(struct otlp_sample_settings, timeout_ns),
     .fallback = "30s",
     .help = "of a request"},
    {.key = "sending_queue", .type = OPTION_IGNORED, .help = "no queue in this sample"},
    {0},
};
static const struct component otlp_sample = {
    .kind = COMPONENT_EXPORTER,
    .type = "otlp_http",
    .aliases = otlp_aliases,
    .about = "posts",
    .stability = "beta",
    .table = {sizeof(struct otlp_sample_settings), otlp_options},
};

static const struct option debug_options[] = {
    {.key = "verbosity", .type = OPTION_IGNORED, .help = "one form only"},
    {0},
};
static const struct component debug_sample = {
    .kind = COMPONENT_EXPORTER,
    .type = "debug",
    .about = "prints",
    .stability = "beta",
    .table = {1, debug_options},
};

static const struct option batch_options[] = {
    {.key = "send_batch_size",
     .type = OPTION_INT,
     .offset = offsetof(struct batch_sample_settings, send_batch_size),
     .fallback = "8192",
     .help = "points"},
    {.key = "send_batch_max_size",
     .type = OPTION_INT,
     .offset = offsetof(struct batch_sample_settings, send_batch_max_size),
     .fallback = "0",
     .help = "points"},
    {.key = "timeout",
     .type = OPTION_DURATION,
     .offset = offsetof(struct batch_sample_settings, timeout_ns),
     .fallback = "200ms",
     .help = "age"},
    {0},
};
static const struct component batch_sample = {
    .kind = COMPONENT_PROCESSOR,
    .type = "batch",
    .about = "batches",
    .stability = "beta",
    .table = {sizeof(struct batch_sample_settings), batch_options},
};

static const struct option health_options[] = {
    {.key = "endpoint",
     .type = OPTION_TEXT,
     .offset = offsetof(struct endpoint_sample_settings, endpoint),
     .fallback = "localhost:13133",
     .help = "where it listens"},
    {0},
};
static const struct component health_sample = {
    .kind = COMPONENT_EXTENSION,
    .type = "health_check",
    .about = "answers probes",
    .stability = "beta",
    .table = {sizeof(struct endpoint_sample_settings), health_options},
};

const struct component *const test_registry[] = {
    &postgresql_receiver, &batch_sample,  &otlp_sample, &debug_sample,
    &sample_exporter,     &health_sample, NULL,
};

bool load_sources(struct config **ret_config, const char *const *sources, size_t count,
                  struct error *error, char *ret_log, size_t log_bytes)
{
    FILE *log = tmpfile();
    CHECK(log != NULL);
    fflush(stderr);
    int kept = dup(STDERR_FILENO);
    CHECK(dup2(fileno(log), STDERR_FILENO) >= 0);
    bool good = config_load(ret_config, sources, count, test_registry, error);
    CHECK(dup2(kept, STDERR_FILENO) >= 0);
    close(kept);
    if (ret_log != NULL) {
        rewind(log);
        ret_log[fread(ret_log, 1, log_bytes - 1, log)] = 0;
    }
    fclose(log);
    return good;
}

bool load_text(struct config **ret_config, const char *text, struct error *error, char *ret_log,
               size_t log_bytes)
{
    size_t bytes = strlen(text) + sizeof "yaml:";
    char *source = malloc(bytes);
    CHECK(source != NULL);
    snprintf(source, bytes, "yaml:%s", text);
    const char *sources[] = {source};
    bool good = load_sources(ret_config, sources, 1, error, ret_log, log_bytes);
    free(source);
    return good;
}

const void *settings_of(const struct config *config, const char *id)
{
    size_t i = 0;
    while (i < config->instance_count && strcmp(config->instances[i].id, id) != 0)
        i++;
    CHECK(i < config->instance_count);
    return config->instances[i].settings;
}
