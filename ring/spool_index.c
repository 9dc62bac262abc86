/* SPDX-License-Identifier: Apache-2.0 */
/* The records in memory: a list in the order of writing, a hash table by sequence, the segments'
 * list, and the sums over them. A record costs some 120 bytes here, so the index of a gigabyte of
 * 100 KB parcels takes a megabyte; SPOOL_RECORDS_MAX bounds it where parcels are tiny. */
#include "ring/spool_state.h"

#include "base/check.h"
#include "base/memory.h"

#include <stdlib.h>
#include <unistd.h>

enum { BUCKETS_FIRST = 1024 };

void spool_index_init(struct spool_store *store)
{
    store->bucket_count = BUCKETS_FIRST;
    store->buckets = xcalloc(store->bucket_count, sizeof *store->buckets);
}

void spool_index_fini(struct spool_store *store)
{
    for (struct spool_entry *entry = store->first; entry != NULL;) {
        struct spool_entry *newer = entry->newer;
        parcel_release(&entry->parcel);
        free(entry);
        entry = newer;
    }
    free(store->buckets);
    for (struct spool_segment *segment = store->oldest; segment != NULL;) {
        struct spool_segment *newer = segment->newer;
        if (segment->fd >= 0)
            close(segment->fd);
        free(segment);
        segment = newer;
    }
}

/* Sequences are nearly consecutive: multiplied by 2^64 / golden ratio they spread. */
static struct spool_entry **bucket(const struct spool_store *store, uint64_t sequence)
{
    uint64_t hash = sequence * UINT64_C(0x9e3779b97f4a7c15);
    return &store->buckets[(hash >> 32) & (store->bucket_count - 1)];
}

struct spool_entry *spool_index_find(const struct spool_store *store, uint64_t sequence)
{
    struct spool_entry *entry = *bucket(store, sequence);
    while (entry != NULL && entry->sequence != sequence)
        entry = entry->chain;
    return entry;
}

static void chain(struct spool_store *store, struct spool_entry *entry)
{
    struct spool_entry **head = bucket(store, entry->sequence);
    entry->chain = *head;
    *head = entry;
}

static void grow(struct spool_store *store)
{
    struct spool_entry **more = calloc(2 * store->bucket_count, sizeof *more);
    if (more == NULL)
        return; /* chains get longer, nothing else */
    free(store->buckets);
    store->buckets = more;
    store->bucket_count *= 2;
    for (struct spool_entry *entry = store->first; entry != NULL; entry = entry->newer)
        chain(store, entry);
}

void spool_index_add(struct spool_store *store, struct spool_entry *entry)
{
    CHECK(store->last == NULL || store->last->number < entry->number);
    CHECK(entry->parcel != NULL || store->unsynced_count == 0);
    if (store->status.records >= store->bucket_count)
        grow(store);
    chain(store, entry);
    entry->older = store->last;
    entry->newer = NULL;
    if (store->last != NULL)
        store->last->newer = entry;
    else
        store->first = entry;
    store->last = entry;
    if (entry->parcel != NULL) {
        if (store->unsynced_count++ == 0)
            store->unsynced = entry;
        store->unsynced_bytes += entry->bytes;
        entry->segment->unsynced++;
    }
    if (!entry->in_hand && store->cursor == NULL)
        store->cursor = entry;
    entry->segment->live++;
    store->status.records++;
    store->status.points += entry->points;
    store->status.bytes += entry->bytes;
}

static void forget_unsynced(struct spool_store *store, struct spool_entry *entry)
{
    if (entry->parcel == NULL)
        return;
    parcel_release(&entry->parcel);
    CHECK(store->unsynced_count > 0);
    store->unsynced_count--;
    entry->segment->unsynced--;
    store->unsynced_bytes -= entry->bytes;
    if (store->unsynced == entry)
        store->unsynced = entry->newer;
    if (entry->homeless)
        store->homeless_count--;
    entry->homeless = false;
}

void spool_index_remove(struct spool_store *store, struct spool_entry *entry)
{
    struct spool_entry **link = bucket(store, entry->sequence);
    while (*link != entry)
        link = &(*link)->chain;
    *link = entry->chain;
    forget_unsynced(store, entry);
    if (store->cursor == entry)
        store->cursor = entry->newer;
    if (entry->older != NULL)
        entry->older->newer = entry->newer;
    else
        store->first = entry->newer;
    if (entry->newer != NULL)
        entry->newer->older = entry->older;
    else
        store->last = entry->older;
    CHECK(entry->segment->live > 0);
    entry->segment->live--;
    store->status.records--;
    store->status.points -= entry->points;
    store->status.bytes -= entry->bytes;
    free(entry);
}

void spool_index_synced(struct spool_store *store)
{
    CHECK(store->homeless_count == 0);
    for (struct spool_entry *entry = store->unsynced; entry != NULL; entry = entry->newer)
        forget_unsynced(store, entry);
    CHECK(store->unsynced_count == 0 && store->unsynced == NULL);
}

/* ---- segments ---- */

struct spool_segment *spool_segment_add(struct spool_store *store)
{
    struct spool_segment *segment = xcalloc(1, sizeof *segment);
    segment->fd = -1;
    segment->older = store->newest;
    if (store->newest != NULL)
        store->newest->newer = segment;
    else
        store->oldest = segment;
    store->newest = segment;
    return segment;
}

void spool_segment_remove(struct spool_store *store, struct spool_segment *segment)
{
    CHECK(segment->live == 0);
    if (segment->fd >= 0)
        close(segment->fd);
    if (store->reading == segment)
        store->reading = NULL;
    if (store->active == segment)
        store->active = NULL;
    if (segment->older != NULL)
        segment->older->newer = segment->newer;
    else
        store->oldest = segment->newer;
    if (segment->newer != NULL)
        segment->newer->older = segment->older;
    else
        store->newest = segment->older;
    store->status.disk_bytes -= segment->room_bytes;
    free(segment);
}
