/* SPDX-License-Identifier: Apache-2.0 */
/* The course of a run. Once a second everything is sampled; the timeline is the difference of
 * neighbours, the figures that of the window's two ends, so nothing that is reported hangs on a
 * sample in between.
 *
 * Main thread. */
#include "tools/load/run.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "tools/load/files.h"
#include "tools/load/measure.h"
#include "tools/load/phases.h"
#include "tools/load/rig.h"
#include "tools/load/slo.h"
#include "tools/load/syscalls.h"

enum { END_PATIENCE_S = 10 };
static const uint64_t sample_ns = NS_PER_S, nap_ns = 100 * NS_PER_MS;

struct run {
    const struct run_request *request;
    const struct scenario *scenario;
    struct arena arena;
    struct phases phases;
    struct rig rig;
    struct outcome *outcome;
    uint64_t start_ns, warmup_ns; /* the estimate, for the bar */
    uint64_t baseline_kib;
    struct sample *first, *before, *now; /* the window's first; the last two */
    double from_s;
    bool answered;       /* the collector, the last time it was asked */
    uint64_t unbalanced; /* samples in which the collector's books did not balance */
};

/* ---- signals ---- */

static volatile sig_atomic_t signalled;

static void on_signal(int number)
{
    (void)number;
    if (signalled != 0) {
        process_kill_all();
        _exit(1);
    }
    signalled = 1;
}

void run_catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

bool run_interrupted(void)
{
    return signalled != 0;
}

/* ---- samples ---- */

static double elapsed_s(const struct run *run)
{
    return (double)(clock_monotonic_ns() - run->start_ns) / (double)NS_PER_S;
}

static void sleep_until(uint64_t when_ns)
{
    const struct timespec when = {.tv_sec = (time_t)(when_ns / NS_PER_S),
                                  .tv_nsec = (long)(when_ns % NS_PER_S)};
    while (signalled == 0 && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL) == EINTR)
        continue;
}

/* What cannot be known of the new sample stays as it was: a program that stands still has not
 * changed. */
static void keep_unknown(const struct sample *before, struct sample *now)
{
    if (!now->collector.known)
        now->collector = before->collector;
    if (!now->sink.known)
        now->sink = before->sink;
    if (!now->sim.known)
        now->sim = before->sim;
    if (!now->views_known && before->views_known) {
        now->lag = before->lag;
        now->age = before->age;
        now->scrape = before->scrape;
        now->delivery = before->delivery;
        now->views_known = true;
    }
    if (!now->sink_age_known && before->sink_age_known) {
        now->sink_age = before->sink_age;
        now->sink_age_known = true;
    }
}

/* Samples, and adds to the timeline what has happened since the sample before. */
static bool sample(struct run *run, const char *phase, struct error *error)
{
    struct sample *old = run->before;
    run->before = run->now;
    run->now = old;
    struct sample_sources sources = rig_sources(&run->rig);
    sample_take(&sources, run->now);
    if (run->before->at_ns == 0)
        *run->before = *run->now;
    run->answered = run->now->collector.known && run->now->views_known;
    keep_unknown(run->before, run->now);
    const struct collector_sample *books = &run->now->collector;
    if (books->known && books->collected + books->recovered !=
                            books->delivered + books->queued + books->spooled + books->dropped)
        run->unbalanced++;
    struct moment *moment = outcome_add_moment(run->outcome);
    moment->t_s = elapsed_s(run);
    snprintf(moment->phase, sizeof moment->phase, "%s", phase);
    measure_moment(run->before, run->now, moment);
    progress_show(run->request->progress, moment->t_s, phase, moment);
    if (signalled != 0)
        return error_set(error, "interrupted");
    if (process_running(&run->rig.collector))
        return true;
    process_explain(&run->rig.collector, error);
    return error_prefix(error, "the collector ended during the run: ");
}

/* ---- before ---- */

/* Memory of the collector itself: with one server, after its first collection. */
static bool measure_baseline(struct run *run, struct error *error)
{
    if (run->scenario->rss_baseline_kib >= 0) {
        run->baseline_kib = (uint64_t)run->scenario->rss_baseline_kib;
        return true;
    }
    if (run->scenario->collector != NULL) {
        outcome_note(run->outcome, "memory per server has no baseline taken off: with a collector "
                                   "of your own give --rss-baseline-kib");
        return true;
    }
    struct scenario idle = *run->scenario;
    if (idle.interval_ns < 60 * NS_PER_S) /* one collection, and then nothing until it is ended */
        idle.interval_ns = 60 * NS_PER_S;
    run->rig.scenario = &idle;
    bool started = rig_start_collector(&run->rig, 1, error);
    run->rig.scenario = run->scenario;
    if (!started)
        return false;
    uint64_t deadline_ns = clock_monotonic_ns() + 20 * NS_PER_S;
    uint64_t delivered = 0;
    while (delivered == 0 && clock_monotonic_ns() < deadline_ns && signalled == 0) {
        sleep_until(clock_monotonic_ns() + nap_ns);
        struct sample_sources sources = rig_sources(&run->rig);
        sample_take(&sources, run->now);
        delivered = run->now->collector.delivered;
        if (run->now->collector_process.alive)
            run->baseline_kib = run->now->collector_process.rss_kib;
    }
    memset(run->now, 0, sizeof *run->now);
    return rig_stop_collector(&run->rig, false, error);
}

