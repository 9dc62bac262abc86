/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "ring/page.h"

/* Step 8 of 9: page in, OTLP bytes out; a pure function. Written tail to head, so every length is
 * known when its prefix is written: no size pass, no tree, no malloc. A request is the
 * concatenation of what is encoded for its pages (each piece is a whole `resource_metrics` field,
 * tag included, of ExportMetricsServiceRequest).
 * Source: opentelemetry-proto, metrics/v1/metrics.proto. */

/* A stretch of a page's points, so that a batch can end in the middle of a page. */
struct page_slice {
    uint32_t first, count;
};

/* Writes the slice so that it ends at `end`, never before `floor`; returns the first byte, or NULL
 * when it does not fit (what lies between is then garbage). `variant` of the resources. */
uint8_t *otlp_encode(const struct page *page, struct page_slice slice, uint32_t variant,
                     uint8_t *floor, uint8_t *end);
