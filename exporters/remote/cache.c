/* SPDX-License-Identifier: Apache-2.0 */
/* Four ways by address; pieces one behind the other in a block that is used again from its start
 * for every page, so that it stays in the near caches. */
#include "exporters/remote/cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

void piece_cache_init(struct piece_cache *cache)
{
    memset(cache, 0, sizeof *cache);
    cache->generation = 1;
    cache->space = xmalloc(CACHE_BYTES);
}

void piece_cache_fini(struct piece_cache *cache)
{
    free(cache->space);
    cache->space = NULL;
}

const struct piece *piece_cache_add(struct piece_cache *cache, const struct attrs *attrs,
                                    const struct labels *labels)
{
    if (CACHE_BYTES - cache->used < PIECE_BYTES_MAX)
        piece_cache_forget(cache);
    struct piece *piece = (struct piece *)(void *)(cache->space + cache->used);
    cache->used += piece_write(piece, labels);
    struct cache_slot *set = piece_cache_set(cache, attrs);
    int way = 0;
    while (way + 1 < CACHE_WAYS && set[way].generation == cache->generation)
        way++;
    set[way] = (struct cache_slot){attrs, piece, cache->generation};
    return piece;
}
