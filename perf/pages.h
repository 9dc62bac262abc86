/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "ring/page.h"

/* Pages as a fleet of servers with many tables makes them: every point has its own attribute set,
 * the sets lie scattered in memory, and successive pages refer to different ones. */
struct bench_pages;

/* `page_count` full pages with `run_points` points to a run. */
struct bench_pages *bench_pages_create(uint32_t page_count, uint32_t run_points);
void bench_pages_destroy(struct bench_pages **pages);

const struct page *bench_pages_get(const struct bench_pages *pages, uint32_t index);
