/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/ring/spool_faults.h"

#include "base/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SECTOR_BYTES = 512, FILES_MAX = 512 };

/* ---- the log ---- */

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static bool ends_with(const char *name, const char *suffix)
{
    size_t bytes = strlen(name), tail = suffix != NULL ? strlen(suffix) : 0;
    return tail == 0 || (bytes >= tail && strcmp(name + bytes - tail, suffix) == 0);
}

static struct fault_op *note(struct faults *faults, enum fault_op_kind kind, const char *name)
{
    if (faults->op_count == faults->op_capacity) {
        faults->op_capacity = faults->op_capacity > 0 ? 2 * faults->op_capacity : 1024;
        faults->ops = realloc(faults->ops, faults->op_capacity * sizeof *faults->ops);
        CHECK(faults->ops != NULL);
    }
    struct fault_op *op = &faults->ops[faults->op_count++];
    *op = (struct fault_op){.kind = kind};
    snprintf(op->name, sizeof op->name, "%s", name);
    return op;
}

/* 0, or the error that this one gets; it is in the log either way. */
static int begin(struct faults *faults, enum fault_op_kind kind, const char *name,
                 struct fault_op **ret_op)
{
    struct fault_op *op = note(faults, kind, name);
    *ret_op = op;
    if ((faults->kinds & 1u << kind) == 0 || !ends_with(name, faults->suffix))
        return 0;
    if (faults->skip > 0) {
        faults->skip--;
        return 0;
    }
    if (faults->count == 0)
        return 0;
    faults->count--;
    return op->error = faults->error;
}

static const char *name_of(const struct faults *faults, int fd)
{
    CHECK(fd >= 0 && fd < FAULT_FDS_MAX);
    return faults->names[fd];
}

static bool chop(struct faults *faults)
{
    return faults->choppy && random_below(&faults->random, 3) == 0;
}

static int fail(int error)
{
    errno = error;
    return -1;
}

static int end(struct fault_op *op, int result)
{
    if (result < 0)
        op->error = errno;
    return result;
}

/* ---- operations ---- */

static int fault_make_directory(void *context, const char *path)
{
    struct fault_op *op;
    int error = begin(context, FAULT_MAKE_DIRECTORY, last_part(path), &op);
    return error != 0 ? fail(error) : end(op, spool_files_system.make_directory(NULL, path));
}

static int fault_open(void *context, int directory, const char *name, int flags)
{
    struct faults *faults = context;
    struct fault_op *op;
    const char *last = last_part(name);
    int error = begin(faults, (flags & O_CREAT) != 0 ? FAULT_CREATE : FAULT_OPEN, last, &op);
    if (error == 0 && chop(faults))
        error = op->error = EINTR;
    if (error != 0)
        return fail(error);
    int fd = end(op, spool_files_system.open(NULL, directory, name, flags));
    CHECK(fd < FAULT_FDS_MAX);
    if (fd >= 0)
        snprintf(faults->names[fd], sizeof faults->names[fd], "%s", last);
    return fd;
}

static ssize_t fault_pread(void *context, int fd, void *data, size_t bytes, off_t offset)
{
    struct faults *faults = context;
    struct fault_op *op;
    int error = begin(faults, FAULT_READ, name_of(faults, fd), &op);
    if (error != 0)
        return fail(error);
    if (chop(faults)) {
        if (random_below(&faults->random, 2) == 0)
            return fail(EINTR);
        bytes = bytes > 1 ? 1 + random_below(&faults->random, bytes - 1) : bytes;
    }
    return spool_files_system.pread(NULL, fd, data, bytes, offset);
}

/* At most `limit` bytes of the parts, kept in the log. */
static ssize_t write_part(struct faults *faults, int fd, struct fault_op *op,
                          const struct iovec *parts, int count, off_t offset, size_t limit)
{
    size_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += parts[i].iov_len;
    uint8_t *data = malloc(bytes > 0 ? bytes : 1);
    CHECK(data != NULL);
    size_t at = 0;
    for (int i = 0; i < count; at += parts[i].iov_len, i++)
        if (parts[i].iov_len > 0)
            memcpy(data + at, parts[i].iov_base, parts[i].iov_len);
    if (bytes > limit)
        bytes = limit;
    ssize_t written = pwrite(fd, data, bytes, offset);
    op->error = written < 0 ? errno : 0;
    op->offset = (uint64_t)offset;
    op->bytes = written > 0 ? (uint64_t)written : 0;
    if (faults->record)
        op->data = data;
    else
        free(data);
    return written;
}

