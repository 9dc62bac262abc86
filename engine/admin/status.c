/* SPDX-License-Identifier: Apache-2.0 */
/* /status, put together from the telemetry sets (names and labels are those of the one catalogue,
 * so that a new row shows up here by itself), the status board, and what the exporters say in JSON
 * of their own. Values of one set are of one instant.
 *
 * Thread: the admin's. */
#include "admin/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pgweir/telemetry.h>

#include "admin/health.h"
#include "admin/recent.h"
#include "admin/text.h"
#include "base/clock.h"
#include "base/memory.h"

/* Behind the part of a name that says no more than where it stands. */
static const char *short_name(const char *name)
{
    static const char *const parts[] = {"pgweir.", "exporter."};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (strncmp(name, parts[i], strlen(parts[i])) == 0)
            name += strlen(parts[i]);
    return name;
}

/* Rows with a label stand under their name: "scrapes": {"ok": 5, "failed": 0}. */
static void put_values(json_t *object, enum telemetry_owner owner, const uint64_t *values)
{
    for (size_t i = 0; i < TELEMETRY_VALUE_COUNT; i++) {
        const struct telemetry_value_info *info = &telemetry_values[i];
        if (info->owner != owner)
            continue;
        const char *name = short_name(info->name);
        json_t *value = json_integer((json_int_t)values[i]);
        if (*info->label == 0) {
            json_object_set_new(object, name, value);
            continue;
        }
        json_t *group = json_object_get(object, name);
        if (group == NULL) {
            group = json_object();
            json_object_set_new(object, name, group);
        }
        json_object_set_new(group, info->label_value, value);
    }
}

static json_t *json_ms(uint64_t ns)
{
    return json_real((double)(ns / NS_PER_US) / 1e3);
}

static json_t *latency_json(const struct histogram_view *view)
{
    return json_pack("{s:I, s:o, s:o, s:o, s:o}", "count", (json_int_t)view->count, "p50_ms",
                     json_ms(histogram_quantile(view, 0.5)), "p90_ms",
                     json_ms(histogram_quantile(view, 0.9)), "p99_ms",
                     json_ms(histogram_quantile(view, 0.99)), "max_ms", json_ms(view->max_ns));
}

/* Of one set, or of all (NULL). */
static json_t *stage_json(const struct request *request, const struct telemetry_set *set,
                          enum telemetry_histogram histogram)
{
    struct histogram_view *view = xcalloc(1, sizeof *view);
    json_t *stage = json_object();
    recent_read(request->recent, set, histogram, view);
    json_object_set_new(stage, "last_minute", latency_json(view));
    memset(view, 0, sizeof *view);
    if (set == NULL)
        telemetry_merge(histogram, view);
    else
        histogram_merge(view, set->histograms[histogram]);
    json_object_set_new(stage, "all", latency_json(view));
    free(view);
    return stage;
}

/* Those of the set's owner; all where `set` is NULL. */
static json_t *stages_json(const struct request *request, const struct telemetry_set *set)
{
    json_t *stages = json_object();
    for (int i = 0; i < TELEMETRY_HISTOGRAM_COUNT; i++)
        if (set == NULL || telemetry_histograms[i].owner == set->owner)
            json_object_set_new(stages, short_name(telemetry_histograms[i].name),
                                stage_json(request, set, (enum telemetry_histogram)i));
    return stages;
}

static json_t *shard_json(const struct request *request, const struct telemetry_set *set)
{
    uint64_t values[TELEMETRY_VALUE_COUNT];
    telemetry_snapshot(set, values);
    json_t *shard = json_pack("{s:o, s:s, s:o}", "shard", json_text(set->labels[0].value), "loop",
                              values[TELEMETRY_LOOP_URING] != 0 ? "io_uring" : "epoll", "lag",
                              stage_json(request, set, TELEMETRY_HISTOGRAM_LAG));
    put_values(shard, TELEMETRY_SHARD, values);
    return shard;
}

/* In the order of their labels: sets are listed newest first. */
static json_t *shards_json(const struct request *request)
{
    json_t *shards = json_array();
    for (const struct telemetry_set *set = telemetry_first(); set != NULL; set = set->next)
        if (set->owner == TELEMETRY_SHARD)
            json_array_insert_new(shards, 0, shard_json(request, set));
    return shards;
}

