/* SPDX-License-Identifier: Apache-2.0 */
/* The spool without its thread: each promise of ring/spool.h, then random acts against a model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/random.h"
#include "tests/ring/spool_kit.h"

static char path[256];
static struct kit *kit;

static int make(void **state)
{
    (void)state;
    kit_make_directory(path);
    kit = malloc(sizeof *kit);
    kit_init(kit, path);
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    if (kit->store != NULL)
        kit_close(kit);
    free(kit);
    kit_remove_directory(path);
    return 0;
}

static void reopen(void)
{
    kit_close(kit);
    assert_true(kit_open(kit));
}

static void test_stored_and_found_again(void **state)
{
    (void)state;
    assert_true(kit_open(kit));
    assert_int_equal(spool_store_next(kit->store), 1);
    for (uint64_t i = 1; i <= 5; i++)
        assert_int_equal(kit_put(kit, i, (uint32_t)(1000 * i)), SPOOL_STORED);
    assert_int_equal(kit_read(kit), 0); /* all are in hand */
    spool_store_ack(kit->store, 2, kit->now);
    reopen();
    struct spool_status status = kit_status(kit);
    assert_int_equal(spool_store_next(kit->store), 6);
    assert_int_equal(status.recovered_records, 4);
    assert_int_equal(status.recovered_points,
                     kit_points(1) + kit_points(3) + kit_points(4) + kit_points(5));
    assert_int_equal(status.corrupt_records, 0);
    assert_int_equal(status.records, 4);
    assert_int_equal(status.bytes, 13000);
    assert_int_equal(kit_read(kit), 1);
    assert_int_equal(kit_read(kit), 3);
    assert_int_equal(kit_read(kit), 4);
    assert_int_equal(kit_read(kit), 5);
    assert_int_equal(kit_read(kit), 0);
    spool_store_let_go(kit->store, 3);
    assert_int_equal(kit_read(kit), 3);
    for (uint64_t i = 1; i <= 5; i++)
        assert_int_equal(spool_store_ack(kit->store, i, kit->now), i != 2);
    reopen();
    assert_int_equal(kit_read(kit), 0);
    assert_int_equal(kit_status(kit).recovered_records, 0);
    assert_int_equal(spool_store_next(kit->store), 6);
    assert_int_equal(kit_count_files(path, ".segment"), 0);
}

/* Larger than what is left, larger than a segment, as large as may be, nothing at all. */
static void test_sizes(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {0,     1,     40000, 40000, 70000, 1 << 20, 9 << 20,
                                     65336, 65337, 65338, 0,     65535, 30000,   8 << 20};
    enum { COUNT = sizeof sizes / sizeof *sizes };
    kit->settings.size_bytes = 64 << 20;
    assert_true(kit_open(kit));
    for (uint64_t i = 0; i < COUNT; i++)
        assert_int_equal(kit_put(kit, i + 1, sizes[i]), SPOOL_STORED);
    assert_true(kit_count_files(path, ".segment") >= 6);
    reopen();
    for (uint64_t i = 0; i < COUNT; i++)
        assert_int_equal(kit_read(kit), i + 1); /* contents are checked */
    assert_int_equal(kit_read(kit), 0);
    assert_int_equal(kit_status(kit).corrupt_records, 0);
    assert_int_equal(kit_put(kit, 100, 64 << 20), SPOOL_REFUSED); /* larger than the spool */
    assert_int_equal(kit->events[kit->event_count - 1].error, EFBIG);
    assert_true(kit_status(kit).working);
}

