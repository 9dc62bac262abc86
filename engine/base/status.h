/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the admin endpoint shows of one target, written by the target's shard, read by any thread:
 * a seqlock over a plain struct. */
enum target_state {
    TARGET_UNKNOWN,  /* not collected yet */
    TARGET_UP,       /* the last collection was complete */
    TARGET_DEGRADED, /* up, but some statement fails: `error` names it */
    TARGET_DOWN,     /* the last attempt failed: `error` says why */
};

struct target_status {
    char name[96];    /* as configured, host:port where it has no name */
    char version[24]; /* "15.18" */
    char error[256];  /* the last error, "" when there is none; no credential */
    enum target_state state;
    bool recovery; /* a standby */
    uint32_t shard;
    uint32_t connections;
    uint32_t statements;          /* of the plan in force */
    uint64_t last_scrape_wall_ns; /* end of the last collection that delivered points; 0: none */
    uint64_t last_duration_ns;
    uint64_t last_points;
    uint64_t scrapes, failures; /* since start */
};

/* One slot per target; the writer copies in, readers copy out. */
struct status_slot {
    _Atomic uint64_t version;
    _Atomic uint64_t words[(sizeof(struct target_status) + 7) / 8];
};

struct status_board {
    size_t count;
    struct status_slot *slots;
};

struct status_board *status_board_create(size_t count);
void status_board_destroy(struct status_board **board);

/* The slot's writing thread. */
void status_write(struct status_slot *slot, const struct target_status *status);

/* Any thread. */
void status_read(const struct status_slot *slot, struct target_status *ret_status);

const char *target_state_name(enum target_state state);
