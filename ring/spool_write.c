/* SPDX-License-Identifier: Apache-2.0 */
/* Appending, group commit, and what to do when either fails.
 *
 * A write that fails leaves nothing behind: the file is cut back to its last whole record and the
 * parcel is refused. A sync that fails leaves nothing to rely on: the kernel forgets what it could
 * not write, so that a second fsync() would lie. That segment is never written or synced again;
 * what was not durable yet is still in memory and is written once more, into a new segment, keeping
 * its number. Until that has worked the spool refuses, and tries again with growing pauses. */
#include "ring/spool_state.h"

#include "base/memory.h"
#include "ring/crc32c.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    BATCH = 32, /* records in one write */
    HEAD_BYTES = sizeof(struct spool_head),
    RECORD_BYTES = sizeof(struct spool_record),
    PROBE_BYTES_MAX = 1 << 16,
    NAMES_TRIED = 8,
};
_Static_assert(2 * BATCH <= IOV_MAX, "one pwritev");

/* ---- segments ---- */

static void close_file(struct spool_segment *segment)
{
    close(segment->fd);
    segment->fd = -1;
}

/* After a failure that leaves all that was not synced in doubt. */
static void abandon(struct spool_store *store)
{
    for (struct spool_entry *entry = store->unsynced; entry != NULL; entry = entry->newer) {
        store->homeless_count += entry->homeless ? 0 : 1;
        entry->homeless = true;
        if (entry->segment->fd >= 0 && entry->segment != store->reading)
            close_file(entry->segment);
    }
    if (store->active != NULL && store->active->fd >= 0)
        close_file(store->active);
    store->active = NULL;
}

/* Every segment that has unsynced records: from that of the first to the newest. */
static bool sync_segments(struct spool_store *store)
{
    for (struct spool_segment *segment = store->unsynced->segment; segment != NULL;
         segment = segment->newer) {
        if (segment->unsynced == 0)
            continue;
        if (!spool_file_sync(store->files, segment->fd)) {
            store->status.sync_errors++;
            return false;
        }
    }
    return true;
}

static void close_synced(struct spool_store *store)
{
    for (struct spool_segment *segment = store->oldest; segment != NULL; segment = segment->newer)
        if (segment->fd >= 0 && segment != store->active && segment != store->reading)
            close_file(segment);
}

bool spool_commit(struct spool_store *store, struct spool_now now)
{
    if (store->unsynced_count == 0)
        return true; /* all that was written is done with: nothing to promise */
    if (store->homeless_count > 0)
        return false;
    /* The acks first: what is synced without what came before it, would make that look lost. */
    if (!store->acks_behind && (store->acks.dirty || store->fresh.count > 0))
        spool_write_acks(store, true);
    if (spool_sync_directory(store) && sync_segments(store)) {
        spool_index_synced(store);
        close_synced(store);
        return true;
    }
    bool first = store->status.working;
    spool_trouble(store, now, "what was written cannot be synced");
    if (first)
        store->retry_ns = now.ns;
    abandon(store);
    return false;
}

static void set_room(struct spool_store *store, struct spool_segment *segment, uint64_t bytes)
{
    store->status.disk_bytes += bytes - segment->room_bytes;
    segment->room_bytes = bytes;
}

static void write_end_mark(struct spool_store *store, struct spool_segment *segment)
{
    struct spool_record mark = {.kind = SPOOL_RECORD_END,
                                .salt = segment->salt,
                                .number = store->next.number,
                                .sequence = store->next.sequence,
                                .points_before = store->next.points};
    spool_record_seal(&mark);
    struct iovec part = {.iov_base = &mark, .iov_len = sizeof mark};
    uint64_t written;
    if (spool_file_write(store->files, segment->fd, &part, 1, segment->bytes, &written))
        segment->bytes += written;
}

void spool_seal(struct spool_store *store)
{
    struct spool_segment *segment = store->active;
    if (segment == NULL)
        return;
    write_end_mark(store, segment);
    if (store->files->ftruncate(store->files->context, segment->fd, (off_t)segment->bytes) == 0)
        set_room(store, segment, segment->bytes);
    if (segment->unsynced == 0)
        close_file(segment);
    store->active = NULL;
}

static void evict(struct spool_store *store, const struct spool_segment *victim)
{
    for (struct spool_entry *entry = store->first; entry != NULL && victim->live > 0;) {
        struct spool_entry *newer = entry->newer;
        if (entry->segment == victim && !entry->homeless)
            spool_give_up(store, entry, SPOOL_FULL);
        entry = newer;
    }
}

