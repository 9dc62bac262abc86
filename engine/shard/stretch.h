/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is left out where back ends take less than is collected: the intervals of a target's groups
 * grow by powers of two, those of the dearest groups first. Pure. */

/* A group of statements of one target. */
struct stretch_group {
    const char *name;
    double cost; /* points a second; 0: not known or nothing */
    bool enabled;
};

enum { STRETCH_GROUPS_MAX = 64 };

/* By how many doublings each group's interval grows at `level` (0 to 4). The enabled groups,
 * dearest first, make four equal classes; class c is doubled once for each level above c, so
 *
 *     level   1    2    3    4
 *     dearest x2   x4   x8   x16
 *             .    x2   x4   x8
 *             .    .    x2   x4
 *     core    .    .    .    x2
 *
 * Group "core", which says whether a server lives, is of the last class whatever it costs. */
void stretch_plan(const struct stretch_group *groups, size_t count, uint32_t level,
                  uint8_t *ret_doublings);

/* The grid stays: of a group's due times (numbered from 0 on) those are taken whose number plus
 * `phase` is divisible by 2^doublings, so that it takes up its old times by itself and targets of
 * different phases take turns. Of the `count` times from `first` on: the first that is taken;
 * `first + count` where none is. */
uint64_t stretch_next(uint64_t first, uint64_t count, uint32_t phase, uint8_t doublings);
