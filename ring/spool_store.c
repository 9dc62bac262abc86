/* SPDX-License-Identifier: Apache-2.0 */
/* The spool as one object of one thread: acks, reading back, giving up, and what is due by time.
 *
 * The order of things when a segment has served: its records' acks are durable, then its file is
 * removed, then the directory is synced. So a crash in between finds records that are known to be
 * done with, or nothing; and what is missing without an ack is known to be lost. */
#include "ring/spool_state.h"

#include "base/clock.h"
#include "base/memory.h"
#include "ring/crc32c.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    READ_FAILURES_MAX = 3,    /* of one record, until it counts as corrupt */
    ACKS_BYTES_MAX = 1 << 18, /* the log is written anew behind it */
    SEGMENT_BYTES_MIN = 1 << 12,
    SEGMENTS_MIN = 4, /* that the size must have room for */
};

#define ACKS_SYNC_NS    (1 * NS_PER_S) /* an ack that is lost with the power sends twice, no more */
#define PAUSE_MAX_NS    (30 * NS_PER_S)
#define EXPIRE_EVERY_NS (1 * NS_PER_S)

/* ---- trouble ---- */

static const char *cure(int error)
{
    switch (error) {
    case ENOSPC:
    case EDQUOT:
        return "free space there, or set a smaller spool size";
    case EFBIG:
        return "raise the limit of file sizes (ulimit -f), or set a smaller spool segment";
    case EROFS:
        return "mount it for writing";
    case EACCES:
    case EPERM:
        return "let the user that runs pgweir write there (mode 0700)";
    case EWOULDBLOCK:
        return "another process uses it: give each its own directory";
    default:
        return "look after the disk";
    }
}

void spool_trouble(struct spool_store *store, struct spool_now now, const char *what)
{
    int why = errno != 0 ? errno : EIO;
    store->trouble = why;
    store->retry_ns = now.ns + store->pause_ns;
    store->pause_ns = 2 * store->pause_ns < PAUSE_MAX_NS ? 2 * store->pause_ns : PAUSE_MAX_NS;
    store->status.working = false;
    snprintf(store->status.trouble, sizeof store->status.trouble, "%.80s: %s: %s; %s", store->path,
             what, strerror(why), cure(why));
}

bool spool_sync_directory(struct spool_store *store)
{
    if (!store->directory_dirty)
        return true;
    if (!spool_file_sync_directory(store->files, store->directory)) {
        store->status.sync_errors++;
        return false;
    }
    store->directory_dirty = false;
    return true;
}

/* ---- done with ---- */

void spool_retire(struct spool_store *store, struct spool_entry *entry)
{
    struct spool_range range = {.first = entry->number,
                                .end = entry->number + 1,
                                .points_before = entry->points_before,
                                .points_end = entry->points_before + entry->points};
    spool_set_add(&store->done, range);
    spool_set_add(&store->fresh, range);
    spool_index_remove(store, entry);
}

void spool_give_up(struct spool_store *store, struct spool_entry *entry, enum spool_reason reason)
{
    struct spool_event event = {.kind = SPOOL_EVICTED,
                                .reason = reason,
                                .sequence = entry->sequence,
                                .points = entry->points};
    if (reason == SPOOL_CORRUPT) {
        store->status.corrupt_records++;
        store->status.corrupt_points += entry->points;
        store->status.corrupt_bytes += entry->bytes;
    }
    spool_retire(store, entry);
    store->emit(store->context, &event);
}

bool spool_store_ack(struct spool_store *store, uint64_t sequence, struct spool_now now)
{
    struct spool_entry *entry = spool_index_find(store, sequence);
    if (entry == NULL)
        return false;
    if (entry->parcel == NULL && store->acks_due_ns == UINT64_MAX)
        store->acks_due_ns = now.ns + ACKS_SYNC_NS; /* it is on the disk: so should this be */
    for (; entry != NULL; entry = spool_index_find(store, sequence)) /* once, unless it is forged */
        spool_retire(store, entry);
    return true;
}

bool spool_store_let_go(struct spool_store *store, uint64_t sequence)
{
    struct spool_entry *entry = spool_index_find(store, sequence);
    if (entry == NULL)
        return false;
    entry->in_hand = false;
    if (store->cursor == NULL || entry->number < store->cursor->number)
        store->cursor = entry;
    return true;
}

