/* SPDX-License-Identifier: Apache-2.0 */
/* pgweir's own metrics as points: every value of every set once, under its labels, and no more
 * often than the interval; histograms that recorded something, as long as pages hold them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pgweir/telemetry.h>

#include <string.h>

#include "base/clock.h"
#include "shard/own.h"

static bool has_label(const struct attrs *attrs, const char *key, const char *value)
{
    size_t position = 0;
    struct attr attr;
    while (attrs != NULL && attrs_next(attrs, &position, &attr))
        if (attr.key_bytes == strlen(key) && memcmp(attr.key, key, attr.key_bytes) == 0 &&
            attr.text_bytes == strlen(value) && memcmp(attr.text, value, attr.text_bytes) == 0)
            return true;
    return false;
}

static void every_value_once(void **state)
{
    (void)state;
    struct telemetry_label label = {"shard", "3"};
    struct telemetry_set *set = telemetry_open(TELEMETRY_SHARD, 1, &label);
    telemetry_put(set, TELEMETRY_CONNECTIONS_IDLE, 7);
    struct ring *ring = NULL;
    struct error error;
    assert_true(ring_create(&ring, 1, 8, &error));
    struct writer writer;
    writer_init(&writer, ring, 0);
    struct resource_chains chains = {.count = 1};
    struct own *own = own_create(&chains, 5, 10 * NS_PER_S);

    own_collect(own, &writer, 100 * NS_PER_S);
    uint64_t written = writer.points;
    size_t expected = 0;
    for (int i = 0; i < TELEMETRY_VALUE_COUNT; i++)
        expected += telemetry_values[i].owner == TELEMETRY_SHARD;
    assert_int_equal(written, expected);
    own_collect(own, &writer, 105 * NS_PER_S);
    assert_int_equal(writer.points, written);
    own_collect(own, &writer, 110 * NS_PER_S);
    assert_int_equal(writer.points, 2 * written);

    writer_flush(&writer, 110 * NS_PER_S);
    struct page *page = ring_take(ring);
    assert_non_null(page);
    assert_int_equal(page->route, 5);
    size_t found = 0;
    for (uint32_t r = 0; r < page->run_count; r++) {
        const struct run *run = page_run_const(page, r);
        if (strcmp(run->metric->name, "pgweir.connections") != 0 ||
            !has_label(run->fixed, "state", "idle"))
            continue;
        const struct point *point = page_points_const(page) + run->first;
        assert_int_equal(run->count, 1);
        assert_true(has_label(point->attrs, "shard", "3"));
        assert_int_equal(point->value.integer, 7);
        found++;
    }
    assert_int_equal(found, 2);
    ring_give(ring, page);
    own_destroy(&own);
    ring_destroy(&ring);
    telemetry_reset();
}

/* The point of the page's one distribution of this name; NULL: none. */
static const struct point *find_distribution(const struct page *page, const char *name)
{
    const struct point *found = NULL;
    for (uint32_t r = 0; r < page->run_count; r++) {
        const struct run *run = page_run_const(page, r);
        assert_true(metric_is_number(run->metric) == (run->metric->instrument != METRIC_HISTOGRAM));
        if (strcmp(run->metric->name, name) != 0)
            continue;
        assert_null(found);
        assert_int_equal(run->count, 1);
        assert_false(metric_is_number(run->metric));
        found = page_points_const(page) + run->first;
    }
    return found;
}

struct collector {
    struct ring *ring;
    struct writer writer;
    struct own *own;
    uint64_t now_ns;
};

/* One interval later: a shard's turn. The pages it pushed are taken and kept. */
static uint32_t next_turn(struct collector *collector, struct page *kept[8])
{
    collector->now_ns += 10 * NS_PER_S;
    own_collect(collector->own, &collector->writer, collector->now_ns);
    writer_flush(&collector->writer, collector->now_ns);
    own_reclaim(collector->own, collector->ring, 0);
    uint32_t count = 0;
    while (count < 8 && (kept[count] = ring_take(collector->ring)) != NULL)
        count++;
    return count;
}

