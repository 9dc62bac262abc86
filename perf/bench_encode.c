/* SPDX-License-Identifier: Apache-2.0 */
/* Step 8: ns per point from page to OTLP bytes. `hot`: one page, everything in the first caches.
 * `fleet`: 4,000 servers with 100 tables each, as a worker meets them. `scattered`: every point has
 * its own attribute set somewhere in memory, which no shard does. `short`: runs of one point, where
 * each pays for its metric's name and description. `copy_floor`: the same bytes by one memcpy. */
#include "exporters/otlp/encode.h"
#include "perf/pages.h"
#include "perf/shim/bench.h"

#include <string.h>

enum {
    HOT_PAGES = 1,
    FLEET_PAGES = 4000,
    SCATTERED_PAGES = 400,
    RUN_POINTS = 100,
    BUFFER_BYTES = 1 << 20
};
static uint8_t buffer[BUFFER_BYTES], copy[BUFFER_BYTES];

static void encode(struct bench *bench, uint32_t page_count, uint32_t run_points, bool scattered)
{
    struct bench_pages *pages = bench_pages_create(page_count, run_points, scattered);
    uint32_t index = 0, points = 0;
    size_t bytes = 0;
    while (bench_next(bench)) {
        const struct page *page = bench_pages_get(pages, index++);
        uint8_t *end = buffer + sizeof buffer;
        uint8_t *start =
            otlp_encode(page, (struct page_slice){0, page->point_count}, 0, buffer, end);
        bench_keep(start);
        points = page->point_count;
        bytes = (size_t)(end - start);
    }
    bench_items(bench, points);
    bench_bytes(bench, bytes);
    bench_counter(bench, "bytes_per_point", (double)bytes / points);
    bench_pages_destroy(&pages);
}

static void encode_hot(struct bench *bench)
{
    encode(bench, HOT_PAGES, RUN_POINTS, false);
}

static void encode_fleet(struct bench *bench)
{
    encode(bench, FLEET_PAGES, RUN_POINTS, false);
}

static void encode_scattered(struct bench *bench)
{
    encode(bench, SCATTERED_PAGES, RUN_POINTS, true);
}

static void encode_short(struct bench *bench)
{
    encode(bench, HOT_PAGES, 1, false);
}

static void copy_floor(struct bench *bench)
{
    struct bench_pages *pages = bench_pages_create(HOT_PAGES, RUN_POINTS, false);
    const struct page *page = bench_pages_get(pages, 0);
    uint8_t *end = buffer + sizeof buffer;
    uint8_t *start = otlp_encode(page, (struct page_slice){0, page->point_count}, 0, buffer, end);
    while (bench_next(bench)) {
        memcpy(copy, start, (size_t)(end - start));
        bench_keep(copy);
    }
    bench_items(bench, page->point_count);
    bench_bytes(bench, (size_t)(end - start));
    bench_pages_destroy(&pages);
}

int main(int argc, char **argv)
{
    bench_add("copy_floor", copy_floor, 0);
    bench_add("encode_hot", encode_hot, 0);
    bench_add("encode_short", encode_short, 0);
    bench_add("encode_scattered", encode_scattered, 0);
    bench_add("encode_fleet", encode_fleet, 0);
    bench_headline("encode_point", "encode_fleet");
    return bench_main(argc, argv);
}
