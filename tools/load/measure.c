/* SPDX-License-Identifier: Apache-2.0 */
/* The definitions of all that is reported (docs/load.md tells them to people):
 *
 *   CPU        the collector's threads without `admin`, whose work during a run is answering us
 *   lag        due until begun, corrected for coordinated omission (views.h)
 *   age        due until acknowledged, corrected alike; the sink's own view is arrival minus the
 *              point's time, which lacks the lag and the answer's way back
 *   RSS        the largest of the window
 *   lost       what the simulator gave and the sink never saw
 *
 * Pure functions. */
#include "tools/load/measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "tools/load/lsq.h"
#include "tools/load/views.h"

/* Cores of others above which a run is told to be disturbed. */
#define BACKGROUND_NOTED 0.1

static double seconds_between(const struct sample *before, const struct sample *now)
{
    double seconds = (double)(now->at_ns - before->at_ns) / (double)NS_PER_S;
    return seconds > 0 ? seconds : 1e-9;
}

static double minus(uint64_t after, uint64_t before)
{
    return after > before ? (double)(after - before) : 0;
}

static double cpu_seconds(const struct proc_sample *before, const struct proc_sample *now)
{
    double admin = minus(proc_thread_ns(now, "admin"), proc_thread_ns(before, "admin"));
    double all = minus(now->cpu_ns, before->cpu_ns);
    return all > admin ? (all - admin) / (double)NS_PER_S : 0;
}

static double points_between(const struct sample *before, const struct sample *now)
{
    if (before->collector.known && now->collector.known)
        return minus(now->collector.delivered, before->collector.delivered);
    return before->sink.known && now->sink.known ? minus(now->sink.points, before->sink.points) : 0;
}

void measure_moment(const struct sample *before, const struct sample *now, struct moment *moment)
{
    double seconds = seconds_between(before, now);
    struct histogram_view window;
    moment->points_per_s = points_between(before, now) / seconds;
    moment->cpu_cores = cpu_seconds(&before->collector_process, &now->collector_process) / seconds;
    moment->rss_mib = (double)now->collector_process.rss_kib / 1024;
    moment->descriptors = now->collector_process.descriptors;
    moment->servers = now->collector.targets_up;
    moment->connections = now->collector.connections;
    if (before->views_known && now->views_known) {
        view_window(&before->lag, &now->lag, &window);
        moment->lag_p99_ms = view_ms(&window, 0.99);
        view_window(&before->age, &now->age, &window);
        moment->age_p99_ms = view_ms(&window, 0.99);
    } else if (before->sink_age_known && now->sink_age_known) {
        view_window(&before->sink_age, &now->sink_age, &window);
        moment->age_p99_ms = view_ms(&window, 0.99);
    }
    if (!now->collector.known) {
        moment->connections = now->sim.connections;
        moment->servers = now->sim.connections;
    }
}

/* ---- the window ---- */

static void measure_threads(const struct window *window, struct outcome *outcome)
{
    const struct proc_sample *last = &window->last->collector_process;
    for (uint32_t i = 0; i < last->thread_count; i++) {
        struct proc_thread *thread = &outcome->threads[outcome->thread_count++];
        *thread = last->threads[i];
        uint64_t before_ns = proc_thread_ns(&window->first->collector_process, thread->name);
        thread->cpu_ns = thread->cpu_ns > before_ns ? thread->cpu_ns - before_ns : 0;
    }
}

static void measure_other(const char *program, const struct proc_sample *first,
                          const struct proc_sample *last, double seconds, struct outcome *outcome)
{
    if (!last->alive)
        return;
    outcome->others[outcome->other_count++] =
        (struct other){.program = program,
                       .cpu_cores = minus(last->cpu_ns, first->cpu_ns) / (double)NS_PER_S / seconds,
                       .rss_mib = (double)last->rss_kib / 1024};
}

/* Lag and age as they would have been for a reader with a clock of its own. */
static void measure_latencies(const struct window *window, struct outcome *outcome)
{
    const struct sample *first = window->first, *last = window->last;
    struct figures *figures = &outcome->figures;
    if (first->sink_age_known && last->sink_age_known)
        view_window(&first->sink_age, &last->sink_age, &outcome->sink_age);
    if (!first->views_known || !last->views_known) {
        outcome->age = outcome->sink_age;
        outcome->age_source = "sink";
        return;
    }
    view_window(&first->lag, &last->lag, &outcome->lag);
    view_window(&first->age, &last->age, &outcome->age);
    view_window(&first->scrape, &last->scrape, &outcome->scrape);
    view_window(&first->delivery, &last->delivery, &outcome->delivery);

    uint64_t interval_ns = window->scenario->interval_ns;
    struct histogram_view late = outcome->lag, missing, left_out;
    view_correct(&late, interval_ns);
    view_window(&outcome->lag, &late, &missing);
    view_omitted(&outcome->scrape, interval_ns, figures->skipped, &left_out);
    view_add(&missing, &left_out);
    figures->omitted = missing.count;
    double collections = (double)(figures->scrapes + figures->failed);
    double requests = minus(last->collector.requests_ok, first->collector.requests_ok);
    double per_collection = collections > 0 && requests < collections ? requests / collections : 1;
    view_add(&outcome->lag, &missing);
    view_add_ages(&outcome->age, &missing, per_collection);
}

