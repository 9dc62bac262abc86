/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Reading and writing the fields of protocol messages: big-endian numbers and NUL-ended texts.
 * A reader that meets the end early stays `bad` and gives zeroes. */
struct wire {
    const uint8_t *at, *end;
    bool bad;
};

static inline struct wire wire_of(const uint8_t *bytes, size_t count)
{
    return (struct wire){bytes, bytes + count, false};
}

static inline const uint8_t *wire_take(struct wire *wire, size_t count)
{
    if (wire->bad || (size_t)(wire->end - wire->at) < count) {
        wire->bad = true;
        return NULL;
    }
    const uint8_t *bytes = wire->at;
    wire->at += count;
    return bytes;
}

static inline uint16_t wire_get16(const uint8_t *from)
{
    return (uint16_t)(from[0] << 8 | from[1]);
}

static inline uint32_t wire_get32(const uint8_t *from)
{
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static inline uint8_t wire_u8(struct wire *wire)
{
    const uint8_t *bytes = wire_take(wire, 1);
    return bytes == NULL ? 0 : bytes[0];
}

static inline uint16_t wire_u16(struct wire *wire)
{
    const uint8_t *bytes = wire_take(wire, 2);
    return bytes == NULL ? 0 : wire_get16(bytes);
}

static inline uint32_t wire_u32(struct wire *wire)
{
    const uint8_t *bytes = wire_take(wire, 4);
    return bytes == NULL ? 0 : wire_get32(bytes);
}

/* "" when bad; *ret_bytes is its length without the NUL. */
static inline const char *wire_text(struct wire *wire, size_t *ret_bytes)
{
    const uint8_t *end = NULL;
    if (!wire->bad && wire->end > wire->at)
        end = memchr(wire->at, 0, (size_t)(wire->end - wire->at));
    if (end == NULL) {
        wire->bad = true;
        *ret_bytes = 0;
        return "";
    }
    const char *text = (const char *)wire->at;
    *ret_bytes = (size_t)(end - wire->at);
    wire->at = end + 1;
    return text;
}

static inline uint8_t *wire_put16(uint8_t *to, uint16_t value)
{
    to[0] = (uint8_t)(value >> 8);
    to[1] = (uint8_t)value;
    return to + 2;
}

static inline uint8_t *wire_put32(uint8_t *to, uint32_t value)
{
    to[0] = (uint8_t)(value >> 24);
    to[1] = (uint8_t)(value >> 16);
    to[2] = (uint8_t)(value >> 8);
    to[3] = (uint8_t)value;
    return to + 4;
}
