/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "ring/spool_format.h"

/* The spool's files in a directory, each kind from the oldest to the newest. */
struct spool_named {
    uint64_t file;
    char name[SPOOL_NAME_BYTES];
};

struct spool_names {
    struct spool_named *files;
    size_t count, capacity;
};

struct spool_listing {
    struct spool_names segments, acks;
    uint64_t damaged_bytes; /* copies of damage, kept aside */
    uint32_t damaged_count;
};

#define SPOOL_DAMAGED_SUFFIX ".damaged"

/* False: errno. The listing is to be freed either way. */
bool spool_listing_read(struct spool_listing *listing, int directory);
void spool_listing_fini(struct spool_listing *listing);
