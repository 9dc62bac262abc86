/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Which record numbers are done with: a sorted array of ranges that neither overlap nor touch. Each
 * carries the sums of points at its two ends, so that joining and cutting keep them exact. */
struct spool_range {
    uint64_t first, end; /* [first, end), not empty */
    uint64_t points_before, points_end;
};

struct spool_set {
    struct spool_range *ranges;
    size_t count, capacity;
};

void spool_set_fini(struct spool_set *set);

/* Joined with what overlaps or touches it. */
void spool_set_add(struct spool_set *set, struct spool_range range);

bool spool_set_has(const struct spool_set *set, uint64_t number);
