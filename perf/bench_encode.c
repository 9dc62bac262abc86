/* SPDX-License-Identifier: Apache-2.0 */
/* Step 8: ns per point from page to OTLP bytes. `hot`: one page, everything in the first caches.
 * `fleet`: 4,000 servers with 100 tables each, as a worker meets them. `scattered`: every point has
 * its own attribute set somewhere in memory, which no shard does. `short`: runs of one point, where
 * each pays for its metric's name and description. The floor of each (`copy_…`): the page's points
 * read once and as many bytes as the body has written once, both by memcpy. `json` is the slow form
 * for people and files, beside the same document printed by bare jansson. */
#include "exporters/otlp/encode.h"
#include "exporters/otlp/json.h"
#include "perf/pages.h"
#include "perf/shim/bench.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum {
    HOT_PAGES = 1,
    FLEET_PAGES = 4000,
    SCATTERED_PAGES = 400,
    RUN_POINTS = 100,
    BUFFER_BYTES = 1 << 20
};
static uint8_t buffer[BUFFER_BYTES], copy[BUFFER_BYTES];

struct shape {
    uint32_t page_count, run_points;
    bool scattered;
};
static const struct shape hot = {HOT_PAGES, RUN_POINTS, false};
static const struct shape fleet = {FLEET_PAGES, RUN_POINTS, false};
static const struct shape scattered = {SCATTERED_PAGES, RUN_POINTS, true};
static const struct shape short_runs = {HOT_PAGES, 1, false};

static struct bench_pages *make_pages(const struct bench *bench)
{
    const struct shape *shape = bench_data(bench);
    return bench_pages_create(shape->page_count, shape->run_points, shape->scattered);
}

static uint8_t *encode_page(const struct page *page)
{
    struct page_slice all = {0, page->point_count};
    return otlp_encode(page, all, 0, buffer, buffer + sizeof buffer);
}

static void encode(struct bench *bench)
{
    struct bench_pages *pages = make_pages(bench);
    uint32_t index = 0, points = 0;
    size_t bytes = 0;
    while (bench_next(bench)) {
        const struct page *page = bench_pages_get(pages, index++);
        const uint8_t *start = encode_page(page);
        bench_keep(start);
        points = page->point_count;
        bytes = (size_t)(buffer + sizeof buffer - start);
    }
    bench_items(bench, points);
    bench_bytes(bench, bytes);
    bench_counter(bench, "bytes_per_point", (double)bytes / points);
    bench_pages_destroy(&pages);
}

static void copy_encoded(struct bench *bench)
{
    static uint8_t points[LIMIT_PAGE_BYTES];
    struct bench_pages *pages = make_pages(bench);
    const struct page *page = bench_pages_get(pages, 0);
    const uint8_t *start = encode_page(page);
    size_t bytes = (size_t)(buffer + sizeof buffer - start);
    uint32_t index = 0;
    while (bench_next(bench)) {
        page = bench_pages_get(pages, index++);
        memcpy(points, page_points_const(page), page->point_count * sizeof(struct point));
        bench_keep(points);
        memcpy(copy, start, bytes);
        bench_keep(copy);
    }
    bench_items(bench, page->point_count);
    bench_bytes(bench, bytes);
    bench_pages_destroy(&pages);
}

static char *json_of(struct otlp_json *json, const struct page *page)
{
    otlp_json_add(json, page, (struct page_slice){0, page->point_count}, 0);
    return otlp_json_take(json, false);
}

static void encode_json(struct bench *bench)
{
    struct bench_pages *pages = make_pages(bench);
    const struct page *page = bench_pages_get(pages, 0);
    struct otlp_json *json = otlp_json_create();
    size_t bytes = 0;
    while (bench_next(bench)) {
        char *text = json_of(json, page);
        bytes = strlen(text);
        free(text);
    }
    bench_items(bench, page->point_count);
    bench_bytes(bench, bytes);
    bench_counter(bench, "bytes_per_point", (double)bytes / page->point_count);
    otlp_json_destroy(&json);
    bench_pages_destroy(&pages);
}

static void print_json(struct bench *bench)
{
    struct bench_pages *pages = make_pages(bench);
    const struct page *page = bench_pages_get(pages, 0);
    struct otlp_json *json = otlp_json_create();
    char *text = json_of(json, page);
    json_t *document = json_loads(text, 0, NULL);
    if (!document)
        bench_fail(bench, "jansson does not read what the encoder wrote");
    while (bench_next(bench)) {
        char *again = json_dumps(document, JSON_COMPACT | JSON_REAL_PRECISION(17));
        bench_keep(again);
        free(again);
    }
    bench_items(bench, page->point_count);
    bench_bytes(bench, strlen(text));
    json_decref(document);
    free(text);
    otlp_json_destroy(&json);
    bench_pages_destroy(&pages);
}

static const struct bench_case cases[] = {
    {"copy_floor", copy_encoded, .data = &hot, .exact = -1},
    {"encode_hot", encode, .data = &hot, .floor = "copy_floor", .exact = 100},
    {"copy_fleet", copy_encoded, .data = &fleet, .exact = -1},
    {"encode_fleet", encode, .data = &fleet, .floor = "copy_fleet", .exact = -1},
    {"copy_scattered", copy_encoded, .data = &scattered, .exact = -1},
    {"encode_scattered", encode, .data = &scattered, .floor = "copy_scattered", .exact = -1},
    {"copy_short", copy_encoded, .data = &short_runs, .exact = -1},
    {"encode_short", encode, .data = &short_runs, .floor = "copy_short"},
    {"jansson", print_json, .data = &hot, .exact = -1},
    {"encode_json", encode_json, .data = &hot, .floor = "jansson", .exact = 2},
};

int main(int argc, char **argv)
{
    bench_add_cases(cases, sizeof cases / sizeof *cases);
    bench_headline("encode_point", "encode_fleet");
    return bench_main(argc, argv);
}
