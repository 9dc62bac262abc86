/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pthread.h>

#include "exporters/tuning.h"

/* The tuner's state, shared by its halves: tuning.c (knobs, the worker's turn, what is told) and
 * tuning_measure.c (windows). */
enum knob_kind { KIND_FLUSH, KIND_SIZE, KIND_REQUESTS, KIND_LEVEL, KIND_COUNT };

/* What one knob is connected to. */
struct handle {
    enum knob_kind kind;
    uint32_t group;
    struct batch *batch; /* KIND_FLUSH, KIND_SIZE */
    struct outbox *outbox;
    char name[24];
    struct batch_tally before; /* at the window's start */
    struct telemetry_set *set;
    double applied; /* the value in force */
    uint64_t kept, rolled_back;
};

/* What one destination had counted at the window's start. */
struct group {
    char id[64];
    struct destination *destination;
    const struct telemetry_set *set;
    struct histogram_view age;
    uint64_t values[TELEMETRY_VALUE_COUNT];
    uint32_t looks, looks_full; /* how often all requests allowed were in flight */
    uint32_t closed;            /* batches, in the window that ended */
};

struct tuning {
    struct tuner tuner;
    struct telemetry_set *worker_set;
    struct handle handles[TUNER_KNOBS];
    struct group groups[TUNER_GROUPS];
    struct batch *batches[TUNER_KNOBS];
    uint32_t batch_groups[TUNER_KNOBS];
    struct batch_tally batch_from[TUNER_KNOBS]; /* at the window's start */
    uint32_t batch_count, group_count;
    bool measuring;
    uint32_t alarms;               /* windows in a row that ended early */
    uint64_t next_ns;              /* of the next look */
    uint64_t from_ns, from_cpu_ns; /* the window's start */
    uint64_t told;                 /* decisions logged */
    struct tuner_window window;
    pthread_mutex_t lock; /* of what follows */
    struct tuning_status status;
};

/* A window begins, or has ended: then tuning->window holds what was measured. */
void tuning_begin_window(struct tuning *tuning, uint64_t now_ns);
void tuning_end_window(struct tuning *tuning, uint64_t now_ns);

/* Several times a window: what can only be seen by looking often. */
void tuning_look(struct tuning *tuning);

/* Whether the window must not go on: points are lost, or get too old in an open batch. */
bool tuning_alarmed(const struct tuning *tuning, uint64_t now_ns);

/* Whether enough was measured, or there will never be enough. */
bool tuning_window_over(const struct tuning *tuning, uint64_t now_ns);
