/* SPDX-License-Identifier: Apache-2.0 */
/* Asks everybody once. The order matters: the kernel's CPU figures and the collector's counters, of
 * which ratios are made, are read one right after the other, and the long answers come last.
 *
 * Main thread. */
#include "tools/load/sample.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "tools/load/ask.h"
#include "tools/load/views.h"

double metrics_sum(const char *text, const char *name, const char *label)
{
    double sum = 0;
    size_t name_bytes = strlen(name);
    for (const char *line = text; line != NULL && *line != 0;) {
        const char *end = strchr(line, '\n');
        size_t bytes = end != NULL ? (size_t)(end - line) : strlen(line);
        if (bytes > name_bytes && strncmp(line, name, name_bytes) == 0 &&
            (line[name_bytes] == '{' || line[name_bytes] == ' ')) {
            const char *found = *label != 0 ? strstr(line, label) : line;
            const char *value = memrchr(line, ' ', bytes);
            if (found != NULL && found < line + bytes && value != NULL)
                sum += strtod(value + 1, NULL);
        }
        line = end != NULL ? end + 1 : NULL;
    }
    return sum;
}

static uint64_t metric(const char *text, const char *name, const char *label)
{
    double sum = metrics_sum(text, name, label);
    return sum > 0 ? (uint64_t)(sum + 0.5) : 0;
}

bool sample_read_metrics(const char *text, struct collector_sample *ret_sample)
{
    if (strstr(text, "pgweir_build_info") == NULL)
        return false;
    *ret_sample = (struct collector_sample){
        .known = true,
        .scrapes_ok = metric(text, "pgweir_scrapes_total", "result=\"ok\""),
        .scrapes_partial = metric(text, "pgweir_scrapes_total", "result=\"partial\""),
        .scrapes_failed = metric(text, "pgweir_scrapes_total", "result=\"failed\""),
        .scrapes_skipped = metric(text, "pgweir_scrapes_total", "result=\"skipped\""),
        .left_out = metric(text, "pgweir_stretch_left_out_total", ""),
        .targets_up = metric(text, "pgweir_targets", "state=\"up\""),
        .connections = metric(text, "pgweir_connections", "state=\"open\""),
        .series = metric(text, "pgweir_attribute_sets", ""),
        .collected = metric(text, "pgweir_exporter_collected_points_total", ""),
        .delivered = metric(text, "pgweir_exporter_delivered_points_total", ""),
        .recovered = metric(text, "pgweir_exporter_recovered_points_total", ""),
        .queued = metric(text, "pgweir_exporter_queued_points", ""),
        .spooled = metric(text, "pgweir_exporter_spooled_points", ""),
        .dropped = metric(text, "pgweir_exporter_dropped_points_total", ""),
        .rejected = metric(text, "pgweir_exporter_dropped_points_total", "reason=\"rejected\""),
        .requests_ok = metric(text, "pgweir_exporter_requests_total", "result=\"ok\""),
        .bytes_sent = metric(text, "pgweir_exporter_sent_bytes_total", ""),
        .bytes_encoded = metric(text, "pgweir_exporter_encoded_bytes_total", ""),
        .io_uring = metric(text, "pgweir_loop_io_uring", "") > 0,
    };
    ret_sample->requests_failed =
        metric(text, "pgweir_exporter_requests_total", "") - ret_sample->requests_ok;
    return true;
}

bool sample_read_histograms(const char *text, struct sample *ret_sample)
{
    const struct {
        const char *name;
        struct histogram_view *view;
    } wanted[] = {
        {"pgweir.schedule.lag", &ret_sample->lag},
        {"pgweir.delivery.age", &ret_sample->age},
        {"pgweir.scrape.duration", &ret_sample->scrape},
        {"pgweir.request.duration", &ret_sample->delivery},
    };
    json_t *all = json_loads(text, 0, NULL), *entry;
    size_t i;
    bool good = json_is_array(all);
    for (size_t w = 0; w < sizeof wanted / sizeof wanted[0]; w++)
        memset(wanted[w].view, 0, sizeof *wanted[w].view);
    json_array_foreach(all, i, entry)
    {
        const char *name = json_string_value(json_object_get(entry, "name"));
        for (size_t w = 0; name != NULL && w < sizeof wanted / sizeof wanted[0]; w++)
            if (strcmp(name, wanted[w].name) == 0)
                good &= view_add_json(wanted[w].view, entry);
    }
    json_decref(all);
    ret_sample->views_known = good;
    return good;
}

