/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/counter.h"

/* Log-linear histogram of durations in ns: 64 equal buckets per power of two, so a value read back
 * as its bucket's middle is at most 0.8 % off. Constant memory, single writer, any readers,
 * mergeable by adding. Values past 2^41 ns (36 min) land in the last bucket. */
enum {
    HISTOGRAM_SUB_BITS = 6,
    HISTOGRAM_SUB_COUNT = 1 << HISTOGRAM_SUB_BITS,
    HISTOGRAM_OCTAVES = 36,
    HISTOGRAM_BUCKETS = HISTOGRAM_SUB_COUNT * HISTOGRAM_OCTAVES,
};

struct histogram {
    struct counter count;
    struct counter sum_ns;
    struct counter max_ns;
    struct counter buckets[HISTOGRAM_BUCKETS];
};

/* A copy that one thread owns: what readers merge into and ask. */
struct histogram_view {
    uint64_t count, sum_ns, max_ns;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

static inline uint32_t histogram_index(uint64_t value)
{
    if (value < HISTOGRAM_SUB_COUNT)
        return (uint32_t)value;
    uint32_t shift = 63u - (uint32_t)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
    uint32_t index = (shift + 1) * HISTOGRAM_SUB_COUNT +
                     (uint32_t)((value >> shift) & (HISTOGRAM_SUB_COUNT - 1));
    return index < HISTOGRAM_BUCKETS ? index : HISTOGRAM_BUCKETS - 1;
}

/* `count` times the same value. */
static inline void histogram_record_many(struct histogram *histogram, uint64_t value_ns,
                                         uint64_t count)
{
    counter_add(&histogram->buckets[histogram_index(value_ns)], count);
    counter_add(&histogram->count, count);
    counter_add(&histogram->sum_ns, value_ns * count);
    if (value_ns > counter_read(&histogram->max_ns))
        counter_set(&histogram->max_ns, value_ns);
}

static inline void histogram_record(struct histogram *histogram, uint64_t value_ns)
{
    histogram_record_many(histogram, value_ns, 1);
}

/* First value of bucket `index`, and of the one after it the bucket's exclusive end. */
uint64_t histogram_bucket_start(uint32_t index);

/* Adds what the histogram holds now to the view (zero the view first). */
void histogram_merge(struct histogram_view *view, const struct histogram *histogram);

/* The value below which `share` (0 to 1) of what was recorded lies; 0 when empty. */
uint64_t histogram_quantile(const struct histogram_view *view, double share);
