/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/component.h>

#include "base/status.h"

/* The HTTP server for people and probes: libmicrohttpd on its own thread, loopback by default,
 * reading counters and status boards only, so it never slows collection and collection never slows
 * it. GET and HEAD only.
 *
 *   /         the Collector's health_check answer, at `path` too: 503 where /livez or /readyz is
 *   /health   JSON by component; see health.h for what each status means
 *   /livez    503 when a thread stands still: restart the process
 *   /readyz   503 while stopping, too
 *   /metrics  Prometheus text of all telemetry sets
 *   /histograms  JSON array: {name, labels, count, sum_ns, max_ns, buckets: [[start_ns, count], …]}
 * of every histogram of every set, in full resolution, buckets that hold something only /status
 * JSON for people: shards, stages, exporters, tuner; see status.h /targets  JSON array, a line a
 * server; ?state=down ?name=PART ?limit=N ?offset=N */
struct admin;

struct health_check_settings {
    const char *endpoint; /* localhost:13133 */
    const char *path;     /* "/", the Collector's health answer */
    int64_t connections_max;
    uint64_t request_timeout_ns; /* from connect or last answer to the answer's last byte */
};

extern const struct component health_check_extension;

/* What the admin asks others; called on the admin's thread, must not block. */
struct admin_sources {
    const struct status_board *targets;
    void *owner;
    /* i-th destination: id, whether it is well, and what is wrong; false past the last. */
    bool (*destination)(void *owner, uint32_t index, const char **ret_id, bool *ret_healthy,
                        char *ret_text, size_t text_bytes);
    /* Every thread that should turn has turned within the last seconds. */
    bool (*live)(void *owner, char *ret_text, size_t text_bytes);
    bool (*stopping)(void *owner);
    /* What limits the i-th destination, and what the auto-tuner does, as a JSON object in text that
     * the caller frees (NULL: nothing to say); goes into /status as it is. Each may be NULL. */
    char *(*destination_json)(void *owner, uint32_t index);
    char *(*tuner_json)(void *owner);
};

/* Binds and starts. Settings are read here only, sources are copied; what they point to must live
 * until admin_destroy(). The error names the endpoint and the cure. */
bool admin_create(struct admin **ret_admin, const struct health_check_settings *settings,
                  const struct admin_sources *sources, struct error *error);
void admin_destroy(struct admin **admin);

/* The text of /metrics; also used without a server. Caller frees. */
char *admin_metrics_text(void);

/* The text of /histograms. Caller frees; NULL when out of memory. */
char *admin_histograms_text(void);
