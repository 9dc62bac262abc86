/* SPDX-License-Identifier: Apache-2.0 */
/* A spool looked at from outside: what it says of one at rest, and that beside one that is written,
 * acknowledged and cut at full speed nothing looks lost that is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/random.h"
#include "ring/spool_inspect.h"
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
    free(kit);
    kit_remove_directory(path);
    return 0;
}

/* What an inspection said. */
struct said {
    uint64_t segments, waiting, done, cut, bad, points, bytes;
    uint64_t damages, damage_bytes, bad_files, missing_records, missing_points;
};

static void say_segment(void *context, const char *file, uint64_t bytes,
                        enum spool_head_state state)
{
    struct said *said = context;
    (void)state;
    assert_non_null(strstr(file, ".segment"));
    said->segments++;
    said->bytes += bytes;
}

static void say_record(void *context, const struct spool_seen *seen)
{
    struct said *said = context;
    said->waiting += seen->state == SPOOL_IS_WAITING;
    said->done += seen->state == SPOOL_IS_DONE;
    said->cut += seen->state == SPOOL_IS_CUT;
    said->bad += seen->state == SPOOL_IS_BAD;
    said->points += seen->state == SPOOL_IS_WAITING ? seen->record->points : 0;
    if (seen->body == NULL)
        return;
    struct parcel *like = kit_parcel(seen->record->sequence, seen->record->bytes);
    assert_memory_equal(like->body, seen->body, like->bytes);
    parcel_release(&like);
}

static void say_damage(void *context, const char *file, uint64_t offset, uint64_t bytes)
{
    struct said *said = context;
    (void)file;
    (void)offset;
    said->damages++;
    said->damage_bytes += bytes;
}

static void say_bad_file(void *context, const char *file, int error)
{
    struct said *said = context;
    (void)file;
    (void)error;
    said->bad_files++;
}

static void say_missing(void *context, uint64_t records, uint64_t points)
{
    struct said *said = context;
    said->missing_records = records;
    said->missing_points = points;
}

static struct said inspect(bool bodies)
{
    struct said said = {.segments = 0};
    struct error error;
    struct spool_visitor visitor = {.context = &said,
                                    .bodies = bodies,
                                    .segment = say_segment,
                                    .record = say_record,
                                    .damage = say_damage,
                                    .bad_file = say_bad_file,
                                    .missing = say_missing};
    assert_true(spool_inspect(path, &visitor, &error));
    return said;
}

static void test_at_rest(void **state)
{
    (void)state;
    kit->settings.segment_bytes = 4096;
    assert_false(spool_inspect_is_spool(path));
    assert_true(kit_open(kit));
    for (uint64_t i = 1; i <= 20; i++)
        assert_int_equal(kit_put(kit, i, 700), SPOOL_STORED);
    for (uint64_t i = 1; i <= 8; i++)
        spool_store_ack(kit->store, i * 2, kit->now);
    kit_turn(kit, NS_PER_S);
    struct said said = inspect(true); /* open beside it, no lock in the way */
    assert_true(spool_inspect_is_spool(path));
    uint64_t points = 0;
    for (uint64_t i = 1; i <= 20; i++)
        points += i % 2 == 1 || i > 16 ? kit_points(i) : 0;
    assert_int_equal(said.waiting, 12);
    assert_int_equal(said.done, 8);
    assert_int_equal(said.points, points);
    assert_int_equal(said.damages + said.bad_files + said.bad + said.cut + said.missing_records, 0);
    kit_close(kit);
    said = inspect(false);
    assert_int_equal(said.waiting, 12);
    char name[512];
    kit_file_name(path, ".segment", 1, name); /* 6 to 10 */
    assert_int_equal(unlink(name), 0);
    said = inspect(true);
    assert_int_equal(said.missing_records, 2); /* 7 and 9 */
    assert_int_equal(said.missing_points, kit_points(7) + kit_points(9));
    kit_file_name(path, ".segment", 0, name);
    kit_flip_bit(name, 8 * (64 + 80 + 1));
    kit_file_name(path, ".segment", 1, name);
    kit_flip_bit(name, 8 * (64 + 7));
    kit_file_name(path, ".segment", 2, name);
    kit_truncate(name, 64 + 80 + 700 + 80 + 10);
    said = inspect(true);
    assert_int_equal(said.bad, 1);
    assert_int_equal(said.damages, 1);
    assert_int_equal(said.damage_bytes, 780);
    assert_int_equal(said.cut, 1);
    assert_int_equal(kit_count_files(path, ".damaged"), 0); /* nothing was changed */
    kit_file_name(path, ".acks", 0, name);
    assert_int_equal(unlink(name), 0);
    assert_int_equal(inspect(false).bad_files, 1);
}

/* ---- beside one at work ---- */

static _Atomic bool over;

static void *work(void *given)
{
    struct spool *spool = given;
    struct spool_event event;
    struct random random = {.state = 9};
    uint64_t next = 1, in_flight = 0;
    while (!atomic_load(&over)) {
        while (spool_take_event(spool, &event)) {
            if (event.kind == SPOOL_EVICTED)
                continue; /* full, time and again */
            CHECK(event.kind == SPOOL_STORED);
            if (random_below(&random, 50) > 0)
                spool_ack(spool, event.sequence);
            parcel_release(&event.parcel);
            in_flight--;
        }
        if (in_flight > 100) {
            usleep(200);
            continue;
        }
        CHECK(spool_put(spool, kit_parcel(next++, (uint32_t)random_below(&random, 5000))));
        in_flight++;
    }
    return NULL;
}

static void test_beside_one_at_work(void **state)
{
    (void)state;
    struct spool *spool = NULL;
    struct error error;
    uint64_t next, looks = 0, waiting = 0;
    int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    kit->settings.age_ns = UINT64_MAX;
    kit->settings.flush_ns = NS_PER_MS;
    assert_true(spool_open(&spool, &kit->settings, wake_fd, &next, &error));
    pthread_t thread;
    atomic_store(&over, false);
    assert_int_equal(pthread_create(&thread, NULL, work, spool), 0);
    uint64_t end_ns = clock_monotonic_ns() + 2 * NS_PER_S;
    while (clock_monotonic_ns() < end_ns || looks < 20) {
        struct said said = {.segments = 0};
        for (int look = 0; look < 500; look++) { /* what is just being written, is sound soon */
            said = inspect(true);
            assert_in_range(said.missing_records, 0, said.cut);
            if (said.damages + said.bad_files + said.cut + said.bad == 0)
                break;
            usleep(20000);
        }
        assert_int_equal(said.damages + said.bad_files + said.cut + said.bad, 0);
        waiting += said.waiting;
        looks++;
    }
    atomic_store(&over, true);
    pthread_join(thread, NULL);
    spool_close(&spool);
    close(wake_fd);
    assert_true(waiting > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_at_rest, make, unmake),
        cmocka_unit_test_setup_teardown(test_beside_one_at_work, make, unmake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
