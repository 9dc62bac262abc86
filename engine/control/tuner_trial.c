/* SPDX-License-Identifier: Apache-2.0 */
/* One trial, from the first window with the other value to the verdict. A trial that harms ends at
 * once. Else the other value is measured between measurements of the former one, until the
 * difference is larger than the noise, or cannot be worth a move any more: what drifts by itself
 * shows on both sides and cancels out. */
#include "control/tuner_state.h"

#include <math.h>
#include <string.h>

static const double GAIN_MIN = 0.03;    /* of CPU per point: less is not worth a move */
static const double GAIN_ARMS = 0.05;   /* as much says that other knobs may matter now, too */
static const double GAIN_PLAIN = 0.25;  /* is believed at first sight */
static const double CONFIDENCE = 3;     /* standard errors */
static const double LOAD_UNLIKE = 1.6;  /* times: this window cannot be compared */
static const double AGE_ROOM = 0.9;     /* of the target: a gain must leave some */
static const double HOPELESS = 2;       /* times the target: needs no second look */
static const double AGE_HELPED = 0.9;   /* of the age before: a cure that is one */
static const double BINDING_HALF = 0.5; /* of the cases: decides, or does not */
static const double BYTES_MORE = 1.1;   /* times, by all moves of a knob together */

enum { UNLIKE_MAX = 3 }; /* windows in a row that cannot be compared */

void tuner_begin_trial(struct tuner *tuner, const struct tuner_window *window, uint32_t knob,
                       double to, bool cure)
{
    tuner->trial = (struct tuner_trial){.knob = knob,
                                        .from = tuner->knobs[knob].value,
                                        .to = to,
                                        .cure = cure,
                                        .load = window->points_per_s};
    memcpy(tuner->trial.before, window->groups, sizeof tuner->trial.before);
    memcpy(tuner->trial.binding_before, window->binding, sizeof tuner->trial.binding_before);
    if (!window->thin) {
        tuner->trial.was[0] = log(window->cost_ns);
        tuner->trial.was_count = 1;
    }
    tuner->phase = TUNER_TRY;
    tuner->trials++;
}

static struct tuner_decision *record_trial(struct tuner *tuner, enum tuner_verdict verdict,
                                           const struct tuner_window *window, uint64_t now_ns)
{
    const struct tuner_trial *trial = &tuner->trial;
    struct tuner_decision *decision = tuner_record(tuner, verdict, now_ns);
    double was = 0, tried = 0;
    for (uint32_t i = 0; i < trial->was_count; i++)
        was += trial->was[i] / trial->was_count;
    for (uint32_t i = 0; i < trial->repeats; i++)
        tried += trial->tried[i] / trial->repeats;
    decision->knob = trial->knob;
    decision->group = tuner->knobs[trial->knob].plan.group;
    decision->from = trial->from;
    decision->to = trial->to;
    decision->repeats = trial->repeats;
    decision->cost_before_ns = trial->was_count > 0 ? exp(was) : 0;
    decision->cost_after_ns = trial->repeats > 0                ? exp(tried)
                              : window != NULL && !window->thin ? window->cost_ns
                                                                : 0;
    decision->age_before_s = trial->before[decision->group].age_p99_s;
    decision->age_after_s = trial->repeats > 0 || window == NULL
                                ? trial->after.age_p99_s
                                : window->groups[decision->group].age_p99_s;
    return decision;
}

/* ---- the end of a trial ---- */

static void end_trial(struct tuner *tuner)
{
    tuner->phase = TUNER_WATCH;
    tuner->last_cost_log = NAN;
}

/* The former value stays. */
static struct tuner_decision *roll_back(struct tuner *tuner, enum tuner_verdict verdict,
                                        const struct tuner_window *window, uint64_t now_ns)
{
    struct tuner_decision *decision = record_trial(tuner, verdict, window, now_ns);
    struct tuner_trial *trial = &tuner->trial;
    if (trial->cure) {
        const struct knob *knob = &tuner->knobs[trial->knob];
        tuner->troubles[knob->plan.group].useless |= 1ull << trial->knob;
    } else if (verdict == TUNER_ROLLED_BACK) {
        knob_reject(&tuner->knobs[trial->knob], trial->to);
    } else { /* not at once again, under what may be the same conditions */
        knob_rest(&tuner->knobs[trial->knob], tuner->settings.interval_ns, now_ns);
    }
    tuner->rolled_back++;
    end_trial(tuner);
    return decision;
}

