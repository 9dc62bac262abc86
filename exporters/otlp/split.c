/* SPDX-License-Identifier: Apache-2.0 */
/* A request is a tree of five levels, in which only the children of each level and their points
 * matter here; everything else of a message is its *head*, whatever it means and wherever it
 * stands:
 *
 *   request › ResourceMetrics › ScopeMetrics › Metric › Gauge, Sum, … › data points
 *
 * A cut is a path down this tree: on each level the child that is cut, on the last one the border
 * between two children. What is left of the path goes into the first part, what is right of it into
 * the second, heads into both. So a part never has more bytes than the whole, on any level, and is
 * written front to back with each length where the longer one was.
 *
 * Pure functions. Nothing recurses; bytes are untrusted and every read is bounded (wire.h).
 * Source: opentelemetry-proto, collector/metrics/v1/metrics_service.proto,
 * metrics/v1/metrics.proto. */
#include "exporters/otlp/split.h"

#include <string.h>

#include "base/check.h"
#include "exporters/otlp/wire.h"

enum level { LEVEL_REQUEST, LEVEL_RESOURCE, LEVEL_SCOPE, LEVEL_METRIC, LEVEL_DATA, LEVEL_COUNT };

enum { TOLERANCE = 8 }; /* a cut may miss the middle by so manieth of the points */

/* Where one level is cut. */
struct border {
    struct wire whole;        /* the message's content */
    const uint8_t *from, *to; /* the child that is cut; the same: between two children */
    const uint8_t *length;    /* of that child, behind its tag */
};

struct cut {
    struct border borders[LEVEL_COUNT];
    uint32_t depth;
    uint64_t points; /* left of it */
};

/* What is looked for while going down. */
struct search {
    uint64_t total, middle;
    uint64_t before; /* points left of the level at hand */
};

static bool is_child(enum level level, const struct wire_field *field)
{
    /* Bit n: field n. The data of a metric are gauge, sum, histogram, exponential_histogram,
     * summary; data_points is field 1 in each. */
    static const uint32_t children[LEVEL_COUNT] = {
        [LEVEL_REQUEST] = 1 << 1, [LEVEL_RESOURCE] = 1 << 2,
        [LEVEL_SCOPE] = 1 << 2,   [LEVEL_METRIC] = 1 << 5 | 1 << 7 | 1 << 9 | 1 << 10 | 1 << 11,
        [LEVEL_DATA] = 1 << 1,
    };
    return field->type == WIRE_BYTES && field->number < 32 &&
           (children[level] >> field->number & 1) != 0;
}

/* Points of a message of `level`. */
static bool count_points(struct wire message, enum level level, uint64_t *ret_points)
{
    struct wire open[LEVEL_COUNT];
    uint64_t points = 0;
    unsigned at = level;
    open[at] = message;
    for (;;) {
        struct wire_field field;
        if (open[at].at == open[at].end) {
            if (at == level)
                break;
            at--;
        } else if (!wire_read_field(&open[at], &field)) {
            return false;
        } else if (is_child(at, &field)) {
            if (at == LEVEL_DATA)
                points++;
            else
                open[++at] = field.bytes;
        }
    }
    *ret_points = points;
    return true;
}

static struct wire wire_of(const uint8_t *body, size_t bytes)
{
    return (struct wire){body, bytes > 0 ? body + bytes : body};
}

bool otlp_count_points(const uint8_t *body, size_t bytes, uint64_t *ret_points)
{
    return count_points(wire_of(body, bytes), LEVEL_REQUEST, ret_points);
}

static uint64_t distance(uint64_t a, uint64_t b)
{
    return a > b ? a - b : b - a;
}

/* The best border between two children of this level, if it is near enough to the middle; else the
 * child that has the middle inside, whose content is returned for the next level. */
