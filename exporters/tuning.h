/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "control/tuner.h"
#include "exporters/batch.h"

/* The auto-tuner at work: measures the worker's windows, asks control/tuner.h, and sets what it
 * says: of each destination flush age and size of its batches, the most requests in flight, the
 * compressor's level. Runs on the worker; tuning_read() is for any thread. */
struct tuning;

/* Once and again while nothing is due it costs a comparison. Settings are copied. */
struct tuning *tuning_create(const struct tuner_settings *settings,
                             struct telemetry_set *worker_set);
void tuning_destroy(struct tuning **tuning); /* NULL inside is fine */

/* A destination with the batches that fill it, both borrowed. Before the first step. */
void tuning_add(struct tuning *tuning, const char *id, struct destination *destination,
                struct batch *const *batches, uint32_t batch_count);

/* Does what time demands; returns when to be called next. */
uint64_t tuning_step(struct tuning *tuning, uint64_t now_ns);

struct tuning_knob_status {
    char exporter[64];
    char name[24];
    const char *unit; /* "points", "s", "requests", "level" */
    double value, configured, low, high;
    uint64_t kept, rolled_back; /* trials */
};

struct tuning_status {
    enum tuner_mode mode;
    double age_target_s;
    bool trying; /* then `trial`, a knob, has `trial_value` for now */
    uint32_t trial;
    double trial_value;
    double cost_ns, noise, points_per_s, cpu_share; /* of the last window; 0: none yet */
    uint64_t trials, kept, rolled_back;
    uint32_t knob_count;
    struct tuning_knob_status knobs[TUNER_KNOBS];
    uint32_t decision_count; /* newest last */
    struct tuner_decision decisions[TUNER_DECISIONS];
};

void tuning_read(const struct tuning *tuning, struct tuning_status *ret_status);
