/* SPDX-License-Identifier: Apache-2.0 */
/* Entries have one size, so one that is bad hides none behind it. A lost entry means that its
 * records are sent again, nothing else; so does a lost file. */
#include "ring/spool_acks.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    ENTRIES_READ = 256,   /* at once */
    ROOM_BYTES = 1 << 18, /* taken ahead, so that a full disk can still be acknowledged away */
};

void spool_acks_init(struct spool_acks *acks, const struct spool_files *files, int directory)
{
    *acks = (struct spool_acks){.files = files, .directory = directory, .fd = -1};
}

static void drop(struct spool_acks *acks)
{
    if (acks->fd >= 0)
        close(acks->fd);
    acks->fd = -1;
    acks->dirty = false;
}

void spool_acks_fini(struct spool_acks *acks)
{
    drop(acks);
    free(acks->old);
    acks->old = NULL;
    acks->old_count = acks->old_capacity = 0;
}

/* ---- reading ---- */

static bool zero_slot(const struct spool_ack *entry)
{
    static const struct spool_ack zero;
    return memcmp(entry, &zero, sizeof zero) == 0;
}

static void take(const struct spool_ack *entry, struct spool_set *set, struct spool_position *next)
{
    spool_set_add(set, (struct spool_range){.first = entry->first,
                                            .end = entry->end,
                                            .points_before = entry->points_before,
                                            .points_end = entry->points_end});
    if (entry->next_number > next->number) {
        next->number = entry->next_number;
        next->points = entry->next_points;
    }
    if (entry->end > next->number) {
        next->number = entry->end;
        next->points = entry->points_end;
    }
    if (entry->next_sequence > next->sequence)
        next->sequence = entry->next_sequence;
}

struct slots {
    uint64_t good, bad;
};

/* False: a read failed. */
static bool read_entries(const struct spool_files *files, int fd, struct spool_set *set,
                         struct spool_position *next, struct slots *slots)
{
    struct spool_ack entries[ENTRIES_READ];
    uint64_t offset = sizeof(struct spool_head);
    for (;;) {
        ssize_t got = spool_file_read(files, fd, entries, sizeof entries, offset);
        if (got < 0)
            return false;
        size_t count = (size_t)got / sizeof *entries;
        for (size_t i = 0; i < count; i++) {
            if (spool_ack_check(&entries[i])) {
                take(&entries[i], set, next);
                slots->good++;
            } else if (!zero_slot(&entries[i])) {
                slots->bad++;
            }
        }
        if (count < ENTRIES_READ) {
            slots->bad += (size_t)got % sizeof *entries != 0;
            return true;
        }
        offset += (uint64_t)got;
    }
}

bool spool_acks_read(const struct spool_files *files, int fd, struct spool_set *set,
                     struct spool_acks_found *found)
{
    struct spool_head head;
    struct slots slots = {.good = 0};
    enum spool_head_state state = SPOOL_HEAD_BAD;
    ssize_t got = spool_file_read(files, fd, &head, sizeof head, 0);
    if (got < 0)
        return false;
    if (got == sizeof head)
        state = spool_head_check(&head, SPOOL_ACKS);
    if (state == SPOOL_HEAD_FOREIGN) {
        found->foreign = true;
        return false;
    }
    if (!read_entries(files, fd, set, &found->next, &slots))
        return false;
    if (state == SPOOL_HEAD_GOOD && slots.good >= head.number)
        found->trusted =
            slots.bad == 0; /* else it was never completed, and what was before counts */
    return true;
}

static void remember(struct spool_acks *acks, uint64_t file)
{
    if (acks->old_count == acks->old_capacity) {
        acks->old_capacity = acks->old_capacity > 0 ? 2 * acks->old_capacity : 8;
        acks->old = xrealloc(acks->old, acks->old_capacity * sizeof *acks->old);
    }
    acks->old[acks->old_count++] = file;
}

void spool_acks_load(struct spool_acks *acks, uint64_t file, struct spool_set *set,
                     struct spool_acks_found *found)
{
    char name[SPOOL_NAME_BYTES];
    spool_acks_name(name, file);
    if (file > acks->file)
        acks->file = file;
    int fd = spool_file_open(acks->files, acks->directory, name, O_RDONLY);
    if (fd < 0) {
        found->trusted = false;
        return;
    }
    if (spool_acks_read(acks->files, fd, set, found))
        remember(acks, file);
    else
        found->trusted = false;
    close(fd);
}

