/* SPDX-License-Identifier: Apache-2.0 */
/* A disk that fails: each operation in each way, once and for good, and the kernel's own limits.
 * Whatever happens, the process lives, what was stored and not acknowledged is there afterwards,
 * and when the disk works again so does the spool, by itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/random.h"
#include "tests/ring/spool_faults.h"
#include "tests/ring/spool_kit.h"

static char path[256];
static struct kit *kit;
static struct faults faults;

#define BIT(kind) (1u << (kind))

static int make(void **state)
{
    (void)state;
    kit_make_directory(path);
    kit = malloc(sizeof *kit);
    kit_init(kit, path);
    faults_init(&faults);
    kit->settings.files = &faults.files;
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    if (kit->store != NULL)
        kit_close(kit);
    free(kit);
    faults_fini(&faults);
    kit_remove_directory(path);
    return 0;
}

static void break_it(uint32_t kinds, const char *suffix, int error, uint64_t count)
{
    faults.kinds = kinds;
    faults.suffix = suffix;
    faults.error = error;
    faults.count = count;
}

static void mend_it(void)
{
    faults.kinds = 0;
    faults.capacity_bytes = 0;
}

static const struct spool_event *last_event(void)
{
    return &kit->events[kit->event_count - 1];
}

/* Turns of a second until it works; within two minutes it must. */
static void wait_until_it_works(void)
{
    for (int i = 0; i < 120 && !kit_status(kit).working; i++)
        kit_turn(kit, NS_PER_S);
    assert_true(kit_status(kit).working);
    assert_string_equal(kit_status(kit).trouble, "");
}

/* Exactly these come back after a restart, in order; 0 ends the list. */
static void check_found(const uint64_t *sequences)
{
    kit_close(kit);
    assert_true(kit_open(kit));
    assert_int_equal(kit_status(kit).corrupt_records, 0);
    do
        assert_int_equal(kit_read(kit), *sequences);
    while (*sequences++ != 0);
    assert_int_equal(kit_count_events(kit, SPOOL_EVICTED), 0);
}

#define CHECK_FOUND(...) check_found((const uint64_t[]){__VA_ARGS__, 0})

/* ---- writing ---- */

static void test_write_fails(void **state)
{
    (void)state;
    static const struct {
        int error;
        const char *cure;
    } cases[] = {{ENOSPC, "free space"},
                 {EDQUOT, "free space"},
                 {EFBIG, "limit of file sizes"},
                 {EROFS, "mount it for writing"},
                 {EIO, "look after the disk"}};
    assert_true(kit_open(kit));
    uint64_t sequence = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(kit_put(kit, ++sequence, 3000), SPOOL_STORED);
        break_it(BIT(FAULT_WRITE), ".segment", cases[i].error, UINT64_MAX);
        assert_int_equal(kit_put(kit, 1000, 3000), SPOOL_REFUSED);
        assert_int_equal(last_event()->error, cases[i].error);
        struct spool_status status = kit_status(kit);
        assert_false(status.working);
        assert_true(status.write_errors > i);
        assert_non_null(strstr(status.trouble, cases[i].cure));
        assert_non_null(strstr(status.trouble, path));
        assert_int_equal(status.records, sequence);
        size_t tried = faults_count(&faults, BIT(FAULT_WRITE), ".segment");
        assert_int_equal(kit_put(kit, 1001, 3000), SPOOL_REFUSED); /* not before the pause */
        assert_int_equal(faults_count(&faults, BIT(FAULT_WRITE), ".segment"), tried);
        mend_it();
        wait_until_it_works();
    }
    CHECK_FOUND(1, 2, 3, 4, 5);
}

/* Tried with growing pauses while it lasts: some twenty times in ten minutes, not thousands. */
static void test_pauses_grow(void **state)
{
    (void)state;
    assert_true(kit_open(kit));
    assert_int_equal(kit_put(kit, 1, 100), SPOOL_STORED);
    kit_turn(kit, NS_PER_S);
    break_it(BIT(FAULT_WRITE) | BIT(FAULT_CREATE), NULL, EIO, UINT64_MAX);
    kit_put(kit, 2, 100);
    size_t before = faults.op_count;
    uint64_t end_ns = kit->now.ns + 600 * NS_PER_S;
    int turns = 0;
    while (kit->now.ns < end_ns) {
        uint64_t due_ns = spool_store_turn(kit->store, kit->now);
        assert_true(due_ns > kit->now.ns); /* never a busy loop */
        kit->now.ns = due_ns;
        assert_true(++turns < 3000);
    }
    assert_in_range(faults.op_count - before, 15, 150);
    mend_it();
    wait_until_it_works();
    assert_int_equal(kit_put(kit, 2, 100), SPOOL_STORED);
    CHECK_FOUND(1, 2);
}

