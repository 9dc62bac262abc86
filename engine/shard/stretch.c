/* SPDX-License-Identifier: Apache-2.0 */
/* Which groups are collected more rarely under pressure; target.c asks. Dear is what makes many
 * points a second, as that is what fills queues. */
#include "shard/stretch.h"

#include <string.h>

#include "base/check.h"

enum { CLASSES = 4 };

static bool is_core(const struct stretch_group *group)
{
    return strcmp(group->name, "core") == 0;
}

/* How many enabled groups come before this one: dearer ones, of equals the earlier; core last. */
static size_t rank_of(const struct stretch_group *groups, size_t count, size_t index)
{
    const struct stretch_group *own = &groups[index];
    size_t before = 0;
    for (size_t i = 0; i < count; i++) {
        const struct stretch_group *other = &groups[i];
        if (i == index || !other->enabled || is_core(other))
            continue;
        before +=
            is_core(own) || other->cost > own->cost || (other->cost == own->cost && i < index);
    }
    return before;
}

void stretch_plan(const struct stretch_group *groups, size_t count, uint32_t level,
                  uint8_t *ret_doublings)
{
    CHECK(count <= STRETCH_GROUPS_MAX);
    size_t enabled = 0;
    for (size_t i = 0; i < count; i++)
        enabled += groups[i].enabled;
    for (size_t i = 0; i < count; i++) {
        ret_doublings[i] = 0;
        if (!groups[i].enabled)
            continue;
        size_t class =
            is_core(&groups[i]) ? CLASSES - 1 : rank_of(groups, count, i) * CLASSES / enabled;
        if (level > class)
            ret_doublings[i] = (uint8_t)(level - class);
    }
}

uint64_t stretch_next(uint64_t first, uint64_t count, uint32_t phase, uint8_t doublings)
{
    uint64_t every = 1ull << doublings, over = (first + phase) % every;
    uint64_t wait = over == 0 ? 0 : every - over;
    return first + (wait < count ? wait : count);
}
