/* SPDX-License-Identifier: Apache-2.0 */
/* Step 5 of 9, the cells. The binary format is big-endian and fixed per type; it has not changed
 * since PostgreSQL 7.4. Integers and floats are one load and a byte swap; numeric.c has the
 * rest of the arithmetic.
 *
 * Pure functions; any thread.
 * Source: PostgreSQL, src/backend/utils/adt, the *_send() functions. */
#include "pg/value.h"

#include <arpa/inet.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/check.h"
#include "pg/cell.h"
#include "pg/numeric.h"

/* pg_type.dat: fixed for all versions. */
enum type_oid {
    OID_BOOL = 16,
    OID_CHAR = 18,
    OID_NAME = 19,
    OID_INT8 = 20,
    OID_INT2 = 21,
    OID_INT4 = 23,
    OID_TEXT = 25,
    OID_OID = 26,
    OID_XID = 28,
    OID_CID = 29,
    OID_JSON = 114,
    OID_CIDR = 650,
    OID_FLOAT4 = 700,
    OID_FLOAT8 = 701,
    OID_UNKNOWN = 705,
    OID_INET = 869,
    OID_BPCHAR = 1042,
    OID_VARCHAR = 1043,
    OID_TIMESTAMP = 1114,
    OID_TIMESTAMPTZ = 1184,
    OID_INTERVAL = 1186,
    OID_NUMERIC = 1700,
    OID_UUID = 2950,
    OID_PG_LSN = 3220,
    OID_XID8 = 5069,
};

#define POSTGRES_EPOCH_US 946684800000000ll /* 2000-01-01 in µs since 1970 */

/* The nearest integer, ties to even as in PostgreSQL's cast. */
static bool round_to_int(double value, int64_t *ret_value)
{
    value = rint(value);
    if (!(value >= -0x1p63 && value < 0x1p63)) /* false for NaN as well */
        return false;
    *ret_value = (int64_t)value;
    return true;
}

static bool print(char *buffer, const char **ret_text, size_t *ret_bytes, int printed)
{
    CHECK(printed >= 0 && printed < VALUE_TEXT_BYTES);
    *ret_text = buffer;
    *ret_bytes = (size_t)printed;
    return true;
}

/* Shortest decimal that reads back as the same number. */
static bool print_real(double value, bool single, char *buffer, const char **ret_text,
                       size_t *ret_bytes)
{
    int printed = 0;
    for (int digits = single ? 6 : 15; digits <= (single ? 9 : 17); digits++) {
        printed = snprintf(buffer, VALUE_TEXT_BYTES, "%.*g", digits, value);
        double back = strtod(buffer, NULL);
        if (single ? (float)back == (float)value : back == value)
            break;
    }
    return print(buffer, ret_text, ret_bytes, printed);
}

/* ---- integers ---- */

/* The three decoders of a type that is an integer of fixed size and fits int64. */
#define INTEGER(name, size, load, type, format)                                                    \
    static bool name##_int(const uint8_t *cell, size_t bytes, int64_t *ret_value)                  \
    {                                                                                              \
        if (bytes != (size))                                                                       \
            return false;                                                                          \
        *ret_value = (type)load(cell);                                                             \
        return true;                                                                               \
    }                                                                                              \
    static bool name##_double(const uint8_t *cell, size_t bytes, double *ret_value)                \
    {                                                                                              \
        if (bytes != (size))                                                                       \
            return false;                                                                          \
        *ret_value = (double)(type)load(cell);                                                     \
        return true;                                                                               \
    }                                                                                              \
    static bool name##_text(const uint8_t *cell, size_t bytes, char buffer[VALUE_TEXT_BYTES],      \
                            const char **ret_text, size_t *ret_bytes)                              \
    {                                                                                              \
        return bytes == (size) &&                                                                  \
               print(buffer, ret_text, ret_bytes,                                                  \
                     snprintf(buffer, VALUE_TEXT_BYTES, format, (type)load(cell)));                \
    }

