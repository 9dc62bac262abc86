/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdio.h>

#include "exporters/otlp/encode.h"

/* The live summary: servers up, points per second, latencies, the busiest databases and tables,
 * from the points that pass by and pgweir's own counters. One thread. */
struct summary;

struct summary *summary_create(uint64_t now_ns);
void summary_destroy(struct summary **summary);

void summary_add(struct summary *summary, const struct page *page, struct page_slice slice,
                 uint32_t variant);

/* Several lines (`ansi`: over the last picture), or one. `now_ns` monotonic. */
void summary_print(struct summary *summary, FILE *stream, bool ansi, uint64_t now_ns);
