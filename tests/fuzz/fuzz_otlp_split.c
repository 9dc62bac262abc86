/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a body that is too large for its back end, compressed or not: decompression keeps
 * its limit; what can be split says, in its two parts, what it said as a whole (otlp_flat.h, a
 * reader that is not the splitter's), and the parts are no larger. */
#include <stdlib.h>

#include "base/check.h"
#include "exporters/compress.h"
#include "exporters/otlp/split.h"
#include "tests/exporters/otlp_flat.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LIMIT_BYTES = 1 << 20 };

static void check_split(const uint8_t *body, size_t bytes)
{
    struct otlp_part parts[2] = {{.body = malloc(bytes + 1)}, {.body = malloc(bytes + 1)}};
    CHECK(parts[0].body != NULL && parts[1].body != NULL);
    uint64_t points = 0, half;
    bool sound = otlp_count_points(body, bytes, &points);
    bool split = otlp_split(body, bytes, parts);
    CHECK(split == (sound && points > 1));
    struct flat whole = {0}, cut = {0};
    CHECK(!sound || (flat_add(&whole, body, bytes) && whole.count == points));
    for (int i = 0; split && i < 2; i++) {
        CHECK(parts[i].bytes <= bytes && parts[i].points > 0);
        CHECK(otlp_count_points(parts[i].body, parts[i].bytes, &half) && half == parts[i].points);
        CHECK(flat_add(&cut, parts[i].body, parts[i].bytes));
    }
    CHECK(!split || flat_equal(&whole, &cut));
    flat_fini(&whole);
    flat_fini(&cut);
    free(parts[0].body);
    free(parts[1].body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t bytes = 0;
    uint8_t *body = decompress((enum compression)(data[0] % COMPRESSION_COUNT), data + 1, size - 1,
                               LIMIT_BYTES, &bytes);
    if (body == NULL)
        return 0;
    CHECK(bytes <= LIMIT_BYTES);
    check_split(body, bytes);
    free(body);
    return 0;
}
