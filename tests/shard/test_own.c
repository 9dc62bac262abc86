/* SPDX-License-Identifier: Apache-2.0 */
/* pgweir's own metrics as points: every value of every set once, under its labels, and no more
 * often than the interval. */
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_value_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
