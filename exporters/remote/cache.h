/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "exporters/remote/piece.h"
#include "ring/attrs.h"

/* Pieces of attribute sets while one page is encoded. The same sets stand in run after run of a
 * page, so each is translated once; what they are found by is their address, which holds as long
 * as the page is borrowed and no longer: piece_cache_forget() comes first for each page. Bounded: a
 * set that finds no place is translated again. */
enum { CACHE_SETS = 256, CACHE_WAYS = 4, CACHE_BYTES = 4 * PIECE_BYTES_MAX };

struct cache_slot {
    const struct attrs *attrs;
    const struct piece *piece;
    uint64_t generation; /* good while it is the cache's */
};

struct piece_cache {
    uint64_t generation;
    size_t used;
    struct cache_slot slots[CACHE_SETS][CACHE_WAYS];
    uint8_t *space; /* CACHE_BYTES */
};

void piece_cache_init(struct piece_cache *cache);
void piece_cache_fini(struct piece_cache *cache);

static inline void piece_cache_forget(struct piece_cache *cache)
{
    cache->generation++;
    cache->used = 0;
}

static inline struct cache_slot *piece_cache_set(struct piece_cache *cache,
                                                 const struct attrs *attrs)
{
    uint64_t mixed = (uint64_t)(uintptr_t)attrs * 0x9e3779b97f4a7c15ull;
    return cache->slots[mixed >> 56];
}
_Static_assert(CACHE_SETS == 1 << (64 - 56), "the top bits choose a set");

/* The piece of `attrs`; NULL: piece_cache_add() makes it. */
static inline const struct piece *piece_cache_find(struct piece_cache *cache,
                                                   const struct attrs *attrs)
{
    const struct cache_slot *set = piece_cache_set(cache, attrs);
    for (int way = 0; way < CACHE_WAYS; way++)
        if (set[way].attrs == attrs && set[way].generation == cache->generation)
            return set[way].piece;
    return NULL;
}

/* Writes the sorted labels as the piece of `attrs`. May forget all others, whose bytes are then
 * gone: at most the last piece of a cache is held. */
const struct piece *piece_cache_add(struct piece_cache *cache, const struct attrs *attrs,
                                    const struct labels *labels);
