/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "ring/spool_format.h"

/* A destination's directory looked at by somebody else: read only, no lock, also while a process
 * uses it and on a copy. Everything that is found is given to the visitor, in the order of files.
 */
enum spool_record_state {
    SPOOL_IS_WAITING, /* not acknowledged: to be sent */
    SPOOL_IS_DONE,    /* acknowledged or given up; the file has other records that wait */
    SPOOL_IS_CUT,     /* the file ends before its body does */
    SPOOL_IS_BAD,     /* the body is not what was written; only where bodies are asked for */
};

struct spool_seen {
    const char *file;
    uint64_t offset;
    enum spool_record_state state;
    const struct spool_record *record;
    const uint8_t *body; /* where bodies are asked for, and of what waits; else NULL */
};

struct spool_visitor {
    void *context;
    bool bodies; /* read all bodies and check their CRCs */
    void (*segment)(void *context, const char *file, uint64_t bytes, enum spool_head_state state);
    void (*record)(void *context, const struct spool_seen *seen);
    void (*damage)(void *context, const char *file, uint64_t offset, uint64_t bytes);
    /* an ack log that has bad entries, or is of another version, or a file that cannot be read:
     * `error` is not 0 then */
    void (*bad_file)(void *context, const char *file, int error);
    void (*missing)(void *context, uint64_t records, uint64_t points); /* known to be lost */
};

/* Whether it holds files of a spool. */
bool spool_inspect_is_spool(const char *path);

/* False: the directory itself cannot be read. */
bool spool_inspect(const char *path, const struct spool_visitor *visitor, struct error *error);
