/* SPDX-License-Identifier: Apache-2.0 */
/* Batches as they reach a file (the file exporter writes one record a batch), read back by the
 * sink's own protobuf walker. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "exporters/exporter.h"
#include "tests/exporters/rig.h"
#include "tools/sink/body.h"

enum { BATCHES_MAX = 4096 };

/* Points of each record of the file, which must all be well-formed. */
static uint32_t read_batches(const char *path, uint64_t points[BATCHES_MAX])
{
    FILE *file = fopen(path, "re");
    struct body_reader *reader = body_reader_create(BODY_CHECK);
    uint8_t length[4];
    uint32_t count = 0;
    assert_non_null(file);
    while (fread(length, 1, 4, file) == 4) {
        size_t bytes =
            (size_t)length[0] << 24 | (size_t)length[1] << 16 | (size_t)length[2] << 8 | length[3];
        uint8_t *body = malloc(bytes);
        struct body_counts counts = {0};
        assert_int_equal(fread(body, 1, bytes, file), bytes);
        const char *problem = body_walk(reader, body, bytes, &counts);
        if (problem != NULL)
            fail_msg("batch %u: %s", count, problem);
        assert_true(count < BATCHES_MAX);
        points[count++] = counts.points;
        free(body);
    }
    body_reader_destroy(&reader);
    fclose(file);
    return count;
}

struct run_of_pages {
    int64_t size, max_size;
    uint64_t timeout_ns;
    bool no_batch;
    uint32_t pages, page_points;
};

static uint32_t run(const struct run_of_pages *given, uint64_t points[BATCHES_MAX])
{
    struct rig rig;
    char path[] = "/tmp/pgweir-batch-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    const char *const pairs[] = {"path", path, "format", "proto", NULL};
    rig_init(&rig);
    rig_add(&rig, &file_exporter.component, pairs);
    rig.batch = (struct batch_settings){given->size, given->max_size, given->timeout_ns};
    rig.no_batch = given->no_batch;
    rig_start(&rig);
    for (uint32_t i = 0; i < given->pages; i++)
        rig_push(&rig, given->page_points, 0);
    assert_true(rig_stop(&rig, 5000));
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_POINTS_DELIVERED),
                     given->pages * given->page_points);
    rig_fini(&rig);
    uint32_t count = read_batches(path, points);
    unlink(path);
    return count;
}

/* Without a maximum a batch is closed by the page that fills it. */
static void test_size(void **state)
{
    (void)state;
    static uint64_t points[BATCHES_MAX];
    struct run_of_pages given = {100, 0, 3600 * NS_PER_S, false, 10, 30};
    assert_int_equal(run(&given, points), 3);
    assert_int_equal(points[0], 120);
    assert_int_equal(points[1], 120);
    assert_int_equal(points[2], 60); /* what was left at the end */
}

/* With one it is met exactly: pages are cut, whatever the sizes. */
static void test_max_size(void **state)
{
    (void)state;
    static uint64_t points[BATCHES_MAX];
    static const uint32_t page_points[] = {1, 7, 100, 333, 1000};
    for (size_t i = 0; i < sizeof page_points / sizeof page_points[0]; i++) {
        struct run_of_pages given = {100, 100, 3600 * NS_PER_S, false, 3, page_points[i]};
        uint32_t total = 3 * page_points[i], count = run(&given, points);
        assert_int_equal(count, (total + 99) / 100);
        for (uint32_t b = 0; b + 1 < count; b++)
            assert_int_equal(points[b], 100);
        assert_int_equal(points[count - 1], total - (count - 1) * 100);
    }
}

/* send_batch_size closes before the maximum is reached. */
static void test_size_below_max(void **state)
{
    (void)state;
    static uint64_t points[BATCHES_MAX];
    struct run_of_pages given = {100, 130, 3600 * NS_PER_S, false, 4, 60};
    assert_int_equal(run(&given, points), 2);
    assert_int_equal(points[0], 120);
    assert_int_equal(points[1], 120);
}