/* Gives up the oldest segments until so many bytes more fit. Nothing is active meanwhile. */
static bool make_room(struct spool_store *store, uint64_t bytes, struct spool_now now)
{
    while (store->status.disk_bytes + bytes > store->settings.size_bytes ||
           store->status.records >= SPOOL_RECORDS_MAX) {
        struct spool_segment *victim = store->oldest;
        while (victim != NULL && victim->pinned)
            victim = victim->newer;
        if (victim == NULL) {
            errno = ENOSPC;
            return false;
        }
        uint64_t before = store->status.disk_bytes;
        evict(store, victim);
        spool_reclaim(store, now);
        if (store->status.disk_bytes == before) {
            errno = EIO; /* homeless records, or acks that cannot be made durable */
            return false;
        }
    }
    return true;
}

static bool open_segment_file(struct spool_store *store, struct spool_segment *segment,
                              uint64_t sequence)
{
    errno = EOVERFLOW;
    for (int i = 0; i < NAMES_TRIED && store->next_file < SPOOL_COUNT_MAX; i++) {
        segment->file = store->next_file++;
        spool_segment_name(segment->name, sequence, segment->file);
        segment->fd = spool_file_open(store->files, store->directory, segment->name,
                                      O_RDWR | O_CREAT | O_EXCL);
        if (segment->fd >= 0 || errno != EEXIST)
            break;
    }
    return segment->fd >= 0;
}

static bool write_head(struct spool_store *store, struct spool_segment *segment,
                       const struct spool_entry *first, struct spool_now now)
{
    segment->salt = random_next(&store->random);
    struct spool_head head = {.salt = segment->salt,
                              .file = segment->file,
                              .number = first->number,
                              .points_before = first->points_before,
                              .sequence = first->sequence,
                              .created_ns = now.wall_ns};
    spool_head_seal(&head, SPOOL_SEGMENT);
    struct iovec part = {.iov_base = &head, .iov_len = sizeof head};
    return spool_file_write(store->files, segment->fd, &part, 1, 0, &segment->bytes);
}

/* A new active segment that begins with `first`. */
static bool create_segment(struct spool_store *store, const struct spool_entry *first,
                           struct spool_now now)
{
    uint64_t room = HEAD_BYTES + 2 * RECORD_BYTES + first->bytes;
    if (room < store->segment_bytes)
        room = store->segment_bytes;
    /* An ack log before the first record: where there is none later, it was lost. */
    if (store->acks.file == 0 && !spool_write_acks(store, true))
        return false;
    if (!make_room(store, room, now))
        return false;
    struct spool_segment *segment = spool_segment_add(store);
    bool there = open_segment_file(store, segment, first->sequence);
    if (there && write_head(store, segment, first, now)) {
        store->files->fallocate(store->files->context, segment->fd, (off_t)room);
        set_room(store, segment, room);
        store->directory_dirty = true;
        store->active = segment;
        return true;
    }
    int why = errno;
    if (there)
        store->files->unlink(store->files->context, store->directory, segment->name);
    spool_segment_remove(store, segment);
    errno = why;
    return false;
}

static bool fits(const struct spool_store *store, uint64_t bytes)
{
    const struct spool_segment *segment = store->active;
    return segment->bytes + bytes + RECORD_BYTES <= segment->room_bytes;
}

/* An active segment with room for `first`. False: errno. */
static bool prepare(struct spool_store *store, const struct spool_entry *first,
                    struct spool_now now)
{
    if (store->active != NULL && !fits(store, RECORD_BYTES + first->bytes))
        spool_seal(store);
    return store->active != NULL || create_segment(store, first, now);
}

/* ---- records ---- */

struct batch {
    struct spool_record records[BATCH];
    struct iovec parts[2 * BATCH];
    uint64_t ends[BATCH]; /* bytes up to and with each */
    size_t count;
};

static void fill(const struct spool_store *store, struct batch *batch,
                 struct spool_entry *const *entries, size_t count)
{
    uint64_t bytes = 0;
    for (batch->count = 0; batch->count < count && batch->count < BATCH; batch->count++) {
        size_t i = batch->count;
        struct parcel *parcel = entries[i]->parcel;
        if (i > 0 && !fits(store, bytes + RECORD_BYTES + parcel->bytes))
            break;
        struct spool_record *record = &batch->records[i];
        *record = (struct spool_record){.kind = SPOOL_RECORD,
                                        .body_crc = crc32c(0, parcel->body, parcel->bytes),
                                        .encoding = parcel->encoding,
                                        .bytes = parcel->bytes,
                                        .salt = store->active->salt,
                                        .number = entries[i]->number,
                                        .sequence = parcel->sequence,
                                        .created_ns = parcel->created_ns,
                                        .due_ns = parcel->due_ns,
                                        .points_before = entries[i]->points_before,
                                        .points = parcel->points};
        spool_record_seal(record);
        batch->parts[2 * i] = (struct iovec){.iov_base = record, .iov_len = sizeof *record};
        batch->parts[2 * i + 1] =
            (struct iovec){.iov_base = parcel->body, .iov_len = parcel->bytes};
        bytes += RECORD_BYTES + parcel->bytes;
        batch->ends[i] = bytes;
    }
}

