/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>

/* Memory that lives and dies together (a configuration, a catalogue): a list of blocks, freed all
 * at once. Zeroed when handed out and wiped when freed, as it may hold secrets. One thread. */
struct arena {
    struct arena_block *first;
    size_t used_bytes;
};

/* Zeroed, aligned to 16 bytes; aborts when memory is out (start-up and reload only). */
void *arena_take(struct arena *arena, size_t bytes);

/* Copies with a NUL behind. */
char *arena_copy(struct arena *arena, const void *data, size_t bytes);
char *arena_text(struct arena *arena, const char *text);
char *arena_format(struct arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Frees everything; the arena is empty and usable again. */
void arena_fini(struct arena *arena);