/* A timeout of 0 sends each page at once; no processor sends each sweep at once. */
static void test_at_once(void **state)
{
    (void)state;
    static uint64_t points[BATCHES_MAX];
    struct run_of_pages given = {8192, 0, 0, false, 5, 30};
    assert_int_equal(run(&given, points), 5);
    given.no_batch = true;
    uint32_t count = run(&given, points);
    assert_in_range(count, 1, 5);
}

/* Age closes a batch that never fills. */
static void test_age(void **state)
{
    (void)state;
    struct rig rig;
    const char *const pairs[] = {"path", "/dev/null", NULL};
    rig_init(&rig);
    rig_add(&rig, &file_exporter.component, pairs);
    rig.batch = (struct batch_settings){8192, 0, 100 * NS_PER_MS};
    rig_start(&rig);
    uint64_t before_ns = clock_monotonic_ns();
    rig_push(&rig, 10, 0);
    rig_wait(&rig, 0, TELEMETRY_POINTS_DELIVERED, 10);
    uint64_t waited_ns = clock_monotonic_ns() - before_ns;
    assert_in_range(waited_ns, 95 * NS_PER_MS, 8 * NS_PER_S);
    rig_fini(&rig);
}

/* Pages larger than a body are cut to what fits. */
static void test_huge_pages(void **state)
{
    (void)state;
    static struct attrs_builder builder;
    static char value[LIMIT_ATTRIBUTE_BYTES];
    static uint64_t points[BATCHES_MAX];
    memset(value, 'x', sizeof value);
    attrs_begin(&builder, ATTRS_POINT);
    attrs_add_text(&builder, "a", value, sizeof value);
    attrs_add_text(&builder, "b", value, sizeof value);
    attrs_add_text(&builder, "c", value, sizeof value);
    struct attrs *large = attrs_finish(&builder);
    struct rig rig;
    char path[] = "/tmp/pgweir-batch-XXXXXX";
    int fd = mkstemp(path);
    close(fd);
    const char *const pairs[] = {"path", path, "format", "proto", NULL};
    rig_init(&rig);
    rig_add(&rig, &file_exporter.component, pairs);
    rig.batch = (struct batch_settings){1000000, 0, 3600 * NS_PER_S};
    rig_start(&rig);
    rig_push(&rig, 8, 0);         /* also makes the resource */
    for (int p = 0; p < 2; p++) { /* 2 × 1000 × 12 KiB = 24 MB: more than a body holds */
        struct page *page = ring_acquire(rig.ring, 0);
        static struct attrs_builder resource_builder;
        static struct resource resource;
        if (resource.variants[0] == NULL) {
            attrs_begin(&resource_builder, ATTRS_RESOURCE);
            resource.variants[0] = attrs_finish(&resource_builder);
        }
        page_reset(page, 0, clock_monotonic_ns());
        struct point *point =
            page_begin_run(page, &rig_metrics[0], NULL, &resource, clock_wall_ns());
        for (int i = 0; i < 1000; i++)
            point[i] = (struct point){.attrs = large};
        page_end_run(page, 1000);
        ring_push(rig.ring, page, clock_monotonic_ns());
        rig.pushed += 1000;
    }
    assert_true(rig_stop(&rig, 5000));
    assert_int_equal(rig_value(&rig, 0, TELEMETRY_POINTS_DELIVERED), 2008);
    rig_fini(&rig);
    uint32_t count = read_batches(path, points);
    uint64_t total = 0;
    for (uint32_t i = 0; i < count; i++)
        total += points[i];
    assert_int_equal(total, 2008);
    assert_true(count >= 4);
    unlink(path);
    attrs_destroy(&large);
}

static void test_validate(void **state)
{
    (void)state;
    struct error error;
    struct batch_settings settings = {.send_batch_size = 100, .send_batch_max_size = 99};
    assert_false(batch_processor.validate(&settings, &error));
    assert_non_null(strstr(error.text, "send_batch_max_size 99 is less than send_batch_size 100"));
    settings.send_batch_max_size = 100;
    assert_true(batch_processor.validate(&settings, &error));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_max_size),
        cmocka_unit_test(test_size_below_max),
        cmocka_unit_test(test_at_once),
        cmocka_unit_test(test_age),
        cmocka_unit_test(test_huge_pages),
        cmocka_unit_test(test_validate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
