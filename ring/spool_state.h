/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/clock.h"
#include "base/random.h"
#include "ring/spool_acks.h"
#include "ring/spool_set.h"
#include "ring/spool_store.h"

/* The store's insides, for its own files: spool_store.c (life, acks, reading, giving up),
 * spool_write.c (appending, syncing, mending), spool_recover.c (what is found at start) and
 * spool_index.c (the records in memory).
 *
 * Invariants:
 *   - records are listed in the order of their numbers; those that are not synced are the list's
 *     end, and only they hold their parcel
 *   - the segments of those are open to be synced, or they are homeless: their segment's sync
 * failed, and they are to be written once more
 *   - a segment's file goes only when none of its records is live and their acks are durable */
struct spool_segment {
    struct spool_segment *older, *newer;
    uint64_t file;
    uint64_t salt;
    uint64_t bytes;      /* written and whole */
    uint64_t room_bytes; /* taken on disk */
    uint32_t live;       /* records not done with */
    uint32_t unsynced;   /* of those */
    bool pinned;         /* could not be read to its end: left alone */
    int fd;              /* active or not synced: read and write; else −1, or open to read */
    char name[SPOOL_NAME_BYTES];
};

struct spool_entry { /* one record that is not done with */
    uint64_t sequence, number, created_ns, points_before;
    uint64_t offset;     /* of its head */
    uint64_t written_ns; /* monotonic */
    uint32_t points, bytes;
    bool in_hand, homeless;
    uint8_t read_failures;
    struct spool_segment *segment;
    struct parcel *parcel; /* held until it is synced */
    struct spool_entry *older, *newer;
    struct spool_entry *chain; /* of the hash table */
};

struct spool_store {
    struct spool_settings settings;
    const struct spool_files *files;
    char path[4096];
    spool_emit_fn *emit;
    void *context;
    struct random random;

    int directory; /* −1: not there yet */
    bool directory_dirty;
    bool opened; /* recovered; until then nothing is read or written */
    bool finished;
    bool found_unsynced; /* what was found may not be durable */
    struct spool_segment *oldest, *newest;
    struct spool_segment *active;  /* the newest, or NULL */
    struct spool_segment *reading; /* whose fd is open to read, or NULL */
    uint64_t next_file;
    uint64_t segment_bytes; /* in effect */

    struct spool_entry **buckets;
    size_t bucket_count; /* a power of two */
    struct spool_entry *first, *last;
    struct spool_entry *unsynced; /* the first of those */
    struct spool_entry *cursor;   /* all before it are in hand; NULL: all are */
    size_t unsynced_count, homeless_count;
    uint64_t unsynced_bytes;

    struct spool_acks acks;
    struct spool_set done, fresh; /* fresh: not in the ack log yet */
    struct spool_position next;
    bool acks_behind;        /* the log failed: all of `done` must be written anew */
    uint64_t acks_due_ns;    /* sync of the log; UINT64_MAX: no hurry */
    uint64_t reclaim_due_ns; /* a try that failed is made again then */
    uint64_t expire_due_ns;

    int trouble;       /* errno, 0: working */
    uint64_t retry_ns; /* when to try again */
    uint64_t pause_ns;
    uint64_t wanted_bytes; /* of what could not be written last */
    struct spool_status status;
};

enum { SPOOL_RECORDS_MAX = 1 << 20 };

#define SPOOL_PAUSE_FIRST_NS (250 * NS_PER_MS) /* between tries of a disk that fails */

/* ---- spool_index.c ---- */

void spool_index_init(struct spool_store *store);
void spool_index_fini(struct spool_store *store);
struct spool_entry *spool_index_find(const struct spool_store *store, uint64_t sequence);

/* At the list's end: the number is above all others. */
void spool_index_add(struct spool_store *store, struct spool_entry *entry);
void spool_index_remove(struct spool_store *store, struct spool_entry *entry); /* and frees it */

/* Everything written so far is durable: lets go of the parcels. */
void spool_index_synced(struct spool_store *store);

struct spool_segment *spool_segment_add(struct spool_store *store);
void spool_segment_remove(struct spool_store *store, struct spool_segment *segment);

/* ---- spool_store.c ---- */

/* Done with: acknowledged, or lost. */
void spool_retire(struct spool_store *store, struct spool_entry *entry);

/* The same for one that is given up, with its event. */
void spool_give_up(struct spool_store *store, struct spool_entry *entry, enum spool_reason reason);

/* Whether what is in the file is what was written. */
bool spool_is_sound(struct spool_store *store, struct spool_entry *entry);

/* Acks to the log; with `durable` synced as well. False: errno. */
bool spool_write_acks(struct spool_store *store, bool durable);

/* Removes the files of segments without live records. */
void spool_reclaim(struct spool_store *store, struct spool_now now);

/* Notes what is wrong, and when to try again. */
void spool_trouble(struct spool_store *store, struct spool_now now, const char *what);

bool spool_sync_directory(struct spool_store *store); /* where it is dirty */

/* ---- spool_write.c ---- */

/* Group commit. False: it failed, and what was not synced is homeless or was written again. */
bool spool_commit(struct spool_store *store, struct spool_now now);

/* Tries what failed again, when it is time; whether the store works now. */
bool spool_mend(struct spool_store *store, struct spool_now now);

/* The active segment ends; it is synced with the next group commit, if it still needs it then. */
void spool_seal(struct spool_store *store);

/* ---- spool_recover.c ---- */

/* Opens the directory, locks it, reads what is there. False: errno; EWOULDBLOCK: another process
 * has it. */
bool spool_recover(struct spool_store *store);

/* Where the directory was removed, by whomever: makes and locks it anew. False: it was not, or that
 * failed. */
bool spool_follow_directory(struct spool_store *store);
