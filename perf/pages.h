/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "ring/page.h"

/* Pages as a fleet of servers with many tables makes them: a page holds the metrics of one server's
 * tables, run after run of the same attribute sets; the next page is another server's. */
struct bench_pages;

/* `page_count` full pages with `run_points` points to a run. Sets lie in memory as they were made,
 * server by server; where `scattered`, every point of a page has a set of its own and they lie
 * anywhere: the worst case. */
struct bench_pages *bench_pages_create(uint32_t page_count, uint32_t run_points, bool scattered);
void bench_pages_destroy(struct bench_pages **pages);

const struct page *bench_pages_get(const struct bench_pages *pages, uint32_t index);
