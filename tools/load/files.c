/* SPDX-License-Identifier: Apache-2.0 */
/* Small files as a whole. Any thread. */
#include "tools/load/files.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

enum { BLOCK_BYTES = 65536 };

char *files_read(const char *path, size_t bytes_max, size_t *ret_bytes, struct error *error)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        error_set(error, "%s: %s", path, strerror(errno));
        return NULL;
    }
    char *text = NULL;
    size_t used = 0, room = 0;
    while (!feof(file) && !ferror(file) && used <= bytes_max) {
        if (room - used < BLOCK_BYTES) {
            room = room == 0 ? 2 * BLOCK_BYTES : 2 * room;
            text = xrealloc(text, room);
        }
        used += fread(text + used, 1, BLOCK_BYTES - 1, file);
    }
    int code = ferror(file) ? errno : 0;
    fclose(file);
    if (code == 0 && used <= bytes_max) {
        text[used] = 0;
        *ret_bytes = used;
        return text;
    }
    if (code != 0)
        error_set(error, "%s: cannot be read: %s", path, strerror(code));
    else
        error_set(error, "%s: larger than %zu bytes", path, bytes_max);
    free(text);
    return NULL;
}

bool files_write(const char *path, const char *text, size_t bytes, struct error *error)
{
    char temporary[PATH_MAX];
    if (snprintf(temporary, sizeof temporary, "%s.new", path) >= (int)sizeof temporary)
        return error_set(error, "%s: the path is too long", path);
    FILE *file = fopen(temporary, "we");
    if (file == NULL)
        return error_set(error, "%s: cannot be written: %s", temporary, strerror(errno));
    bool written = fwrite(text, 1, bytes, file) == bytes;
    written = fclose(file) == 0 && written;
    if (written && rename(temporary, path) == 0)
        return true;
    int code = errno;
    unlink(temporary);
    return error_set(error, "%s: cannot be written: %s", path, strerror(code));
}

bool files_make_directory(const char *path, struct error *error)
{
    char part[PATH_MAX];
    if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part)
        return error_set(error, "%s: the path is too long", path);
    for (char *c = part + 1;; c++) {
        if (*c != '/' && *c != 0)
            continue;
        char end = *c;
        *c = 0;
        struct stat is;
        if (mkdir(part, 0755) != 0 && errno != EEXIST)
            return error_set(error, "%s: cannot make the directory: %s", part, strerror(errno));
        if (stat(part, &is) != 0 || !S_ISDIR(is.st_mode))
            return error_set(error, "%s: is no directory", part);
        if (end == 0)
            return true;
        *c = end;
    }
}
