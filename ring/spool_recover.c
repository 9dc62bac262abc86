/* SPDX-License-Identifier: Apache-2.0 */
/* What lies in the directory at start becomes the index: acks first, then every segment by its
 * heads, whatever state they are in. Files of another version are left alone. Only the newest
 * segment's bodies are read, for it is the one that a crash leaves half written; others show what
 * they are when they are read.
 *
 * What is missing is found by the books (spool_books.c), and noted as done with. */
#include "ring/spool_state.h"

#include "base/memory.h"
#include "ring/spool_books.h"
#include "ring/spool_listing.h"
#include "ring/spool_scan.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COPY_BYTES = 1 << 16, QUARANTINE_BYTES_MAX = 64 << 20, QUARANTINE_FILES_MAX = 64 };

#define SEQUENCE_JUMP (UINT64_C(1) << 22) /* more than all records that can lie there */

struct recovery {
    struct spool_store *store;
    struct spool_listing listing;
    struct spool_books books;
    struct spool_acks_found found;
    uint32_t foreign;
    /* the segment at hand */
    struct spool_segment *segment;
    struct spool_scan *scan;
    int fd;
    bool newest;
};

/* A copy of bytes that are no record, for whoever wants to look into what happened. Best effort,
 * and only once: where it is there already, it stays. False: there is no copy. */
static bool quarantine(struct recovery *recovery, const struct spool_piece *piece)
{
    struct spool_store *store = recovery->store;
    char name[2 * SPOOL_NAME_BYTES];
    snprintf(name, sizeof name, "%s.%" PRIu64 SPOOL_DAMAGED_SUFFIX, recovery->segment->name,
             piece->offset);
    if (recovery->listing.damaged_count >= QUARANTINE_FILES_MAX ||
        recovery->listing.damaged_bytes + piece->bytes > QUARANTINE_BYTES_MAX)
        return true; /* enough to look at */
    int to = spool_file_open(store->files, store->directory, name, O_WRONLY | O_CREAT | O_EXCL);
    if (to < 0)
        return errno == EEXIST;
    uint8_t *buffer = xmalloc(COPY_BYTES);
    uint64_t done = 0, written;
    bool copied = true;
    while (copied && done < piece->bytes) {
        uint64_t left = piece->bytes - done;
        ssize_t got =
            spool_file_read(store->files, recovery->fd, buffer,
                            left < COPY_BYTES ? (size_t)left : COPY_BYTES, piece->offset + done);
        struct iovec part = {.iov_base = buffer, .iov_len = got > 0 ? (size_t)got : 0};
        copied = got > 0 && spool_file_write(store->files, to, &part, 1, done, &written);
        done += copied ? written : 0;
    }
    free(buffer);
    close(to);
    if (!copied)
        store->files->unlink(store->files->context, store->directory, name);
    recovery->listing.damaged_count++;
    recovery->listing.damaged_bytes += done;
    return copied;
}

/* ---- one segment ---- */

static void add_record(struct recovery *recovery, const struct spool_piece *piece)
{
    const struct spool_record *record = &piece->record;
    struct spool_entry *entry = NULL;
    if (!spool_set_has(&recovery->store->done, record->number)) {
        entry = xmalloc(sizeof *entry);
        *entry = (struct spool_entry){.sequence = record->sequence,
                                      .number = record->number,
                                      .created_ns = record->created_ns,
                                      .points_before = record->points_before,
                                      .offset = piece->offset,
                                      .points = record->points,
                                      .bytes = record->bytes,
                                      .segment = recovery->segment};
    }
    spool_books_add_record(&recovery->books, recovery->segment->file, record, entry);
}

static void note_sequence(struct spool_store *store, uint64_t next)
{
    if (next > store->next.sequence)
        store->next.sequence = next;
}

/* Whether the body is what was written, as far as that is looked at here. */
static bool body_is_sound(struct recovery *recovery, const struct spool_piece *piece)
{
    return !recovery->newest || spool_set_has(&recovery->store->done, piece->record.number) ||
           spool_scan_body(recovery->scan, piece) || errno != 0;
}

