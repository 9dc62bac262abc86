/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Structured log on stderr, one line per event in one write: text (logfmt) or JSON with the
 * Collector's keys (level, ts, msg). Any thread. Never given a credential. Library code returns
 * errors; only engine and worker decide what is worth a line. */
enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

struct log_field {
    const char *key;
    const char *text; /* NULL: the number counts */
    int64_t number;
};

#define LOG_TEXT(key, text)     ((struct log_field){(key), (text), 0})
#define LOG_NUMBER(key, number) ((struct log_field){(key), NULL, (int64_t)(number)})

/* LOG(LOG_LEVEL_INFO, "conn", "connected", LOG_TEXT("target", name), LOG_NUMBER("port", 5432)) */
#define LOG(level, component, message, ...)                                                        \
    log_write((level), (component), (message), (const struct log_field[]){{0}, ##__VA_ARGS__},     \
              sizeof((const struct log_field[]){{0}, ##__VA_ARGS__}) / sizeof(struct log_field))

void log_configure(enum log_level level, enum log_format format);
bool log_enabled(enum log_level level);

/* `fields[0]` is skipped: it lets the macro work with no field at all. */
void log_write(enum log_level level, const char *component, const char *message,
               const struct log_field *fields, size_t field_count);
