/* SPDX-License-Identifier: Apache-2.0 */
/* Names are built from words: a metric's name is cut at every character that may not stand in a
 * Prometheus name, the words of its unit and type are put behind where they are not there already,
 * and all are joined by "_". Called once per metric and label, not per point. */
#include "exporters/remote/name.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

enum { WORDS_MAX = 32, UNIT_BYTES = 64 };

struct word {
    const char *text;
    size_t bytes;
};

struct words {
    struct word list[WORDS_MAX];
    size_t count;
};

static const char *const units[][2] = {
    {"d", "days"},
    {"h", "hours"},
    {"min", "minutes"},
    {"s", "seconds"},
    {"ms", "milliseconds"},
    {"us", "microseconds"},
    {"ns", "nanoseconds"},
    {"By", "bytes"},
    {"KiBy", "kibibytes"},
    {"MiBy", "mebibytes"},
    {"GiBy", "gibibytes"},
    {"TiBy", "tibibytes"},
    {"KBy", "kilobytes"},
    {"MBy", "megabytes"},
    {"GBy", "gigabytes"},
    {"TBy", "terabytes"},
    {"m", "meters"},
    {"V", "volts"},
    {"A", "amperes"},
    {"J", "joules"},
    {"W", "watts"},
    {"g", "grams"},
    {"Cel", "celsius"},
    {"Hz", "hertz"},
    {"1", ""},
    {"%", "percent"},
    {NULL, NULL},
};
static const char *const per_units[][2] = {
    {"s", "second"}, {"m", "minute"}, {"h", "hour"}, {"d", "day"},
    {"w", "week"},   {"mo", "month"}, {"y", "year"}, {NULL, NULL},
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* What a metric's name is made of, "_" aside. */
static bool is_name(char c)
{
    return is_digit(c) || is_letter(c) || c == ':';
}

static bool word_is(const struct word *word, const char *text)
{
    return word->bytes == strlen(text) && memcmp(word->text, text, word->bytes) == 0;
}

static void words_add(struct words *words, const char *text, size_t bytes)
{
    if (bytes > 0 && words->count < WORDS_MAX)
        words->list[words->count++] = (struct word){text, bytes};
}

static bool words_have(const struct words *words, const char *text)
{
    for (size_t i = 0; i < words->count; i++)
        if (word_is(&words->list[i], text))
            return true;
    return false;
}

/* Puts the word last, wherever it stood. */
static void words_end_in(struct words *words, const char *text)
{
    size_t kept = 0;
    for (size_t i = 0; i < words->count; i++)
        if (!word_is(&words->list[i], text))
            words->list[kept++] = words->list[i];
    words->count = kept;
    words_add(words, text, strlen(text));
}

/* Cuts at every other character, and at "_" unless it is `kept`, as it is where names are not made
 * anew. */
static void words_split(struct words *words, const char *text, bool kept)
{
    while (*text != '\0') {
        size_t bytes = 0;
        while (is_name(text[bytes]) || (kept && text[bytes] == '_'))
            bytes++;
        words_add(words, text, bytes);
        text += bytes + (text[bytes] != '\0');
    }
}

/* Joined by "_"; cut to fit. */
static size_t words_join(const struct words *words, char name[PROM_NAME_BYTES])
{
    size_t used = 0;
    for (size_t i = 0; i < words->count; i++) {
        const struct word *word = &words->list[i];
        if (used > 0 && used + 1 < PROM_NAME_BYTES)
            name[used++] = '_';
        size_t room = PROM_NAME_BYTES - 1 - used;
        size_t bytes = word->bytes < room ? word->bytes : room;
        memcpy(name + used, word->text, bytes);
        used += bytes;
    }
    name[used] = '\0';
    return used;
}

/* One side of a unit, in words, joined by "_": "By" → bytes, "{row}" and "1" → nothing. */
static void unit_words(char out[UNIT_BYTES], const char *unit, size_t bytes,
                       const char *const table[][2])
{
    char text[UNIT_BYTES];
    size_t used = 0;
    out[0] = '\0';
    while (bytes > 0 && *unit == ' ') {
        unit++;
        bytes--;
    }
    while (bytes > 0 && unit[bytes - 1] == ' ')
        bytes--;
    snprintf(text, sizeof text, "%.*s", (int)(bytes < sizeof text ? bytes : sizeof text - 1), unit);
    if (strpbrk(text, "{}") != NULL)
        return;
    const char *known = text;
    for (size_t i = 0; table[i][0] != NULL; i++)
        if (strcmp(table[i][0], text) == 0)
            known = table[i][1];
    for (; *known != '\0'; known++) {
        bool fits = is_name(*known);
        if (fits || (used > 0 && out[used - 1] != '_'))
            out[used++] = fits ? *known : '_';
    }
    while (used > 0 && out[used - 1] == '_')
        used--;
    out[used] = '\0';
}

/* The unit's words, unless the name says them. `main_unit` and `per` must outlive `words`. */
static void add_unit(struct words *words, const char *unit, char main_unit[UNIT_BYTES],
                     char per[UNIT_BYTES + 4])
{
    const char *slash = strchr(unit, '/');
    size_t bytes = slash != NULL ? (size_t)(slash - unit) : strlen(unit);
    char unit_per[UNIT_BYTES] = "";
    unit_words(main_unit, unit, bytes, units);
    if (slash != NULL)
        unit_words(unit_per, slash + 1, strlen(slash + 1), per_units);
    bool said = words_have(words, main_unit);
    snprintf(per, UNIT_BYTES + 4, "per_%s", unit_per);
    bool per_said = unit_per[0] == '\0' || words_have(words, per);
    if (!said)
        words_add(words, main_unit, strlen(main_unit));
    if (!per_said)
        words_add(words, per, strlen(per));
}

static const char with_suffixes[] = "UnderscoreEscapingWithSuffixes",
                  without_suffixes[] = "UnderscoreEscapingWithoutSuffixes";

bool prom_check_strategy(const char *strategy, struct error *error)
{
    if (strategy == NULL || strcmp(strategy, with_suffixes) == 0 ||
        strcmp(strategy, without_suffixes) == 0)
        return true;
    return error_set(error, "translation_strategy: \"%s\" is not possible here: write %s or %s",
                     strategy, with_suffixes, without_suffixes);
}

bool prom_suffixes(const char *strategy, bool add_metric_suffixes)
{
    return strategy != NULL ? strcmp(strategy, with_suffixes) == 0 : add_metric_suffixes;
}

bool prom_is_counter(const struct metric *metric)
{
    return metric->instrument == METRIC_SUM && metric->monotonic;
}

size_t prom_metric_name(char name[PROM_NAME_BYTES], const struct metric *metric,
                        const struct prom_naming *naming)
{
    struct words words = {.count = 0};
    char main_unit[UNIT_BYTES], per[UNIT_BYTES + 4];
    if (naming->namespace != NULL)
        words_split(&words, naming->namespace, true);
    struct words own = {.count = 0};
    words_split(&own, metric->name, !naming->suffixes);
    if (naming->suffixes) {
        add_unit(&own, metric->unit, main_unit, per);
        if (prom_is_counter(metric))
            words_end_in(&own, "total");
        else if (metric->instrument == METRIC_GAUGE && strcmp(metric->unit, "1") == 0)
            words_end_in(&own, "ratio");
    }
    for (size_t i = 0; i < own.count; i++)
        words_add(&words, own.list[i].text, own.list[i].bytes);
    size_t bytes = words_join(&words, name);
    if (bytes == 0 || is_digit(name[0])) {
        bytes = bytes < PROM_NAME_BYTES - 1 ? bytes : bytes - 1;
        memmove(name + 1, name, bytes);
        name[0] = '_';
        name[++bytes] = '\0';
    }
    return bytes;
}

size_t prom_label_name(char name[PROM_NAME_BYTES], const char *key, size_t key_bytes)
{
    static const char prefix[] = "key_";
    size_t used = 0, position = 0;
    bool some = false;
    if (key_bytes == 0)
        return name[0] = '\0', 0;
    bool plain = is_digit(key[0]) || is_letter(key[0]);
    bool reserved = key_bytes > 1 && key[0] == '_' && key[1] == '_';
    if (is_digit(key[0])) {
        memcpy(name, prefix, used = 4);
    } else if (!plain && !reserved) {
        memcpy(name, prefix, used = 3); /* its own first character becomes "_" */
    }
    while (position < key_bytes && used < PROM_NAME_BYTES - 1) {
        char c = key[position];
        bool fits = is_digit(c) || is_letter(c);
        some = some || fits;
        name[used++] = fits ? c : '_';
        size_t bytes =
            (unsigned char)c < 0x80 ? 1 : utf8_character(key + position, key_bytes - position);
        position += bytes > 0 ? bytes : 1;
    }
    if (!some)
        used = 0;
    name[used] = '\0';
    return used;
}

/* The fewest digits that read back as the same number. */
static size_t real_text(char number[PROM_NUMBER_BYTES], double value)
{
    if (isnan(value))
        return (size_t)snprintf(number, PROM_NUMBER_BYTES, "NaN");
    if (isinf(value))
        return (size_t)snprintf(number, PROM_NUMBER_BYTES, value > 0 ? "+Inf" : "-Inf");
    for (int digits = 15;; digits++) {
        int bytes = snprintf(number, PROM_NUMBER_BYTES, "%.*g", digits, value);
        double back;
        if (digits == 17 || (sscanf(number, "%lf", &back) == 1 && back == value))
            return (size_t)bytes;
    }
}

const char *prom_label_value(const struct attr *attr, char number[PROM_NUMBER_BYTES],
                             size_t *ret_bytes)
{
    switch (attr->kind) {
    case ATTR_TEXT:
        *ret_bytes = attr->text_bytes;
        return attr->text;
    case ATTR_INT:
        *ret_bytes = (size_t)snprintf(number, PROM_NUMBER_BYTES, "%lld", (long long)attr->number);
        return number;
    case ATTR_DOUBLE:
        *ret_bytes = real_text(number, attr->real);
        return number;
    case ATTR_BOOL:
        *ret_bytes = attr->number != 0 ? 4 : 5;
        return attr->number != 0 ? "true" : "false";
    }
    *ret_bytes = 0;
    return number;
}
