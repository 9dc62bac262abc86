/* SPDX-License-Identifier: Apache-2.0 */
/* The spool with its thread, as the worker uses it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/random.h"
#include "ring/spool_file.h"
#include "tests/ring/spool_kit.h"

static char path[256];
static int wake_fd;
static struct spool_settings settings;

static int make(void **state)
{
    (void)state;
    kit_make_directory(path);
    wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    settings = (struct spool_settings){.directory = path,
                                       .size_bytes = 256 << 20,
                                       .age_ns = 47 * 3600 * NS_PER_S,
                                       .segment_bytes = 1 << 20,
                                       .flush_ns = 20 * NS_PER_MS,
                                       .flush_bytes = 1 << 20};
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    close(wake_fd);
    kit_remove_directory(path);
    return 0;
}

static struct spool *open_spool(uint64_t *ret_next)
{
    struct spool *spool = NULL;
    struct error error = {0};
    assert_true(spool_open(&spool, &settings, wake_fd, ret_next, &error));
    return spool;
}

/* The next event; waits as the worker does, for its descriptor alone. */
static struct spool_event wait_event(struct spool *spool)
{
    struct spool_event event;
    while (!spool_take_event(spool, &event)) {
        struct pollfd wake = {.fd = wake_fd, .events = POLLIN};
        assert_int_equal(poll(&wake, 1, 60000), 1);
        uint64_t count;
        assert_int_equal(read(wake_fd, &count, sizeof count), sizeof count);
    }
    return event;
}

static struct parcel *fresh_parcel(uint64_t sequence, uint32_t bytes)
{
    struct parcel *parcel = kit_parcel(sequence, bytes);
    parcel->created_ns = clock_wall_ns();
    return parcel;
}

static void test_round_trip(void **state)
{
    (void)state;
    uint64_t next = 0;
    struct spool *spool = open_spool(&next);
    assert_int_equal(next, 1);
    struct parcel *parcel = fresh_parcel(1, 5000), *mine = parcel_hold(parcel);
    assert_true(spool_put(spool, parcel));
    struct spool_event event = wait_event(spool);
    assert_int_equal(event.kind, SPOOL_STORED);
    assert_ptr_equal(event.parcel, parcel);
    parcel_release(&event.parcel);
    spool_read(spool); /* it is in hand */
    assert_int_equal(wait_event(spool).kind, SPOOL_END);
    spool_let_go(spool, 1);
    spool_read(spool);
    event = wait_event(spool);
    assert_int_equal(event.kind, SPOOL_READ);
    assert_int_equal(event.sequence, 1);
    assert_int_equal(event.parcel->bytes, mine->bytes);
    assert_memory_equal(event.parcel->body, mine->body, mine->bytes);
    assert_int_equal(event.parcel->encoding, mine->encoding);
    assert_int_equal(event.parcel->due_ns, mine->due_ns);
    parcel_release(&event.parcel);
    spool_close(&spool);
    assert_null(spool);
    assert_int_equal(mine->references, 1);
    spool = open_spool(&next);
    assert_int_equal(next, 2);
    struct spool_status status;
    spool_read_status(spool, &status);
    assert_int_equal(status.recovered_points, mine->points);
    spool_read(spool);
    event = wait_event(spool);
    assert_int_equal(event.sequence, 1);
    parcel_release(&event.parcel);
    parcel_release(&mine);
    spool_ack(spool, 1);
    spool_close(&spool);
    spool = open_spool(&next);
    spool_read_status(spool, &status);
    assert_int_equal(status.recovered_records, 0);
    spool_close(&spool);
    spool_close(&spool); /* nothing, no harm */
}

/* More than the lanes hold, without a look at the events: nothing blocks, nothing is lost, acks
 * and all. */
