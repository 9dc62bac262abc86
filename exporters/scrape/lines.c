/* SPDX-License-Identifier: Apache-2.0 */
/* The reader's side of the table: lines of the text formats, family by family. Labels are there as
 * they are written, so a line is a few copies and a number.
 *
 * A reader is inside from the first line of a block to its last, and tells the epoch it came in at:
 * the worker frees nothing that expired later. Between blocks, while a client is slow, it is
 * outside, and holds only its place, which stays good.
 * Source: prometheus.io/docs/instrumenting/exposition_formats; OpenMetrics 1.0. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "exporters/scrape/slots.h"

enum { NUMBER_BYTES = 40, TOTAL_BYTES = 6, INFO_BYTES = 5 };

struct scrape {
    struct scrape_table *table;
    struct scrape_format format;
    uint32_t family;
    const struct chunk *chunk; /* NULL: the family has not begun */
    uint32_t slot;
    bool headed; /* the family's head is written */
    bool ended;
    size_t line_bytes;
};

/* A slot as of one instant. */
struct seen {
    uint64_t value, time_ms;
};

struct scrape *scrape_begin(struct scrape_table *table, struct scrape_format format)
{
    struct scrape *scrape = xmalloc(sizeof *scrape);
    *scrape = (struct scrape){.table = table, .format = format};
    return scrape;
}

void scrape_end(struct scrape **scrape)
{
    free(*scrape);
    *scrape = NULL;
}

size_t scrape_line_bytes(const struct scrape *scrape)
{
    return scrape->line_bytes;
}

/* In at an epoch that nothing expired after, as far as the worker knew when it saw us. */
static void enter(struct scrape_table *table)
{
    uint64_t epoch = atomic_load(&table->epoch), now;
    for (;;) {
        atomic_store(&table->reader, epoch);
        now = atomic_load(&table->epoch);
        if (now == epoch)
            return;
        epoch = now;
    }
}

static void leave(struct scrape_table *table)
{
    atomic_store(&table->reader, READER_OUT);
}

/* ---- finding ---- */

/* False: free, or expired. */
static bool look(const struct scrape *scrape, const struct slot *slot, uint32_t now_s,
                 struct seen *ret_seen)
{
    uint64_t time_ms = atomic_load_explicit(&slot->time_ms, memory_order_acquire), again;
    for (int i = 0; i < 3; i++) { /* value and time of one update, if they hold still */
        ret_seen->value = atomic_load_explicit(&slot->value, memory_order_acquire);
        again = atomic_load_explicit(&slot->time_ms, memory_order_acquire);
        if (again == time_ms)
            break;
        time_ms = again;
    }
    ret_seen->time_ms = time_ms;
    return time_ms != 0 && !slot_expired(scrape->table, slot, now_s);
}

/* The next slot that has a value, from the place at hand on; NULL: the family has no more. */
static const struct slot *next_slot(struct scrape *scrape, const struct family *family,
                                    uint32_t now_s, struct seen *ret_seen)
{
    if (scrape->chunk == NULL)
        scrape->chunk = atomic_load_explicit(&family->first, memory_order_acquire);
    while (scrape->chunk != NULL) {
        for (; scrape->slot < SLOTS; scrape->slot++) {
            const struct slot *slot = &scrape->chunk->slots[scrape->slot];
            if (look(scrape, slot, now_s, ret_seen))
                return slot;
        }
        scrape->chunk = atomic_load_explicit(&scrape->chunk->next, memory_order_acquire);
        scrape->slot = 0;
    }
    return NULL;
}

/* ---- writing ---- */

static char *put(char *at, const char *text, size_t bytes)
{
    memcpy(at, text, bytes);
    return at + bytes;
}

static char *put_text(char *at, const char *text)
{
    return put(at, text, strlen(text));
}

static char *put_whole(char *at, int64_t number)
{
    char digits[24];
    size_t used = sizeof digits;
    uint64_t left = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    do
        digits[--used] = (char)('0' + left % 10);
    while ((left /= 10) > 0);
    if (number < 0)
        digits[--used] = '-';
    return put(at, digits + used, sizeof digits - used);
}

static char *put_real(char *at, uint64_t bits)
{
    double real;
    memcpy(&real, &bits, sizeof real);
    if (isnan(real))
        return put_text(at, "NaN");
    if (isinf(real))
        return put_text(at, real > 0 ? "+Inf" : "-Inf");
    if (fabs(real) < 1e15 && real == (double)(int64_t)real && !(real == 0 && signbit(real)))
        return put_whole(at, (int64_t)real);
    return at + snprintf(at, NUMBER_BYTES, "%.17g", real);
}

static bool ends_in(const struct family *family, const char *suffix, size_t bytes)
{
    return family->name_bytes > bytes &&
           memcmp(family->name + family->name_bytes - bytes, suffix, bytes) == 0;
}

/* What a family is called and is in OpenMetrics: a counter without its _total, an info without its
 * _info. */