/* Takes a piece in; false: it is damage. */
static bool take_piece(struct recovery *recovery, const struct spool_piece *piece)
{
    struct spool_store *store = recovery->store;
    const struct spool_record *record = &piece->record;
    if (piece->kind == SPOOL_PIECE_MARK) {
        spool_books_add_end(&recovery->books, recovery->segment->file, record);
        note_sequence(store, record->sequence);
        return true;
    }
    if (piece->kind != SPOOL_PIECE_RECORD && piece->kind != SPOOL_PIECE_CUT)
        return false;
    recovery->segment->salt = record->salt;
    note_sequence(store, record->sequence + 1);
    if (piece->kind == SPOOL_PIECE_RECORD && body_is_sound(recovery, piece)) {
        add_record(recovery, piece);
        return true;
    }
    spool_books_add_lost(&recovery->books, recovery->segment->file, record);
    return false;
}

/* The newest segment ends at its last sound record: what follows was being written, or never was.
 */
static void cut_tail(struct spool_store *store, struct spool_segment *segment, uint64_t bytes)
{
    int fd = spool_file_open(store->files, store->directory, segment->name, O_RDWR);
    if (fd < 0)
        return;
    if (store->files->ftruncate(store->files->context, fd, (off_t)bytes) == 0) {
        store->status.disk_bytes -= segment->room_bytes - bytes;
        segment->room_bytes = segment->bytes = bytes;
    }
    close(fd);
}

static void scan_pieces(struct recovery *recovery)
{
    struct spool_store *store = recovery->store;
    struct spool_segment *segment = recovery->segment;
    struct spool_piece piece;
    uint64_t sound_bytes = 0, zero_bytes = 0;
    bool copied = true, read;
    while ((read = spool_scan_next(recovery->scan, &piece)) && piece.kind != SPOOL_PIECE_END) {
        if (take_piece(recovery, &piece)) {
            sound_bytes = piece.offset + piece.bytes;
            store->status.corrupt_bytes += zero_bytes; /* a hole: something was there */
            zero_bytes = 0;
        } else if (piece.kind == SPOOL_PIECE_ZEROS) {
            zero_bytes += piece.bytes;
        } else {
            copied = quarantine(recovery, &piece) && copied;
            store->status.corrupt_bytes += piece.bytes;
        }
    }
    if (!read) {
        segment->pinned = true;
        recovery->books.blind = true;
    } else if (recovery->newest && copied && sound_bytes < segment->bytes) {
        cut_tail(store, segment, sound_bytes);
    }
}

static void add_segment(struct recovery *recovery, const struct spool_named *file,
                        const struct spool_head *head)
{
    struct spool_store *store = recovery->store;
    struct spool_segment *segment = spool_segment_add(store);
    recovery->segment = segment;
    segment->file = file->file;
    memcpy(segment->name, file->name, sizeof segment->name);
    segment->bytes = segment->room_bytes = spool_scan_bytes(recovery->scan);
    store->status.disk_bytes += segment->room_bytes;
    if (head != NULL) {
        segment->salt = head->salt;
        spool_books_add_head(&recovery->books, file->file, head);
        note_sequence(store, head->sequence);
    }
    scan_pieces(recovery);
}

/* Of another version, or not readable (then there is no scan). */
static void leave_alone(struct recovery *recovery, const struct spool_head *head)
{
    recovery->foreign++;
    recovery->books.blind = true;
    if (recovery->scan == NULL)
        return;
    recovery->store->status.disk_bytes += spool_scan_bytes(recovery->scan);
    spool_books_add_head(&recovery->books, 0, head);
}

static void scan_segment(struct recovery *recovery, const struct spool_named *file, bool newest)
{
    struct spool_store *store = recovery->store;
    struct spool_head head;
    enum spool_head_state state = SPOOL_HEAD_FOREIGN;
    recovery->newest = newest;
    recovery->scan = NULL;
    recovery->fd = spool_file_open(store->files, store->directory, file->name, O_RDONLY);
    if (recovery->fd >= 0)
        recovery->scan = spool_scan_open(store->files, recovery->fd);
    if (recovery->scan != NULL)
        state = spool_scan_head(recovery->scan, &head);
    if (state == SPOOL_HEAD_FOREIGN)
        leave_alone(recovery, &head);
    else
        add_segment(recovery, file, state == SPOOL_HEAD_GOOD ? &head : NULL);
    spool_scan_close(&recovery->scan);
    if (recovery->fd >= 0)
        close(recovery->fd);
}

/* ---- the books ---- */

