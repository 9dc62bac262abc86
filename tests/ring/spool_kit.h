/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ring/spool.h"
#include "ring/spool_store.h"

/* What the spool's tests share: a directory to work in, parcels whose contents follow from their
 * sequence, and a store with its events in an array. A mistake here ends the test. */

/* A fresh directory in memory, where there is one: most tests sync often and ask nothing of the
 * disk. $SPOOL_TEST_DIRECTORY puts it elsewhere. */
void kit_make_directory(char path[256]);
void kit_remove_directory(const char *path);
void kit_empty_directory(const char *path);

/* Files in it whose names end so. */
size_t kit_count_files(const char *path, const char *suffix);

/* Name of the `index`-th of them in order. */
void kit_file_name(const char *path, const char *suffix, size_t index, char name[512]);

uint64_t kit_file_bytes(const char *path);
void kit_flip_bit(const char *path, uint64_t bit);
void kit_truncate(const char *path, uint64_t bytes);

/* Its body, points and times follow from sequence and bytes. */
struct parcel *kit_parcel(uint64_t sequence, uint32_t bytes);
uint32_t kit_points(uint64_t sequence);
bool kit_parcel_is_good(const struct parcel *parcel);

enum { KIT_EVENTS_MAX = 1 << 16 };

struct kit {
    struct spool_settings settings;
    struct spool_now now;
    struct spool_store *store;
    struct spool_event events[KIT_EVENTS_MAX]; /* parcels are released; `parcel` says only if */
    size_t event_count;
    bool accept_any;       /* parcels that kit_parcel() did not make */
    const size_t *counter; /* what it says at each event is kept; NULL: nothing */
    size_t counts[KIT_EVENTS_MAX];
};

/* Small segments: 1 MiB in all, 64 KiB each, 200 ms, 4 MiB; a clock that stands still. */
void kit_init(struct kit *kit, const char *path);

/* False: held by another. */
bool kit_open(struct kit *kit);
void kit_close(struct kit *kit);

/* Puts one; what came of it. */
enum spool_event_kind kit_put(struct kit *kit, uint64_t sequence, uint32_t bytes);

/* The sequence read, 0: nothing. Its contents are checked. */
uint64_t kit_read(struct kit *kit);

/* `ns` later. */
uint64_t kit_turn(struct kit *kit, uint64_t ns);

size_t kit_count_events(const struct kit *kit, enum spool_event_kind kind);
struct spool_status kit_status(const struct kit *kit);
