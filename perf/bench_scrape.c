/* SPDX-License-Identifier: Apache-2.0 */
/* The table of last values behind the scrape endpoint: ns per value put into it, and per series of
 * an answer. `hot`: one server's page again and again. `fleet`: 10,000 servers with 230 series
 * each (ten metrics of 23 tables), as a worker meets them; `new`: the first time they are seen.
 * `scrape`: the whole of the fleet as text; `scrape_gzip`: packed. bytes_per_series is memory. */
#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "exporters/compress.h"
#include "exporters/scrape/table.h"
#include "perf/shim/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { METRICS = 10, TABLES = 23, PAGE_TARGETS = 5, BLOCK_BYTES = 65536 };

struct fleet {
    uint32_t targets, page_count;
    struct page **pages;
    struct resource *resources;
    struct attrs **sets;
    struct scrape_table *table;
};

static struct metric metrics[METRICS];
static char names[METRICS][48];

static struct attrs *make_attrs(enum attrs_tag tag, const char *const pairs[][2], size_t count)
{
    static struct attrs_builder builder;
    attrs_begin(&builder, tag);
    for (size_t i = 0; i < count; i++)
        attrs_add_text(&builder, pairs[i][0], pairs[i][1], strlen(pairs[i][1]));
    return attrs_finish(&builder);
}

static void make_metrics(void)
{
    for (int i = 0; i < METRICS; i++) {
        snprintf(names[i], sizeof names[i], "postgresql.table.value_%d", i);
        metrics[i] = (struct metric){.name = names[i],
                                     .unit = "By",
                                     .description = "A value of a table.",
                                     .instrument = METRIC_SUM,
                                     .monotonic = i % 2 == 0};
    }
}

static void make_target(struct fleet *fleet, uint32_t target)
{
    char id[40], host[40], table[40];
    snprintf(id, sizeof id, "%08x-0000-5000-8000-%012x", (unsigned)target * 2654435761u,
             (unsigned)target);
    snprintf(host, sizeof host, "db-%05u.eu.example", (unsigned)target);
    fleet->resources[target].variants[0] = make_attrs(
        ATTRS_RESOURCE,
        (const char *const[][2]){{"service.instance.id", id}, {"server.address", host}}, 2);
    for (uint32_t i = 0; i < TABLES; i++) {
        snprintf(table, sizeof table, "orders_%u_%u", (unsigned)target, (unsigned)i);
        fleet->sets[target * TABLES + i] =
            make_attrs(ATTRS_POINT,
                       (const char *const[][2]){{"db.namespace", "shop|public"},
                                                {"db.collection.name", table}},
                       2);
    }
}

static void fill_page(struct fleet *fleet, struct page *page, uint32_t first)
{
    page_reset(page, 0, 0);
    for (uint32_t t = first; t < first + PAGE_TARGETS && t < fleet->targets; t++) {
        for (int m = 0; m < METRICS; m++) {
            struct point *points =
                page_begin_run(page, &metrics[m], NULL, &fleet->resources[t], 1700000000000000000);
            for (uint32_t i = 0; i < TABLES; i++)
                points[i] = (struct point){.attrs = fleet->sets[t * TABLES + i],
                                           .value.integer = (int64_t)t * 1000 + i};
            page_end_run(page, TABLES);
        }
    }
}

static struct fleet *fleet_create(uint32_t targets)
{
    static const struct scrape_table_settings settings = {.naming = {NULL, true},
                                                          .expiration_ns = 3600 * NS_PER_S};
    struct fleet *fleet = xcalloc(1, sizeof *fleet);
    make_metrics();
    fleet->targets = targets;
    fleet->page_count = (targets + PAGE_TARGETS - 1) / PAGE_TARGETS;
    fleet->resources = xcalloc(targets, sizeof *fleet->resources);
    fleet->sets = xcalloc((size_t)targets * TABLES, sizeof(struct attrs *));
    fleet->pages = xcalloc(fleet->page_count, sizeof(struct page *));
    for (uint32_t t = 0; t < targets; t++)
        make_target(fleet, t);
    for (uint32_t i = 0; i < fleet->page_count; i++) {
        fleet->pages[i] = aligned_alloc(64, LIMIT_PAGE_BYTES);
        CHECK(fleet->pages[i] != NULL);
        fill_page(fleet, fleet->pages[i], i * PAGE_TARGETS);
    }
    fleet->table = scrape_table_create(&settings);
    return fleet;
}

