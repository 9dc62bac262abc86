/* SPDX-License-Identifier: Apache-2.0 */
/* Steps 7 to 9 of 9, and their thread. A turn: take pages from the ring, encode each for every
 * destination that wants it, give it back at once; close batches that are old enough; let requests
 * move on and settle their answers; start new ones. With nothing to do it sleeps on its sockets and
 * the ring's descriptor together.
 *
 * Invariant: pages never wait here. A destination that is slow fills its own queue; the ring and
 * all other destinations go on. Only exporters that write on this thread (file, debug, console) can
 * hold it up, as long as their write takes.
 *
 * Other threads touch: stop_deadline_ns (set once, then the ring's wake), and what
 * destination_healthy() reads under its own lock. */
#include "exporters/worker.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "exporters/batch.h"
#include "exporters/outbox.h"
#include "exporters/tuning.h"
#include "exporters/pressure.h"

enum {
    /* Per turn, about one batch: in each turn every request moves on by one step, so a longer one
     * would starve the senders. */
    SWEEP_PAGES_MAX = 8,
    BATCHES_MAX = LIMIT_PIPELINES * LIMIT_DESTINATIONS,
    WAIT_MAX_S = 10,
    PATIENCE_PAGES = 6, /* fewer points than a batch of the usual size takes */
    ROUTES = 32,
};
static const uint64_t PRESSURE_NS = NS_PER_S / 4; /* how often queues and spools are looked at */
_Static_assert(LIMIT_DESTINATIONS <= 32, "bits of worker_pipeline.destinations");

/* A batch and the pages that go into it. */
struct feed {
    struct batch *batch;
    uint32_t routes;
    uint32_t destination;
};

struct worker {
    struct ring *ring;
    struct http *http;
    struct telemetry_set *set;
    struct destination *destinations[LIMIT_DESTINATIONS];
    uint32_t destination_count;
    struct feed feeds[BATCHES_MAX];
    uint32_t feed_count;
    struct tuning *tuning; /* NULL: off */
    struct pressure pressures[LIMIT_DESTINATIONS];
    struct pressure own_pressure; /* this thread itself is too slow: pages wait in the ring */
    struct pressure_pipeline pipelines[LIMIT_PIPELINES];
    uint32_t pipeline_count;
    uint64_t pressure_ns; /* next look */
    pthread_t thread;
    bool started;
    bool patient; /* every batch is open, so a page that comes now would only wait in one */
    _Atomic uint64_t stop_deadline_ns; /* 0: runs on */
    bool clean;                        /* by the thread at its end: nothing was left */
};

static bool check_options(const struct worker_options *options, struct error *error)
{
    if (options->destination_count > LIMIT_DESTINATIONS)
        return error_set(error, "%u exporters in use, %d are possible: use fewer",
                         options->destination_count, LIMIT_DESTINATIONS);
    if (options->pipeline_count > LIMIT_PIPELINES)
        return error_set(error, "%u pipelines, %d are possible: use fewer", options->pipeline_count,
                         LIMIT_PIPELINES);
    return true;
}

static void make_feeds(struct worker *worker, const struct worker_options *options)
{
    for (uint32_t p = 0; p < options->pipeline_count; p++) {
        const struct worker_pipeline *pipeline = &options->pipelines[p];
        worker->pipelines[worker->pipeline_count++] =
            (struct pressure_pipeline){pipeline->routes, pipeline->destinations};
        for (uint32_t d = 0; d < worker->destination_count; d++) {
            if ((pipeline->destinations >> d & 1) == 0)
                continue;
            worker->feeds[worker->feed_count++] = (struct feed){
                batch_create(pipeline->batch, worker->destinations[d], pipeline->variant),
                pipeline->routes, d};
        }
    }
}

static void make_tuning(struct worker *worker, const struct worker_options *options)
{
    if (options->tuner == NULL || options->tuner->mode == TUNER_OFF)
        return;
    worker->tuning = tuning_create(options->tuner, worker->set);
    for (uint32_t d = 0; d < worker->destination_count; d++) {
        struct batch *batches[LIMIT_PIPELINES];
        uint32_t count = 0;
        for (uint32_t i = 0; i < worker->feed_count; i++)
            if (worker->feeds[i].destination == d)
                batches[count++] = worker->feeds[i].batch;
        tuning_add(worker->tuning, options->destinations[d].id, worker->destinations[d], batches,
                   count);
    }
}

