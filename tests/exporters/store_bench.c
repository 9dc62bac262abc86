/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/exporters/store_bench.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "ring/spool_file.h"

atomic_bool bench_disk_full;

static ssize_t write_unless_full(void *context, int fd, const struct iovec *parts, int count,
                                 off_t offset)
{
    if (!atomic_load(&bench_disk_full))
        return spool_files_system.pwritev(context, fd, parts, count, offset);
    errno = ENOSPC;
    return -1;
}

void bench_open(struct bench *bench)
{
    static struct spool_files files;
    files = spool_files_system;
    files.pwritev = write_unless_full;
    bench->plan.spool.files = &files;
    struct telemetry_label label = {.key = "exporter", .value = "otlp_http/a"};
    struct error error = {{0}};
    bench->set = telemetry_open(TELEMETRY_DESTINATION, 1, &label);
    bench->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    const struct store_options options = {.id = "otlp_http/a",
                                          .plan = &bench->plan,
                                          .set = bench->set,
                                          .wake_fd = bench->wake_fd,
                                          .spool_directory =
                                              bench->directory[0] != 0 ? bench->directory : NULL};
    if (!store_create(&bench->store, &options, &error))
        fail_msg("%s", error.text);
}

void bench_begin(struct bench *bench, bool disk, bool ordered)
{
    atomic_store(&bench_disk_full, false);
    *bench = (struct bench){.plan = {.sender_count = ordered ? 1 : 2,
                                     .queue_capacity = 8,
                                     .ordered = ordered,
                                     .spool = {.size_bytes = 64 << 20,
                                               .age_ns = 3600 * NS_PER_S,
                                               .segment_bytes = 1 << 20,
                                               .flush_ns = 10 * NS_PER_MS,
                                               .flush_bytes = 1 << 20}}};
    if (disk) {
        strcpy(bench->directory, "/tmp/pgweir-store-XXXXXX");
        assert_non_null(mkdtemp(bench->directory));
    }
    bench_open(bench);
}

bool bench_close(struct bench *bench)
{
    bool whole = store_close(bench->store);
    store_destroy(&bench->store);
    rig_check_books(bench->set);
    close(bench->wake_fd);
    return whole;
}

void bench_finish(struct bench *bench)
{
    char command[128];
    if (bench->directory[0] != 0) {
        snprintf(command, sizeof command, "rm -rf %s", bench->directory);
        assert_int_equal(system(command), 0);
    }
    telemetry_reset();
}

/* The batch's number is its points and the first byte of its body. */
void bench_add(struct bench *bench, uint32_t number)
{
    struct parcel *parcel = parcel_create(BODY_BYTES);
    assert_non_null(parcel);
    memset(parcel->body, (int)number, BODY_BYTES);
    parcel->points = number;
    parcel->created_ns = parcel->due_ns = clock_wall_ns();
    ledger_collect(bench->set, number, 0);
    store_add(bench->store, parcel, clock_monotonic_ns());
    rig_check_books(bench->set);
}

uint64_t bench_value(const struct bench *bench, enum telemetry_value id)
{
    return counter_read(&bench->set->values[id]);
}

/* One step, with the sleep the worker would have. */
void bench_step(struct bench *bench)
{
    store_step(bench->store, clock_monotonic_ns());
    rig_check_books(bench->set);
    struct pollfd wake = {.fd = bench->wake_fd, .events = POLLIN};
    eventfd_t count;
    if (poll(&wake, 1, 5) > 0)
        eventfd_read(bench->wake_fd, &count);
}

/* Takes the next batch, waiting for the disk; its number, 0: none came. */
uint32_t bench_take(struct bench *bench, struct queued **ret_item)
{
    uint64_t next_ns, until_ns = clock_monotonic_ns() + WAIT_MS * NS_PER_MS;
    while (clock_monotonic_ns() < until_ns) {
        struct queued *item = store_next(bench->store, false, clock_monotonic_ns(), &next_ns);
        if (item != NULL) {
            store_take(bench->store, item);
            assert_int_equal(item->parcel->body[0], item->parcel->points);
            *ret_item = item;
            return item->parcel->points;
        }
        if (bench_value(bench, TELEMETRY_POINTS_SPOOLED) == 0)
            return 0;
        bench_step(bench);
    }
    fail_msg("nothing came back from disk");
    return 0;
}

uint32_t bench_deliver(struct bench *bench)
{
    struct queued *item = NULL;
    uint32_t number = bench_take(bench, &item);
    if (number > 0)
        store_settle(bench->store, item, 0, 0);
    rig_check_books(bench->set);
    return number;
}

void bench_wait(struct bench *bench, enum telemetry_value id, uint64_t wanted)
{
    uint64_t until_ns = clock_monotonic_ns() + WAIT_MS * NS_PER_MS;
    while (bench_value(bench, id) != wanted && clock_monotonic_ns() < until_ns)
        bench_step(bench);
    assert_int_equal(bench_value(bench, id), wanted);
}
