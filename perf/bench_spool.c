/* SPDX-License-Identifier: Apache-2.0 */
/* A batch to disk and away again: parcels of 100 KB (what 4,096 points compress to, and more) from
 * spool_put() to SPOOL_STORED, through the lanes and the spool's own thread. `delivered`: each is
 * acknowledged as soon as it is stored, the ordinary case, in which nothing is ever synced.
 * `backlog`: none is, so all is synced by group commits and, when the spool is full, the oldest
 * segments go. `store` is the first without thread and lanes. `found`: opening a spool of parcels
 * of 1 KB, by the record. Floor: the bytes by plain pwrite() into one file of a segment's size,
 * written over and over; for `delivered` and `store` too, as their data never waits for the disk
 * either.
 *
 * Files are in $PGWEIR_BENCH_DIRECTORY, else /tmp: a file system in memory shows the spool's own
 * cost, a real one the disk's. */
#include "perf/shim/bench.h"
#include "ring/spool_store.h"

#include "base/check.h"
#include "base/clock.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    PARCEL_BYTES = 100 * 1000,
    SMALL_BYTES = 1000,
    SMALL_COUNT = 100000,
    PARCELS = 1000, /* a round */
    IN_FLIGHT = 32,
    ROUNDS = 5,
    SEGMENT_BYTES = 16 << 20,
};

static char path[256];

static void make_directory(void)
{
    const char *base = getenv("PGWEIR_BENCH_DIRECTORY");
    snprintf(path, sizeof path, "%s/pgweir-bench-XXXXXX", base != NULL ? base : "/tmp");
    CHECK(mkdtemp(path) != NULL);
}

static void remove_directory(void)
{
    DIR *listing = opendir(path);
    for (struct dirent *entry; (entry = readdir(listing)) != NULL;)
        unlinkat(dirfd(listing), entry->d_name, 0);
    closedir(listing);
    CHECK(rmdir(path) == 0);
}

static struct spool_settings settings(void)
{
    return (struct spool_settings){.directory = path,
                                   .size_bytes = 256 << 20,
                                   .age_ns = UINT64_MAX,
                                   .segment_bytes = SEGMENT_BYTES,
                                   .flush_ns = 200 * NS_PER_MS,
                                   .flush_bytes = 4 << 20};
}

/* Bodies that no file system compresses; one serves for all, as the spool only reads it. */
static struct parcel *parcel_of(uint64_t sequence, uint32_t bytes)
{
    struct parcel *parcel = parcel_create(bytes);
    CHECK(parcel != NULL);
    static uint8_t body[PARCEL_BYTES];
    if (body[0] == 0) {
        uint64_t word = 1;
        for (size_t i = 0; i < sizeof body; i++) {
            word = word * 6364136223846793005u + 1442695040888963407u;
            body[i] = (uint8_t)(word >> 56);
        }
        body[0] = 1;
    }
    memcpy(parcel->body, body, bytes);
    parcel->sequence = sequence;
    parcel->points = 4096;
    parcel->created_ns = clock_wall_ns();
    return parcel;
}

static int make_file(char name[300])
{
    snprintf(name, 300, "%s/file", path);
    unlink(name);
    int fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    return fd;
}

static void write_floor(struct bench *bench)
{
    char name[300];
    make_directory();
    int fd = make_file(name);
    struct parcel *parcel = parcel_of(1, PARCEL_BYTES);
    off_t offset = 0;
    while (bench_next(bench))
        for (int i = 0; i < PARCELS; i++) {
            if (pwrite(fd, parcel->body, PARCEL_BYTES, offset) != PARCEL_BYTES)
                bench_fail(bench, "the file cannot be written");
            offset += PARCEL_BYTES;
            if (offset <= SEGMENT_BYTES - PARCEL_BYTES)
                continue;
            close(fd);
            fd = make_file(name);
            offset = 0;
        }
    bench_items(bench, PARCELS);
    bench_bytes(bench, (uint64_t)PARCELS * PARCEL_BYTES);
    parcel_release(&parcel);
    close(fd);
    remove_directory();
}

/* ---- with its thread ---- */

struct worker {
    struct spool *spool;
    int wake_fd;
    uint64_t next, in_flight, cpu_ns;
    bool acks;
};

static void take_events(struct worker *worker, struct bench *bench)
{
    struct spool_event event;
    while (spool_take_event(worker->spool, &event)) {
        if (event.kind == SPOOL_EVICTED)
            continue;
        worker->in_flight--;
        if (event.kind != SPOOL_STORED)
            bench_fail(bench, "a parcel was refused");
        if (worker->acks)
            spool_ack(worker->spool, event.sequence);
        parcel_release(&event.parcel);
    }
}