/* A snapshot does not change while the histogram goes on, lives until its page has come back, and
 * is gone then (AddressSanitizer sees both ends). */
static void histograms_live_as_long_as_their_pages(void **state)
{
    (void)state;
    struct telemetry_label label = {"shard", "3"};
    struct telemetry_set *set = telemetry_open(TELEMETRY_SHARD, 1, &label);
    struct collector collector = {.now_ns = 100 * NS_PER_S};
    struct error error;
    struct resource_chains chains = {.count = 1};
    assert_true(ring_create(&collector.ring, 1, 8, &error));
    writer_init(&collector.writer, collector.ring, 0);
    collector.own = own_create(&chains, 5, 10 * NS_PER_S);

    struct page *first[8], *second[8];
    assert_int_equal(next_turn(&collector, first), 1);
    assert_null(find_distribution(first[0], "pgweir.schedule.lag")); /* nothing recorded */
    ring_give(collector.ring, first[0]);

    telemetry_record(set, TELEMETRY_HISTOGRAM_LAG, 0);
    telemetry_record(set, TELEMETRY_HISTOGRAM_LAG, 250 * NS_PER_MS);
    assert_int_equal(next_turn(&collector, first), 1);
    telemetry_record_many(set, TELEMETRY_HISTOGRAM_LAG, NS_PER_S, 3);
    assert_int_equal(next_turn(&collector, second), 1);

    const struct point *one = find_distribution(first[0], "pgweir.schedule.lag");
    const struct point *two = find_distribution(second[0], "pgweir.schedule.lag");
    assert_non_null(one);
    assert_non_null(two);
    assert_true(has_label(one->attrs, "shard", "3"));
    assert_true(one->start_ns != 0 && one->start_ns == two->start_ns);
    assert_int_equal(one->value.distribution->count, 2);
    assert_int_equal(one->value.distribution->zero_count, 1);
    assert_true(one->value.distribution->max == 0.25 && one->value.distribution->sum == 0.25);
    assert_int_equal(two->value.distribution->count, 5);
    assert_true(two->value.distribution->sum == 3.25);

    ring_give(collector.ring, first[0]);
    own_reclaim(collector.own, collector.ring, 0);
    assert_int_equal(two->value.distribution->count, 5); /* its page is still away */
    ring_give(collector.ring, second[0]);
    own_reclaim(collector.own, collector.ring, 0);
    own_destroy(&collector.own);
    ring_destroy(&collector.ring);
    telemetry_reset();
}

/* No page is free: the points are counted as dropped and their snapshots freed all the same. */
static void histograms_without_a_page(void **state)
{
    (void)state;
    struct telemetry_label label = {"shard", "3"};
    struct telemetry_set *set = telemetry_open(TELEMETRY_SHARD, 1, &label);
    struct collector collector = {.now_ns = 100 * NS_PER_S};
    struct error error;
    struct resource_chains chains = {.count = 1};
    assert_true(ring_create(&collector.ring, 1, 1, &error));
    writer_init(&collector.writer, collector.ring, 0);
    collector.own = own_create(&chains, 5, 10 * NS_PER_S);
    telemetry_record(set, TELEMETRY_HISTOGRAM_LAG, 7);
    struct page *kept[8], *none[8];
    assert_int_equal(next_turn(&collector, kept), 1);
    uint64_t dropped = collector.writer.dropped_total;
    assert_int_equal(next_turn(&collector, none), 0);
    assert_true(collector.writer.dropped_total > dropped);
    ring_give(collector.ring, kept[0]);
    own_reclaim(collector.own, collector.ring, 0);
    own_destroy(&collector.own);
    ring_destroy(&collector.ring);
    telemetry_reset();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_once),
        cmocka_unit_test(histograms_live_as_long_as_their_pages),
        cmocka_unit_test(histograms_without_a_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
