/* SPDX-License-Identifier: Apache-2.0 */
/* Names alone decide what a file is; what it holds is another matter. */
#include "ring/spool_listing.h"

#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void note_file(struct spool_names *names, const char *name, uint64_t file)
{
    if (names->count == names->capacity) {
        names->capacity = names->capacity > 0 ? 2 * names->capacity : 64;
        names->files = xrealloc(names->files, names->capacity * sizeof *names->files);
    }
    struct spool_named *found = &names->files[names->count++];
    found->file = file;
    snprintf(found->name, sizeof found->name, "%s", name);
}

static void note_damaged(struct spool_listing *listing, int directory, const char *name)
{
    struct stat status;
    const char *suffix = strstr(name, SPOOL_DAMAGED_SUFFIX);
    if (suffix == NULL || suffix[strlen(SPOOL_DAMAGED_SUFFIX)] != 0 ||
        fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    listing->damaged_count++;
    listing->damaged_bytes += (uint64_t)status.st_size;
}

static int by_file(const void *a, const void *b)
{
    const struct spool_named *one = a, *other = b;
    return (one->file > other->file) - (one->file < other->file);
}

static void sort(struct spool_names *names)
{
    if (names->count > 0)
        qsort(names->files, names->count, sizeof *names->files, by_file);
}

bool spool_listing_read(struct spool_listing *listing, int directory)
{
    *listing = (struct spool_listing){.damaged_count = 0};
    int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = fd >= 0 ? fdopendir(fd) : NULL;
    if (entries == NULL) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    errno = 0;
    for (struct dirent *entry; (entry = readdir(entries)) != NULL; errno = 0) {
        uint64_t file;
        if (spool_name_parse(entry->d_name, SPOOL_SEGMENT, &file))
            note_file(&listing->segments, entry->d_name, file);
        else if (spool_name_parse(entry->d_name, SPOOL_ACKS, &file))
            note_file(&listing->acks, entry->d_name, file);
        else
            note_damaged(listing, fd, entry->d_name);
    }
    int why = errno;
    closedir(entries);
    sort(&listing->segments);
    sort(&listing->acks);
    errno = why;
    return why == 0;
}

void spool_listing_fini(struct spool_listing *listing)
{
    free(listing->segments.files);
    free(listing->acks.files);
    *listing = (struct spool_listing){.damaged_count = 0};
}
