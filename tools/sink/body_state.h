/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "tools/sink/body.h"
#include "tools/sink/wire.h"

/* What body.c and remote.c share: the reader's insides. */
enum { BODY_NAMES_MAX = 1 << 16 };

struct body_reader {
    enum body_depth depth;
    uint32_t sample;
    uint64_t *names; /* hashes, open addressing, 0 free */
    uint32_t name_count;
    struct body_counts *counts;
    const char *problem;
    struct body_time *times;
    size_t time_count, time_space;
    struct ledger_point *points;
    size_t point_count, point_space;
    struct ledger_place *places;
    size_t place_count, place_space;
};

void body_begin(struct body_reader *reader, struct body_counts *counts);

/* A metric of this name is there. */
void body_note_name(struct body_reader *reader, struct span name);

/* A point of this time; not for those of pgweir.*. */
void body_note_time(struct body_reader *reader, uint64_t time_ns);

/* A point for the ledger; `place` of body_note_place(). */
void body_note_point(struct body_reader *reader, const struct ledger_point *point);
uint32_t body_note_place(struct body_reader *reader, struct span resource, struct span metric);

/* Of an attribute set: the sum of its members' hashes, so that their order does not matter. */
uint64_t body_hash(struct span bytes, uint64_t seed);
uint64_t body_series(uint64_t metric, uint64_t attributes);

/* The step that a monotonic sum's value carries. */
uint32_t body_step_of_int(int64_t value);
uint32_t body_step_of_double(double value);