/* Counted, and noted as done with, so that it is counted once. */
static void take_hole(void *context, const struct spool_range *hole, bool loss)
{
    struct recovery *recovery = context;
    struct spool_store *store = recovery->store;
    if (loss) {
        store->status.corrupt_records += hole->end - hole->first;
        store->status.corrupt_points += hole->points_end - hole->points_before;
    }
    if (loss || !recovery->books.blind) {
        spool_set_add(&store->done, *hole);
        spool_set_add(&store->fresh, *hole);
    }
}

static void balance(struct recovery *recovery)
{
    struct spool_store *store = recovery->store;
    struct spool_books *books = &recovery->books;
    spool_books_add_done(books, &store->done);
    spool_books_add_position(books, &recovery->found.next);
    books->trusted = recovery->found.trusted;
    struct spool_position next = spool_books_balance(books, take_hole, recovery);
    store->next.number = next.number;
    store->next.points = next.points;
    if (books->blind) {
        store->next.number += SPOOL_JUMP;
        store->next.sequence += SEQUENCE_JUMP;
    }
    if (store->next.number > SPOOL_COUNT_MAX) /* forged */
        store->next.number = SPOOL_COUNT_MAX;
    if (store->next.sequence > SPOOL_COUNT_MAX)
        store->next.sequence = SPOOL_COUNT_MAX;
}

static struct spool_entry *entry_at(const struct recovery *recovery, size_t at)
{
    return at < recovery->books.count ? recovery->books.items[at].owner : NULL;
}

/* Into the index, oldest first. There are two copies of a record where a sync failed in between: of
 * those the one written last, if it is whole. */
static void index_records(struct recovery *recovery)
{
    struct spool_store *store = recovery->store;
    for (size_t i = 0; i < recovery->books.count; i++) {
        struct spool_entry *entry = entry_at(recovery, i), *other = entry_at(recovery, i + 1);
        if (entry == NULL)
            continue;
        bool taken = store->last != NULL && store->last->number == entry->number;
        bool copied = other != NULL && other->number == entry->number;
        if (taken || (copied && !spool_is_sound(store, entry))) {
            free(entry);
            continue;
        }
        spool_index_add(store, entry);
        store->status.recovered_records++;
        store->status.recovered_points += entry->points;
    }
}

static void say_foreign(struct recovery *recovery)
{
    struct spool_store *store = recovery->store;
    if (recovery->foreign > 0 || recovery->found.foreign)
        snprintf(
            store->status.trouble, sizeof store->status.trouble,
            "%.80s: %u segments%s cannot be read or are of another version: left alone; deliver "
            "them with the pgweir that wrote them",
            store->path, recovery->foreign, recovery->found.foreign ? " and an ack log" : "");
}

static bool open_and_lock(struct spool_store *store)
{
    int fd = spool_file_open_directory(store->files, store->path);
    if (fd < 0)
        return false;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK) {
        close(fd);
        errno = EWOULDBLOCK;
        return false;
    }
    store->directory = fd;
    return true;
}

bool spool_follow_directory(struct spool_store *store)
{
    struct stat status;
    int old = store->directory;
    if (fstat(old, &status) < 0 || status.st_nlink > 0)
        return false;
    if (!open_and_lock(store))
        return false;
    close(old);
    store->acks.directory = store->directory;
    return true;
}

bool spool_recover(struct spool_store *store)
{
    if (store->directory < 0 && !open_and_lock(store))
        return false;
    struct recovery recovery = {.store = store};
    bool listed = spool_listing_read(&recovery.listing, store->directory);
    int why = errno;
    if (listed) {
        spool_acks_init(&store->acks, store->files, store->directory);
        const struct spool_names *segments = &recovery.listing.segments;
        const struct spool_names *acks = &recovery.listing.acks;
        recovery.found.trusted = acks->count == 0 && segments->count == 0;
        for (size_t i = 0; i < acks->count; i++)
            spool_acks_load(&store->acks, acks->files[i].file, &store->done, &recovery.found);
        note_sequence(store, recovery.found.next.sequence);
        size_t count = segments->count;
        for (size_t i = 0; i < count; i++)
            scan_segment(&recovery, &segments->files[i], i + 1 == count);
        store->next_file = count > 0 ? segments->files[count - 1].file + 1 : 1;
        balance(&recovery);
        index_records(&recovery);
        say_foreign(&recovery);
        store->found_unsynced = store->first != NULL;
        store->opened = true;
    }
    spool_books_fini(&recovery.books);
    spool_listing_fini(&recovery.listing);
    errno = why;
    return listed;
}
