/* SPDX-License-Identifier: Apache-2.0 */
/* Families, slots and how they expire: the worker's side but for taking (take.c). What expires is
 * found by walking over the table, a thirtieth each second; readers leave it out by themselves, to
 * the second. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "exporters/scrape/slots.h"

enum { SWEEP_TICKS = 30, TICK_MS = 1000 };

/* ---- life ---- */

struct family *table_add_family(struct scrape_table *table, const char *name, enum family_kind kind,
                                const char *description)
{
    if (table->family_count == FAMILIES_MAX)
        return NULL;
    struct family *family = xcalloc(1, sizeof *family);
    char *escaped = xmalloc(2 * strlen(description) + 1), *at = escaped;
    for (const char *c = description; *c != '\0'; c++) {
        if (*c == '\\' || *c == '\n')
            *at++ = '\\';
        *at++ = *c == '\n' ? 'n' : *c;
    }
    *at = '\0';
    family->kind = kind;
    family->name_bytes = (uint32_t)strlen(name);
    memcpy(family->name, name, family->name_bytes + 1);
    family->description = escaped;
    family->fixed_count = 1;
    atomic_store_explicit(&table->families[table->family_count++], family, memory_order_release);
    return family;
}

struct scrape_table *scrape_table_create(const struct scrape_table_settings *settings)
{
    struct scrape_table *table = xcalloc(1, sizeof *table);
    table->settings = *settings;
    atomic_store(&table->epoch, 1);
    table->chunks = xcalloc(CHUNKS_MAX, sizeof(struct chunk *));
    table->chunk_families = xcalloc(CHUNKS_MAX, sizeof(struct family *));
    index_init(&table->index);
    texts_init(&table->texts);
    table_memo_open(table);
    return table;
}

void scrape_table_destroy(struct scrape_table **ret_table)
{
    struct scrape_table *table = *ret_table;
    *ret_table = NULL;
    if (table == NULL)
        return;
    CHECK(atomic_load(&table->reader) == READER_OUT);
    for (uint32_t i = 0; i < table->family_count; i++) {
        struct family *family = atomic_load(&table->families[i]);
        free(family->description);
        free(family->spare.numbers);
        free(family);
    }
    for (uint32_t i = 0; i < table->chunk_count; i++)
        free(table->chunks[i]);
    free(table->chunks);
    free(table->chunk_families);
    free(table->limbo);
    table_memo_close(table);
    index_fini(&table->index);
    texts_fini(&table->texts);
    free(table);
}

/* ---- slots ---- */

static void spare_push(struct slot_list *list, uint32_t number)
{
    if (list->count == list->space) {
        uint32_t space = list->space == 0 ? 64 : 2 * list->space;
        uint32_t *numbers = xmalloc(space * sizeof *numbers);
        for (uint32_t i = 0; i < list->count; i++)
            numbers[i] = list->numbers[(list->first + i) % list->space];
        free(list->numbers);
        *list = (struct slot_list){numbers, 0, list->count, space};
    }
    list->numbers[(list->first + list->count++) % list->space] = number;
}

static uint32_t spare_take(struct slot_list *list)
{
    uint32_t number = list->numbers[list->first];
    list->first = (list->first + 1) % list->space;
    list->count--;
    return number;
}

static struct chunk *add_chunk(struct scrape_table *table, struct family *family)
{
    if (table->chunk_count == CHUNKS_MAX)
        return NULL;
    struct chunk *chunk = xcalloc(1, sizeof *chunk);
    chunk->number = table->chunk_count;
    table->chunks[table->chunk_count] = chunk;
    table->chunk_families[table->chunk_count++] = family;
    atomic_store_explicit(family->last == NULL ? &family->first : &family->last->next, chunk,
                          memory_order_release);
    family->last = chunk;
    return chunk;
}

