/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines are built in a fixed buffer and leave in one write(2), so threads never mix theirs.
 * A line that does not fit is cut. Under journald each line starts with its priority. */
#include "base/log.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

enum { LINE_BYTES = 4096 };

static _Atomic int configured_level = LOG_LEVEL_INFO;
static _Atomic int configured_format = LOG_FORMAT_TEXT;

static const struct {
    const char *name, *journal;
} levels[] = {
    [LOG_LEVEL_DEBUG] = {"debug", "<7>"},
    [LOG_LEVEL_INFO] = {"info", "<6>"},
    [LOG_LEVEL_WARN] = {"warn", "<4>"},
    [LOG_LEVEL_ERROR] = {"error", "<3>"},
};

struct line {
    size_t used;
    char text[LINE_BYTES];
};

static void put(struct line *line, const char *text, size_t bytes)
{
    size_t room = sizeof line->text - 4 - line->used;
    if (bytes > room)
        bytes = room;
    memcpy(line->text + line->used, text, bytes);
    line->used += bytes;
}

static void put_text(struct line *line, const char *text)
{
    put(line, text, strlen(text));
}

static void put_quoted(struct line *line, const char *text)
{
    put(line, "\"", 1);
    for (const unsigned char *c = (const unsigned char *)text; *c != 0; c++) {
        char escaped[8];
        if (*c == '"' || *c == '\\')
            put(line, escaped, (size_t)snprintf(escaped, sizeof escaped, "\\%c", *c));
        else if (*c == '\n')
            put(line, "\\n", 2);
        else if (*c < 0x20)
            put(line, escaped, (size_t)snprintf(escaped, sizeof escaped, "\\u%04x", *c));
        else
            put(line, (const char *)c, 1);
    }
    put(line, "\"", 1);
}

static bool plain(const char *text)
{
    return *text != 0 && strpbrk(text, " \"=\\\n\t\r") == NULL;
}

static void put_field(struct line *line, const struct log_field *field, bool json)
{
    char number[32];
    put_text(line, json ? "," : " ");
    if (json)
        put_quoted(line, field->key);
    else
        put_text(line, field->key);
    put(line, json ? ":" : "=", 1);
    if (field->text == NULL)
        put(line, number,
            (size_t)snprintf(number, sizeof number, "%lld", (long long)field->number));
    else if (!json && plain(field->text))
        put_text(line, field->text);
    else
        put_quoted(line, field->text);
}

void log_configure(enum log_level level, enum log_format format)
{
    atomic_store(&configured_level, (int)level);
    atomic_store(&configured_format, (int)format);
}

bool log_enabled(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&configured_level, memory_order_relaxed);
}

void log_write(enum log_level level, const char *component, const char *message,
               const struct log_field *fields, size_t field_count)
{
    if (!log_enabled(level))
        return;
    bool json = atomic_load_explicit(&configured_format, memory_order_relaxed) == LOG_FORMAT_JSON;
    uint64_t now_ns = clock_wall_ns();
    time_t seconds = (time_t)(now_ns / NS_PER_S);
    struct tm utc;
    char stamp[32], millis[8];
    gmtime_r(&seconds, &utc);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(millis, sizeof millis, ".%03uZ", (unsigned)(now_ns / NS_PER_MS % 1000));

    struct line line;
    line.used = 0;
    if (getenv("JOURNAL_STREAM") != NULL)
        put_text(&line, levels[level].journal);
    put_text(&line, json ? "{\"level\":\"" : "");
    put_text(&line, json ? levels[level].name : "");
    put_text(&line, json ? "\",\"ts\":\"" : "");
    put_text(&line, stamp);
    put_text(&line, millis);
    if (json) {
        put_text(&line, "\",\"component\":");
        put_quoted(&line, component);
        put_text(&line, ",\"msg\":");
        put_quoted(&line, message);
    } else {
        put_text(&line, " ");
        put_text(&line, levels[level].name);
        put_text(&line, " ");
        put_text(&line, component);
        put_text(&line, ": ");
        put_text(&line, message);
    }
    for (size_t i = 1; i < field_count; i++)
        put_field(&line, &fields[i], json);
    if (json)
        line.text[line.used++] = '}';
    line.text[line.used++] = '\n';
    ssize_t written = write(STDERR_FILENO, line.text, line.used);
    (void)written; /* nobody to tell when the log itself is gone */
}