INTEGER(int2, 2, load16, int16_t, "%d")
INTEGER(int4, 4, load32, int32_t, "%d")
INTEGER(int8, 8, load64, int64_t, "%ld")
INTEGER(uint4, 4, load32, uint32_t, "%u")

static bool uint8_int(const uint8_t *cell, size_t bytes, int64_t *ret_value)
{
    return int8_int(cell, bytes, ret_value) && *ret_value >= 0;
}

static bool uint8_double(const uint8_t *cell, size_t bytes, double *ret_value)
{
    if (bytes != 8)
        return false;
    *ret_value = (double)load64(cell);
    return true;
}

static bool uint8_text(const uint8_t *cell, size_t bytes, char buffer[VALUE_TEXT_BYTES],
                       const char **ret_text, size_t *ret_bytes)
{
    return bytes == 8 && print(buffer, ret_text, ret_bytes,
                               snprintf(buffer, VALUE_TEXT_BYTES, "%lu", load64(cell)));
}

static bool bool_int(const uint8_t *cell, size_t bytes, int64_t *ret_value)
{
    if (bytes != 1)
        return false;
    *ret_value = cell[0] != 0;
    return true;
}

static bool bool_double(const uint8_t *cell, size_t bytes, double *ret_value)
{
    if (bytes != 1)
        return false;
    *ret_value = cell[0] != 0;
    return true;
}

static bool bool_text(const uint8_t *cell, size_t bytes, char buffer[VALUE_TEXT_BYTES],
                      const char **ret_text, size_t *ret_bytes)
{
    return bytes == 1 &&
           print(buffer, ret_text, ret_bytes,
                 snprintf(buffer, VALUE_TEXT_BYTES, "%s", cell[0] != 0 ? "true" : "false"));
}

static bool lsn_text(const uint8_t *cell, size_t bytes, char buffer[VALUE_TEXT_BYTES],
                     const char **ret_text, size_t *ret_bytes)
{
    return bytes == 8 &&
           print(buffer, ret_text, ret_bytes,
                 snprintf(buffer, VALUE_TEXT_BYTES, "%X/%X", load32(cell), load32(cell + 4)));
}

/* ---- floating point ---- */

static bool float4_double(const uint8_t *cell, size_t bytes, double *ret_value)
{
    if (bytes != 4)
        return false;
    uint32_t bits = load32(cell);
    float value;
    memcpy(&value, &bits, sizeof value);
    *ret_value = (double)value;
    return isfinite(value);
}

static bool float8_double(const uint8_t *cell, size_t bytes, double *ret_value)
{
    if (bytes != sizeof *ret_value)
        return false;
    return load_finite(cell, ret_value);
}

static bool float4_int(const uint8_t *cell, size_t bytes, int64_t *ret_value)
{
    double value;
    return float4_double(cell, bytes, &value) && round_to_int(value, ret_value);
}

static bool float8_int(const uint8_t *cell, size_t bytes, int64_t *ret_value)
{
    double value;
    return float8_double(cell, bytes, &value) && round_to_int(value, ret_value);
}

static bool float4_text(const uint8_t *cell, size_t bytes, char buffer[VALUE_TEXT_BYTES],
                        const char **ret_text, size_t *ret_bytes)
{
    double value;
    return float4_double(cell, bytes, &value) &&
           print_real(value, true, buffer, ret_text, ret_bytes);
}

static bool float8_text(const uint8_t *cell, size_t bytes, char buffer[VALUE_TEXT_BYTES],
                        const char **ret_text, size_t *ret_bytes)
{
    double value;
    return float8_double(cell, bytes, &value) &&
           print_real(value, false, buffer, ret_text, ret_bytes);
}

/* ---- time ---- */

static bool time_int(const uint8_t *cell, size_t bytes, int64_t *ret_value)
{
    if (bytes != 8)
        return false;
    int64_t us =
        (int64_t)load64(cell); /* INT64_MIN, INT64_MAX: -infinity, infinity; they overflow */
    return !__builtin_add_overflow(us, POSTGRES_EPOCH_US, &us) &&
           !__builtin_mul_overflow(us, 1000ll, ret_value);
}