/* A parcel that does not fit leaves nothing behind; smaller ones still go in. */
static void test_half_written(void **state)
{
    (void)state;
    assert_true(kit_open(kit));
    assert_int_equal(kit_put(kit, 1, 1000), SPOOL_STORED);
    faults.capacity_bytes = 20000;
    assert_int_equal(kit_put(kit, 2, 30000), SPOOL_REFUSED);
    assert_int_equal(last_event()->error, ENOSPC);
    char name[512];
    kit_file_name(path, ".segment", 0, name);
    assert_int_equal(kit_file_bytes(name), 64 + 80 + 1000);
    kit->now.ns += NS_PER_S;
    assert_int_equal(kit_put(kit, 3, 1000), SPOOL_STORED);
    mend_it();
    CHECK_FOUND(1, 3);
}

/* Cutting back fails as well: the segment is not written to any more. */
static void test_cannot_cut_back(void **state)
{
    (void)state;
    assert_true(kit_open(kit));
    assert_int_equal(kit_put(kit, 1, 1000), SPOOL_STORED);
    faults.capacity_bytes = 20000;
    break_it(BIT(FAULT_TRUNCATE), NULL, EIO, UINT64_MAX);
    assert_int_equal(kit_put(kit, 2, 30000), SPOOL_REFUSED);
    mend_it();
    kit->now.ns += NS_PER_S;
    assert_int_equal(kit_put(kit, 3, 500), SPOOL_STORED);
    assert_int_equal(kit_put(kit, 4, 500), SPOOL_STORED);
    CHECK_FOUND(1, 3, 4);
}

/* Short reads and writes and EINTR everywhere, all the time: nothing to notice. */
static void test_choppy(void **state)
{
    (void)state;
    faults.choppy = true;
    faults.random.state = 5;
    kit->settings.segment_bytes = 20000;
    assert_true(kit_open(kit));
    for (uint64_t i = 1; i <= 60; i++) {
        assert_int_equal(kit_put(kit, i, (uint32_t)(i * 67)), SPOOL_STORED);
        kit_turn(kit, 100 * NS_PER_MS);
        if (i > 10)
            spool_store_ack(kit->store, i - 10, kit->now);
    }
    assert_int_equal(kit_status(kit).write_errors + kit_status(kit).sync_errors, 0);
    CHECK_FOUND(51, 52, 53, 54, 55, 56, 57, 58, 59, 60);
}

/* Nothing but the file system's help in saving seeks. */
static void test_no_room_ahead(void **state)
{
    (void)state;
    break_it(BIT(FAULT_ALLOCATE), NULL, EOPNOTSUPP, UINT64_MAX);
    assert_true(kit_open(kit));
    assert_int_equal(kit_put(kit, 1, 1000), SPOOL_STORED);
    kit_turn(kit, NS_PER_S);
    assert_true(kit_status(kit).working);
    CHECK_FOUND(1);
}

/* ---- syncing ---- */

/* Operations on the file after the first `from` of the log that change or sync it. */
static size_t touched(const char *name, size_t from)
{
    size_t count = 0;
    for (size_t i = from; i < faults.op_count; i++)
        count += strcmp(faults.ops[i].name, name) == 0 &&
                 (BIT(faults.ops[i].kind) &
                  (BIT(FAULT_WRITE) | BIT(FAULT_SYNC) | BIT(FAULT_TRUNCATE))) != 0;
    return count;
}

static const char *first_segment(void)
{
    static char name[512];
    kit_file_name(path, ".segment", 0, name);
    return strrchr(name, '/') + 1;
}

/* A failed sync is never repeated: the segment is left alone, what was not durable is written once
 * more, and only once that is synced it counts as durable. */
