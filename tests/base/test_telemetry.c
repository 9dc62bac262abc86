/* SPDX-License-Identifier: Apache-2.0 */
/* The catalogue's form, sets, totals, snapshots while they are written. */
#include <pgweir/telemetry.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>

#include <cmocka.h>

static void test_catalogue(void **state)
{
    (void)state;
    for (size_t i = 0; i < TELEMETRY_VALUE_COUNT; i++) {
        const struct telemetry_value_info *info = &telemetry_values[i];
        assert_true(strncmp(info->name, "pgweir.", 7) == 0);
        assert_true(*info->unit != 0 && *info->help != 0);
        assert_int_equal(*info->label == 0, *info->label_value == 0);
        for (size_t k = 0; k < i; k++) {
            const struct telemetry_value_info *other = &telemetry_values[k];
            if (strcmp(info->name, other->name) != 0)
                continue;
            /* rows of one name stand together, agree, and differ in their label's value */
            assert_string_equal(info->name, telemetry_values[i - 1].name);
            assert_true(info->owner == other->owner && info->kind == other->kind);
            assert_string_equal(info->unit, other->unit);
            assert_string_equal(info->help, other->help);
            assert_string_equal(info->label, other->label);
            assert_string_not_equal(info->label_value, other->label_value);
        }
    }
}

static void test_sets(void **state)
{
    (void)state;
    telemetry_reset();
    struct telemetry_label label = {"shard", "0"};
    struct telemetry_set *one = telemetry_open(TELEMETRY_SHARD, 1, &label);
    struct telemetry_set *two = telemetry_open(TELEMETRY_SHARD, 1, &label);
    struct telemetry_set *worker = telemetry_open(TELEMETRY_WORKER, 0, NULL);
    assert_ptr_equal(telemetry_first(), worker);
    assert_non_null(one->histograms[TELEMETRY_HISTOGRAM_SCRAPE]);
    assert_null(one->histograms[TELEMETRY_HISTOGRAM_RING_WAIT]);
    assert_non_null(worker->histograms[TELEMETRY_HISTOGRAM_RING_WAIT]);
    telemetry_add(one, TELEMETRY_ROWS, 3);
    telemetry_add(two, TELEMETRY_ROWS, 4);
    telemetry_put(two, TELEMETRY_TARGETS_UP, 9);
    telemetry_put(two, TELEMETRY_TARGETS_UP, 5);
    assert_int_equal(telemetry_total(TELEMETRY_ROWS), 7);
    assert_int_equal(telemetry_total(TELEMETRY_TARGETS_UP), 5);
    telemetry_record(one, TELEMETRY_HISTOGRAM_SCRAPE, 7);
    telemetry_record(two, TELEMETRY_HISTOGRAM_SCRAPE, 9);
    static struct histogram_view view;
    telemetry_merge(TELEMETRY_HISTOGRAM_SCRAPE, &view);
    assert_true(view.count == 2 && view.sum_ns == 16 && view.max_ns == 9);
    telemetry_reset();
    assert_null(telemetry_first());
    assert_int_equal(telemetry_total(TELEMETRY_ROWS), 0);
}

enum { CHANGES = 200000, OPENERS = 4, OPENED = 50 };

/* collected = delivered + queued after every change. */
static void *change(void *argument)
{
    struct telemetry_set *set = argument;
    for (uint64_t i = 0; i < CHANGES; i++) {
        telemetry_begin(set);
        telemetry_add(set, TELEMETRY_POINTS_COLLECTED_FOR, 10);
        telemetry_put(set, TELEMETRY_POINTS_QUEUED, i % 7);
        telemetry_put(set, TELEMETRY_POINTS_DELIVERED, (i + 1) * 10 - i % 7);
        telemetry_end(set);
    }
    return NULL;
}

static void test_snapshots_are_whole(void **state)
{
    (void)state;
    struct telemetry_set *set = telemetry_open(TELEMETRY_DESTINATION, 0, NULL);
    pthread_t thread;
    uint64_t values[TELEMETRY_VALUE_COUNT] = {0};
    assert_int_equal(pthread_create(&thread, NULL, change, set), 0);
    while (values[TELEMETRY_POINTS_COLLECTED_FOR] < CHANGES * 10) {
        telemetry_snapshot(set, values);
        assert_true(values[TELEMETRY_POINTS_COLLECTED_FOR] ==
                    values[TELEMETRY_POINTS_DELIVERED] + values[TELEMETRY_POINTS_QUEUED]);
    }
    pthread_join(thread, NULL);
    telemetry_reset();
}

static void *open_many(void *argument)
{
    (void)argument;
    for (int i = 0; i < OPENED; i++)
        telemetry_add(telemetry_open(TELEMETRY_FAILURE, 0, NULL), TELEMETRY_FAILURES, 1);
    return NULL;
}

static void test_any_thread_opens(void **state)
{
    (void)state;
    pthread_t threads[OPENERS];
    for (int i = 0; i < OPENERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, open_many, NULL), 0);
    uint64_t total = 0;
    while (total < OPENERS * OPENED) {
        uint64_t now = telemetry_total(TELEMETRY_FAILURES);
        assert_true(now >= total);
        total = now;
    }
    for (int i = 0; i < OPENERS; i++)
        pthread_join(threads[i], NULL);
    telemetry_reset();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_catalogue),
        cmocka_unit_test(test_sets),
        cmocka_unit_test(test_snapshots_are_whole),
        cmocka_unit_test(test_any_thread_opens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
