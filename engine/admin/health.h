/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "admin/server.h"

/* What /health says, worst first. Only what this process has wrong, or is losing, is a 503: servers
 * that are down and a back end that refuses are not cured by restarting the collector, and while
 * its queue has room nothing is lost. Alert on those by /metrics. */
enum health {
    HEALTH_OK,       /* 200 */
    HEALTH_DEGRADED, /* 200: a server is down or fails in part; an exporter fails, data is queued */
    HEALTH_FAILING,  /* 503: a thread stands still; an exporter fails and its queue is full */
    HEALTH_STOPPING, /* 503 */
};

/* The JSON of /health, to be freed; NULL when out of memory. */
char *health_text(const struct request *request, enum health *ret_health);

/* The same in one word, and its parts that /status shows, too. */
enum health health_overall(const struct request *request);
const char *health_name(enum health health);
json_t *health_targets_json(const struct request *request, enum health *ret_health);

/* How the exporter with this number is; false: there is none. */
struct exporter_health {
    const char *id;
    bool healthy;
    char reason[512]; /* "" where it is healthy */
};
bool health_exporter(const struct request *request, uint32_t index,
                     struct exporter_health *ret_health);

/* The telemetry set of an exporter; NULL: there is none. */
const struct telemetry_set *health_exporter_set(const char *id);

/* /livez and /readyz: the reason when not. */
bool health_live(const struct request *request, char *ret_text, size_t text_bytes);
bool health_ready(const struct request *request, char *ret_text, size_t text_bytes);

/* The Collector's answer. */
char *health_collector_text(const struct request *request, bool available);
