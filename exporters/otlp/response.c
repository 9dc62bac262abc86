/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the two answers of an OTLP/HTTP back end by hand: three fields of interest, from bytes that
 * anyone on the path may have written. Nothing is allocated, nothing recurses, every read is
 * bounded by the body; what is not this message (HTML of a proxy, JSON, garbage) is refused, and
 * text that reaches a log or /status has no control characters. Pure functions, any thread.
 * Source: opentelemetry-proto, collector/metrics/v1/metrics_service.proto; google/rpc/status.proto;
 * https://protobuf.dev/programming-guides/encoding */
#include "exporters/otlp/response.h"

#include "base/utf8.h"
#include "exporters/otlp/wire.h"

#include <string.h>

enum {
    RESPONSE_PARTIAL_SUCCESS = 1,
    PARTIAL_REJECTED_POINTS = 1,
    PARTIAL_MESSAGE = 2,
    STATUS_CODE = 1,
    STATUS_MESSAGE = 2,
};

/* One line that a terminal shows as it is: control characters (C0, DEL, C1) become spaces. */
static void set_message(struct otlp_response *response, struct wire text)
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

static bool parse_partial_success(struct wire wire, struct otlp_response *response)
{
    while (wire.at < wire.end) {
        struct wire_field field;
        if (!wire_read_field(&wire, &field))
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
    struct wire wire = {body, bytes ? body + bytes : body};
    while (wire.at < wire.end) {
        struct wire_field field;
        if (!wire_read_field(&wire, &field))
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
    struct wire wire = {body, bytes ? body + bytes : body};
    while (wire.at < wire.end) {
        struct wire_field field;
        if (!wire_read_field(&wire, &field))
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
