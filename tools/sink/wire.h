/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Protobuf's wire format, read in place (protobuf.dev, "Encoding"). Written apart from pgweir's
 * encoder so that the two check each other. Bytes are untrusted: nothing is read past a span's
 * end. */
struct span {
    const uint8_t *at, *end;
};

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

struct wire_field {
    uint32_t number;
    enum wire_type type;
    uint64_t value;    /* WIRE_VARINT, WIRE_FIXED64, WIRE_FIXED32 */
    struct span bytes; /* WIRE_BYTES */
};

static inline size_t span_bytes(struct span span)
{
    return (size_t)(span.end - span.at);
}

static inline bool span_starts(struct span span, const char *text, size_t bytes)
{
    return span_bytes(span) >= bytes && memcmp(span.at, text, bytes) == 0;
}

static inline bool wire_varint(struct span *span, uint64_t *ret_value)
{
    if (__builtin_expect(span->at < span->end && *span->at < 0x80, 1)) {
        *ret_value = *span->at++;
        return true;
    }
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && span->at < span->end; shift += 7) {
        uint8_t byte = *span->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

/* Notes the first thing that is wrong; returns false. */
static inline bool wire_fail(const char **problem, const char *what)
{
    if (*problem == NULL)
        *problem = what;
    return false;
}

/* The next field of a message; false at its end, or when it is malformed (then *problem says so,
 * unless something was wrong before). */
__attribute__((always_inline)) static inline bool
wire_next(struct span *span, struct wire_field *ret_field, const char **problem)
{
    uint64_t tag, bytes;
    if (span->at == span->end)
        return false;
    if (!wire_varint(span, &tag) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX)
        return wire_fail(problem, "malformed tag");
    *ret_field = (struct wire_field){.number = (uint32_t)(tag >> 3)};
    switch (tag & 7) {
    case WIRE_BYTES:
        if (!wire_varint(span, &bytes) || bytes > span_bytes(*span))
            return wire_fail(problem, "message cut short");
        ret_field->type = WIRE_BYTES;
        ret_field->bytes = (struct span){span->at, span->at + bytes};
        span->at += bytes;
        return true;
    case WIRE_VARINT:
        ret_field->type = WIRE_VARINT;
        return wire_varint(span, &ret_field->value) || wire_fail(problem, "malformed varint");
    case WIRE_FIXED64:
    case WIRE_FIXED32:
        bytes = (tag & 7) == WIRE_FIXED64 ? 8 : 4;
        if (span_bytes(*span) < bytes)
            return wire_fail(problem, "message cut short");
        ret_field->type = (tag & 7) == WIRE_FIXED64 ? WIRE_FIXED64 : WIRE_FIXED32;
        memcpy(&ret_field->value, span->at, bytes);
        span->at += bytes;
        return true;
    default:
        return wire_fail(problem, "unknown wire type");
    }
}

static inline bool wire_is(const struct wire_field *field, uint32_t number, enum wire_type type)
{
    return field->number == number && field->type == type;
}

static inline bool span_utf8(struct span text)
{
    const uint8_t *at = text.at;
    while (at < text.end) {
        uint64_t eight;
        if (text.end - at >= 8) {
            memcpy(&eight, at, sizeof eight);
            if ((eight & 0x8080808080808080ull) == 0) {
                at += 8;
                continue;
            }
        }
        if (*at < 0x80) {
            at++;
            continue;
        }
        unsigned more = *at < 0xc2 ? 9 : *at < 0xe0 ? 1 : *at < 0xf0 ? 2 : 3;
        if (*at > 0xf4 || more == 9 || (size_t)(text.end - at) <= more)
            return false;
        for (unsigned i = 1; i <= more; i++)
            if ((at[i] & 0xc0) != 0x80)
                return false;
        at += more + 1;
    }
    return true;
}
