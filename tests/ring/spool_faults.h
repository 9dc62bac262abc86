/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/random.h"
#include "ring/spool_file.h"

/* The spool's file operations with faults put in between, and a log of all that was done, from
 * which the directory after a power failure is made up. Files are named by their last component;
 * "." is the directory. */
enum fault_op_kind {
    FAULT_MAKE_DIRECTORY,
    FAULT_CREATE,
    FAULT_OPEN,
    FAULT_READ,
    FAULT_WRITE,
    FAULT_SYNC,
    FAULT_SYNC_DIRECTORY,
    FAULT_UNLINK,
    FAULT_TRUNCATE,
    FAULT_ALLOCATE,
    FAULT_OP_COUNT,
};

struct fault_op {
    enum fault_op_kind kind;
    char name[80];
    int error; /* 0: it was done */
    uint64_t offset, bytes;
    uint8_t *data; /* WRITE */
};

enum { FAULT_FDS_MAX = 1024 };

struct faults {
    struct spool_files files; /* for spool_settings */

    /* the fault: operations of these kinds (bits), on names that end so (NULL: all), after the
     * first `skip` of them, `count` times, give `error` */
    uint32_t kinds;
    const char *suffix;
    uint64_t skip, count;
    int error;
    uint64_t capacity_bytes; /* writes beyond this offset are cut short, then ENOSPC; 0: none */
    bool choppy;             /* short reads and writes, and EINTR, at random */
    struct random random;

    bool record; /* WRITEs with their data */
    struct fault_op *ops;
    size_t op_count, op_capacity;
    char names[FAULT_FDS_MAX][80];
};

void faults_init(struct faults *faults);
void faults_fini(struct faults *faults);

/* Forgets the log, and the fault. */
void faults_clear(struct faults *faults);

/* Operations of the kinds that were done (or failed) so far, on names that end so. */
size_t faults_count(const struct faults *faults, uint32_t kinds, const char *suffix);

/* What may be in the directory if the power fails after the first `ops` operations of the log:
 * everything that was synced, and of what was not, any part. `random` NULL: all of it (the process
 * alone was killed). The directory must be empty. */
void faults_materialise(const struct faults *faults, size_t ops, struct random *random,
                        const char *path);
