/* SPDX-License-Identifier: Apache-2.0 */
/* kill -9 at any time: a child puts, acknowledges, lets go and reads back through the spool with
 * its thread, as the worker does, and is killed after a random while, often during its start. What
 * it had been told and what it had asked for stands in shared memory. Then the directory is read:
 *
 *   - every parcel that was STORED and not acknowledged is there, byte for byte
 *   - none is there whose ack had been taken (a question put behind it was answered)
 *   - nothing is there that was never put; what is reported lost was never STORED
 *   - opening took less than two seconds
 *
 *   spool_crash [--rounds N] [--seed N] [--directory DIR]      1000 rounds take some two minutes */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/random.h"
#include "tests/ring/spool_kit.h"

enum {
    SEQUENCES_MAX = 1 << 22,
    IN_FLIGHT_MAX = 64,
    BACKLOG_MAX = 300, /* what earlier lives left is delivered first, so that rounds stay short */
    HELD_MAX = 400,
    LIFE_MAX_US = 60000,
    START_MAX_MS = 2000,
};

enum { PUT = 1, STORED = 2, ACKED = 4, ACK_TAKEN = 8 };

/* What the child leaves behind. */
struct shared {
    _Atomic bool open; /* the start is over */
    _Atomic uint64_t stored;
    _Atomic uint8_t states[SEQUENCES_MAX];
};

static struct shared *shared;
static char path[256];
static struct spool_settings settings;

static void mark(uint64_t sequence, uint8_t state)
{
    CHECK(sequence < SEQUENCES_MAX);
    atomic_fetch_or(&shared->states[sequence], state);
}

static uint8_t state_of(uint64_t sequence)
{
    return atomic_load(&shared->states[sequence]);
}

/* ---- the child: lives until it is killed ---- */

struct child {
    struct spool *spool;
    struct random random;
    uint64_t next;
    uint32_t in_flight;
    uint64_t held[HELD_MAX];       /* in hand */
    uint64_t unsure[8 * HELD_MAX]; /* acks that no answer followed yet */
    uint32_t held_count, unsure_count, asked_unsure;
    bool asked;
};

static void ack_held(struct child *child, uint32_t at)
{
    uint64_t sequence = child->held[at];
    child->held[at] = child->held[--child->held_count];
    if (random_below(&child->random, 10) == 0) {
        spool_let_go(child->spool, sequence);
        return;
    }
    mark(sequence, ACKED);
    spool_ack(child->spool, sequence);
    if (child->unsure_count < sizeof child->unsure / sizeof *child->unsure)
        child->unsure[child->unsure_count++] = sequence;
}

static void hold(struct child *child, uint64_t sequence)
{
    if (child->held_count == HELD_MAX)
        ack_held(child, (uint32_t)random_below(&child->random, HELD_MAX));
    child->held[child->held_count++] = sequence;
}

/* The answer comes after the acks that were sent before the question. */
static void take_answer(struct child *child)
{
    for (uint32_t i = 0; i < child->asked_unsure; i++)
        mark(child->unsure[i], ACK_TAKEN);
    child->unsure_count -= child->asked_unsure;
    memmove(child->unsure, child->unsure + child->asked_unsure,
            child->unsure_count * sizeof *child->unsure);
    child->asked = false;
}

static void take_events(struct child *child)
{
    struct spool_event event;
    while (spool_take_event(child->spool, &event)) {
        CHECK(event.kind == SPOOL_STORED || event.kind == SPOOL_READ || event.kind == SPOOL_END);
        if (event.kind == SPOOL_STORED) {
            child->in_flight--;
            mark(event.sequence, STORED);
            atomic_fetch_add(&shared->stored, 1);
        } else {
            take_answer(child);
        }
        if (event.parcel != NULL) {
            CHECK(kit_parcel_is_good(event.parcel));
            hold(child, event.sequence);
        }
        parcel_release(&event.parcel);
    }
}

static void live(uint64_t seed, int wake_fd)
{
    static struct child child;
    struct error error;
    child.random.state = seed;
    CHECK(spool_open(&child.spool, &settings, wake_fd, &child.next, &error));
    atomic_store(&shared->open, true);
    for (;;) {
        struct spool_status status;
        take_events(&child);
        spool_read_status(child.spool, &status);
        uint64_t dice = random_below(&child.random, 8);
        if (dice < 4 && child.in_flight < IN_FLIGHT_MAX && status.records < BACKLOG_MAX) {
            uint32_t bytes = (uint32_t)random_below(&child.random, dice == 0 ? 60000 : 3000);
            mark(child.next, PUT);
            CHECK(spool_put(child.spool, kit_parcel(child.next, bytes)));
            child.next++;
            child.in_flight++;
        } else if (dice < 7 && child.held_count > 0) {
            ack_held(&child, (uint32_t)random_below(&child.random, child.held_count));
        } else if (!child.asked) {
            child.asked = true;
            child.asked_unsure = child.unsure_count;
            spool_read(child.spool);
        } else {
            struct pollfd wake = {.fd = wake_fd, .events = POLLIN};
            uint64_t count;
            if (poll(&wake, 1, 1) == 1)
                CHECK(read(wake_fd, &count, sizeof count) == sizeof count);
        }
    }
}

/* ---- the parent ---- */

struct totals {
    uint64_t found, stored, sent_twice, torn, slowest_ns;
};

