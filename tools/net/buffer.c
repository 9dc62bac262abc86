/* SPDX-License-Identifier: Apache-2.0 */
/* Buffers by size class and their free lists. One per net, the net's thread. */
#include "tools/net/buffer.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/memory.h"

static size_t class_bytes(uint32_t class_index)
{
    return (size_t)NET_BUFFER_SMALLEST << class_index;
}

static size_t capacity(const struct net_buffer *buffer)
{
    return class_bytes(buffer->class_index) - sizeof *buffer;
}

static struct net_buffer *acquire(struct net_pool *pool, size_t count)
{
    uint32_t class_index = 0;
    while (class_bytes(class_index) - sizeof(struct net_buffer) < count) {
        class_index++;
        CHECK(class_index < NET_BUFFER_CLASSES);
    }
    struct net_buffer *buffer = pool->free[class_index];
    if (buffer != NULL) {
        pool->free[class_index] = buffer->next;
        pool->free_count[class_index]--;
    } else {
        buffer = xmalloc(class_bytes(class_index));
        buffer->class_index = class_index;
    }
    buffer->next = NULL;
    buffer->start = buffer->end = 0;
    return buffer;
}

void net_buffer_release(struct net_pool *pool, struct net_buffer **place)
{
    struct net_buffer *buffer = *place;
    *place = NULL;
    if (buffer == NULL)
        return;
    uint32_t class_index = buffer->class_index;
    if ((pool->free_count[class_index] + 1) * class_bytes(class_index) > NET_BUFFER_KEPT_BYTES) {
        free(buffer);
        return;
    }
    buffer->next = pool->free[class_index];
    pool->free[class_index] = buffer;
    pool->free_count[class_index]++;
}

void net_pool_fini(struct net_pool *pool)
{
    for (int i = 0; i < NET_BUFFER_CLASSES; i++) {
        while (pool->free[i] != NULL) {
            struct net_buffer *buffer = pool->free[i];
            pool->free[i] = buffer->next;
            free(buffer);
        }
        pool->free_count[i] = 0;
    }
}

uint8_t *net_buffer_room(struct net_pool *pool, struct net_buffer **place, size_t count)
{
    struct net_buffer *buffer = *place;
    if (buffer == NULL)
        *place = buffer = acquire(pool, count);
    size_t live = buffer->end - buffer->start;
    if (count <= capacity(buffer) - buffer->end)
        return buffer->bytes + buffer->end;
    CHECK(count <= NET_BUFFER_BYTES_MAX && live + count <= NET_BUFFER_BYTES_MAX);
    /* Moving at most half of the capacity down pays for as many bytes taken before. */
    if (live + count <= capacity(buffer) && live <= buffer->start) {
        memcpy(buffer->bytes, buffer->bytes + buffer->start, live);
    } else {
        size_t twice = 2 * live < NET_BUFFER_BYTES_MAX ? 2 * live : NET_BUFFER_BYTES_MAX;
        struct net_buffer *larger = acquire(pool, live + count > twice ? live + count : twice);
        memcpy(larger->bytes, buffer->bytes + buffer->start, live);
        net_buffer_release(pool, place);
        *place = buffer = larger;
    }
    buffer->start = 0;
    buffer->end = (uint32_t)live;
    return buffer->bytes + live;
}

void net_buffer_append(struct net_pool *pool, struct net_buffer **place, const void *bytes,
                       size_t count)
{
    if (count == 0)
        return;
    memcpy(net_buffer_room(pool, place, count), bytes, count);
    (*place)->end += (uint32_t)count;
}

void net_buffer_take(struct net_pool *pool, struct net_buffer **place, size_t count)
{
    if (*place == NULL) {
        CHECK(count == 0);
        return;
    }
    CHECK(count <= net_buffer_count(*place));
    (*place)->start += (uint32_t)count;
    if ((*place)->start == (*place)->end)
        net_buffer_release(pool, place);
}
