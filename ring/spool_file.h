/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Every file operation of the spool, as the system's calls (−1 and errno), so that a test can put
 * faults in between and record what is done. `context` is passed through. */
struct spool_files {
    void *context;
    int (*make_directory)(void *context, const char *path);
    int (*open)(void *context, int directory, const char *name, int flags);
    ssize_t (*pread)(void *context, int fd, void *data, size_t bytes, off_t offset);
    ssize_t (*pwritev)(void *context, int fd, const struct iovec *parts, int count, off_t offset);
    int (*fdatasync)(void *context, int fd);
    int (*fsync)(void *context, int fd);
    int (*unlink)(void *context, int directory, const char *name);
    int (*ftruncate)(void *context, int fd, off_t bytes);
    int (*fallocate)(void *context, int fd, off_t bytes); /* room only, the size stays */
};

/* The system's own. */
extern const struct spool_files spool_files_system;

/* All of the parts, however the kernel cuts them; false: errno, and *ret_written says how much is
 * there. The parts are changed. */
bool spool_file_write(const struct spool_files *files, int fd, struct iovec *parts, int count,
                      uint64_t offset, uint64_t *ret_written);

/* Up to the end of the file: bytes read, −1: errno. */
ssize_t spool_file_read(const struct spool_files *files, int fd, void *data, size_t bytes,
                        uint64_t offset);

/* EINTR aside, an error is final: what was not synced may be gone although a second call would
 * succeed (the kernel marks the pages clean). */
bool spool_file_sync(const struct spool_files *files, int fd);

/* By a descriptor of its own each time, for the same reason. */
bool spool_file_sync_directory(const struct spool_files *files, int directory);

int spool_file_open(const struct spool_files *files, int directory, const char *name, int flags);

/* Makes the directory and what is missing above it (0700), each durable in its parent; its
 * descriptor, or −1 and errno. */
int spool_file_open_directory(const struct spool_files *files, const char *path);

/* Its size; false: errno. */
bool spool_file_size(int fd, uint64_t *ret_bytes);
