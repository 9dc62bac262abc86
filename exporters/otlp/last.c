/* SPDX-License-Identifier: Apache-2.0 */
/* Entries lie in the order in which their series were first seen, in blocks that stay where they
 * are; an index (open addressing, linear probing, at most three quarters full, moved back on
 * removal) finds them by key:
 *
 *   index  | tag · entry | – | tag · entry | …        entries  | series 0 | series 1 | free | …
 *
 * A server's series come again and again in the same order, so the entry behind the last one found
 * is looked at first: if its key is the right one (all 128 bits, so a guess cannot be wrong), there
 * was no search, and memory is read from front to back. Only where the order changed, mostly at the
 * begin of a page, the index is asked.
 *
 * A reused entry goes to whoever comes next; order is a matter of speed alone. One thread. */
#include "exporters/otlp/last.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"

enum {
    BLOCK = 4096, /* entries */
    SLOTS_MIN = 1024,
    SWEEP = 64, /* entries looked at in one call */
    KEEP_S = 3600,
    KEEP_GAPS = 5,
    KEEP_UNKNOWN_S = 25 * 3600, /* whoever is asked for once a day is not forgotten */
};
_Static_assert(sizeof(struct last) == 48, "what a series costs, beside 11 to 21 bytes of index");

struct slot {
    uint32_t tag;   /* of the key's bits; tells most others apart without a look at the entry */
    uint32_t entry; /* index + 1; 0: free */
};

struct last_table {
    void (*drop)(struct last *last);
    uint32_t limit;
    struct last **blocks; /* NULL: not needed yet */
    uint32_t used;        /* entries ever in use; those with key 0 are free */
    uint32_t count;       /* in use */
    uint32_t free;        /* index + 1 of a free one, whose gap_s is the next; 0: none */
    uint32_t next;        /* entry that is likely to be asked for next */
    bool searching;       /* the last one was not there */
    uint32_t hand;        /* of the sweep */
    uint64_t forgotten, forgotten_ns;
    struct slot *slots;
    uint32_t slot_mask;
};

static struct last *entry_at(const struct last_table *table, uint32_t index)
{
    return &table->blocks[index / BLOCK][index % BLOCK];
}

static uint32_t block_count(const struct last_table *table)
{
    return (table->limit - 1) / BLOCK + 1;
}

static void make_slots(struct last_table *table, uint32_t count)
{
    table->slots = xcalloc(count, sizeof table->slots[0]);
    table->slot_mask = count - 1;
}

struct last_table *last_table_create(uint32_t limit, void (*drop)(struct last *last))
{
    struct last_table *table = xcalloc(1, sizeof *table);
    CHECK(limit > 0);
    table->limit = limit;
    table->blocks = xcalloc(block_count(table), sizeof table->blocks[0]);
    table->drop = drop;
    make_slots(table, SLOTS_MIN);
    return table;
}

void last_table_destroy(struct last_table **ret_table)
{
    struct last_table *table = *ret_table;
    if (table == NULL)
        return;
    for (uint32_t i = 0; table->drop != NULL && i < table->used; i++)
        if (entry_at(table, i)->key.low != 0)
            table->drop(entry_at(table, i));
    for (uint32_t i = 0; i < block_count(table); i++)
        free(table->blocks[i]);
    free(table->blocks);
    free(table->slots);
    free(table);
    *ret_table = NULL;
}

/* ---- the index ---- */

static uint32_t home_of(const struct last_table *table, struct last_key key)
{
    return (uint32_t)key.low & table->slot_mask;
}

static uint32_t tag_of(struct last_key key)
{
    return (uint32_t)(key.high >> 32);
}

static bool same_key(struct last_key a, struct last_key b)
{
    return a.low == b.low && a.high == b.high;
}

/* The key's slot, or the free one where it belongs. */
static uint32_t find_slot(const struct last_table *table, struct last_key key)
{
    uint32_t at = home_of(table, key);
    for (; table->slots[at].entry != 0; at = (at + 1) & table->slot_mask)
        if (table->slots[at].tag == tag_of(key) &&
            same_key(entry_at(table, table->slots[at].entry - 1)->key, key))
            break;
    return at;
}

static void grow_index(struct last_table *table)
{
    free(table->slots);
    make_slots(table, 2 * (table->slot_mask + 1));
    for (uint32_t i = 0; i < table->used; i++) {
        struct last_key key = entry_at(table, i)->key;
        if (key.low == 0)
            continue;
        uint32_t at = home_of(table, key);
        while (table->slots[at].entry != 0)
            at = (at + 1) & table->slot_mask;
        table->slots[at] = (struct slot){tag_of(key), i + 1};
    }
}

