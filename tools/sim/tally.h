/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/counter.h"

/* What one thread has counted; that thread writes, the report reads. */
enum { TALLY_SQLSTATES = 64 };

struct tally {
    struct counter open, accepted, refused;
    struct counter scrapes;    /* Syncs (and simple queries) with a recorded statement executed */
    struct counter executions; /* of recorded statements, answered with rows */
    struct counter rows;
    struct counter values, void_values; /* numeric cells of answers that arrived, and did not */
    struct counter
        sent_values; /* of open connections, with the kernel, not known to have arrived */
    struct counter cancels;
    struct counter received_bytes, sent_bytes, syscalls;
    struct counter sqlstate_count;
    struct {
        char sqlstate[8]; /* written before the count that includes it */
        struct counter count;
    } sqlstates[TALLY_SQLSTATES];
};

/* The last place is for all that found no other. */
void tally_error(struct tally *tally, const char *sqlstate);
