/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "control/knob.h"

/* The auto-tuner's law: least CPU per point, while end-to-end age p99 stays within its target and
 * nothing is dropped or piles up. One knob at a time:
 *
 *   watch → try one knob → (back to the former value → try again)* → keep, or roll back → watch
 *
 * A trial is repeated, each time between two measurements of the former value, until the difference
 * is larger than the noise, or is not worth finding. A target that is missed goes before all else:
 * then knobs that make points younger are turned, and CPU does not count.
 *
 * Pure: windows and time in, values out; no I/O, no clock, no allocation. One thread. */
enum tuner_mode { TUNER_OFF, TUNER_ADVISE, TUNER_ON };

enum {
    TUNER_KNOBS = 64,
    TUNER_GROUPS = 16,
    TUNER_DECISIONS = 32,
    TUNER_REPEATS = 4, /* of a trial, at most */
};

/* As configured: service.tuner. */
struct tuner_settings {
    int mode; /* enum tuner_mode */
    uint64_t age_p99_ns;
    uint64_t interval_ns; /* of one measurement */
    int64_t batch_size_min, batch_size_max;
    uint64_t flush_age_min_ns, flush_age_max_ns; /* longest 0: half of age_p99 */
};

/* What was measured while no value changed. */
struct tuner_window {
    double cost_ns; /* CPU per point */
    double points_per_s;
    double cpu_share; /* of one core: what there is to save */
    bool thin;        /* too few points or batches: cost says nothing, ages count */
    struct tuner_group {
        double age_p99_s; /* 0: nothing was delivered */
        bool growing;     /* points were dropped, or have piled up and do not get fewer */
        bool draining;    /* what has piled up gets less: ages and cost are of the past */
        bool failing;     /* the back end is not well: they are not of our making */
        double bytes_per_point;
    } groups[TUNER_GROUPS];
    double binding[TUNER_KNOBS]; /* share of cases that the knob decided: one that never does is not
                                    worth a trial */
};

enum tuner_verdict {
    TUNER_KEPT,        /* cheaper */
    TUNER_ROLLED_BACK, /* not cheaper, or too old, or more piled up or failed */
    TUNER_CURED,       /* younger, while the target was missed */
    TUNER_ABANDONED,   /* rolled back: load or back end changed during the trial */
    TUNER_ADVISED,     /* would have been tried */
    TUNER_ARMED,       /* all knobs are looked at again: the load changed */
    TUNER_GAVE_UP,     /* the target is missed and no knob helps */
    TUNER_VERDICTS,
};

struct tuner_decision {
    uint64_t at_ns;
    enum tuner_verdict verdict;
    uint32_t group, knob; /* knob TUNER_KNOBS: none */
    double from, to;
    double cost_before_ns, cost_after_ns; /* 0: not measured */
    double age_before_s, age_after_s;     /* of the knob's group; 0: not measured */
    double noise;                         /* of one window, relative */
    uint32_t repeats;
    char reason[128];
};

enum tuner_phase {
    TUNER_WATCH,  /* all values are those kept */
    TUNER_TRY,    /* one knob has its trial's value */
    TUNER_RETURN, /* the former value again, to compare */
};

struct tuner_trial {
    uint32_t knob, repeats; /* repeats: windows measured with `to` */
    double from, to;
    bool cure;
    struct tuner_group before[TUNER_GROUPS], after;
    double binding_before[TUNER_KNOBS], binding_after[TUNER_KNOBS];
    double load;                   /* points/s before */
    double was[TUNER_REPEATS + 1]; /* logarithms of cost, before and between */
    double tried[TUNER_REPEATS];
    uint32_t was_count;
    uint32_t unlike; /* windows in a row whose load was another */
    uint32_t misses; /* windows whose age was above the target */
};

/* A group's target, as far as it is missed. */
struct tuner_trouble {
    uint32_t windows; /* in a row */
    bool given_up;
    uint64_t rest_until_ns;
    uint32_t rests;
    uint64_t useless; /* bit i: the group's i-th knob did not help */
};

struct tuner {
    struct tuner_settings settings;
    uint32_t knob_count, turn; /* turn: the knob to look at first */
    struct knob knobs[TUNER_KNOBS];
    enum tuner_phase phase;
    struct tuner_trial trial;
    struct tuner_trouble troubles[TUNER_GROUPS];
    double noise;         /* of the logarithm of one window's cost */
    double last_cost_log; /* of the window before, with the same values; NAN: none */
    double rate, load,
        load_armed; /* points/s: last window; smoothed; when last armed. 0: not known */
    uint64_t armed_ns;
    uint64_t trials, kept, rolled_back;
    uint64_t decision_count;
    struct tuner_decision
        decisions[TUNER_DECISIONS]; /* ring: decision_count % TUNER_DECISIONS next */
};

void tuner_init(struct tuner *tuner, const struct tuner_settings *settings);

/* Adds a knob; of one group, those that make points younger in the order in which to turn them.
 * Returns its index. */
uint32_t tuner_add(struct tuner *tuner, const struct knob_plan *plan);

/* A window ended. True: values changed; the next window begins once they have taken effect. */
bool tuner_take(struct tuner *tuner, const struct tuner_window *window, uint64_t now_ns);

/* The value that should be in force. */
double tuner_value(const struct tuner *tuner, uint32_t knob);

const char *tuner_verdict_name(enum tuner_verdict verdict);
