/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "exporters/http.h"

/* What a back end's answer says, for people and for the books. Bodies are untrusted bytes. */
struct answer_reading {
    uint64_t
        rejected_points; /* of an accepted request: the partial success, never more than sent */
    char message[256];   /* partial success: the back end's reason, "" when it gave none */
};

/* An answer with a status of 200 to 299 to a request of `points`. What is not OTLP (some back ends
 * answer "OK" or a page) is full success: the status is what counts. */
struct answer_reading answer_read(const struct http_answer *answer, uint64_t points);

/* One line for the log and for /health: what came, and the likely cure. */
void answer_describe(const struct http_answer *answer, char *ret_text, size_t text_bytes);
