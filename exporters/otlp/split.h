/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An encoded ExportMetricsServiceRequest cut in two, for back ends that take less at once than a
 * batch holds (413, a limit on bytes). Works on any such request, not only on ours: fields it does
 * not know are kept. Pure functions, any thread; the bytes may be anybody's. */

/* Its data points; false where the bytes are no such request. */
bool otlp_count_points(const uint8_t *body, size_t bytes, uint64_t *ret_points);

struct otlp_part {
    uint8_t *body; /* caller's memory, of as many bytes as the whole has */
    size_t bytes;
    uint64_t points;
};

/* Writes both parts, in the order of the whole. Each has half of the points, give or take an eighth
 * of them where that spares cutting a message: preferably whole resources, then whole scopes, then
 * whole metrics, then some of a metric's points. What is above the cut (resource, scope; name,
 * unit, temporality, …) is in both parts. False where there is only one point or none, or the bytes
 * are no such request; then nothing of `parts` is changed but the memory. */
bool otlp_split(const uint8_t *body, size_t bytes, struct otlp_part parts[2]);