bool worker_create(struct worker **ret_worker, struct ring *ring,
                   const struct worker_options *options, struct error *error)
{
    if (!check_options(options, error))
        return false;
    struct worker *worker = xcalloc(1, sizeof *worker);
    worker->ring = ring;
    worker->clean = true;
    worker->set = telemetry_open(TELEMETRY_WORKER, 0, NULL);
    if (!http_create(&worker->http, error))
        goto fail;
    const struct destination_context context = {.http = worker->http,
                                                .wake_fd = ring_wake_fd(ring),
                                                .storages = options->storages,
                                                .storage_count = options->storage_count};
    for (uint32_t i = 0; i < options->destination_count; i++) {
        if (!destination_create(&worker->destinations[i], &context, &options->destinations[i],
                                error))
            goto fail;
        worker->destination_count++;
    }
    make_feeds(worker, options);
    make_tuning(worker, options);
    *ret_worker = worker;
    return true;
fail:
    worker_destroy(&worker);
    return false;
}

static void take_page(struct worker *worker, struct page *page, uint64_t now_ns)
{
    uint64_t waited_ns = now_ns > page->pushed_ns ? now_ns - page->pushed_ns : 0;
    CHECK(page->route < 32);
    telemetry_record(worker->set, TELEMETRY_HISTOGRAM_RING_WAIT, waited_ns);
    telemetry_add(worker->set, TELEMETRY_WORKER_PAGES, 1);
    telemetry_add(worker->set, TELEMETRY_WORKER_POINTS, page->point_count);
    for (uint32_t i = 0; i < worker->feed_count; i++)
        if (worker->feeds[i].routes >> page->route & 1)
            batch_add(worker->feeds[i].batch, page, now_ns);
    ring_give(worker->ring, page);
}

static uint32_t sweep(struct worker *worker)
{
    uint32_t pages = 0;
    struct page *page;
    while (pages < SWEEP_PAGES_MAX && (page = ring_take(worker->ring)) != NULL) {
        take_page(worker, page, clock_monotonic_ns());
        pages++;
    }
    return pages;
}

/* Closes what is old enough, all of it where `all`; returns when the next one is. */
static uint64_t close_batches(struct worker *worker, bool all, uint64_t now_ns)
{
    uint64_t next_ns = UINT64_MAX;
    worker->patient = worker->feed_count > 0;
    for (uint32_t i = 0; i < worker->feed_count; i++) {
        struct batch *batch = worker->feeds[i].batch;
        uint64_t deadline_ns = batch_deadline_ns(batch);
        if (all || deadline_ns <= now_ns)
            batch_close(batch, now_ns);
        else if (deadline_ns < next_ns)
            next_ns = deadline_ns;
        worker->patient = worker->patient && batch_deadline_ns(batch) != UINT64_MAX;
    }
    return next_ns;
}

/* Tells the shards how much less of each route to collect. */
static void put_pressure(struct worker *worker, uint64_t now_ns)
{
    if (now_ns < worker->pressure_ns)
        return;
    worker->pressure_ns = now_ns + PRESSURE_NS;
    uint8_t levels[ROUTES];
    for (uint32_t i = 0; i < worker->destination_count; i++)
        pressure_step(&worker->pressures[i], destination_fill(worker->destinations[i]), now_ns);
    pressure_of_routes(worker->pipelines, worker->pipeline_count, worker->pressures, levels);
    uint32_t own = pressure_step(&worker->own_pressure, ring_fill(worker->ring), now_ns);
    for (uint32_t route = 0; route < ROUTES; route++)
        ring_put_pressure(worker->ring, route, levels[route] > own ? levels[route] : own);
}

static uint64_t step_destinations(struct worker *worker)
{
    http_run(worker->http);
    uint64_t now_ns = clock_monotonic_ns(), next_ns = UINT64_MAX;
    struct http_answer answer;
    void *owner;
    while ((owner = http_take_answer(worker->http, &answer)) != NULL)
        outbox_answer(owner, &answer, now_ns);
    for (uint32_t i = 0; i < worker->destination_count; i++) {
        uint64_t step_ns = destination_step(worker->destinations[i], now_ns);
        next_ns = step_ns < next_ns ? step_ns : next_ns;
    }
    put_pressure(worker, now_ns);
    return next_ns;
}

static void sleep_until(struct worker *worker, uint64_t until_ns)
{
    uint64_t now_ns = clock_monotonic_ns();
    uint64_t wait_ns = until_ns > now_ns ? until_ns - now_ns : 0;
    if (wait_ns > WAIT_MAX_S * NS_PER_S)
        wait_ns = WAIT_MAX_S * NS_PER_S;
    if (!ring_try_sleep(worker->ring, worker->patient ? PATIENCE_PAGES : 0))
        return;
    http_wait(worker->http, ring_wake_fd(worker->ring), wait_ns);
    ring_awake(worker->ring);
}

