/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdatomic.h>

#include "base/clock.h"
#include "exporters/ledger.h"
#include "exporters/store.h"
#include "tests/exporters/rig.h"

/* A store with a real spool on a real disk, which can be full; the books are looked at after every
 * step. */
enum { BODY_BYTES = 1000, WAIT_MS = 20000 };

struct bench {
    char directory[64];
    struct request_plan plan;
    struct telemetry_set *set;
    struct store *store;
    int wake_fd;
    uint64_t read_wait_ns;
};

extern atomic_bool bench_disk_full;

/* Opens what the plan says in the bench's directory, again after bench_close(). */
void bench_open(struct bench *bench);

/* A queue of 8; with a disk, a spool of 64 MiB in a directory of its own, and space on it. */
void bench_begin(struct bench *bench, bool disk, bool ordered);
bool bench_close(struct bench *bench); /* true: nothing was dropped */
void bench_finish(struct bench *bench);

/* A batch whose number is its points and each byte of its body. */
void bench_add(struct bench *bench, uint32_t number);
uint64_t bench_value(const struct bench *bench, enum telemetry_value id);

/* One step, with the sleep the worker would have. */
void bench_step(struct bench *bench);

/* Takes the next batch, waiting for the disk; its number, 0: none came. The second delivers it. */
uint32_t bench_take(struct bench *bench, struct queued **ret_item);
uint32_t bench_deliver(struct bench *bench);

/* Steps until the value is so. */
void bench_wait(struct bench *bench, enum telemetry_value id, uint64_t wanted);
