/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/exporters/otlp_flat.h"

#include <stdlib.h>

#include "base/check.h"
#include "tools/sink/wire.h"

static const char *problem;

static bool is_message(const struct wire_field *field, uint32_t number)
{
    return wire_is(field, number, WIRE_BYTES);
}

static bool is_data(const struct wire_field *field)
{
    static const uint32_t numbers[] = {5, 7, 9, 10, 11}; /* gauge … summary */
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (is_message(field, numbers[i]))
            return true;
    return false;
}

/* FNV-1a. */
static uint64_t hash(uint64_t seed, const uint8_t *from, const uint8_t *to)
{
    for (const uint8_t *at = from; at < to; at++)
        seed = (seed ^ *at) * 0x100000001b3ull;
    return seed * 31 + 7;
}

/* Fields of the message other than `child` (0: a metric's data), behind what is around it. */
static uint64_t around(struct span message, uint32_t child, uint64_t seed)
{
    struct wire_field field;
    for (;;) {
        const uint8_t *from = message.at;
        if (!wire_next(&message, &field, &problem))
            return seed;
        if (child == 0 ? !is_data(&field) : !is_message(&field, child))
            seed = hash(seed, from, message.at);
    }
}

static void add_point(struct flat *flat, struct span point, uint64_t seed)
{
    if (flat->count == flat->space) {
        flat->space = flat->space == 0 ? 64 : 2 * flat->space;
        flat->points = realloc(flat->points, flat->space * sizeof flat->points[0]);
        CHECK(flat->points != NULL);
    }
    flat->points[flat->count++] = hash(seed, point.at, point.end);
}

static void add_metric(struct flat *flat, struct span metric, uint64_t seed)
{
    struct wire_field data, field;
    seed = around(metric, 0, seed);
    while (wire_next(&metric, &data, &problem)) {
        if (!is_data(&data))
            continue;
        uint64_t kind = around(data.bytes, 1, seed + data.number);
        while (wire_next(&data.bytes, &field, &problem))
            if (is_message(&field, 1))
                add_point(flat, field.bytes, kind);
    }
}

static void add_resource(struct flat *flat, struct span resource, uint64_t seed)
{
    struct wire_field scope, metric;
    seed = around(resource, 2, seed);
    while (wire_next(&resource, &scope, &problem)) {
        if (!is_message(&scope, 2))
            continue;
        uint64_t inner = around(scope.bytes, 2, seed);
        while (wire_next(&scope.bytes, &metric, &problem))
            if (is_message(&metric, 2))
                add_metric(flat, metric.bytes, inner);
    }
}

bool flat_add(struct flat *flat, const uint8_t *body, size_t bytes)
{
    struct span request = {body, bytes > 0 ? body + bytes : body};
    struct wire_field field;
    problem = NULL;
    uint64_t seed = around(request, 1, 0xcbf29ce484222325ull);
    while (wire_next(&request, &field, &problem))
        if (is_message(&field, 1))
            add_resource(flat, field.bytes, seed);
    return problem == NULL;
}

bool flat_equal(const struct flat *a, const struct flat *b)
{
    return a->count == b->count &&
           (a->count == 0 || memcmp(a->points, b->points, a->count * sizeof a->points[0]) == 0);
}

void flat_fini(struct flat *flat)
{
    free(flat->points);
    *flat = (struct flat){0};
}
