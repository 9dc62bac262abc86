/* SPDX-License-Identifier: Apache-2.0 */
/* Puts a form together: messages of the wire protocol, byte for byte, and the places in them. */
#include "tools/sim/form_data.h"

#include <arpa/inet.h>
#include <endian.h>
#include <stdlib.h>

#include "base/memory.h"

void form_buffer_put(struct form_buffer *buffer, const void *data, size_t bytes)
{
    if (buffer->room - buffer->count < bytes) {
        size_t room = buffer->room ? buffer->room : 256;
        while (room - buffer->count < bytes)
            room *= 2;
        buffer->data = xrealloc(buffer->data, room);
        buffer->room = room;
    }
    if (bytes)
        memcpy(buffer->data + buffer->count, data, bytes);
    buffer->count += bytes;
}

void form_buffer_put16(struct form_buffer *buffer, uint16_t value)
{
    value = htons(value);
    form_buffer_put(buffer, &value, sizeof value);
}

void form_buffer_put32(struct form_buffer *buffer, uint32_t value)
{
    value = htonl(value);
    form_buffer_put(buffer, &value, sizeof value);
}

void form_buffer_put64(struct form_buffer *buffer, uint64_t value)
{
    value = htobe64(value);
    form_buffer_put(buffer, &value, sizeof value);
}

/* Gives the memory away, cut to size. */
static void *buffer_take(struct form_buffer *buffer)
{
    void *data = buffer->data;
    if (buffer->count && buffer->count < buffer->room) {
        data = xrealloc(data, buffer->count);
    }
    *buffer = (struct form_buffer){0};
    return data;
}

void form_begin(struct form_maker *maker, struct form_book *book, const char *name)
{
    *maker = (struct form_maker){.book = book, .arena = &book->arena};
    maker->form = xcalloc(1, sizeof *maker->form);
    maker->form->name = name;
    maker->form->index = form_book_indexes(book) - 1;
}

static size_t row_open(struct form_buffer *buffer, uint32_t columns)
{
    size_t at = buffer->count;
    form_buffer_put(buffer, "D", 1);
    form_buffer_put32(buffer, 0);
    form_buffer_put16(buffer, (uint16_t)columns);
    return at;
}

static void row_close(struct form_buffer *buffer, size_t at)
{
    uint32_t bytes = htonl((uint32_t)(buffer->count - at - 1));
    memcpy(buffer->data + at + 1, &bytes, sizeof bytes);
}

void form_row_begin(struct form_maker *maker, uint32_t columns)
{
    maker->row_at = row_open(&maker->bytes, columns);
    maker->bound += maker->bytes.count - maker->row_at;
    maker->form->rows++;
}

void form_row_end(struct form_maker *maker)
{
    row_close(&maker->bytes, maker->row_at);
}

void form_put_cell(struct form_maker *maker, const void *data, uint32_t bytes, size_t text_bound)
{
    form_buffer_put32(&maker->bytes, data ? bytes : UINT32_MAX);
    if (data)
        form_buffer_put(&maker->bytes, data, bytes);
    size_t most = !data ? 0 : bytes > text_bound ? bytes : text_bound;
    maker->bound += sizeof bytes + most;
}

void form_put_spot(struct form_maker *maker, enum form_spot spot, size_t at)
{
    uint32_t offset = (uint32_t)at;
    form_buffer_put(&maker->spots[spot], &offset, sizeof offset);
}

static void complete_put(struct form_buffer *buffer, const char *tag)
{
    uint32_t bytes = (uint32_t)strlen(tag) + 1;
    form_buffer_put(buffer, "C", 1);
    form_buffer_put32(buffer, bytes + (uint32_t)sizeof bytes);
    form_buffer_put(buffer, tag, bytes);
}

struct form *form_finish(struct form_maker *maker, const char *tag)
{
    struct form *form = maker->form;
    form->tag = tag ? tag : arena_format(maker->arena, "SELECT %u", form->rows);
    size_t rows_bytes = maker->bytes.count;
    complete_put(&maker->bytes, form->tag);
    form->bound = maker->bound + maker->bytes.count - rows_bytes;
    form->byte_count = maker->bytes.count;
    form->text_count = maker->text.count;
    form->count_count = (uint32_t)(maker->counts.count / sizeof *form->counts);
    form->count_real_count = (uint32_t)(maker->count_reals.count / sizeof *form->count_reals);
    form->gauge_count = (uint32_t)(maker->gauges.count / sizeof *form->gauges);
    form->gauge_real_count = (uint32_t)(maker->gauge_reals.count / sizeof *form->gauge_reals);
    form->bytes = buffer_take(&maker->bytes);
    form->text = buffer_take(&maker->text);
    form->counts = buffer_take(&maker->counts);
    form->count_reals = buffer_take(&maker->count_reals);
    form->gauges = buffer_take(&maker->gauges);
    form->gauge_reals = buffer_take(&maker->gauge_reals);
    for (int i = 0; i < FORM_SPOTS; i++) {
        form->spot_counts[i] = (uint32_t)(maker->spots[i].count / sizeof(uint32_t));
        form->spots[i] = buffer_take(&maker->spots[i]);
    }
    maker->form = NULL;
    return form;
}

void form_free(struct form *form)
{
    if (!form)
        return;
    free(form->bytes);
    free(form->text);
    free(form->counts);
    free(form->count_reals);
    free(form->gauges);
    free(form->gauge_reals);
    for (int i = 0; i < FORM_SPOTS; i++)
        free(form->spots[i]);
    free(form);
}

void form_problem_set(struct form_problem *problem, const char *sqlstate, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(problem->text, sizeof problem->text, format, arguments);
    va_end(arguments);
    snprintf(problem->sqlstate, sizeof problem->sqlstate, "%s", sqlstate);
}