static void move(struct tuner *tuner, double gain, uint64_t now_ns)
{
    struct tuner_trial *trial = &tuner->trial;
    struct knob *knob = &tuner->knobs[trial->knob];
    uint32_t group = knob->plan.group;
    int side = trial->to > trial->from ? 1 : -1;
    bool back = knob->settled && knob->kept_side == -side;
    knob_keep(knob, trial->to);
    if (knob->plan.costs_bytes && trial->before[group].bytes_per_point > 0)
        knob->bytes_ratio *= trial->after.bytes_per_point / trial->before[group].bytes_per_point;
    bool cured = trial->cure || trial->before[group].growing;
    if (back && !cured)
        knob_rest(knob, tuner->settings.interval_ns, now_ns);
    else if (cured || gain >= GAIN_ARMS)
        tuner_arm(tuner, group, trial->knob);
    tuner->kept++;
    tuner->turn = trial->knob;
    end_trial(tuner);
}

/* Mean difference of what was tried to its neighbours before and behind, as a gain, and the
 * standard error of that. */
static void compare(const struct tuner *tuner, double *ret_gain, double *ret_error)
{
    const struct tuner_trial *trial = &tuner->trial;
    double gain = 0;
    for (uint32_t i = 0; i < trial->repeats; i++) {
        double was = trial->was[i];
        if (i + 1 < trial->was_count)
            was = (was + trial->was[i + 1]) / 2;
        gain += (was - trial->tried[i]) / trial->repeats;
    }
    *ret_gain = gain;
    *ret_error = tuner->noise * sqrt(1.0 / trial->repeats + 1.0 / trial->was_count);
}

static bool costs_too_many_bytes(const struct tuner *tuner)
{
    const struct tuner_trial *trial = &tuner->trial;
    const struct knob *knob = &tuner->knobs[trial->knob];
    double before = trial->before[knob->plan.group].bytes_per_point;
    return knob->plan.costs_bytes && before > 0 &&
           knob->bytes_ratio * trial->after.bytes_per_point / before > BYTES_MORE;
}

/* The value is no worse, but now another knob decides that did not before, and nothing is known of
 * that one yet: a pair that bounds the same thing, batch size and flush age. Only a move lets it
 * show what it can do. Returns that knob; TUNER_KNOBS where there is none. */
static uint32_t find_heir(const struct tuner *tuner, double gain, double error)
{
    const struct tuner_trial *trial = &tuner->trial;
    uint32_t group = tuner->knobs[trial->knob].plan.group;
    if (gain < -GAIN_MIN || gain < -CONFIDENCE * error ||
        trial->binding_after[trial->knob] > BINDING_HALF)
        return TUNER_KNOBS;
    for (uint32_t i = 0; i < tuner->knob_count; i++) {
        const struct knob *knob = &tuner->knobs[i];
        if (i != trial->knob && knob->plan.group == group && !knob->settled &&
            knob->value < knob->plan.high && trial->binding_before[i] < BINDING_HALF &&
            trial->binding_after[i] > BINDING_HALF)
            return i;
    }
    return TUNER_KNOBS;
}

