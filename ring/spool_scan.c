/* SPDX-License-Identifier: Apache-2.0 */
/* From record to record by the heads: a sound head says where the next one is. Where there is none,
 * the bytes are searched for the magic of the next that is sound (its own CRC, and the salt of this
 * segment). The search goes over each byte once, so a file that is nothing but damage costs one
 * read of it.
 *
 * Small reads while records are large, large ones while they are small: a gigabyte of parcels is
 * indexed by some ten thousand reads of a page. */
#include "ring/spool_scan.h"

#include "base/check.h"
#include "base/memory.h"
#include "ring/crc32c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BUFFER_BYTES = 1 << 16, PAGE_READ_BYTES = 4096, SMALL_RECORD_BYTES = 1 << 13 };

struct spool_scan {
    const struct spool_files *files;
    int fd;
    uint64_t bytes; /* of the file */
    enum spool_head_state state;
    struct spool_head head;
    uint64_t salt;
    bool salt_known;
    bool search; /* large reads pay */
    uint64_t offset;
    uint64_t buffer_offset;
    size_t buffer_bytes;
    uint8_t buffer[BUFFER_BYTES];
};

/* What the buffer has from `offset` on: at least `want` bytes, fewer only at the file's end. NULL:
 * the read failed. */
static const uint8_t *peek(struct spool_scan *scan, uint64_t offset, size_t want, size_t *ret_bytes)
{
    CHECK(want <= PAGE_READ_BYTES);
    uint64_t end = scan->buffer_offset + scan->buffer_bytes;
    if (offset < scan->buffer_offset || offset + want > end) {
        ssize_t got = spool_file_read(scan->files, scan->fd, scan->buffer,
                                      scan->search ? BUFFER_BYTES : PAGE_READ_BYTES, offset);
        if (got < 0)
            return NULL;
        scan->buffer_offset = offset;
        scan->buffer_bytes = (size_t)got;
        end = offset + (uint64_t)got;
    }
    *ret_bytes = (size_t)(end - offset);
    return scan->buffer + (offset - scan->buffer_offset);
}

struct spool_scan *spool_scan_open(const struct spool_files *files, int fd)
{
    struct spool_scan *scan = xmalloc(sizeof *scan);
    memset(scan, 0, offsetof(struct spool_scan, buffer));
    scan->files = files;
    scan->fd = fd;
    size_t got = 0;
    const uint8_t *head = NULL;
    if (spool_file_size(fd, &scan->bytes))
        head = peek(scan, 0, sizeof scan->head, &got);
    if (head == NULL) {
        spool_scan_close(&scan);
        return NULL;
    }
    scan->state = SPOOL_HEAD_BAD;
    if (got >= sizeof scan->head) {
        memcpy(&scan->head, head, sizeof scan->head);
        scan->state = spool_head_check(&scan->head, SPOOL_SEGMENT);
    }
    if (scan->state == SPOOL_HEAD_GOOD) {
        scan->salt = scan->head.salt;
        scan->salt_known = true;
        scan->offset = sizeof scan->head;
    }
    return scan;
}

void spool_scan_close(struct spool_scan **scan)
{
    free(*scan);
    *scan = NULL;
}

enum spool_head_state spool_scan_head(const struct spool_scan *scan, struct spool_head *ret_head)
{
    *ret_head = scan->head;
    return scan->state;
}

uint64_t spool_scan_bytes(const struct spool_scan *scan)
{
    return scan->bytes;
}

/* Without a sound file head the first sound record says what the salt is. */
static bool sound(struct spool_scan *scan, const uint8_t *bytes, struct spool_record *ret_record)
{
    memcpy(ret_record, bytes, sizeof *ret_record);
    if (!spool_record_check(ret_record) || (scan->salt_known && ret_record->salt != scan->salt))
        return false;
    scan->salt = ret_record->salt;
    scan->salt_known = true;
    return true;
}

static bool all_zero(const uint8_t *bytes, size_t count)
{
    return count == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, count - 1) == 0);
}

/* The next sound head at or behind `from`; the file's end where there is none. */
static bool search(struct spool_scan *scan, uint64_t from, uint64_t *ret_found, bool *ret_zeros)
{
    uint8_t magic[4];
    struct spool_record record;
    spool_record_magic(magic);
    scan->search = true;
    uint64_t at = from;
    while (at < scan->bytes) {
        size_t got;
        const uint8_t *bytes = peek(scan, at, sizeof record, &got);
        if (bytes == NULL)
            return false;
        if (got < sizeof record) {
            *ret_zeros = *ret_zeros && all_zero(bytes, got);
            break;
        }
        size_t heads = got - sizeof record + 1; /* places where a whole head may begin */
        const uint8_t *hit = memmem(bytes, heads + sizeof magic - 1, magic, sizeof magic);
        size_t skipped = hit != NULL ? (size_t)(hit - bytes) : heads;
        *ret_zeros = *ret_zeros && all_zero(bytes, skipped);
        at += skipped;
        if (hit != NULL && sound(scan, hit, &record)) {
            *ret_found = at;
            return true;
        }
        if (hit != NULL) {
            *ret_zeros = false;
            at++;
        }
    }
    *ret_found = scan->bytes;
    return true;
}

static void set_record(struct spool_scan *scan, struct spool_piece *piece)
{
    uint64_t left = scan->bytes - piece->offset;
    piece->kind = piece->record.kind == SPOOL_RECORD_END ? SPOOL_PIECE_MARK : SPOOL_PIECE_RECORD;
    piece->bytes = sizeof piece->record + piece->record.bytes;
    if (piece->bytes > left) {
        piece->kind = SPOOL_PIECE_CUT;
        piece->bytes = left;
    }
    scan->search = piece->bytes < SMALL_RECORD_BYTES;
}

bool spool_scan_next(struct spool_scan *scan, struct spool_piece *ret_piece)
{
    struct spool_piece piece = {.kind = SPOOL_PIECE_END, .offset = scan->offset};
    size_t got = 0;
    if (scan->offset < scan->bytes) {
        const uint8_t *bytes = peek(scan, scan->offset, sizeof piece.record, &got);
        if (bytes == NULL)
            return false;
        if (got >= sizeof piece.record && sound(scan, bytes, &piece.record)) {
            set_record(scan, &piece);
        } else {
            uint64_t found = 0;
            bool zeros = true;
            if (!search(scan, scan->offset, &found, &zeros))
                return false;
            piece.kind = zeros ? SPOOL_PIECE_ZEROS : SPOOL_PIECE_DAMAGE;
            piece.bytes = found - scan->offset;
        }
        scan->offset += piece.bytes;
    }
    *ret_piece = piece;
    return true;
}

bool spool_scan_body(struct spool_scan *scan, const struct spool_piece *piece)
{
    uint64_t at = piece->offset + sizeof piece->record, left = piece->record.bytes;
    uint32_t crc = 0;
    scan->search = true;
    while (left > 0) {
        size_t got;
        const uint8_t *bytes = peek(scan, at, 1, &got);
        if (bytes == NULL)
            return false;
        if (got == 0)
            break;
        if (got > left)
            got = (size_t)left;
        crc = crc32c(crc, bytes, got);
        at += got;
        left -= got;
    }
    errno = 0;
    return left == 0 && crc == piece->record.body_crc;
}