static bool all_up(const struct run *run)
{
    if (!run->now->collector.known)
        return false;
    return run->now->collector.targets_up >= (uint64_t)run->scenario->servers;
}

/* Until every server was collected once, or for the time that was asked for. */
static bool warm_up(struct run *run, struct error *error)
{
    const struct scenario *scenario = run->scenario;
    uint64_t begin_ns = clock_monotonic_ns(), now_ns = begin_ns;
    bool fixed = scenario->warmup_ns > 0 || run->rig.admin[0] == 0;
    uint64_t wanted_ns =
        scenario->warmup_ns > 0 ? scenario->warmup_ns : scenario->interval_ns + 2 * NS_PER_S;
    /* Time to connect: a slow machine, TLS and SCRAM make some hundred sessions a second. */
    uint64_t limit_ns =
        fixed ? wanted_ns
              : wanted_ns + 30 * NS_PER_S + (uint64_t)scenario->servers * NS_PER_S / 200;
    outcome_add_span(run->outcome, "warm-up", 0);
    do {
        if (!sample(run, "warm-up", error))
            return false;
        if (!fixed && all_up(run))
            break;
        sleep_until(now_ns += sample_ns);
    } while (now_ns - begin_ns < limit_ns);
    run->outcome->spans[0].to_s = elapsed_s(run);
    if (run->rig.admin[0] != 0 && scenario->warmup_ns == 0)
        outcome_check(run->outcome, "all servers up before measuring", all_up(run),
                      "%llu of %lld after %.0f s",
                      (unsigned long long)run->now->collector.targets_up,
                      (long long)scenario->servers, elapsed_s(run));
    return true;
}

/* ---- the measured time ---- */

static bool run_phase(struct run *run, const struct scenario_phase *phase, uint64_t *now_ns,
                      struct error *error)
{
    if (!rig_begin_phase(&run->rig, phase, error))
        return false;
    struct span *span = outcome_add_span(run->outcome, phase->name, elapsed_s(run));
    size_t index = (size_t)(span - run->outcome->spans);
    uint64_t end_ns = *now_ns + phase->for_ns;
    bool good = true;
    while (good && *now_ns < end_ns) {
        uint64_t next_ns = *now_ns + sample_ns;
        /* a rest shorter than half a second goes into the last sample */
        *now_ns = next_ns + sample_ns / 2 > end_ns ? end_ns : next_ns;
        sleep_until(*now_ns);
        good = sample(run, phase->name, error);
    }
    run->outcome->spans[index].to_s = elapsed_s(run);
    return good;
}

/* A sample for an end of the window: of the collector's counters as well as of its CPU, so a busy
 * one is asked again. */
static bool sample_end(struct run *run, const char *phase, struct error *error)
{
    uint64_t deadline_ns = clock_monotonic_ns() + END_PATIENCE_S * NS_PER_S;
    while (sample(run, phase, error)) {
        if (run->rig.admin[0] == 0 || run->answered)
            return true;
        if (clock_monotonic_ns() > deadline_ns) {
            outcome_note(run->outcome,
                         "the collector did not answer for %d s at an end of the window: its "
                         "counters there are older than its CPU",
                         END_PATIENCE_S);
            return true;
        }
        sleep_until(clock_monotonic_ns() + nap_ns);
    }
    return false;
}

static bool measure(struct run *run, struct error *error)
{
    if (!sample_end(run, run->phases.items[0].name, error))
        return false;
    *run->first = *run->now;
    run->from_s = elapsed_s(run);
    uint64_t now_ns = clock_monotonic_ns();
    for (size_t i = 0; i < run->phases.count; i++)
        if (!run_phase(run, &run->phases.items[i], &now_ns, error))
            return false;
    const struct scenario_phase nothing = {.name = "end"};
    if (run->rig.admin[0] != 0 && !run->answered && !sample_end(run, "end", error))
        return false;
    if (!rig_begin_phase(&run->rig, &nothing, error)) /* whoever stands still goes on */
        return false;
    const struct window window = {.scenario = run->scenario,
                                  .first = run->first,
                                  .last = run->now,
                                  .from_s = run->from_s,
                                  .to_s = elapsed_s(run),
                                  .baseline_kib = run->baseline_kib};
    measure_window(&window, run->outcome);
    if (run->scenario->kind == SCENARIO_SOAK)
        measure_slopes(run->outcome, run->from_s);
    return true;
}

