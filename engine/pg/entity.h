/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "catalog/catalog.h"
#include "ring/page.h"

struct pg_result;

/* Where a counter stood. `last` begins lower than any value, so that the first is no reset. */
struct counter_state {
    union {
        int64_t integer; /* metric->value == METRIC_INT */
        double real;
    } last;
    uint64_t start_ns; /* since when it counts, wall clock; 0: not known */
};

/* What a row was about: its attribute set, and the counters of the statement's monotonic points.
 * Owned by its table until retired, then by the shard's list of retired entities. */
struct entity {
    const struct attrs *attrs; /* tag ATTRS_POINT */
    struct counter_state *counters;
    uint64_t reset_ns;         /* start of a counter that goes backwards in this result */
    uint64_t time_ns;          /* when it was last seen, wall clock */
    uint64_t base_ns;          /* start cell of its row, else the server's start; 0: not known */
    uint64_t column_ns;        /* the last start cell that was not NULL; 0: none yet */
    struct resource *resource; /* statements with own_resource, else NULL */
    struct entity *next;       /* of the retired */
    uint64_t hash;
    uint32_t seen; /* number of the last result that had it */
    uint32_t key_bytes;
    uint8_t *key; /* behind the counters, in the same block */
};

/* What an entity is made of: one row of a result, and the key made of it. Borrowed. */
struct entity_source {
    const struct statement *statement;
    const struct pg_result *rows;
    int row;
    const struct resource *target; /* the target's, for statements with own_resource */
    uint32_t counter_count;
    const uint8_t *key;
    size_t key_bytes;
};

/* What was lost of the row's attributes. */
struct entity_loss {
    uint32_t cut; /* left out, or their values cut */
    bool full;    /* some were left out */
};

/* Encodes the row's attributes; counters and times are zero. What does not fit is added to
 * *ret_loss. Never NULL: aborts when memory is out. */
struct entity *entity_create(const struct entity_source *source, struct entity_loss *ret_loss);
void entity_destroy(struct entity **entity);