static void test_flood(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    uint64_t next = 0, put = 0, acked = 0, stored = 0;
    struct spool *spool = open_spool(&next);
    struct spool_event event;
    uint64_t deadline_ns = clock_monotonic_ns() + 100 * NS_PER_S;
    while (put < COUNT) {
        struct parcel *parcel = fresh_parcel(put + 1, 64);
        if (spool_put(spool, parcel)) {
            put++;
            continue;
        }
        parcel_release(&parcel);
        for (; acked < put && acked % 2 == 0; acked += 2)
            spool_ack(spool, acked + 1);
        if (spool_take_event(spool, &event)) {
            assert_int_equal(event.kind, SPOOL_STORED);
            stored++; /* one that is acknowledged before it is written comes earlier */
            parcel_release(&event.parcel);
        } else {
            usleep(100);
        }
        assert_true(clock_monotonic_ns() < deadline_ns);
    }
    for (uint64_t i = 0; i < COUNT; i += 2)
        spool_ack(spool, i + 1); /* twice does no harm, and more at once than the lane holds */
    for (; stored < COUNT; stored++) {
        event = wait_event(spool);
        assert_int_equal(event.kind, SPOOL_STORED);
        parcel_release(&event.parcel);
    }
    spool_close(&spool);
    spool = open_spool(&next);
    assert_int_equal(next, COUNT + 1);
    for (uint64_t i = 2; i <= COUNT; i += 2) {
        spool_read(spool);
        event = wait_event(spool);
        assert_int_equal(event.kind, SPOOL_READ);
        assert_int_equal(event.sequence, i);
        parcel_release(&event.parcel);
    }
    spool_read(spool);
    assert_int_equal(wait_event(spool).kind, SPOOL_END);
    spool_close(&spool);
}

/* Closed with everything under way: what was put is written, references are given back. */
static void test_close_at_once(void **state)
{
    (void)state;
    uint64_t next = 0;
    for (int round = 0; round < 20; round++) {
        struct spool *spool = open_spool(&next);
        assert_int_equal(next, 1 + 3 * round);
        for (uint64_t i = 0; i < 3; i++)
            assert_true(spool_put(spool, fresh_parcel(next + i, 2000)));
        spool_close(&spool);
    }
    struct spool *spool = open_spool(&next);
    struct spool_status status;
    spool_read_status(spool, &status);
    assert_int_equal(status.records, 60);
    assert_true(status.working);
    assert_string_equal(status.trouble, "");
    spool_close(&spool);
}

/* Stopped: the last events are there, all of them, and nothing is taken any more. */
static void test_stop(void **state)
{
    (void)state;
    enum { COUNT = 4000 };
    uint64_t next = 0;
    struct spool *spool = open_spool(&next);
    struct spool_event event;
    uint64_t put = 0, events = 0;
    for (; put < COUNT; put++) {
        struct parcel *parcel = fresh_parcel(put + 1, 64);
        if (!spool_put(spool, parcel)) {
            parcel_release(&parcel);
            break;
        }
    }
    assert_true(put > 1000);
    spool_stop(spool);
    spool_stop(spool);
    struct parcel *late = fresh_parcel(COUNT + 1, 64);
    assert_false(spool_put(spool, late));
    parcel_release(&late);
    spool_ack(spool, 1);
    for (; spool_take_event(spool, &event); events++) {
        assert_int_equal(event.kind, SPOOL_STORED);
        parcel_release(&event.parcel);
    }
    assert_int_equal(events, put);
    struct spool_status status;
    spool_read_status(spool, &status);
    assert_int_equal(status.records, put);
    assert_int_equal(status.synced_sequence, put);
    spool_close(&spool);
}

/* A disk that hangs in a sync. */
static _Atomic bool hanging, released;
static _Atomic uint64_t written_bytes;

static int hang(void *context, int fd)
{
    (void)context;
    atomic_store(&hanging, true);
    while (!atomic_load(&released))
        usleep(1000);
    return spool_files_system.fdatasync(NULL, fd);
}

static ssize_t count_write(void *context, int fd, const struct iovec *parts, int count,
                           off_t offset)
{
    (void)context;
    ssize_t written = spool_files_system.pwritev(NULL, fd, parts, count, offset);
    atomic_fetch_add(&written_bytes, written > 0 ? (uint64_t)written : 0);
    return written;
}