static bool renew_acks(struct spool_store *store)
{
    if (!spool_acks_renew(&store->acks, &store->done, &store->next)) {
        store->acks_behind = true;
        return false;
    }
    store->acks_behind = false;
    store->acks_due_ns = UINT64_MAX;
    store->fresh.count = 0;
    return true;
}

bool spool_write_acks(struct spool_store *store, bool durable)
{
    if (store->acks_behind && !durable)
        return false; /* tried again with the rest that does not work */
    bool none = store->acks.fd < 0;
    bool long_enough = store->acks.bytes > ACKS_BYTES_MAX &&
                       store->acks.bytes > 4 * store->done.count * sizeof(struct spool_ack);
    if (store->fresh.count > 0 && !none && !long_enough) {
        if (!spool_acks_append(&store->acks, &store->fresh, &store->next)) {
            store->acks_behind = true;
            return false;
        }
        store->fresh.count = 0;
    }
    if (store->acks_behind || (durable && store->acks.file == 0) ||
        (store->fresh.count > 0 && (none || long_enough)))
        return renew_acks(store);
    if (!durable || none)
        return true;
    if (!spool_acks_sync(&store->acks)) {
        store->status.sync_errors++;
        store->acks_behind = true;
        return false;
    }
    store->acks_due_ns = UINT64_MAX;
    return true;
}

/* ---- removing ---- */

static bool out_of_space(int error)
{
    return error == ENOSPC || error == EDQUOT;
}

void spool_reclaim(struct spool_store *store, struct spool_now now)
{
    bool any = false, left = false, removed = false;
    for (struct spool_segment *segment = store->oldest; segment != NULL; segment = segment->newer)
        any = any || (segment->live == 0 && segment != store->active && !segment->pinned);
    if (!any)
        return;
    store->reclaim_due_ns = now.ns + EXPIRE_EVERY_NS; /* unless all goes well */
    /* On a full disk the acks may find no room until something goes. All that can come of it is
     * that after a crash right now delivered records are reported as missing. */
    if (!spool_write_acks(store, true) && !out_of_space(errno))
        return;
    struct spool_segment *newer;
    for (struct spool_segment *segment = store->oldest; segment != NULL; segment = newer) {
        newer = segment->newer;
        if (segment->live > 0 || segment == store->active || segment->pinned)
            continue;
        if (store->files->unlink(store->files->context, store->directory, segment->name) < 0 &&
            errno != ENOENT) {
            left = true;
            continue;
        }
        spool_segment_remove(store, segment);
        removed = true;
    }
    store->directory_dirty = store->directory_dirty || removed;
    spool_sync_directory(
        store); /* else with the next commit; a file that comes back is done with */
    if (!left)
        store->reclaim_due_ns = 0;
    if (removed && out_of_space(store->trouble))
        store->retry_ns = now.ns; /* there is room again */
}

static bool is_expired(const struct spool_store *store, const struct spool_entry *entry,
                       struct spool_now now)
{
    return now.wall_ns > entry->created_ns &&
           now.wall_ns - entry->created_ns > store->settings.age_ns;
}

static void expire(struct spool_store *store, struct spool_now now)
{
    if (now.ns < store->expire_due_ns)
        return;
    store->expire_due_ns = now.ns + EXPIRE_EVERY_NS;
    while (store->first != NULL && is_expired(store, store->first, now))
        spool_give_up(store, store->first, SPOOL_EXPIRED);
}

/* ---- reading ---- */

enum outcome { READ_GOOD, READ_BAD /* not what was written */, READ_FAILED, READ_NO_MEMORY };

static bool open_to_read(struct spool_store *store, struct spool_segment *segment)
{
    if (segment->fd >= 0)
        return true;
    if (store->reading != NULL) {
        close(store->reading->fd);
        store->reading->fd = -1;
        store->reading = NULL;
    }
    segment->fd = spool_file_open(store->files, store->directory, segment->name, O_RDONLY);
    if (segment->fd >= 0)
        store->reading = segment;
    return segment->fd >= 0;
}

static bool is_record_of(const struct spool_entry *entry, const struct spool_record *record)
{
    return spool_record_check(record) && record->kind == SPOOL_RECORD &&
           record->salt == entry->segment->salt && record->number == entry->number &&
           record->sequence == entry->sequence && record->bytes == entry->bytes;
}

