/* SPDX-License-Identifier: Apache-2.0 */
/* What the sink has seen, for machines (JSON; keys are described in docs/sink.md) and for people.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "tools/sink/sink_state.h"

static void set(json_t *object, const char *key, uint64_t value)
{
    CHECK(json_object_set_new(object, key, json_integer((json_int_t)value)) == 0);
}

static void set_real(json_t *object, const char *key, double value)
{
    CHECK(json_object_set_new(object, key, json_real(value)) == 0);
}

static void set_text(json_t *object, const char *key, const char *value)
{
    json_t *text = json_string(value);
    CHECK(json_object_set_new(object, key, text != NULL ? text : json_string("?")) == 0);
}

static double seconds(uint64_t ns)
{
    return (double)ns / (double)NS_PER_S;
}

/* From the first request to the last. */
static double points_per_s(const struct sink *sink)
{
    uint64_t ns = sink->last_request_ns - sink->first_request_ns;
    return ns > 0 ? (double)sink->received.points / seconds(ns) : 0;
}

static struct histogram_view *view_of(const struct histogram *histogram)
{
    struct histogram_view *view = xcalloc(1, sizeof *view);
    histogram_merge(view, histogram);
    return view;
}

static double quantile_ms(const struct histogram_view *view, double share)
{
    return (double)histogram_quantile(view, share) / (double)NS_PER_MS;
}

static json_t *age_json(const struct sink *sink)
{
    struct histogram_view *view = view_of(sink->age);
    json_t *age = json_object(), *buckets = json_array();
    set(age, "count", view->count);
    set_real(age, "p50_ms", quantile_ms(view, 0.5));
    set_real(age, "p90_ms", quantile_ms(view, 0.9));
    set_real(age, "p99_ms", quantile_ms(view, 0.99));
    set_real(age, "p999_ms", quantile_ms(view, 0.999));
    set_real(age, "p9999_ms", quantile_ms(view, 0.9999));
    set_real(age, "max_ms", (double)view->max_ns / (double)NS_PER_MS);
    set(age, "max_ns", view->max_ns);
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        if (view->buckets[i] > 0)
            json_array_append_new(buckets, json_pack("[I,I]", (json_int_t)histogram_bucket_start(i),
                                                     (json_int_t)view->buckets[i]));
    json_object_set_new(age, "buckets", buckets);
    free(view);
    return age;
}

static json_t *ledger_json(struct ledger *ledger)
{
    struct ledger_counts counts = ledger_counts(ledger);
    json_t *object = json_object(), *doubled = json_array(), *gaps = json_array();
    json_t *unproven = json_array();
    set(object, "series", counts.series);
    set(object, "points", counts.points);
    set(object, "distinct", counts.distinct);
    set(object, "doubled", counts.doubled);
    set(object, "doubled_excused", counts.doubled_excused);
    set(object, "gaps", counts.gaps);
    set(object, "resets", counts.resets);
    set(object, "unproven", counts.unproven);
    set(object, "unproven_points", counts.unproven_points);
    set(object, "undecided", counts.undecided);
    set(object, "first_arrival_ns", counts.first_arrival_ns);
    set(object, "last_arrival_ns", counts.last_arrival_ns);
    set(object, "bytes", counts.bytes);
    const char *text;
    for (size_t i = 0; (text = ledger_doubled_example(ledger, i)) != NULL; i++)
        json_array_append_new(doubled, json_string(text));
    for (size_t i = 0; (text = ledger_gap_example(ledger, i)) != NULL; i++)
        json_array_append_new(gaps, json_string(text));
    for (size_t i = 0; (text = ledger_unproven_example(ledger, i)) != NULL; i++)
        json_array_append_new(unproven, json_string(text));
    json_object_set_new(object, "doubled_examples", doubled);
    json_object_set_new(object, "unproven_examples", unproven);
    json_object_set_new(object, "gap_examples", gaps);
    return object;
}

/* "500 requests per 1s" */
static void limit_name(const struct script_limit *limit, char text[64])
{
    double amount = limit->requests + limit->points + limit->bytes;
    const char *what = limit->points > 0 ? "points" : limit->bytes > 0 ? "bytes" : "requests";
    if (limit->concurrency > 0)
        snprintf(text, 64, "%" PRId64 " in flight", limit->concurrency);
    else
        snprintf(text, 64, "%.15g %s per %.6gs", amount, what, seconds(limit->per_ns));
}