/* While the disk hangs the worker goes on, and what is delivered meanwhile is never written. */
static void test_hanging_disk(void **state)
{
    (void)state;
    enum { COUNT = 1500, BYTES = 10000 };
    struct spool_files files = spool_files_system;
    files.fdatasync = hang;
    files.pwritev = count_write;
    settings.files = &files;
    atomic_store(&released, true); /* the start's own */
    uint64_t next = 0;
    struct spool *spool = open_spool(&next);
    assert_true(spool_put(spool, fresh_parcel(1, BYTES)));
    struct spool_event event = wait_event(spool);
    parcel_release(&event.parcel);
    atomic_store(&hanging, false);
    atomic_store(&released, false);
    assert_true(spool_put(spool, fresh_parcel(2, BYTES)));
    event = wait_event(spool);
    parcel_release(&event.parcel);
    uint64_t deadline_ns = clock_monotonic_ns() + 60 * NS_PER_S;
    while (!atomic_load(&hanging)) {
        usleep(1000);
        assert_true(clock_monotonic_ns() < deadline_ns);
    }
    for (uint64_t i = 3; i < 3 + COUNT; i++) { /* returns, although nobody takes them */
        assert_true(spool_put(spool, fresh_parcel(i, BYTES)));
        spool_ack(spool, i);
    }
    assert_false(spool_take_event(spool, &event));
    atomic_store(&released, true);
    for (int i = 0; i < COUNT; i++) {
        event = wait_event(spool);
        assert_int_equal(event.kind, SPOOL_STORED);
        parcel_release(&event.parcel);
    }
    spool_stop(spool);
    struct spool_status status;
    spool_read_status(spool, &status);
    assert_int_equal(status.records, 2);
    assert_true(atomic_load(&written_bytes) < 3 * BYTES);
    spool_close(&spool);
    settings.files = NULL;
}

static void test_second_is_refused(void **state)
{
    (void)state;
    uint64_t next = 0;
    struct spool *spool = open_spool(&next), *second = NULL;
    struct error error = {0};
    assert_false(spool_open(&second, &settings, wake_fd, &next, &error));
    assert_null(second);
    assert_non_null(strstr(error.text, "another process"));
    spool_close(&spool);
}

/* A directory that cannot be: the start does not fail, puts come back with the reason, and when it
 * can be, the spool works by itself. */
static void test_directory_comes_later(void **state)
{
    (void)state;
    char inside[300];
    snprintf(inside, sizeof inside, "%s/file/spool", path);
    settings.directory = inside;
    char file[300];
    snprintf(file, sizeof file, "%s/file", path);
    int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    uint64_t next = 0;
    struct spool *spool = open_spool(&next);
    struct spool_status status;
    spool_read_status(spool, &status);
    assert_false(status.working);
    assert_non_null(strstr(status.trouble, "Not a directory"));
    assert_true(spool_put(spool, fresh_parcel(next, 100)));
    struct spool_event event = wait_event(spool);
    assert_int_equal(event.kind, SPOOL_REFUSED);
    assert_int_equal(event.error, ENOTDIR);
    parcel_release(&event.parcel);
    assert_int_equal(unlink(file), 0);
    uint64_t deadline_ns = clock_monotonic_ns() + 60 * NS_PER_S;
    do {
        usleep(10000);
        spool_read_status(spool, &status);
        assert_true(clock_monotonic_ns() < deadline_ns);
    } while (!status.working);
    assert_true(spool_put(spool, fresh_parcel(next + 1, 100)));
    event = wait_event(spool);
    assert_int_equal(event.kind, SPOOL_STORED);
    parcel_release(&event.parcel);
    spool_close(&spool);
    kit_empty_directory(inside);
    assert_int_equal(rmdir(inside), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, make, unmake),
        cmocka_unit_test_setup_teardown(test_flood, make, unmake),
        cmocka_unit_test_setup_teardown(test_close_at_once, make, unmake),
        cmocka_unit_test_setup_teardown(test_stop, make, unmake),
        cmocka_unit_test_setup_teardown(test_hanging_disk, make, unmake),
        cmocka_unit_test_setup_teardown(test_second_is_refused, make, unmake),
        cmocka_unit_test_setup_teardown(test_directory_comes_later, make, unmake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
