/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Reads the body of an OTLP metrics request: unpacks it and walks the protobuf, counting and
 * checking. Bodies are untrusted bytes. One thread. */
struct body_reader;

struct body_counts {
    uint64_t resources, metrics, points;
};

enum body_encoding { BODY_IDENTITY, BODY_GZIP, BODY_ZSTD, BODY_UNKNOWN };

/* `count_only`: points are counted but not looked into. */
struct body_reader *body_reader_create(bool count_only);
void body_reader_destroy(struct body_reader **reader);

/* The decoded bytes, good until the next call; NULL with a reason when they cannot be unpacked or
 * are larger than 64 MiB. */
const uint8_t *body_unpack(struct body_reader *reader, enum body_encoding encoding,
                           const uint8_t *in, size_t bytes, size_t *ret_bytes,
                           const char **ret_problem);

/* Counts into a zeroed `ret_counts`; the first thing that is wrong, or NULL. */
const char *body_walk(struct body_reader *reader, const uint8_t *body, size_t bytes,
                      struct body_counts *ret_counts);

/* Different metric names seen since the start (at most 65536). */
uint32_t body_name_count(const struct body_reader *reader);
