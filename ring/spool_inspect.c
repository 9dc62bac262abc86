/* SPDX-License-Identifier: Apache-2.0 */
/* What recovery does, without changing anything, and beside a process that may be writing: files
 * come and go meanwhile. The furthest position is read before the segments and what is done with
 * after them, so that neither what is added nor what is removed meanwhile looks missing. */
#include "ring/spool_inspect.h"

#include "base/memory.h"
#include "ring/crc32c.h"
#include "ring/spool_books.h"
#include "ring/spool_listing.h"
#include "ring/spool_scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LISTINGS_MAX = 5 }; /* the ack log may be written anew between listing and opening */

struct seen_piece {
    size_t segment; /* in the listing */
    struct spool_piece piece;
};

struct inspection {
    const struct spool_visitor *visitor;
    int directory;
    struct spool_listing listing;
    struct spool_books books;
    struct spool_set done;
    struct spool_acks_found found;
    struct seen_piece *pieces;
    size_t count, capacity;
    struct {
        enum spool_head_state state;
        uint64_t bytes;
        bool there;
        int error;
    } * segments;
    uint8_t *body;
    size_t body_bytes;
};

static int open_file(const struct inspection *inspection, const char *name)
{
    return spool_file_open(&spool_files_system, inspection->directory, name, O_RDONLY);
}

/* ---- acks ---- */

/* False: a file went meanwhile, list again. */
static bool read_acks(struct inspection *inspection, const struct spool_listing *listing,
                      struct spool_set *done, struct spool_acks_found *found)
{
    const struct spool_names *acks = &listing->acks;
    found->trusted = acks->count == 0 && listing->segments.count == 0;
    for (size_t i = 0; i < acks->count; i++) {
        int fd = open_file(inspection, acks->files[i].name);
        if (fd < 0 && errno == ENOENT)
            return false;
        if (fd < 0 || !spool_acks_read(&spool_files_system, fd, done, found))
            found->trusted = false;
        if (fd >= 0)
            close(fd);
    }
    return true;
}

static bool list(struct inspection *inspection)
{
    struct spool_set ignored = {.ranges = NULL};
    bool whole = false;
    for (int i = 0; i < LISTINGS_MAX && !whole; i++) {
        spool_listing_fini(&inspection->listing);
        if (!spool_listing_read(&inspection->listing, inspection->directory))
            return false;
        struct spool_acks_found before = {.trusted = false};
        whole = read_acks(inspection, &inspection->listing, &ignored, &before);
        spool_set_fini(&ignored);
        inspection->found.next = before.next;
    }
    spool_listing_fini(&inspection->listing); /* again: with all segments up to that position */
    return spool_listing_read(&inspection->listing, inspection->directory);
}

/* What is done with by now. */
static void read_done(struct inspection *inspection)
{
    const struct spool_visitor *visitor = inspection->visitor;
    struct spool_position next = inspection->found.next;
    struct spool_listing now = {.damaged_count = 0};
    bool whole = false;
    for (int i = 0; i < LISTINGS_MAX && !whole; i++) {
        spool_listing_fini(&now);
        spool_set_fini(&inspection->done);
        inspection->found.trusted = false;
        whole = spool_listing_read(&now, inspection->directory) &&
                read_acks(inspection, &now, &inspection->done, &inspection->found);
    }
    inspection->found.next = next;
    if (now.acks.count == 0 && inspection->listing.segments.count > 0)
        visitor->bad_file(visitor->context, "*.acks", ENOENT);
    else if (!inspection->found.trusted && now.acks.count > 0)
        visitor->bad_file(visitor->context, now.acks.files[now.acks.count - 1].name, 0);
    spool_listing_fini(&now);
}

/* ---- segments ---- */

