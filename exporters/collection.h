/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdio.h>

#include "exporters/otlp/encode.h"

/* Points copied out of pages, to be printed when all have come. One thread. Metrics are borrowed
 * until the collection is destroyed. */
struct collected {
    const struct metric *metric;
    uint32_t resource;   /* index */
    struct attrs *attrs; /* fixed ones first */
    union {
        int64_t integer;
        double real;
        struct distribution *distribution; /* a copy of its own */
    } value;
    uint64_t order; /* of arrival */
};

struct collection {
    struct collected *points;
    size_t point_count, point_space;
    struct attrs **resources;
    size_t resource_count;
    uint64_t left_out; /* points beyond the limit */
};

enum { COLLECTION_POINTS_MAX = 1 << 20, COLLECTION_RESOURCES_MAX = 1 << 14 };

void collection_add(struct collection *collection, const struct page *page, struct page_slice slice,
                    uint32_t variant);

/* Orders the points by metric name, then as they came. */
void collection_sort(struct collection *collection);

/* Empties it. */
void collection_fini(struct collection *collection);

/* Columns for people. */
void collection_print_table(const struct collection *collection, FILE *stream);

/* Prometheus text format 0.0.4. Names are OTLP's with every character that is not allowed replaced
 * by "_"; counters end in _total, other names that end like a part of a histogram (_count, _sum,
 * _bucket) in _value. Distributions become classic histograms. Values keep their unit, which HELP
 * names. Attributes of the resource are labels of target_info, and of every sample where there is
 * more than one resource. Source: prometheus.io/docs/instrumenting/exposition_formats, OTLP metrics
 * data model "Prometheus". */
void collection_print_prometheus(const struct collection *collection, FILE *stream);
