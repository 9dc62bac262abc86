/* SPDX-License-Identifier: Apache-2.0 */
/* Reading side of the log-linear histogram; the writing side is inline in the header. */
#include "base/histogram.h"

uint64_t histogram_bucket_start(uint32_t index)
{
    if (index < HISTOGRAM_SUB_COUNT)
        return index;
    uint32_t shift = index / HISTOGRAM_SUB_COUNT - 1;
    uint64_t sub = index % HISTOGRAM_SUB_COUNT;
    return (HISTOGRAM_SUB_COUNT + sub) << shift;
}

void histogram_merge(struct histogram_view *view, const struct histogram *histogram)
{
    uint64_t sum = 0; /* from the buckets, not from the count that its writer may be ahead with */
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint64_t count = counter_read(&histogram->buckets[i]);
        view->buckets[i] += count;
        sum += count;
    }
    view->count += sum;
    view->sum_ns += counter_read(&histogram->sum_ns);
    uint64_t max_ns = counter_read(&histogram->max_ns);
    if (max_ns > view->max_ns)
        view->max_ns = max_ns;
}

uint64_t histogram_quantile(const struct histogram_view *view, double share)
{
    if (view->count == 0)
        return 0;
    uint64_t rank = (uint64_t)(share * (double)view->count);
    if (rank >= view->count)
        return view->max_ns;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += view->buckets[i];
        if (seen > rank) {
            uint64_t start = histogram_bucket_start(i);
            uint64_t middle = start + (histogram_bucket_start(i + 1) - start) / 2;
            return middle < view->max_ns ? middle : view->max_ns;
        }
    }
    return view->max_ns;
}