static void keep(struct inspection *inspection, size_t segment, const struct spool_piece *piece)
{
    if (inspection->count == inspection->capacity) {
        inspection->capacity = inspection->capacity > 0 ? 2 * inspection->capacity : 1024;
        inspection->pieces =
            xrealloc(inspection->pieces, inspection->capacity * sizeof *inspection->pieces);
    }
    inspection->pieces[inspection->count++] =
        (struct seen_piece){.segment = segment, .piece = *piece};
}

static void scan_pieces(struct inspection *inspection, struct spool_scan *scan, size_t at)
{
    struct spool_piece piece;
    uint64_t file = inspection->listing.segments.files[at].file;
    bool read;
    while ((read = spool_scan_next(scan, &piece)) && piece.kind != SPOOL_PIECE_END) {
        if (piece.kind == SPOOL_PIECE_RECORD)
            spool_books_add_record(&inspection->books, file, &piece.record, NULL);
        else if (piece.kind == SPOOL_PIECE_CUT)
            spool_books_add_lost(&inspection->books, file, &piece.record);
        else if (piece.kind == SPOOL_PIECE_MARK)
            spool_books_add_end(&inspection->books, file, &piece.record);
        keep(inspection, at, &piece);
    }
    if (read)
        return;
    inspection->segments[at].error = errno;
    inspection->books.blind = true;
}

static void scan_segment(struct inspection *inspection, size_t at)
{
    struct spool_head head;
    const struct spool_named *named = &inspection->listing.segments.files[at];
    int fd = open_file(inspection, named->name);
    struct spool_scan *scan = fd >= 0 ? spool_scan_open(&spool_files_system, fd) : NULL;
    int why = errno;
    inspection->segments[at].there = scan != NULL || why != ENOENT;
    if (scan == NULL && why != ENOENT) {
        inspection->segments[at].error = why;
        inspection->books.blind = true;
    }
    if (scan != NULL) {
        inspection->segments[at].bytes = spool_scan_bytes(scan);
        inspection->segments[at].state = spool_scan_head(scan, &head);
        if (inspection->segments[at].state != SPOOL_HEAD_BAD)
            spool_books_add_head(&inspection->books, named->file, &head);
        if (inspection->segments[at].state == SPOOL_HEAD_FOREIGN)
            inspection->books.blind = true;
        else
            scan_pieces(inspection, scan, at);
        spool_scan_close(&scan);
    }
    if (fd >= 0)
        close(fd);
}

/* ---- telling ---- */

/* The body in the buffer; false: it is not what was written. A file that went meanwhile was done
 * with: *ret_gone. */
static bool read_body(struct inspection *inspection, const char *name,
                      const struct spool_piece *piece, bool *ret_gone)
{
    size_t bytes = piece->record.bytes;
    if (bytes >= inspection->body_bytes) {
        free(inspection->body);
        inspection->body_bytes = bytes + 1;
        inspection->body = xmalloc(inspection->body_bytes);
    }
    int fd = open_file(inspection, name);
    *ret_gone = fd < 0 && errno == ENOENT;
    if (fd < 0)
        return false;
    ssize_t got = spool_file_read(&spool_files_system, fd, inspection->body, bytes,
                                  piece->offset + sizeof piece->record);
    close(fd);
    return got == (ssize_t)bytes && crc32c(0, inspection->body, bytes) == piece->record.body_crc;
}

static void tell_record(struct inspection *inspection, const char *name,
                        const struct spool_piece *piece)
{
    struct spool_seen seen = {
        .file = name, .offset = piece->offset, .record = &piece->record, .state = SPOOL_IS_WAITING};
    bool gone = false;
    if (piece->kind == SPOOL_PIECE_CUT)
        seen.state = SPOOL_IS_CUT;
    else if (spool_set_has(&inspection->done, piece->record.number))
        seen.state = SPOOL_IS_DONE;
    else if (inspection->visitor->bodies) {
        bool sound = read_body(inspection, name, piece, &gone);
        seen.state = sound ? SPOOL_IS_WAITING : SPOOL_IS_BAD;
        seen.body = sound ? inspection->body : NULL;
    }
    if (!gone)
        inspection->visitor->record(inspection->visitor->context, &seen);
}

