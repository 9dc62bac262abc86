/* SPDX-License-Identifier: Apache-2.0 */
/* Health by component: threads, servers, exporters; health.h says what counts as what.
 *
 * Thread: the admin's; everything is read from counters and status boards. */
#include "admin/health.h"

#include <stdio.h>
#include <string.h>

#include <pgweir/telemetry.h>

#include "admin/text.h"

enum { REASON_BYTES = 512 };

static const char *const health_names[] = {"ok", "degraded", "failing", "stopping"};

bool health_live(const struct request *request, char *ret_text, size_t text_bytes)
{
    const struct admin_sources *sources = request->sources;
    ret_text[0] = 0;
    return sources->live == NULL || sources->live(sources->owner, ret_text, text_bytes);
}

bool health_ready(const struct request *request, char *ret_text, size_t text_bytes)
{
    const struct admin_sources *sources = request->sources;
    if (sources->stopping != NULL && sources->stopping(sources->owner)) {
        snprintf(ret_text, text_bytes, "stopping");
        return false;
    }
    return health_live(request, ret_text, text_bytes);
}

char *health_collector_text(const struct request *request, bool available)
{
    char since[32] = "0001-01-01T00:00:00Z", uptime[48] = "";
    if (available) {
        time_text(request->started_wall_ns, since);
        uint64_t age_ns = request->now_wall_ns > request->started_wall_ns
                              ? request->now_wall_ns - request->started_wall_ns
                              : 0;
        duration_text(age_ns, uptime);
    }
    json_t *body = json_pack("{s:s, s:s, s:s}", "status",
                             available ? "Server available" : "Server not available", "upSince",
                             since, "uptime", uptime);
    char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    return text;
}

static enum health worse(enum health one, enum health two)
{
    return one > two ? one : two;
}

/* A component's object: its status, and the reason where there is one. */
static json_t *component_json(enum health health, const char *reason)
{
    json_t *object = json_pack("{s:s}", "status", health_names[health]);
    if (*reason != 0)
        json_object_set_new(object, "error", json_text(reason));
    return object;
}

static json_t *threads_json(const struct request *request, enum health *health)
{
    char reason[REASON_BYTES];
    bool live = health_live(request, reason, sizeof reason);
    *health = live ? HEALTH_OK : HEALTH_FAILING;
    return component_json(*health, reason);
}

static json_t *targets_json(const struct request *request, enum health *health)
{
    const struct status_board *board = request->sources->targets;
    size_t counts[] = {
        [TARGET_UNKNOWN] = 0, [TARGET_UP] = 0, [TARGET_DEGRADED] = 0, [TARGET_DOWN] = 0};
    size_t total = board != NULL ? board->count : 0;
    for (size_t i = 0; i < total; i++) {
        struct target_status status;
        status_read(&board->slots[i], &status);
        counts[status.state]++;
    }
    *health = counts[TARGET_DEGRADED] + counts[TARGET_DOWN] > 0 ? HEALTH_DEGRADED : HEALTH_OK;
    json_t *object = component_json(*health, "");
    json_object_set_new(object, "total", json_integer((json_int_t)total));
    for (int state = TARGET_UNKNOWN; state <= TARGET_DOWN; state++)
        json_object_set_new(object, target_state_name((enum target_state)state),
                            json_integer((json_int_t)counts[state]));
    return object;
}

/* The telemetry set of an exporter; NULL before its first batch. */
static const struct telemetry_set *exporter_set(const char *id)
{
    for (const struct telemetry_set *set = telemetry_first(); set != NULL; set = set->next)
        if (set->owner == TELEMETRY_DESTINATION && set->label_count > 0 &&
            strcmp(set->labels[0].value, id) == 0)
            return set;
    return NULL;
}

static json_t *exporter_json(const char *id, bool healthy, const char *reason, enum health *health)
{
    uint64_t values[TELEMETRY_VALUE_COUNT] = {0};
    const struct telemetry_set *set = exporter_set(id);
    if (set != NULL)
        telemetry_snapshot(set, values);
    uint64_t batches = values[TELEMETRY_QUEUE_BATCHES];
    uint64_t capacity = values[TELEMETRY_QUEUE_CAPACITY];
    bool full = capacity > 0 && batches >= capacity;
    *health = healthy ? HEALTH_OK : full ? HEALTH_FAILING : HEALTH_DEGRADED;
    json_t *object = component_json(*health, healthy ? "" : reason);
    if (set != NULL) {
        json_object_set_new(object, "queued_batches", json_integer((json_int_t)batches));
        json_object_set_new(object, "queue_capacity", json_integer((json_int_t)capacity));
        json_object_set_new(object, "queued_points",
                            json_integer((json_int_t)values[TELEMETRY_POINTS_QUEUED]));
    }
    return object;
}

static json_t *exporters_json(const struct request *request, enum health *health)
{
    const struct admin_sources *sources = request->sources;
    json_t *object = json_object();
    const char *id;
    bool healthy;
    char reason[REASON_BYTES] = "";
    *health = HEALTH_OK;
    for (uint32_t i = 0;
         sources->destination != NULL &&
         sources->destination(sources->owner, i, &id, &healthy, reason, sizeof reason);
         i++) {
        enum health own;
        json_object_set_new(object, id, exporter_json(id, healthy, reason, &own));
        *health = worse(*health, own);
        reason[0] = 0;
    }
    return object;
}

char *health_text(const struct request *request, enum health *ret_health)
{
    enum health threads, targets, exporters;
    char since[32], reason[REASON_BYTES];
    json_t *components = json_object();
    json_object_set_new(components, "threads", threads_json(request, &threads));
    json_object_set_new(components, "targets", targets_json(request, &targets));
    json_object_set_new(components, "exporters", exporters_json(request, &exporters));
    bool live = threads == HEALTH_OK;
    *ret_health = worse(threads, worse(targets, exporters));
    if (live && !health_ready(request, reason, sizeof reason))
        *ret_health = HEALTH_STOPPING;
    time_text(request->started_wall_ns, since);
    json_t *body = json_pack("{s:s, s:s, s:s, s:o}", "status", health_names[*ret_health], "version",
                             PGWEIR_VERSION, "upSince", since, "components", components);
    char *text = json_dumps(body, JSON_INDENT(2));
    json_decref(body);
    return text;
}
