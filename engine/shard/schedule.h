/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* When which group of statements of one target is due. Each group has a grid of due times; they
 * never move. Under pressure due times are left out, of the dearest groups first (stretch.h). A
 * plain structure in its target; pure but for its memory. */
struct schedule_group {
    uint64_t due_ns;   /* the next of its grid */
    uint32_t points;   /* since its last collection began: what that gave, once it is over */
    uint32_t before;   /* what the collection before gave */
    uint8_t doublings; /* of its interval, under pressure */
};

struct schedule {
    const char *const *names;     /* borrowed, as is what follows */
    const uint64_t *intervals_ns; /* 0: not collected */
    size_t group_count;           /* at most 64 */
    uint64_t first_due_ns;        /* where all grids begin */
    uint32_t level;               /* of the pressure */
    uint32_t phase;               /* which due times are kept: targets take turns */
    struct schedule_group *groups;
};

struct schedule_due {
    uint64_t groups;   /* bit i: group i is to be collected */
    uint64_t due_ns;   /* when the first of them should have begun; UINT64_MAX: there is none */
    uint32_t left_out; /* groups that were due and are left out */
};

/* At most 64 groups; aborts when memory is out. schedule_begin() sets the grids and, by the
 * target's name, the phase. */
void schedule_init(struct schedule *schedule, const char *const *names,
                   const uint64_t *intervals_ns, size_t group_count);
void schedule_begin(struct schedule *schedule, const char *target, uint64_t first_due_ns);
void schedule_fini(struct schedule *schedule);

/* When the next group is due; UINT64_MAX where none is collected. */
uint64_t schedule_next_ns(const struct schedule *schedule);

/* What is due now, at this pressure (0 to 4). Times that were missed are made up for once, and the
 * next ones are ahead again. */
struct schedule_due schedule_take(struct schedule *schedule, uint32_t level, uint64_t now_ns);

/* The group's collection gave so many points: what it costs. */
void schedule_count(struct schedule *schedule, size_t group, uint64_t points);