static const char *describe(const struct scrape *scrape, const struct family *family,
                            size_t *ret_name_bytes)
{
    bool open = scrape->format.open_metrics;
    *ret_name_bytes = family->name_bytes;
    switch (family->kind) {
    case FAMILY_COUNTER:
        if (!open)
            return "counter";
        if (!ends_in(family, "_total", TOTAL_BYTES))
            return "unknown";
        *ret_name_bytes -= TOTAL_BYTES;
        return "counter";
    case FAMILY_HISTOGRAM:
        return "histogram";
    case FAMILY_INFO:
        *ret_name_bytes -= open ? INFO_BYTES : 0;
        return open ? "info" : "gauge";
    case FAMILY_GAUGE:
        break;
    }
    return "gauge";
}

static size_t head_bytes(const struct family *family)
{
    return 2 * (sizeof "# HELP " + family->name_bytes + 16) + 2 * strlen(family->description);
}

static char *put_head(const struct scrape *scrape, const struct family *family, char *at)
{
    size_t name_bytes;
    const char *type = describe(scrape, family, &name_bytes);
    at = put_text(at, "# HELP ");
    at = put(at, family->name, name_bytes);
    *at++ = ' ';
    for (const char *c = family->description; *c != '\0'; c++) {
        if (*c == '"' && scrape->format.open_metrics)
            *at++ = '\\';
        *at++ = *c;
    }
    at = put_text(at, "\n# TYPE ");
    at = put(at, family->name, name_bytes);
    *at++ = ' ';
    at = put_text(at, type);
    *at++ = '\n';
    return at;
}

static const char *const suffixes[] = {
    [SLOT_PLAIN] = "", [SLOT_COUNT] = "_count", [SLOT_SUM] = "_sum", [SLOT_BUCKET] = "_bucket"};

static size_t sample_bytes(const struct family *family, const struct text *const texts[3])
{
    size_t bytes = family->name_bytes + sizeof "_bucket{} \n" + 2 * NUMBER_BYTES;
    for (int i = 0; i < 3; i++)
        bytes += texts[i] != NULL ? texts[i]->bytes + 1 : 0;
    return bytes;
}

static char *put_time(const struct scrape *scrape, char *at, uint64_t time_ms)
{
    *at++ = ' ';
    if (!scrape->format.open_metrics)
        return put_whole(at, (int64_t)time_ms);
    at = put_whole(at, (int64_t)(time_ms / 1000));
    *at++ = '.';
    *at++ = (char)('0' + time_ms / 100 % 10);
    *at++ = (char)('0' + time_ms / 10 % 10);
    *at++ = (char)('0' + time_ms % 10);
    return at;
}

static char *put_sample(const struct scrape *scrape, const struct family *family,
                        const struct slot *slot, const struct text *const texts[3],
                        struct seen seen, char *at)
{
    char separator = '{';
    at = put(at, family->name, family->name_bytes);
    at = put_text(at, suffixes[slot->form]);
    for (int i = 0; i < 3; i++) {
        if (texts[i] == NULL || texts[i]->bytes == 0)
            continue;
        *at++ = separator;
        at = put(at, texts[i]->text, texts[i]->bytes);
        separator = ',';
    }
    if (separator == ',')
        *at++ = '}';
    *at++ = ' ';
    at = slot->real ? put_real(at, seen.value) : put_whole(at, (int64_t)seen.value);
    if (scrape->format.timestamps)
        at = put_time(scrape, at, seen.time_ms);
    *at++ = '\n';
    return at;
}

/* The next line, with its family's head where that begins; NULL: it does not fit. At the end *at
 * stays. */
static char *put_next(struct scrape *scrape, uint32_t now_s, char *at, const char *end)
{
    static const char eof[] = "# EOF\n";
    const struct family *family;
    while (scrape->family < FAMILIES_MAX &&
           (family = atomic_load_explicit(&scrape->table->families[scrape->family],
                                          memory_order_acquire)) != NULL) {
        struct seen seen;
        const struct slot *slot = next_slot(scrape, family, now_s, &seen);
        if (slot == NULL) {
            scrape->family++;
            scrape->slot = 0;
            scrape->headed = false;
            continue;
        }
        const struct text *const texts[3] = {
            slot->set,
            slot->fixed > 0
                ? atomic_load_explicit(&family->fixed[slot->fixed], memory_order_acquire)
                : NULL,
            slot->resource};
        scrape->line_bytes =
            sample_bytes(family, texts) + (scrape->headed ? 0 : head_bytes(family));
        if (scrape->line_bytes > (size_t)(end - at))
            return NULL;
        if (!scrape->headed)
            at = put_head(scrape, family, at);
        scrape->headed = true;
        scrape->slot++;
        return put_sample(scrape, family, slot, texts, seen, at);
    }
    scrape->line_bytes = sizeof eof;
    if (scrape->line_bytes > (size_t)(end - at))
        return NULL;
    scrape->ended = true;
    return scrape->format.open_metrics ? put(at, eof, sizeof eof - 1) : at;
}

size_t scrape_read(struct scrape *scrape, char *buffer, size_t bytes_max)
{
    uint32_t now_s = (uint32_t)(clock_monotonic_ns() / NS_PER_S);
    char *at = buffer, *next;
    enter(scrape->table);
    while (!scrape->ended && (next = put_next(scrape, now_s, at, buffer + bytes_max)) != NULL)
        at = next;
    leave(scrape->table);
    if (scrape->ended)
        scrape->line_bytes = 0;
    return (size_t)(at - buffer);
}