/* What came in is what went out, is held, or was given up and why. */
static json_t *identity_json(const uint64_t *values)
{
    uint64_t in = values[TELEMETRY_POINTS_COLLECTED_FOR] + values[TELEMETRY_POINTS_RECOVERED];
    uint64_t out = values[TELEMETRY_POINTS_DELIVERED] + values[TELEMETRY_POINTS_QUEUED] +
                   values[TELEMETRY_POINTS_SPOOLED];
    json_t *dropped = json_object();
    for (size_t i = 0; i < TELEMETRY_VALUE_COUNT; i++) {
        const struct telemetry_value_info *info = &telemetry_values[i];
        if (strcmp(info->name, "pgweir.exporter.dropped_points") != 0)
            continue;
        out += values[i];
        if (values[i] != 0)
            json_object_set_new(dropped, info->label_value, json_integer((json_int_t)values[i]));
    }
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:o, s:b}", "collected",
                     (json_int_t)values[TELEMETRY_POINTS_COLLECTED_FOR], "recovered",
                     (json_int_t)values[TELEMETRY_POINTS_RECOVERED], "delivered",
                     (json_int_t)values[TELEMETRY_POINTS_DELIVERED], "queued",
                     (json_int_t)values[TELEMETRY_POINTS_QUEUED], "spooled",
                     (json_int_t)values[TELEMETRY_POINTS_SPOOLED], "dropped", dropped, "holds",
                     (int)(in == out));
}

/* Joins an object that somebody else wrote; `text` may be NULL and is freed. */
static void join_text(json_t *object, char *text)
{
    json_t *more = text != NULL ? json_loads(text, 0, NULL) : NULL;
    if (json_is_object(more))
        json_object_update_missing(object, more);
    json_decref(more);
    free(text);
}

static json_t *exporter_json(const struct request *request, uint32_t index, const char *id)
{
    const struct admin_sources *sources = request->sources;
    json_t *exporter = json_object();
    const struct telemetry_set *set = health_exporter_set(id);
    if (sources->destination_json != NULL)
        join_text(exporter, sources->destination_json(sources->owner, index));
    if (set == NULL)
        return exporter;
    uint64_t values[TELEMETRY_VALUE_COUNT];
    telemetry_snapshot(set, values);
    json_object_set_new(exporter, "identity", identity_json(values));
    json_t *counts = json_object();
    put_values(counts, TELEMETRY_DESTINATION, values);
    json_object_set_new(exporter, "counts", counts);
    json_object_set_new(exporter, "stages", stages_json(request, set));
    return exporter;
}

static json_t *exporters_json(const struct request *request)
{
    json_t *exporters = json_object();
    struct exporter_health health;
    for (uint32_t i = 0; health_exporter(request, i, &health); i++) {
        json_t *exporter = json_pack("{s:b}", "healthy", (int)health.healthy);
        if (!health.healthy)
            json_object_set_new(exporter, "error", json_text(health.reason));
        json_t *rest = exporter_json(request, i, health.id);
        json_object_update_missing(exporter, rest);
        json_decref(rest);
        json_object_set_new(exporters, health.id, exporter);
    }
    return exporters;
}

char *status_text(const struct request *request)
{
    const struct admin_sources *sources = request->sources;
    enum health targets;
    char since[32];
    recent_turn(request->recent, true, clock_monotonic_ns());
    time_text(request->started_wall_ns, since);
    uint64_t up_ns = request->now_wall_ns > request->started_wall_ns
                         ? request->now_wall_ns - request->started_wall_ns
                         : 0;
    json_t *body =
        json_pack("{s:s, s:s, s:I, s:s}", "version", PGWEIR_VERSION, "started", since, "uptime_s",
                  (json_int_t)(up_ns / NS_PER_S), "status", health_name(health_overall(request)));
    json_object_set_new(body, "targets", health_targets_json(request, &targets));
    json_object_set_new(body, "shards", shards_json(request));
    json_object_set_new(body, "stages", stages_json(request, NULL));
    json_object_set_new(body, "exporters", exporters_json(request));
    json_t *tuner = json_object();
    if (sources->tuner_json != NULL)
        join_text(tuner, sources->tuner_json(sources->owner));
    json_object_set_new(body, "tuner", tuner);
    char *text = json_dumps(body, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
    json_decref(body);
    return text;
}
