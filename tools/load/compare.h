/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>
#include <stdio.h>

#include "base/error.h"

/* Compares run B with run A (paths of result.json) and prints a table, last line `key=value` pairs.
 *
 * tolerance: the share by which a metric may differ and still count as the same (0.1 = 10 %).
 * A metric is worse or better when it changed by more than the tolerance, by more than the smallest
 * amount that matters for it, and by more than the noise told from both runs themselves: the spread
 * of their timelines within the longest phase, the ranks around a percentile. What was lost,
 * doubled, rejected, dropped, skipped, failed or omitted is exact: any more of it is worse. A
 * condition that held in A and fails in B is worse, too. What depends on the load as a whole
 * (points/s, CPU, RSS) is judged only when both ran the same load.
 *
 * Returns 0: nothing is worse; 1: something is; -1: a file cannot be read, `error` says why. */
int compare_results(const char *a_path, const char *b_path, double tolerance, FILE *out,
                    struct error *error);

/* The rows of that table: [{metric, label, unit, a, b, change, noise, verdict}], where change and
 * noise are shares or null, and verdict is one of
 *   better, worse, same, noise (past the tolerance, but within the noise), info (not judged),
 * missing. The caller gives it back with json_decref(). */
json_t *compare_rows(const json_t *a, const json_t *b, double tolerance);
