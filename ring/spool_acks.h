/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "ring/spool_file.h"
#include "ring/spool_format.h"
#include "ring/spool_set.h"

/* The ack log: an append-only file of entries, each a range of records that are done with. What is
 * done with only grows, so several files add up, whatever became of each: a new file begins with
 * all that is known, and the old ones go once it is durable. One thread. */
struct spool_acks {
    const struct spool_files *files;
    int directory;  /* borrowed */
    int fd;         /* −1: none, or it failed: spool_acks_renew() */
    uint64_t file;  /* its number; 0: none yet */
    uint64_t bytes; /* written */
    bool dirty;     /* and not synced */
    bool new_entry; /* the file's name is not durable yet */
    uint64_t *old;  /* numbers of older files, to be removed */
    size_t old_count, old_capacity;
};

/* What was written up to some moment, as an entry says it. */
struct spool_position {
    uint64_t number, points; /* of the next record; before it */
    uint64_t sequence;
};

struct spool_acks_found {
    bool trusted; /* whole, as far as one can see: what it does not have was never done with */
    bool foreign; /* there is a file of another version, left alone */
    struct spool_position next; /* the furthest that an entry knows of */
};

void spool_acks_init(struct spool_acks *acks, const struct spool_files *files, int directory);
void spool_acks_fini(struct spool_acks *acks);

/* Adds what file number `file` says to the set, and remembers the file as old. From the oldest file
 * to the newest. */
void spool_acks_load(struct spool_acks *acks, uint64_t file, struct spool_set *set,
                     struct spool_acks_found *found);

/* The same of any open file, for those who only read. False: it cannot be read, or is of another
 * version; it stays as it is. */
bool spool_acks_read(const struct spool_files *files, int fd, struct spool_set *set,
                     struct spool_acks_found *found);

/* False: errno, and the file is not used any more. */
bool spool_acks_append(struct spool_acks *acks, const struct spool_set *fresh,
                       const struct spool_position *next);
bool spool_acks_sync(struct spool_acks *acks);

/* A new file with all of the set, durable, before the old ones are removed. */
bool spool_acks_renew(struct spool_acks *acks, const struct spool_set *set,
                      const struct spool_position *next);
