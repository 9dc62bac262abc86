/* SPDX-License-Identifier: Apache-2.0 */
/* Counters as deltas, before encoding: ns per point. `hot`: one server, everything in the first
 * caches. `fleet`: 1,000 servers, 1.3 million series, as they come, page after page. `mixed`: the
 * points of each page in another order than they were first seen in, so that every series is
 * searched for. The floor: what the series are called, hashed, and the page copied. */
#include "exporters/otlp/delta.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "perf/shim/bench.h"

enum { TABLES = 100, RUNS = 13, FLEET = 1000 };

static struct metric metrics[RUNS];

struct fleet {
    uint32_t count;
    struct page **pages;
    struct attrs **sets, **hosts;
    struct resource *resources;
    uint64_t round;
};

static struct attrs *make_set(enum attrs_tag tag, const char *name, uint32_t number)
{
    static struct attrs_builder builder;
    char text[40];
    int bytes = snprintf(text, sizeof text, "%s_%06u", name, (unsigned)number);
    attrs_begin(&builder, tag);
    attrs_add_text(&builder, "db.namespace", "shop", 4);
    attrs_add_text(&builder, "table", text, (size_t)bytes);
    return attrs_finish(&builder);
}

static void make_metrics(void)
{
    static char names[RUNS][40];
    for (uint32_t i = 0; i < RUNS; i++) {
        snprintf(names[i], sizeof names[i], "postgresql.table.counter_%u", (unsigned)i);
        metrics[i] = (struct metric){.name = names[i],
                                     .unit = "1",
                                     .description = "",
                                     .instrument = METRIC_SUM,
                                     .value = METRIC_INT,
                                     .monotonic = true};
    }
}

static void fill(struct fleet *fleet, uint32_t server)
{
    struct page *page = fleet->pages[server];
    page_reset(page, 0, 0);
    for (uint32_t run = 0; run < RUNS; run++) {
        struct point *points =
            page_begin_run(page, &metrics[run], NULL, &fleet->resources[server], 1);
        for (uint32_t i = 0; i < TABLES; i++)
            points[i] = (struct point){.attrs = fleet->sets[server * TABLES + i], .start_ns = 1};
        page_end_run(page, TABLES);
    }
    page_check(page);
}

static void mix_points(struct page *page, struct random *random)
{
    for (uint32_t run = 0; run < RUNS; run++) {
        struct point *points = page_points(page) + run * TABLES;
        for (uint32_t i = TABLES - 1; i > 0; i--) {
            uint32_t other = (uint32_t)random_below(random, i + 1);
            struct point swap = points[i];
            points[i] = points[other];
            points[other] = swap;
        }
    }
}

static struct fleet *fleet_create(uint32_t count)
{
    struct fleet *fleet = xcalloc(1, sizeof *fleet);
    make_metrics();
    fleet->count = count;
    fleet->pages = xcalloc(count, sizeof *fleet->pages);
    fleet->sets = xcalloc((size_t)count * TABLES, sizeof *fleet->sets);
    fleet->hosts = xcalloc(count, sizeof *fleet->hosts);
    fleet->resources = xcalloc(count, sizeof *fleet->resources);
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t t = 0; t < TABLES; t++)
            fleet->sets[i * TABLES + t] = make_set(ATTRS_POINT, "orders", t);
        fleet->hosts[i] = make_set(ATTRS_RESOURCE, "db.eu.example", i);
        fleet->resources[i].variants[0] = fleet->hosts[i];
        fleet->pages[i] = aligned_alloc(64, LIMIT_PAGE_BYTES);
        CHECK(fleet->pages[i] != NULL);
        fill(fleet, i);
    }
    return fleet;
}

static void fleet_destroy(struct fleet **ret_fleet)
{
    struct fleet *fleet = *ret_fleet;
    for (uint32_t i = 0; i < fleet->count; i++) {
        attrs_destroy(&fleet->hosts[i]);
        free(fleet->pages[i]);
    }
    for (uint32_t i = 0; i < fleet->count * TABLES; i++)
        attrs_destroy(&fleet->sets[i]);
    free(fleet->pages);
    free(fleet->sets);
    free(fleet->hosts);
    free(fleet->resources);
    free(fleet);
    *ret_fleet = NULL;
}

/* The next server's page, ten seconds after its last one. */
static const struct page *fleet_next(struct fleet *fleet)
{
    struct page *page = fleet->pages[fleet->round % fleet->count];
    page->scrape_start_ns = (fleet->round / fleet->count + 1) * 10 * NS_PER_S;
    for (uint32_t run = 0; run < RUNS; run++)
        page_run(page, run)->time_ns = page->scrape_start_ns;
    fleet->round++;
    return page;
}

static void run_delta(struct bench *bench, bool mixed)
{
    struct fleet *fleet = fleet_create((uint32_t)bench_argument(bench));
    struct delta *delta = delta_create(UINT64_MAX);
    struct random random = {.state = 1};
    for (uint32_t i = 0; i < 2 * fleet->count; i++)
        CHECK(delta_page(delta, fleet_next(fleet), 0)->point_count ==
              (i < fleet->count ? 0 : RUNS * TABLES));
    for (uint32_t i = 0; mixed && i < fleet->count; i++)
        mix_points(fleet->pages[i], &random);
    while (bench_next(bench))
        bench_keep(delta_page(delta, fleet_next(fleet), 0));
    bench_items(bench, RUNS * TABLES);
    bench_counter(bench, "series", (double)delta_state(delta).series);
    delta_destroy(&delta);
    fleet_destroy(&fleet);
}

static void in_order(struct bench *bench)
{
    run_delta(bench, false);
}

static void mixed_up(struct bench *bench)
{
    run_delta(bench, true);
}

/* Names hashed and points copied. */
static void floor_of(struct bench *bench)
{
    static struct page copy;
    struct fleet *fleet = fleet_create((uint32_t)bench_argument(bench));
    uint64_t sum = 0;
    while (bench_next(bench)) {
        const struct page *page = fleet_next(fleet);
        const struct point *points = page_points_const(page);
        for (uint32_t i = 0; i < page->point_count; i++)
            sum += XXH3_128bits(points[i].attrs->otlp, points[i].attrs->bytes).low64;
        memcpy(copy.space, page->space, sizeof copy.space);
        bench_keep(&sum);
    }
    bench_items(bench, RUNS * TABLES);
    fleet_destroy(&fleet);
}

static const struct bench_case cases[] = {
    {"hash_copy", floor_of, .argument = 1, .exact = -1},
    {"delta", in_order, .argument = 1, .floor = "hash_copy/1", .exact = 100},
    {"hash_copy", floor_of, .argument = FLEET, .exact = -1},
    {"delta", in_order, .argument = FLEET, .floor = "hash_copy/1000", .exact = -1},
    {"delta_mixed", mixed_up, .argument = 1, .floor = "hash_copy/1"},
    {"delta_mixed", mixed_up, .argument = FLEET, .floor = "hash_copy/1000", .exact = -1},
};

int main(int argc, char **argv)
{
    bench_add_cases(cases, sizeof cases / sizeof *cases);
    bench_headline("delta_point", "delta/1000");
    return bench_main(argc, argv);
}
