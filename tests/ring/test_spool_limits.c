/* SPDX-License-Identifier: Apache-2.0 */
/* Every single file operation failing in turn, once and from there on; and the kernel's own limits:
 * a file system that is full, and a limit of file sizes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "tests/ring/spool_faults.h"
#include "tests/ring/spool_kit.h"

static char path[256];
static struct kit *kit;
static struct faults faults;

static int make(void **state)
{
    (void)state;
    kit_make_directory(path);
    kit = malloc(sizeof *kit);
    faults_init(&faults);
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

/* ---- the n-th operation fails ---- */

enum { SEQUENCES = 24, ALL_KINDS = (1 << FAULT_OP_COUNT) - 1 };

struct outcome {
    bool stored[SEQUENCES + 1], acked[SEQUENCES + 1], evicted[SEQUENCES + 1];
};

static void put(struct outcome *outcome, uint64_t first, uint64_t last)
{
    for (uint64_t i = first; i <= last; i++)
        outcome->stored[i] = kit_put(kit, i, 900) == SPOOL_STORED;
}

static void ack(struct outcome *outcome, uint64_t sequence)
{
    spool_store_ack(kit->store, sequence, kit->now);
    outcome->acked[sequence] = true;
}

/* A life: segments begin and end, acks, reads, a restart in the middle. */
static void live(struct outcome *outcome)
{
    CHECK(kit_open(kit));
    put(outcome, 1, 8);
    kit_turn(kit, NS_PER_S);
    ack(outcome, 2);
    ack(outcome, 3);
    kit_turn(kit, NS_PER_MS);
    put(outcome, 9, 12);
    spool_store_let_go(kit->store, 5);
    kit_read(kit);
    kit_turn(kit, NS_PER_S);
    ack(outcome, 1);
    ack(outcome, 4);
    kit_turn(kit, NS_PER_S);
    kit_close(kit);
    kit->now.ns += NS_PER_S;
    CHECK(kit_open(kit));
    kit_turn(kit, NS_PER_MS);
    put(outcome, 13, SEQUENCES);
    kit_turn(kit, NS_PER_S);
    kit_read(kit);
}

/* Everything stored is there or was said to be lost; what was acknowledged stays away, where the
 * disk worked again before the end. */
static void check(struct outcome *outcome, bool acks_count)
{
    for (size_t i = 0; i < kit->event_count; i++)
        if (kit->events[i].kind == SPOOL_EVICTED)
            outcome->evicted[kit->events[i].sequence] = true;
    bool found[SEQUENCES + 1] = {false};
    size_t events = kit->event_count;
    assert_true(kit_open(kit));
    assert_true(kit_status(kit).working);
    assert_int_equal(kit_status(kit).corrupt_records, 0);
    for (uint64_t sequence; (sequence = kit_read(kit)) != 0;) {
        assert_in_range(sequence, 1, SEQUENCES);
        assert_true(outcome->stored[sequence] && !found[sequence]);
        assert_false(acks_count && outcome->acked[sequence]);
        found[sequence] = true;
    }
    for (; events < kit->event_count; events++)
        assert_int_not_equal(kit->events[events].kind, SPOOL_EVICTED);
    for (uint64_t i = 1; i <= SEQUENCES; i++)
        assert_true(found[i] || !outcome->stored[i] || outcome->acked[i] || outcome->evicted[i]);
    kit_close(kit);
    kit_empty_directory(path);
}

/* True: the fault was reached. */
static bool run(uint64_t skip, uint64_t count, int error, bool mended)
{
    struct outcome outcome = {.stored = {false}};
    kit_init(kit, path);
    kit->settings.segment_bytes = 4096;
    kit->settings.files = &faults.files;
    faults_clear(&faults);
    faults.kinds = ALL_KINDS;
    faults.skip = skip;
    faults.count = count;
    faults.error = error;
    live(&outcome);
    bool reached = faults.skip == 0 && faults.count < count;
    if (mended) {
        faults.kinds = 0;
        for (int i = 0; i < 60 || !kit_status(kit).working; i++) {
            kit_turn(kit, NS_PER_S);
            assert_true(i < 600);
        }
    }
    kit_close(kit);
    faults.kinds = 0;
    check(&outcome, mended && count == 1); /* an ack that cannot be written sends again */
    return reached;
}

static void test_every_operation_fails(void **state)
{
    (void)state;
    static const int errors[] = {EIO, ENOSPC};
    uint64_t runs = 0;
    for (size_t e = 0; e < 2; e++)
        for (int persistent = 0; persistent < 2; persistent++)
            for (int mended = 0; mended < 2; mended++) {
                uint64_t skip = 0;
                while (run(skip++, persistent ? UINT64_MAX : 1, errors[e], mended))
                    runs++;
                assert_true(skip > 60);
            }
    print_message("%lu runs, each with another operation failing\n", runs);
}

/* ---- the kernel's limits ---- */

