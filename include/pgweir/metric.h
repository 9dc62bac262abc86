/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* OTLP's data model (opentelemetry-proto metrics.proto), as far as pgweir collects it. A metric is
 * METRIC_HISTOGRAM exactly when its values are METRIC_DISTRIBUTION: whoever reads the value of a
 * point asks for that first (metric_is_number()), as the point then holds a pointer. */
enum metric_instrument { METRIC_GAUGE, METRIC_SUM, METRIC_HISTOGRAM };
enum metric_value { METRIC_INT, METRIC_DOUBLE, METRIC_DISTRIBUTION };

/* What a metric is; immutable once built and valid until its catalogue is destroyed. Two points
 * belong to one metric exactly when the pointers are equal. */
struct metric {
    const char *name;        /* postgresql.commits */
    const char *unit;        /* UCUM, "1", "By", "{lock}" */
    const char *description; /* one sentence */
    enum metric_instrument instrument;
    enum metric_value value;
    bool monotonic; /* only for METRIC_SUM */
    bool enabled;   /* collected unless the configuration says otherwise */
    bool delta;     /* sums and histograms: what was added since the point's start. Never of what is
                       collected; made for destinations that ask for it (exporters/otlp/delta.h) */
};

static inline bool metric_is_number(const struct metric *metric)
{
    return metric->value != METRIC_DISTRIBUTION;
}

/* The value of a METRIC_DISTRIBUTION point: how often which values were seen since the point's
 * start, in OTLP's exponential form. Bucket i holds what lies in
 *
 *     (base^(offset + i), base^(offset + i + 1)]    base = 2^(2^-scale), in the metric's unit
 *
 * and zeros are counted apart: count = zero_count + Σ buckets. Prometheus' native histograms are
 * the same with schema = scale and indices one higher. Immutable; borrowed like a point's
 * attributes, so valid while the page is in hand. base/distribution.h makes, copies, subtracts and
 * asks them. */
struct distribution {
    uint64_t count, zero_count;
    double sum, max; /* max: since the start; 0 when count is 0 */
    int32_t scale, offset;
    uint32_t bucket_count; /* first and last bucket are not 0 */
    uint64_t buckets[];
};
