/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/telemetry.h>

#include "pg/decode.h"

/* A shard that decodes and a worker that reads along, both on the test's thread. */
enum { DECODED_MAX = 4096 };

struct decoded {
    const struct metric *metric;
    const struct attrs *fixed;
    const struct resource *resource;
    uint64_t time_ns, start_ns;
    int64_t integer;
    double real;
    char attrs[160]; /* "key=value,key=value" */
};

struct decoding {
    struct ring *ring;
    struct writer writer;
    struct resource resource;
    struct decode_context context;
    const char *problem; /* of the last result */
    struct decoded points[DECODED_MAX];
    uint32_t point_count, run_count;
};

void decoding_init(struct decoding *decoding, uint32_t page_count);
void decoding_fini(struct decoding *decoding);

/* Decodes one result read at `time_ns`, flushes, takes what came and gives the pages back. Returns
 * what decode_result() said. */
uint64_t decoding_run(struct decoding *decoding, struct series_table *table, const void *rows,
                      uint64_t time_ns);

/* Writes the attributes as text, cut to the room there is. */
void decoding_print(const struct attrs *attrs, char *ret_text, size_t text_bytes);

uint64_t decoding_telemetry(const struct decoding *decoding, enum telemetry_value value);
