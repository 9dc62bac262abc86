/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the body of an OTLP request to pgweir-sink: unpacked in each encoding and walked,
 * looking into points and only counting them; both ways agree about how many there are. */
#include "base/check.h"
#include "tools/sink_body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct body_reader *full, *counting;
    if (full == NULL) {
        full = body_reader_create(false);
        counting = body_reader_create(true);
    }
    if (size == 0)
        return 0;
    enum body_encoding encoding = data[0] % (BODY_UNKNOWN + 1);
    size_t bytes = 0;
    const char *problem = NULL;
    const uint8_t *body = body_unpack(full, encoding, data + 1, size - 1, &bytes, &problem);
    CHECK(body != NULL || problem != NULL);
    if (body == NULL)
        return 0;
    struct body_counts looked = {0}, counted = {0};
    if (body_walk(full, body, bytes, &looked) == NULL) {
        CHECK(body_walk(counting, body, bytes, &counted) == NULL);
        CHECK(looked.points == counted.points);
    }
    return 0;
}