/* All shards have pushed their last page: nothing comes any more. True when there is nothing left
 * to deliver, or what is left cannot be settled before the deadline. */
static bool drained(struct worker *worker, uint64_t stop_ns)
{
    uint64_t now_ns = clock_monotonic_ns(), hope_ns = UINT64_MAX;
    for (uint32_t i = 0; i < worker->destination_count; i++) {
        uint64_t settle_ns = destination_hope_ns(worker->destinations[i], now_ns);
        hope_ns = settle_ns < hope_ns ? settle_ns : hope_ns;
    }
    return now_ns >= stop_ns || hope_ns >= stop_ns;
}

static void *run(void *argument)
{
    struct worker *worker = argument;
    bool stopping = false;
    for (;;) {
        uint64_t stop_ns = atomic_load_explicit(&worker->stop_deadline_ns, memory_order_acquire);
        for (uint32_t i = 0; stop_ns != 0 && !stopping && i < worker->destination_count; i++)
            destination_stopping(worker->destinations[i], stop_ns, clock_monotonic_ns());
        stopping = stop_ns != 0;
        uint32_t pages = sweep(worker);
        bool last = stop_ns != 0 && pages == 0;
        uint64_t batch_ns = close_batches(worker, last, clock_monotonic_ns());
        uint64_t next_ns = step_destinations(worker);
        next_ns = batch_ns < next_ns ? batch_ns : next_ns;
        if (worker->tuning != NULL && stop_ns == 0) {
            uint64_t tuning_ns = tuning_step(worker->tuning, clock_monotonic_ns());
            next_ns = tuning_ns < next_ns ? tuning_ns : next_ns;
        }
        if (last && drained(worker, stop_ns))
            break;
        if (stop_ns != 0)
            next_ns = stop_ns < next_ns ? stop_ns : next_ns;
        if (pages == 0)
            sleep_until(worker, next_ns);
    }
    for (uint32_t i = 0; i < worker->destination_count; i++)
        worker->clean = destination_close(worker->destinations[i]) && worker->clean;
    return NULL;
}

/* Signals are the main thread's. Blocked here, SIGPIPE of a connection or pipe that broke is EPIPE.
 */
bool worker_start(struct worker *worker, struct error *error)
{
    CHECK(!worker->started);
    sigset_t all, before;
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    int failure = pthread_create(&worker->thread, NULL, run, worker);
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    if (failure != 0)
        return error_set(error, "cannot start the worker thread: %s; check the limit on threads",
                         strerrordesc_np(failure));
    pthread_setname_np(worker->thread, "pgweir-worker");
    worker->started = true;
    return true;
}

bool worker_stop(struct worker *worker, uint64_t deadline_ns)
{
    if (!worker->started)
        return worker->clean;
    atomic_store_explicit(&worker->stop_deadline_ns, deadline_ns == 0 ? 1 : deadline_ns,
                          memory_order_release);
    ring_wake(worker->ring);
    CHECK(pthread_join(worker->thread, NULL) == 0);
    worker->started = false;
    return worker->clean;
}

void worker_destroy(struct worker **ret_worker)
{
    struct worker *worker = *ret_worker;
    if (worker == NULL)
        return;
    CHECK(!worker->started);
    tuning_destroy(&worker->tuning);
    for (uint32_t i = 0; i < worker->feed_count; i++)
        batch_destroy(&worker->feeds[i].batch);
    for (uint32_t i = 0; i < worker->destination_count; i++)
        destination_destroy(&worker->destinations[i]);
    http_destroy(&worker->http);
    free(worker);
    *ret_worker = NULL;
}

bool worker_healthy(const struct worker *worker, uint32_t destination, char *ret_text,
                    size_t text_bytes)
{
    CHECK(destination < worker->destination_count);
    return destination_healthy(worker->destinations[destination], ret_text, text_bytes);
}

bool worker_read_outbox(const struct worker *worker, uint32_t destination,
                        struct outbox_status *ret_status)
{
    CHECK(destination < worker->destination_count);
    const struct outbox *outbox = destination_outbox(worker->destinations[destination]);
    if (outbox != NULL)
        outbox_read_status(outbox, ret_status);
    return outbox != NULL;
}

bool worker_read_tuning(const struct worker *worker, struct tuning_status *ret_status)
{
    if (worker->tuning == NULL)
        return false;
    tuning_read(worker->tuning, ret_status);
    return true;
}