static void test_sync_fails_once(void **state)
{
    (void)state;
    assert_true(kit_open(kit));
    for (uint64_t i = 1; i <= 3; i++)
        assert_int_equal(kit_put(kit, i, 1000), SPOOL_STORED);
    kit_turn(kit, NS_PER_S);
    assert_int_equal(kit_status(kit).synced_sequence, 3);
    for (uint64_t i = 4; i <= 6; i++)
        assert_int_equal(kit_put(kit, i, 1000), SPOOL_STORED);
    spool_store_ack(kit->store, 5, kit->now);
    spool_store_let_go(kit->store, 6);
    char name[80];
    snprintf(name, sizeof name, "%s", first_segment());
    break_it(BIT(FAULT_SYNC), ".segment", EIO, 1);
    size_t before = faults.op_count;
    kit_turn(kit, NS_PER_S);
    assert_int_equal(kit_status(kit).sync_errors, 1);
    assert_int_equal(kit_status(kit).synced_sequence, 3);
    wait_until_it_works();
    assert_int_equal(kit_status(kit).synced_sequence, 6);
    assert_int_equal(touched(name, before), 1); /* the sync that failed */
    assert_int_equal(kit_count_files(path, ".segment"), 2);
    assert_int_equal(kit_read(kit), 6);
    assert_int_equal(kit_put(kit, 7, 1000), SPOOL_STORED);
    /* The second copy is the one that counts: the first may be anything. */
    kit_close(kit);
    char whole[600];
    snprintf(whole, sizeof whole, "%s/%s", path, name);
    kit_truncate(whole, 64 + 3 * 1080);
    assert_true(kit_open(kit));
    CHECK_FOUND(1, 2, 3, 4, 6, 7);
}

/* Two copies of a record, the later one damaged: the earlier one serves, at every start. */
static void test_copy_is_damaged(void **state)
{
    (void)state;
    assert_true(kit_open(kit));
    assert_int_equal(kit_put(kit, 1, 1000), SPOOL_STORED);
    kit_turn(kit, NS_PER_S);
    for (uint64_t i = 2; i <= 4; i++)
        assert_int_equal(kit_put(kit, i, 1000), SPOOL_STORED);
    break_it(BIT(FAULT_SYNC), ".segment", EIO, 1);
    kit_turn(kit, NS_PER_S);
    wait_until_it_works();
    kit_close(kit);
    char name[512];
    kit_file_name(path, ".segment", 1, name);
    kit_flip_bit(name, 8 * (64 + 1080 + 500)); /* the body of 3 */
    for (int i = 0; i < 3; i++) {
        assert_true(kit_open(kit));
        if (i == 1) /* so that the damaged segment is not the newest any more */
            assert_int_equal(kit_put(kit, 5, 1000), SPOOL_STORED);
        CHECK_FOUND(1, 2, 3, 4, i > 0 ? 5 : 0);
        kit_close(kit);
    }
}

/* As long as it fails: refused, from memory, tried again; acks are taken all the same. */
static void test_sync_fails_for_long(void **state)
{
    (void)state;
    assert_true(kit_open(kit));
    for (uint64_t i = 1; i <= 4; i++)
        assert_int_equal(kit_put(kit, i, 1000), SPOOL_STORED);
    spool_store_let_go(kit->store, 2);
    break_it(BIT(FAULT_SYNC), ".segment", EIO, UINT64_MAX);
    kit_turn(kit, NS_PER_S);
    for (int i = 0; i < 100; i++) {
        kit_turn(kit, NS_PER_S);
        assert_false(kit_status(kit).working);
    }
    assert_in_range(kit_status(kit).sync_errors, 5, 20);
    assert_non_null(strstr(kit_status(kit).trouble, "Input/output error"));
    assert_true(kit_count_files(path, ".segment") <= 2); /* no litter */
    assert_int_equal(kit_put(kit, 5, 1000), SPOOL_REFUSED);
    assert_int_equal(kit_read(kit), 2); /* let go, not durable: still there */
    spool_store_ack(kit->store, 1, kit->now);
    mend_it();
    wait_until_it_works();
    assert_int_equal(kit_put(kit, 6, 1000), SPOOL_STORED);
    CHECK_FOUND(2, 3, 4, 6);
}

