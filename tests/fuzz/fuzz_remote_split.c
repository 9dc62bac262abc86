/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a WriteRequest that is too large for its back end: the two parts are the whole, cut,
 * each with at least one point, and a part's points are what splitting says of the part. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "exporters/remote/split.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct otlp_part parts[2] = {{.body = malloc(size + 1)}, {.body = malloc(size + 1)}};
    struct otlp_part again[2] = {{.body = malloc(size + 1)}, {.body = malloc(size + 1)}};
    CHECK(parts[0].body != NULL && parts[1].body != NULL);
    CHECK(again[0].body != NULL && again[1].body != NULL);
    if (remote_split(data, size, parts)) {
        CHECK(parts[0].bytes + parts[1].bytes == size);
        CHECK(memcmp(parts[0].body, data, parts[0].bytes) == 0);
        CHECK(memcmp(parts[1].body, data + parts[0].bytes, parts[1].bytes) == 0);
        for (int i = 0; i < 2; i++) {
            CHECK(parts[i].points > 0);
            bool more = remote_split(parts[i].body, parts[i].bytes, again);
            CHECK(more == (parts[i].points > 1));
            CHECK(!more || again[0].points + again[1].points == parts[i].points);
        }
    }
    for (int i = 0; i < 2; i++) {
        free(parts[i].body);
        free(again[i].body);
    }
    return 0;
}
