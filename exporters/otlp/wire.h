/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Protobuf read field by field, in place, from bytes that anyone may have written: every read is
 * bounded by its message, nothing is allocated. Groups, which no OTLP message has, are malformed.
 * Source: https://protobuf.dev/programming-guides/encoding */

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

/* What is left of a message. */
struct wire {
    const uint8_t *at, *end;
};

struct wire_field {
    uint32_t number;
    enum wire_type type;
    uint64_t varint;       /* WIRE_VARINT */
    struct wire bytes;     /* the others: the content */
    const uint8_t *length; /* WIRE_BYTES: the first byte of its length, behind the tag */
};

static inline bool wire_read_varint(struct wire *wire, uint64_t *ret_value)
{
    enum { VARINT_BYTES_MAX = 10 };
    uint64_t value = 0;
    for (unsigned i = 0; i < VARINT_BYTES_MAX && wire->at < wire->end; i++) {
        uint8_t byte = *wire->at++;
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

static inline bool wire_read_bytes(struct wire *wire, uint64_t bytes, struct wire *ret_bytes)
{
    if (bytes > (uint64_t)(wire->end - wire->at))
        return false;
    *ret_bytes = (struct wire){wire->at, wire->at + bytes};
    wire->at += bytes;
    return true;
}

/* The next field; false for anything malformed. Not to be asked at the end. */
static inline bool wire_read_field(struct wire *wire, struct wire_field *ret_field)
{
    struct wire_field field = {0};
    uint64_t key, length;
    if (!wire_read_varint(wire, &key) || key > UINT32_MAX || key >> 3 == 0)
        return false;
    field.number = (uint32_t)(key >> 3);
    field.type = (enum wire_type)(key & 7);
    field.length = wire->at;
    *ret_field = field;
    switch (key & 7) {
    case WIRE_VARINT:
        return wire_read_varint(wire, &ret_field->varint);
    case WIRE_FIXED64:
        return wire_read_bytes(wire, 8, &ret_field->bytes);
    case WIRE_FIXED32:
        return wire_read_bytes(wire, 4, &ret_field->bytes);
    case WIRE_BYTES:
        return wire_read_varint(wire, &length) && wire_read_bytes(wire, length, &ret_field->bytes);
    default:
        return false;
    }
}
