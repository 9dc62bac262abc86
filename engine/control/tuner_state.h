/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "control/tuner.h"

/* What the two halves of the tuner, tuner.c (what to try, and when) and tuner_trial.c (what came of
 * it), share. */

/* The age that may not be passed. */
double tuner_target_s(const struct tuner *tuner);

/* A new decision, its reason to be explained. */
struct tuner_decision *tuner_record(struct tuner *tuner, enum tuner_verdict verdict,
                                    uint64_t now_ns);
void tuner_explain(struct tuner_decision *decision, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Two costs, as logarithms, of the same values differ by so much. */
void tuner_learn_noise(struct tuner *tuner, double difference);

/* All knobs of a group (TUNER_GROUPS: of all) but one are looked at again. */
void tuner_arm(struct tuner *tuner, uint32_t group, uint32_t but);

/* From the next window on the knob has this value, on trial; `cure`: against age. */
void tuner_begin_trial(struct tuner *tuner, const struct tuner_window *window, uint32_t knob,
                       double to, bool cure);

/* A window of a trial. */
void tuner_take_trial(struct tuner *tuner, const struct tuner_window *window, uint64_t now_ns);
