/* SPDX-License-Identifier: Apache-2.0 */
/* The page's cursors. Points grow up, runs grow down, and a page is full when they would meet; the
 * picture is in page.h. Run by whoever owns the page; page_check() runs on both sides of every
 * change of owner, so a page that was written past its room or without page_end_run() aborts where
 * it happened and not in the encoder. */
#include "ring/page.h"

#include "base/check.h"

_Static_assert(offsetof(struct page, space) % _Alignof(struct point) == 0, "aligned points");
_Static_assert((offsetof(struct page, space) + sizeof((struct page *)0)->space) %
                       _Alignof(struct run) ==
                   0,
               "aligned runs");

static size_t used_bytes(const struct page *page)
{
    return page->point_count * sizeof(struct point) + page->run_count * sizeof(struct run);
}

void page_reset(struct page *page, uint32_t route, uint64_t scrape_start_ns)
{
    page->route = route;
    page->point_count = 0;
    page->run_count = 0;
    page->scrape_start_ns = scrape_start_ns;
    page->dropped_points = 0;
    page->pushed_ns = 0;
}

struct point *page_begin_run(struct page *page, const struct metric *metric,
                             const struct attrs *fixed, const struct resource *resource,
                             uint64_t time_ns)
{
    CHECK(page_room(page) > 0);
    *page_run(page, page->run_count++) = (struct run){
        .metric = metric,
        .fixed = fixed,
        .resource = resource,
        .time_ns = time_ns,
        .first = page->point_count,
    };
    return page_points(page) + page->point_count;
}

void page_end_run(struct page *page, uint32_t point_count)
{
    CHECK(page->run_count > 0);
    struct run *run = page_run(page, page->run_count - 1);
    CHECK(run->count == 0 && run->first == page->point_count);
    if (point_count == 0) {
        page->run_count--;
        return;
    }
    CHECK(point_count <= (sizeof page->space - used_bytes(page)) / sizeof(struct point));
    run->count = point_count;
    page->point_count += point_count;
}

void page_check(const struct page *page)
{
    CHECK(page->point_count <= sizeof page->space / sizeof(struct point));
    CHECK(page->run_count <= page->point_count);
    CHECK(used_bytes(page) <= sizeof page->space);
    uint32_t next = 0;
    for (uint32_t i = 0; i < page->run_count; i++) {
        const struct run *run = page_run_const(page, i);
        CHECK(run->metric && run->resource && run->resource->variants[0]);
        CHECK(run->first == next && run->count > 0);
        next += run->count;
    }
    CHECK(next == page->point_count);
}
