/* SPDX-License-Identifier: Apache-2.0 */
/* Fills pages on the shard's thread, whatever target the rows come from. The page stays open over a
 * loop turn and never longer: writer_flush() ends each turn, so nothing is held while the shard
 * waits. What finds no page is counted and travels with the next page of its route, so the worker
 * can charge it to every destination that would have had it: nothing is lost silently. */
#include "ring/writer.h"

#include "base/check.h"

void writer_init(struct writer *writer, struct ring *ring, uint32_t shard)
{
    *writer = (struct writer){.ring = ring, .shard = shard};
}

/* An open page for the route; false while none is free. */
static bool open_page(struct writer *writer, uint32_t route, uint64_t due_ns)
{
    writer->page = ring_acquire(writer->ring, writer->shard);
    if (!writer->page)
        return false;
    page_reset(writer->page, route, due_ns);
    return true;
}

static void push_page(struct writer *writer, uint64_t now_ns)
{
    struct page *page = writer->page;
    writer->page = NULL;
    page->dropped_points = writer->dropped[page->route];
    writer->dropped[page->route] = 0;
    if (page->point_count == 0 && page->dropped_points == 0)
        ring_release(writer->ring, page);
    else
        ring_push(writer->ring, page, now_ns);
}

struct point *writer_begin(struct writer *writer, uint32_t route, uint64_t due_ns, uint64_t now_ns,
                           const struct metric *metric, const struct attrs *fixed,
                           const struct resource *resource, uint64_t time_ns, uint32_t *ret_room)
{
    CHECK(route < WRITER_ROUTES_MAX);
    if (writer->page && (writer->page->route != route || page_room(writer->page) == 0))
        push_page(writer, now_ns);
    if (!writer->page && !open_page(writer, route, due_ns))
        return NULL;
    if (due_ns < writer->page->scrape_start_ns)
        writer->page->scrape_start_ns = due_ns; /* the oldest of what shares the page */
    *ret_room = page_room(writer->page);
    return page_begin_run(writer->page, metric, fixed, resource, time_ns);
}

void writer_end(struct writer *writer, uint32_t point_count)
{
    CHECK(writer->page);
    page_end_run(writer->page, point_count);
    writer->points += point_count;
}

void writer_drop(struct writer *writer, uint32_t route, uint64_t point_count)
{
    CHECK(route < WRITER_ROUTES_MAX);
    writer->dropped[route] += point_count;
    writer->dropped_total += point_count;
}

void writer_flush(struct writer *writer, uint64_t now_ns)
{
    if (writer->page)
        push_page(writer, now_ns);
    for (uint32_t route = 0; route < WRITER_ROUTES_MAX; route++) {
        if (writer->dropped[route] == 0)
            continue;
        if (!open_page(writer, route, now_ns))
            return;
        push_page(writer, now_ns);
    }
}
