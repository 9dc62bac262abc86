/* SPDX-License-Identifier: Apache-2.0 */
/* Targets stand in a table of fixed size, each in one of four places; where all are taken the one
 * told longest ago gives way. Forgetting costs a sample more, never one less. */
#include "exporters/remote/told.h"

#include <stdlib.h>

#include "base/memory.h"

enum { SETS = 1 << 14, WAYS = 4 };

struct told_target {
    uint64_t hash;
    int64_t told_ms;
};

void told_init(struct told *told)
{
    *told = (struct told){.targets = calloc((size_t)SETS * WAYS, sizeof *told->targets)};
    xdone(told->targets != NULL);
}

void told_fini(struct told *told)
{
    free(told->targets);
}

static bool pending(const struct told *told, const int64_t *told_ms)
{
    for (uint32_t i = 0; i < told->later_count; i++)
        if (told->later[i].place == told_ms)
            return true;
    return false;
}

int64_t *told_target(struct told *told, uint64_t hash)
{
    struct told_target *ways = told->targets + hash % SETS * WAYS, *oldest = NULL;
    for (int i = 0; i < WAYS; i++) {
        if (ways[i].hash == hash)
            return &ways[i].told_ms;
        if (!pending(told, &ways[i].told_ms) &&
            (oldest == NULL || ways[i].told_ms < oldest->told_ms))
            oldest = &ways[i];
    }
    if (oldest == NULL)
        return NULL;
    *oldest = (struct told_target){hash, NEVER_MS};
    return &oldest->told_ms;
}

void told_begin(struct told *told)
{
    told->later_count = 0;
}

void told_end(struct told *told)
{
    for (uint32_t i = 0; i < told->later_count; i++)
        *told->later[i].place = told->later[i].now_ms;
}

bool told_due(struct told *told, int64_t *told_ms, int64_t now_ms)
{
    if (told_ms == NULL || now_ms - *told_ms < TOLD_AGAIN_MS ||
        told->later_count == TOLD_LATER_MAX || pending(told, told_ms))
        return false;
    told->later[told->later_count].place = told_ms;
    told->later[told->later_count++].now_ms = now_ms;
    return true;
}