static bool time_double(const uint8_t *cell, size_t bytes, double *ret_value)
{
    int64_t value;
    if (!time_int(cell, bytes, &value))
        return false;
    *ret_value = (double)value;
    return true;
}

static bool print_time(const uint8_t *cell, const char *zone, char *buffer, const char **ret_text,
                       size_t *ret_bytes)
{
    int64_t us = (int64_t)load64(cell);
    if (us == INT64_MAX || us == INT64_MIN)
        return print(buffer, ret_text, ret_bytes,
                     snprintf(buffer, VALUE_TEXT_BYTES, "%sinfinity", us < 0 ? "-" : ""));
    int64_t micros = ((us % 1000000) + 1000000) % 1000000;
    time_t seconds = us / 1000000 - (us < 0 && micros != 0) + POSTGRES_EPOCH_US / 1000000;
    struct tm tm;
    if (gmtime_r(&seconds, &tm) == NULL)
        return false;
    long year = tm.tm_year + 1900l;
    char fraction[16] = "";
    if (micros != 0) {
        int end = snprintf(fraction, sizeof fraction, ".%06d", (int)micros);
        while (fraction[end - 1] == '0')
            fraction[--end] = '\0';
    }
    return print(buffer, ret_text, ret_bytes,
                 snprintf(buffer, VALUE_TEXT_BYTES, "%04ld-%02d-%02d %02d:%02d:%02d%s%s%s",
                          year > 0 ? year : 1 - year, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
                          tm.tm_min, tm.tm_sec, fraction, zone, year > 0 ? "" : " BC"));
}

static bool timestamp_text(const uint8_t *cell, size_t bytes, char buffer[VALUE_TEXT_BYTES],
                           const char **ret_text, size_t *ret_bytes)
{
    return bytes == 8 && print_time(cell, "", buffer, ret_text, ret_bytes);
}

static bool timestamptz_text(const uint8_t *cell, size_t bytes, char buffer[VALUE_TEXT_BYTES],
                             const char **ret_text, size_t *ret_bytes)
{
    return bytes == 8 && print_time(cell, "+00", buffer, ret_text, ret_bytes);
}

/* int64 µs | int32 days | int32 months; a year counts 365.25 days, a month 30, as EXTRACT(EPOCH) */
static bool interval_double(const uint8_t *cell, size_t bytes, double *ret_value)
{
    if (bytes != 16)
        return false;
    int64_t us = (int64_t)load64(cell);
    int32_t days = (int32_t)load32(cell + 8), months = (int32_t)load32(cell + 12);
    if ((us == INT64_MAX && days == INT32_MAX && months == INT32_MAX) ||
        (us == INT64_MIN && days == INT32_MIN && months == INT32_MIN))
        return false; /* infinite, from PostgreSQL 17 on */
    int64_t day_seconds = (months / 12) * 31557600ll + (months % 12) * 2592000ll + days * 86400ll;
    *ret_value = (double)(day_seconds + us / 1000000) + (double)(us % 1000000) / 1e6;
    return true;
}

static bool interval_int(const uint8_t *cell, size_t bytes, int64_t *ret_value)
{
    double value;
    return interval_double(cell, bytes, &value) && round_to_int(value, ret_value);
}

static bool interval_text(const uint8_t *cell, size_t bytes, char buffer[VALUE_TEXT_BYTES],
                          const char **ret_text, size_t *ret_bytes)
{
    double value;
    return interval_double(cell, bytes, &value) &&
           print_real(value, false, buffer, ret_text, ret_bytes);
}

/* ---- text ---- */

static bool text_text(const uint8_t *cell, size_t bytes, char buffer[VALUE_TEXT_BYTES],
                      const char **ret_text, size_t *ret_bytes)
{
    (void)buffer;
    *ret_text = (const char *)cell;
    *ret_bytes = bytes;
    return true;
}

