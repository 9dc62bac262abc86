/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* OTLP's data model (opentelemetry-proto metrics.proto), as far as pgweir collects it. */
enum metric_instrument { METRIC_GAUGE, METRIC_SUM };
enum metric_value { METRIC_INT, METRIC_DOUBLE };

/* What a metric is; immutable once built and valid until its catalogue is destroyed. Two points
 * belong to one metric exactly when the pointers are equal. */
struct metric {
    const char *name;        /* postgresql.commits */
    const char *unit;        /* UCUM, "1", "By", "{lock}" */
    const char *description; /* one sentence */
    enum metric_instrument instrument;
    enum metric_value value;
    bool monotonic; /* only for METRIC_SUM; sums are cumulative */
    bool enabled;   /* collected unless the configuration says otherwise */
};