/* A name that is not durable is as bad as contents that are not. */
static void test_directory_sync_fails(void **state)
{
    (void)state;
    assert_true(kit_open(kit));
    assert_int_equal(kit_put(kit, 1, 1000), SPOOL_STORED);
    break_it(BIT(FAULT_SYNC_DIRECTORY), NULL, EIO, 2);
    kit_turn(kit, NS_PER_S);
    assert_int_equal(kit_status(kit).synced_sequence, 0);
    wait_until_it_works();
    assert_int_equal(kit_status(kit).synced_sequence, 1);
    CHECK_FOUND(1);
}

/* Delivered before anything was synced, as in ordinary operation: no sync of any segment, until one
 * is full. */
static void test_delivered_at_once_costs_no_sync(void **state)
{
    (void)state;
    assert_true(kit_open(kit));
    for (uint64_t i = 1; i <= 500; i++) {
        assert_int_equal(kit_put(kit, i, 1000), SPOOL_STORED);
        spool_store_ack(kit->store, i, kit->now);
        kit_turn(kit, 50 * NS_PER_MS);
    }
    assert_int_equal(faults_count(&faults, BIT(FAULT_SYNC), ".segment"), 0);
    assert_in_range(faults_count(&faults, BIT(FAULT_SYNC), ".acks"), 1, 12); /* 8 segments went */
    assert_int_equal(kit_count_files(path, ".segment"), 1);
    assert_int_equal(faults_count(&faults, BIT(FAULT_WRITE), ".segment"), 500 + 2 * 9 - 1);
}

/* The same with some always under way, as many as answers take 150 ms: each is delivered before its
 * time, so nothing is synced although there is never a moment without one that is not. */
static void test_delivered_in_time_costs_no_sync(void **state)
{
    (void)state;
    assert_true(kit_open(kit));
    for (uint64_t i = 1; i <= 500; i++) {
        assert_int_equal(kit_put(kit, i, 1000), SPOOL_STORED);
        if (i > 3)
            spool_store_ack(kit->store, i - 3, kit->now);
        kit_turn(kit, 50 * NS_PER_MS);
    }
    assert_int_equal(faults_count(&faults, BIT(FAULT_SYNC), ".segment"), 0);
    kit_turn(kit, 150 * NS_PER_MS); /* the last three are not delivered in time */
    assert_in_range(faults_count(&faults, BIT(FAULT_SYNC), ".segment"), 1, 2);
    assert_int_equal(kit_status(kit).synced_sequence, 500);
    CHECK_FOUND(498, 499, 500);
}

/* ---- acknowledgements ---- */

/* Ack durable, then unlink, then the directory: read off the log. */
static void check_order(void)
{
    bool acks_dirty = false, unlinked = false;
    for (size_t i = 0; i < faults.op_count; i++) {
        const struct fault_op *op = &faults.ops[i];
        bool acks = strstr(op->name, ".acks") != NULL;
        if (op->error != 0)
            continue;
        acks_dirty =
            (acks_dirty || (op->kind == FAULT_WRITE && acks)) && !(op->kind == FAULT_SYNC && acks);
        if (op->kind == FAULT_UNLINK && !acks) {
            assert_false(acks_dirty);
            unlinked = true;
        } else if (op->kind == FAULT_SYNC_DIRECTORY) {
            unlinked = false;
        } else if (op->kind != FAULT_OPEN) {
            assert_false(unlinked); /* nothing else before it */
        }
    }
}

static void test_order_of_removal(void **state)
{
    (void)state;
    kit->settings.segment_bytes = 8192;
    assert_true(kit_open(kit));
    for (uint64_t i = 1; i <= 100; i++) {
        assert_int_equal(kit_put(kit, i, 1000), SPOOL_STORED);
        if (i > 20)
            spool_store_ack(kit->store, i - 20, kit->now);
        kit_turn(kit, 10 * NS_PER_MS);
    }
    assert_true(faults_count(&faults, BIT(FAULT_UNLINK), ".segment") >= 8);
    check_order();
}