/* Settles the trial if what was measured says enough; false: measure more. */
static bool judge(struct tuner *tuner, uint64_t now_ns)
{
    struct tuner_trial *trial = &tuner->trial;
    double gain, error;
    compare(tuner, &gain, &error);
    bool exhausted = trial->repeats == TUNER_REPEATS && trial->was_count > TUNER_REPEATS;
    /* A drift looks like a gain to whom has not looked back; a large gain is no drift. */
    bool balanced = trial->was_count > trial->repeats || gain >= GAIN_PLAIN;
    if (balanced && gain >= GAIN_MIN && gain > CONFIDENCE * error) {
        if (costs_too_many_bytes(tuner)) {
            struct tuner_decision *decision = roll_back(tuner, TUNER_ROLLED_BACK, NULL, now_ns);
            tuner_explain(decision, "%.1f %% less CPU per point, for %.0f %% more bytes",
                          100 * (1 - exp(-gain)),
                          100 * (trial->after.bytes_per_point /
                                     trial->before[decision->group].bytes_per_point -
                                 1));
            return true;
        }
        tuner_explain(record_trial(tuner, TUNER_KEPT, NULL, now_ns),
                      "%.1f %% less CPU per point, noise %.1f %%, measured %u times",
                      100 * (1 - exp(-gain)), 100 * error, trial->repeats);
        move(tuner, gain, now_ns);
        return true;
    }
    if (gain + CONFIDENCE / 2 * error < GAIN_MIN || exhausted) {
        uint32_t heir = find_heir(tuner, gain, error);
        if (heir != TUNER_KNOBS) {
            tuner_explain(record_trial(tuner, TUNER_KEPT, NULL, now_ns),
                          "no dearer, and another knob decides now");
            knob_shift(&tuner->knobs[trial->knob], trial->to);
            end_trial(tuner);
            tuner->turn = heir;
            tuner->kept++;
            return true;
        }
        const char *why = gain < 0 ? "more CPU per point" : "less CPU per point is no proven gain";
        tuner_explain(roll_back(tuner, TUNER_ROLLED_BACK, NULL, now_ns),
                      "%.1f %% %s, noise %.1f %%, measured %u times", 100 * fabs(1 - exp(-gain)),
                      why, 100 * error, trial->repeats);
        return true;
    }
    return false;
}

/* ---- during a trial ---- */

static bool older_than_allowed(const struct tuner *tuner, const struct tuner_window *window,
                               uint32_t *ret_group)
{
    const struct tuner_trial *trial = &tuner->trial;
    for (uint32_t g = 0; g < TUNER_GROUPS; g++) {
        double age = window->groups[g].age_p99_s, before = trial->before[g].age_p99_s;
        bool own = g == tuner->knobs[trial->knob].plan.group;
        if (trial->before[g].growing || window->groups[g].draining)
            continue; /* ages are those of what piled up */
        if (age > tuner_target_s(tuner) * (own ? AGE_ROOM : 1) && age * AGE_HELPED > before) {
            *ret_group = g;
            return true;
        }
    }
    return false;
}

/* A trial that makes points pile up, fail, or too old ends at once; true: it did. What befalls the
 * former value, or another group, may be chance: the trial's value is no worse for it. */
static bool harmful(struct tuner *tuner, const struct tuner_window *window, uint64_t now_ns)
{
    const struct tuner_trial *trial = &tuner->trial;
    uint32_t group = tuner->knobs[trial->knob].plan.group;
    for (uint32_t g = 0; g < TUNER_GROUPS; g++) {
        const struct tuner_group *now = &window->groups[g], *before = &trial->before[g];
        bool growing = now->growing && !before->growing;
        if (now->failing == before->failing && !growing)
            continue;
        bool guilty = tuner->phase == TUNER_TRY && g == group && !before->failing;
        enum tuner_verdict verdict = guilty ? TUNER_ROLLED_BACK : TUNER_ABANDONED;
        tuner_explain(roll_back(tuner, verdict, window, now_ns), "%s",
                      growing        ? "points were dropped or piled up"
                      : now->failing ? "requests failed"
                                     : "requests succeed again");
        return true;
    }
    return false;
}

/* A value that makes points too old goes; true: it did, or it is measured again, as one hiccup of
 * the machine is no proof. */
