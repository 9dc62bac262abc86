/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/component.h>
#include <pgweir/limits.h>

#include "base/error.h"
#include "base/log.h"
#include "control/tuner.h"

/* A whole configuration: read once, checked wholly, immutable after that. Belongs to the main
 * thread; others borrow until config_destroy(). Shape and rules: the OpenTelemetry Collector's. */

struct place {
    const char *source;
    unsigned line, column;
};

/* One configured component: `otlp_http/newrelic` is type otlp_http with name newrelic. */
struct instance {
    const struct component *component;
    const char *id;
    const void *settings; /* laid out by component->table */
    struct place place;
};

struct pipeline {
    const char *id; /* "metrics" or "metrics/name" */
    const struct instance **receivers, **processors, **exporters;
    size_t receiver_count, processor_count, exporter_count;
    struct place place;
};

enum service_loop { SERVICE_LOOP_AUTO, SERVICE_LOOP_IO_URING, SERVICE_LOOP_EPOLL };

struct service_settings {
    int loop;       /* enum service_loop */
    int64_t shards; /* 0: one per usable core */
    bool pin;       /* pin shards to their cores */
    uint64_t shutdown_timeout_ns;
    int64_t connections_max;        /* open connections, all servers together */
    int64_t connects_in_flight_max; /* simultaneous connection attempts, all servers together */
    int64_t pages;                  /* pages in flight per shard */
    int log_level;                  /* enum log_level: telemetry.logs.level */
    int log_format;                 /* enum log_format: telemetry.logs.encoding console|json */
    bool own_metrics;               /* deliver pgweir.* through the pipelines */
    uint64_t own_metrics_interval_ns;
    struct tuner_settings tuner;
};

struct config {
    struct service_settings service;
    struct instance *instances; /* all that are configured, used or not, in file order */
    size_t instance_count;
    const struct instance **extensions; /* those named in service.extensions */
    size_t extension_count;
    struct pipeline *pipelines; /* metrics pipelines only: others are an error */
    size_t pipeline_count;
};

/* What components exist: NULL-terminated. */
typedef const struct component *const *component_registry;

/* Loads and merges sources in order (a path, `file:PATH`, `env:NAME`, `yaml:TEXT`; maps merge,
 * lists replace), expands ${env:NAME}, ${env:NAME:-default}, ${NAME} and ${file:/path} ($$ is a
 * dollar), fills settings and checks everything. On failure the error reads
 * "file:line:column: what, and the likely cure". Warnings (aliases, ignored keys, unset variables)
 * go to the log. *ret_config is untouched on failure. */
bool config_load(struct config **ret_config, const char *const *sources, size_t source_count,
                 component_registry registry, struct error *error);

/* Wipes secrets and frees; NULL inside is fine. */
void config_destroy(struct config **config);

/* YAML of the whole configuration with every default filled in and secrets masked, to be freed by
 * the caller. */
char *config_print(const struct config *config);

/* Markdown reference of every option of every component, from the tables; caller frees. */
char *config_reference(component_registry registry);

/* The same of one table, for programs beside pgweir whose files are read by such tables. */
char *config_reference_table(const struct option_table *table);
