/* SPDX-License-Identifier: Apache-2.0 */
/* Costs are compared as logarithms, so that differences are relative and noise is one number: the
 * spread between windows that follow one another with the same values. Every trial costs little (a
 * window at a value within the bounds), a wrong move costs until it is found out: so moves need
 * proof, and what is not proven is rolled back.
 *
 * What keeps it from walking to and fro: a gain must be worth it and beyond the noise;
 * knob.c never returns to a value that was worse; a knob that rested and then moves back where it
 * came from rests again, twice as long; and only the load's change makes all knobs fresh. */
#include "control/tuner_state.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

static const double NOISE_FIRST = 0.03; /* before it is known */
static const double NOISE_MIN = 0.005, NOISE_MAX = 0.2;
static const double NOISE_WEIGHT = 0.1;
static const double LOAD_CHANGE = 1.3; /* times: arms */
static const double LOAD_WEIGHT = 0.4;
static const double BINDING_MIN = 0.05; /* of the cases: decides, if seldom */
static const double SHARE_MIN = 0.005;  /* of a core: below, older points are too high a price */
static const double SHARE_BUSY = 0.25;  /* small steps to the dear side, on trial … */
static const double SHARE_FULL = 0.5;   /* … none */

enum {
    MISSES = 2,       /* windows in a row before a missed target counts */
    ARM_PAUSE = 12,   /* intervals: load that jumps to and fro arms no more often */
    TROUBLE_REST = 6, /* intervals, and twice as many each time */
    TROUBLE_REST_MAX = 360,
};

void tuner_init(struct tuner *tuner, const struct tuner_settings *settings)
{
    CHECK(settings->interval_ns > 0 && settings->age_p99_ns > 0);
    memset(tuner, 0, sizeof *tuner);
    tuner->settings = *settings;
    tuner->noise = NOISE_FIRST;
    tuner->last_cost_log = NAN;
}

uint32_t tuner_add(struct tuner *tuner, const struct knob_plan *plan)
{
    CHECK(tuner->knob_count < TUNER_KNOBS && plan->group < TUNER_GROUPS);
    knob_init(&tuner->knobs[tuner->knob_count], plan);
    return tuner->knob_count++;
}

double tuner_value(const struct tuner *tuner, uint32_t knob)
{
    CHECK(knob < tuner->knob_count);
    bool tried = tuner->phase == TUNER_TRY && tuner->trial.knob == knob;
    return tried ? tuner->trial.to : tuner->knobs[knob].value;
}

double tuner_target_s(const struct tuner *tuner)
{
    return (double)tuner->settings.age_p99_ns / 1e9;
}

/* ---- decisions ---- */

struct tuner_decision *tuner_record(struct tuner *tuner, enum tuner_verdict verdict,
                                    uint64_t now_ns)
{
    struct tuner_decision *decision = &tuner->decisions[tuner->decision_count++ % TUNER_DECISIONS];
    *decision = (struct tuner_decision){
        .at_ns = now_ns, .verdict = verdict, .knob = TUNER_KNOBS, .noise = tuner->noise};
    return decision;
}

void tuner_explain(struct tuner_decision *decision, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(decision->reason, sizeof decision->reason, format, arguments);
    va_end(arguments);
}

/* ---- shared with the trial ---- */

void tuner_learn_noise(struct tuner *tuner, double difference)
{
    double variance = tuner->noise * tuner->noise;
    variance += NOISE_WEIGHT * (difference * difference / 2 - variance);
    tuner->noise = fmin(fmax(sqrt(variance), NOISE_MIN), NOISE_MAX);
}

void tuner_arm(struct tuner *tuner, uint32_t group, uint32_t but)
{
    for (uint32_t i = 0; i < tuner->knob_count; i++)
        if (i != but && (group == TUNER_GROUPS || tuner->knobs[i].plan.group == group))
            knob_arm(&tuner->knobs[i]);
}

/* ---- what to try ---- */

