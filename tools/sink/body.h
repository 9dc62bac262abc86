/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>

#include "tools/sink/ledger.h"

/* Reads an unpacked body, counting and checking: OTLP's ExportMetricsServiceRequest, or remote
 * write's WriteRequest (remote.h). Bodies are untrusted bytes. One thread; nothing is allocated per
 * body once the largest has been seen. */
struct body_reader;

struct body_counts {
    uint64_t resources, metrics, points; /* remote write: 0, series, samples */
    uint64_t own_points;                 /* of these, of metrics named pgweir.* (not counted in
                                            BODY_COUNT) */
    uint64_t stale;                      /* remote write: markers that a series has ended */
};

/* How closely to look. */
enum body_depth {
    BODY_COUNT, /* points are counted, not looked into */
    BODY_CHECK, /* every point is checked, and its time noted */
    BODY_LEDGER /* and its series and step, for the ledger */
};

struct body_reader *body_reader_create(enum body_depth depth);
void body_reader_destroy(struct body_reader **reader);

/* Notes for the ledger only points whose resource's hash is divisible by `sample` (1: all). */
void body_reader_sample(struct body_reader *reader, uint32_t sample);

/* Counts into a zeroed `ret_counts`; the first thing that is wrong, or NULL. */
const char *body_walk(struct body_reader *reader, const uint8_t *body, size_t bytes,
                      struct body_counts *ret_counts);

/* The same for a remote write request, whose samples are points. */
const char *body_walk_remote(struct body_reader *reader, const uint8_t *body, size_t bytes,
                             struct body_counts *ret_counts);

/* Of the last body, good until the next: times of its points in order, equal neighbours together;
 * points of pgweir.* are left out. */
struct body_time {
    uint64_t time_ns;
    uint64_t points;
};
const struct body_time *body_times(const struct body_reader *reader, size_t *ret_count);

/* Of the last body (BODY_LEDGER): its points, and the texts they refer to. */
const struct ledger_point *body_points(const struct body_reader *reader, size_t *ret_count);
const struct ledger_place *body_places(const struct body_reader *reader);

/* Different metric names seen since the start (at most 65536). */
uint32_t body_name_count(const struct body_reader *reader);