static enum outcome load(struct spool_store *store, struct spool_entry *entry,
                         struct parcel **ret_parcel)
{
    struct spool_record record;
    if (!open_to_read(store, entry->segment))
        return errno == ENOENT ? READ_BAD : READ_FAILED;
    int fd = entry->segment->fd;
    ssize_t got = spool_file_read(store->files, fd, &record, sizeof record, entry->offset);
    if (got < 0)
        return READ_FAILED;
    if (got < (ssize_t)sizeof record || !is_record_of(entry, &record))
        return READ_BAD;
    struct parcel *parcel = parcel_create(record.bytes);
    if (parcel == NULL)
        return READ_NO_MEMORY;
    got = spool_file_read(store->files, fd, parcel->body, record.bytes,
                          entry->offset + sizeof record);
    if (got < (ssize_t)record.bytes || crc32c(0, parcel->body, record.bytes) != record.body_crc) {
        parcel_release(&parcel);
        return got < 0 ? READ_FAILED : READ_BAD;
    }
    parcel->points = record.points;
    parcel->sequence = record.sequence;
    parcel->created_ns = record.created_ns;
    parcel->due_ns = record.due_ns;
    parcel->encoding = record.encoding;
    *ret_parcel = parcel;
    return READ_GOOD;
}

bool spool_is_sound(struct spool_store *store, struct spool_entry *entry)
{
    struct parcel *parcel = NULL;
    bool sound = load(store, entry, &parcel) == READ_GOOD;
    parcel_release(&parcel);
    return sound;
}

/* True where it was answered, by whatever. */
static bool read_one(struct spool_store *store, struct spool_entry *entry, struct spool_now now)
{
    struct spool_event event = {
        .kind = SPOOL_READ, .sequence = entry->sequence, .points = entry->points};
    if (is_expired(store, entry, now)) {
        spool_give_up(store, entry, SPOOL_EXPIRED);
        return false;
    }
    enum outcome outcome = READ_GOOD;
    if (entry->parcel != NULL)
        event.parcel = parcel_hold(entry->parcel);
    else
        outcome = load(store, entry, &event.parcel);
    if (outcome == READ_FAILED && ++entry->read_failures >= READ_FAILURES_MAX)
        outcome = READ_BAD;
    if (outcome == READ_BAD) {
        spool_give_up(store, entry, SPOOL_CORRUPT);
        return false;
    }
    if (outcome == READ_GOOD)
        entry->in_hand = true;
    else
        event = (struct spool_event){.kind = SPOOL_END}; /* asked again, it is tried again */
    store->emit(store->context, &event);
    return true;
}

void spool_store_read(struct spool_store *store, struct spool_now now)
{
    struct spool_entry *entry = store->cursor;
    while (entry != NULL) {
        struct spool_entry *newer = entry->newer;
        store->cursor = entry;
        if (!entry->in_hand && read_one(store, entry, now))
            return;
        entry = newer;
    }
    store->cursor = NULL;
    store->emit(store->context, &(struct spool_event){.kind = SPOOL_END});
}

/* ---- what is due ---- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* What a killed process had written is in the kernel's hands, not yet on the disk. There is no copy
 * in memory: an error can only be counted. */
static void sync_found(struct spool_store *store)
{
    store->found_unsynced = false;
    for (struct spool_segment *segment = store->oldest; segment != NULL; segment = segment->newer) {
        if (segment->live == 0 || segment == store->active)
            continue;
        int fd = spool_file_open(store->files, store->directory, segment->name, O_RDONLY);
        if (fd < 0 || !spool_file_sync(store->files, fd))
            store->status.sync_errors++;
        if (fd >= 0)
            close(fd);
    }
    store->directory_dirty = true;
    spool_sync_directory(store);
}

/* By the oldest that still needs it: where all is delivered in time, never. UINT64_MAX: nothing
 * does. */
static uint64_t commit_due_ns(const struct spool_store *store)
{
    if (store->unsynced_count == 0 || store->homeless_count > 0)
        return UINT64_MAX;
    if (store->unsynced_bytes >= store->settings.flush_bytes)
        return 0;
    return store->unsynced->written_ns + store->settings.flush_ns;
}

