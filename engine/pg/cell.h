/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Big-endian loads from a cell, which is aligned to nothing. */
static inline uint16_t load16(const uint8_t *cell)
{
    uint16_t value;
    memcpy(&value, cell, sizeof value);
    return __builtin_bswap16(value);
}

static inline uint32_t load32(const uint8_t *cell)
{
    uint32_t value;
    memcpy(&value, cell, sizeof value);
    return __builtin_bswap32(value);
}

static inline uint64_t load64(const uint8_t *cell)
{
    uint64_t value;
    memcpy(&value, cell, sizeof value);
    return __builtin_bswap64(value);
}

/* A float8; false where it is infinite or no number: its exponent is all ones. */
static inline bool load_finite(const uint8_t *cell, double *ret_value)
{
    const uint64_t exponent = 0x7ffull << 52;
    uint64_t bits = load64(cell);
    memcpy(ret_value, &bits, sizeof bits);
    return (bits & exponent) != exponent;
}