/* A child, so that its limit ends with it. */
static void in_child(void (*act)(void))
{
    pid_t child = fork();
    if (child == 0) {
        act();
        _exit(0);
    }
    int status = 0;
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void limit_file_size(rlim_t bytes)
{
    CHECK(setrlimit(RLIMIT_FSIZE, &(struct rlimit){bytes, RLIM_INFINITY}) == 0);
}

/* Segments end at the limit; what is larger is refused, with the cure; without the limit all goes.
 */
static void under_size_limit(void)
{
    CHECK(kit_open(kit));
    limit_file_size(20000);
    for (uint64_t i = 1; i <= 20; i++)
        CHECK(kit_put(kit, i, 4000) == SPOOL_STORED);
    CHECK(kit_count_files(path, ".segment") >= 5);
    CHECK(kit_put(kit, 21, 30000) == SPOOL_REFUSED);
    CHECK(kit->events[kit->event_count - 1].error == EFBIG);
    CHECK(strstr(kit_status(kit).trouble, "ulimit -f") != NULL);
    kit->now.ns += NS_PER_S;
    CHECK(kit_put(kit, 22, 4000) == SPOOL_STORED);
    limit_file_size(RLIM_INFINITY);
    kit->now.ns += 60 * NS_PER_S;
    CHECK(kit_put(kit, 23, 30000) == SPOOL_STORED);
    kit_close(kit);
    CHECK(kit_open(kit));
    for (uint64_t i = 1; i <= 20; i++)
        CHECK(kit_read(kit) == i);
    CHECK(kit_read(kit) == 22 && kit_read(kit) == 23 && kit_read(kit) == 0);
    CHECK(kit_status(kit).corrupt_records == 0);
    kit_close(kit);
}

static void test_size_limit(void **state)
{
    (void)state;
    kit_init(kit, path);
    signal(SIGXFSZ, SIG_IGN); /* as pgweir does */
    in_child(under_size_limit);
    signal(SIGXFSZ, SIG_DFL);
}

/* The spool's own thread needs no help from the program: the signal does not end it. */
static void thread_under_size_limit(void)
{
    uint64_t next;
    struct error error;
    struct spool *spool = NULL;
    struct spool_event event;
    int wake_fd = eventfd(0, EFD_CLOEXEC);
    CHECK(spool_open(&spool, &kit->settings, wake_fd, &next, &error));
    limit_file_size(10000);
    CHECK(spool_put(spool, kit_parcel(1, 30000)));
    while (!spool_take_event(spool, &event)) {
        struct pollfd wake = {.fd = wake_fd, .events = POLLIN};
        CHECK(poll(&wake, 1, 60000) == 1);
    }
    CHECK(event.kind == SPOOL_REFUSED && event.error == EFBIG);
    parcel_release(&event.parcel);
    spool_close(&spool);
    close(wake_fd);
}

static void test_size_limit_in_thread(void **state)
{
    (void)state;
    kit_init(kit, path);
    in_child(thread_under_size_limit);
}

/* A real file system of 1 MiB, with a spool that is allowed more. */
static void test_full_file_system(void **state)
{
    (void)state;
    char mounted[300];
    snprintf(mounted, sizeof mounted, "%s/full", path);
    kit_init(kit, mounted);
    kit->settings.size_bytes = 64 << 20;
    assert_int_equal(rmdir(mounted) == 0 || errno == ENOENT, 1);
    CHECK(spool_file_open_directory(&spool_files_system, mounted) >= 0);
    if (mount("spool-test", mounted, "tmpfs", MS_NODEV | MS_NOSUID, "size=1m,mode=0700") < 0) {
        print_message("NOT TESTED: a full file system: no tmpfs may be mounted here (%s)\n",
                      strerror(errno));
        skip();
    }
    assert_true(kit_open(kit));
    uint64_t sequence = 1;
    while (kit_put(kit, sequence, 30000) == SPOOL_STORED) {
        kit_turn(kit, NS_PER_MS);
        assert_true(++sequence < 100);
    }
    uint64_t full = sequence;
    assert_in_range(full, 20, 40);
    assert_int_equal(kit->events[kit->event_count - 1].error, ENOSPC);
    assert_false(kit_status(kit).working);
    for (int i = 0; i < 20; i++)
        kit_turn(kit, NS_PER_S);
    assert_true(kit_put(kit, sequence, 30000) == SPOOL_REFUSED);
    for (uint64_t i = 1; i <= 6; i++) /* some are delivered: their segments make room */
        spool_store_ack(kit->store, i, kit->now);
    for (int i = 0; i < 60 && !kit_status(kit).working; i++)
        kit_turn(kit, NS_PER_S);
    assert_true(kit_status(kit).working);
    assert_int_equal(kit_put(kit, sequence, 30000), SPOOL_STORED);
    kit_close(kit);
    assert_true(kit_open(kit));
    assert_int_equal(kit_status(kit).corrupt_records, 0);
    for (uint64_t i = 7; i <= full; i++)
        assert_int_equal(kit_read(kit), i);
    assert_int_equal(kit_read(kit), 0);
    kit_close(kit);
    assert_int_equal(umount2(mounted, MNT_DETACH), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_operation_fails, make, unmake),
        cmocka_unit_test_setup_teardown(test_size_limit, make, unmake),
        cmocka_unit_test_setup_teardown(test_size_limit_in_thread, make, unmake),
        cmocka_unit_test_setup_teardown(test_full_file_system, make, unmake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
