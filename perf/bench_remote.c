/* SPDX-License-Identifier: Apache-2.0 */
/* Step 8 for remote write: ns per point from page to WriteRequest, and to the snappy block that is
 * sent. Shapes as in bench_encode.c: `hot` one page; `fleet` 4,000 servers with 100 tables each;
 * `small` servers with ten tables, several to a page; `scattered` every point its own attribute set
 * somewhere in memory, which no shard does; `short` runs of one point. The floor of each
 * (`copy_…`): the page's points read once and as many bytes as the body has written once. */
#include "exporters/compress.h"
#include "exporters/remote/encode.h"
#include "perf/pages.h"
#include "perf/shim/bench.h"

#include <string.h>

enum {
    HOT_PAGES = 1,
    FLEET_PAGES = 4000,
    SCATTERED_PAGES = 400,
    RUN_POINTS = 100,
    SMALL_POINTS = 10,
    BUFFER_BYTES = 1 << 20
};
static uint8_t buffer[BUFFER_BYTES], copy[2 * BUFFER_BYTES];

struct shape {
    uint32_t page_count, run_points;
    bool scattered;
};
static const struct shape hot = {HOT_PAGES, RUN_POINTS, false};
static const struct shape fleet = {FLEET_PAGES, RUN_POINTS, false};
static const struct shape small = {FLEET_PAGES, SMALL_POINTS, false};
static const struct shape scattered = {SCATTERED_PAGES, RUN_POINTS, true};
static const struct shape short_runs = {HOT_PAGES, 1, false};

static const struct remote_settings settings = {.naming = {NULL, true}, .target_info = true};

static struct bench_pages *make_pages(const struct bench *bench)
{
    const struct shape *shape = bench_data(bench);
    return bench_pages_create(shape->page_count, shape->run_points, shape->scattered);
}

static size_t encode_page(struct remote_encoder *encoder, const struct page *page)
{
    struct page_slice all = {0, page->point_count};
    struct space space = {buffer, buffer + sizeof buffer};
    return (size_t)(remote_encode(encoder, page, all, 0, space) - buffer);
}

static void report(struct bench *bench, uint32_t points, size_t bytes)
{
    bench_items(bench, points);
    bench_bytes(bench, bytes);
    bench_counter(bench, "bytes_per_point", (double)bytes / points);
}

static void encode(struct bench *bench)
{
    struct bench_pages *pages = make_pages(bench);
    struct remote_encoder *encoder = remote_encoder_create(&settings);
    uint32_t index = 0, points = 0;
    size_t bytes = 0;
    while (bench_next(bench)) {
        const struct page *page = bench_pages_get(pages, index++);
        bytes = encode_page(encoder, page);
        bench_keep(buffer);
        points = page->point_count;
    }
    report(bench, points, bytes);
    remote_encoder_destroy(&encoder);
    bench_pages_destroy(&pages);
}

static void copy_encoded(struct bench *bench)
{
    static uint8_t points[LIMIT_PAGE_BYTES];
    struct bench_pages *pages = make_pages(bench);
    struct remote_encoder *encoder = remote_encoder_create(&settings);
    const struct page *page = bench_pages_get(pages, 0);
    size_t bytes = encode_page(encoder, page);
    uint32_t index = 0;
    while (bench_next(bench)) {
        page = bench_pages_get(pages, index++);
        memcpy(points, page_points_const(page), page->point_count * sizeof(struct point));
        bench_keep(points);
        memcpy(copy, buffer, bytes);
        bench_keep(copy);
    }
    report(bench, page->point_count, bytes);
    remote_encoder_destroy(&encoder);
    bench_pages_destroy(&pages);
}

/* A batch of the usual size, packed. */
static void snappy(struct bench *bench)
{
    enum { BATCH_PAGES = 4 };
    struct bench_pages *pages = make_pages(bench);
    struct remote_encoder *encoder = remote_encoder_create(&settings);
    struct compressor *compressor = compressor_create(COMPRESSION_SNAPPY, 0);
    uint8_t *at = buffer;
    uint32_t points = 0;
    for (uint32_t i = 0; i < BATCH_PAGES; i++) {
        const struct page *page = bench_pages_get(pages, i);
        struct page_slice all = {0, page->point_count};
        uint8_t *end =
            remote_encode(encoder, page, all, 0, (struct space){at, buffer + sizeof buffer});
        if (end == NULL) {
            bench_fail(bench, "four pages do not fit");
            break;
        }
        at = end;
        points += page->point_count;
    }
    size_t bytes = (size_t)(at - buffer), packed = 0;
    while (bench_next(bench)) {
        packed = compressor_run(compressor, buffer, bytes, copy, sizeof copy);
        bench_keep(copy);
    }
    report(bench, points, bytes);
    bench_counter(bench, "ratio", (double)bytes / (double)packed);
    compressor_destroy(&compressor);
    remote_encoder_destroy(&encoder);
    bench_pages_destroy(&pages);
}

static const struct bench_case cases[] = {
    {"copy_floor", copy_encoded, .data = &hot, .exact = -1},
    {"remote_hot", encode, .data = &hot, .floor = "copy_floor", .exact = 100},
    {"copy_fleet", copy_encoded, .data = &fleet, .exact = -1},
    {"remote_fleet", encode, .data = &fleet, .floor = "copy_fleet", .exact = -1},
    {"copy_small", copy_encoded, .data = &small, .exact = -1},
    {"remote_small", encode, .data = &small, .floor = "copy_small", .exact = -1},
    {"copy_scattered", copy_encoded, .data = &scattered, .exact = -1},
    {"remote_scattered", encode, .data = &scattered, .floor = "copy_scattered", .exact = -1},
    {"copy_short", copy_encoded, .data = &short_runs, .exact = -1},
    {"remote_short", encode, .data = &short_runs, .floor = "copy_short"},
    {"remote_snappy", snappy, .data = &fleet, .exact = -1},
};

int main(int argc, char **argv)
{
    bench_add_cases(cases, sizeof cases / sizeof *cases);
    bench_headline("remote_point", "remote_fleet");
    return bench_main(argc, argv);
}
