/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a request to pgweir-sink: its head lies within them, a body in chunks is not longer
 * than they are, and a prefix of a sound one asks for more or says what the whole says. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "tools/sink/http_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_span(struct span span, const uint8_t *data, size_t bytes)
{
    CHECK(span.at == NULL || (span.at >= data && span.end >= span.at && span.end <= data + bytes));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_head head, again;
    int status = http_parse_head(data, size, &head);
    CHECK(status == 0 || status == 100 || (status >= 400 && status < 600));
    if (status == 0) {
        CHECK(head.bytes <= size && head.body_bytes <= HTTP_BODY_BYTES_MAX);
        check_span(head.method, data, head.bytes);
        check_span(head.path, data, head.bytes);
        check_span(head.content_type, data, head.bytes);
        check_span(head.content_encoding, data, head.bytes);
        CHECK(http_parse_head(data, head.bytes, &again) == 0 && again.bytes == head.bytes);
        CHECK(http_parse_head(data, head.bytes - 1, &again) != 0);
    }
    size_t used = 0, body_bytes = 0;
    status = http_parse_chunks(data, size, NULL, &used, &body_bytes);
    if (status != 0)
        return 0;
    CHECK(used <= size && body_bytes <= used);
    uint8_t *body = malloc(body_bytes + (body_bytes == 0)); /* exactly as much as it takes */
    CHECK(body != NULL);
    CHECK(http_parse_chunks(data, size, body, &used, &body_bytes) == 0);
    CHECK(http_parse_chunks(data, used - 1, NULL, &used, &body_bytes) != 0);
    free(body);
    return 0;
}
