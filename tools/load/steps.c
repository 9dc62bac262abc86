/* SPDX-License-Identifier: Apache-2.0 */
/* Ramps and bisections: runs in a row, judged by one condition. Main thread. */
#include "tools/load/steps.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "tools/load/knee.h"
#include "tools/load/run.h"
#include "tools/load/slo.h"
#include "tools/load/views.h"

enum { PATH_BYTES = 4096, RAMP_STEPS_MAX = 64 };

/* What a collector that keeps up does; used where no condition is stated. */
static const char default_slo[] = "age p99 < 2 s, lag p99 < 100 ms, loss = 0, doubled = 0";
/* And in any case: what is never done has neither lag nor age. */
static const char always_slo[] = "made >= 99 %, left_out = 0";

struct stepper {
    const struct scenario *scenario;
    const char *directory;
    struct progress *progress;
    struct slo slo, always;
    int64_t baseline_kib;
    struct outcome *best; /* of the largest load that held; else of the last step */
    bool best_ok;
    struct outcome *steps; /* only its list of steps */
};

static void stepper_init(struct stepper *stepper, const struct scenario *scenario,
                         const char *directory, struct progress *progress)
{
    struct error error;
    *stepper = (struct stepper){.scenario = scenario,
                                .directory = directory,
                                .progress = progress,
                                .baseline_kib = scenario->rss_baseline_kib,
                                .steps = outcome_create()};
    CHECK(slo_parse(scenario->slo != NULL ? scenario->slo : default_slo, &stepper->slo, &error));
    CHECK(slo_parse(always_slo, &stepper->always, &error));
}

static const struct slo_condition *broken_of(const struct stepper *stepper,
                                             const struct outcome *outcome)
{
    const struct slo_condition *broken = slo_broken(&stepper->slo, outcome);
    if (broken == NULL && !isnan(outcome->figures.made_percent))
        broken = slo_broken(&stepper->always, outcome);
    return broken;
}

/* A load that could not even be started, after others that could: the end of what is possible. */
static void note_not_started(struct stepper *stepper, const struct scenario *scenario,
                             const struct error *error)
{
    struct step *step = outcome_add_step(stepper->steps);
    *step = (struct step){.servers = (uint64_t)scenario->servers,
                          .interval_s = (double)scenario->interval_ns / (double)NS_PER_S,
                          .points_per_s = (double)NAN,
                          .lag_p99_ms = (double)NAN,
                          .age_p99_ms = (double)NAN,
                          .cpu_cores = (double)NAN,
                          .rss_mib = (double)NAN,
                          .lost = -1};
    snprintf(step->why, sizeof step->why, "did not run: %.180s", error->text);
}

static void note_step(struct stepper *stepper, const struct scenario *scenario,
                      const struct outcome *outcome, bool ok)
{
    struct step *step = outcome_add_step(stepper->steps);
    const struct figures *figures = &outcome->figures;
    *step = (struct step){.servers = figures->servers,
                          .interval_s = (double)scenario->interval_ns / (double)NS_PER_S,
                          .points_per_s = figures->points_per_s,
                          .lag_p99_ms = view_ms(&outcome->lag, 0.99),
                          .age_p99_ms = view_ms(&outcome->age, 0.99),
                          .cpu_cores = figures->cpu_cores,
                          .rss_mib = figures->rss_mib,
                          .lost = figures->lost,
                          .ok = ok};
    const struct slo_condition *broken = broken_of(stepper, outcome);
    if (broken != NULL)
        snprintf(step->why, sizeof step->why, "%s is %.4g", broken->text,
                 slo_value(broken, outcome));
    else if (!ok)
        for (uint32_t i = 0; i < outcome->check_count; i++)
            if (!outcome->checks[i].ok) {
                snprintf(step->why, sizeof step->why, "%s: %.100s", outcome->checks[i].name,
                         outcome->checks[i].detail);
                break;
            }
}

static bool run_step(struct stepper *stepper, uint64_t servers, uint64_t interval_ns,
                     uint64_t step_ns, bool *ret_ok, struct error *error)
{
    struct scenario scenario = *stepper->scenario;
    char directory[PATH_BYTES], title[80];
    scenario.kind = SCENARIO_STEADY;
    scenario.servers = (int64_t)servers;
    scenario.interval_ns = interval_ns;
    scenario.for_ns = step_ns;
    scenario.rss_baseline_kib = stepper->baseline_kib;
    scenario.slo = NULL;
    size_t number = stepper->steps->step_count + 1;
    snprintf(directory, sizeof directory, "%s/step-%02zu", stepper->directory, number);
    snprintf(title, sizeof title, "step %zu: %llu servers every %.3g s", number,
             (unsigned long long)servers, (double)interval_ns / (double)NS_PER_S);
    const struct run_request request = {.scenario = &scenario,
                                        .directory = directory,
                                        .title = title,
                                        .progress = stepper->progress};
    struct outcome *outcome = NULL;
    if (!run_once(&request, &outcome, error)) {
        if (stepper->best == NULL || run_interrupted())
            return error_prefix(error, "step %zu, %llu servers: ", number,
                                (unsigned long long)servers);
        note_not_started(stepper, &scenario, error);
        *ret_ok = false;
        return true;
    }
    stepper->baseline_kib = (int64_t)(outcome->figures.rss_baseline_mib * 1024 + 0.5);
    *ret_ok = outcome_good(outcome) && broken_of(stepper, outcome) == NULL;
    note_step(stepper, &scenario, outcome, *ret_ok);
    bool better = *ret_ok || !stepper->best_ok;
    if (better) {
        outcome_destroy(&stepper->best);
        stepper->best = outcome;
        stepper->best_ok = *ret_ok;
    } else {
        outcome_destroy(&outcome);
    }
    return true;
}

