/* SPDX-License-Identifier: Apache-2.0 */
/* Page cursors, and the writer that fills pages for a shard. */
#include "ring/page.h"

#include "ring/writer.h"
#include "tests/ring/dies.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static const struct metric metric_a = {.name = "a", .unit = "1", .description = ""};
static const struct metric metric_b = {.name = "b", .unit = "1", .description = ""};
static const struct attrs no_attrs = {.tag = ATTRS_POINT};
static const struct attrs resource_attrs = {.tag = ATTRS_RESOURCE};
static const struct resource resource = {.variants = {&resource_attrs}};
static struct page page;

static void fill(struct point *points, uint32_t count, int64_t base)
{
    for (uint32_t i = 0; i < count; i++)
        points[i] = (struct point){.attrs = &no_attrs, .value.integer = base + i};
}

static void test_fill_to_the_brim(void **state)
{
    (void)state;
    memset(&page, 0, sizeof page);
    page_reset(&page, 3, 42);
    uint32_t runs = 0, total = 0;
    while (page_room(&page) > 0) {
        uint32_t room = page_room(&page), count = room < 7 ? room : 7;
        struct point *points =
            page_begin_run(&page, runs % 2 ? &metric_b : &metric_a, NULL, &resource, 1000 + runs);
        fill(points, count, total);
        page_end_run(&page, count);
        page_check(&page);
        total += count;
        runs++;
    }
    assert_int_equal(page.run_count, runs);
    assert_int_equal(page.point_count, total);
    assert_true(total > 1000);
    for (uint32_t i = 0; i < total; i++)
        assert_int_equal(page_points(&page)[i].value.integer, i);
    for (uint32_t i = 0; i < runs; i++) {
        assert_ptr_equal(page_run(&page, i)->metric, i % 2 ? &metric_b : &metric_a);
        assert_int_equal(page_run(&page, i)->time_ns, 1000 + i);
        assert_int_equal(page_run(&page, i)->first, 7 * i);
    }
    page_reset(&page, 1, 43);
    assert_int_equal(page.point_count + page.run_count + page.dropped_points, 0);
    assert_int_equal(page.route, 1);
    assert_int_equal(page.scrape_start_ns, 43);
}

static void test_empty_run_is_taken_back(void **state)
{
    (void)state;
    memset(&page, 0, sizeof page);
    page_begin_run(&page, &metric_a, NULL, &resource, 1);
    page_end_run(&page, 0);
    assert_int_equal(page.run_count, 0);
    page_check(&page);
}

static void write_past_room(void *argument)
{
    (void)argument;
    memset(&page, 0, sizeof page);
    uint32_t room = page_room(&page);
    page_begin_run(&page, &metric_a, NULL, &resource, 1);
    page_end_run(&page, room + 1);
}

static void begin_without_room(void *argument)
{
    (void)argument;
    memset(&page, 0, sizeof page);
    uint32_t room = page_room(&page);
    page_begin_run(&page, &metric_a, NULL, &resource, 1);
    page_end_run(&page, room);
    page_begin_run(&page, &metric_a, NULL, &resource, 1);
}

static void forget_end(void *argument)
{
    (void)argument;
    memset(&page, 0, sizeof page);
    page_begin_run(&page, &metric_a, NULL, &resource, 1);
    page_check(&page);
}

static void end_twice(void *argument)
{
    (void)argument;
    memset(&page, 0, sizeof page);
    page_begin_run(&page, &metric_a, NULL, &resource, 1);
    page_end_run(&page, 1);
    page_end_run(&page, 1);
}

static void test_misuse_dies(void **state)
{
    (void)state;
    assert_true(dies(write_past_room, NULL));
    assert_true(dies(begin_without_room, NULL));
    assert_true(dies(forget_end, NULL));
    assert_true(dies(end_twice, NULL));
}

/* ---- writer ---- */

static struct ring *open_ring(uint32_t pages)
{
    struct ring *ring;
    struct error error = {0};
    assert_true(ring_create(&ring, 1, pages, &error));
    return ring;
}

/* Writes `count` points in as many runs as it takes; what finds no page is dropped. */
static void write_points(struct writer *writer, uint32_t route, uint64_t due_ns, uint32_t count)
{
    while (count > 0) {
        uint32_t room;
        struct point *points =
            writer_begin(writer, route, due_ns, 77, &metric_a, NULL, &resource, 5, &room);
        if (!points) {
            writer_drop(writer, route, count);
            return;
        }
        uint32_t now = count < room ? count : room;
        fill(points, now, 0);
        writer_end(writer, now);
        count -= now;
    }
}

