/* SPDX-License-Identifier: Apache-2.0 */
#include "perf/pages.h"

#include "base/check.h"
#include "base/memory.h"
#include "base/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct metric metrics[] = {
    {"postgresql.table.size", "By", "Disk space used by a table.", METRIC_SUM, METRIC_INT, false,
     true, false},
    {"postgresql.rows", "1", "The number of rows in the database.", METRIC_SUM, METRIC_INT, false,
     true, false},
    {"postgresql.operations", "1", "The number of db row operations.", METRIC_SUM, METRIC_INT, true,
     true, false},
    {"postgresql.blocks_read", "1", "The number of blocks read.", METRIC_SUM, METRIC_INT, true,
     true, false},
    {"postgresql.table.vacuum.count", "{vacuum}",
     "Number of times a table has manually been vacuumed.", METRIC_SUM, METRIC_INT, true, true,
     false},
    {"postgresql.replication.delay", "s", "Delay of replay on the standby.", METRIC_GAUGE,
     METRIC_DOUBLE, false, true, false},
};
enum { METRICS = sizeof metrics / sizeof *metrics };

struct bench_pages {
    uint32_t page_count, set_count;
    struct page **pages;
    struct attrs **sets;
    struct attrs *fixed, *identity;
    struct resource resource;
};

static struct attrs *make_set(uint32_t number)
{
    static struct attrs_builder builder;
    char table[40];
    int bytes = snprintf(table, sizeof table, "orders_%06u", (unsigned)number);
    attrs_begin(&builder, ATTRS_POINT);
    attrs_add_text(&builder, "db.namespace", "shop", 4);
    attrs_add_text(&builder, "table", table, (size_t)bytes);
    return attrs_finish(&builder);
}

static struct attrs *make_pair(enum attrs_tag tag, const char *key, const char *value)
{
    static struct attrs_builder builder;
    attrs_begin(&builder, tag);
    attrs_add_text(&builder, key, value, strlen(value));
    return attrs_finish(&builder);
}

static void fill(struct bench_pages *pages, struct page *page, uint32_t first_set,
                 uint32_t run_points, bool scattered, struct random *random)
{
    page_reset(page, 0, 0);
    for (uint32_t run = 0; page_room(page) > 0; run++) {
        uint32_t room = page_room(page), count = run_points < room ? run_points : room;
        const struct metric *metric = &metrics[run % METRICS];
        uint32_t base = page->point_count;
        struct point *points =
            page_begin_run(page, metric, run % METRICS == 3 ? pages->fixed : NULL, &pages->resource,
                           1700000000000000000ull);
        for (uint32_t i = 0; i < count; i++) {
            points[i].attrs = pages->sets[first_set + (scattered ? base + i : i)];
            points[i].start_ns = metric->monotonic ? 1690000000000000000ull : 0;
            if (metric->value == METRIC_INT)
                points[i].value.integer = (int64_t)random_below(random, 1000000);
            else
                points[i].value.real = (double)random_below(random, 1000) / 1000;
        }
        page_end_run(page, count);
    }
}

struct bench_pages *bench_pages_create(uint32_t page_count, uint32_t run_points, bool scattered)
{
    enum { PAGE_POINTS_MAX = LIMIT_PAGE_BYTES / sizeof(struct point) };
    struct bench_pages *pages = xcalloc(1, sizeof *pages);
    pages->page_count = page_count;
    uint32_t page_sets = scattered ? PAGE_POINTS_MAX : run_points;
    pages->set_count = page_count * page_sets;
    pages->pages = xcalloc(page_count, sizeof *pages->pages);
    pages->sets = xcalloc(pages->set_count, sizeof *pages->sets);
    struct random random = {.state = 7};
    for (uint32_t i = 0; i < pages->set_count; i++)
        pages->sets[i] = make_set(i);
    for (uint32_t i = scattered ? pages->set_count : 0; i > 1; i--) {
        uint32_t other = (uint32_t)random_below(&random, i);
        struct attrs *swap = pages->sets[i - 1];
        pages->sets[i - 1] = pages->sets[other];
        pages->sets[other] = swap;
    }
    pages->fixed = make_pair(ATTRS_POINT, "source", "heap_read");
    pages->identity = make_pair(ATTRS_RESOURCE, "service.instance.id", "db-0001.eu.example:5432");
    pages->resource.variants[0] = pages->identity;
    for (uint32_t i = 0; i < page_count; i++) {
        pages->pages[i] = aligned_alloc(64, LIMIT_PAGE_BYTES);
        CHECK(pages->pages[i]);
        fill(pages, pages->pages[i], i * page_sets, run_points, scattered, &random);
        page_check(pages->pages[i]);
    }
    return pages;
}

void bench_pages_destroy(struct bench_pages **pages)
{
    struct bench_pages *dead = *pages;
    *pages = NULL;
    for (uint32_t i = 0; i < dead->set_count; i++)
        attrs_destroy(&dead->sets[i]);
    for (uint32_t i = 0; i < dead->page_count; i++)
        free(dead->pages[i]);
    attrs_destroy(&dead->fixed);
    attrs_destroy(&dead->identity);
    free(dead->sets);
    free(dead->pages);
    free(dead);
}

const struct page *bench_pages_get(const struct bench_pages *pages, uint32_t index)
{
    return pages->pages[index % pages->page_count];
}
