/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "tools/load/outcome.h"
#include "tools/load/progress.h"

/* The kinds that consist of several runs: ramp and knee. Each step is a run of its own, with fresh
 * programs, as pgweir takes no new servers while it runs. The outcome is that of the best step,
 * with the table of all. */
bool steps_ramp(const struct scenario *scenario, const char *directory, struct progress *progress,
                struct outcome **ret_outcome, struct error *error);
bool steps_knee(const struct scenario *scenario, const char *directory, struct progress *progress,
                struct outcome **ret_outcome, struct error *error);

/* The step to mark: the last that held before one that did not; SIZE_MAX: none held. */
size_t steps_knee_index(const struct outcome *outcome);
