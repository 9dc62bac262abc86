/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decides which points are lost and which came twice. The simulator gives every execution of a
 * statement a step, 1, 2, 3, …, and every monotonic sum of its answer carries it (int:
 * value / 1000; double: floor(value)): so each step of a series is there exactly once, or it is
 * lost or doubled. Points without a step (gauges, sums that go both ways, histograms) can only be
 * told doubled, by their time.
 *
 * A series is a resource, a metric and point attributes; a new start time is a reset, from which
 * steps begin anew. 32 bytes per series, more only where steps are missing. One thread. */
struct ledger;

enum { LEDGER_UNPROVEN_STEP = UINT32_MAX };

/* One point as it arrived. */
struct ledger_point {
    uint64_t series;  /* hash of resource, metric, attributes */
    uint64_t time_ns; /* of the point */
    uint32_t start;   /* hash of its start time; 0: none */
    uint32_t step;    /* 0: told by its time; LEDGER_UNPROVEN_STEP: a sum without a step */
    uint32_t place;   /* index into the places */
    uint32_t ordinal; /* which point of its body, from 0 */
};

/* Where a point stands in the body, for people. */
struct ledger_place {
    const uint8_t *resource, *metric; /* not NUL-terminated; the resource is protobuf */
    uint32_t resource_bytes, metric_bytes;
};

/* One body that was taken. */
struct ledger_body {
    const struct ledger_point *points;
    size_t count;
    const struct ledger_place *places;
    uint64_t wall_ns;    /* when it arrived */
    uint32_t first_kept; /* points before this ordinal were rejected and are not entered */
    bool again;          /* the same bytes were entered before */
    bool excused;        /* … because an answer was lost: doubled points are expected */
};

struct ledger_counts {
    uint64_t series;           /* start times counted apart */
    uint64_t points;           /* entered: distinct + doubled + undecided + unproven_points */
    uint64_t distinct;         /* different points */
    uint64_t doubled;          /* points seen again */
    uint64_t doubled_excused;  /* of these, in a body sent again because its answer was lost */
    uint64_t gaps;             /* steps missing between a series' first and last */
    uint64_t resets;           /* series that began anew with another start time */
    uint64_t unproven;         /* series of sums whose values carry no steps */
    uint64_t unproven_points;  /* their points */
    uint64_t undecided;        /* steps in a gap that was given up (LEDGER_HOLES_MAX) */
    uint64_t first_arrival_ns; /* wall clock; 0: nothing came */
    uint64_t last_arrival_ns;
    uint64_t bytes; /* of memory */
};

enum {
    LEDGER_HOLES_MAX = 1024,   /* gaps of a series that late points may still fill */
    LEDGER_JUMP_MAX = 1 << 20, /* a step further than this is no step */
    LEDGER_EXAMPLES_MAX = 8,
};

struct ledger *ledger_create(void);
void ledger_destroy(struct ledger **ledger);

void ledger_enter(struct ledger *ledger, const struct ledger_body *body);

struct ledger_counts ledger_counts(const struct ledger *ledger);

/* The first points that came twice without excuse, series that are unproven, and gaps that are
 * open, as text for people: "postgresql.commits of server.address=db-1: step 7 came twice". NULL
 * past the last. */
const char *ledger_doubled_example(const struct ledger *ledger, size_t index);
const char *ledger_unproven_example(const struct ledger *ledger, size_t index);
const char *ledger_gap_example(struct ledger *ledger, size_t index);
