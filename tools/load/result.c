/* SPDX-License-Identifier: Apache-2.0 */
/* An outcome as JSON. Pure but for the file. */
#include "tools/load/result.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "tools/load/files.h"
#include "tools/load/proc.h"
#include "tools/load/views.h"

enum { RESULT_VERSION = 1, DIGITS = 7 };

static json_t *real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *whole(int64_t value)
{
    return value >= 0 ? json_integer(value) : json_null();
}

static json_t *text(const char *value)
{
    return value != NULL ? json_string(value) : json_null();
}

static void set(json_t *object, const char *key, json_t *value)
{
    CHECK(json_object_set_new(object, key, value) == 0);
}

static json_t *machine_json(void)
{
    struct machine machine;
    machine_read(&machine);
    return json_pack("{s:s, s:i, s:s, s:I}", "cpu", machine.cpu, "cores", (int)machine.cores,
                     "kernel", machine.kernel, "memory_mib", (json_int_t)machine.memory_mib);
}

static json_t *options_json(const struct scenario *scenario)
{
    json_t *groups = json_array();
    for (size_t i = 0; i < scenario->groups.count; i++)
        json_array_append_new(groups, json_string(scenario->groups.items[i]));
    return json_pack(
        "{s:I, s:f, s:f, s:o, s:I, s:I, s:I, s:b, s:b, s:s, s:I, s:I, s:I, s:o}", "servers",
        (json_int_t)scenario->servers, "interval_ms", (double)scenario->interval_ns / 1e6,
        "seconds", (double)scenario->for_ns / (double)NS_PER_S, "groups", groups, "tables",
        (json_int_t)scenario->tables, "databases", (json_int_t)scenario->databases, "statements",
        (json_int_t)scenario->statements, "tls", (int)scenario->tls, "backend_tls",
        (int)scenario->backend_tls, "compression", scenario_compressions[scenario->compression],
        "shards", (json_int_t)scenario->shards, "connections", (json_int_t)scenario->connections,
        "seed", (json_int_t)scenario->seed, "slo", text(scenario->slo));
}

static void put_latencies(json_t *summary, const char *name, const struct histogram_view *view)
{
    static const struct {
        const char *suffix;
        double share;
    } rows[] = {{"p50", 0.5},    {"p90", 0.9},      {"p99", 0.99},
                {"p999", 0.999}, {"p9999", 0.9999}, {"max", 1}};
    char key[48];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        snprintf(key, sizeof key, "%s_%s_ms", name, rows[i].suffix);
        set(summary, key, view->count > 0 ? real(view_ms(view, rows[i].share)) : json_null());
    }
}

static json_t *summary_json(const struct outcome *outcome)
{
    const struct figures *figures = &outcome->figures;
    json_t *json = json_object();
    set(json, "servers", json_integer((json_int_t)figures->servers));
    set(json, "seconds", real(figures->seconds));
    set(json, "scrapes", json_integer((json_int_t)figures->scrapes));
    set(json, "expected_scrapes", real(figures->expected_scrapes));
    set(json, "made_percent", real(figures->made_percent));
    set(json, "left_out", json_integer((json_int_t)figures->left_out));
    set(json, "failed", json_integer((json_int_t)figures->failed));
    set(json, "partial", json_integer((json_int_t)figures->partial));
    set(json, "points", json_integer((json_int_t)figures->points));
    set(json, "points_per_s", real(figures->points_per_s));
    put_latencies(json, "lag", &outcome->lag);
    put_latencies(json, "age", &outcome->age);
    put_latencies(json, "scrape", &outcome->scrape);
    put_latencies(json, "sink_age", &outcome->sink_age);
    set(json, "age_source", json_string(outcome->age_source));
    set(json, "lost", whole(figures->lost));
    set(json, "doubled", whole(figures->doubled));
    set(json, "void", json_integer((json_int_t)figures->voided));
    set(json, "rejected", json_integer((json_int_t)figures->rejected));
    set(json, "dropped", json_integer((json_int_t)figures->dropped));
    set(json, "skipped", json_integer((json_int_t)figures->skipped));
    set(json, "omitted", json_integer((json_int_t)figures->omitted));
    set(json, "cpu_us_per_point", real(figures->cpu_us_per_point));
    set(json, "cpu_us_per_scrape", real(figures->cpu_us_per_scrape));
    set(json, "cpu_cores", real(figures->cpu_cores));
    set(json, "rss_mib", real(figures->rss_mib));
    set(json, "rss_baseline_mib", real(figures->rss_baseline_mib));
    set(json, "rss_kib_per_server", real(figures->rss_kib_per_server));
    set(json, "connections", json_integer((json_int_t)figures->connections));
    set(json, "series", json_integer((json_int_t)figures->series));
    set(json, "bytes_per_point", real(figures->bytes_per_point));
    set(json, "bytes_per_s", real(figures->bytes_per_s));
    set(json, "requests_per_s", real(figures->requests_per_s));
    set(json, "server_bytes_per_s", real(figures->server_bytes_per_s));
    set(json, "syscalls_per_scrape", real(figures->syscalls_per_scrape));
    set(json, "background_cores", real(figures->background_cores));
    return json;
}

