/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "tools/load/scenario.h"

/* The measured time of a scenario as phases: the file's own, or those that its kind means. */
struct phases {
    const struct scenario_phase *items;
    size_t count;
    uint64_t total_ns;
};

/* Texts are the arena's. The error says what cannot be done, and where to turn. */
bool phases_make(struct arena *arena, const struct scenario *scenario, struct phases *ret_phases,
                 struct error *error);
