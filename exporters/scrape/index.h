/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* From a series' hash to its number. In 256 parts by the hash's first byte, each growing by itself,
 * so that no growth takes long. An entry holds half of the hash; whoever finds a number asks its
 * series for the whole. One thread. */
enum { INDEX_PARTS = 256 };

struct index_entry {
    uint32_t tag;    /* lower half of the hash */
    uint32_t number; /* plus 1; 0: free */
};

struct index_part {
    struct index_entry *entries; /* at most three quarters full */
    uint32_t mask, count;
};

struct index {
    struct index_part parts[INDEX_PARTS];
};

void index_init(struct index *index);
void index_fini(struct index *index);
void index_add(struct index *index, uint64_t hash, uint32_t number);
void index_remove(struct index *index, uint64_t hash, uint32_t number);
size_t index_bytes(const struct index *index);

static inline const struct index_part *index_part_of(const struct index *index, uint64_t hash)
{
    return &index->parts[hash >> 56];
}

static inline void index_prefetch(const struct index *index, uint64_t hash)
{
    const struct index_part *part = index_part_of(index, hash);
    __builtin_prefetch(&part->entries[(uint32_t)hash & part->mask]);
}

/* A walk over the numbers that may be the hash's: `*position` begins at its lower half; UINT32_MAX
 * at the end. */
static inline uint32_t index_next(const struct index *index, uint64_t hash, uint32_t *position)
{
    const struct index_part *part = index_part_of(index, hash);
    for (;;) {
        const struct index_entry *entry = &part->entries[(*position)++ & part->mask];
        if (entry->number == 0)
            return UINT32_MAX;
        if (entry->tag == (uint32_t)hash)
            return entry->number - 1;
    }
}
