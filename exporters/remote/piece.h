/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "exporters/remote/labels.h"

/* The labels of a series come in parts (its name, its resource, attributes that all points of a run
 * share, its own, the configuration's), each met again and again with others. A piece is one part,
 * sorted and encoded as remote write has it (prompb.Label behind TimeSeries.labels' tag and
 * length); a weave says how pieces with these names interleave, so that a series is a handful of
 * copies. */
struct piece {
    uint64_t shape; /* same shape: same names, in the same order */
    uint32_t count, bytes;
    uint32_t ends[]; /* of each label, from the first one's start; behind them the bytes, then
                        PIECE_SLACK that a copy may read */
};

enum { PIECE_SLACK = 16, PIECE_BYTES_MAX = 65536 };

static inline const uint8_t *piece_labels(const struct piece *piece)
{
    return (const uint8_t *)(piece->ends + piece->count);
}

/* Where label `label` begins. */
static inline uint32_t piece_start(const struct piece *piece, uint32_t label)
{
    return label > 0 ? piece->ends[label - 1] : 0;
}

/* Writes the sorted labels into `room` (aligned to 8, PIECE_BYTES_MAX of it); returns the bytes
 * used, a multiple of 8. */
size_t piece_write(struct piece *room, const struct labels *labels);

/* The same in memory of its own, to be freed. */
struct piece *piece_create(const struct labels *labels);

/* Parts by strength: where two have a label of the same name, the stronger one's stays. */
enum part { PART_CONFIG, PART_ATTRS, PART_FIXED, PART_RESOURCE, PART_NAME, PARTS };

enum { WEAVE_STEPS_MAX = PARTS * LABELS_MAX };

/* Labels [first, end) of a part. */
struct weave_step {
    uint8_t part, first, end;
};

struct weave {
    uint64_t shapes[PARTS];
    uint32_t step_count;
    struct weave_step steps[WEAVE_STEPS_MAX];
};
_Static_assert(LABELS_MAX <= UINT8_MAX, "numbers of labels in a byte");

void weave_make(struct weave *weave, const struct piece *const pieces[PARTS]);
