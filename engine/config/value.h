/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct option;

/* Values as users write them and back. Parsers take the whole text or refuse it. */

/* true, True, TRUE, false, … (YAML 1.2 core schema). */
bool value_parse_bool(const char *text, bool *ret_value);

bool value_parse_int(const char *text, int64_t *ret_value);
bool value_parse_double(const char *text, double *ret_value);

/* Go's time.ParseDuration without a sign: "1h30m", "1.5s", "250ms", "0". */
bool value_parse_duration(const char *text, uint64_t *ret_ns);

/* "1048576", "64MiB", "1MB", "10 kB": decimal and binary multiples. */
bool value_parse_bytes(const char *text, int64_t *ret_bytes);

/* Enough for any of the texts below. */
enum { VALUE_TEXT_BYTES = 64 };

void value_format_duration(uint64_t ns, char text[VALUE_TEXT_BYTES]);
void value_format_bytes(int64_t bytes, char text[VALUE_TEXT_BYTES]);
void value_format_double(double value, char text[VALUE_TEXT_BYTES]);

/* min and max of a number, as a user would write them. */
void value_format_bounds(const struct option *option, char low[VALUE_TEXT_BYTES],
                         char high[VALUE_TEXT_BYTES]);