static struct wire find_border(struct search *search, enum level level, struct border *border,
                               uint64_t *ret_points)
{
    struct wire wire = border->whole, inside = {0};
    const uint8_t *middle_from = NULL, *middle_to = NULL, *best = NULL;
    uint64_t points = search->before, middle_before = 0, best_points = 0;
    while (wire.at < wire.end) {
        const uint8_t *from = wire.at;
        struct wire_field field;
        uint64_t count = 1;
        CHECK(wire_read_field(&wire, &field));
        if (!is_child(level, &field))
            continue;
        if (level < LEVEL_DATA)
            CHECK(count_points(field.bytes, level + 1, &count));
        if (points < search->middle && search->middle < points + count) {
            middle_from = from;
            middle_to = wire.at;
            middle_before = points;
            inside = field.bytes;
            border->length = field.length;
        }
        points += count;
        if (points > 0 && points < search->total &&
            distance(points, search->middle) <= search->total / TOLERANCE &&
            (best == NULL ||
             distance(points, search->middle) < distance(best_points, search->middle))) {
            best = wire.at;
            best_points = points;
        }
    }
    CHECK(best != NULL || middle_from != NULL);
    border->from = best != NULL ? best : middle_from;
    border->to = best != NULL ? best : middle_to;
    search->before = middle_before;
    *ret_points = best_points;
    return inside;
}

/* The request is known to be well-formed and to have two points or more. */
static struct cut find_cut(struct wire request, uint64_t total)
{
    struct cut cut = {0};
    struct search search = {.total = total, .middle = total / 2};
    struct wire inside = request;
    do {
        CHECK(cut.depth < LEVEL_COUNT);
        struct border *border = &cut.borders[cut.depth];
        border->whole = inside;
        inside = find_border(&search, cut.depth, border, &cut.points);
        cut.depth++;
    } while (cut.borders[cut.depth - 1].from != cut.borders[cut.depth - 1].to);
    return cut;
}

static void put(uint8_t **at, const uint8_t *from, const uint8_t *to)
{
    memcpy(*at, from, (size_t)(to - from));
    *at += to - from;
}

/* Of the fields between, those of the head. */
static void put_head(uint8_t **at, enum level level, const uint8_t *from, const uint8_t *to)
{
    struct wire wire = {from, to};
    while (wire.at < wire.end) {
        const uint8_t *start = wire.at;
        struct wire_field field;
        CHECK(wire_read_field(&wire, &field));
        if (!is_child(level, &field))
            put(at, start, wire.at);
    }
}

/* Writes the length of what stands between `content` and `*at` to where it belongs, and moves that
 * up where the length got shorter. */
static void put_length(uint8_t *length, uint8_t *content, uint8_t **at)
{
    size_t bytes = (size_t)(*at - content), left = bytes;
    uint8_t *end = length;
    for (; left >= 0x80; left >>= 7)
        *end++ = (uint8_t)(left | 0x80);
    *end++ = (uint8_t)left;
    CHECK(end <= content);
    memmove(end, content, bytes);
    *at = end + bytes;
}

static size_t write_part(const struct cut *cut, bool second, uint8_t *out)
{
    uint8_t *at = out, *lengths[LEVEL_COUNT], *contents[LEVEL_COUNT];
    for (uint32_t level = 0; level < cut->depth; level++) {
        const struct border *border = &cut->borders[level];
        if (second)
            put_head(&at, level, border->whole.at, border->from);
        else
            put(&at, border->whole.at, border->from);
        if (level + 1 == cut->depth)
            break;
        put(&at, border->from, border->length); /* the tag */
        lengths[level + 1] = at;
        at += cut->borders[level + 1].whole.at - border->length;
        contents[level + 1] = at;
    }
    for (uint32_t level = cut->depth; level-- > 0;) {
        const struct border *border = &cut->borders[level];
        if (second)
            put(&at, border->to, border->whole.end);
        else
            put_head(&at, level, border->to, border->whole.end);
        if (level > 0)
            put_length(lengths[level], contents[level], &at);
    }
    return (size_t)(at - out);
}

bool otlp_split(const uint8_t *body, size_t bytes, struct otlp_part parts[2])
{
    struct wire request = wire_of(body, bytes);
    uint64_t total;
    if (!count_points(request, LEVEL_REQUEST, &total) || total < 2)
        return false;
    struct cut cut = find_cut(request, total);
    for (int i = 0; i < 2; i++) {
        parts[i].bytes = write_part(&cut, i == 1, parts[i].body);
        parts[i].points = i == 0 ? cut.points : total - cut.points;
        CHECK(parts[i].bytes <= bytes && parts[i].points > 0);
    }
    return true;
}
