/* SPDX-License-Identifier: Apache-2.0 */
/* An interning table: open addressing, linear probing, holes filled by moving up. Escaping is done
 * here, once, so that an answer copies.
 * Source: prometheus.io/docs/instrumenting/exposition_formats, "Text format details". */
#include "exporters/scrape/texts.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/check.h"
#include "base/memory.h"

enum { SPACE_MIN = 1024 };

void texts_init(struct texts *texts)
{
    *texts = (struct texts){.space = SPACE_MIN};
    texts->slots = xcalloc(texts->space, sizeof(struct text *));
}

void texts_fini(struct texts *texts)
{
    for (size_t i = 0; i < texts->space; i++)
        free(texts->slots[i]);
    free(texts->slots);
}

uint64_t text_name_bit(const char *name, size_t bytes)
{
    return 1ull << (XXH3_64bits(name, bytes) & 63);
}

/* Where the text is, or the hole where it goes. */
static size_t place(struct text *const *slots, size_t space, uint64_t hash)
{
    size_t slot = (size_t)hash & (space - 1);
    while (slots[slot] != NULL && slots[slot]->hash != hash)
        slot = (slot + 1) & (space - 1);
    return slot;
}

struct text *texts_hold(struct texts *texts, uint64_t hash)
{
    struct text *text = texts->slots[place(texts->slots, texts->space, hash)];
    if (text != NULL)
        text->references++;
    return text;
}

static void grow(struct texts *texts)
{
    size_t space = 2 * texts->space;
    struct text **slots = xcalloc(space, sizeof(struct text *));
    for (size_t i = 0; i < texts->space; i++)
        if (texts->slots[i] != NULL)
            slots[place(slots, space, texts->slots[i]->hash)] = texts->slots[i];
    free(texts->slots);
    texts->slots = slots;
    texts->space = space;
}

static size_t escaped_bytes(const char *value, size_t bytes)
{
    size_t more = 0;
    for (size_t i = 0; i < bytes; i++)
        more += value[i] == '\n' || value[i] == '\\' || value[i] == '"';
    return bytes + more;
}

static char *put_escaped(char *at, const char *value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (value[i] == '\n' || value[i] == '\\' || value[i] == '"')
            *at++ = '\\';
        *at++ = value[i] == '\n' ? 'n' : value[i];
    }
    return at;
}

static struct text *make(uint64_t hash, const struct labels *labels)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < labels->count; i++)
        bytes += (i > 0) + labels->list[i].name_bytes + 3 +
                 escaped_bytes(labels->list[i].value, labels->list[i].value_bytes);
    struct text *text = xmalloc(sizeof *text + bytes);
    *text = (struct text){.hash = hash, .references = 1, .bytes = (uint32_t)bytes};
    char *at = text->text;
    for (uint32_t i = 0; i < labels->count; i++) {
        const struct label *label = &labels->list[i];
        if (i > 0)
            *at++ = ',';
        memcpy(at, label->name, label->name_bytes);
        at += label->name_bytes;
        *at++ = '=';
        *at++ = '"';
        at = put_escaped(at, label->value, label->value_bytes);
        *at++ = '"';
        text->names |= text_name_bit(label->name, label->name_bytes);
    }
    CHECK(at == text->text + bytes);
    return text;
}

struct text *texts_add(struct texts *texts, uint64_t hash, const struct labels *labels)
{
    if (2 * (texts->count + 1) > texts->space)
        grow(texts);
    size_t slot = place(texts->slots, texts->space, hash);
    CHECK(texts->slots[slot] == NULL);
    struct text *text = make(hash, labels);
    texts->slots[slot] = text;
    texts->count++;
    texts->bytes += sizeof *text + text->bytes;
    return text;
}

/* Empties a slot and moves up what probed past it. */
static void clear(struct texts *texts, size_t hole)
{
    size_t mask = texts->space - 1, slot = hole;
    texts->slots[hole] = NULL;
    for (;;) {
        slot = (slot + 1) & mask;
        struct text *text = texts->slots[slot];
        if (text == NULL)
            return;
        size_t home = (size_t)text->hash & mask;
        if (((slot - home) & mask) < ((slot - hole) & mask))
            continue; /* its home lies behind the hole */
        texts->slots[hole] = text;
        texts->slots[slot] = NULL;
        hole = slot;
    }
}

void texts_release(struct texts *texts, struct text *text)
{
    if (text == NULL)
        return;
    CHECK(text->references > 0);
    if (--text->references > 0)
        return;
    size_t slot = place(texts->slots, texts->space, text->hash);
    CHECK(texts->slots[slot] == text);
    clear(texts, slot);
    texts->count--;
    texts->bytes -= sizeof *text + text->bytes;
    free(text);
}
