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
#include "base/utf8.h"

enum {
    LINE_BYTES = 4096,
    TAIL_BYTES = 4,       /* brace and newline */
    FIELD_BYTES_MIN = 32, /* quotes, separators, a number or the start of a text */
};

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

static size_t room(const struct line *line)
{
    return sizeof line->text - TAIL_BYTES - line->used;
}

static void put(struct line *line, const char *text, size_t bytes)
{
    if (bytes > room(line))
        bytes = room(line);
    memcpy(line->text + line->used, text, bytes);
    line->used += bytes;
}

static void put_text(struct line *line, const char *text)
{
    put(line, text, strlen(text));
}

/* A character as it stands inside quotes. */
static size_t escape(const unsigned char *c, size_t bytes, char escaped[8])
{
    if (bytes == 0)
        return (size_t)snprintf(escaped, 8, "?");
    if (*c == '\n')
        return (size_t)snprintf(escaped, 8, "\\n");
    if (*c == '"' || *c == '\\')
        return (size_t)snprintf(escaped, 8, "\\%c", *c);
    if (*c < 0x20)
        return (size_t)snprintf(escaped, 8, "\\u%04x", *c);
    memcpy(escaped, c, bytes);
    return bytes;
}

/* What does not fit is left out whole: the line stays JSON, and in UTF-8. A server's message may be
 * in any encoding; what is not UTF-8 becomes '?'. */
static void put_quoted(struct line *line, const char *text)
{
    put(line, "\"", 1);
    for (const unsigned char *c = (const unsigned char *)text; *c != 0;) {
        char escaped[8];
        size_t bytes = utf8_character(c, strnlen((const char *)c, 4));
        size_t escaped_bytes = escape(c, bytes, escaped);
        if (escaped_bytes + 1 > room(line))
            break;
        put(line, escaped, escaped_bytes);
        c += bytes > 0 ? bytes : 1;
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
    if (room(line) < strlen(field->key) + FIELD_BYTES_MIN)
        return; /* half a field would break the line */
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
        if (strpbrk(message, "\r\n") == NULL)
            put_text(&line, message);
        else
            put_quoted(&line, message); /* an event is one line */
    }
    for (size_t i = 1; i < field_count; i++)
        put_field(&line, &fields[i], json);
    if (json)
        line.text[line.used++] = '}';
    line.text[line.used++] = '\n';
    ssize_t written = write(STDERR_FILENO, line.text, line.used);
    (void)written; /* nobody to tell when the log itself is gone */
}
