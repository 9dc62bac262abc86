/* SPDX-License-Identifier: Apache-2.0 */
/* Step 5 of 9, the cells of type numeric: what sum(bigint), WAL bytes and pg_stat_io's bytes come
 * as. So integers are exact over all of int64, and fractions are rounded once, correctly.
 *
 *   int16 count | int16 weight | uint16 sign | uint16 scale | count × int16 digit (0 … 9999)
 *
 * value = Σ digit[i] × 10000^(weight − i); digits beyond `count` are 0; `scale` is how many
 * decimals are shown.
 *
 * Pure functions; any thread. Locale-free: strtod() sees digits and an exponent.
 * Source: PostgreSQL, src/backend/utils/adt/numeric.c, numeric_send(). */
#include "pg/numeric.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "pg/cell.h"

enum {
    NUMERIC_HEADER = 8,
    NUMERIC_POSITIVE = 0,
    NUMERIC_NEGATIVE = 0x4000,
    NUMERIC_SCALE = 0x3fff
};

struct numeric {
    int count, weight, scale;
    bool negative;
    const uint8_t *digits;
};

/* False for NaN, infinities and what is not a numeric. */
static bool numeric_read(struct numeric *numeric, const uint8_t *cell, size_t bytes)
{
    if (bytes < NUMERIC_HEADER)
        return false;
    *numeric = (struct numeric){
        .count = load16(cell),
        .weight = (int16_t)load16(cell + 2),
        .scale = load16(cell + 6) & NUMERIC_SCALE,
        .negative = load16(cell + 4) == NUMERIC_NEGATIVE,
        .digits = cell + NUMERIC_HEADER,
    };
    if (!numeric->negative && load16(cell + 4) != NUMERIC_POSITIVE)
        return false;
    if (bytes != NUMERIC_HEADER + 2 * (size_t)numeric->count)
        return false;
    for (int i = 0; i < numeric->count; i++)
        if (load16(numeric->digits + 2 * i) > 9999)
            return false;
    while (numeric->count > 0 && load16(numeric->digits) == 0) { /* leading zeros */
        numeric->digits += 2;
        numeric->count--;
        numeric->weight--;
    }
    return true;
}

static unsigned numeric_digit(const struct numeric *numeric, int index)
{
    return index >= 0 && index < numeric->count ? load16(numeric->digits + 2 * index) : 0;
}

bool numeric_int(const uint8_t *cell, size_t bytes, int64_t *ret_value)
{
    struct numeric numeric;
    if (!numeric_read(&numeric, cell, bytes))
        return false;
    uint64_t magnitude = 0;
    /* 10000^5 > 2^64, so a first digit of weight 5 cannot fit */
    if (numeric.count > 0 && numeric.weight > 4)
        return false;
    for (int i = 0; numeric.count > 0 && i <= numeric.weight; i++)
        if (__builtin_mul_overflow(magnitude, 10000u, &magnitude) ||
            __builtin_add_overflow(magnitude, numeric_digit(&numeric, i), &magnitude))
            return false;
    /* half away from zero, as PostgreSQL */
    if (numeric.weight >= -1 && numeric_digit(&numeric, numeric.weight + 1) >= 5000 &&
        ++magnitude == 0)
        return false;
    if (magnitude > (uint64_t)INT64_MAX + numeric.negative)
        return false;
    *ret_value = (int64_t)(numeric.negative ? 0 - magnitude : magnitude);
    return true;
}

/* Digits as one integer and an exponent of ten, through strtod() for the one correct rounding. 200
 * groups are 797 or more decimal digits, past which only "is there more" matters. */
static double numeric_round(const struct numeric *numeric)
{
    enum { GROUPS_MAX = 200 };
    char text[4 * GROUPS_MAX + 32];
    size_t used = 0;
    int taken = numeric->count < GROUPS_MAX ? numeric->count : GROUPS_MAX;
    for (int i = 0; i < taken; i++)
        used +=
            (size_t)snprintf(text + used, sizeof text - used, "%04u", numeric_digit(numeric, i));
    int exponent = 4 * (numeric->weight - (taken - 1));
    bool more = numeric->count > taken;
    snprintf(text + used, sizeof text - used, "%se%d", more ? "1" : "", exponent - more);
    return strtod(text, NULL);
}

bool numeric_double(const uint8_t *cell, size_t bytes, double *ret_value)
{
    /* powers of ten that are exact in a double */
    static const double powers[] = {1e0, 1e4, 1e8, 1e12, 1e16, 1e20};
    struct numeric numeric;
    if (!numeric_read(&numeric, cell, bytes))
        return false;
    double value;
    int shift = numeric.weight - (numeric.count - 1); /* of the last digit, in base 10000 */
    uint64_t mantissa = 0;
    if (numeric.count <= 4) /* < 10^16; exact below 2^53 */
        for (int i = 0; i < numeric.count; i++)
            mantissa = mantissa * 10000 + numeric_digit(&numeric, i);
    if (numeric.count == 0)
        value = 0;
    else if (numeric.count <= 4 && mantissa <= 1ull << 53 && shift >= -5 && shift <= 5)
        /* both operands exact, so the one operation rounds correctly */
        value = shift < 0 ? (double)mantissa / powers[-shift] : (double)mantissa * powers[shift];
    else
        value = numeric_round(&numeric);
    *ret_value = numeric.negative ? -value : value;
    return isfinite(value);
}

bool numeric_text(const uint8_t *cell, size_t bytes, char buffer[VALUE_TEXT_BYTES],
                  const char **ret_text, size_t *ret_bytes)
{
    struct numeric numeric;
    if (!numeric_read(&numeric, cell, bytes))
        return false;
    size_t used = 0, room = VALUE_TEXT_BYTES - 8; /* a group, a point and a NUL always fit */
    bool whole = numeric.count > 0 && numeric.weight >= 0;
    if (numeric.negative && numeric.count > 0)
        buffer[used++] = '-';
    used += (size_t)snprintf(buffer + used, 8, "%u", whole ? numeric_digit(&numeric, 0) : 0);
    for (int i = 1; whole && i <= numeric.weight && used < room; i++)
        used += (size_t)snprintf(buffer + used, 8, "%04u", numeric_digit(&numeric, i));
    if (numeric.scale > 0 && used < room) {
        buffer[used++] = '.';
        size_t end = used + (size_t)numeric.scale;
        for (int i = numeric.weight + 1 - (numeric.count == 0 ? numeric.weight + 1 : 0);
             used < end && used < room; i++)
            used += (size_t)snprintf(buffer + used, 8, "%04u", numeric_digit(&numeric, i));
        used = used < end ? used : end;
    }
    *ret_text = buffer;
    *ret_bytes = used;
    return true;
}