/* Empties a slot and moves up what probed past it. */
static void clear_slot(struct last_table *table, uint32_t hole)
{
    uint32_t at = hole;
    for (;;) {
        at = (at + 1) & table->slot_mask;
        if (table->slots[at].entry == 0)
            break;
        uint32_t home = home_of(table, entry_at(table, table->slots[at].entry - 1)->key);
        if (((at - home) & table->slot_mask) < ((at - hole) & table->slot_mask))
            continue; /* its home lies behind the hole */
        table->slots[hole] = table->slots[at];
        hole = at;
    }
    table->slots[hole] = (struct slot){0};
}

/* ---- entries ---- */

static void forget(struct last_table *table, uint32_t index)
{
    struct last *entry = entry_at(table, index);
    uint32_t slot = find_slot(table, entry->key);
    CHECK(table->slots[slot].entry == index + 1);
    clear_slot(table, slot);
    if (table->drop != NULL)
        table->drop(entry);
    if (entry->time_ns > table->forgotten_ns)
        table->forgotten_ns = entry->time_ns;
    *entry = (struct last){.gap_s = table->free};
    table->free = index + 1;
    table->count--;
    table->forgotten++;
}

static uint32_t advance_hand(struct last_table *table)
{
    table->hand = table->hand + 1 < table->used ? table->hand + 1 : 0;
    return table->hand;
}

/* Servers are due at different times, so `now_s` may be a little back. */
static uint32_t unseen_s(const struct last *entry, uint32_t now_s)
{
    return now_s > entry->seen_s ? now_s - entry->seen_s : 0;
}

/* Forgets the series not seen for longest of those the hand passes. */
static void make_room(struct last_table *table, uint32_t now_s)
{
    uint32_t oldest = advance_hand(table);
    for (int i = 1; i < SWEEP; i++) {
        uint32_t index = advance_hand(table);
        if (unseen_s(entry_at(table, index), now_s) > unseen_s(entry_at(table, oldest), now_s))
            oldest = index;
    }
    forget(table, oldest);
}

static uint32_t take_entry(struct last_table *table, uint32_t now_s)
{
    if (table->free == 0 && table->used == table->limit)
        make_room(table, now_s);
    uint32_t index = table->used;
    if (table->free != 0) {
        index = table->free - 1;
        table->free = entry_at(table, index)->gap_s;
    } else {
        struct last **block = &table->blocks[index / BLOCK];
        if (*block == NULL)
            *block = xcalloc(BLOCK, sizeof **block);
        table->used++;
    }
    table->count++;
    return index;
}

static struct last *note_seen(struct last_table *table, uint32_t index, uint32_t now_s)
{
    struct last *entry = entry_at(table, index);
    table->next = index + 1;
    if (now_s > entry->seen_s) {
        entry->gap_s = entry->seen_s == 0 ? 0 : now_s - entry->seen_s;
        entry->seen_s = now_s;
    }
    return entry;
}

struct last *last_find(struct last_table *table, struct last_key key, uint32_t now_s)
{
    key.low |= 1; /* 0 is no key */
    table->searching =
        table->next >= table->used || !same_key(entry_at(table, table->next)->key, key);
    if (!table->searching)
        return note_seen(table, table->next, now_s);
    uint32_t slot = find_slot(table, key);
    if (table->slots[slot].entry != 0)
        return note_seen(table, table->slots[slot].entry - 1, now_s);
    uint32_t index = take_entry(table, now_s);
    if ((uint64_t)table->count * 4 > ((uint64_t)table->slot_mask + 1) * 3)
        grow_index(table);
    slot = find_slot(table, key); /* both may have moved it */
    table->slots[slot] = (struct slot){tag_of(key), index + 1};
    *entry_at(table, index) = (struct last){.key = key};
    return note_seen(table, index, now_s);
}

void last_expect(const struct last_table *table, struct last_key key)
{
    if (table->searching)
        __builtin_prefetch(&table->slots[home_of(table, (struct last_key){key.low | 1, key.high})]);
}

static uint32_t keep_s(const struct last *entry)
{
    uint64_t keep = (uint64_t)entry->gap_s * KEEP_GAPS;
    return entry->gap_s == 0 ? KEEP_UNKNOWN_S
           : keep < KEEP_S   ? KEEP_S
                             : (uint32_t)(keep < UINT32_MAX ? keep : UINT32_MAX);
}

void last_sweep(struct last_table *table, uint32_t now_s)
{
    for (int i = 0; i < SWEEP && table->used > 0; i++) {
        uint32_t index = advance_hand(table);
        const struct last *entry = entry_at(table, index);
        if (entry->key.low != 0 && unseen_s(entry, now_s) > keep_s(entry))
            forget(table, index);
    }
}

uint32_t last_count(const struct last_table *table)
{
    return table->count;
}

uint64_t last_forgotten(const struct last_table *table)
{
    return table->forgotten;
}

uint64_t last_forgotten_ns(const struct last_table *table)
{
    return table->forgotten_ns;
}
