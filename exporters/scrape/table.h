/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/component.h>

#include "exporters/otlp/encode.h"
#include "exporters/remote/labels.h"

/* The last value of every series, for whoever scrapes. The worker's thread puts in what pages hold;
 * one other thread reads (slots.h). Neither ever waits for the other. */
struct scrape_table;

enum { SCRAPE_SERIES_MAX = 1 << 24 };

struct scrape_table_settings {
    struct prom_naming naming;
    struct text_map const_labels;  /* names valid; a series' own label of that name goes before */
    enum labels_resource resource; /* which attributes of resources are labels */
    bool scope_labels;             /* otel_scope_name, otel_scope_version */
    uint64_t expiration_ns;        /* series without a new value for so long are gone */
};

/* Texts in `settings` are borrowed as long as the table lives. */
struct scrape_table *scrape_table_create(const struct scrape_table_settings *settings);
void scrape_table_destroy(struct scrape_table **table);

/* Takes the values of the slice. False when the table is full (SCRAPE_SERIES_MAX) and some found
 * no place. Worker. */
bool scrape_table_take(struct scrape_table *table, const struct page *page, struct page_slice slice,
                       uint32_t variant, uint64_t now_ns);

/* Forgets what has expired, a part of the table at a time; returns when to be called next. Worker.
 */
uint64_t scrape_table_tick(struct scrape_table *table, uint64_t now_ns);

/* Worker. */
size_t scrape_table_series(const struct scrape_table *table);
size_t scrape_table_bytes(const struct scrape_table *table);

/* ---- the reader's side: one thread ---- */

struct scrape_format {
    bool open_metrics; /* OpenMetrics 1.0, else Prometheus text 0.0.4 */
    bool timestamps;
};

struct scrape;

/* A walk over all series that have a value which has not expired. Series that come or go while it
 * lasts may be in it or not; each other one is, once. */
struct scrape *scrape_begin(struct scrape_table *table, struct scrape_format format);
void scrape_end(struct scrape **scrape);

/* Writes the next whole lines, at most `bytes_max`. 0: it is at its end, or the next line needs
 * scrape_line_bytes(), which is 0 at the end. */
size_t scrape_read(struct scrape *scrape, char *buffer, size_t bytes_max);
size_t scrape_line_bytes(const struct scrape *scrape);
