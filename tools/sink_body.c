/* SPDX-License-Identifier: Apache-2.0 */
/* What pgweir-sink knows of OTLP: field numbers of opentelemetry-proto metrics.proto and a wire
 * reader, written apart from pgweir's encoder so that the two check each other. One level of
 * messages is one function; nothing recurses, and nested attribute values are checked to be
 * well-formed at their first level only. */
#include "tools/sink_body.h"

#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/check.h"

enum { BODY_BYTES_MAX = 64 << 20, NAMES_MAX = 1 << 16 };

enum wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

struct span {
    const uint8_t *at, *end;
};

struct field {
    uint32_t number;
    enum wire wire;
    uint64_t value;    /* varint and fixed */
    struct span bytes; /* WIRE_BYTES */
};

struct body_reader {
    bool count_only;
    struct libdeflate_decompressor *inflate;
    ZSTD_DCtx *zstd;
    uint8_t *space;
    size_t space_bytes;
    uint64_t *names; /* hashes, open addressing, 0 free */
    uint32_t name_count;
    struct body_counts *counts;
    const char *problem;
};

struct body_reader *body_reader_create(bool count_only)
{
    struct body_reader *reader = calloc(1, sizeof *reader);
    CHECK(reader != NULL);
    reader->count_only = count_only;
    reader->inflate = libdeflate_alloc_decompressor();
    reader->zstd = ZSTD_createDCtx();
    reader->names = calloc(2 * NAMES_MAX, sizeof reader->names[0]);
    CHECK(reader->inflate != NULL && reader->zstd != NULL && reader->names != NULL);
    return reader;
}

void body_reader_destroy(struct body_reader **ret_reader)
{
    struct body_reader *reader = *ret_reader;
    if (reader == NULL)
        return;
    libdeflate_free_decompressor(reader->inflate);
    ZSTD_freeDCtx(reader->zstd);
    free(reader->space);
    free(reader->names);
    free(reader);
    *ret_reader = NULL;
}

static void make_space(struct body_reader *reader, size_t bytes)
{
    if (bytes <= reader->space_bytes)
        return;
    free(reader->space);
    reader->space = malloc(bytes);
    CHECK(reader->space != NULL);
    reader->space_bytes = bytes;
}

static const char *unpack_gzip(struct body_reader *reader, const uint8_t *in, size_t bytes,
                               size_t *ret_bytes)
{
    uint32_t whole = 0; /* the last four bytes of a gzip member: its size unpacked */
    if (bytes < 18)
        return "gzip body too short";
    memcpy(&whole, in + bytes - sizeof whole, sizeof whole);
    if (whole > BODY_BYTES_MAX)
        return "body larger than 64 MiB";
    make_space(reader, whole + 1u);
    if (libdeflate_gzip_decompress(reader->inflate, in, bytes, reader->space, whole, ret_bytes) !=
        LIBDEFLATE_SUCCESS)
        return "body is not gzip";
    return NULL;
}

static const char *unpack_zstd(struct body_reader *reader, const uint8_t *in, size_t bytes,
                               size_t *ret_bytes)
{
    unsigned long long whole = ZSTD_getFrameContentSize(in, bytes);
    if (whole == ZSTD_CONTENTSIZE_ERROR)
        return "body is not zstd";
    if (whole == ZSTD_CONTENTSIZE_UNKNOWN)
        whole = BODY_BYTES_MAX;
    if (whole > BODY_BYTES_MAX)
        return "body larger than 64 MiB";
    make_space(reader, (size_t)whole + 1);
    *ret_bytes = ZSTD_decompressDCtx(reader->zstd, reader->space, (size_t)whole, in, bytes);
    return ZSTD_isError(*ret_bytes) ? "body is not zstd" : NULL;
}

const uint8_t *body_unpack(struct body_reader *reader, enum body_encoding encoding,
                           const uint8_t *in, size_t bytes, size_t *ret_bytes,
                           const char **ret_problem)
{
    const char *problem = NULL;
    switch (encoding) {
    case BODY_IDENTITY:
        *ret_bytes = bytes;
        return in;
    case BODY_GZIP:
        problem = unpack_gzip(reader, in, bytes, ret_bytes);
        break;
    case BODY_ZSTD:
        problem = unpack_zstd(reader, in, bytes, ret_bytes);
        break;
    case BODY_UNKNOWN:
        problem = "unknown Content-Encoding";
        break;
    }
    *ret_problem = problem;
    return problem == NULL ? reader->space : NULL;
}