/* ---- after ---- */

static void judge(struct run *run, bool stopped, const struct error *problem)
{
    struct outcome *outcome = run->outcome;
    const struct figures *figures = &outcome->figures;
    outcome_check(outcome, "the collector ended cleanly", stopped, "%s",
                  stopped ? "exit code 0, everything delivered" : problem->text);
    if (run->rig.admin[0] != 0)
        outcome_check(outcome, "collected = delivered + queued + spooled + dropped",
                      run->unbalanced == 0, "did not hold in %llu of %zu samples",
                      (unsigned long long)run->unbalanced, outcome->moment_count);
    if (figures->lost >= 0)
        outcome_check(outcome, "nothing lost", figures->lost == 0, "%lld points lost",
                      (long long)figures->lost);
    if (figures->doubled >= 0)
        outcome_check(outcome, "nothing doubled", figures->doubled == 0, "%lld points doubled",
                      (long long)figures->doubled);
    outcome_check(outcome, "something delivered", figures->points > 0, "%llu points",
                  (unsigned long long)figures->points);
    /* Faults ordered, fewer are made; without any, a busy machine is no reason to make but half. */
    if (run->scenario->kind == SCENARIO_STEADY && run->scenario->phases.count == 0 &&
        run->scenario->sim_options.count == 0 && run->scenario->collector == NULL)
        outcome_check(outcome, "most collections made", figures->made_percent >= 50,
                      "%.4g %% of %.0f", figures->made_percent, figures->expected_scrapes);
    struct slo slo;
    struct error ignored;
    if (run->scenario->slo != NULL && slo_parse(run->scenario->slo, &slo, &ignored))
        slo_check(&slo, outcome);
}

static bool finish(struct run *run, struct error *error)
{
    struct error problem = {{0}};
    if (run->scenario->syscalls)
        syscalls_count(&run->rig, run->outcome);
    /* The last look at the collector's books, as late as can be. */
    struct sample_sources sources = rig_sources(&run->rig);
    *run->before = *run->now;
    sample_take(&sources, run->now);
    keep_unknown(run->before, run->now);
    progress_show(run->request->progress, elapsed_s(run), "stopping", NULL);
    bool stopped = rig_stop_collector(&run->rig, true, &problem);
    if (!rig_finish(&run->rig, run->before, error))
        return false;
    measure_books(run->scenario, run->rig.ledger_sample, run->now, run->before, run->outcome);
    judge(run, stopped, &problem);
    return true;
}

static void stamp(char text[32])
{
    time_t seconds = (time_t)(clock_wall_ns() / NS_PER_S);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &utc);
}

static bool run_all(struct run *run, struct error *error)
{
    const struct scenario *scenario = run->scenario;
    if (!phases_make(&run->arena, scenario, &run->phases, error) ||
        !files_make_directory(run->request->directory, error) ||
        !rig_create(&run->rig, scenario, run->request->directory, error))
        return false;
    run->warmup_ns =
        scenario->warmup_ns > 0 ? scenario->warmup_ns : scenario->interval_ns + 2 * NS_PER_S;
    progress_begin(run->request->progress, run->request->title,
                   (double)(run->warmup_ns + run->phases.total_ns + 2 * NS_PER_S) /
                       (double)NS_PER_S);
    run->start_ns = clock_monotonic_ns();
    stamp(run->outcome->started);
    progress_show(run->request->progress, 0, "starting", NULL);
    if (!rig_start(&run->rig, error) || !measure_baseline(run, error) ||
        !rig_start_collector(&run->rig, (uint64_t)scenario->servers, error))
        return false;
    run->start_ns = clock_monotonic_ns();
    return warm_up(run, error) && measure(run, error) && finish(run, error);
}

bool run_once(const struct run_request *request, struct outcome **ret_outcome, struct error *error)
{
    struct run *run = xcalloc(1, sizeof *run);
    struct sample *samples = xcalloc(3, sizeof *samples);
    run->request = request;
    run->scenario = request->scenario;
    run->outcome = outcome_create();
    run->first = &samples[0];
    run->before = &samples[1];
    run->now = &samples[2];
    bool good = run_all(run, error);
    if (!good && signalled != 0)
        error_set(error, "interrupted");
    rig_destroy(&run->rig);
    progress_end(request->progress);
    if (good)
        *ret_outcome = run->outcome;
    else
        outcome_destroy(&run->outcome);
    arena_fini(&run->arena);
    free(samples);
    free(run);
    return good;
}