/* One byte; 0 reads as the empty text. */
static bool char_text(const uint8_t *cell, size_t bytes, char buffer[VALUE_TEXT_BYTES],
                      const char **ret_text, size_t *ret_bytes)
{
    (void)buffer;
    *ret_text = (const char *)cell;
    *ret_bytes = bytes == 1 && cell[0] != 0;
    return bytes == 1;
}

static bool uuid_text(const uint8_t *cell, size_t bytes, char buffer[VALUE_TEXT_BYTES],
                      const char **ret_text, size_t *ret_bytes)
{
    if (bytes != 16)
        return false;
    size_t used = 0;
    for (size_t i = 0; i < 16; i++)
        used += (size_t)snprintf(buffer + used, 8, "%s%02x",
                                 i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", cell[i]);
    *ret_text = buffer;
    *ret_bytes = used;
    return true;
}

/* uint8 family (2: IPv4, 3: IPv6) | uint8 prefix bits | uint8 is cidr | uint8 size | address */
static bool inet_text(const uint8_t *cell, size_t bytes, char buffer[VALUE_TEXT_BYTES],
                      const char **ret_text, size_t *ret_bytes)
{
    if (bytes < 4 || bytes != 4u + cell[3] ||
        !((cell[0] == 2 && cell[3] == 4) || (cell[0] == 3 && cell[3] == 16)))
        return false;
    if (inet_ntop(cell[0] == 2 ? AF_INET : AF_INET6, cell + 4, buffer, INET6_ADDRSTRLEN) == NULL)
        return false;
    size_t used = strlen(buffer);
    if (cell[2] != 0 || cell[1] != 8 * cell[3]) /* a network, or a host with a prefix */
        used += (size_t)snprintf(buffer + used, 8, "/%u", cell[1]);
    *ret_text = buffer;
    *ret_bytes = used;
    return true;
}

/* ---- the table ---- */

static const struct value_type types[] = {
    {OID_INT8, int8_int, int8_double, int8_text, false},
    {OID_INT4, int4_int, int4_double, int4_text, false},
    {OID_INT2, int2_int, int2_double, int2_text, false},
    {OID_FLOAT8, float8_int, float8_double, float8_text, false},
    {OID_NUMERIC, numeric_int, numeric_double, numeric_text, false},
    {OID_TEXT, NULL, NULL, text_text, false},
    {OID_NAME, NULL, NULL, text_text, false},
    {OID_BOOL, bool_int, bool_double, bool_text, false},
    {OID_OID, uint4_int, uint4_double, uint4_text, false},
    {OID_XID, uint4_int, uint4_double, uint4_text, false},
    {OID_CID, uint4_int, uint4_double, uint4_text, false},
    {OID_XID8, uint8_int, uint8_double, uint8_text, false},
    {OID_PG_LSN, uint8_int, uint8_double, lsn_text, false},
    {OID_FLOAT4, float4_int, float4_double, float4_text, false},
    {OID_TIMESTAMPTZ, time_int, time_double, timestamptz_text, true},
    {OID_TIMESTAMP, time_int, time_double, timestamp_text, true},
    {OID_INTERVAL, interval_int, interval_double, interval_text, false},
    {OID_VARCHAR, NULL, NULL, text_text, false},
    {OID_BPCHAR, NULL, NULL, text_text, false},
    {OID_UNKNOWN, NULL, NULL, text_text, false},
    {OID_JSON, NULL, NULL, text_text, false},
    {OID_CHAR, NULL, NULL, char_text, false},
    {OID_UUID, NULL, NULL, uuid_text, false},
    {OID_INET, NULL, NULL, inet_text, false},
    {OID_CIDR, NULL, NULL, inet_text, false},
};

const struct value_type *value_type(uint32_t oid)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (types[i].oid == oid)
            return &types[i];
    return NULL;
}
