/* SPDX-License-Identifier: Apache-2.0 */
/* Arena of growing blocks; see the header for who uses it. */
#include "base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/memory.h"

/* Blocks double, so that ten thousand small arenas (a session's) are small. */
enum { BLOCK_BYTES_MIN = 1024, BLOCK_BYTES_MAX = 64 * 1024, ALIGNMENT = 16 };

struct arena_block {
    struct arena_block *next;
    size_t size;
    _Alignas(ALIGNMENT) uint8_t data[];
};

void *arena_take(struct arena *arena, size_t bytes)
{
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (arena->first == NULL || arena->first->size - arena->used_bytes < bytes) {
        size_t size = arena->first == NULL ? BLOCK_BYTES_MIN : 2 * arena->first->size;
        if (size > BLOCK_BYTES_MAX)
            size = BLOCK_BYTES_MAX;
        if (size < bytes)
            size = bytes;
        struct arena_block *block = xcalloc(1, sizeof *block + size);
        block->size = size;
        block->next = arena->first;
        arena->first = block;
        arena->used_bytes = 0;
    }
    void *taken = arena->first->data + arena->used_bytes;
    arena->used_bytes += bytes;
    return taken;
}

char *arena_copy(struct arena *arena, const void *data, size_t bytes)
{
    char *copy = arena_take(arena, bytes + 1);
    if (bytes > 0)
        memcpy(copy, data, bytes);
    return copy;
}

char *arena_text(struct arena *arena, const char *text)
{
    return arena_copy(arena, text, strlen(text));
}

char *arena_format(struct arena *arena, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    CHECK(length >= 0);
    char *text = arena_take(arena, (size_t)length + 1);
    vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    return text;
}

void arena_fini(struct arena *arena)
{
    for (struct arena_block *block = arena->first; block != NULL;) {
        struct arena_block *next = block->next;
        explicit_bzero(block->data, block->size);
        free(block);
        block = next;
    }
    *arena = (struct arena){0};
}
