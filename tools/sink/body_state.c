/* SPDX-License-Identifier: Apache-2.0 */
/* What a body leaves behind for the report and the ledger: arrays that only ever grow, as one body
 * is read again and again the size of the last. */
#include "tools/sink/body_state.h"

#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/check.h"
#include "base/memory.h"

enum { SPACE_MIN = 4096 };

struct body_reader *body_reader_create(enum body_depth depth)
{
    struct body_reader *reader = xcalloc(1, sizeof *reader);
    reader->depth = depth;
    reader->sample = 1;
    reader->names = xcalloc(2 * BODY_NAMES_MAX, sizeof reader->names[0]);
    return reader;
}

void body_reader_destroy(struct body_reader **ret_reader)
{
    struct body_reader *reader = *ret_reader;
    if (reader == NULL)
        return;
    free(reader->names);
    free(reader->times);
    free(reader->points);
    free(reader->places);
    free(reader);
    *ret_reader = NULL;
}

void body_reader_sample(struct body_reader *reader, uint32_t sample)
{
    CHECK(sample > 0);
    reader->sample = sample;
}

uint32_t body_name_count(const struct body_reader *reader)
{
    return reader->name_count;
}

const struct body_time *body_times(const struct body_reader *reader, size_t *ret_count)
{
    *ret_count = reader->time_count;
    return reader->times;
}

const struct ledger_point *body_points(const struct body_reader *reader, size_t *ret_count)
{
    *ret_count = reader->point_count;
    return reader->points;
}

const struct ledger_place *body_places(const struct body_reader *reader)
{
    return reader->places;
}

void body_begin(struct body_reader *reader, struct body_counts *counts)
{
    reader->counts = counts;
    reader->problem = NULL;
    reader->time_count = reader->point_count = reader->place_count = 0;
}

/* Twice the room. */
static void *grow(void *items, size_t *space, size_t item_bytes)
{
    *space = *space < SPACE_MIN ? SPACE_MIN : 2 * *space;
    items = xrealloc(items, *space * item_bytes);
    return items;
}

void body_note_name(struct body_reader *reader, struct span name)
{
    uint64_t hash = XXH3_64bits(name.at, span_bytes(name)) | 1;
    uint32_t slot = (uint32_t)(hash >> 32) % (2 * BODY_NAMES_MAX);
    while (reader->names[slot] != 0 && reader->names[slot] != hash)
        slot = (slot + 1) % (2 * BODY_NAMES_MAX);
    if (reader->names[slot] == 0 && reader->name_count < BODY_NAMES_MAX) {
        reader->names[slot] = hash;
        reader->name_count++;
    }
}

void body_note_time(struct body_reader *reader, uint64_t time_ns)
{
    if (reader->time_count > 0 && reader->times[reader->time_count - 1].time_ns == time_ns) {
        reader->times[reader->time_count - 1].points++;
        return;
    }
    if (reader->time_count == reader->time_space)
        reader->times = grow(reader->times, &reader->time_space, sizeof reader->times[0]);
    reader->times[reader->time_count++] = (struct body_time){time_ns, 1};
}

void body_note_point(struct body_reader *reader, const struct ledger_point *point)
{
    if (reader->point_count == reader->point_space)
        reader->points = grow(reader->points, &reader->point_space, sizeof reader->points[0]);
    reader->points[reader->point_count++] = *point;
}

uint32_t body_note_place(struct body_reader *reader, struct span resource, struct span metric)
{
    if (reader->place_count == reader->place_space)
        reader->places = grow(reader->places, &reader->place_space, sizeof reader->places[0]);
    reader->places[reader->place_count] = (struct ledger_place){
        resource.at, metric.at, (uint32_t)span_bytes(resource), (uint32_t)span_bytes(metric)};
    return (uint32_t)reader->place_count++;
}

uint64_t body_hash(struct span bytes, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes.at, span_bytes(bytes), seed);
}

/* Two rounds of splitmix64's finaliser would be one too many: both parts are hashes already. */
uint64_t body_series(uint64_t metric, uint64_t attributes)
{
    uint64_t z = metric + attributes * 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    z ^= z >> 31;
    return z != 0 ? z : 1;
}

uint32_t body_step_of_int(int64_t value)
{
    return value >= 1000 && value / 1000 < LEDGER_UNPROVEN_STEP ? (uint32_t)(value / 1000)
                                                                : LEDGER_UNPROVEN_STEP;
}

uint32_t body_step_of_double(double value)
{
    return value >= 1 && value < (double)LEDGER_UNPROVEN_STEP ? (uint32_t)value
                                                              : LEDGER_UNPROVEN_STEP;
}