static void fleet_destroy(struct fleet **ret_fleet)
{
    struct fleet *fleet = *ret_fleet;
    *ret_fleet = NULL;
    scrape_table_destroy(&fleet->table);
    for (uint32_t i = 0; i < fleet->targets * TABLES; i++)
        attrs_destroy(&fleet->sets[i]);
    for (uint32_t i = 0; i < fleet->targets; i++)
        free((void *)(uintptr_t)fleet->resources[i].variants[0]);
    for (uint32_t i = 0; i < fleet->page_count; i++)
        free(fleet->pages[i]);
    free(fleet->sets);
    free(fleet->resources);
    free(fleet->pages);
    free(fleet);
}

static void take(struct fleet *fleet, uint32_t index)
{
    const struct page *page = fleet->pages[index % fleet->page_count];
    struct page_slice all = {0, page->point_count};
    CHECK(scrape_table_take(fleet->table, page, all, 0, clock_monotonic_ns()));
}

static void take_all(struct fleet *fleet)
{
    for (uint32_t i = 0; i < fleet->page_count; i++)
        take(fleet, i);
}

static void report(struct bench *bench, const struct fleet *fleet)
{
    bench_counter(bench, "bytes_per_series",
                  (double)scrape_table_bytes(fleet->table) /
                      (double)scrape_table_series(fleet->table));
}

static void take_known(struct bench *bench)
{
    struct fleet *fleet = fleet_create((uint32_t)bench_argument(bench));
    take_all(fleet);
    uint32_t index = 0;
    while (bench_next(bench))
        take(fleet, index++);
    bench_items(bench, fleet->pages[0]->point_count);
    report(bench, fleet);
    fleet_destroy(&fleet);
}

static void take_new(struct bench *bench)
{
    struct fleet *fleet = fleet_create((uint32_t)bench_argument(bench));
    static const struct scrape_table_settings settings = {.naming = {NULL, true},
                                                          .expiration_ns = 3600 * NS_PER_S};
    while (bench_next(bench)) {
        scrape_table_destroy(&fleet->table);
        fleet->table = scrape_table_create(&settings);
        take_all(fleet);
    }
    bench_items(bench, (uint64_t)fleet->targets * METRICS * TABLES);
    report(bench, fleet);
    fleet_destroy(&fleet);
}

static size_t pack(struct gzip_stream *gzip, const uint8_t *in, size_t bytes, bool last)
{
    static uint8_t out[BLOCK_BYTES];
    size_t total = 0, written;
    do
        total += written = gzip_stream_run(gzip, &in, &bytes, last, out, sizeof out);
    while (bytes > 0 || written == sizeof out);
    return total;
}

static void scrape_all(struct bench *bench, bool packed)
{
    static char block[BLOCK_BYTES];
    struct fleet *fleet = fleet_create((uint32_t)bench_argument(bench));
    take_all(fleet);
    size_t bytes = 0, sent = 0;
    while (bench_next(bench)) {
        struct scrape *scrape = scrape_begin(fleet->table, (struct scrape_format){false, false});
        struct gzip_stream *gzip = packed ? gzip_stream_create() : NULL;
        size_t read;
        bytes = sent = 0;
        while ((read = scrape_read(scrape, block, sizeof block)) > 0) {
            bytes += read;
            sent += gzip != NULL ? pack(gzip, (const uint8_t *)block, read, false) : read;
        }
        if (gzip != NULL)
            sent += pack(gzip, (const uint8_t *)block, 0, true);
        scrape_end(&scrape);
        gzip_stream_destroy(&gzip);
    }
    bench_items(bench, scrape_table_series(fleet->table));
    bench_bytes(bench, bytes);
    bench_counter(bench, "bytes_per_line",
                  (double)bytes / (double)scrape_table_series(fleet->table));
    bench_counter(bench, "answer_bytes", (double)sent);
    fleet_destroy(&fleet);
}

static void scrape_plain(struct bench *bench)
{
    scrape_all(bench, false);
}

static void scrape_gzip(struct bench *bench)
{
    scrape_all(bench, true);
}

static const struct bench_case cases[] = {
    {"take_hot", take_known, .argument = 5, .exact = 100},
    {"take_fleet", take_known, .argument = 10000, .exact = -1},
    {"take_new", take_new, .argument = 10000, .exact = -1},
    {"scrape", scrape_plain, .argument = 10000, .unit = "series", .exact = -1},
    {"scrape_gzip", scrape_gzip, .argument = 10000, .unit = "series", .exact = -1},
};

int main(int argc, char **argv)
{
    bench_add_cases(cases, sizeof cases / sizeof *cases);
    bench_headline("take_point", "take_fleet/10000");
    return bench_main(argc, argv);
}