/* The best step's outcome with the list of all. */
static struct outcome *stepper_finish(struct stepper *stepper)
{
    struct outcome *outcome = stepper->best;
    outcome->steps = stepper->steps->steps;
    outcome->step_count = stepper->steps->step_count;
    stepper->steps->steps = NULL;
    outcome_destroy(&stepper->steps);
    slo_check(&stepper->slo, outcome);
    if (!isnan(outcome->figures.made_percent))
        slo_check(&stepper->always, outcome);
    return outcome;
}

static void stepper_drop(struct stepper *stepper)
{
    outcome_destroy(&stepper->best);
    outcome_destroy(&stepper->steps);
}

bool steps_ramp(const struct scenario *scenario, const char *directory, struct progress *progress,
                struct outcome **ret_outcome, struct error *error)
{
    struct stepper stepper;
    bool over_servers = scenario->ramp.over == RAMP_SERVERS, ok = true;
    double value = scenario->ramp.from, to = scenario->ramp.to;
    bool down = !over_servers;
    if (!over_servers && to > value)
        return error_set(error, "ramp.to: an interval that shrinks must end below ramp.from (%g s)",
                         value);
    if (over_servers && to < value)
        return error_set(error, "ramp.to: must not be below ramp.from");
    stepper_init(&stepper, scenario, directory, progress);
    for (int step = 0; step < RAMP_STEPS_MAX && ok; step++) {
        uint64_t servers = over_servers ? (uint64_t)(value + 0.5) : (uint64_t)scenario->servers;
        uint64_t interval_ns =
            over_servers ? scenario->interval_ns : (uint64_t)(value * (double)NS_PER_S);
        if (!run_step(&stepper, servers > 0 ? servers : 1, interval_ns, scenario->ramp.step_ns, &ok,
                      error)) {
            stepper_drop(&stepper);
            return false;
        }
        if (value == to)
            break;
        value = down ? value / scenario->ramp.factor : value * scenario->ramp.factor;
        if ((down && value < to) || (!down && value > to))
            value = to;
    }
    *ret_outcome = stepper_finish(&stepper);
    return true;
}

static bool attempt(void *owner, uint64_t load, bool *ret_ok, struct error *error)
{
    struct stepper *stepper = owner;
    return run_step(stepper, load, stepper->scenario->interval_ns, stepper->scenario->knee.step_ns,
                    ret_ok, error);
}

bool steps_knee(const struct scenario *scenario, const char *directory, struct progress *progress,
                struct outcome **ret_outcome, struct error *error)
{
    struct stepper stepper;
    struct knee_answer answer;
    stepper_init(&stepper, scenario, directory, progress);
    const struct knee_search search = {.from = (uint64_t)scenario->knee.from,
                                       .to = (uint64_t)scenario->knee.to,
                                       .within = scenario->knee.within,
                                       .attempt = attempt,
                                       .owner = &stepper};
    if (!knee_find(&search, &answer, error)) {
        stepper_drop(&stepper);
        return false;
    }
    *ret_outcome = stepper_finish(&stepper);
    if (answer.best == 0)
        outcome_note(*ret_outcome, "not even %llu servers keep the condition: lower knee.from",
                     (unsigned long long)answer.broken);
    else if (answer.broken == 0)
        outcome_note(*ret_outcome, "%llu servers, the most that was allowed, keep the condition",
                     (unsigned long long)answer.best);
    else
        outcome_note(*ret_outcome, "the knee is at %llu servers: %llu broke the condition",
                     (unsigned long long)answer.best, (unsigned long long)answer.broken);
    return true;
}

size_t steps_knee_index(const struct outcome *outcome)
{
    size_t knee = SIZE_MAX;
    for (size_t i = 0; i < outcome->step_count; i++) {
        const struct step *step = &outcome->steps[i];
        if (!step->ok)
            continue;
        double load = (double)step->servers / step->interval_s;
        if (knee == SIZE_MAX ||
            load > (double)outcome->steps[knee].servers / outcome->steps[knee].interval_s)
            knee = i;
    }
    return knee;
}
