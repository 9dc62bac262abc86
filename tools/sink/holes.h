/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The steps of a series that have not come, as ranges in ascending order. At most `most` of them:
 * beyond that the oldest is given up (it stays missing, and a step of it that comes after all is
 * told by `given_up_below`). Zeroed memory is an empty list. */
struct hole {
    uint32_t from, to; /* [from, to) */
};

struct holes {
    struct hole *items;
    uint32_t count, space;
    uint32_t given_up_below;
};

void holes_fini(struct holes *holes);

/* A range above all there are, or below all. */
void holes_append(struct holes *holes, struct hole hole, uint32_t most);
void holes_prepend(struct holes *holes, struct hole hole, uint32_t most);

/* Takes the step out; false when no hole has it. */
bool holes_fill(struct holes *holes, uint32_t step, uint32_t most);

/* Steps missing. */
uint64_t holes_steps(const struct holes *holes);
