/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* One number that the auto-tuner may turn, and what is known of its neighbourhood: a search on a
 * line where every look costs a measurement. It brackets: far steps while they pay, then halves of
 * the gap to the nearest value that did not, until the gaps are small; then it rests, for longer
 * and longer. Pure. */
enum knob_scale {
    KNOB_FACTOR, /* steps multiply: sizes, times */
    KNOB_STEP,   /* steps add: levels */
};

struct knob_plan {
    const char *name; /* "send_batch_size" */
    uint32_t group;   /* what it acts on: a destination */
    enum knob_scale scale;
    bool whole;       /* whole numbers */
    double low, high; /* never left by a move; a value that is outside at the start moves to them */
    double start;
    double reach;      /* first step: a factor, or what is added */
    double resolution; /* smallest step worth a measurement */
    int first_side;    /* +1, −1: where to look first */
    int dear;          /* −1, +1: the side where CPU can grow manifold; 0: neither */
    int cure;          /* −1: less of it makes points younger; +1: more does; 0: neither */
    bool costs_bytes;  /* what it saves of CPU, bodies may pay in bytes */
};

struct knob {
    struct knob_plan plan;
    double value;                    /* in force, but for a trial */
    double worse_below, worse_above; /* nearest tried values that were no better; NAN: none */
    double reach;                    /* as a distance: of logarithms, for KNOB_FACTOR */
    int side;                        /* where to look first */
    int kept_side;                   /* of the last move; 0: none */
    bool settled;                    /* has rested since it was last armed */
    bool resting;
    uint64_t rest_until_ns;
    uint32_t rests;     /* in a row: each is twice as long */
    double bytes_ratio; /* bytes a point, against those at the start; by costs_bytes only */
};

void knob_init(struct knob *knob, const struct knob_plan *plan);

/* Where a trial may go. */
struct knob_limits {
    bool down;         /* only to smaller values */
    double dear_steps; /* resolutions, at most, to the dear side */
};

/* The next value worth a trial; false when there is none left around here. */
bool knob_propose(const struct knob *knob, const struct knob_limits *limits, double *ret_value);

/* The trial of `value` was better, and it is the value now; or it was no better. */
void knob_keep(struct knob *knob, double value);
void knob_reject(struct knob *knob, double value);

/* `value` is as good, and is the value now. */
void knob_shift(struct knob *knob, double value);

/* A value that makes points younger: the bound where the value is far beyond it, else a step
 * towards less age. False when there is none. */
bool knob_propose_cure(const struct knob *knob, double *ret_value);

/* Nothing more to find here for now. */
void knob_rest(struct knob *knob, uint64_t interval_ns, uint64_t now_ns);

/* True while it rests; a rest that is over opens the neighbourhood again, for near looks. */
bool knob_resting(struct knob *knob, uint64_t now_ns);

/* What was known is void: conditions, or another knob, changed. */
void knob_arm(struct knob *knob);