static void measure_traffic(const struct window *window, struct figures *figures)
{
    const struct sample *first = window->first, *last = window->last;
    double requests, bytes;
    if (first->collector.known && last->collector.known) {
        requests = minus(last->collector.requests_ok, first->collector.requests_ok);
        bytes = minus(last->collector.bytes_sent, first->collector.bytes_sent);
    } else {
        requests = minus(last->sink.requests, first->sink.requests);
        bytes = minus(last->sink.bytes, first->sink.bytes);
    }
    figures->requests_per_s = requests / figures->seconds;
    figures->bytes_per_s = bytes / figures->seconds;
    figures->bytes_per_point = figures->points > 0 ? bytes / (double)figures->points : (double)NAN;
    figures->server_bytes_per_s =
        first->sim.known && last->sim.known
            ? minus(last->sim.bytes_out, first->sim.bytes_out) / figures->seconds
            : (double)NAN;
}

static void measure_background(const struct window *window, struct figures *figures)
{
    const struct sample *first = window->first, *last = window->last;
    double ours = minus(last->collector_process.cpu_ns, first->collector_process.cpu_ns) +
                  minus(last->sim_process.cpu_ns, first->sim_process.cpu_ns) +
                  minus(last->sink_process.cpu_ns, first->sink_process.cpu_ns) +
                  minus(last->own_ns, first->own_ns);
    double others = minus(last->busy_ns, first->busy_ns) - ours;
    figures->background_cores = others > 0 ? others / (double)NS_PER_S / figures->seconds : 0;
}

static void measure_memory(const struct window *window, struct outcome *outcome)
{
    struct figures *figures = &outcome->figures;
    figures->rss_mib = (double)window->last->collector_process.rss_kib / 1024;
    figures->connections = window->last->collector.connections;
    for (size_t i = 0; i < outcome->moment_count; i++) {
        const struct moment *moment = &outcome->moments[i];
        if (moment->t_s < window->from_s || moment->t_s > window->to_s)
            continue;
        if (moment->rss_mib > figures->rss_mib)
            figures->rss_mib = moment->rss_mib;
        if (moment->connections > figures->connections)
            figures->connections = moment->connections;
    }
    figures->series = window->last->collector.series;
    figures->rss_baseline_mib = (double)window->baseline_kib / 1024;
    figures->rss_kib_per_server =
        figures->rss_mib > figures->rss_baseline_mib
            ? (figures->rss_mib - figures->rss_baseline_mib) * 1024 / (double)figures->servers
            : 0;
}

void measure_window(const struct window *window, struct outcome *outcome)
{
    const struct sample *first = window->first, *last = window->last;
    const struct scenario *scenario = window->scenario;
    struct figures *figures = &outcome->figures;
    const struct collector_sample *a = &first->collector, *b = &last->collector;
    figures->seconds = seconds_between(first, last);
    figures->servers = (uint64_t)scenario->servers;
    figures->points = (uint64_t)points_between(first, last);
    figures->points_per_s = (double)figures->points / figures->seconds;
    figures->scrapes =
        (uint64_t)(a->known && b->known ? minus(b->scrapes_ok + b->scrapes_partial,
                                                a->scrapes_ok + a->scrapes_partial)
                                        : minus(last->sim.scrapes, first->sim.scrapes));
    figures->partial = (uint64_t)minus(b->scrapes_partial, a->scrapes_partial);
    figures->failed = (uint64_t)minus(b->scrapes_failed, a->scrapes_failed);
    figures->skipped = (uint64_t)minus(b->scrapes_skipped, a->scrapes_skipped);
    double branches = scenario->databases > 1 ? (double)scenario->databases : 1;
    figures->expected_scrapes = (double)scenario->servers * branches * figures->seconds * 1e9 /
                                (double)scenario->interval_ns;
    /* Whose turn falls beside the window's ends differs by a few. */
    double few = fmin((double)scenario->servers * branches, 10);
    double seen = (double)(figures->scrapes + figures->skipped) + few;
    figures->made_percent = (a->known && b->known) || (first->sim.known && last->sim.known)
                                ? fmin(100, 100 * seen / fmax(figures->expected_scrapes, few))
                                : (double)NAN;
    figures->left_out = (uint64_t)minus(b->left_out, a->left_out);
    figures->interval_ns = scenario->interval_ns;
    figures->cpu_s = cpu_seconds(&first->collector_process, &last->collector_process);
    figures->cpu_cores = figures->cpu_s / figures->seconds;
    figures->cpu_us_per_point =
        figures->points > 0 ? figures->cpu_s * 1e6 / (double)figures->points : (double)NAN;
    figures->cpu_us_per_scrape =
        figures->scrapes > 0 ? figures->cpu_s * 1e6 / (double)figures->scrapes : (double)NAN;
    figures->syscalls_per_scrape = (double)NAN;
    measure_threads(window, outcome);
    measure_other("pgweir-sim", &first->sim_process, &last->sim_process, figures->seconds, outcome);
    measure_other("pgweir-sink", &first->sink_process, &last->sink_process, figures->seconds,
                  outcome);
    measure_latencies(window, outcome);
    measure_traffic(window, figures);
    measure_memory(window, outcome);
    measure_background(window, figures);
    if (figures->background_cores > BACKGROUND_NOTED)
        outcome_note(outcome,
                     "other processes of this machine used %.2f cores meanwhile: CPU and latencies "
                     "are worse than they would be alone",
                     figures->background_cores);
}