/* A free slot of the family; NO_SLOT: the table is full. */
uint32_t table_take_slot(struct scrape_table *table, struct family *family)
{
    if (family->spare.count > 0)
        return spare_take(&family->spare);
    struct chunk *chunk = family->last;
    if (chunk == NULL || chunk->used == SLOTS)
        chunk = add_chunk(table, family);
    return chunk != NULL ? chunk->number * SLOTS + chunk->used++ : NO_SLOT;
}

struct slot *table_find(const struct scrape_table *table, uint64_t hash)
{
    uint32_t position = (uint32_t)hash, number;
    while ((number = index_next(&table->index, hash, &position)) != NO_SLOT) {
        struct slot *slot = table_slot(table, number);
        if (slot->hash == hash)
            return slot;
    }
    return NULL;
}

/* ---- expiring ---- */

static void limbo_push(struct scrape_table *table, struct limbo_slot slot)
{
    if (table->limbo_count == table->limbo_space) {
        uint32_t space = table->limbo_space == 0 ? 256 : 2 * table->limbo_space;
        struct limbo_slot *limbo = xmalloc(space * sizeof *limbo);
        for (uint32_t i = 0; i < table->limbo_count; i++)
            limbo[i] = table->limbo[(table->limbo_first + i) % table->limbo_space];
        free(table->limbo);
        table->limbo = limbo;
        table->limbo_first = 0;
        table->limbo_space = space;
    }
    table->limbo[(table->limbo_first + table->limbo_count++) % table->limbo_space] = slot;
}

/* From now on it is in no answer that begins a block of lines after this. */
static void expire(struct scrape_table *table, struct family *family, uint32_t number)
{
    struct slot *slot = table_slot(table, number);
    atomic_store_explicit(&slot->time_ms, 0, memory_order_relaxed);
    uint64_t epoch = atomic_fetch_add(&table->epoch, 1) + 1;
    index_remove(&table->index, slot->hash, number);
    table->series_count--;
    limbo_push(table, (struct limbo_slot){family, number, epoch});
}

/* A reader that came in at an epoch has seen everything that expired up to it as expired. */
static void reclaim(struct scrape_table *table)
{
    uint64_t reader = atomic_load(&table->reader);
    while (table->limbo_count > 0) {
        const struct limbo_slot *oldest = &table->limbo[table->limbo_first];
        if (reader != READER_OUT && reader < oldest->epoch)
            return;
        struct slot *slot = table_slot(table, oldest->number);
        texts_release(&table->texts, slot->set);
        texts_release(&table->texts, slot->resource);
        slot->set = slot->resource = NULL;
        spare_push(&oldest->family->spare, oldest->number);
        table->limbo_first = (table->limbo_first + 1) % table->limbo_space;
        table->limbo_count--;
    }
}

uint64_t scrape_table_tick(struct scrape_table *table, uint64_t now_ns)
{
    uint32_t now_s = (uint32_t)(now_ns / NS_PER_S);
    uint32_t chunks = (table->chunk_count + SWEEP_TICKS - 1) / SWEEP_TICKS;
    if (now_ns < table->tick_ns)
        return table->tick_ns;
    table->tick_ns = now_ns + TICK_MS * NS_PER_MS;
    for (uint32_t i = 0; i < chunks; i++) {
        uint32_t at = table->sweep_next++ % table->chunk_count;
        struct chunk *chunk = table->chunks[at];
        for (uint32_t k = 0; k < chunk->used; k++)
            if (atomic_load_explicit(&chunk->slots[k].time_ms, memory_order_relaxed) != 0 &&
                slot_expired(table, &chunk->slots[k], now_s))
                expire(table, table->chunk_families[at], at * SLOTS + k);
    }
    reclaim(table);
    return table->tick_ns;
}

size_t scrape_table_series(const struct scrape_table *table)
{
    return table->series_count;
}

size_t scrape_table_bytes(const struct scrape_table *table)
{
    return table->chunk_count * sizeof(struct chunk) + index_bytes(&table->index) +
           table->texts.bytes + table->texts.space * sizeof(struct text *);
}
