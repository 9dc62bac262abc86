/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "exporters/gone.h"
#include "exporters/store.h"

/* What the two halves of the store share: store.c (batches in memory, in and out) and store_disk.c
 * (the spool's side). Nobody else includes this. */

/* A batch on disk whose parts are in memory. */
struct whole {
    struct whole *next;
    uint64_t sequence;
    uint32_t parts; /* not settled */
    bool put;       /* as in struct queued */
};

struct store {
    const struct request_plan *plan;
    const char *id;
    struct telemetry_set *set;
    struct queue queue;
    struct queued **taken; /* on the wire */
    uint32_t taken_count;
    uint64_t taken_bytes;
    struct spool *spool; /* NULL: none */
    struct spool_settings spool_settings;
    char *directory;
    uint64_t next_sequence;
    uint64_t unnumbered; /* batches since the last that has a sequence */
    uint64_t spooled_points;
    uint64_t disk_first; /* what is on disk only has no lower sequence */
    struct whole *wholes;
    bool any_again; /* some in memory are to be put again */
    uint64_t read_again_ns;
    uint64_t looked_ns; /* when the spool's status was read */
    uint32_t ahead;     /* batches read from disk that are still in memory */
    struct gone gone;
    uint64_t recovered_points, lost_points; /* of earlier runs, as in the ledger */
    uint64_t corrupt_points;                /* evicted as corrupt: part of the status' number */
    bool reading;
    bool working;  /* as last said in the log */
    uint32_t turn; /* of taking: see store_next() */
};

enum { STORE_MEMORY_BYTES_MAX = 512 << 20 }; /* whatever queue_size allows */

/* ---- store.c ---- */

/* The parcel's reference becomes the item's. */
struct queued *store_item_create(struct parcel *parcel, uint64_t due_ns);

/* From now on only the disk has it; it is in the queue and was put. */
void store_let_go(struct store *store, struct queued *item);

/* Lets go, or gives up, what is too much for memory. */
void store_make_room(struct store *store);

/* The disk has some that come before all that memory has: where order matters, they are awaited. */
bool store_is_behind_disk(const struct store *store);

/* ---- store_disk.c ---- */

/* Fails only where another process uses the directory. */
bool store_open_spool(struct store *store, const struct store_options *options,
                      struct error *error);

/* Gives the batch to the spool; false: that takes none just now. Only what the spool was given has
 * a sequence: gaps on disk are losses. */
bool store_put(struct store *store, struct queued *item);

/* What the spool could not take while it did not work. */
void store_put_again(struct store *store);

/* The spool may forget it. */
void store_ack(struct store *store, uint64_t sequence);

/* What the spool has said since; true: something. */
bool store_take_events(struct store *store, uint64_t now_ns);
