/* SPDX-License-Identifier: Apache-2.0 */
/* Options of the `service` section: the Collector's, plus those of this process. Constant data. */
#include "config/service.h"

#include "base/check.h"
#include "base/clock.h"

#define SETTING(field) offsetof(struct service_file, settings.field)

static const char *const loop_names[] = {
    [SERVICE_LOOP_AUTO] = "auto",
    [SERVICE_LOOP_IO_URING] = "io_uring",
    [SERVICE_LOOP_EPOLL] = "epoll",
    NULL,
};
static const char *const level_names[] = {
    [LOG_LEVEL_DEBUG] = "debug",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_WARN] = "warn",
    [LOG_LEVEL_ERROR] = "error",
    NULL,
};
static const char *const encoding_names[] = {
    [LOG_FORMAT_TEXT] = "console",
    [LOG_FORMAT_JSON] = "json",
    NULL,
};

#define FIXED_LOG(name)                                                                            \
    {                                                                                              \
        .key = name, .type = OPTION_IGNORED, .help = "log lines have one form and go to stderr"    \
    }

/* Groups of the service write into the one struct: their offset is 0, their rows' are its own. */
static const struct option logs_options[] = {
    {.key = "level",
     .type = OPTION_ENUM,
     .offset = SETTING(log_level),
     .choices = level_names,
     .fallback = "info",
     .help = "least severe lines that are written"},
    {.key = "encoding",
     .type = OPTION_ENUM,
     .offset = SETTING(log_format),
     .choices = encoding_names,
     .fallback = "console",
     .help = "form of a line: console (logfmt) or json"},
    FIXED_LOG("development"),
    FIXED_LOG("disable_caller"),
    FIXED_LOG("disable_stacktrace"),
    FIXED_LOG("disable_zap_resource"),
    FIXED_LOG("sampling"),
    FIXED_LOG("output_paths"),
    FIXED_LOG("error_output_paths"),
    FIXED_LOG("initial_fields"),
    FIXED_LOG("processors"),
    {0},
};
static const struct option_table logs_table = {sizeof(struct service_file), logs_options};

static const struct option telemetry_options[] = {
    {.key = "logs", .type = OPTION_GROUP, .table = &logs_table, .help = "the log on stderr"},
    {.key = "metrics",
     .type = OPTION_IGNORED,
     .help = "own metrics are on /metrics of the health_check extension and, by "
             "service.own_metrics, in the pipelines"},
    {.key = "traces", .type = OPTION_IGNORED, .help = "pgweir writes no traces of itself"},
    {.key = "resource",
     .type = OPTION_IGNORED,
     .help = "use a resource processor to add attributes"},
    {0},
};
static const struct option_table telemetry_table = {sizeof(struct service_file), telemetry_options};

static const struct option own_metrics_options[] = {
    {.key = "enabled",
     .type = OPTION_BOOL,
     .offset = SETTING(own_metrics),
     .fallback = "true",
     .help = "deliver pgweir.* metrics through the metrics pipelines"},
    {.key = "interval",
     .type = OPTION_DURATION,
     .offset = SETTING(own_metrics_interval_ns),
     .fallback = "60s",
     .min = (int64_t)NS_PER_S,
     .max = 3600 * (int64_t)NS_PER_S,
     .help = "how often"},
    {0},
};
static const struct option_table own_metrics_table = {sizeof(struct service_file),
                                                      own_metrics_options};

static const char *const tuner_modes[] = {
    [TUNER_OFF] = "off",
    [TUNER_ADVISE] = "advise",
    [TUNER_ON] = "on",
    NULL,
};

static const struct option tuner_options[] = {
    {.key = "mode",
     .type = OPTION_ENUM,
     .offset = SETTING(tuner.mode),
     .choices = tuner_modes,
     .fallback = "on",
     .help =
         "on: tries other values one at a time and keeps what costs less CPU per point; advise: "
         "only says what it would try, and why"},
    {.key = "age_p99",
     .type = OPTION_DURATION,
     .offset = SETTING(tuner.age_p99_ns),
     .fallback = "5s",
     .min = 10 * (int64_t)NS_PER_MS,
     .max = 3600 * (int64_t)NS_PER_S,
     .help = "99 % of requests deliver points no older than this, from when their collection was "
             "due; goes before CPU"},
    {.key = "interval",
     .type = OPTION_DURATION,
     .offset = SETTING(tuner.interval_ns),
     .fallback = "10s",
     .min = 200 * (int64_t)NS_PER_MS,
     .max = 3600 * (int64_t)NS_PER_S,
     .help = "time that one measurement takes; longer where few batches are sent"},
    {.key = "batch_size_min",
     .type = OPTION_INT,
     .offset = SETTING(tuner.batch_size_min),
     .fallback = "256",
     .min = 1,
     .max = UINT32_MAX,
     .help = "smallest send_batch_size tried"},
    {.key = "batch_size_max",
     .type = OPTION_INT,
     .offset = SETTING(tuner.batch_size_max),
     .fallback = "65536",
     .min = 1,
     .max = UINT32_MAX,
     .help = "largest send_batch_size tried; send_batch_max_size bounds it, too"},
    {.key = "flush_age_min",
     .type = OPTION_DURATION,
     .offset = SETTING(tuner.flush_age_min_ns),
     .fallback = "20ms",
     .min = (int64_t)NS_PER_MS,
     .max = 3600 * (int64_t)NS_PER_S,
     .help = "shortest timeout of a batch tried"},
    {.key = "flush_age_max",
     .type = OPTION_DURATION,
     .offset = SETTING(tuner.flush_age_max_ns),
     .fallback = "0",
     .max = 3600 * (int64_t)NS_PER_S,
     .help = "longest timeout of a batch tried; 0: half of age_p99"},
    {0},
};
static const struct option_table tuner_table = {sizeof(struct service_file), tuner_options};

