/* SPDX-License-Identifier: Apache-2.0 */
/* Two generations: when the young one is full it becomes the old one, and the old one is forgotten.
 * So nothing is ever taken out one by one. */
#include "tools/sink/seen.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { SLOTS = 2 * SEEN_MIN };

struct seen {
    uint64_t *young, *old; /* open addressing, 0 free */
    uint32_t count;
};

struct seen *seen_create(void)
{
    struct seen *seen = xcalloc(1, sizeof *seen);
    seen->young = xcalloc(SLOTS, sizeof seen->young[0]);
    seen->old = xcalloc(SLOTS, sizeof seen->old[0]);
    return seen;
}

void seen_destroy(struct seen **ret_seen)
{
    struct seen *seen = *ret_seen;
    if (seen == NULL)
        return;
    free(seen->young);
    free(seen->old);
    free(seen);
    *ret_seen = NULL;
}

/* Its slot, or the free one where it belongs. */
static uint64_t *find(uint64_t *slots, uint64_t hash)
{
    uint32_t at = (uint32_t)(hash >> 32) % SLOTS;
    while (slots[at] != 0 && slots[at] != hash)
        at = (at + 1) % SLOTS;
    return &slots[at];
}

bool seen_before(struct seen *seen, uint64_t hash)
{
    hash += hash == 0;
    uint64_t *slot = find(seen->young, hash);
    if (*slot == hash)
        return true;
    bool before = *find(seen->old, hash) == hash;
    *slot = hash;
    if (++seen->count < SEEN_MIN)
        return before;
    uint64_t *forgotten = seen->old;
    seen->old = seen->young;
    seen->young = forgotten;
    memset(forgotten, 0, SLOTS * sizeof forgotten[0]);
    seen->count = 0;
    return before;
}
