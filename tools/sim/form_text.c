/* SPDX-License-Identifier: Apache-2.0 */
/* PostgreSQL's text format of the types that forms make, from their binary cells: what psql shows.
 * extra_float_digits is taken to be 1, TimeZone UTC and DateStyle ISO, as recordings are made. */
#include "tools/sim/form_data.h"

#include <arpa/inet.h>
#include <endian.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>

enum { INT8_CHARS = 20, FLOAT8_CHARS = 24, TIME_CHARS = 35, NULL_CHARS = 4 };
enum {
    OID_BOOL = 16,
    OID_INT8 = 20,
    OID_INT4 = 23,
    OID_FLOAT8 = 701,
    OID_TIMESTAMPTZ = 1184,
    OID_INT8_ARRAY = 1016,
    OID_FLOAT8_ARRAY = 1022,
    ARRAY_HEADER_BYTES = 20,
};

static uint32_t load32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return ntohl(value);
}

static uint64_t load64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return be64toh(value);
}

/* Exactly between two numbers: PostgreSQL does not take it to be either. */
static bool is_halfway(const char *digits, double value)
{
    long double exact = strtold(digits, NULL), at = value;
    return exact == (at + nextafter(value, HUGE_VAL)) / 2 ||
           exact == (at + nextafter(value, -HUGE_VAL)) / 2;
}

/* Fewest digits that read back the same, as "d.ddde±xx"; the smallest numbers have less than 15. */
static void shortest(double value, char digits[static 32])
{
    for (int precision = fabs(value) < 1e-290 ? 0 : 14; precision <= 16; precision++) {
        snprintf(digits, 32, "%.*e", precision, value);
        if (strtod(digits, NULL) == value && !is_halfway(digits, value))
            return;
    }
}

/* float8out: plain between 1e-4 and 1e15, else with an exponent; no zeros at the end. */
static size_t real_text(double value, char *to)
{
    if (isnan(value) || isinf(value))
        return (size_t)sprintf(to, "%s",
                               isnan(value) ? "NaN"
                               : value < 0  ? "-Infinity"
                                            : "Infinity");
    char text[32], digits[20] = "";
    shortest(value, text);
    char *mark = strchr(text, 'e');
    int exponent = atoi(mark + 1), count = 0;
    for (const char *c = text; c < mark; c++)
        if (*c >= '0' && *c <= '9')
            digits[count++] = *c;
    while (count > 1 && digits[count - 1] == '0')
        count--;
    char *at = to;
    if (*text == '-')
        *at++ = '-';
    if (exponent < -4 || exponent >= 15) {
        at += sprintf(at, count > 1 ? "%c.%.*s" : "%c", digits[0], count - 1, digits + 1);
        return (size_t)(at - to + sprintf(at, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent)));
    }
    for (int place = exponent < 0 ? 0 : exponent; place > exponent - count || place >= 0; place--) {
        if (place == -1)
            *at++ = '.';
        int digit = exponent - place;
        *at++ = digit >= 0 && digit < count ? digits[digit] : '0';
    }
    return (size_t)(at - to);
}

static size_t time_text(int64_t us, char *to)
{
    if (us == INT64_MAX || us == INT64_MIN)
        return (size_t)sprintf(to, us < 0 ? "-infinity" : "infinity");
    int64_t micros = (us % 1000000 + 1000000) % 1000000;
    time_t seconds = (us - micros) / 1000000 + 946684800;
    struct tm tm;
    if (!gmtime_r(&seconds, &tm))
        return (size_t)sprintf(to, "infinity");
    int year = tm.tm_year + 1900;
    size_t bytes = (size_t)sprintf(to, "%04d-%02d-%02d %02d:%02d:%02d", year > 0 ? year : 1 - year,
                                   tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
    if (micros) {
        bytes += (size_t)sprintf(to + bytes, ".%06d", (int)micros);
        while (to[bytes - 1] == '0')
            bytes--;
    }
    return bytes + (size_t)sprintf(to + bytes, year > 0 ? "+00" : "+00 BC");
}

static size_t number_text(bool real, const uint8_t *cell, char *to)
{
    uint64_t bits = load64(cell);
    if (!real)
        return (size_t)sprintf(to, "%lld", (long long)bits);
    double value;
    memcpy(&value, &bits, sizeof value);
    return real_text(value, to);
}

/* {1,NULL,3}: of arrays with one dimension, as forms make them. */
static size_t array_text(bool real, const uint8_t *cell, uint32_t bytes, char *to)
{
    const uint8_t *at = cell + ARRAY_HEADER_BYTES, *end = cell + bytes;
    char *out = to;
    *out++ = '{';
    while (at < end) {
        bool null = load32(at) == UINT32_MAX;
        if (out > to + 1)
            *out++ = ',';
        at += 4;
        out += null ? (size_t)sprintf(out, "NULL") : number_text(real, at, out);
        at += null ? 0 : 8;
    }
    *out++ = '}';
    return (size_t)(out - to);
}

size_t form_text_cell(uint32_t oid, const uint8_t *cell, uint32_t bytes, char *to)
{
    switch (oid) {
    case OID_BOOL:
        *to = *cell ? 't' : 'f';
        return 1;
    case OID_INT4:
        return (size_t)sprintf(to, "%d", (int32_t)load32(cell));
    case OID_INT8:
    case OID_FLOAT8:
        return number_text(oid == OID_FLOAT8, cell, to);
    case OID_TIMESTAMPTZ:
        return time_text((int64_t)load64(cell), to);
    case OID_INT8_ARRAY:
    case OID_FLOAT8_ARRAY:
        return array_text(oid == OID_FLOAT8_ARRAY, cell, bytes, to);
    default: /* text and its kin: the same bytes */
        memcpy(to, cell, bytes);
        return bytes;
    }
}

/* sprintf() writes a NUL behind what counts: one more. */
size_t form_text_bound(uint32_t oid, uint32_t bytes)
{
    switch (oid) {
    case OID_BOOL:
    case OID_INT4:
    case OID_INT8:
        return INT8_CHARS + 1;
    case OID_FLOAT8:
        return FLOAT8_CHARS + 1;
    case OID_TIMESTAMPTZ:
        return TIME_CHARS + 1;
    case OID_INT8_ARRAY:
    case OID_FLOAT8_ARRAY: /* a NULL: 4 bytes, 5 characters; a number: 12 bytes, 25 characters */
        return bytes < ARRAY_HEADER_BYTES ? 3 : 3 + (size_t)(bytes - ARRAY_HEADER_BYTES) / 4 * 9;
    default:
        return bytes;
    }
}