static ssize_t fault_pwritev(void *context, int fd, const struct iovec *parts, int count,
                             off_t offset)
{
    struct faults *faults = context;
    struct fault_op *op;
    int error = begin(faults, FAULT_WRITE, name_of(faults, fd), &op);
    if (error != 0)
        return fail(error);
    size_t limit = SIZE_MAX;
    if (faults->capacity_bytes > 0) {
        if ((uint64_t)offset >= faults->capacity_bytes)
            return fail(op->error = ENOSPC);
        limit = faults->capacity_bytes - (uint64_t)offset;
    }
    if (chop(faults)) {
        if (random_below(&faults->random, 2) == 0)
            return fail(op->error = EINTR);
        limit = 1 + random_below(&faults->random, 300);
    }
    return write_part(faults, fd, op, parts, count, offset, limit);
}

static int fault_fdatasync(void *context, int fd)
{
    struct faults *faults = context;
    struct fault_op *op;
    int error = begin(faults, FAULT_SYNC, name_of(faults, fd), &op);
    if (error == 0 && chop(faults))
        error = op->error = EINTR;
    return error != 0 ? fail(error) : end(op, spool_files_system.fdatasync(NULL, fd));
}

static int fault_fsync(void *context, int fd)
{
    struct faults *faults = context;
    struct fault_op *op;
    int error = begin(faults, FAULT_SYNC_DIRECTORY, name_of(faults, fd), &op);
    return error != 0 ? fail(error) : end(op, spool_files_system.fsync(NULL, fd));
}

static int fault_unlink(void *context, int directory, const char *name)
{
    struct fault_op *op;
    int error = begin(context, FAULT_UNLINK, name, &op);
    return error != 0 ? fail(error) : end(op, spool_files_system.unlink(NULL, directory, name));
}

static int fault_ftruncate(void *context, int fd, off_t bytes)
{
    struct faults *faults = context;
    struct fault_op *op;
    int error = begin(faults, FAULT_TRUNCATE, name_of(faults, fd), &op);
    op->bytes = (uint64_t)bytes;
    return error != 0 ? fail(error) : end(op, spool_files_system.ftruncate(NULL, fd, bytes));
}

static int fault_fallocate(void *context, int fd, off_t bytes)
{
    struct faults *faults = context;
    struct fault_op *op;
    int error = begin(faults, FAULT_ALLOCATE, name_of(faults, fd), &op);
    return error != 0 ? fail(error) : end(op, spool_files_system.fallocate(NULL, fd, bytes));
}

void faults_init(struct faults *faults)
{
    *faults = (struct faults){.files = {.context = faults,
                                        .make_directory = fault_make_directory,
                                        .open = fault_open,
                                        .pread = fault_pread,
                                        .pwritev = fault_pwritev,
                                        .fdatasync = fault_fdatasync,
                                        .fsync = fault_fsync,
                                        .unlink = fault_unlink,
                                        .ftruncate = fault_ftruncate,
                                        .fallocate = fault_fallocate}};
}

void faults_clear(struct faults *faults)
{
    for (size_t i = 0; i < faults->op_count; i++)
        free(faults->ops[i].data);
    faults->op_count = 0;
    faults->kinds = 0;
    faults->suffix = NULL;
    faults->skip = faults->count = 0;
    faults->capacity_bytes = 0;
    faults->choppy = false;
}

void faults_fini(struct faults *faults)
{
    faults_clear(faults);
    free(faults->ops);
    faults->ops = NULL;
}

size_t faults_count(const struct faults *faults, uint32_t kinds, const char *suffix)
{
    size_t count = 0;
    for (size_t i = 0; i < faults->op_count; i++)
        count += (kinds & 1u << faults->ops[i].kind) != 0 && ends_with(faults->ops[i].name, suffix);
    return count;
}

