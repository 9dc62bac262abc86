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

json_t *health_targets_json(const struct request *request, enum health *health)
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

const struct telemetry_set *health_exporter_set(const char *id)
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
    const struct telemetry_set *set = health_exporter_set(id);
    if (set != NULL)
        telemetry_snapshot(set, values);
    uint64_t batches = values[TELEMETRY_QUEUE_BATCHES];
    uint64_t capacity = values[TELEMETRY_QUEUE_CAPACITY];
    /* A full memory costs nothing where the disk has all that is in it. */
    bool full = capacity > 0 && batches >= capacity && values[TELEMETRY_SPOOL_WORKING] == 0;
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

bool health_exporter(const struct request *request, uint32_t index,
                     struct exporter_health *ret_health)
{
    const struct admin_sources *sources = request->sources;
    ret_health->reason[0] = 0;
    return sources->destination != NULL &&
           sources->destination(sources->owner, index, &ret_health->id, &ret_health->healthy,
                                ret_health->reason, sizeof ret_health->reason);
}

static json_t *exporters_json(const struct request *request, enum health *health)
{
    json_t *object = json_object();
    struct exporter_health exporter;
    *health = HEALTH_OK;
    for (uint32_t i = 0; health_exporter(request, i, &exporter); i++) {
        enum health own;
        json_object_set_new(object, exporter.id,
                            exporter_json(exporter.id, exporter.healthy, exporter.reason, &own));
        *health = worse(*health, own);
    }
    return object;
}

const char *health_name(enum health health)
{
    return health_names[health];
}

/* Fills the components' objects; what they come to together. */
static enum health judge(const struct request *request, json_t *components)
{
    enum health threads, targets, exporters;
    char reason[REASON_BYTES];
    json_object_set_new(components, "threads", threads_json(request, &threads));
    json_object_set_new(components, "targets", health_targets_json(request, &targets));
    json_object_set_new(components, "exporters", exporters_json(request, &exporters));
    if (threads == HEALTH_OK && !health_ready(request, reason, sizeof reason))
        return HEALTH_STOPPING;
    return worse(threads, worse(targets, exporters));
}

enum health health_overall(const struct request *request)
{
    json_t *components = json_object();
    enum health health = judge(request, components);
    json_decref(components);
    return health;
}

char *health_text(const struct request *request, enum health *ret_health)
{
    char since[32];
    json_t *components = json_object();
    *ret_health = judge(request, components);
    time_text(request->started_wall_ns, since);
    json_t *body = json_pack("{s:s, s:s, s:s, s:o}", "status", health_names[*ret_health], "version",
                             PGWEIR_VERSION, "upSince", since, "components", components);
    char *text = json_dumps(body, JSON_INDENT(2));
    json_decref(body);
    return text;
}
