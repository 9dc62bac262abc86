/* SPDX-License-Identifier: Apache-2.0 */
/* Series stand one behind the other, so a cut is a place between two of them. Points are counted by
 * the mark that the encoder set (put.h). Pure; bytes are untrusted and every read is bounded. */
#include "exporters/remote/split.h"

#include <string.h>

#include "exporters/otlp/wire.h"
#include "exporters/remote/put.h"

enum { SERIES = 1, METADATA = 3, SAMPLES = 2 };

/* Whether the series' samples begin with their value; false where it is malformed. */
static bool read_series(struct wire series, bool *ret_counted)
{
    struct wire_field field;
    *ret_counted = false;
    while (series.at < series.end) {
        if (!wire_read_field(&series, &field))
            return false;
        if (field.number != SAMPLES)
            continue;
        if (field.type != WIRE_BYTES || field.bytes.at == field.bytes.end)
            return false;
        *ret_counted = *ret_counted || *field.bytes.at == SAMPLE_VALUE;
    }
    return true;
}

/* Points of the request, and where its point number `place` (from 0) begins. */
static bool walk(const uint8_t *body, size_t bytes, uint64_t place, uint64_t *ret_points,
                 const uint8_t **ret_at)
{
    struct wire request = {body, body + bytes};
    uint64_t points = 0;
    while (request.at < request.end) {
        const uint8_t *start = request.at;
        struct wire_field field;
        bool counted = false;
        if (!wire_read_field(&request, &field) || field.type != WIRE_BYTES ||
            (field.number != SERIES && field.number != METADATA))
            return false;
        if (field.number == SERIES && !read_series(field.bytes, &counted))
            return false;
        if (counted && points++ == place)
            *ret_at = start;
    }
    *ret_points = points;
    return true;
}

bool remote_split(const uint8_t *body, size_t bytes, struct otlp_part parts[2])
{
    const uint8_t *cut = NULL;
    uint64_t points = 0;
    if (!walk(body, bytes, UINT64_MAX, &points, &cut) || points < 2)
        return false;
    uint64_t before = points / 2;
    if (!walk(body, bytes, before, &points, &cut) || cut == NULL)
        return false;
    parts[0].bytes = (size_t)(cut - body);
    parts[0].points = before;
    parts[1].bytes = bytes - parts[0].bytes;
    parts[1].points = points - before;
    memcpy(parts[0].body, body, parts[0].bytes);
    memcpy(parts[1].body, cut, parts[1].bytes);
    return true;
}