static void wait_for_event(struct worker *worker)
{
    struct pollfd wake = {.fd = worker->wake_fd, .events = POLLIN};
    uint64_t count;
    if (poll(&wake, 1, 1000) == 1)
        CHECK(read(worker->wake_fd, &count, sizeof count) == sizeof count);
}

/* One round: all are stored at its end. */
static void put_round(struct worker *worker, struct bench *bench)
{
    uint64_t left = PARCELS;
    while (left + worker->in_flight > 0) {
        uint64_t begin_ns = clock_thread_cpu_ns();
        take_events(worker, bench);
        for (; left > 0 && worker->in_flight < IN_FLIGHT; left--, worker->in_flight++) {
            struct parcel *parcel = parcel_of(worker->next++, PARCEL_BYTES);
            CHECK(spool_put(worker->spool, parcel));
        }
        worker->cpu_ns += clock_thread_cpu_ns() - begin_ns;
        if (worker->in_flight > 0)
            wait_for_event(worker);
    }
}

static void through_thread(struct bench *bench)
{
    make_directory();
    struct spool_settings given = settings();
    struct worker worker = {.acks = bench_argument(bench) != 0};
    struct error error;
    uint64_t rounds = 0;
    worker.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    CHECK(spool_open(&worker.spool, &given, worker.wake_fd, &worker.next, &error));
    for (; bench_next(bench); rounds++)
        put_round(&worker, bench);
    bench_items(bench, PARCELS);
    bench_bytes(bench, (uint64_t)PARCELS * PARCEL_BYTES);
    bench_counter(bench, "worker_ns", (double)worker.cpu_ns / (double)(rounds * PARCELS));
    spool_close(&worker.spool);
    close(worker.wake_fd);
    remove_directory();
}

/* ---- without ---- */

static void drop_event(void *context, const struct spool_event *event)
{
    (void)context;
    struct parcel *parcel = event->parcel;
    parcel_release(&parcel);
}

static struct spool_now now(void)
{
    return (struct spool_now){.ns = clock_monotonic_ns(), .wall_ns = clock_wall_ns()};
}

static struct spool_store *open_store(const struct spool_settings *given)
{
    struct error error;
    struct spool_store *store = spool_store_open(given, drop_event, NULL, now(), &error);
    CHECK(store != NULL);
    return store;
}

static void store_alone(struct bench *bench)
{
    make_directory();
    struct spool_settings given = settings();
    struct spool_store *store = open_store(&given);
    struct parcel *parcel = parcel_of(1, PARCEL_BYTES);
    while (bench_next(bench))
        for (int i = 0; i < PARCELS; i++) {
            struct parcel *put = parcel_hold(parcel);
            spool_store_put(store, &put, 1, now());
            spool_store_ack(store, parcel->sequence++, now());
            spool_store_turn(store, now());
        }
    bench_items(bench, PARCELS);
    bench_bytes(bench, (uint64_t)PARCELS * PARCEL_BYTES);
    parcel_release(&parcel);
    spool_store_close(&store, now());
    remove_directory();
}

static void find(struct bench *bench)
{
    make_directory();
    struct spool_settings given = settings();
    struct spool_store *store = open_store(&given);
    for (uint64_t i = 1; i <= SMALL_COUNT; i++) {
        struct parcel *parcel = parcel_of(i, SMALL_BYTES);
        spool_store_put(store, &parcel, 1, now());
    }
    spool_store_close(&store, now());
    while (bench_next(bench)) {
        store = open_store(&given);
        struct spool_status status;
        spool_store_status(store, &status);
        if (status.recovered_records != SMALL_COUNT)
            bench_fail(bench, "not all were found");
        spool_store_close(&store, now());
    }
    bench_items(bench, SMALL_COUNT);
    remove_directory();
}

static const struct bench_case cases[] = {
    {"write_floor", write_floor, .unit = "parcel", .exact = -1},
    {"store", store_alone, .unit = "parcel", .floor = "write_floor", .exact = -1},
    {"delivered", through_thread, 1, .unit = "parcel", .floor = "write_floor", .rounds = ROUNDS},
    {"backlog", through_thread, 0, .unit = "parcel", .floor = "write_floor", .rounds = ROUNDS},
    {"found", find, .unit = "record", .exact = -1},
};

int main(int argc, char **argv)
{
    bench_add_cases(cases, sizeof cases / sizeof *cases);
    bench_headline("spool_parcel_100kb", "delivered/1");
    return bench_main(argc, argv);
}
