/* SPDX-License-Identifier: Apache-2.0 */
/* From log-linear buckets of ns to exponential ones of seconds, once per export of pgweir's own
 * metrics. The arithmetic is the header's.
 * Source: OTLP metrics data model, "ExponentialHistogram". */
#include "base/distribution.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"

const double distribution_bounds[DISTRIBUTION_BOUNDS] = {
    1e-05, 2.5e-05, 5e-05, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
    0.1,   0.25,    0.5,   1,      2.5,     5,      10,    25,     50,    100,  250,
};
const char *const distribution_bound_names[DISTRIBUTION_BOUNDS] = {
    "1e-05", "2.5e-05", "5e-05", "0.0001", "0.00025", "0.0005", "0.001", "0.0025",
    "0.005", "0.01",    "0.025", "0.05",   "0.1",     "0.25",   "0.5",   "1",
    "2.5",   "5",       "10",    "25",     "50",      "100",    "250",
};

/* The distribution's bucket that holds the middle of bucket `index` (not 0) of a histogram. */
static int32_t index_of(uint32_t index)
{
    uint64_t start = histogram_bucket_start(index), end = histogram_bucket_start(index + 1);
    double middle = ((double)start + (double)(end - 1 - start) / 2) / (double)NS_PER_S;
    return (int32_t)ceil(ldexp(log2(middle), DISTRIBUTION_SCALE)) - 1;
}

static size_t size_of(uint32_t bucket_count)
{
    return sizeof(struct distribution) + bucket_count * sizeof(uint64_t);
}

struct distribution *distribution_create(const struct histogram_view *view)
{
    uint32_t first = 1, end = HISTOGRAM_BUCKETS;
    while (first < end && view->buckets[first] == 0)
        first++;
    while (end > first && view->buckets[end - 1] == 0)
        end--;
    int32_t offset = first < end ? index_of(first) : 0;
    uint32_t bucket_count = first < end ? (uint32_t)(index_of(end - 1) - offset) + 1 : 0;
    struct distribution *distribution = xcalloc(1, size_of(bucket_count));
    distribution->count = view->count;
    distribution->zero_count = view->buckets[0];
    distribution->sum = (double)view->sum_ns / (double)NS_PER_S;
    distribution->max = (double)view->max_ns / (double)NS_PER_S;
    distribution->scale = DISTRIBUTION_SCALE;
    distribution->offset = offset;
    distribution->bucket_count = bucket_count;
    for (uint32_t i = first; i < end; i++)
        if (view->buckets[i] != 0)
            distribution->buckets[index_of(i) - offset] += view->buckets[i];
    return distribution;
}

struct distribution *distribution_copy(const struct distribution *distribution)
{
    struct distribution *copy = xmalloc(size_of(distribution->bucket_count));
    memcpy(copy, distribution, size_of(distribution->bucket_count));
    return copy;
}

void distribution_destroy(struct distribution **distribution)
{
    free(*distribution);
    *distribution = NULL;
}

/* What the distribution counts in the bucket that ends at base^(index + 1). */
static uint64_t count_at(const struct distribution *distribution, int64_t index)
{
    int64_t at = index - distribution->offset;
    return at >= 0 && at < distribution->bucket_count ? distribution->buckets[at] : 0;
}

struct distribution *distribution_subtract(const struct distribution *now,
                                           const struct distribution *before)
{
    bool contained = now->scale == before->scale && now->count >= before->count &&
                     now->zero_count >= before->zero_count && now->sum >= before->sum;
    for (uint32_t i = 0; contained && i < before->bucket_count; i++)
        contained = count_at(now, (int64_t)before->offset + i) >= before->buckets[i];
    if (!contained)
        return NULL;
    struct distribution *news = distribution_copy(now);
    news->count -= before->count;
    news->zero_count -= before->zero_count;
    news->sum -= before->sum;
    uint32_t first = UINT32_MAX, end = 0;
    for (uint32_t i = 0; i < now->bucket_count; i++) {
        news->buckets[i] -= count_at(before, (int64_t)now->offset + i);
        if (news->buckets[i] == 0)
            continue;
        first = first == UINT32_MAX ? i : first;
        end = i + 1;
    }
    news->bucket_count = end == 0 ? 0 : end - first;
    news->offset = end == 0 ? 0 : now->offset + (int32_t)first;
    if (end != 0)
        memmove(news->buckets, news->buckets + first, news->bucket_count * sizeof(uint64_t));
    return news;
}

double distribution_upper(const struct distribution *distribution, uint32_t index)
{
    return exp2(ldexp((double)distribution->offset + index + 1, -distribution->scale));
}

uint64_t distribution_count_to(const struct distribution *distribution, double bound)
{
    uint64_t count = distribution->zero_count;
    for (uint32_t i = 0; i < distribution->bucket_count; i++) {
        if (distribution_upper(distribution, i) > bound)
            break;
        count += distribution->buckets[i];
    }
    return count;
}

double distribution_quantile(const struct distribution *distribution, double share)
{
    if (distribution->count == 0)
        return 0;
    uint64_t rank = (uint64_t)(share * (double)distribution->count);
    if (rank >= distribution->count)
        return distribution->max;
    uint64_t seen = distribution->zero_count;
    if (seen > rank)
        return 0;
    for (uint32_t i = 0; i < distribution->bucket_count; i++) {
        seen += distribution->buckets[i];
        if (seen <= rank)
            continue;
        double middle =
            distribution_upper(distribution, i) * exp2(-ldexp(0.5, -distribution->scale));
        return middle < distribution->max ? middle : distribution->max;
    }
    return distribution->max;
}