static void test_rights(void **state)
{
    (void)state;
    char deep[300], name[512];
    snprintf(deep, sizeof deep, "%s/a//b/c/", path);
    kit->settings.directory = deep;
    assert_true(kit_open(kit));
    assert_int_equal(kit_put(kit, 1, 100), SPOOL_STORED);
    kit_turn(kit, NS_PER_S);
    struct stat status;
    assert_int_equal(stat(deep, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0700);
    static const char *const kinds[] = {".segment", ".acks"};
    for (size_t i = 0; i < 2; i++) {
        kit_file_name(deep, kinds[i], 0, name);
        assert_int_equal(stat(name, &status), 0);
        assert_int_equal(status.st_mode & 07777, 0600);
    }
    kit_close(kit);
    kit_empty_directory(deep);
    snprintf(deep, sizeof deep, "%s/a/b", path);
    kit_empty_directory(deep);
    snprintf(deep, sizeof deep, "%s/a", path);
    kit_empty_directory(deep);
}

static void test_one_process(void **state)
{
    (void)state;
    struct error error = {0};
    assert_true(kit_open(kit));
    struct spool_store *second = spool_store_open(&kit->settings, NULL, NULL, kit->now, &error);
    assert_null(second);
    assert_non_null(strstr(error.text, "another process"));
    assert_non_null(strstr(error.text, path));
}

/* Segments whose records are all done with go, and nothing else. */
static void test_segments_go(void **state)
{
    (void)state;
    assert_true(kit_open(kit));
    for (uint64_t i = 1; i <= 30; i++) /* six to a segment */
        assert_int_equal(kit_put(kit, i, 10000), SPOOL_STORED);
    assert_int_equal(kit_count_files(path, ".segment"), 5);
    for (uint64_t i = 7; i <= 12; i++)
        spool_store_ack(kit->store, i, kit->now);
    for (uint64_t i = 14; i <= 18; i++)
        spool_store_ack(kit->store, i, kit->now);
    kit_turn(kit, 1);
    assert_int_equal(kit_count_files(path, ".segment"), 4);
    uint64_t before = kit_status(kit).disk_bytes;
    spool_store_ack(kit->store, 13, kit->now);
    kit_turn(kit, 1);
    assert_int_equal(kit_count_files(path, ".segment"), 3);
    assert_true(kit_status(kit).disk_bytes < before);
    reopen();
    assert_int_equal(kit_status(kit).corrupt_records, 0);
    assert_int_equal(kit_status(kit).records, 18);
}

/* What was acknowledged before it was synced costs no sync of the segment. */
static void test_evicts_oldest(void **state)
{
    (void)state;
    assert_true(kit_open(kit));
    uint64_t points = 0;
    for (uint64_t i = 1; i <= 200; i++) {
        assert_int_equal(kit_put(kit, i, 10000), SPOOL_STORED);
        assert_true(kit_status(kit).disk_bytes <= kit->settings.size_bytes);
    }
    uint64_t expected = 1;
    for (size_t i = 0; i < kit->event_count; i++) {
        const struct spool_event *event = &kit->events[i];
        if (event->kind != SPOOL_EVICTED)
            continue;
        assert_int_equal(event->reason, SPOOL_FULL);
        assert_int_equal(event->sequence, expected);
        assert_int_equal(event->points, kit_points(expected));
        points += event->points;
        expected++;
    }
    assert_true(expected > 100 && expected < 150);
    assert_int_equal(kit_status(kit).records, 201 - expected);
    for (uint64_t i = expected; i <= 200; i++)
        points += kit_points(i);
    assert_int_equal(points, kit_status(kit).points + (points - kit_status(kit).points));
    reopen();
    assert_int_equal(kit_status(kit).records, 201 - expected);
    assert_int_equal(kit_status(kit).corrupt_records, 0);
    assert_int_equal(kit_read(kit), expected);
}

static void test_expires(void **state)
{
    (void)state;
    kit->settings.age_ns = 3600 * NS_PER_S;
    assert_true(kit_open(kit));
    for (uint64_t i = 1; i <= 3; i++)
        kit_put(kit, i, 100);
    kit_turn(kit, 3500 * NS_PER_S);
    assert_int_equal(kit_count_events(kit, SPOOL_EVICTED), 0);
    kit_turn(kit, 100 * NS_PER_S);
    assert_int_equal(kit_count_events(kit, SPOOL_EVICTED), 3);
    assert_int_equal(kit->events[kit->event_count - 1].reason, SPOOL_EXPIRED);
    assert_int_equal(kit->events[kit->event_count - 1].points, kit_points(3));
    assert_int_equal(kit_status(kit).records, 0);
    assert_int_equal(kit_read(kit), 0);
    assert_false(spool_store_ack(kit->store, 1, kit->now));
    kit_put(kit, 4, 100);
    spool_store_let_go(kit->store, 4);
    kit->now.wall_ns += 4000 * NS_PER_S; /* no turn in between: found when it is read */
    assert_int_equal(kit_read(kit), 0);
    assert_int_equal(kit_count_events(kit, SPOOL_EVICTED), 4);
}

/* A sequence that is there already is stored, once. */
static void test_twice_the_same(void **state)
{
    (void)state;
    assert_true(kit_open(kit));
    assert_int_equal(kit_put(kit, 7, 100), SPOOL_STORED);
    assert_int_equal(kit_put(kit, 7, 100), SPOOL_STORED);
    assert_int_equal(kit_put(kit, 3, 100), SPOOL_STORED); /* late, but new */
    assert_int_equal(kit_status(kit).records, 2);
    reopen();
    assert_int_equal(kit_read(kit), 7); /* in the order of writing */
    assert_int_equal(kit_read(kit), 3);
    assert_int_equal(kit_read(kit), 0);
    assert_int_equal(spool_store_next(kit->store), 8);
}

/* ---- a model ---- */

enum { MODEL_MAX = 4000 };

struct model {
    uint8_t state[MODEL_MAX + 1]; /* 0: none, 1: in hand, 2: on disk only, 3: done with */
    uint64_t next;
    size_t seen_events;
};

/* Evictions happen inside acts: what the events say must be true of the model. */
static void follow_events(struct model *model)
{
    for (; model->seen_events < kit->event_count; model->seen_events++) {
        const struct spool_event *event = &kit->events[model->seen_events];
        if (event->kind != SPOOL_EVICTED)
            continue;
        uint8_t *at = &model->state[event->sequence];
        assert_true(*at == 1 || *at == 2);
        assert_int_equal(event->points, kit_points(event->sequence));
        *at = 3;
    }
}

static void check_sums(const struct model *model)
{
    uint64_t records = 0, points = 0;
    for (uint64_t i = 1; i < model->next; i++) {
        if (model->state[i] != 1 && model->state[i] != 2)
            continue;
        records++;
        points += kit_points(i);
    }
    struct spool_status status = kit_status(kit);
    assert_int_equal(status.records, records);
    assert_int_equal(status.points, points);
    assert_true(status.disk_bytes <= kit->settings.size_bytes);
    assert_int_equal(status.corrupt_records, 0);
    assert_int_equal(status.corrupt_bytes, 0);
}

static void act(struct model *model, struct random *random)
{
    uint64_t which = 1 + random_below(random, model->next);
    uint64_t oldest = 1;
    switch (random_below(random, 10)) {
    case 0:
    case 1:
    case 2:
    case 3:
        if (model->next > MODEL_MAX)
            break;
        model->state[model->next] = 1;
        assert_int_equal(kit_put(kit, model->next, (uint32_t)random_below(random, 20000)),
                         SPOOL_STORED);
        model->next++;
        break;
    case 4:
    case 5:
        if (which >= model->next)
            break;
        follow_events(model);
        assert_int_equal(spool_store_ack(kit->store, which, kit->now),
                         model->state[which] == 1 || model->state[which] == 2);
        model->state[which] = 3;
        break;
    case 6:
        if (which >= model->next)
            break;
        spool_store_let_go(kit->store, which);
        if (model->state[which] == 1)
            model->state[which] = 2;
        break;
    case 7:
        while (oldest < model->next && model->state[oldest] != 2)
            oldest++;
        assert_int_equal(kit_read(kit), oldest < model->next ? oldest : 0);
        if (oldest < model->next)
            model->state[oldest] = 1;
        break;
    case 8:
        kit_turn(kit, random_below(random, 300) * NS_PER_MS);
        break;
    default:
        if (random_below(random, 5) > 0)
            break;
        reopen();
        assert_int_equal(spool_store_next(kit->store), model->next);
        for (uint64_t i = 1; i < model->next; i++)
            if (model->state[i] == 1)
                model->state[i] = 2;
    }
    follow_events(model);
}

static void run_model(uint64_t seed, int acts)
{
    print_message("seed %lu\n", seed); /* what failed, if it does */
    struct random random = {.state = seed};
    struct model *model = calloc(1, sizeof *model);
    model->next = 1;
    kit_init(kit, path);
    kit->settings.size_bytes = 300000 + random_below(&random, 1000000);
    kit->settings.segment_bytes = 5000 + random_below(&random, 100000);
    assert_true(kit_open(kit));
    for (int i = 0; i < acts; i++) {
        act(model, &random);
        if (i % 16 == 0)
            check_sums(model);
    }
    check_sums(model);
    kit_close(kit);
    kit_empty_directory(path);
    free(model);
}

static void test_model(void **state)
{
    (void)state;
    const char *more = getenv("SPOOL_SEEDS");
    int seeds = more != NULL ? atoi(more) : 6;
    for (int seed = 1; seed <= seeds; seed++) {
        run_model((uint64_t)seed, 3000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_stored_and_found_again, make, unmake),
        cmocka_unit_test_setup_teardown(test_sizes, make, unmake),
        cmocka_unit_test_setup_teardown(test_rights, make, unmake),
        cmocka_unit_test_setup_teardown(test_one_process, make, unmake),
        cmocka_unit_test_setup_teardown(test_segments_go, make, unmake),
        cmocka_unit_test_setup_teardown(test_evicts_oldest, make, unmake),
        cmocka_unit_test_setup_teardown(test_expires, make, unmake),
        cmocka_unit_test_setup_teardown(test_twice_the_same, make, unmake),
        cmocka_unit_test_setup_teardown(test_model, make, unmake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
