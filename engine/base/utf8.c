/* SPDX-License-Identifier: Apache-2.0 */
/* OTLP strings must be valid UTF-8: one bad byte and a back end refuses the whole request. What
 * PostgreSQL sends is not always that (SQL_ASCII databases, application names cut in mid-character,
 * query texts), and nothing a back end answers can be trusted either. Pure functions, any thread.
 */
#include "base/utf8.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */

static bool is_tail(uint8_t byte)
{
    return (byte & 0xc0) == 0x80;
}

size_t utf8_character(const void *start, size_t bytes)
{
    const uint8_t *text = start;
    uint8_t lead = text[0];
    if (lead < 0x80)
        return 1;
    if (lead >= 0xc2 && lead <= 0xdf)
        return bytes >= 2 && is_tail(text[1]) ? 2 : 0;
    if (lead >= 0xe0 && lead <= 0xef) {
        uint8_t low = lead == 0xe0 ? 0xa0 : 0x80, high = lead == 0xed ? 0x9f : 0xbf;
        return bytes >= 3 && text[1] >= low && text[1] <= high && is_tail(text[2]) ? 3 : 0;
    }
    if (lead >= 0xf0 && lead <= 0xf4) {
        uint8_t low = lead == 0xf0 ? 0x90 : 0x80, high = lead == 0xf4 ? 0x8f : 0xbf;
        return bytes >= 4 && text[1] >= low && text[1] <= high && is_tail(text[2]) &&
                       is_tail(text[3])
                   ? 4
                   : 0;
    }
    return 0;
}

/* How many bytes at the text's start are ASCII, eight at a time. */
static size_t ascii_prefix(const uint8_t *text, size_t bytes)
{
    size_t at = 0;
    for (uint64_t word; at + sizeof word <= bytes; at += sizeof word) {
        memcpy(&word, text + at, sizeof word);
        if (word & 0x8080808080808080ull)
            break;
    }
    while (at < bytes && text[at] < 0x80)
        at++;
    return at;
}

size_t utf8_copy(char *out, size_t out_bytes, const char *text, size_t bytes)
{
    const uint8_t *from = (const uint8_t *)text;
    size_t used = 0, at = 0;
    while (at < bytes && used < out_bytes) {
        size_t ascii = ascii_prefix(from + at, bytes - at);
        if (ascii > out_bytes - used)
            ascii = out_bytes - used;
        if (ascii > 0) {
            memcpy(out + used, from + at, ascii);
            used += ascii;
            at += ascii;
            continue;
        }
        size_t length = utf8_character(from + at, bytes - at);
        const char *source = length > 0 ? text + at : replacement;
        size_t source_bytes = length > 0 ? length : sizeof replacement - 1;
        if (source_bytes > out_bytes - used)
            break;
        memcpy(out + used, source, source_bytes);
        used += source_bytes;
        at += length > 0 ? length : 1;
    }
    return used;
}
