/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* A prometheus.WriteRequest read back by a decoder of the tests' own, strict: whatever is not as
 * prompb/remote.proto and types.proto have it fails the test. */
struct read_label {
    char *name, *value;
    size_t name_bytes, value_bytes;
};

struct read_series {
    struct read_label *labels;
    size_t label_count;
    uint64_t bits; /* of the one sample's value */
    int64_t time_ms;
};

struct read_metadata {
    uint64_t kind;
    char *name, *help, *unit;
};

struct read_request {
    struct read_series *series;
    size_t series_count;
    struct read_metadata *metadata;
    size_t metadata_count;
};

void read_request(struct read_request *request, const uint8_t *body, size_t bytes);
void read_request_fini(struct read_request *request);

/* The label's value (NUL-terminated), or NULL. */
const char *read_label(const struct read_series *series, const char *name);

double read_value(const struct read_series *series);