/* Without a durable ack nothing is removed. */
static void test_acks_fail(void **state)
{
    (void)state;
    static const enum fault_op_kind kinds[] = {FAULT_WRITE, FAULT_SYNC, FAULT_CREATE};
    kit->settings.segment_bytes = 8192;
    uint64_t sequence = 0;
    assert_true(kit_open(kit));
    for (size_t k = 0; k < 3; k++) {
        uint64_t first = sequence + 1;
        for (int i = 0; i < 20; i++)
            assert_int_equal(kit_put(kit, ++sequence, 1000), SPOOL_STORED);
        break_it(BIT(kinds[k]) | (k == 2 ? BIT(FAULT_WRITE) : 0), ".acks", EIO, UINT64_MAX);
        size_t removed = faults_count(&faults, BIT(FAULT_UNLINK), ".segment");
        for (uint64_t i = first; i <= sequence - 1; i++)
            spool_store_ack(kit->store, i, kit->now);
        for (int i = 0; i < 5; i++)
            kit_turn(kit, 2 * NS_PER_S);
        assert_int_equal(faults_count(&faults, BIT(FAULT_UNLINK), ".segment"), removed);
        assert_false(kit_status(kit).working);
        assert_true(kit_count_files(path, ".acks") <= 2); /* no litter */
        mend_it();
        wait_until_it_works();
        kit_turn(kit, 2 * NS_PER_S);
        assert_true(faults_count(&faults, BIT(FAULT_UNLINK), ".segment") > removed);
    }
    check_order();
    CHECK_FOUND(20, 40, 60);
}

/* A disk so full that not even an ack can be written: what is delivered goes nevertheless, else it
 * would stay full for ever. */
static void test_full_disk_empties(void **state)
{
    (void)state;
    kit->settings.segment_bytes = 8192;
    assert_true(kit_open(kit));
    for (uint64_t i = 1; i <= 20; i++)
        assert_int_equal(kit_put(kit, i, 1000), SPOOL_STORED);
    kit_turn(kit, NS_PER_S);
    break_it(BIT(FAULT_WRITE) | BIT(FAULT_CREATE) | BIT(FAULT_ALLOCATE), NULL, ENOSPC, UINT64_MAX);
    assert_int_equal(kit_put(kit, 21, 8000), SPOOL_REFUSED);
    size_t before = kit_count_files(path, ".segment");
    for (uint64_t i = 1; i <= 10; i++)
        spool_store_ack(kit->store, i, kit->now);
    kit_turn(kit, 1);
    assert_int_equal(kit_count_files(path, ".segment"), before - 1);
    mend_it(); /* for there is room now */
    wait_until_it_works();
    CHECK_FOUND(11, 12, 13, 14, 15, 16, 17, 18, 19, 20);
}

/* ---- reading ---- */

static void test_read_fails(void **state)
{
    (void)state;
    assert_true(kit_open(kit));
    for (uint64_t i = 1; i <= 3; i++)
        assert_int_equal(kit_put(kit, i, 1000), SPOOL_STORED);
    kit_close(kit);
    assert_true(kit_open(kit));
    break_it(BIT(FAULT_READ), ".segment", EIO, 2);
    assert_int_equal(kit_read(kit), 0); /* END, and asked again it is tried again */
    assert_int_equal(kit_read(kit), 0);
    assert_int_equal(kit_read(kit), 1);
    break_it(BIT(FAULT_READ), ".segment", EIO, 3);
    kit_read(kit);
    kit_read(kit);
    assert_int_equal(kit_count_events(kit, SPOOL_EVICTED), 0);
    assert_int_equal(kit_read(kit), 3); /* 2 is given up at the third failure */
    assert_int_equal(kit_count_events(kit, SPOOL_EVICTED), 1);
    assert_int_equal(kit->events[kit->event_count - 2].reason, SPOOL_CORRUPT);
    assert_int_equal(kit->events[kit->event_count - 2].sequence, 2);
    assert_int_equal(kit->events[kit->event_count - 2].points, kit_points(2));
    assert_int_equal(kit_status(kit).corrupt_points, kit_points(2));
}

/* A segment that cannot be read at start is not taken for lost: it is left alone, and the numbers
 * of what is written meanwhile do not meet those in there. */
