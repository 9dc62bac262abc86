/* SPDX-License-Identifier: Apache-2.0 */
/* Reads back ends' answers: protobuf or JSON, or neither. Runs on the worker, owns nothing. */
#include "exporters/answer.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exporters/otlp/response.h"

static bool is_json(const struct http_answer *answer)
{
    return answer->content_type != NULL && strstr(answer->content_type, "json") != NULL;
}

/* Untrusted bytes as one printable line, cut. */
static void copy_printable(char *to, size_t to_bytes, const char *from, size_t from_bytes)
{
    size_t used = 0;
    for (size_t i = 0; i < from_bytes && used + 1 < to_bytes; i++) {
        unsigned char byte = (unsigned char)from[i];
        if (byte >= 0x20 && byte < 0x7f)
            to[used++] = (char)byte;
        else if (used > 0 && to[used - 1] != ' ')
            to[used++] = ' ';
    }
    to[used] = '\0';
}

/* int64 is a string in OTLP/JSON; plain numbers are taken as well. */
static int64_t json_count(const json_t *value)
{
    if (json_is_string(value))
        return strtoll(json_string_value(value), NULL, 10);
    return json_is_integer(value) ? json_integer_value(value) : 0;
}

static void read_json(const struct http_answer *answer, struct otlp_response *response)
{
    json_t *root = json_loadb((const char *)answer->body, answer->body_bytes, 0, NULL);
    const json_t *partial = json_object_get(root, "partialSuccess");
    response->rejected_points = json_count(json_object_get(partial, "rejectedDataPoints"));
    const char *message = json_string_value(json_object_get(partial, "errorMessage"));
    if (message == NULL)
        message = json_string_value(json_object_get(root, "message"));
    if (message != NULL)
        copy_printable(response->message, sizeof response->message, message, strlen(message));
    json_decref(root);
}

struct answer_reading answer_read(const struct http_answer *answer, uint64_t points)
{
    struct answer_reading reading = {0};
    struct otlp_response response = {0};
    if (answer->body_bytes == 0)
        return reading;
    if (is_json(answer))
        read_json(answer, &response);
    else if (!otlp_response_parse(answer->body, answer->body_bytes, &response))
        return reading;
    if (response.rejected_points > 0)
        reading.rejected_points = (uint64_t)response.rejected_points < points
                                      ? (uint64_t)response.rejected_points
                                      : points;
    memcpy(reading.message, response.message, sizeof reading.message);
    reading.message[sizeof reading.message - 1] = '\0';
    return reading;
}

static const char *cure(int status)
{
    switch (status) {
    case 401:
    case 403:
        return "authentication failed, check the credentials (headers of the exporter); data is "
               "held meanwhile";
    case 407:
        return "authentication failed, check the credentials of proxy_url; data is held meanwhile";
    case 404:
        return "check the path of the endpoint";
    case 413:
        return "lower send_batch_max_size of the batch processor";
    case 415:
        return "check encoding and compression of the exporter";
    case 429:
        return "the back end asks to slow down";
    default:
        return status >= 300 && status < 400
                   ? "redirects are not followed: set the endpoint to the final address"
                   : NULL;
    }
}

static void describe_failure(const struct http_answer *answer, char *ret_text, size_t text_bytes)
{
    static const char *const cures[] = {
        [HTTP_ANSWERED] = "",
        [HTTP_UNREACHABLE] = "no connection (check the endpoint, and that it is up)",
        [HTTP_LOST] = "no answer (what was sent may have arrived; it is sent again)",
        [HTTP_TIMEOUT] = "timed out (back end slow, or timeout too short)",
        [HTTP_UNTRUSTED] = ("TLS certificate not accepted (check tls::ca_file, or tls::cert_file "
                            "where the back end refuses ours; data is held)"),
        [HTTP_OVERSIZED] = "answer not understood",
    };
    snprintf(ret_text, text_bytes, "%s: %s", cures[answer->outcome], answer->text);
}

void answer_describe(const struct http_answer *answer, char *ret_text, size_t text_bytes)
{
    if (answer->outcome != HTTP_ANSWERED) {
        describe_failure(answer, ret_text, text_bytes);
        return;
    }
    struct otlp_response response = {0};
    const char *body = (const char *)answer->body;
    if (is_json(answer))
        read_json(answer, &response);
    else if (answer->body_bytes > 0 &&
             (!otlp_status_parse(answer->body, answer->body_bytes, &response) ||
              response.message[0] == '\0'))
        copy_printable(response.message, sizeof response.message / 2, body, answer->body_bytes);
    const char *name = http_status_name(answer->status);
    const char *help = cure(answer->status);
    snprintf(ret_text, text_bytes, "%d%s%s%s%s%s%s", answer->status, name[0] ? " " : "", name,
             help != NULL ? ": " : "", help != NULL ? help : "",
             response.message[0] != '\0' ? "; it says: " : "", response.message);
}
