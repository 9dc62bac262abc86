/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a back end's answer: no bad read, no negative count, a terminated, printable text.
 */
#include "base/check.h"
#include "exporters/otlp/response.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct otlp_response *response)
{
    const char *end = memchr(response->message, 0, sizeof response->message);
    CHECK(response->rejected_points >= 0 && end);
    for (const char *at = response->message; at < end; at++)
        CHECK((unsigned char)*at >= 0x20 && *at != 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct otlp_response response;
    if (otlp_response_parse(data, size, &response))
        check(&response);
    if (otlp_status_parse(data, size, &response))
        check(&response);
    return 0;
}
