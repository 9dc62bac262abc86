/* SPDX-License-Identifier: Apache-2.0 */
/* Answers: what every execution runs. All binary, as the collector asks: the template is copied and
 * each number written in its place. Any other mix of formats goes cell by cell, from the same
 * binary answer, so that psql sees the numbers that the collector would. */
#include "tools/sim/form_data.h"

#include <arpa/inet.h>
#include <endian.h>
#include <stdlib.h>

#include "base/memory.h"
#include "tools/sim/workload.h"

enum { DATA_ROW_HEADER_BYTES = 7 };

static inline void store64(uint8_t *to, uint64_t value)
{
    value = htobe64(value);
    memcpy(to, &value, sizeof value);
}

static inline void store_real(uint8_t *to, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    store64(to, bits);
}

static void numbers_write(const struct form *form, const struct form_moment *moment, uint8_t *to)
{
    const uint64_t step = moment->step;
    const uint64_t execution = workload_execution(form->seed, moment->server, step);
    for (uint32_t i = 0; i < form->count_count; i++) {
        const struct form_count *at = &form->counts[i];
        store64(to + at->offset,
                (uint64_t)workload_count(step, workload_hash(execution, at->place)));
    }
    for (uint32_t i = 0; i < form->count_real_count; i++) {
        const struct form_count *at = &form->count_reals[i];
        store_real(to + at->offset, workload_real(step, workload_hash(execution, at->place)));
    }
    for (uint32_t i = 0; i < form->gauge_count; i++) {
        const struct form_gauge *at = &form->gauges[i];
        store64(to + at->offset,
                (uint64_t)workload_gauge(at->integer, workload_hash(execution, at->place)));
    }
    for (uint32_t i = 0; i < form->gauge_real_count; i++) {
        const struct form_gauge *at = &form->gauge_reals[i];
        store_real(to + at->offset,
                   workload_gauge_real(at->real, workload_hash(execution, at->place)));
    }
}

static void binary_write(const struct form *form, const struct form_moment *moment, uint8_t *to)
{
    memcpy(to, form->bytes, form->byte_count);
    if (moment->step > 0)
        numbers_write(form, moment, to);
    for (uint32_t i = 0; i < form->spot_counts[SPOT_START]; i++)
        store64(to + form->spots[SPOT_START][i], (uint64_t)moment->start_us);
    for (uint32_t i = 0; i < form->spot_counts[SPOT_NOW]; i++)
        store64(to + form->spots[SPOT_NOW][i], (uint64_t)moment->now_us);
    for (uint32_t i = 0; i < form->spot_counts[SPOT_RECOVERY]; i++)
        to[form->spots[SPOT_RECOVERY][i]] = moment->recovery;
}

static bool is_binary(struct form_formats formats, uint32_t column)
{
    if (!formats.count || (formats.count > 1 && column >= formats.count))
        return false;
    const uint8_t *code = formats.codes + (formats.count == 1 ? 0 : 2 * (size_t)column);
    return code[0] || code[1];
}

static bool all_binary(const struct form *form, struct form_formats formats)
{
    if (formats.count == 1 || !form->column_count)
        return !form->column_count || is_binary(formats, 0);
    for (uint32_t i = 0; i < form->column_count; i++)
        if (!is_binary(formats, i))
            return false;
    return true;
}

/* ---- cell by cell ---- */

static uint32_t load32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return ntohl(value);
}

static uint8_t *store32(uint8_t *to, uint32_t value)
{
    value = htonl(value);
    memcpy(to, &value, sizeof value);
    return to + sizeof value;
}

/* The cell at *at, NULL for NULL; moves *at behind it. */
static const uint8_t *cell_take(const uint8_t **at, uint32_t *ret_bytes)
{
    uint32_t bytes = load32(*at);
    const uint8_t *cell = *at + sizeof bytes;
    *ret_bytes = bytes == UINT32_MAX ? 0 : bytes;
    *at = cell + *ret_bytes;
    return bytes == UINT32_MAX ? NULL : cell;
}

static uint8_t *cell_write(const struct form_column *column, bool binary, const uint8_t **at,
                           const uint8_t **text_at, uint8_t *to)
{
    uint32_t bytes, text_bytes = 0;
    const uint8_t *cell = cell_take(at, &bytes);
    const uint8_t *text = *text_at ? cell_take(text_at, &text_bytes) : NULL;
    if (!cell)
        return store32(to, UINT32_MAX);
    if (!binary && !*text_at) {
        bytes = (uint32_t)form_text_cell(column->oid, cell, bytes, (char *)to + sizeof bytes);
        return store32(to, bytes) + bytes;
    }
    if (!binary) {
        cell = text;
        bytes = text_bytes;
    }
    memcpy(to + sizeof bytes, cell, bytes);
    return store32(to, bytes) + bytes;
}

static size_t mixed_write(const struct form *form, struct form_formats formats, const uint8_t *at,
                          uint8_t *to)
{
    uint8_t *begin = to;
    const uint8_t *text_at = form->text, *end = at + form->byte_count;
    for (uint32_t r = 0; r < form->rows; r++) {
        uint8_t *row = to;
        memcpy(to, at, DATA_ROW_HEADER_BYTES);
        to += DATA_ROW_HEADER_BYTES;
        at += DATA_ROW_HEADER_BYTES;
        if (text_at)
            text_at += DATA_ROW_HEADER_BYTES;
        for (uint32_t c = 0; c < form->column_count; c++)
            to = cell_write(&form->columns[c], is_binary(formats, c), &at, &text_at, to);
        store32(row + 1, (uint32_t)(to - row - 1));
    }
    memcpy(to, at, (size_t)(end - at));
    return (size_t)(to - begin) + (size_t)(end - at);
}

size_t form_bytes(const struct form *form, struct form_formats formats)
{
    return all_binary(form, formats) ? form->byte_count : form->bound;
}

size_t form_write(const struct form *form, struct form_formats formats,
                  const struct form_moment *moment, uint8_t *to)
{
    if (all_binary(form, formats)) {
        binary_write(form, moment, to);
        return form->byte_count;
    }
    uint8_t *answer = xmalloc(form->byte_count);
    binary_write(form, moment, answer);
    size_t bytes = mixed_write(form, formats, answer, to);
    free(answer);
    return bytes;
}

/* ---- RowDescription ---- */

size_t form_describe(const struct form *form, struct form_formats formats, uint8_t *to)
{
    if (!form->column_count) {
        if (to)
            memcpy(to, "n\0\0\0\4", 5);
        return 5;
    }
    size_t bytes = 7;
    for (uint32_t i = 0; i < form->column_count; i++)
        bytes += strlen(form->columns[i].name) + 1 + 18;
    if (!to)
        return bytes;
    *to++ = 'T';
    to = store32(to, (uint32_t)bytes - 1);
    *to++ = (uint8_t)(form->column_count >> 8);
    *to++ = (uint8_t)form->column_count;
    for (uint32_t i = 0; i < form->column_count; i++) {
        const struct form_column *column = &form->columns[i];
        to = (uint8_t *)stpcpy((char *)to, column->name) + 1;
        to = store32(to, 0); /* of no table … */
        *to++ = 0;           /* … and no column of one */
        *to++ = 0;
        to = store32(to, column->oid);
        *to++ = (uint8_t)((uint16_t)column->size >> 8);
        *to++ = (uint8_t)column->size;
        to = store32(to, (uint32_t)column->modifier);
        *to++ = 0;
        *to++ = is_binary(formats, i);
    }
    return bytes;
}