static void count_event(void *context, const struct spool_event *event)
{
    struct spool_event *last = context;
    *last = *event;
}

/* One by one from the store itself; each is checked, and the states say what may and must be. */
static uint64_t read_back(struct spool_store *store, const struct spool_event *last,
                          struct totals *totals, uint8_t *found)
{
    uint64_t records = 0;
    struct spool_now now = {.ns = clock_monotonic_ns(), .wall_ns = clock_wall_ns()};
    for (;;) {
        spool_store_read(store, now);
        if (last->kind == SPOOL_END)
            return records;
        CHECK(last->kind == SPOOL_READ && kit_parcel_is_good(last->parcel));
        uint8_t state = state_of(last->sequence);
        CHECK((state & PUT) != 0 && (state & ACK_TAKEN) == 0);
        CHECK(found[last->sequence] == 0);
        found[last->sequence] = 1;
        totals->sent_twice += (state & ACKED) != 0;
        records++;
        struct parcel *parcel = last->parcel;
        parcel_release(&parcel);
    }
}

static void verify(struct totals *totals)
{
    static struct spool_event last;
    static uint8_t found[SEQUENCES_MAX];
    struct error error;
    struct spool_status status;
    uint64_t begin_ns = clock_monotonic_ns(), begin_cpu_ns = clock_thread_cpu_ns();
    struct spool_now now = {.ns = begin_ns, .wall_ns = clock_wall_ns()};
    struct spool_store *store = spool_store_open(&settings, count_event, &last, now, &error);
    CHECK(store != NULL);
    uint64_t took_ns = clock_thread_cpu_ns() - begin_cpu_ns;
    if (took_ns > totals->slowest_ns)
        totals->slowest_ns = took_ns;
    spool_store_status(store, &status);
    CHECK(status.working);
    memset(found, 0, spool_store_next(store));
    totals->found += read_back(store, &last, totals, found);
    uint64_t doubtful = 0, end = 1;
    for (uint64_t i = 1; i < SEQUENCES_MAX && (i < spool_store_next(store) || state_of(i) != 0);
         i++) {
        uint8_t state = state_of(i);
        doubtful += (state & PUT) != 0 && (state & STORED) == 0;
        if ((state & STORED) != 0 && (state & ACKED) == 0 && found[i] == 0) {
            fprintf(stderr, "spool_crash: LOST: sequence %lu was stored\n", i);
            abort();
        }
        end = i + 1;
    }
    CHECK(status.corrupt_records <= doubtful);
    totals->torn += status.corrupt_records;
    /* Sequences that were put and are not there will be used again. */
    for (uint64_t i = spool_store_next(store); i < end; i++)
        atomic_store(&shared->states[i], 0);
    spool_store_close(&store, now);
}

static void run_round(struct random *random, struct totals *totals)
{
    bool early = random_below(random, 3) == 0; /* while it starts, or soon after */
    uint64_t life_us = random_below(random, early ? 3000 : LIFE_MAX_US);
    uint64_t seed = random_next(random);
    int wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    atomic_store(&shared->open, false);
    pid_t child = fork();
    CHECK(child >= 0 && wake_fd >= 0);
    if (child == 0)
        live(seed, wake_fd);
    for (int i = 0; !early && !atomic_load(&shared->open) && i < 100000; i++)
        usleep(100);
    usleep((useconds_t)life_us);
    int status = 0;
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child);
    close(wake_fd);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
        fprintf(stderr, "spool_crash: the child ended by itself: status %d\n", status);
        abort();
    }
    verify(totals);
}

static void usage(FILE *to)
{
    fprintf(to, "usage: spool_crash [--rounds N] [--seed N] [--directory DIR]\n"
                "Example:\n  spool_crash --rounds 1000\n");
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"rounds", required_argument, NULL, 'r'},
                                            {"seed", required_argument, NULL, 's'},
                                            {"directory", required_argument, NULL, 'd'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    unsigned long rounds = 30, seed = 1;
    for (int code; (code = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (code == 'h' || code == '?') {
            usage(code == 'h' ? stdout : stderr);
            return code == 'h' ? 0 : 2;
        }
        if (code == 'r')
            rounds = strtoul(optarg, NULL, 10);
        else if (code == 's')
            seed = strtoul(optarg, NULL, 10);
        else
            setenv("SPOOL_TEST_DIRECTORY", optarg, 1);
    }
    kit_make_directory(path);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    settings = (struct spool_settings){.directory = path,
                                       .size_bytes = 1 << 30,
                                       .age_ns = UINT64_MAX,
                                       .segment_bytes = 1 << 19,
                                       .flush_ns = 5 * NS_PER_MS,
                                       .flush_bytes = 1 << 18};
    struct random random = {.state = seed};
    struct totals totals = {.found = 0};
    for (unsigned long round = 0; round < rounds; round++)
        run_round(&random, &totals);
    totals.stored = atomic_load(&shared->stored);
    printf(
        "%lu rounds of kill -9: %lu parcels stored, none lost; %lu read back, %lu of them had an "
        "ack under way; %lu torn and reported; slowest start %lu ms\n",
        rounds, totals.stored, totals.found, totals.sent_twice, totals.torn,
        (uint64_t)(totals.slowest_ns / NS_PER_MS));
    fflush(stdout);
    CHECK(totals.stored > rounds && totals.slowest_ns < START_MAX_MS * NS_PER_MS);
    kit_remove_directory(path);
    return 0;
}