static uint64_t whole(const json_t *object, const char *key)
{
    double value = json_number_value(json_object_get(object, key));
    return value > 0 ? (uint64_t)value : 0;
}

bool sample_read_sink(const char *text, struct sample *ret_sample)
{
    json_t *report = json_loads(text, 0, NULL);
    if (!json_is_object(report)) {
        json_decref(report);
        return false;
    }
    const json_t *ledger = json_object_get(report, "ledger");
    ret_sample->sink = (struct sink_sample){
        .known = true,
        .has_ledger = json_is_object(ledger),
        .requests = whole(report, "requests"),
        .accepted = whole(report, "accepted"),
        .points = whole(report, "accepted_points"),
        .bytes = whole(report, "bytes"),
        .taken_points = whole(report, "taken_points"),
        .own_points = whole(report, "own_points"),
        .distinct = whole(ledger, "distinct"),
        .doubled = whole(ledger, "doubled"),
        .gaps = whole(ledger, "gaps"),
        .excused = whole(ledger, "doubled_excused"),
        .unproven = whole(ledger, "unproven"),
        .unproven_points = whole(ledger, "unproven_points"),
        .undecided = whole(ledger, "undecided"),
    };
    memset(&ret_sample->sink_age, 0, sizeof ret_sample->sink_age);
    const json_t *age = json_object_get(report, "age");
    ret_sample->sink_age_known = json_is_object(age) && view_add_json(&ret_sample->sink_age, age);
    json_decref(report);
    return true;
}

bool sample_read_sim(const char *text, struct sim_sample *ret_sample)
{
    json_t *report = json_loads(text, 0, NULL);
    bool good = json_is_object(report) && json_object_get(report, "values") != NULL;
    if (good)
        *ret_sample = (struct sim_sample){
            .known = true,
            .connections = whole(report, "connections_open"),
            .scrapes = whole(report, "scrapes"),
            .values = whole(report, "values"),
            .void_values = whole(report, "void_values"),
            .bytes_out = whole(report, "bytes_out"),
            .bytes_in = whole(report, "bytes_in"),
            .syscalls = whole(report, "syscalls"),
            .rss_kib = whole(report, "rss_kib"),
            .cpu_s = json_number_value(json_object_get(report, "cpu_seconds")),
        };
    json_decref(report);
    return good;
}

/* The body of GET path, or NULL. */
static char *get(const char *place, const char *path, uint64_t timeout_ns)
{
    struct error ignored;
    char *text = NULL;
    const struct ask ask = {
        .place = place, .method = "GET", .path = path, .timeout_ns = timeout_ns};
    return ask_http(&ask, &text, &ignored) ? text : NULL;
}

static uint64_t own_cpu_ns(void)
{
    struct timespec time;
    return clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) == 0
               ? (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec
               : 0;
}

void sample_take(const struct sample_sources *sources, struct sample *ret_sample)
{
    struct error ignored;
    memset(ret_sample, 0, sizeof *ret_sample);
    char *metrics =
        sources->admin != NULL ? get(sources->admin, "/metrics", sources->timeout_ns) : NULL;
    ret_sample->at_ns = clock_monotonic_ns();
    ret_sample->busy_ns = machine_busy_ns();
    ret_sample->own_ns = own_cpu_ns();
    if (sources->collector != 0)
        proc_read(sources->collector, sources->collector_group, &ret_sample->collector_process);
    if (metrics != NULL)
        sample_read_metrics(metrics, &ret_sample->collector);
    free(metrics);
    char *text =
        sources->admin != NULL ? get(sources->admin, "/histograms", sources->timeout_ns) : NULL;
    if (text != NULL)
        sample_read_histograms(text, ret_sample);
    free(text);
    if (sources->sim != 0)
        proc_read(sources->sim, false, &ret_sample->sim_process);
    if (sources->sink != 0)
        proc_read(sources->sink, false, &ret_sample->sink_process);
    text = sources->sink_place != NULL ? get(sources->sink_place, "/report", sources->timeout_ns)
                                       : NULL;
    if (text != NULL)
        sample_read_sink(text, ret_sample);
    free(text);
    text = NULL;
    if (sources->sim_socket != NULL &&
        ask_socket(sources->sim_socket, "report\n", sources->timeout_ns, &text, &ignored))
        sample_read_sim(text, &ret_sample->sim);
    free(text);
}
