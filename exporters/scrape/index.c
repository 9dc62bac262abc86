/* SPDX-License-Identifier: Apache-2.0 */
/* Open addressing, linear probing; a tag is all of the hash that probing needs, so growing and
 * filling holes touch no series. */
#include "exporters/scrape/index.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"

enum { ENTRIES_MIN = 16 };

static void part_init(struct index_part *part, uint32_t entries)
{
    part->entries = xcalloc(entries, sizeof *part->entries);
    part->mask = entries - 1;
}

void index_init(struct index *index)
{
    for (int i = 0; i < INDEX_PARTS; i++) {
        part_init(&index->parts[i], ENTRIES_MIN);
        index->parts[i].count = 0;
    }
}

void index_fini(struct index *index)
{
    for (int i = 0; i < INDEX_PARTS; i++)
        free(index->parts[i].entries);
}

static void put(struct index_part *part, struct index_entry entry)
{
    uint32_t at = entry.tag & part->mask;
    while (part->entries[at].number != 0)
        at = (at + 1) & part->mask;
    part->entries[at] = entry;
}

void index_add(struct index *index, uint64_t hash, uint32_t number)
{
    struct index_part *part = &index->parts[hash >> 56];
    if (4 * (uint64_t)(part->count + 1) > 3 * ((uint64_t)part->mask + 1)) {
        struct index_part old = *part;
        part_init(part, 2 * (old.mask + 1));
        for (uint32_t i = 0; i <= old.mask; i++)
            if (old.entries[i].number != 0)
                put(part, old.entries[i]);
        free(old.entries);
    }
    put(part, (struct index_entry){(uint32_t)hash, number + 1});
    part->count++;
}

void index_remove(struct index *index, uint64_t hash, uint32_t number)
{
    struct index_part *part = &index->parts[hash >> 56];
    uint32_t mask = part->mask, hole = (uint32_t)hash & mask;
    while (part->entries[hole].number != number + 1) {
        CHECK(part->entries[hole].number != 0);
        hole = (hole + 1) & mask;
    }
    part->entries[hole].number = 0;
    part->count--;
    for (uint32_t at = hole;;) {
        at = (at + 1) & mask;
        struct index_entry entry = part->entries[at];
        if (entry.number == 0)
            return;
        if (((at - entry.tag) & mask) < ((at - hole) & mask))
            continue; /* its home lies behind the hole */
        part->entries[hole] = entry;
        part->entries[at].number = 0;
        hole = at;
    }
}

size_t index_bytes(const struct index *index)
{
    size_t bytes = sizeof *index;
    for (int i = 0; i < INDEX_PARTS; i++)
        bytes += ((size_t)index->parts[i].mask + 1) * sizeof(struct index_entry);
    return bytes;
}