/* Into the active segment: how many are there whole. Fewer than the batch: errno. */
static size_t write_batch(struct spool_store *store, struct batch *batch,
                          struct spool_entry *const *entries)
{
    struct spool_segment *segment = store->active;
    uint64_t written;
    bool whole = spool_file_write(store->files, segment->fd, batch->parts, (int)(2 * batch->count),
                                  segment->bytes, &written);
    int why = errno;
    size_t done = 0;
    uint64_t start = segment->bytes;
    for (; done < batch->count && batch->ends[done] <= written; done++) {
        struct spool_entry *entry = entries[done];
        entry->segment = segment;
        entry->offset = start + (done > 0 ? batch->ends[done - 1] : 0);
    }
    segment->bytes = start + (done > 0 ? batch->ends[done - 1] : 0);
    if (segment->bytes > segment->room_bytes)
        set_room(store, segment, segment->bytes);
    if (!whole) {
        store->status.write_errors++;
        store->files->ftruncate(store->files->context, segment->fd, (off_t)segment->bytes);
    }
    errno = why;
    return done;
}

/* As many of the entries as one write takes; 0: errno. Where a segment does not take them although
 * there is space, the next one gets a try. */
static size_t append(struct spool_store *store, struct spool_entry *const *entries, size_t count,
                     struct spool_now now)
{
    struct batch batch;
    for (int attempt = 0; attempt < 2; attempt++) {
        if (!prepare(store, entries[0], now))
            return 0;
        fill(store, &batch, entries, count);
        bool empty = store->active->bytes == HEAD_BYTES;
        size_t done = write_batch(store, &batch, entries);
        if (done > 0 || empty || errno == ENOSPC || errno == EDQUOT)
            return done;
        int why = errno;
        spool_seal(store);
        errno = why;
    }
    return 0;
}

/* ---- putting ---- */

static void answer(struct spool_store *store, struct parcel *parcel, int error)
{
    store->emit(store->context,
                &(struct spool_event){.kind = error != 0 ? SPOOL_REFUSED : SPOOL_STORED,
                                      .sequence = parcel->sequence,
                                      .points = parcel->points,
                                      .parcel = parcel,
                                      .error = error});
}

/* Entries for up to BATCH parcels, numbered as if all of them were written. */
static size_t make_entries(struct spool_store *store, struct parcel *const *parcels, size_t count,
                           struct spool_entry **ret_entries, struct spool_now now)
{
    struct spool_position next = store->next;
    size_t made = 0;
    for (; made < count && made < BATCH; made++) {
        struct parcel *parcel = parcels[made];
        struct spool_entry *entry = xmalloc(sizeof *entry);
        *entry = (struct spool_entry){.sequence = parcel->sequence,
                                      .number = next.number++,
                                      .created_ns = parcel->created_ns,
                                      .points_before = next.points,
                                      .written_ns = now.ns,
                                      .points = parcel->points,
                                      .bytes = parcel->bytes,
                                      .in_hand = true,
                                      .parcel = parcel_hold(parcel)};
        next.points += parcel->points;
        ret_entries[made] = entry;
    }
    return made;
}

/* How many were answered; 0: it does not work, errno. */
static size_t put_some(struct spool_store *store, struct parcel *const *parcels, size_t count,
                       struct spool_now now)
{
    struct spool_entry *entries[BATCH];
    size_t made = make_entries(store, parcels, count, entries, now), done = 0;
    if (made > 0)
        done = append(store, entries, made, now);
    else
        errno = ENOMEM;
    int why = errno;
    for (size_t i = 0; i < made; i++) {
        if (i >= done) {
            parcel_release(&entries[i]->parcel);
            free(entries[i]);
            continue;
        }
        store->next.number = entries[i]->number + 1;
        store->next.points = entries[i]->points_before + entries[i]->points;
        if (parcels[i]->sequence >= store->next.sequence)
            store->next.sequence = parcels[i]->sequence + 1;
        spool_index_add(store, entries[i]);
        answer(store, parcels[i], 0);
    }
    errno = why;
    return done;
}