static void tell_pieces(struct inspection *inspection, size_t segment, size_t *piece)
{
    const struct spool_visitor *visitor = inspection->visitor;
    const char *name = inspection->listing.segments.files[segment].name;
    for (; *piece < inspection->count && inspection->pieces[*piece].segment == segment; ++*piece) {
        const struct spool_piece *found = &inspection->pieces[*piece].piece;
        if (found->kind == SPOOL_PIECE_RECORD || found->kind == SPOOL_PIECE_CUT)
            tell_record(inspection, name, found);
        else if (found->kind == SPOOL_PIECE_DAMAGE || found->kind == SPOOL_PIECE_ZEROS)
            visitor->damage(visitor->context, name, found->offset, found->bytes);
    }
}

struct sums {
    uint64_t records, points;
    uint64_t end; /* what lies behind was written after the look at the segments */
};

static void add_hole(void *context, const struct spool_range *hole, bool loss)
{
    struct sums *missing = context;
    if (!loss || hole->first >= missing->end)
        return;
    missing->records += hole->end - hole->first;
    missing->points += hole->points_end - hole->points_before;
}

static void tell(struct inspection *inspection)
{
    const struct spool_visitor *visitor = inspection->visitor;
    size_t piece = 0;
    for (size_t i = 0; i < inspection->listing.segments.count; i++) {
        const char *name = inspection->listing.segments.files[i].name;
        if (!inspection->segments[i].there)
            continue;
        if (inspection->segments[i].error != 0)
            visitor->bad_file(visitor->context, name, inspection->segments[i].error);
        else
            visitor->segment(visitor->context, name, inspection->segments[i].bytes,
                             inspection->segments[i].state);
        tell_pieces(inspection, i, &piece);
    }
    struct sums missing = {.end = inspection->found.next.number};
    for (size_t i = 0; i < inspection->books.count; i++)
        if (inspection->books.items[i].range.end > missing.end)
            missing.end = inspection->books.items[i].range.end;
    spool_books_add_done(&inspection->books, &inspection->done);
    spool_books_add_position(&inspection->books, &inspection->found.next);
    inspection->books.trusted = inspection->found.trusted;
    spool_books_balance(&inspection->books, add_hole, &missing);
    if (missing.records > 0)
        visitor->missing(visitor->context, missing.records, missing.points);
}

/* ---- entry points ---- */

bool spool_inspect_is_spool(const char *path)
{
    struct spool_listing listing = {.damaged_count = 0};
    int fd = spool_file_open(&spool_files_system, AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
    bool is = fd >= 0 && spool_listing_read(&listing, fd) &&
              listing.segments.count + listing.acks.count > 0;
    spool_listing_fini(&listing);
    if (fd >= 0)
        close(fd);
    return is;
}

bool spool_inspect(const char *path, const struct spool_visitor *visitor, struct error *error)
{
    struct inspection inspection = {.visitor = visitor};
    inspection.directory =
        spool_file_open(&spool_files_system, AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
    bool listed = inspection.directory >= 0 && list(&inspection);
    if (!listed)
        error_set(error, "%s: %s: name a spool's directory that this user may read", path,
                  strerror(errno));
    if (listed) {
        size_t count = inspection.listing.segments.count;
        inspection.segments = xcalloc(count > 0 ? count : 1, sizeof *inspection.segments);
        for (size_t i = 0; i < count; i++)
            scan_segment(&inspection, i);
        read_done(&inspection);
        tell(&inspection);
    }
    spool_listing_fini(&inspection.listing);
    spool_books_fini(&inspection.books);
    spool_set_fini(&inspection.done);
    free(inspection.segments);
    free(inspection.pieces);
    free(inspection.body);
    if (inspection.directory >= 0)
        close(inspection.directory);
    return listed;
}
