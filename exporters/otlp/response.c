/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the two answers of an OTLP/HTTP back end by hand: three fields of interest, from bytes that
 * anyone on the path may have written. Nothing is allocated, nothing recurses, every read is
 * bounded by the body; what is not this message (HTML of a proxy, JSON, garbage) is refused, and
 * text that reaches a log or /status has no control characters. Pure functions, any thread.
 * Source: opentelemetry-proto, collector/metrics/v1/metrics_service.proto; google/rpc/status.proto;
 * https://protobuf.dev/programming-guides/encoding */
#include "exporters/otlp/response.h"

#include "base/utf8.h"

#include <string.h>

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };
enum {
    RESPONSE_PARTIAL_SUCCESS = 1,
    PARTIAL_REJECTED_POINTS = 1,
    PARTIAL_MESSAGE = 2,
    STATUS_CODE = 1,
    STATUS_MESSAGE = 2,
};
enum { VARINT_BYTES_MAX = 10 };

struct reader {
    const uint8_t *at, *end;
};

struct field {
    uint32_t number;
    enum wire_type type;
    uint64_t varint; /* WIRE_VARINT */
    struct reader bytes;
};

static bool read_varint(struct reader *reader, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < VARINT_BYTES_MAX && reader->at < reader->end; i++) {
        uint8_t byte = *reader->at++;
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

static bool read_bytes(struct reader *reader, uint64_t bytes, struct reader *ret_bytes)
{
    if (bytes > (uint64_t)(reader->end - reader->at))
        return false;
    *ret_bytes = (struct reader){reader->at, reader->at + bytes};
    reader->at += bytes;
    return true;
}

/* The next field; false for anything malformed, including groups, which no OTLP message has. */
static bool read_field(struct reader *reader, struct field *ret_field)
{
    struct field field = {0};
    uint64_t key, length;
    if (!read_varint(reader, &key) || key > UINT32_MAX || key >> 3 == 0)
        return false;
    field.number = (uint32_t)(key >> 3);
    field.type = (enum wire_type)(key & 7);
    *ret_field = field;
    switch (key & 7) {
    case WIRE_VARINT:
        return read_varint(reader, &ret_field->varint);
    case WIRE_FIXED64:
        return read_bytes(reader, 8, &ret_field->bytes);
    case WIRE_FIXED32:
        return read_bytes(reader, 4, &ret_field->bytes);
    case WIRE_BYTES:
        return read_varint(reader, &length) && read_bytes(reader, length, &ret_field->bytes);
    default:
        return false;
    }
}

/* One line that a terminal shows as it is: control characters (C0, DEL, C1) become spaces. */
static void set_message(struct otlp_response *response, struct reader text)
{
    char *message = response->message;
    size_t bytes = utf8_copy(message, sizeof response->message - 1, (const char *)text.at,
                             (size_t)(text.end - text.at));
    message[bytes] = '\0';
    for (size_t i = 0; i < bytes; i++) {
        if ((uint8_t)message[i] < 0x20 || message[i] == 0x7f)
            message[i] = ' ';
        if ((uint8_t)message[i] == 0xc2 && (uint8_t)message[i + 1] < 0xa0)
            message[i] = message[i + 1] = ' ';
    }
}

static bool parse_partial_success(struct reader reader, struct otlp_response *response)
{
    while (reader.at < reader.end) {
        struct field field;
        if (!read_field(&reader, &field))
            return false;
        if (field.number == PARTIAL_REJECTED_POINTS) {
            if (field.type != WIRE_VARINT)
                return false;
            /* A negative number would break the accounting. */
            response->rejected_points = (int64_t)field.varint < 0 ? 0 : (int64_t)field.varint;
        } else if (field.number == PARTIAL_MESSAGE) {
            if (field.type != WIRE_BYTES)
                return false;
            set_message(response, field.bytes);
        }
    }
    return true;
}

bool otlp_response_parse(const uint8_t *body, size_t bytes, struct otlp_response *ret_response)
{
    struct otlp_response response = {0};
    struct reader reader = {body, bytes ? body + bytes : body};
    while (reader.at < reader.end) {
        struct field field;
        if (!read_field(&reader, &field))
            return false;
        if (field.number == RESPONSE_PARTIAL_SUCCESS &&
            (field.type != WIRE_BYTES || !parse_partial_success(field.bytes, &response)))
            return false;
    }
    *ret_response = response;
    return true;
}

bool otlp_status_parse(const uint8_t *body, size_t bytes, struct otlp_response *ret_response)
{
    struct otlp_response response = {0};
    struct reader reader = {body, bytes ? body + bytes : body};
    while (reader.at < reader.end) {
        struct field field;
        if (!read_field(&reader, &field))
            return false;
        if (field.number == STATUS_CODE && field.type != WIRE_VARINT)
            return false;
        if (field.number == STATUS_MESSAGE) {
            if (field.type != WIRE_BYTES)
                return false;
            set_message(&response, field.bytes);
        }
    }
    *ret_response = response;
    return true;
}
