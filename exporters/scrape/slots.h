/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdatomic.h>

#include "base/clock.h"
#include "exporters/scrape/index.h"
#include "exporters/scrape/table.h"
#include "exporters/scrape/texts.h"

/* What table.c (the worker) and lines.c (whoever is asked) share.
 *
 *   families → chunks of slots → labels
 *
 * A slot is one series. The worker alone writes; a slot is free while its time is 0, and its labels
 * are written while it is free, so a reader that sees a time sees the labels that go with it. A
 * slot that expires gets time 0 at once, but is used again, and its labels freed, only when no
 * reader that may have seen it is inside: a reader is inside while it writes one block of lines,
 * never while it waits for its client. Families and chunks stay until the table goes. */
enum {
    SLOTS = 256, /* of a chunk */
    CHUNKS_MAX = SCRAPE_SERIES_MAX / SLOTS,
    FAMILIES_MAX = 4096,
    FIXED_MAX = 256, /* attribute sets of runs, per family */
};

/* What a series is of its family. */
enum slot_form { SLOT_PLAIN, SLOT_COUNT, SLOT_SUM, SLOT_BUCKET };

struct slot {
    _Atomic uint64_t value;   /* int64_t or double, by `real` */
    _Atomic uint64_t time_ms; /* of the value; 0: free */
    _Atomic uint32_t seen_s;  /* when it came, monotonic */
    uint8_t fixed;            /* index, 0: none */
    uint8_t form;             /* enum slot_form */
    bool real, whole;         /* whole: `set` holds all labels */
    uint64_t hash;
    struct text *set, *resource; /* NULL: no labels */
};

struct chunk {
    struct chunk *_Atomic next; /* of the family */
    uint32_t number;            /* in the table */
    uint32_t used;              /* worker: slots handed out so far */
    struct slot slots[SLOTS];
};

/* Slots of a family that were used: first in, first out, so that the series of a distribution,
 * which go together, stay together. */
struct slot_list {
    uint32_t *numbers; /* a ring */
    uint32_t first, count, space;
};

enum family_kind { FAMILY_GAUGE, FAMILY_COUNTER, FAMILY_HISTOGRAM, FAMILY_INFO };

struct family {
    char name[PROM_NAME_BYTES];
    uint32_t name_bytes;
    enum family_kind kind;
    uint64_t seed;     /* of its series' hashes */
    char *description; /* escaped */
    struct chunk *_Atomic first;
    struct text *_Atomic fixed[FIXED_MAX]; /* [0]: none */
    /* worker */
    struct chunk *last;
    uint64_t fixed_hashes[FIXED_MAX];
    uint32_t fixed_count;
    struct slot_list spare;
};

/* On its way from expired to spare. */
struct limbo_slot {
    struct family *family;
    uint32_t number;
    uint64_t epoch;
};

enum { READER_OUT = 0 }; /* epochs begin at 1 */

struct scrape_table {
    struct scrape_table_settings settings;
    struct family *_Atomic families[FAMILIES_MAX]; /* those there are stand in front */
    _Atomic uint64_t epoch;                        /* grows with each slot that expires */
    _Atomic uint64_t reader;                       /* epoch it came in at, READER_OUT */
    /* worker */
    uint32_t family_count;
    struct chunk **chunks;
    struct family **chunk_families;
    uint32_t chunk_count;
    size_t series_count;
    struct index index;
    struct texts texts;
    struct limbo_slot *limbo; /* a ring */
    uint32_t limbo_first, limbo_count, limbo_space;
    uint32_t sweep_next; /* chunk */
    uint64_t tick_ns;
    struct table_memo *memo;
};

static inline bool slot_expired(const struct scrape_table *table, const struct slot *slot,
                                uint32_t now_s)
{
    uint32_t seen_s = atomic_load_explicit(&slot->seen_s, memory_order_relaxed);
    return now_s > seen_s && (now_s - seen_s) * NS_PER_S >= table->settings.expiration_ns;
}

static inline struct slot *table_slot(const struct scrape_table *table, uint32_t number)
{
    return &table->chunks[number / SLOTS]->slots[number % SLOTS];
}

#define NO_SLOT UINT32_MAX

/* Worker. NULL: there are too many. */
struct family *table_add_family(struct scrape_table *table, const char *name, enum family_kind kind,
                                const char *description);
/* A free slot of the family; NO_SLOT: the table is full. */
uint32_t table_take_slot(struct scrape_table *table, struct family *family);
struct slot *table_find(const struct scrape_table *table, uint64_t hash);
void table_memo_open(struct scrape_table *table);
void table_memo_close(struct scrape_table *table);
