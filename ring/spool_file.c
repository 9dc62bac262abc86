/* SPDX-License-Identifier: Apache-2.0 */
/* The spool's file operations: plain calls of its own thread (no io_uring, so that strace and tests
 * can inject faults), finished where the kernel stops half way. */
#include "ring/spool_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the system's ---- */

static int system_make_directory(void *context, const char *path)
{
    (void)context;
    return mkdir(path, 0700);
}

static int system_open(void *context, int directory, const char *name, int flags)
{
    (void)context;
    if ((flags & O_DIRECTORY) == 0)
        flags |= O_NOFOLLOW | O_NONBLOCK; /* nothing but our own plain files */
    return openat(directory, name, flags | O_CLOEXEC | O_NOCTTY, 0600);
}

static ssize_t system_pread(void *context, int fd, void *data, size_t bytes, off_t offset)
{
    (void)context;
    return pread(fd, data, bytes, offset);
}

static ssize_t system_pwritev(void *context, int fd, const struct iovec *parts, int count,
                              off_t offset)
{
    (void)context;
    return pwritev(fd, parts, count, offset);
}

static int system_fdatasync(void *context, int fd)
{
    (void)context;
    return fdatasync(fd);
}

static int system_fsync(void *context, int fd)
{
    (void)context;
    return fsync(fd);
}

static int system_unlink(void *context, int directory, const char *name)
{
    (void)context;
    return unlinkat(directory, name, 0);
}

static int system_ftruncate(void *context, int fd, off_t bytes)
{
    (void)context;
    return ftruncate(fd, bytes);
}

static int system_fallocate(void *context, int fd, off_t bytes)
{
    (void)context;
    return fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, bytes);
}

const struct spool_files spool_files_system = {
    .make_directory = system_make_directory,
    .open = system_open,
    .pread = system_pread,
    .pwritev = system_pwritev,
    .fdatasync = system_fdatasync,
    .fsync = system_fsync,
    .unlink = system_unlink,
    .ftruncate = system_ftruncate,
    .fallocate = system_fallocate,
};

/* ---- whole operations ---- */

bool spool_file_write(const struct spool_files *files, int fd, struct iovec *parts, int count,
                      uint64_t offset, uint64_t *ret_written)
{
    *ret_written = 0;
    while (count > 0) {
        ssize_t written =
            files->pwritev(files->context, fd, parts, count, (off_t)(offset + *ret_written));
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return false;
        if (written == 0) { /* cannot be with bytes left; a loop here would never end */
            errno = EIO;
            return false;
        }
        *ret_written += (uint64_t)written;
        size_t left = (size_t)written;
        while (count > 0 && left >= parts->iov_len) {
            left -= parts->iov_len;
            parts++;
            count--;
        }
        if (count > 0) {
            parts->iov_base = (char *)parts->iov_base + left;
            parts->iov_len -= left;
        }
    }
    return true;
}

ssize_t spool_file_read(const struct spool_files *files, int fd, void *data, size_t bytes,
                        uint64_t offset)
{
    size_t got = 0;
    while (got < bytes) {
        ssize_t part = files->pread(files->context, fd, (char *)data + got, bytes - got,
                                    (off_t)(offset + got));
        if (part < 0 && errno == EINTR)
            continue;
        if (part < 0)
            return -1;
        if (part == 0)
            break;
        got += (size_t)part;
    }
    return (ssize_t)got;
}

bool spool_file_sync(const struct spool_files *files, int fd)
{
    int result;
    do
        result = files->fdatasync(files->context, fd);
    while (result < 0 && errno == EINTR);
    return result == 0;
}

bool spool_file_sync_directory(const struct spool_files *files, int directory)
{
    int fd = spool_file_open(files, directory, ".", O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        return false;
    int result;
    do
        result = files->fsync(files->context, fd);
    while (result < 0 && errno == EINTR);
    int why = errno;
    close(fd);
    errno = why;
    return result == 0;
}

int spool_file_open(const struct spool_files *files, int directory, const char *name, int flags)
{
    int fd;
    do
        fd = files->open(files->context, directory, name, flags);
    while (fd < 0 && errno == EINTR);
    return fd;
}

bool spool_file_size(int fd, uint64_t *ret_bytes)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return false;
    *ret_bytes = (uint64_t)status.st_size;
    return true;
}

/* ---- directories ---- */

/* The entry `path` is durable once its parent is synced. Best effort: a parent that may not be
 * opened (no right to read) is none of ours. */
static void sync_parent(const struct spool_files *files, const char *path)
{
    char parent[PATH_MAX];
    snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    if (slash == NULL)
        strcpy(parent, ".");
    else
        slash[slash == parent ? 1 : 0] = 0;
    int fd = spool_file_open(files, AT_FDCWD, parent, O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        return;
    spool_file_sync_directory(files, fd);
    close(fd);
}

static bool make_one(const struct spool_files *files, const char *path)
{
    if (files->make_directory(files->context, path) == 0) {
        sync_parent(files, path);
        return true;
    }
    return errno == EEXIST;
}

int spool_file_open_directory(const struct spool_files *files, const char *path)
{
    char part[PATH_MAX];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof part) {
        errno = length == 0 ? ENOENT : ENAMETOOLONG;
        return -1;
    }
    int fd = spool_file_open(files, AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
    if (fd >= 0 || errno != ENOENT)
        return fd;
    memcpy(part, path, length + 1);
    while (length > 1 && part[length - 1] == '/')
        part[--length] = 0;
    for (size_t i = 1; i < length; i++) {
        if (part[i] != '/' || part[i - 1] == '/')
            continue;
        part[i] = 0;
        bool made = make_one(files, part); /* where it may not: the next says why */
        (void)made;
        part[i] = '/';
    }
    if (!make_one(files, part))
        return -1;
    return spool_file_open(files, AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
}
