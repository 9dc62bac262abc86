/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/exporters/remote_read.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct bytes {
    const uint8_t *at, *end;
};

static uint64_t varint(struct bytes *in)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        assert_true(in->at < in->end);
        value |= (uint64_t)(*in->at & 0x7f) << shift;
        if (*in->at++ < 0x80)
            return value;
    }
    fail_msg("a varint of more than ten bytes");
    return 0;
}

static struct bytes message(struct bytes *in)
{
    uint64_t bytes = varint(in);
    assert_true(bytes <= (uint64_t)(in->end - in->at));
    struct bytes inner = {in->at, in->at + bytes};
    in->at += bytes;
    return inner;
}

static char *text(struct bytes bytes, size_t *ret_bytes)
{
    size_t count = (size_t)(bytes.end - bytes.at);
    char *copy = calloc(1, count + 1);
    memcpy(copy, bytes.at, count);
    if (ret_bytes != NULL)
        *ret_bytes = count;
    return copy;
}

static void *grow(void *list, size_t count, size_t size)
{
    void *more = realloc(list, (count + 1) * size);
    assert_non_null(more);
    memset((char *)more + count * size, 0, size);
    return more;
}

static void read_label_message(struct read_series *series, struct bytes in)
{
    series->labels = grow(series->labels, series->label_count, sizeof *series->labels);
    struct read_label *label = &series->labels[series->label_count++];
    while (in.at < in.end) {
        switch (*in.at++) {
        case 0x0a:
            assert_null(label->name);
            label->name = text(message(&in), &label->name_bytes);
            break;
        case 0x12:
            assert_null(label->value);
            label->value = text(message(&in), &label->value_bytes);
            break;
        default:
            fail_msg("a field that Label does not have");
        }
    }
    assert_true(label->name_bytes > 0 && label->value_bytes > 0);
}

static void read_sample(struct read_series *series, struct bytes in)
{
    while (in.at < in.end) {
        switch (*in.at++) {
        case 0x09:
            assert_true(in.end - in.at >= 8);
            memcpy(&series->bits, in.at, 8);
            in.at += 8;
            break;
        case 0x10:
            series->time_ms = (int64_t)varint(&in);
            break;
        default:
            fail_msg("a field that Sample does not have");
        }
    }
}

static void read_series(struct read_request *request, struct bytes in)
{
    request->series = grow(request->series, request->series_count, sizeof *request->series);
    struct read_series *series = &request->series[request->series_count++];
    unsigned samples = 0;
    while (in.at < in.end) {
        switch (*in.at++) {
        case 0x0a:
            read_label_message(series, message(&in));
            break;
        case 0x12:
            read_sample(series, message(&in));
            samples++;
            break;
        default:
            fail_msg("a field that TimeSeries does not have");
        }
    }
    assert_int_equal(samples, 1);
    for (size_t i = 1; i < series->label_count; i++) {
        const struct read_label *a = &series->labels[i - 1], *b = &series->labels[i];
        size_t least = a->name_bytes < b->name_bytes ? a->name_bytes : b->name_bytes;
        int order = memcmp(a->name, b->name, least);
        assert_true(order < 0 || (order == 0 && a->name_bytes < b->name_bytes));
    }
}

static void read_metadata(struct read_request *request, struct bytes in)
{
    request->metadata = grow(request->metadata, request->metadata_count, sizeof *request->metadata);
    struct read_metadata *metadata = &request->metadata[request->metadata_count++];
    while (in.at < in.end) {
        switch (*in.at++) {
        case 0x08:
            metadata->kind = varint(&in);
            break;
        case 0x12:
            metadata->name = text(message(&in), NULL);
            break;
        case 0x22:
            metadata->help = text(message(&in), NULL);
            break;
        case 0x2a:
            metadata->unit = text(message(&in), NULL);
            break;
        default:
            fail_msg("a field that MetricMetadata does not have");
        }
    }
}

void read_request(struct read_request *request, const uint8_t *body, size_t bytes)
{
    struct bytes in = {body, body + bytes};
    *request = (struct read_request){0};
    while (in.at < in.end) {
        switch (*in.at++) {
        case 0x0a:
            read_series(request, message(&in));
            break;
        case 0x1a:
            read_metadata(request, message(&in));
            break;
        default:
            fail_msg("a field that WriteRequest does not have");
        }
    }
}

void read_request_fini(struct read_request *request)
{
    for (size_t i = 0; i < request->series_count; i++) {
        for (size_t k = 0; k < request->series[i].label_count; k++) {
            free(request->series[i].labels[k].name);
            free(request->series[i].labels[k].value);
        }
        free(request->series[i].labels);
    }
    for (size_t i = 0; i < request->metadata_count; i++) {
        free(request->metadata[i].name);
        free(request->metadata[i].help);
        free(request->metadata[i].unit);
    }
    free(request->series);
    free(request->metadata);
}

const char *read_label(const struct read_series *series, const char *name)
{
    for (size_t i = 0; i < series->label_count; i++)
        if (strcmp(series->labels[i].name, name) == 0)
            return series->labels[i].value;
    return NULL;
}

double read_value(const struct read_series *series)
{
    double value;
    memcpy(&value, &series->bits, sizeof value);
    return value;
}
