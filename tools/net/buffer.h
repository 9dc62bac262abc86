/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* A connection's bytes that wait, in blocks of a power of two that go back to a free list when the
 * last byte has left: an idle connection holds none. NULL is the empty buffer.
 *
 *     bytes:  [ taken | start … live … end | room ]  capacity
 */
struct net_buffer {
    struct net_buffer *next; /* the pool's */
    uint32_t class_index;
    uint32_t start, end;
    uint8_t bytes[];
};

enum {
    NET_BUFFER_CLASSES = 19,         /* 1 KiB … 256 MiB */
    NET_BUFFER_SMALLEST = 1 << 10,   /* with the header */
    NET_BUFFER_KEPT_BYTES = 8 << 20, /* free memory kept per class */
};
#define NET_BUFFER_BYTES_MAX (((size_t)1 << 28) - sizeof(struct net_buffer))

struct net_pool {
    struct net_buffer *free[NET_BUFFER_CLASSES];
    uint32_t free_count[NET_BUFFER_CLASSES];
};

void net_pool_fini(struct net_pool *pool);

/* Room for `count` bytes behind the live ones; may move them. At most NET_BUFFER_BYTES_MAX live
 * bytes: asking for more is a bug of the caller, which checks first. */
uint8_t *net_buffer_room(struct net_pool *pool, struct net_buffer **buffer, size_t count);
void net_buffer_append(struct net_pool *pool, struct net_buffer **buffer, const void *bytes,
                       size_t count);

/* The first `count` live bytes are done with; releases the buffer with the last. */
void net_buffer_take(struct net_pool *pool, struct net_buffer **buffer, size_t count);
void net_buffer_release(struct net_pool *pool, struct net_buffer **buffer);

static inline size_t net_buffer_count(const struct net_buffer *buffer)
{
    return buffer == NULL ? 0 : buffer->end - buffer->start;
}
