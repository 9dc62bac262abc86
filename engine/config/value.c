/* SPDX-License-Identifier: Apache-2.0 */
/* Values as users write them; see the header. Pure functions. */
#include "config/value.h"

#include <pgweir/component.h>

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"

static const struct {
    const char *name;
    uint64_t ns;
} duration_units[] = {
    /* longest names first: "ms" before "m" */
    {"ns", 1},         {"us", NS_PER_US}, {"µs", NS_PER_US},    {"μs", NS_PER_US},
    {"ms", NS_PER_MS}, {"s", NS_PER_S},   {"m", 60 * NS_PER_S}, {"h", 3600 * NS_PER_S},
};

static const struct {
    const char *name;
    int64_t bytes;
} byte_units[] = {
    {"", 1},          {"B", 1},         {"kB", 1000},     {"MB", 1000000}, {"GB", 1000000000},
    {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30},
};

enum {
    DURATION_UNITS = sizeof duration_units / sizeof duration_units[0],
    BYTE_UNITS = sizeof byte_units / sizeof byte_units[0],
};

bool value_parse_bool(const char *text, bool *ret_value)
{
    static const struct {
        const char *text;
        bool value;
    } words[] = {{"true", true},   {"True", true},   {"TRUE", true},
                 {"false", false}, {"False", false}, {"FALSE", false}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(text, words[i].text) == 0) {
            *ret_value = words[i].value;
            return true;
        }
    return false;
}

bool value_parse_int(const char *text, int64_t *ret_value)
{
    char *end;
    if (!isdigit((unsigned char)text[0]) && text[0] != '-' && text[0] != '+')
        return false;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end != 0 || errno != 0)
        return false;
    *ret_value = value;
    return true;
}

bool value_parse_double(const char *text, double *ret_value)
{
    char *end;
    if (strspn(text, "+-.0123456789eE") != strlen(text))
        return false; /* no hexadecimal, infinite or undefined numbers */
    double value = strtod(text, &end);
    if (end == text || *end != 0 || !isfinite(value))
        return false;
    *ret_value = value;
    return true;
}

/* A number with an optional fraction at *at, which moves on. */
static bool take_number(const char **at, long double *ret_number)
{
    char digits[40];
    size_t length = strspn(*at, "0123456789.");
    if (length == 0 || length >= sizeof digits)
        return false;
    memcpy(digits, *at, length);
    digits[length] = 0;
    char *end;
    *ret_number = strtold(digits, &end);
    if (end == digits || *end != 0)
        return false;
    *at += length;
    return true;
}

bool value_parse_duration(const char *text, uint64_t *ret_ns)
{
    long double total_ns = 0;
    const char *at = text;
    if (strcmp(text, "0") == 0) {
        *ret_ns = 0;
        return true;
    }
    do {
        long double number;
        if (!take_number(&at, &number))
            return false;
        size_t unit = 0;
        while (unit < DURATION_UNITS &&
               strncmp(at, duration_units[unit].name, strlen(duration_units[unit].name)) != 0)
            unit++;
        if (unit == DURATION_UNITS)
            return false;
        at += strlen(duration_units[unit].name);
        total_ns += number * (long double)duration_units[unit].ns;
    } while (*at != 0);
    if (total_ns > (long double)INT64_MAX)
        return false;
    *ret_ns = (uint64_t)(total_ns + 0.5L);
    return true;
}

bool value_parse_bytes(const char *text, int64_t *ret_bytes)
{
    const char *at = text;
    long double number;
    if (!take_number(&at, &number))
        return false;
    while (*at == ' ')
        at++;
    for (size_t unit = 0; unit < BYTE_UNITS; unit++) {
        if (strcasecmp(at, byte_units[unit].name) != 0)
            continue;
        number *= (long double)byte_units[unit].bytes;
        if (number > (long double)INT64_MAX)
            return false;
        *ret_bytes = (int64_t)number;
        return true;
    }
    return false;
}

void value_format_duration(uint64_t ns, char text[VALUE_TEXT_BYTES])
{
    static const struct {
        const char *name;
        uint64_t ns;
    } parts[] = {{"h", 3600 * NS_PER_S}, {"m", 60 * NS_PER_S}, {"s", NS_PER_S},
                 {"ms", NS_PER_MS},      {"us", NS_PER_US},    {"ns", 1}};
    size_t used = 0;
    text[0] = 0;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (ns >= parts[i].ns)
            used += (size_t)snprintf(text + used, VALUE_TEXT_BYTES - used, "%" PRIu64 "%s",
                                     ns / parts[i].ns, parts[i].name);
        ns %= parts[i].ns;
    }
    if (used == 0)
        snprintf(text, VALUE_TEXT_BYTES, "0s");
}

void value_format_bytes(int64_t bytes, char text[VALUE_TEXT_BYTES])
{
    for (size_t unit = BYTE_UNITS; unit-- > 0;)
        if (byte_units[unit].bytes >= 1 << 10 && bytes != 0 &&
            bytes % byte_units[unit].bytes == 0) {
            snprintf(text, VALUE_TEXT_BYTES, "%" PRId64 "%s", bytes / byte_units[unit].bytes,
                     byte_units[unit].name);
            return;
        }
    snprintf(text, VALUE_TEXT_BYTES, "%" PRId64, bytes);
}

void value_format_double(double value, char text[VALUE_TEXT_BYTES])
{
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, VALUE_TEXT_BYTES, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            return;
    }
}

static void format_bound(enum option_type type, int64_t bound, char text[VALUE_TEXT_BYTES])
{
    if (type == OPTION_DURATION)
        value_format_duration((uint64_t)bound, text);
    else if (type == OPTION_BYTES)
        value_format_bytes(bound, text);
    else
        snprintf(text, VALUE_TEXT_BYTES, "%" PRId64, bound);
}

void value_format_bounds(const struct option *option, char low[VALUE_TEXT_BYTES],
                         char high[VALUE_TEXT_BYTES])
{
    format_bound(option->type, option->min, low);
    format_bound(option->type, option->max, high);
}
