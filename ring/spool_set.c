/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges in order. Acks come nearly in order, so that most adds widen the last or first range. */
#include "ring/spool_set.h"

#include "base/check.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

void spool_set_fini(struct spool_set *set)
{
    free(set->ranges);
    *set = (struct spool_set){.ranges = NULL};
}

/* The first range that ends at or behind `number`. */
static size_t find(const struct spool_set *set, uint64_t number)
{
    size_t low = 0, high = set->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (set->ranges[middle].end < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool spool_set_has(const struct spool_set *set, uint64_t number)
{
    size_t at = find(set, number);
    if (at < set->count && set->ranges[at].end == number)
        at++;
    return at < set->count && set->ranges[at].first <= number && number < set->ranges[at].end;
}

void spool_set_add(struct spool_set *set, struct spool_range range)
{
    CHECK(range.first < range.end);
    size_t from = find(set, range.first), to = from;
    for (; to < set->count && set->ranges[to].first <= range.end; to++) {
        const struct spool_range *old = &set->ranges[to];
        if (old->first < range.first) {
            range.first = old->first;
            range.points_before = old->points_before;
        }
        if (old->end > range.end) {
            range.end = old->end;
            range.points_end = old->points_end;
        }
    }
    if (to == from && set->count == set->capacity) {
        set->capacity = set->capacity > 0 ? 2 * set->capacity : 16;
        set->ranges = xrealloc(set->ranges, set->capacity * sizeof *set->ranges);
    }
    memmove(&set->ranges[from + 1], &set->ranges[to], (set->count - to) * sizeof *set->ranges);
    set->ranges[from] = range;
    set->count = set->count + 1 - (to - from);
}
