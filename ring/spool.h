/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "ring/parcel.h"

/* The disk behind one destination's queue: every parcel is appended to a segment as soon as its
 * batch is closed and stays until it is acknowledged, so kill -9 at any instant loses nothing that
 * was handed over and written, and power loss at most what the last group commit did not cover.
 *
 * One thread of its own does all file work (plain pwrite, fdatasync); the worker talks to it
 * through two lock-free lanes and never waits for a disk. A disk that fails makes the spool
 * refuse parcels (they stay in memory), never the process exit or the start fail. */
struct spool;
struct spool_files;

struct spool_settings {
    const char *directory;   /* of this destination; made, 0700; one process at a time (flock) */
    uint64_t size_bytes;     /* segments together at most; 1 GiB */
    uint64_t age_ns;         /* older parcels are given up; 47 h (New Relic drops at 48) */
    uint64_t segment_bytes;  /* 16 MiB */
    uint64_t flush_ns;       /* group commit: at most so long after a write, 200 ms */
    uint64_t flush_bytes;    /* or after so many bytes, 4 MiB */
    const struct spool_files *files; /* NULL: the system's; tests put faults in between */
};

enum spool_event_kind {
    SPOOL_STORED,  /* the parcel is written: it survives the process. One that is acknowledged before
                      it was written is "stored" without being written, and out of turn */
    SPOOL_REFUSED, /* it could not be written; `error` says why. It is the caller's alone, who may
                      put it again when status.working */
    SPOOL_READ,    /* a parcel read back, one reference is the caller's; answers spool_read() */
    SPOOL_END,     /* answers spool_read(): nothing (more) to read */
    SPOOL_EVICTED, /* no longer on disk: `points` of `sequence`, for `reason`. Where the caller has
                      it in hand, it goes on from memory; else it is lost and counted. Only for
                      what was STORED or among the recovered_ of the status */
};

enum spool_reason { SPOOL_FULL, SPOOL_EXPIRED, SPOOL_CORRUPT };

struct spool_event {
    enum spool_event_kind kind;
    enum spool_reason reason; /* EVICTED */
    uint64_t sequence;
    uint64_t points;
    struct parcel *parcel; /* STORED and REFUSED: as put, with the reference given; READ */
    int error;             /* errno; REFUSED */
};

/* What it found at start and holds now; any thread. */
struct spool_status {
    uint64_t records, points, bytes; /* not acknowledged */
    uint64_t disk_bytes;             /* segments on disk, free space in them included */
    uint64_t used_bytes; /* of those, what is written; settled parcels go with their segment only */
    uint64_t full_bytes; /* where that is more, the oldest are given up for what is new */
    uint64_t recovered_records, recovered_points; /* found by spool_open(), or later where the
                                                     directory could not be used then */
    uint64_t corrupt_records, corrupt_points;     /* lost to damage. What is found missing at start
                                                     is here only, exactly where anything readable
                                                     is behind it; what shows when it is read was
                                                     recovered first and has its event */
    uint64_t corrupt_bytes;                       /* that are no record */
    uint64_t oldest_ns;  /* wall clock: created_ns of the oldest; 0: none */
    uint64_t synced_sequence; /* durable against power loss up to this */
    uint64_t write_errors, sync_errors;
    bool working;        /* false: memory only, and being tried again */
    char trouble[256];   /* what is wrong and the cure; "" */
};

/* Recovers what is there (torn tail cut, bad middle skipped and counted, unknown versions left
 * alone), and starts the thread. `wake_fd`: an eventfd the spool writes to when there are events;
 * it must outlive the spool. Fails only where another process holds the directory, or descriptors
 * are out; a disk that does not work gives a spool that refuses. *ret_next: the sequence the next
 * new parcel should have, above all that are on the disk; below 2^40 for as long as a process could
 * give them out. */
bool spool_open(struct spool **ret_spool, const struct spool_settings *settings, int wake_fd,
                uint64_t *ret_next, struct error *error);

/* ---- the worker's side; none of these waits ---- */

/* Takes one reference; false where the lane is full: nothing was taken. Sequences are new ones, or of
 * parcels that were refused; what is read comes in the order of writing. */
bool spool_put(struct spool *spool, struct parcel *parcel);

/* The back end has it, or it was given up: never read again, and removed once that is durable. A
 * lost acknowledgement only re-sends. */
void spool_ack(struct spool *spool, uint64_t sequence);

/* A parcel is in hand from spool_put() or SPOOL_READ on: the caller has it in memory. This lets it
 * go: from now on only the disk has it, and spool_read() may give it again. Not for REFUSED ones. */
void spool_let_go(struct spool *spool, uint64_t sequence);

/* Asks for the oldest parcel that is not in hand; one question at a time. The answer is SPOOL_READ
 * or SPOOL_END. What was read stays on disk until its ack. END with records in the status: they are
 * in hand, or could not be read just now; ask again a little later. */
void spool_read(struct spool *spool);

/* The next event; false: none. */
bool spool_take_event(struct spool *spool, struct spool_event *ret_event);

void spool_read_status(const struct spool *spool, struct spool_status *ret_status);

/* Writes and syncs what was put and stops the thread, waiting as long as the disk takes; its last
 * events can be taken after this. What is not acknowledged stays on disk. */
void spool_stop(struct spool *spool);

/* Stops it where that was not done; events not taken are freed. NULL inside is fine. */
void spool_close(struct spool **spool);
