/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/sink/ledger_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "tools/sink/wire.h"

enum { RESOURCE_TEXT_BYTES = 160, METRIC_TEXT_BYTES = 64, PART_TEXT_BYTES = 64 };

struct finding {
    uint64_t key;
    char text[LEDGER_TEXT_BYTES];
};

struct ledger_text {
    struct ledger_gap gaps[LEDGER_EXAMPLES_MAX];
    size_t gap_count;
    struct finding doubled[LEDGER_EXAMPLES_MAX], unproven[LEDGER_EXAMPLES_MAX];
    size_t doubled_count, unproven_count;
};

struct ledger_text *ledger_text_create(void)
{
    struct ledger_text *text = xcalloc(1, sizeof *text);
    return text;
}

void ledger_text_destroy(struct ledger_text **text)
{
    free(*text);
    *text = NULL;
}

/* The text of an attribute's or a label's value; none where it is a number. */
static struct span value_text(struct span value)
{
    struct wire_field field;
    const char *problem = NULL;
    struct span inner = value;
    if (wire_next(&inner, &field, &problem) && wire_is(&field, 1, WIRE_BYTES) &&
        inner.at == inner.end)
        return field.bytes; /* AnyValue.string_value */
    return value.at < value.end && span_utf8(value) && *value.at >= ' ' ? value : (struct span){0};
}

static int part(struct span text)
{
    return span_bytes(text) < PART_TEXT_BYTES ? (int)span_bytes(text) : PART_TEXT_BYTES;
}

/* "key=value key=value": the attributes of a Resource, or the labels of a TimeSeries, both being
 * field 1 with key and value as fields 1 and 2. */
static void describe(struct span resource, char text[RESOURCE_TEXT_BYTES])
{
    struct wire_field pair, field;
    const char *problem = NULL;
    size_t used = 0;
    text[0] = '\0';
    while (used + 1 < RESOURCE_TEXT_BYTES && wire_next(&resource, &pair, &problem)) {
        struct span inside = pair.bytes, key = {0}, value = {0};
        if (!wire_is(&pair, 1, WIRE_BYTES))
            continue;
        while (wire_next(&inside, &field, &problem)) {
            if (wire_is(&field, 1, WIRE_BYTES))
                key = field.bytes;
            else if (wire_is(&field, 2, WIRE_BYTES))
                value = value_text(field.bytes);
        }
        if (value.at == value.end)
            continue;
        int wrote =
            snprintf(text + used, RESOURCE_TEXT_BYTES - used, "%s%.*s=%.*s", used > 0 ? " " : "",
                     part(key), (const char *)key.at, part(value), (const char *)value.at);
        used += wrote > 0 ? (size_t)wrote : 0;
    }
}

/* "metric of resource: " with what was cut in the midst of a character mended; its length. */
static size_t begin(char *to, const struct ledger_place *place)
{
    char resource[RESOURCE_TEXT_BYTES], raw[LEDGER_TEXT_BYTES];
    int metric =
        place->metric_bytes < METRIC_TEXT_BYTES ? (int)place->metric_bytes : METRIC_TEXT_BYTES;
    describe((struct span){place->resource, place->resource + place->resource_bytes}, resource);
    snprintf(raw, sizeof raw, "%.*s of %s: ", metric, (const char *)place->metric,
             resource[0] != '\0' ? resource : "a resource without attributes");
    size_t bytes = utf8_copy(to, LEDGER_TEXT_BYTES - PART_TEXT_BYTES, raw, strlen(raw));
    to[bytes] = '\0';
    return bytes;
}

void ledger_text_doubled(struct ledger_text *text, const struct ledger_place *place, uint64_t key,
                         const struct ledger_point *point)
{
    if (text->doubled_count == LEDGER_EXAMPLES_MAX)
        return;
    struct finding *finding = &text->doubled[text->doubled_count++];
    finding->key = key;
    char *to = finding->text;
    size_t used = begin(to, place);
    if (point->step != 0)
        snprintf(to + used, LEDGER_TEXT_BYTES - used, "step %" PRIu32 " came twice", point->step);
    else
        snprintf(to + used, LEDGER_TEXT_BYTES - used, "time %" PRIu64 " came twice",
                 point->time_ns);
}

void ledger_text_unproven(struct ledger_text *text, const struct ledger_place *place, uint64_t key)
{
    for (size_t i = 0; i < text->doubled_count;)
        if (text->doubled[i].key == key)
            text->doubled[i] = text->doubled[--text->doubled_count];
        else
            i++;
    if (text->unproven_count == LEDGER_EXAMPLES_MAX)
        return;
    struct finding *finding = &text->unproven[text->unproven_count++];
    finding->key = key;
    size_t used = begin(finding->text, place);
    snprintf(finding->text + used, LEDGER_TEXT_BYTES - used, "its values carry no steps");
}

void ledger_text_gap(struct ledger_text *text, const struct ledger_place *place, uint64_t key,
                     uint32_t from, uint32_t to)
{
    if (text->gap_count == LEDGER_EXAMPLES_MAX)
        return;
    struct ledger_gap *gap = &text->gaps[text->gap_count++];
    gap->key = key;
    gap->from = from;
    gap->to = to;
    size_t used = begin(gap->text, place);
    if (to - from == 1)
        snprintf(gap->text + used, LEDGER_TEXT_BYTES - used, "step %" PRIu32 " is missing", from);
    else
        snprintf(gap->text + used, LEDGER_TEXT_BYTES - used,
                 "of steps %" PRIu32 " to %" PRIu32 " some are missing", from, to - 1);
}

const char *ledger_text_doubled_at(const struct ledger_text *text, size_t index)
{
    return index < text->doubled_count ? text->doubled[index].text : NULL;
}

const char *ledger_text_unproven_at(const struct ledger_text *text, size_t index)
{
    return index < text->unproven_count ? text->unproven[index].text : NULL;
}

const struct ledger_gap *ledger_text_gap_at(const struct ledger_text *text, size_t index)
{
    return index < text->gap_count ? &text->gaps[index] : NULL;
}

void ledger_text_gap_remove(struct ledger_text *text, size_t index)
{
    CHECK(index < text->gap_count);
    text->gaps[index] = text->gaps[--text->gap_count];
}