static void test_writer_shares_and_splits_pages(void **state)
{
    (void)state;
    struct ring *ring = open_ring(8);
    struct writer writer;
    writer_init(&writer, ring, 0);
    writer_flush(&writer, 1);
    assert_null(ring_take(ring)); /* nothing to push */

    write_points(&writer, 0, 500, 3);
    write_points(&writer, 0, 400, 4); /* another target, due earlier, same page */
    assert_null(ring_take(ring));
    write_points(&writer, 1, 600, 2); /* another route: the first page leaves */
    struct page *first = ring_take(ring);
    assert_non_null(first);
    assert_int_equal(first->route, 0);
    assert_int_equal(first->point_count, 7);
    assert_int_equal(first->run_count, 2);
    assert_int_equal(first->scrape_start_ns, 400);
    assert_int_equal(first->pushed_ns, 77);
    writer_flush(&writer, 88);
    struct page *second = ring_take(ring);
    assert_int_equal(second->route, 1);
    assert_int_equal(second->pushed_ns, 88);
    ring_give(ring, first);
    ring_give(ring, second);

    write_points(&writer, 0, 1, 5000); /* more than three pages hold */
    writer_flush(&writer, 2);
    uint32_t points = 0, pages = 0;
    for (struct page *taken; (taken = ring_take(ring)); pages++) {
        points += taken->point_count;
        ring_give(ring, taken);
    }
    assert_int_equal(points, 5000);
    assert_int_equal(pages, 4);
    assert_int_equal(writer.points, 5009);
    assert_int_equal(writer.dropped_total, 0);
    ring_destroy(&ring);
}

/* Points without a page are counted, and the count travels with the next page of their route. */
static void test_writer_drops_are_carried(void **state)
{
    (void)state;
    struct ring *ring = open_ring(2);
    struct writer writer;
    writer_init(&writer, ring, 0);
    write_points(&writer, 2, 1, 4000); /* two pages, the rest has none */
    write_points(&writer, 5, 1, 10);   /* pushes the second page, finds none */
    writer_flush(&writer, 2);
    struct page *one = ring_take(ring), *two = ring_take(ring);
    uint64_t held = one->point_count + two->point_count;
    assert_int_equal(writer.dropped_total, 4000 - held + 10);
    assert_int_equal(one->dropped_points, 0);
    assert_int_equal(writer.points, held);
    writer_flush(&writer, 3); /* no page yet: kept */
    assert_null(ring_take(ring));
    uint64_t carried = one->dropped_points + two->dropped_points;
    ring_give(ring, one);
    ring_give(ring, two);
    writer_flush(&writer, 4);
    uint64_t routes = 0;
    for (struct page *taken; (taken = ring_take(ring));) {
        assert_int_equal(taken->point_count, 0);
        assert_true(taken->dropped_points > 0);
        routes |= 1u << taken->route;
        carried += taken->dropped_points;
        ring_give(ring, taken);
    }
    assert_int_equal(carried, writer.dropped_total);
    assert_int_equal(routes & 1u << 5, 1u << 5);
    ring_destroy(&ring);
}

/* A page that was opened and got no point goes back, not to the worker. */
static void test_writer_releases_an_empty_page(void **state)
{
    (void)state;
    struct ring *ring = open_ring(1);
    struct writer writer;
    writer_init(&writer, ring, 0);
    uint32_t room;
    for (int i = 0; i < 3; i++) {
        assert_non_null(writer_begin(&writer, 0, 1, 1, &metric_a, NULL, &resource, 5, &room));
        writer_end(&writer, 0);
        writer_flush(&writer, 1);
        assert_null(ring_take(ring));
    }
    assert_int_equal(ring_next_sequence(ring, 0), 1);
    ring_destroy(&ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fill_to_the_brim),
        cmocka_unit_test(test_empty_run_is_taken_back),
        cmocka_unit_test(test_misuse_dies),
        cmocka_unit_test(test_writer_shares_and_splits_pages),
        cmocka_unit_test(test_writer_drops_are_carried),
        cmocka_unit_test(test_writer_releases_an_empty_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