static bool read_varint(struct span *span, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && span->at < span->end; shift += 7) {
        uint8_t byte = *span->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

static bool fail(struct body_reader *reader, const char *problem)
{
    if (reader->problem == NULL)
        reader->problem = problem;
    return false;
}

/* The next field of a message; false at its end or when it is malformed (then problem is set). */
static bool next_field(struct body_reader *reader, struct span *span, struct field *ret_field)
{
    uint64_t tag, bytes;
    if (span->at == span->end)
        return false;
    if (!read_varint(span, &tag) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX)
        return fail(reader, "malformed tag");
    *ret_field = (struct field){.number = (uint32_t)(tag >> 3), .wire = (enum wire)(tag & 7)};
    size_t left = (size_t)(span->end - span->at);
    switch (tag & 7) {
    case WIRE_VARINT:
        return read_varint(span, &ret_field->value) || fail(reader, "malformed varint");
    case WIRE_FIXED64:
    case WIRE_FIXED32:
        bytes = (tag & 7) == WIRE_FIXED64 ? 8 : 4;
        if (left < bytes)
            return fail(reader, "message cut short");
        memcpy(&ret_field->value, span->at, bytes);
        span->at += bytes;
        return true;
    case WIRE_BYTES:
        if (!read_varint(span, &bytes) || bytes > (uint64_t)(span->end - span->at))
            return fail(reader, "message cut short");
        ret_field->bytes = (struct span){span->at, span->at + bytes};
        span->at += bytes;
        return true;
    default:
        return fail(reader, "unknown wire type");
    }
}

static bool is_message(const struct field *field, uint32_t number)
{
    return field->number == number && field->wire == WIRE_BYTES;
}

static void note_name(struct body_reader *reader, struct span name)
{
    uint64_t hash = 0xcbf29ce484222325ull;
    for (const uint8_t *byte = name.at; byte < name.end; byte++)
        hash = (hash ^ *byte) * 0x100000001b3ull;
    hash |= 1;
    uint32_t slot = (uint32_t)(hash >> 32) % (2 * NAMES_MAX);
    while (reader->names[slot] != 0 && reader->names[slot] != hash)
        slot = (slot + 1) % (2 * NAMES_MAX);
    if (reader->names[slot] == 0 && reader->name_count < NAMES_MAX) {
        reader->names[slot] = hash;
        reader->name_count++;
    }
}

static bool valid_utf8(struct span text)
{
    const uint8_t *at = text.at;
    while (at < text.end) {
        unsigned more = *at < 0x80 ? 0 : *at < 0xc2 ? 9 : *at < 0xe0 ? 1 : *at < 0xf0 ? 2 : 3;
        if (*at > 0xf4 || more == 9 || (size_t)(text.end - at) <= more)
            return false;
        for (unsigned i = 1; i <= more; i++)
            if ((at[i] & 0xc0) != 0x80)
                return false;
        at += more + 1;
    }
    return true;
}

static void walk_attribute(struct body_reader *reader, struct span span)
{
    struct field field;
    bool key = false;
    while (next_field(reader, &span, &field)) {
        if (is_message(&field, 1)) { /* key */
            key = field.bytes.at < field.bytes.end;
            if (!valid_utf8(field.bytes))
                fail(reader, "attribute key is not UTF-8");
        } else if (is_message(&field, 2)) { /* AnyValue */
            struct span value = field.bytes;
            struct field inner;
            while (next_field(reader, &value, &inner))
                if (is_message(&inner, 1) && !valid_utf8(inner.bytes))
                    fail(reader, "attribute value is not UTF-8");
        }
    }
    if (!key)
        fail(reader, "attribute without a key");
}

/* NumberDataPoint (kind 5, 7), HistogramDataPoint (9), ExponentialHistogramDataPoint (10),
 * SummaryDataPoint (11): time is field 3 in all of them. */
static void walk_point(struct body_reader *reader, struct span span, uint32_t kind)
{
    uint32_t attributes = kind == 9 ? 9 : kind == 10 ? 1 : 7;
    struct field field;
    bool time = false, value = kind > 7;
    while (next_field(reader, &span, &field)) {
        if (field.number == 3 && field.wire == WIRE_FIXED64)
            time = field.value != 0;
        else if (is_message(&field, attributes))
            walk_attribute(reader, field.bytes);
        else if (kind <= 7 && (field.number == 4 || field.number == 6))
            value = field.wire == WIRE_FIXED64;
    }
    if (!time)
        fail(reader, "point without a time");
    if (!value)
        fail(reader, "point without a value");
}

static void walk_data(struct body_reader *reader, struct span span, uint32_t kind)
{
    struct field field;
    uint64_t before = reader->counts->points;
    while (next_field(reader, &span, &field)) {
        if (!is_message(&field, 1))
            continue;
        reader->counts->points++;
        if (!reader->count_only)
            walk_point(reader, field.bytes, kind);
    }
    if (reader->counts->points == before)
        fail(reader, "metric without points");
}

static void walk_metric(struct body_reader *reader, struct span span)
{
    struct field field;
    struct span name = {0};
    bool data = false;
    reader->counts->metrics++;
    while (next_field(reader, &span, &field)) {
        if (is_message(&field, 1)) {
            name = field.bytes;
        } else if (field.wire == WIRE_BYTES && (field.number == 5 || field.number == 7 ||
                                                (field.number >= 9 && field.number <= 11))) {
            data = true;
            walk_data(reader, field.bytes, field.number);
        }
    }
    if (name.at == name.end)
        fail(reader, "metric without a name");
    else if (!valid_utf8(name))
        fail(reader, "metric name is not UTF-8");
    else
        note_name(reader, name);
    if (!data)
        fail(reader, "metric without data");
}

static void walk_scope(struct body_reader *reader, struct span span)
{
    struct field field;
    while (next_field(reader, &span, &field))
        if (is_message(&field, 2))
            walk_metric(reader, field.bytes);
}

static void walk_resource(struct body_reader *reader, struct span span)
{
    struct field field;
    reader->counts->resources++;
    while (next_field(reader, &span, &field)) {
        if (is_message(&field, 1)) {
            struct span resource = field.bytes;
            struct field inner;
            while (next_field(reader, &resource, &inner))
                if (is_message(&inner, 1))
                    walk_attribute(reader, inner.bytes);
        } else if (is_message(&field, 2)) {
            walk_scope(reader, field.bytes);
        }
    }
}

const char *body_walk(struct body_reader *reader, const uint8_t *body, size_t bytes,
                      struct body_counts *ret_counts)
{
    struct span span = {body, body + bytes};
    struct field field;
    reader->counts = ret_counts;
    reader->problem = NULL;
    while (next_field(reader, &span, &field)) {
        if (is_message(&field, 1))
            walk_resource(reader, field.bytes);
        else
            fail(reader, "unknown field in ExportMetricsServiceRequest");
    }
    return reader->problem;
}

uint32_t body_name_count(const struct body_reader *reader)
{
    return reader->name_count;
}