static void write_what_is_due(struct spool_store *store, struct spool_now now)
{
    if (store->found_unsynced)
        sync_found(store);
    if (store->fresh.count > 0 && !store->acks_behind)
        spool_write_acks(store, false);
    if (now.ns >= commit_due_ns(store))
        spool_commit(store, now);
    if (now.ns >= store->acks_due_ns && !store->acks_behind)
        spool_write_acks(store, true);
    if (now.ns >= store->reclaim_due_ns)
        spool_reclaim(store, now);
    if (store->acks_behind && store->status.working)
        spool_trouble(store, now, "acknowledgements cannot be written");
}

uint64_t spool_store_turn(struct spool_store *store, struct spool_now now)
{
    expire(store, now);
    spool_mend(store, now);
    if (store->opened)
        write_what_is_due(store, now);
    uint64_t due = store->expire_due_ns;
    if (!store->status.working)
        due = earlier(due, store->retry_ns);
    if (!store->acks_behind)
        due = earlier(due, store->acks_due_ns);
    return earlier(due, commit_due_ns(store)); /* reclaiming is tried again with `expire` */
}

void spool_store_status(const struct spool_store *store, struct spool_status *ret_status)
{
    const struct spool_segment *active = store->active;
    *ret_status = store->status;
    ret_status->used_bytes =
        store->status.disk_bytes - (active != NULL ? active->room_bytes - active->bytes : 0);
    ret_status->full_bytes = store->settings.size_bytes - store->segment_bytes;
    if (!store->opened)
        return;
    ret_status->oldest_ns = store->first != NULL ? store->first->created_ns : 0;
    ret_status->synced_sequence = store->unsynced != NULL    ? store->unsynced->sequence - 1
                                  : store->next.sequence > 0 ? store->next.sequence - 1
                                                             : 0;
}

/* ---- life ---- */

static void settle(struct spool_store *store, const struct spool_settings *settings)
{
    store->settings = *settings;
    snprintf(store->path, sizeof store->path, "%s", settings->directory);
    store->settings.directory = store->path;
    uint64_t share = settings->size_bytes / SEGMENTS_MIN;
    store->segment_bytes = settings->segment_bytes < share ? settings->segment_bytes : share;
    if (store->segment_bytes < SEGMENT_BYTES_MIN)
        store->segment_bytes = SEGMENT_BYTES_MIN;
}

struct spool_store *spool_store_open(const struct spool_settings *settings, spool_emit_fn *emit,
                                     void *context, struct spool_now now, struct error *error)
{
    struct spool_store *store = xcalloc(1, sizeof *store);
    settle(store, settings);
    store->files = settings->files != NULL ? settings->files : &spool_files_system;
    store->emit = emit;
    store->context = context;
    random_init(&store->random);
    store->directory = -1;
    store->pause_ns = SPOOL_PAUSE_FIRST_NS;
    store->acks_due_ns = UINT64_MAX;
    store->expire_due_ns = now.ns;
    store->status.working = true;
    spool_acks_init(&store->acks, store->files, -1);
    spool_index_init(store);
    if (spool_recover(store))
        return store;
    if (errno == EWOULDBLOCK) {
        error_set(error,
                  "spool: %s: another process uses it: stop that one, or give each destination of "
                  "each process a directory of its own",
                  store->path);
        spool_store_close(&store, now);
        return NULL;
    }
    spool_trouble(store, now, "the directory cannot be used");
    /* Above everything that may lie there, for when it can be read again: 256 a second since 1970.
     */
    store->next.sequence = (now.wall_ns / NS_PER_S) << 8;
    return store;
}

uint64_t spool_store_next(const struct spool_store *store)
{
    return store->next.sequence > 0 ? store->next.sequence : 1;
}

void spool_store_finish(struct spool_store *store, struct spool_now now)
{
    if (!store->opened || store->finished)
        return;
    store->finished = true;
    store->retry_ns = 0; /* what failed gets a last try */
    spool_mend(store, now);
    spool_seal(store);
    spool_commit(store, now);
    spool_write_acks(store, true);
    spool_reclaim(store, now);
}

void spool_store_close(struct spool_store **store, struct spool_now now)
{
    struct spool_store *dead = *store;
    *store = NULL;
    if (dead == NULL)
        return;
    spool_store_finish(dead, now);
    spool_acks_fini(&dead->acks);
    spool_set_fini(&dead->done);
    spool_set_fini(&dead->fresh);
    spool_index_fini(dead);
    if (dead->directory >= 0)
        close(dead->directory);
    free(dead);
}