/* ---- writing ---- */

static bool write_entries(struct spool_acks *acks, const struct spool_set *set,
                          const struct spool_position *next)
{
    struct spool_ack entries[ENTRIES_READ];
    size_t done = 0;
    while (done < set->count) {
        size_t count = set->count - done < ENTRIES_READ ? set->count - done : ENTRIES_READ;
        for (size_t i = 0; i < count; i++) {
            const struct spool_range *range = &set->ranges[done + i];
            entries[i] = (struct spool_ack){.first = range->first,
                                            .end = range->end,
                                            .points_before = range->points_before,
                                            .points_end = range->points_end,
                                            .next_number = next->number,
                                            .next_points = next->points,
                                            .next_sequence = next->sequence};
            spool_ack_seal(&entries[i]);
        }
        struct iovec part = {.iov_base = entries, .iov_len = count * sizeof *entries};
        uint64_t written;
        if (!spool_file_write(acks->files, acks->fd, &part, 1, acks->bytes, &written))
            return false;
        acks->bytes += written;
        done += count;
    }
    acks->dirty = acks->dirty || set->count > 0;
    return true;
}

static void fail(struct spool_acks *acks)
{
    int why = errno;
    remember(acks, acks->file);
    drop(acks);
    errno = why;
}

bool spool_acks_append(struct spool_acks *acks, const struct spool_set *fresh,
                       const struct spool_position *next)
{
    if (acks->fd < 0) {
        errno = EBADF;
        return false;
    }
    if (write_entries(acks, fresh, next))
        return true;
    fail(acks);
    return false;
}

bool spool_acks_sync(struct spool_acks *acks)
{
    if (acks->fd < 0) {
        errno = EBADF;
        return false;
    }
    if (acks->dirty && !spool_file_sync(acks->files, acks->fd)) {
        fail(acks);
        return false;
    }
    acks->dirty = false;
    if (acks->new_entry && !spool_file_sync_directory(acks->files, acks->directory)) {
        fail(acks);
        return false;
    }
    acks->new_entry = false;
    return true;
}

static bool create(struct spool_acks *acks, const struct spool_set *set)
{
    char name[SPOOL_NAME_BYTES];
    if (acks->file + 1 >= SPOOL_COUNT_MAX) { /* forged */
        errno = EOVERFLOW;
        return false;
    }
    spool_acks_name(name, ++acks->file);
    acks->fd = spool_file_open(acks->files, acks->directory, name, O_RDWR | O_CREAT | O_EXCL);
    if (acks->fd < 0)
        return false;
    acks->new_entry = true;
    acks->files->fallocate(acks->files->context, acks->fd, ROOM_BYTES);
    struct spool_head head = {.file = acks->file, .number = set->count};
    spool_head_seal(&head, SPOOL_ACKS);
    struct iovec part = {.iov_base = &head, .iov_len = sizeof head};
    acks->dirty = true;
    return spool_file_write(acks->files, acks->fd, &part, 1, 0, &acks->bytes);
}

/* A new file that failed: no need to keep it, the old ones are there. */
static void take_back(struct spool_acks *acks)
{
    char name[SPOOL_NAME_BYTES];
    spool_acks_name(name, acks->file);
    if (acks->fd >= 0)
        fail(acks);
    if (acks->old_count > 0 && acks->old[acks->old_count - 1] == acks->file &&
        acks->files->unlink(acks->files->context, acks->directory, name) == 0)
        acks->old_count--;
}

bool spool_acks_renew(struct spool_acks *acks, const struct spool_set *set,
                      const struct spool_position *next)
{
    if (acks->fd >= 0) {
        remember(acks, acks->file);
        drop(acks);
    }
    if (!create(acks, set) || !write_entries(acks, set, next) || !spool_acks_sync(acks)) {
        int why = errno;
        take_back(acks);
        errno = why;
        return false;
    }
    for (size_t i = 0; i < acks->old_count; i++) { /* one that stays is read once more, no harm */
        char name[SPOOL_NAME_BYTES];
        spool_acks_name(name, acks->old[i]);
        acks->files->unlink(acks->files->context, acks->directory, name);
    }
    acks->old_count = 0;
    return true;
}
