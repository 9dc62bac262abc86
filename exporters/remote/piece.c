/* SPDX-License-Identifier: Apache-2.0 */
/* Encoded label lists and how they interleave. Pure functions.
 * Source: prometheus/prompb/types.proto: TimeSeries.labels = 1, Label.name = 1, Label.value = 2. */
#include "exporters/remote/piece.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <pgweir/limits.h>

#include "base/check.h"
#include "base/memory.h"
#include "exporters/remote/put.h"

enum { SERIES_LABEL = 0x0a, LABEL_NAME = 0x0a, LABEL_VALUE = 0x12 };

/* What labels may be together: names and joined values in LABELS_TEXT_BYTES, values in one set of
 * attributes, labels of the configuration as large as one, heads and ends of 13 bytes. */
_Static_assert((int)PIECE_BYTES_MAX >
                   (int)LABELS_TEXT_BYTES + 2 * (int)LIMIT_ATTRS_BYTES + 13 * (int)LABELS_MAX + 64,
               "a piece takes all labels");

size_t piece_write(struct piece *room, const struct labels *labels)
{
    uint64_t shape = labels->count;
    room->count = labels->count;
    uint8_t *start = (uint8_t *)(room->ends + room->count), *at = start;
    for (uint32_t i = 0; i < labels->count; i++) {
        const struct label *label = &labels->list[i];
        size_t body = 1 + length_bytes(label->name_bytes) + label->name_bytes + 1 +
                      length_bytes(label->value_bytes) + label->value_bytes;
        size_t used = (size_t)(at - (uint8_t *)room);
        CHECK(used + 1 + PUT_LENGTH_BYTES + body + PIECE_SLACK + 8 <= PIECE_BYTES_MAX);
        *at++ = SERIES_LABEL;
        at = put_length(at, body);
        at = put_field(at, LABEL_NAME, label->name, label->name_bytes);
        at = put_field(at, LABEL_VALUE, label->value, label->value_bytes);
        room->ends[i] = (uint32_t)(at - start);
        shape = XXH3_64bits_withSeed(label->name, label->name_bytes, shape);
    }
    room->shape = shape;
    room->bytes = (uint32_t)(at - start);
    memset(at, 0, PIECE_SLACK);
    size_t used = (size_t)(at - (uint8_t *)room) + PIECE_SLACK;
    return (used + 7) & ~(size_t)7;
}

struct piece *piece_create(const struct labels *labels)
{
    struct piece *piece = xmalloc(PIECE_BYTES_MAX);
    piece = xrealloc(piece, piece_write(piece, labels));
    return piece;
}

/* A label's name, read back. */
struct head {
    const uint8_t *name;
    size_t bytes;
};

static const uint8_t *get_length(const uint8_t *at, size_t *ret_length)
{
    size_t length = 0;
    for (unsigned shift = 0;; shift += 7) {
        length |= (size_t)(*at & 0x7f) << shift;
        if (*at++ < 0x80)
            break;
    }
    *ret_length = length;
    return at;
}

static struct head head_of(const struct piece *piece, uint32_t label)
{
    size_t body;
    struct head head;
    const uint8_t *at = piece_labels(piece) + (label > 0 ? piece->ends[label - 1] : 0);
    at = get_length(at + 1, &body);
    head.name = get_length(at + 1, &head.bytes);
    return head;
}

static int compare(struct head a, struct head b)
{
    int order = memcmp(a.name, b.name, a.bytes < b.bytes ? a.bytes : b.bytes);
    return order != 0 ? order : (a.bytes > b.bytes) - (a.bytes < b.bytes);
}

static void step(struct weave *weave, enum part part, uint32_t label)
{
    if (weave->step_count > 0) {
        struct weave_step *last = &weave->steps[weave->step_count - 1];
        if (last->part == part && last->end == label) {
            last->end++;
            return;
        }
    }
    CHECK(weave->step_count < WEAVE_STEPS_MAX);
    weave->steps[weave->step_count++] =
        (struct weave_step){(uint8_t)part, (uint8_t)label, (uint8_t)(label + 1)};
}

void weave_make(struct weave *weave, const struct piece *const pieces[PARTS])
{
    uint32_t at[PARTS] = {0};
    weave->step_count = 0;
    for (int p = 0; p < PARTS; p++)
        weave->shapes[p] = pieces[p]->shape;
    for (;;) {
        int chosen = -1;
        struct head least = {NULL, 0};
        for (int p = 0; p < PARTS; p++) { /* an equal name of a stronger part replaces */
            if (at[p] == pieces[p]->count)
                continue;
            struct head head = head_of(pieces[p], at[p]);
            if (chosen < 0 || compare(head, least) <= 0) {
                chosen = p;
                least = head;
            }
        }
        if (chosen < 0)
            return;
        step(weave, (enum part)chosen, at[chosen]);
        for (int p = 0; p < PARTS; p++)
            if (at[p] < pieces[p]->count && compare(head_of(pieces[p], at[p]), least) == 0)
                at[p]++;
    }
}