static uint64_t phase_hits(const struct script_phase *phase, const struct service_stats *stats)
{
    uint64_t hits = stats->over_limit;
    for (size_t i = 0; i < phase->fault_count; i++)
        hits += stats->fault_hits[i];
    return hits;
}

static void add_answered(json_t *object, const struct service_stats *stats)
{
    json_t *answered = json_object();
    char key[8];
    for (int status = 0; status < 600; status++) {
        if (stats->answered[status] == 0)
            continue;
        snprintf(key, sizeof key, "%d", status);
        set(answered, key, stats->answered[status]);
    }
    json_object_set_new(object, "answered", answered);
    set(object, "unanswered", stats->unanswered);
}

static json_t *phase_json(const struct script_phase *phase, const struct service_stats *stats)
{
    json_t *object = json_object(), *faults = json_array(), *limits = json_array();
    char name[64];
    set_text(object, "name", phase->name);
    set(object, "entered", stats->entered);
    set_real(object, "seconds", seconds(stats->ns));
    set(object, "requests", stats->requests);
    set(object, "points", stats->points);
    add_answered(object, stats);
    set(object, "over_limit", stats->over_limit);
    json_object_set_new(object, "violated", json_boolean(stats->over_limit > 0));
    set(object, "waited", stats->waited);
    set(object, "peak_concurrency", stats->peak_concurrency);
    set(object, "peak_per_s", stats->peak_per_s);
    set(object, "hits", phase_hits(phase, stats));
    for (size_t i = 0; i < phase->fault_count; i++) {
        json_t *fault = json_object();
        set_text(fault, "do", script_fault_name((enum script_fault_kind)phase->faults[i].kind));
        set(fault, "hits", stats->fault_hits[i]);
        json_array_append_new(faults, fault);
    }
    for (size_t i = 0; i < phase->limit_count; i++) {
        json_t *limit = json_object();
        limit_name(&phase->limits[i], name);
        set_text(limit, "limit", name);
        set(limit, "over", stats->limit_hits[i]);
        json_array_append_new(limits, limit);
    }
    json_object_set_new(object, "faults", faults);
    json_object_set_new(object, "limits", limits);
    return object;
}

static json_t *phases_json(struct sink *sink, uint64_t now_ns)
{
    const struct script *script = service_script(sink->service);
    json_t *phases = json_array();
    for (uint32_t i = 0; i < script->phase_count; i++)
        json_array_append_new(
            phases, phase_json(&script->phases[i], service_stats(sink->service, i, now_ns)));
    return phases;
}

static json_t *remote_json(const struct sink_remote *remote)
{
    json_t *object = json_object();
    set(object, "requests", remote->requests);
    set(object, "series", remote->series);
    set(object, "samples", remote->samples);
    set(object, "stale", remote->stale);
    return object;
}

static void add_counts(json_t *report, const struct sink *sink)
{
    struct http_stats http = http_server_stats(sink->server);
    set(report, "requests", sink->requests);
    set(report, "accepted", sink->accepted);
    set(report, "refused", sink->refused);
    set(report, "unanswered", sink->unanswered);
    set(report, "connections", http.connections);
    set(report, "connections_open", http.open);
    set(report, "bytes", sink->bytes);
    set(report, "body_bytes", sink->body_bytes);
    set(report, "resources", sink->received.resources);
    set(report, "metrics", sink->received.metrics);
    set(report, "points", sink->received.points);
    set(report, "own_points", sink->received.own_points);
    set(report, "accepted_points", sink->accepted_points);
    set(report, "taken", sink->taken);
    set(report, "taken_points", sink->taken_points);
    set(report, "lost_answers", sink->lost_answers);
    set(report, "lost_answer_points", sink->lost_points);
    set(report, "bad_bodies", sink->bad_bodies);
    set(report, "metric_names", body_name_count(sink->reader));
    set_text(report, "last_problem", sink->problem);
    set_real(report, "points_per_s", points_per_s(sink));
    set_text(report, "loop", http.loop);
    set(report, "syscalls", http.syscalls);
}