/* ---- what is left when the power fails ---- */

/* A file as the disk may have it. */
struct image {
    const char *name;
    bool there;
    uint8_t *data;
    uint64_t bytes, capacity;
};

struct images {
    struct image items[FILES_MAX];
    size_t count;
};

static struct image *image_of(struct images *images, const char *name)
{
    for (size_t i = 0; i < images->count; i++)
        if (strcmp(images->items[i].name, name) == 0)
            return &images->items[i];
    CHECK(images->count < FILES_MAX);
    struct image *image = &images->items[images->count++];
    *image = (struct image){.name = name};
    return image;
}

static void resize(struct image *image, uint64_t bytes)
{
    if (bytes > image->capacity) {
        image->capacity = 2 * bytes;
        image->data = realloc(image->data, image->capacity);
        CHECK(image->data != NULL);
    }
    if (bytes > image->bytes)
        memset(image->data + image->bytes, 0, bytes - image->bytes);
    image->bytes = bytes;
}

/* Whether the operation is surely on the disk: a later sync of its file (of the directory, for
 * entries) is among the operations done. */
static bool is_durable(const struct faults *faults, size_t index, size_t ops)
{
    const struct fault_op *op = &faults->ops[index];
    bool entry = op->kind == FAULT_CREATE || op->kind == FAULT_UNLINK;
    for (size_t i = index + 1; i < ops; i++) {
        const struct fault_op *later = &faults->ops[i];
        if (later->error != 0)
            continue;
        if (entry ? later->kind == FAULT_SYNC_DIRECTORY
                  : later->kind == FAULT_SYNC && strcmp(later->name, op->name) == 0)
            return true;
    }
    return false;
}

/* All sectors of the write, or those that the power left time for. The size may have been written
 * although the sectors were not. */
static void apply_write(struct image *image, const struct fault_op *op, struct random *random)
{
    if (random != NULL && random_below(random, 3) == 0 && image->bytes < op->offset + op->bytes)
        resize(image, op->offset + op->bytes);
    uint64_t done = 0;
    while (done < op->bytes) {
        uint64_t at = op->offset + done;
        uint64_t part = SECTOR_BYTES - at % SECTOR_BYTES;
        if (part > op->bytes - done)
            part = op->bytes - done;
        if (random == NULL || random_below(random, 4) > 0) {
            if (image->bytes < at + part)
                resize(image, at + part);
            memcpy(image->data + at, op->data + done, part);
        }
        done += part;
    }
}

static void apply(struct images *images, const struct fault_op *op, bool durable,
                  struct random *random)
{
    struct random *torn = durable ? NULL : random;
    bool lost = torn != NULL && random_below(torn, 3) == 0;
    if (op->error != 0)
        return;
    if (lost)
        return;
    switch ((int)op->kind) {
    case FAULT_CREATE:
        image_of(images, op->name)->there = true;
        break;
    case FAULT_UNLINK:
        image_of(images, op->name)->there = false;
        break;
    case FAULT_WRITE:
        apply_write(image_of(images, op->name), op, torn);
        break;
    case FAULT_TRUNCATE:
        if (image_of(images, op->name)->bytes > op->bytes)
            resize(image_of(images, op->name), op->bytes);
        break;
    default:
        break;
    }
}

static void write_image(const struct image *image, const char *path)
{
    char name[512];
    CHECK(snprintf(name, sizeof name, "%s/%s", path, image->name) < (int)sizeof name);
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    CHECK(image->bytes == 0 || pwrite(fd, image->data, image->bytes, 0) == (ssize_t)image->bytes);
    close(fd);
}

void faults_materialise(const struct faults *faults, size_t ops, struct random *random,
                        const char *path)
{
    struct images *images = calloc(1, sizeof *images);
    CHECK(images != NULL && ops <= faults->op_count);
    for (size_t i = 0; i < ops; i++)
        apply(images, &faults->ops[i], random == NULL || is_durable(faults, i, ops), random);
    for (size_t i = 0; i < images->count; i++) {
        if (images->items[i].there)
            write_image(&images->items[i], path);
        free(images->items[i].data);
    }
    free(images);
}