/* ---- the whole run ---- */

/* Points of pgweir.* have no place in the ledger and no value in the simulator's count: both sides
 * speak of the same points. */
static int64_t count_lost(const struct sink_sample *sink, const struct sim_sample *sim,
                          uint64_t seen)
{
    int64_t by_count = (int64_t)sim->values - (int64_t)seen;
    int64_t by_steps = (int64_t)sink->gaps - (int64_t)sim->void_values;
    int64_t lost = by_count > by_steps ? by_count : by_steps;
    return lost > 0 ? lost : 0;
}

/* What a count cannot see, it says. */
static void note_hidden(uint64_t ledger_sample, const struct sink_sample *sink,
                        const struct sim_sample *sim, struct outcome *outcome)
{
    if (sim->void_values > 0)
        outcome_note(outcome,
                     "%llu values were in answers that the simulator was told to cut off: of those "
                     "the collector took some, so as many lost ones would not show",
                     (unsigned long long)sim->void_values);
    if (ledger_sample > 1 && (sink->doubled > 0 || outcome->figures.rejected > 0))
        outcome_note(outcome, "points that came twice or were rejected can hide as many lost ones "
                              "of the servers whose steps were not followed");
}

static void measure_ledger(uint64_t ledger_sample, const struct sink_sample *sink,
                           const struct sim_sample *sim, struct outcome *outcome)
{
    struct figures *figures = &outcome->figures;
    /* Points that carry no steps are proven by their number. */
    uint64_t seen = sink->distinct + sink->unproven_points + sink->undecided;
    if (ledger_sample > 1) {
        uint64_t taken = sink->taken_points - sink->own_points;
        seen = taken > sink->doubled ? taken - sink->doubled : 0;
        outcome_note(outcome,
                     "steps were followed on every %llu. server only: doubled is theirs; lost is "
                     "the number of points of all servers, and theirs by step",
                     (unsigned long long)ledger_sample);
    }
    figures->lost = count_lost(sink, sim, seen);
    note_hidden(ledger_sample, sink, sim, outcome);
    figures->doubled = (int64_t)(sink->doubled - sink->excused);
    if (sink->excused > 0)
        outcome_note(outcome,
                     "%llu more points came twice because the sink was told to lose its answer",
                     (unsigned long long)sink->excused);
    if (sink->unproven > 0)
        outcome_note(outcome, "%llu series carry no steps and are proven by number only",
                     (unsigned long long)sink->unproven);
}

void measure_books(const struct scenario *scenario, uint64_t ledger_sample,
                   const struct sample *last, const struct sample *final, struct outcome *outcome)
{
    struct figures *figures = &outcome->figures;
    figures->dropped = last->collector.dropped;
    figures->rejected = last->collector.rejected;
    figures->voided = final->sim.void_values;
    if (final->sink.has_ledger && final->sim.known) {
        measure_ledger(ledger_sample, &final->sink, &final->sim, outcome);
    } else if (last->collector.known) {
        figures->lost = (int64_t)last->collector.dropped;
        outcome_note(outcome, "lost is what the collector itself says it dropped: %s",
                     scenario->backend != NULL ? "a back end of your own keeps no ledger"
                                               : "points of a real server cannot be told apart");
    }
}

void measure_slopes(struct outcome *outcome, double from_s)
{
    size_t count = 0;
    double *x = xcalloc(4 * (outcome->moment_count + 1), sizeof *x);
    double *rss = x + outcome->moment_count, *descriptors = rss + outcome->moment_count,
           *lag = descriptors + outcome->moment_count;
    for (size_t i = 0; i < outcome->moment_count; i++) {
        const struct moment *moment = &outcome->moments[i];
        if (moment->t_s < from_s)
            continue;
        x[count] = moment->t_s / 3600;
        rss[count] = moment->rss_mib * 1024;
        descriptors[count] = (double)moment->descriptors;
        lag[count] = moment->lag_p99_ms;
        count++;
    }
    struct slopes *slopes = &outcome->slopes;
    slopes->known =
        lsq_slope(x, rss, count, &slopes->rss_kib_per_h, &slopes->rss_error_kib_per_h) &&
        lsq_slope(x, descriptors, count, &slopes->descriptors_per_h,
                  &slopes->descriptors_error_per_h) &&
        lsq_slope(x, lag, count, &slopes->lag_ms_per_h, &slopes->lag_error_ms_per_h);
    free(x);
}