/* What can be said about a parcel without writing; 0: it must be written; −1: it is there. */
static int objection(const struct spool_store *store, const struct parcel *parcel)
{
    if (parcel->sequence >= SPOOL_COUNT_MAX || store->next.number + BATCH >= SPOOL_COUNT_MAX)
        return EINVAL; /* only forged files bring one there */
    if (parcel->bytes > SPOOL_BODY_BYTES_MAX ||
        HEAD_BYTES + 2 * RECORD_BYTES + (uint64_t)parcel->bytes > store->settings.size_bytes)
        return EFBIG;
    return spool_index_find(store, parcel->sequence) != NULL ? -1 : 0;
}

/* How many in front need no thought. */
static size_t plain(const struct spool_store *store, struct parcel *const *parcels, size_t count)
{
    size_t ready = 0;
    while (ready < count && ready < BATCH && objection(store, parcels[ready]) == 0)
        ready++;
    return ready;
}

void spool_store_put(struct spool_store *store, struct parcel *const *parcels, size_t count,
                     struct spool_now now)
{
    size_t done = 0;
    while (done < count && spool_mend(store, now)) {
        size_t ready = plain(store, parcels + done, count - done);
        if (ready == 0) {
            int why = objection(store, parcels[done]);
            answer(store, parcels[done++], why < 0 ? 0 : why);
            continue;
        }
        size_t put = put_some(store, parcels + done, ready, now);
        if (put > 0) {
            store->pause_ns = SPOOL_PAUSE_FIRST_NS;
            done += put;
        } else if (store->status.working) {
            store->wanted_bytes = parcels[done]->bytes;
            spool_trouble(store, now, "a parcel cannot be written");
        }
        if (store->unsynced_bytes >= store->settings.flush_bytes)
            spool_commit(store, now);
    }
    for (; done < count; done++)
        answer(store, parcels[done], store->trouble);
}

/* ---- mending ---- */

static bool rehome(struct spool_store *store, struct spool_now now)
{
    while (store->homeless_count > 0) {
        struct spool_entry *entries[BATCH];
        size_t count = 0;
        for (struct spool_entry *entry = store->unsynced; entry != NULL && count < BATCH;
             entry = entry->newer)
            if (entry->homeless)
                entries[count++] = entry;
        struct spool_segment *before[BATCH];
        for (size_t i = 0; i < count; i++)
            before[i] = entries[i]->segment;
        size_t done = append(store, entries, count, now);
        for (size_t i = 0; i < done; i++) {
            before[i]->live--;
            before[i]->unsynced--;
            entries[i]->segment->live++;
            entries[i]->segment->unsynced++;
            entries[i]->homeless = false;
            store->homeless_count--;
        }
        if (done == 0)
            return false;
    }
    return spool_commit(store, now);
}

/* Whether a parcel like the last one would find room. */
static bool probe(struct spool_store *store, struct spool_now now)
{
    uint64_t bytes = store->wanted_bytes > 0 ? store->wanted_bytes : store->segment_bytes / 2;
    struct spool_entry like = {.sequence = store->next.sequence,
                               .number = store->next.number,
                               .points_before = store->next.points,
                               .bytes =
                                   (uint32_t)(bytes < PROBE_BYTES_MAX ? bytes : PROBE_BYTES_MAX)};
    if (!prepare(store, &like, now))
        return false;
    uint64_t end = store->active->bytes + RECORD_BYTES + like.bytes;
    return store->files->fallocate(store->files->context, store->active->fd, (off_t)end) == 0 ||
           (errno != ENOSPC && errno != EDQUOT); /* others: not every file system can do it */
}

/* The directory was removed: what lay in it is gone, what is in memory goes into a new one. */
static void follow_directory(struct spool_store *store)
{
    if (!spool_follow_directory(store))
        return;
    abandon(store);
    store->acks_behind = true;
}

bool spool_mend(struct spool_store *store, struct spool_now now)
{
    if (store->status.working)
        return true;
    if (now.ns < store->retry_ns)
        return false;
    if (!store->opened && !spool_recover(store)) {
        spool_trouble(store, now, "the directory cannot be used");
        return false;
    }
    if (store->trouble == ENOENT)
        follow_directory(store);
    bool works = !store->acks_behind || spool_write_acks(store, true);
    if (!works) {
        spool_trouble(store, now, "acknowledgements cannot be written");
        return false;
    }
    if (!(store->homeless_count > 0 ? rehome(store, now) : probe(store, now))) {
        if (now.ns >= store->retry_ns)
            spool_trouble(store, now, "the disk still does not work");
        return false;
    }
    store->status.working = true;
    store->status.trouble[0] = 0;
    store->trouble = 0;
    return true;
}
