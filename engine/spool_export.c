/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies out of a spool, into files or one stream. Nothing is overwritten, and one that is damaged
 * or cannot be written keeps none of the others back. */
#include "spool_export.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "exporters/body.h"
#include "exporters/compress.h"
#include "ring/parcel.h"
#include "ring/spool_inspect.h"

enum { PLAIN_BYTES_MAX = 1 << 30 }; /* of one body, decompressed */

/* What a record says of its body, as the outbox wrote it: compression and format. */
struct body_kind {
    enum compression compression; /* COMPRESSION_COUNT: unknown here */
    const char *compression_text, *suffix;
};

static struct body_kind body_kind(uint32_t encoding)
{
    static const struct body_kind kinds[COMPRESSION_COUNT] = {
        [COMPRESSION_NONE] = {COMPRESSION_NONE, "none", ""},
        [COMPRESSION_GZIP] = {COMPRESSION_GZIP, "gzip", ".gz"},
        [COMPRESSION_ZSTD] = {COMPRESSION_ZSTD, "zstd", ".zst"},
        [COMPRESSION_SNAPPY] = {COMPRESSION_SNAPPY, "snappy", ".sz"}};
    uint32_t compression = parcel_compression(encoding);
    return compression < COMPRESSION_COUNT
               ? kinds[compression]
               : (struct body_kind){COMPRESSION_COUNT, "unknown", ".unknown"};
}

const char *spool_compression_text(uint32_t encoding)
{
    return body_kind(encoding).compression_text;
}

struct writing {
    const struct spool_export *options;
    int folder; /* --to */
    uint64_t records, points, failed;
};

static bool write_all(int fd, const uint8_t *bytes, size_t count)
{
    while (count > 0) {
        ssize_t written = write(fd, bytes, count);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return false;
        bytes += written;
        count -= (size_t)written;
    }
    return true;
}

static bool export_to_file(struct writing *writing, const struct spool_seen *seen)
{
    uint32_t encoding = seen->record->encoding;
    char name[64];
    snprintf(name, sizeof name, "%020" PRIu64 ".%s%s", seen->record->sequence,
             parcel_format(encoding) == BODY_JSON ? "json" : "pb", body_kind(encoding).suffix);
    int fd = openat(writing->folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool written = fd >= 0 && write_all(fd, seen->body, seen->record->bytes);
    if (!written)
        fprintf(stderr, "pgweir spool export: %s/%s: %s\n", writing->options->to, name,
                strerror(errno));
    if (fd >= 0)
        close(fd);
    return written;
}

static bool export_plain(const struct spool_seen *seen)
{
    size_t bytes = 0;
    struct body_kind kind = body_kind(seen->record->encoding);
    uint8_t *body =
        kind.compression < COMPRESSION_COUNT
            ? decompress(kind.compression, seen->body, seen->record->bytes, PLAIN_BYTES_MAX, &bytes)
            : NULL;
    if (body == NULL) {
        fprintf(stderr, "pgweir spool export: batch %" PRIu64 ": cannot be decompressed (%s)\n",
                seen->record->sequence, kind.compression_text);
        return false;
    }
    uint8_t length[4] = {(uint8_t)(bytes >> 24), (uint8_t)(bytes >> 16), (uint8_t)(bytes >> 8),
                         (uint8_t)bytes};
    bool written =
        write_all(STDOUT_FILENO, length, sizeof length) && write_all(STDOUT_FILENO, body, bytes);
    if (!written)
        fprintf(stderr, "pgweir spool export: standard output: %s\n", strerror(errno));
    free(body);
    return written;
}

static void export_record(void *context, const struct spool_seen *seen)
{
    struct writing *writing = context;
    if (seen->state == SPOOL_IS_DONE)
        return;
    bool written = false;
    if (seen->state == SPOOL_IS_WAITING)
        written = writing->options->plain ? export_plain(seen) : export_to_file(writing, seen);
    else
        fprintf(stderr, "pgweir spool export: batch %" PRIu64 " with %u points is damaged\n",
                seen->record->sequence, seen->record->points);
    writing->records += written;
    writing->points += written ? seen->record->points : 0;
    writing->failed += !written;
}

static void export_segment(void *context, const char *file, uint64_t bytes,
                           enum spool_head_state state)
{
    (void)context;
    (void)bytes;
    if (state == SPOOL_HEAD_FOREIGN)
        fprintf(stderr, "pgweir spool export: %s: of another version of pgweir: left out\n", file);
}

static void export_damage(void *context, const char *file, uint64_t offset, uint64_t bytes)
{
    (void)context;
    (void)file;
    (void)offset;
    (void)bytes;
}

static void export_bad_file(void *context, const char *file, int error)
{
    struct writing *writing = context;
    writing->failed += error != 0 && error != ENOENT;
    fprintf(stderr, "pgweir spool export: %s: %s: batches may be among these that were delivered\n",
            file, error != 0 ? strerror(error) : "has bad entries");
}

static void export_missing(void *context, uint64_t records, uint64_t points)
{
    (void)context;
    fprintf(stderr, "pgweir spool export: missing: %" PRIu64 " batches with %" PRIu64 " points\n",
            records, points);
}

/* FOLDER, or FOLDER/NAME where there is more than one destination. */
static int open_folder(const char *to, const char *name)
{
    char path[PATH_MAX];
    if (mkdir(to, 0700) < 0 && errno != EEXIST)
        return -1;
    if (snprintf(path, sizeof path, "%s/%s", to, name) >= (int)sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (name[0] != 0 && mkdir(path, 0700) < 0 && errno != EEXIST)
        return -1;
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

bool spool_export(const char *path, const struct spool_export *options, const char *name,
                  struct error *error)
{
    struct writing writing = {.options = options, .folder = -1};
    struct spool_visitor visitor = {.context = &writing,
                                    .bodies = true,
                                    .segment = export_segment,
                                    .record = export_record,
                                    .damage = export_damage,
                                    .bad_file = export_bad_file,
                                    .missing = export_missing};
    if (!options->plain && (writing.folder = open_folder(options->to, name)) < 0)
        return error_set(error, "--to %s: %s: name a folder that may be written", options->to,
                         strerror(errno));
    bool read = spool_inspect(path, &visitor, error);
    if (writing.folder >= 0)
        close(writing.folder);
    if (!read)
        return false;
    fprintf(stderr, "%s: %" PRIu64 " batches with %" PRIu64 " points written\n", path,
            writing.records, writing.points);
    if (writing.failed > 0)
        return error_set(error, "%" PRIu64 " batches could not be written", writing.failed);
    return true;
}