static void test_unreadable_at_start(void **state)
{
    (void)state;
    kit->settings.segment_bytes = 4096;
    assert_true(kit_open(kit));
    for (uint64_t i = 1; i <= 9; i++)
        assert_int_equal(kit_put(kit, i, 1000), SPOOL_STORED);
    kit_close(kit);
    for (int round = 0; round < 2; round++) { /* opening fails; reading fails */
        break_it(BIT(round == 0 ? FAULT_OPEN : FAULT_READ), ".segment", EIO, 1);
        assert_true(kit_open(kit));
        mend_it();
        struct spool_status status = kit_status(kit);
        assert_true(status.recovered_records >= 6 && status.recovered_records < 9 + 2);
        assert_int_equal(status.corrupt_records, 0);
        assert_non_null(strstr(status.trouble, "left alone"));
        uint64_t next = spool_store_next(kit->store);
        assert_true(next > 1000);
        assert_int_equal(kit_put(kit, next, 100), SPOOL_STORED);
        kit_turn(kit, NS_PER_S);
        kit_close(kit);
    }
    assert_true(kit_open(kit));
    struct spool_status status = kit_status(kit);
    assert_int_equal(status.recovered_records, 11);
    assert_int_equal(status.corrupt_records, 0);
    for (uint64_t i = 1; i <= 9; i++)
        assert_int_equal(kit_read(kit), i);
    assert_true(kit_read(kit) > 1000 && kit_read(kit) > 1000);
    assert_int_equal(kit_read(kit), 0);
}

/* Removed by hand under a running process, with what it lies in: what was in there is lost and said
 * to be, the rest goes on in a directory made anew. */
static void test_directory_vanishes(void **state)
{
    (void)state;
    char parent[300], inside[310];
    snprintf(parent, sizeof parent, "%s/parent", path);
    snprintf(inside, sizeof inside, "%s/spool", parent);
    kit->settings.directory = inside;
    kit->settings.segment_bytes = 4096;
    assert_true(kit_open(kit));
    for (uint64_t i = 1; i <= 6; i++)
        assert_int_equal(kit_put(kit, i, 1000), SPOOL_STORED);
    for (uint64_t i = 1; i <= 4; i++)
        spool_store_let_go(kit->store, i);
    kit_turn(kit, NS_PER_S);
    assert_int_equal(kit_put(kit, 7, 100), SPOOL_STORED);
    kit_remove_directory(parent);
    for (uint64_t i = 10; i <= 20; i++)
        kit_put(kit, i, 1000);
    wait_until_it_works();
    assert_int_equal(kit_put(kit, 21, 1000), SPOOL_STORED);
    assert_int_equal(kit_read(kit), 0);
    assert_int_equal(kit_count_events(kit, SPOOL_EVICTED), 4);
    kit_turn(kit, NS_PER_S);
    kit_close(kit);
    assert_true(kit_open(kit));
    bool found = false;
    for (uint64_t sequence; (sequence = kit_read(kit)) != 0;)
        found = found || sequence == 21;
    assert_true(found);
    kit_close(kit);
    kit_remove_directory(parent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_write_fails, make, unmake),
        cmocka_unit_test_setup_teardown(test_pauses_grow, make, unmake),
        cmocka_unit_test_setup_teardown(test_half_written, make, unmake),
        cmocka_unit_test_setup_teardown(test_cannot_cut_back, make, unmake),
        cmocka_unit_test_setup_teardown(test_choppy, make, unmake),
        cmocka_unit_test_setup_teardown(test_no_room_ahead, make, unmake),
        cmocka_unit_test_setup_teardown(test_sync_fails_once, make, unmake),
        cmocka_unit_test_setup_teardown(test_copy_is_damaged, make, unmake),
        cmocka_unit_test_setup_teardown(test_sync_fails_for_long, make, unmake),
        cmocka_unit_test_setup_teardown(test_directory_sync_fails, make, unmake),
        cmocka_unit_test_setup_teardown(test_delivered_at_once_costs_no_sync, make, unmake),
        cmocka_unit_test_setup_teardown(test_delivered_in_time_costs_no_sync, make, unmake),
        cmocka_unit_test_setup_teardown(test_order_of_removal, make, unmake),
        cmocka_unit_test_setup_teardown(test_acks_fail, make, unmake),
        cmocka_unit_test_setup_teardown(test_full_disk_empties, make, unmake),
        cmocka_unit_test_setup_teardown(test_read_fails, make, unmake),
        cmocka_unit_test_setup_teardown(test_unreadable_at_start, make, unmake),
        cmocka_unit_test_setup_teardown(test_directory_vanishes, make, unmake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
