/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Bytes of a WriteRequest, written head to tail. Nothing here checks for room: the caller has asked
 * put_room() for all that it is about to write. */
enum {
    PUT_SERIES = 0x0a,   /* WriteRequest.timeseries */
    PUT_METADATA = 0x1a, /* WriteRequest.metadata */
    PUT_LENGTH_BYTES = 5,
};

static inline bool put_room(const uint8_t *at, const uint8_t *end, size_t bytes)
{
    return (size_t)(end - at) >= bytes;
}

static inline size_t length_bytes(uint64_t length)
{
    return (size_t)(63 - __builtin_clzll(length | 1)) / 7 + 1;
}

static inline uint8_t *put_length(uint8_t *at, uint64_t length)
{
    for (; length >= 0x80; length >>= 7)
        *at++ = (uint8_t)(length | 0x80);
    *at++ = (uint8_t)length;
    return at;
}

static inline uint8_t *put_field(uint8_t *at, uint8_t tag, const void *bytes, size_t count)
{
    *at++ = tag;
    at = put_length(at, count);
    memcpy(at, bytes, count);
    return at + count;
}

/* In steps of 16 bytes: reads and writes up to 15 more, for which both sides have room. */
static inline void copy_over(uint8_t *to, const uint8_t *from, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += 16)
        memcpy(to + at, from + at, 16);
}

/* A series' one sample, TimeSeries.samples with its tag, the value still to come. A sample that is
 * no point of its own (target_info, all but one series of a distribution) has its time before its
 * value: a decoder does not care, and split.c counts points by it. */
enum { SAMPLE_BYTES = 24, SAMPLE_TAG = 0x12, SAMPLE_VALUE = 0x09, SAMPLE_TIME = 0x10 };

struct sample {
    uint8_t bytes[SAMPLE_BYTES];
    uint32_t count, value_at;
};
_Static_assert(SAMPLE_BYTES >= 2 + 1 + 8 + 1 + 10, "the longest sample");

static inline struct sample sample_make(int64_t time_ms, bool counted)
{
    struct sample sample = {.bytes = {SAMPLE_TAG}};
    size_t time_bytes = length_bytes((uint64_t)time_ms);
    sample.bytes[1] = (uint8_t)(1 + 8 + 1 + time_bytes);
    sample.value_at = counted ? 3 : (uint32_t)(3 + time_bytes + 1);
    uint8_t *time_at = sample.bytes + (counted ? 11 : 2);
    *time_at = SAMPLE_TIME;
    put_length(time_at + 1, (uint64_t)time_ms);
    sample.bytes[sample.value_at - 1] = SAMPLE_VALUE;
    sample.count = (uint32_t)(2 + sample.bytes[1]);
    return sample;
}

/* Writes all SAMPLE_BYTES; returns where the sample ends. */
static inline uint8_t *put_sample(uint8_t *at, const struct sample *sample, double value)
{
    memcpy(at, sample->bytes, SAMPLE_BYTES);
    memcpy(at + sample->value_at, &value, sizeof value);
    return at + sample->count;
}
