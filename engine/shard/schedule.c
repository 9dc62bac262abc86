/* SPDX-License-Identifier: Apache-2.0 */
/* Due times on their grid:
 *
 *   first_due + number · interval, number = 0, 1, 2, …
 *
 * A late collection takes the first time that was missed, so that its lag is told, and lets the
 * others go. Shard's thread. */
#include "shard/schedule.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "shard/stretch.h"

void schedule_init(struct schedule *schedule, const char *const *names,
                   const uint64_t *intervals_ns, size_t group_count)
{
    CHECK(group_count <= STRETCH_GROUPS_MAX);
    *schedule =
        (struct schedule){.names = names, .intervals_ns = intervals_ns, .group_count = group_count};
    schedule->groups = xcalloc(group_count + 1, sizeof *schedule->groups);
}

void schedule_begin(struct schedule *schedule, const char *target, uint64_t first_due_ns)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (const char *c = target; *c != 0; c++)
        hash = (hash ^ (unsigned char)*c) * 16777619u;
    schedule->phase = hash;
    schedule->first_due_ns = first_due_ns;
    for (size_t i = 0; i < schedule->group_count; i++)
        schedule->groups[i].due_ns = first_due_ns;
}

void schedule_fini(struct schedule *schedule)
{
    free(schedule->groups);
    *schedule = (struct schedule){0};
}

uint64_t schedule_next_ns(const struct schedule *schedule)
{
    uint64_t next_ns = UINT64_MAX;
    for (size_t i = 0; i < schedule->group_count; i++)
        if (schedule->intervals_ns[i] != 0 && schedule->groups[i].due_ns < next_ns)
            next_ns = schedule->groups[i].due_ns;
    return next_ns;
}

/* By what the groups cost now; they keep their places until the level changes again. */
static void stretch(struct schedule *schedule, uint32_t level)
{
    struct stretch_group groups[STRETCH_GROUPS_MAX];
    uint8_t doublings[STRETCH_GROUPS_MAX];
    schedule->level = level;
    for (size_t i = 0; i < schedule->group_count; i++) {
        const struct schedule_group *group = &schedule->groups[i];
        uint64_t interval_ns = schedule->intervals_ns[i];
        uint32_t points = group->points > group->before ? group->points : group->before;
        groups[i] = (struct stretch_group){
            .name = schedule->names[i],
            .cost = interval_ns != 0 ? points * ((double)NS_PER_S / (double)interval_ns) : 0,
            .enabled = interval_ns != 0};
    }
    stretch_plan(groups, schedule->group_count, level, doublings);
    for (size_t i = 0; i < schedule->group_count; i++)
        schedule->groups[i].doublings = doublings[i];
}

/* The group's next due time has come: it is ahead again. Which of those that have passed is taken;
 * UINT64_MAX: none. */
static uint64_t take_group(struct schedule *schedule, size_t index, uint64_t now_ns)
{
    struct schedule_group *group = &schedule->groups[index];
    uint64_t interval_ns = schedule->intervals_ns[index], first_ns = schedule->first_due_ns;
    uint64_t number = (group->due_ns - first_ns) / interval_ns;
    uint64_t count = (now_ns - group->due_ns) / interval_ns + 1;
    uint64_t taken = stretch_next(number, count, schedule->phase, group->doublings);
    group->due_ns += count * interval_ns;
    if (taken == number + count)
        return UINT64_MAX;
    group->before = group->points;
    group->points = 0;
    return first_ns + taken * interval_ns;
}

struct schedule_due schedule_take(struct schedule *schedule, uint32_t level, uint64_t now_ns)
{
    struct schedule_due due = {.due_ns = UINT64_MAX};
    if (level != schedule->level)
        stretch(schedule, level);
    for (size_t i = 0; i < schedule->group_count; i++) {
        if (schedule->intervals_ns[i] == 0 || schedule->groups[i].due_ns > now_ns)
            continue;
        uint64_t due_ns = take_group(schedule, i, now_ns);
        if (due_ns == UINT64_MAX) {
            due.left_out++;
            continue;
        }
        due.groups |= 1ull << i;
        if (due_ns < due.due_ns)
            due.due_ns = due_ns;
    }
    return due;
}

void schedule_count(struct schedule *schedule, size_t group, uint64_t points)
{
    CHECK(group < schedule->group_count);
    uint64_t sum = schedule->groups[group].points + points;
    schedule->groups[group].points = sum < UINT32_MAX ? (uint32_t)sum : UINT32_MAX;
}
