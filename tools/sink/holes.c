/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/sink/holes.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { SPACE_MIN = 4 };

void holes_fini(struct holes *holes)
{
    free(holes->items);
    *holes = (struct holes){0};
}

static void insert(struct holes *holes, uint32_t at, struct hole hole)
{
    if (holes->count == holes->space) {
        holes->space = holes->space == 0 ? SPACE_MIN : 2 * holes->space;
        holes->items = xrealloc(holes->items, holes->space * sizeof holes->items[0]);
    }
    memmove(holes->items + at + 1, holes->items + at, (holes->count - at) * sizeof holes->items[0]);
    holes->items[at] = hole;
    holes->count++;
}

static void erase(struct holes *holes, uint32_t at)
{
    holes->count--;
    memmove(holes->items + at, holes->items + at + 1, (holes->count - at) * sizeof holes->items[0]);
}

static void give_up_oldest(struct holes *holes, uint32_t most)
{
    if (holes->count <= most)
        return;
    if (holes->items[0].to > holes->given_up_below)
        holes->given_up_below = holes->items[0].to;
    erase(holes, 0);
}

void holes_append(struct holes *holes, struct hole hole, uint32_t most)
{
    insert(holes, holes->count, hole);
    give_up_oldest(holes, most);
}

void holes_prepend(struct holes *holes, struct hole hole, uint32_t most)
{
    insert(holes, 0, hole);
    give_up_oldest(holes, most);
}

/* The last hole that does not begin above the step; `count` where there is none. A backlog that
 * comes behind fresh points fills the oldest of hundreds. */
static uint32_t find(const struct holes *holes, uint32_t step)
{
    uint32_t low = 0, high = holes->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (holes->items[middle].from <= step)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? low - 1 : holes->count;
}

bool holes_fill(struct holes *holes, uint32_t step, uint32_t most)
{
    uint32_t i = find(holes, step);
    if (i == holes->count || step >= holes->items[i].to)
        return false;
    struct hole *hole = &holes->items[i];
    if (step == hole->from) {
        hole->from++;
    } else if (step == hole->to - 1) {
        hole->to--;
    } else {
        struct hole upper = {step + 1, hole->to};
        hole->to = step;
        insert(holes, i + 1, upper);
        give_up_oldest(holes, most);
        return true;
    }
    if (hole->from == hole->to)
        erase(holes, i);
    return true;
}

uint64_t holes_steps(const struct holes *holes)
{
    uint64_t steps = 0;
    for (uint32_t i = 0; i < holes->count; i++)
        steps += holes->items[i].to - holes->items[i].from;
    return steps;
}