static const struct option pipeline_options[] = {
    {.key = "receivers",
     .type = OPTION_TEXT_LIST,
     .offset = offsetof(struct pipeline_file, receivers),
     .required = true,
     .help = "receivers whose points enter this pipeline"},
    {.key = "processors",
     .type = OPTION_TEXT_LIST,
     .offset = offsetof(struct pipeline_file, processors),
     .help = "processors, in this order"},
    {.key = "exporters",
     .type = OPTION_TEXT_LIST,
     .offset = offsetof(struct pipeline_file, exporters),
     .required = true,
     .help = "exporters that each get every point"},
    {0},
};
static const struct option_table pipeline_table = {sizeof(struct pipeline_file), pipeline_options};

static const struct option service_options[] = {
    {.key = "extensions",
     .type = OPTION_TEXT_LIST,
     .offset = offsetof(struct service_file, extensions),
     .help = "extensions that are started"},
    {.key = "pipelines",
     .type = OPTION_GROUP_MAP,
     .offset = offsetof(struct service_file, pipelines),
     .table = &pipeline_table,
     .required = true,
     .help = "pipelines by name: metrics, or metrics/NAME"},
    {.key = "telemetry",
     .type = OPTION_GROUP,
     .table = &telemetry_table,
     .help = "what pgweir says of itself"},
    {.key = "own_metrics",
     .type = OPTION_GROUP,
     .table = &own_metrics_table,
     .help = "pgweir's metrics of itself"},
    {.key = "tuner",
     .type = OPTION_GROUP,
     .table = &tuner_table,
     .help = "tunes batches, requests in flight and compression while it runs"},
    {.key = "loop",
     .type = OPTION_ENUM,
     .offset = SETTING(loop),
     .choices = loop_names,
     .fallback = "auto",
     .help = "event loop; auto takes io_uring where the kernel lets it work, else epoll"},
    {.key = "shards",
     .type = OPTION_INT,
     .offset = SETTING(shards),
     .fallback = "0",
     .max = LIMIT_SHARDS,
     .help = "collecting threads; 0 is one for each usable core"},
    {.key = "pin",
     .type = OPTION_BOOL,
     .offset = SETTING(pin),
     .fallback = "true",
     .help = "keep each shard on its own core"},
    {.key = "shutdown_timeout",
     .type = OPTION_DURATION,
     .offset = SETTING(shutdown_timeout_ns),
     .fallback = "10s",
     .max = 600 * (int64_t)NS_PER_S,
     .help = "how long a stop may take to deliver what was collected"},
    {.key = "connections",
     .type = OPTION_INT,
     .offset = SETTING(connections_max),
     .fallback = "10000",
     .min = 1,
     .max = 1000000,
     .help = "open connections at most, all servers together"},
    {.key = "connects_in_flight",
     .type = OPTION_INT,
     .offset = SETTING(connects_in_flight_max),
     .fallback = "64",
     .min = 1,
     .max = 10000,
     .help = "connection attempts at the same time at most, all servers together"},
    {.key = "pages",
     .type = OPTION_INT,
     .offset = SETTING(pages),
     .fallback = "256",
     .min = 4,
     .max = 32768,
     .help = "pages of points in flight per shard at most, 32 KiB each"},
    {0},
};
const struct option_table service_table = {sizeof(struct service_file), service_options};

static const struct {
    const char *section, *member;
} sections[COMPONENT_KIND_COUNT] = {
    [COMPONENT_RECEIVER] = {"receivers", "receiver"},
    [COMPONENT_PROCESSOR] = {"processors", "processor"},
    [COMPONENT_EXPORTER] = {"exporters", "exporter"},
    [COMPONENT_EXTENSION] = {"extensions", "extension"},
};

const char *section_name(enum component_kind kind)
{
    CHECK(kind < COMPONENT_KIND_COUNT);
    return sections[kind].section;
}

const char *section_member(enum component_kind kind)
{
    CHECK(kind < COMPONENT_KIND_COUNT);
    return sections[kind].member;
}