char *report_json(struct sink *sink)
{
    uint64_t now_ns = clock_monotonic_ns();
    json_t *report = json_object();
    CHECK(report != NULL);
    http_server_settle(sink->server);
    add_counts(report, sink);
    set_real(report, "seconds", seconds(now_ns - sink->started_ns));
    set_real(report, "cpu_seconds", seconds(clock_thread_cpu_ns()));
    set_text(report, "phase", service_phase(sink->service)->name);
    json_object_set_new(report, "remote_write", remote_json(&sink->remote));
    json_object_set_new(report, "age", age_json(sink));
    if (sink->ledger != NULL)
        json_object_set_new(report, "ledger", ledger_json(sink->ledger));
    json_object_set_new(report, "phases", phases_json(sink, now_ns));
    char *text = json_dumps(report, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    CHECK(text != NULL);
    json_decref(report);
    return text;
}

static void write_phases(FILE *out, struct sink *sink, uint64_t now_ns)
{
    const struct script *script = service_script(sink->service);
    fprintf(out, "\n%-20s %8s %9s %9s %9s %9s %7s %7s\n", "phase", "seconds", "requests", "2xx",
            "other", "none", "over", "peak/s");
    for (uint32_t i = 0; i < script->phase_count; i++) {
        const struct service_stats *stats = service_stats(sink->service, i, now_ns);
        uint64_t good = 0, other = 0;
        for (int status = 0; status < 600; status++)
            *(status / 100 == 2 ? &good : &other) += stats->answered[status];
        fprintf(out,
                "%-20.20s %8.1f %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %7" PRIu64
                " %7" PRIu64 "%s\n",
                script->phases[i].name, seconds(stats->ns), stats->requests, good, other,
                stats->unanswered, stats->over_limit, stats->peak_per_s,
                i == service_current(sink->service) ? "  <- now" : "");
    }
}

static void write_ledger(FILE *out, struct ledger *ledger)
{
    struct ledger_counts counts = ledger_counts(ledger);
    const char *text;
    fprintf(out,
            "\nledger      %" PRIu64 " series, %" PRIu64 " different points, missing %" PRIu64
            ", doubled %" PRIu64 " (%" PRIu64 " excused), resets %" PRIu64
            ", unproven series %" PRIu64 "\n",
            counts.series, counts.distinct, counts.gaps, counts.doubled, counts.doubled_excused,
            counts.resets, counts.unproven);
    for (size_t i = 0; (text = ledger_gap_example(ledger, i)) != NULL; i++)
        fprintf(out, "  %s\n", text);
    for (size_t i = 0; (text = ledger_doubled_example(ledger, i)) != NULL; i++)
        fprintf(out, "  %s\n", text);
    for (size_t i = 0; (text = ledger_unproven_example(ledger, i)) != NULL; i++)
        fprintf(out, "  %s\n", text);
}

char *report_text(struct sink *sink)
{
    uint64_t now_ns = clock_monotonic_ns();
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    CHECK(out != NULL);
    http_server_settle(sink->server);
    struct http_stats http = http_server_stats(sink->server);
    struct histogram_view *age = view_of(sink->age);
    fprintf(out, "pgweir-sink %s, up %.0f s, %s\n\n", PGWEIR_VERSION,
            seconds(now_ns - sink->started_ns), http.loop);
    fprintf(out,
            "requests    %" PRIu64 ": accepted %" PRIu64 ", refused %" PRIu64
            ", unanswered %" PRIu64 "; connections %" PRIu64 " (%" PRIu64 " open)\n",
            sink->requests, sink->accepted, sink->refused, sink->unanswered, http.connections,
            http.open);
    fprintf(out, "points      %" PRIu64 " (%.0f/s), taken %" PRIu64 ", of %u metric names\n",
            sink->received.points, points_per_s(sink), sink->taken_points,
            body_name_count(sink->reader));
    fprintf(out, "bytes       %" PRIu64 " sent, %" PRIu64 " unpacked\n", sink->bytes,
            sink->body_bytes);
    fprintf(out, "bad bodies  %" PRIu64 "%s%s\n", sink->bad_bodies,
            sink->problem[0] != '\0' ? ", the last: " : "", sink->problem);
    if (age->count > 0)
        fprintf(out, "age         p50 %.1f ms, p99 %.1f ms, p99.9 %.1f ms, max %.1f ms\n",
                quantile_ms(age, 0.5), quantile_ms(age, 0.99), quantile_ms(age, 0.999),
                (double)age->max_ns / (double)NS_PER_MS);
    free(age);
    if (sink->ledger != NULL)
        write_ledger(out, sink->ledger);
    write_phases(out, sink, now_ns);
    CHECK(fclose(out) == 0);
    return text;
}