/* What would be tried, were it allowed. */
static void advise(struct tuner *tuner, const struct tuner_window *window, uint32_t knob, double to,
                   uint64_t now_ns)
{
    const struct knob_plan *plan = &tuner->knobs[knob].plan;
    const struct tuner_group *group = &window->groups[plan->group];
    struct tuner_decision *decision = tuner_record(tuner, TUNER_ADVISED, now_ns);
    decision->knob = knob;
    decision->group = plan->group;
    decision->from = tuner->knobs[knob].value;
    decision->to = to;
    decision->cost_before_ns = window->thin ? 0 : window->cost_ns;
    decision->age_before_s = group->age_p99_s;
    if (group->age_p99_s > tuner_target_s(tuner))
        tuner_explain(decision, "age p99 %.3g s is above the target %.3g s", group->age_p99_s,
                      tuner_target_s(tuner));
    else
        tuner_explain(decision, "decides in %.0f %% of cases, age p99 %.3g s leaves room to %.3g s",
                      100 * window->binding[knob], group->age_p99_s, tuner_target_s(tuner));
}

/* Not before a while, longer each time. */
static void rest_trouble(struct tuner *tuner, uint32_t group, uint64_t now_ns)
{
    struct tuner_trouble *trouble = &tuner->troubles[group];
    uint64_t intervals = (uint64_t)TROUBLE_REST << (trouble->rests < 10 ? trouble->rests : 10);
    intervals = intervals < TROUBLE_REST_MAX ? intervals : TROUBLE_REST_MAX;
    trouble->rests++;
    trouble->rest_until_ns = now_ns + intervals * tuner->settings.interval_ns;
    trouble->useless = 0;
}

static void give_up(struct tuner *tuner, uint32_t group, double age_s, uint64_t now_ns)
{
    struct tuner_trouble *trouble = &tuner->troubles[group];
    rest_trouble(tuner, group, now_ns);
    if (trouble->given_up)
        return; /* it was said */
    trouble->given_up = true;
    struct tuner_decision *decision = tuner_record(tuner, TUNER_GAVE_UP, now_ns);
    decision->group = group;
    decision->age_before_s = age_s;
    tuner_explain(decision, "age p99 %.3g s is above the target %.3g s, and no knob helps", age_s,
                  tuner_target_s(tuner));
}

/* Missed targets first; true: a trial began, or one was advised. */
static bool cure(struct tuner *tuner, const struct tuner_window *window, uint64_t now_ns)
{
    for (uint32_t g = 0; g < TUNER_GROUPS; g++) {
        struct tuner_trouble *trouble = &tuner->troubles[g];
        double to, age_s = window->groups[g].age_p99_s;
        if (trouble->windows < MISSES || window->groups[g].failing || window->groups[g].draining ||
            now_ns < trouble->rest_until_ns)
            continue;
        for (uint32_t i = 0; i < tuner->knob_count; i++) {
            if (tuner->knobs[i].plan.group != g || (trouble->useless >> i & 1) != 0 ||
                window->binding[i] < BINDING_MIN || !knob_propose_cure(&tuner->knobs[i], &to))
                continue;
            if (window->groups[g].growing && tuner->knobs[i].plan.cure < 0)
                continue; /* more and smaller requests would make it worse */
            if (tuner->settings.mode == TUNER_ADVISE) {
                advise(tuner, window, i, to, now_ns);
                rest_trouble(tuner, g, now_ns);
                return true;
            }
            tuner_begin_trial(tuner, window, i, to, true);
            return true;
        }
        if (!window->groups[g].growing)
            give_up(tuner, g, age_s, now_ns);
    }
    return false;
}

/* Not while the target is missed, but where that is because points pile up: what costs less may
 * keep pace. */
static bool may_try(const struct tuner *tuner, const struct tuner_window *window, uint32_t i)
{
    uint32_t g = tuner->knobs[i].plan.group;
    const struct tuner_group *group = &window->groups[g];
    return !group->failing && !group->draining &&
           (tuner->troubles[g].windows == 0 || group->growing);
}

/* The next trial among the knobs that decide, or among those that do not: less of these may make
 * them decide, more cannot do anything. A worker that is busy is not made to do
 * several times the work, not even for one window. */
static bool improve(struct tuner *tuner, const struct tuner_window *window, bool deciding,
                    uint64_t now_ns)
{
    struct knob_limits limits = {.dear_steps = window->cpu_share > SHARE_FULL   ? 0
                                               : window->cpu_share > SHARE_BUSY ? 1
                                                                                : INFINITY};
    for (uint32_t n = 0; n < tuner->knob_count; n++) {
        uint32_t i = (tuner->turn + n) % tuner->knob_count;
        struct knob *knob = &tuner->knobs[i];
        bool decides = window->binding[i] >= BINDING_MIN;
        double to;
        if (decides != deciding || knob_resting(knob, now_ns) || !may_try(tuner, window, i))
            continue;
        limits.down = !decides;
        if (!knob_propose(knob, &limits, &to)) {
            knob_rest(knob, tuner->settings.interval_ns, now_ns);
            continue;
        }
        tuner->turn = i;
        if (tuner->settings.mode == TUNER_ADVISE) {
            advise(tuner, window, i, to, now_ns);
            knob_rest(knob, tuner->settings.interval_ns, now_ns);
        } else {
            tuner_begin_trial(tuner, window, i, to, false);
        }
        return true;
    }
    return false;
}

