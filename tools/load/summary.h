/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdio.h>

#include "tools/load/outcome.h"

/* The text for people, with its last line for scripts:
 *
 *     servers=1000 lag_p99_ms=1.2 age_p99_ms=210 points_per_s=43210 lost=0 doubled=0
 *     cpu_us_per_point=0.31 rss_kib_per_server=59.4        (in one line)
 *
 * A figure that is not known is "na". */
void summary_print(const struct scenario *scenario, const struct outcome *outcome, FILE *out);
void summary_print_last_line(const struct outcome *outcome, FILE *out);

/* The table of a ramp or a bisection. `knee`: index of the last step that held, or SIZE_MAX. */
void summary_print_steps(const struct outcome *outcome, size_t knee, FILE *out);