static json_t *cpu_json(const struct outcome *outcome)
{
    json_t *json = json_array();
    for (uint32_t i = 0; i < outcome->thread_count; i++)
        json_array_append_new(json,
                              json_pack("{s:s, s:f}", "thread", outcome->threads[i].name, "seconds",
                                        (double)outcome->threads[i].cpu_ns / (double)NS_PER_S));
    return json;
}

static json_t *others_json(const struct outcome *outcome)
{
    json_t *json = json_array();
    for (uint32_t i = 0; i < outcome->other_count; i++)
        json_array_append_new(
            json, json_pack("{s:s, s:f, s:f}", "program", outcome->others[i].program, "cpu_cores",
                            outcome->others[i].cpu_cores, "rss_mib", outcome->others[i].rss_mib));
    return json;
}

static json_t *timeline_json(const struct outcome *outcome)
{
    json_t *json = json_array();
    for (size_t i = 0; i < outcome->moment_count; i++) {
        const struct moment *moment = &outcome->moments[i];
        json_array_append_new(
            json, json_pack("{s:f, s:I, s:f, s:f, s:f, s:f, s:f, s:I, s:o, s:s}", "t", moment->t_s,
                            "servers", (json_int_t)moment->servers, "points_per_s",
                            moment->points_per_s, "lag_p99_ms", moment->lag_p99_ms, "age_p99_ms",
                            moment->age_p99_ms, "cpu_cores", moment->cpu_cores, "rss_mib",
                            moment->rss_mib, "connections", (json_int_t)moment->connections,
                            "descriptors", whole(moment->descriptors), "phase", moment->phase));
    }
    return json;
}

static json_t *lists_json(const struct outcome *outcome, json_t *root)
{
    json_t *phases = json_array(), *steps = json_array(), *checks = json_array(),
           *notes = json_array();
    for (size_t i = 0; i < outcome->span_count; i++)
        json_array_append_new(phases,
                              json_pack("{s:s, s:f, s:f}", "name", outcome->spans[i].name, "from_s",
                                        outcome->spans[i].from_s, "to_s", outcome->spans[i].to_s));
    for (size_t i = 0; i < outcome->step_count; i++) {
        const struct step *step = &outcome->steps[i];
        json_array_append_new(
            steps, json_pack("{s:I, s:f, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:s}", "servers",
                             (json_int_t)step->servers, "interval_s", step->interval_s,
                             "points_per_s", real(step->points_per_s), "lag_p99_ms",
                             real(step->lag_p99_ms), "age_p99_ms", real(step->age_p99_ms),
                             "cpu_cores", real(step->cpu_cores), "rss_mib", real(step->rss_mib),
                             "lost", whole(step->lost), "ok", (int)step->ok, "why", step->why));
    }
    for (uint32_t i = 0; i < outcome->check_count; i++)
        json_array_append_new(checks, json_pack("{s:s, s:b, s:s}", "name", outcome->checks[i].name,
                                                "ok", (int)outcome->checks[i].ok, "detail",
                                                outcome->checks[i].detail));
    for (uint32_t i = 0; i < outcome->note_count; i++)
        json_array_append_new(notes, json_string(outcome->notes[i]));
    set(root, "phases", phases);
    set(root, "steps", steps);
    set(root, "checks", checks);
    set(root, "notes", notes);
    return root;
}

static json_t *slopes_json(const struct slopes *slopes)
{
    if (!slopes->known)
        return json_null();
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f}", "rss_kib_per_h", slopes->rss_kib_per_h,
                     "descriptors_per_h", slopes->descriptors_per_h, "lag_ms_per_h",
                     slopes->lag_ms_per_h, "rss_error_kib_per_h", slopes->rss_error_kib_per_h,
                     "descriptors_error_per_h", slopes->descriptors_error_per_h,
                     "lag_error_ms_per_h", slopes->lag_error_ms_per_h);
}

json_t *result_json(const struct result_head *head, const struct outcome *outcome)
{
    json_t *json = json_object();
    CHECK(json != NULL);
    set(json, "version", json_integer(RESULT_VERSION));
    set(json, "name", json_string(head->scenario->name));
    set(json, "kind", json_string(scenario_kinds[head->scenario->kind]));
    set(json, "started", json_string(outcome->started));
    set(json, "command", text(head->command));
    set(json, "commit", text(head->commit));
    set(json, "machine", machine_json());
    set(json, "options", options_json(head->scenario));
    set(json, "summary", summary_json(outcome));
    set(json, "cpu", cpu_json(outcome));
    set(json, "others", others_json(outcome));
    json_t *histograms = json_object();
    set(histograms, "lag", view_json(&outcome->lag));
    set(histograms, "age", view_json(&outcome->age));
    set(histograms, "scrape", view_json(&outcome->scrape));
    set(histograms, "delivery", view_json(&outcome->delivery));
    set(histograms, "sink_age", view_json(&outcome->sink_age));
    set(json, "histograms", histograms);
    set(json, "timeline", timeline_json(outcome));
    set(json, "slopes", slopes_json(&outcome->slopes));
    return lists_json(outcome, json);
}

bool result_write(const struct result_head *head, const struct outcome *outcome, const char *path,
                  struct error *error)
{
    json_t *json = result_json(head, outcome);
    char *dumped = json_dumps(json, JSON_INDENT(1) | JSON_REAL_PRECISION(DIGITS));
    json_decref(json);
    CHECK(dumped != NULL);
    bool written = files_write(path, dumped, strlen(dumped), error);
    free(dumped);
    return written;
}