static bool ages(struct tuner *tuner, const struct tuner_window *window, uint64_t now_ns)
{
    struct tuner_trial *trial = &tuner->trial;
    uint32_t group;
    if (tuner->phase != TUNER_TRY || trial->cure || !older_than_allowed(tuner, window, &group))
        return false;
    double age_s = window->groups[group].age_p99_s;
    if (age_s < HOPELESS * tuner_target_s(tuner) && trial->misses++ == 0)
        return true;
    tuner_explain(roll_back(tuner, TUNER_ROLLED_BACK, window, now_ns),
                  "age p99 %.3g s, target %.3g s", age_s, tuner_target_s(tuner));
    return true;
}

/* Whether the window can be compared with those of the trial. */
static bool alike(struct tuner *tuner, const struct tuner_window *window, uint64_t now_ns)
{
    struct tuner_trial *trial = &tuner->trial;
    double times = window->points_per_s / trial->load;
    bool draining = false;
    for (uint32_t g = 0; g < TUNER_GROUPS; g++)
        draining = draining || window->groups[g].draining;
    if (!window->thin && !draining && times < LOAD_UNLIKE && times > 1 / LOAD_UNLIKE) {
        trial->unlike = 0;
        return true;
    }
    if (++trial->unlike >= UNLIKE_MAX)
        tuner_explain(roll_back(tuner, TUNER_ABANDONED, window, now_ns),
                      "the load was another during the trial: %.3g, then %.3g points/s",
                      trial->load, window->points_per_s);
    return false;
}

static void judge_cure(struct tuner *tuner, const struct tuner_window *window, uint64_t now_ns)
{
    struct tuner_trial *trial = &tuner->trial;
    uint32_t group = tuner->knobs[trial->knob].plan.group;
    double before = trial->before[group].age_p99_s, after = window->groups[group].age_p99_s;
    if (after <= 0 && ++trial->unlike < UNLIKE_MAX)
        return; /* nothing was delivered yet */
    trial->after = window->groups[group];
    if (after > 0 && (after <= tuner_target_s(tuner) || after <= before * AGE_HELPED)) {
        tuner_explain(record_trial(tuner, TUNER_CURED, window, now_ns),
                      "age p99 %.3g s was above the target %.3g s, now %.3g s", before,
                      tuner_target_s(tuner), after);
        move(tuner, 0, now_ns);
        return;
    }
    tuner_explain(roll_back(tuner, TUNER_ROLLED_BACK, window, now_ns),
                  "age p99 stays at %.3g s, target %.3g s", after, tuner_target_s(tuner));
}

/* What piled up before gets less with this value, whatever it costs; true: it is kept for that. */
static bool relieves(struct tuner *tuner, const struct tuner_window *window, uint64_t now_ns)
{
    struct tuner_trial *trial = &tuner->trial;
    uint32_t group = tuner->knobs[trial->knob].plan.group;
    if (tuner->phase != TUNER_TRY || !trial->before[group].growing || window->groups[group].growing)
        return false;
    trial->after = window->groups[group];
    tuner_explain(record_trial(tuner, TUNER_CURED, window, now_ns),
                  "points piled up or were dropped, now they do not");
    move(tuner, 0, now_ns);
    return true;
}

void tuner_take_trial(struct tuner *tuner, const struct tuner_window *window, uint64_t now_ns)
{
    struct tuner_trial *trial = &tuner->trial;
    if (harmful(tuner, window, now_ns) || relieves(tuner, window, now_ns) ||
        ages(tuner, window, now_ns))
        return;
    if (trial->cure) {
        judge_cure(tuner, window, now_ns);
        return;
    }
    if (!alike(tuner, window, now_ns))
        return;
    if (tuner->phase == TUNER_TRY) {
        trial->tried[trial->repeats++] = log(window->cost_ns);
        trial->after = window->groups[tuner->knobs[trial->knob].plan.group];
        memcpy(trial->binding_after, window->binding, sizeof trial->binding_after);
        if (!judge(tuner, now_ns))
            tuner->phase = TUNER_RETURN;
        return;
    }
    trial->was[trial->was_count++] = log(window->cost_ns);
    tuner_learn_noise(tuner, trial->was[trial->was_count - 1] - trial->was[trial->was_count - 2]);
    if (!judge(tuner, now_ns))
        tuner->phase = TUNER_TRY;
}