/* ---- every window ---- */

static void count_misses(struct tuner *tuner, const struct tuner_window *window)
{
    for (uint32_t g = 0; g < TUNER_GROUPS; g++) {
        struct tuner_trouble *trouble = &tuner->troubles[g];
        if (window->groups[g].failing || window->groups[g].draining)
            continue;
        if (window->groups[g].age_p99_s > tuner_target_s(tuner))
            trouble->windows++;
        else if (window->groups[g].age_p99_s > 0)
            *trouble = (struct tuner_trouble){0};
    }
}

static bool alike(double one, double other)
{
    return one < other * LOAD_CHANGE && other < one * LOAD_CHANGE;
}

/* Follows the load; arms every knob when it has changed. True where it is steady, so that the next
 * window can be compared with this one. */
static bool follow_load(struct tuner *tuner, double points_per_s, uint64_t now_ns)
{
    bool steady = tuner->rate > 0 && alike(points_per_s, tuner->rate);
    tuner->rate = points_per_s;
    if (tuner->load == 0 || (!steady && tuner->decision_count == 0)) /* it is just starting */
        tuner->load = tuner->load_armed = points_per_s;
    tuner->load += LOAD_WEIGHT * (points_per_s - tuner->load);
    bool paused =
        tuner->armed_ns != 0 && now_ns - tuner->armed_ns < ARM_PAUSE * tuner->settings.interval_ns;
    if (!steady || paused || alike(tuner->load, tuner->load_armed))
        return steady;
    struct tuner_decision *decision = tuner_record(tuner, TUNER_ARMED, now_ns);
    tuner_explain(decision, "the load changed: %.3g to %.3g points/s", tuner->load_armed,
                  points_per_s);
    tuner->load = tuner->load_armed = points_per_s;
    tuner->armed_ns = now_ns;
    tuner_arm(tuner, TUNER_GROUPS, TUNER_KNOBS);
    return true;
}

static void watch(struct tuner *tuner, const struct tuner_window *window, uint64_t now_ns)
{
    bool steady = !window->thin && follow_load(tuner, window->points_per_s, now_ns);
    if (cure(tuner, window, now_ns) || window->thin)
        return;
    double cost_log = log(window->cost_ns);
    if (!isnan(tuner->last_cost_log))
        tuner_learn_noise(tuner, cost_log - tuner->last_cost_log);
    tuner->last_cost_log = cost_log;
    if (steady && window->cpu_share >= SHARE_MIN && !improve(tuner, window, true, now_ns))
        improve(tuner, window, false, now_ns);
}

bool tuner_take(struct tuner *tuner, const struct tuner_window *window, uint64_t now_ns)
{
    CHECK(window->thin || (window->cost_ns > 0 && window->points_per_s > 0));
    if (tuner->settings.mode == TUNER_OFF || tuner->knob_count == 0)
        return false;
    double before[TUNER_KNOBS];
    for (uint32_t i = 0; i < tuner->knob_count; i++)
        before[i] = tuner_value(tuner, i);
    count_misses(tuner, window);
    if (tuner->phase != TUNER_WATCH) {
        tuner_take_trial(tuner, window, now_ns);
    } else {
        watch(tuner, window, now_ns);
    }
    bool changed = false;
    for (uint32_t i = 0; i < tuner->knob_count; i++)
        changed = changed || tuner_value(tuner, i) != before[i];
    return changed;
}

const char *tuner_verdict_name(enum tuner_verdict verdict)
{
    static const char *const names[TUNER_VERDICTS] = {
        [TUNER_KEPT] = "kept",       [TUNER_ROLLED_BACK] = "rolled_back",
        [TUNER_CURED] = "cured",     [TUNER_ABANDONED] = "abandoned",
        [TUNER_ADVISED] = "advised", [TUNER_ARMED] = "armed",
        [TUNER_GAVE_UP] = "gave_up",
    };
    CHECK(verdict < TUNER_VERDICTS);
    return names[verdict];
}
