/* SPDX-License-Identifier: Apache-2.0 */
/* The file exporter, as the Collector's: one batch is one line of OTLP/JSON, or one protobuf
 * message behind its length (4 bytes, big-endian). Runs on the worker and writes there: a disk
 * that stalls holds up all destinations, so this is for tests, pipes and small fleets.
 *
 * Invariant: the file holds whole records only. A write that fails half way (disk full) is cut
 * back to the last whole record and counted; the next batch tries again. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/memory.h"
#include "exporters/exporter.h"

enum file_format { FILE_FORMAT_JSON, FILE_FORMAT_PROTO };

struct file_settings {
    const char *path;
    int format;
    bool append;
    int temporality; /* index of exporter_temporalities */
};

struct file {
    int fd;
    bool regular;
    enum file_format format;
};

static bool validate(const void *settings, struct error *error)
{
    const struct file_settings *file = settings;
    if (file->path == NULL || file->path[0] == '\0')
        return error_set(error, "path is missing: set it to a file name, or to - for standard "
                                "output");
    return true;
}

static bool open_exporter(const char *id, const void *given, struct exporter_output *ret_output,
                          struct error *error)
{
    (void)id;
    const struct file_settings *settings = given;
    int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | (settings->append ? O_APPEND : O_TRUNC);
    int fd = strcmp(settings->path, "-") == 0 ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0)
                                              : open(settings->path, flags, 0640);
    if (fd < 0)
        return error_set(error,
                         "path: cannot open %s for writing: %s; check that the directory "
                         "exists and may be written",
                         settings->path, strerror(errno));
    struct stat status;
    struct file *file = xcalloc(1, sizeof *file);
    file->fd = fd;
    file->regular = fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
    file->format = (enum file_format)settings->format;
    *ret_output = (struct exporter_output){.format = file->format == FILE_FORMAT_JSON ? BODY_JSON
                                                                                      : BODY_PROTO,
                                           .delta = settings->temporality != 0,
                                           .state = file};
    return true;
}

/* All of the parts, however the kernel cuts them. */
static bool write_all(int fd, struct iovec *parts, int count)
{
    while (count > 0) {
        ssize_t written = writev(fd, parts, count);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return false;
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

static bool finish(void *state, const uint8_t *body, size_t body_bytes)
{
    struct file *file = state;
    uint8_t length[4] = {(uint8_t)(body_bytes >> 24), (uint8_t)(body_bytes >> 16),
                         (uint8_t)(body_bytes >> 8), (uint8_t)body_bytes};
    char newline = '\n';
    void *bytes = (void *)(uintptr_t)body;
    struct iovec json[] = {{bytes, body_bytes}, {&newline, 1}};
    struct iovec proto[] = {{length, sizeof length}, {bytes, body_bytes}};
    off_t start = file->regular ? lseek(file->fd, 0, SEEK_END) : -1;
    if (write_all(file->fd, file->format == FILE_FORMAT_JSON ? json : proto, 2))
        return true;
    int why = errno;
    if (start >= 0 && ftruncate(file->fd, start) == 0)
        lseek(file->fd, start, SEEK_SET);
    errno = why;
    return false;
}

static void close_exporter(void **ret_state)
{
    struct file *file = *ret_state;
    if (file == NULL)
        return;
    close(file->fd);
    free(file);
    *ret_state = NULL;
}

static const char *const formats[] = {"json", "proto", NULL};

static const struct option options[] = {
    {.key = "path",
     .type = OPTION_TEXT,
     .offset = offsetof(struct file_settings, path),
     .required = true,
     .help = "File to write; - is standard output."},
    {.key = "format",
     .type = OPTION_ENUM,
     .offset = offsetof(struct file_settings, format),
     .fallback = "json",
     .choices = formats,
     .help = "json: a line a batch; proto: messages behind a length of 4 bytes, big-endian."},
    {.key = "append",
     .type = OPTION_BOOL,
     .offset = offsetof(struct file_settings, append),
     .fallback = "false",
     .help = "Adds to the file instead of emptying it at start."},
    EXPORTER_TEMPORALITY(struct file_settings, temporality),
    {.key = "flush_interval", .type = OPTION_IGNORED, .help = "every batch is written at once"},
    {.key = "rotation", .type = OPTION_IGNORED, .help = "use logrotate's copytruncate"},
    {.key = NULL},
};

const struct exporter file_exporter = {
    .component = {.kind = COMPONENT_EXPORTER,
                  .type = "file",
                  .about = "Writes batches to a file as OTLP/JSON lines or protobuf",
                  .stability = "beta",
                  .table = {.size = sizeof(struct file_settings), .options = options},
                  .validate = validate},
    .open = open_exporter,
    .finish = finish,
    .close = close_exporter,
};
