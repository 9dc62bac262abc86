/* SPDX-License-Identifier: Apache-2.0 */
/* The shard's turn: take what others sent (answers of the resolver, handshakes), wait for sockets
 * and timers, run them, push the page they filled, free what no page refers to any more. Nothing in
 * a turn blocks, and the time is read once per turn.
 *
 * The loop is made on the shard's own thread (io_uring's single issuer); shard_start() waits until
 * that went well or not. */
#include "shard/shard.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "loop/cpu.h"
#include "pg/decode.h"
#include "shard/own.h"

enum {
    TURN_MAX_MS = 2000, /* a turn at least this often: the heartbeat */
    WATCHES_SPARE = 16,
    ANSWERS_PER_TURN = 256,
    SURVEY_ALWAYS = 16, /* so few targets are counted every turn */
};

/* A receiver whose targets are here, and how much less of it is collected. */
struct route {
    const struct receiver *receiver;
    bool speaks;
    uint32_t level;
};

struct shard {
    struct shard_options options;
    struct shard_target *assigned;
    pthread_t thread;
    _Atomic bool stop;
    _Atomic uint64_t turned_ns, rounds;
    _Atomic(struct loop *) waker; /* the loop while it runs, for wake-ups from outside */
    pthread_mutex_t gate;         /* start only: guards `opened` and `failed` */
    pthread_cond_t opened_signal;
    bool opened, failed;
    struct error error;

    /* the thread's own */
    struct target_context context;
    struct writer writer;
    struct random random;
    struct target **targets;
    size_t target_count;
    struct route routes[WRITER_ROUTES_MAX];
    size_t route_count;
    struct own *own;
};

/* Any thread: the resolver has answers, a handshake is done, or main wants the end. */
static void wake(void *owner)
{
    struct shard *shard = owner;
    struct loop *loop = atomic_load(&shard->waker);
    if (loop != NULL)
        loop_wake(loop);
}

static void publish(struct shard *shard, uint64_t now_ns)
{
    struct telemetry_set *set = shard->context.telemetry;
    struct loop_stats stats = loop_stats(shard->context.pg.loop);
    telemetry_put(set, TELEMETRY_LOOP_TURNS, stats.turns);
    telemetry_put(set, TELEMETRY_LOOP_STALE, stats.stale);
    telemetry_put(set, TELEMETRY_POINTS_COLLECTED, shard->writer.points);
    telemetry_put(set, TELEMETRY_POINTS_NO_PAGE, shard->writer.dropped_total);
    atomic_store_explicit(&shard->turned_ns, now_ns, memory_order_relaxed);
}

/* Every two seconds, or each turn where targets are few: what needs a walk over all of them. */
static void survey(struct shard *shard)
{
    uint64_t states[4] = {0}, rounds = UINT64_MAX;
    for (size_t i = 0; i < shard->target_count; i++) {
        uint64_t scrapes = target_scrapes(shard->targets[i]);
        states[target_state(shard->targets[i])]++;
        if (scrapes < rounds)
            rounds = scrapes;
    }
    struct telemetry_set *set = shard->context.telemetry;
    telemetry_put(set, TELEMETRY_TARGETS_UP, states[TARGET_UP] + states[TARGET_DEGRADED]);
    telemetry_put(set, TELEMETRY_TARGETS_DOWN, states[TARGET_DOWN]);
    telemetry_put(set, TELEMETRY_TARGETS_UNKNOWN, states[TARGET_UNKNOWN]);
    atomic_store_explicit(&shard->rounds, rounds, memory_order_relaxed);
}

static void log_level(const struct route *route, uint32_t before)
{
    if (!route->speaks)
        return;
    if (route->level > before)
        LOG(LOG_LEVEL_WARN, "shard",
            "back ends take less than is collected: the dearest groups are collected more rarely",
            LOG_TEXT("receiver", route->receiver->id), LOG_NUMBER("level", route->level),
            LOG_NUMBER("before", before));
    else
        LOG(LOG_LEVEL_INFO, "shard",
            route->level == 0 ? "back ends take all again: every group is collected as configured"
                              : "back ends take more again: groups are collected less rarely",
            LOG_TEXT("receiver", route->receiver->id), LOG_NUMBER("level", route->level),
            LOG_NUMBER("before", before));
}

/* Targets look for themselves when they are due; here a change is told, once. */
static void tell_pressure(struct shard *shard)
{
    uint32_t highest = 0;
    for (size_t i = 0; i < shard->route_count; i++) {
        struct route *route = &shard->routes[i];
        uint32_t level = ring_pressure(shard->options.ring, route->receiver->route);
        uint32_t before = route->level;
        route->level = level;
        if (level != before)
            log_level(route, before);
        highest = level > highest ? level : highest;
    }
    telemetry_put(shard->context.telemetry, TELEMETRY_STRETCH_LEVEL, highest);
}

static uint64_t turn(struct shard *shard, uint64_t now_ns)
{
    struct target_context *context = &shard->context;
    uint64_t wait_until_ns = wheel_next_ns(context->pg.wheel);
    if (wait_until_ns > now_ns + TURN_MAX_MS * NS_PER_MS)
        wait_until_ns = now_ns + TURN_MAX_MS * NS_PER_MS;
    now_ns = loop_turn(context->pg.loop, wait_until_ns);

    struct resolver_answer answer;
    for (int i = 0; i < ANSWERS_PER_TURN && resolver_take(context->pg.resolver, &answer); i++)
        pool_resolved(&context->pg, &answer, now_ns);
    pool_shaken(&context->pg, now_ns);
    wheel_run(context->pg.wheel, now_ns);
    if (shard->own != NULL)
        own_collect(shard->own, &shard->writer, now_ns);
    writer_flush(&shard->writer, now_ns);
    series_reclaim(shard->options.ring, shard->options.index);
    if (shard->own != NULL)
        own_reclaim(shard->own, shard->options.ring, shard->options.index);
    tell_pressure(shard);
    publish(shard, now_ns);
    return now_ns;
}

static void note_route(struct shard *shard, const struct shard_target *assigned)
{
    size_t at = 0;
    while (at < shard->route_count && shard->routes[at].receiver != assigned->receiver)
        at++;
    if (at == shard->route_count) {
        CHECK(at < WRITER_ROUTES_MAX);
        shard->routes[shard->route_count++] = (struct route){.receiver = assigned->receiver};
    }
    shard->routes[at].speaks = shard->routes[at].speaks || assigned->speaks;
}

static void create_targets(struct shard *shard, uint64_t now_ns)
{
    for (size_t i = 0; i < shard->target_count; i++) {
        const struct shard_target *assigned = &shard->assigned[i];
        note_route(shard, assigned);
        shard->targets[i] =
            target_create(&shard->context, &(struct target_options){
                                               .receiver = assigned->receiver,
                                               .server = assigned->server,
                                               .status = assigned->status,
                                               .first_due_ns = now_ns + assigned->delay_ns,
                                           });
    }
}

static bool open_loop(struct shard *shard, struct error *error)
{
    static const enum loop_kind kinds[] = {
        [SERVICE_LOOP_AUTO] = LOOP_AUTO,
        [SERVICE_LOOP_IO_URING] = LOOP_IO_URING,
        [SERVICE_LOOP_EPOLL] = LOOP_EPOLL,
    };
    int64_t watches = 0;
    for (size_t i = 0; i < shard->target_count; i++)
        watches += shard->assigned[i].server->connections;
    if (watches > shard->options.service->connections_max)
        watches = shard->options.service->connections_max;
    struct loop *loop = NULL;
    if (!loop_create(&loop, kinds[shard->options.service->loop], (uint32_t)watches + WATCHES_SPARE,
                     error))
        return false;
    shard->context.pg.loop = loop;
    bool uring = loop_kind_used(loop) == LOOP_IO_URING;
    telemetry_put(shard->context.telemetry, TELEMETRY_LOOP_URING, uring);
    if (shard->options.index == 0)
        LOG(LOG_LEVEL_INFO, "shard", uring ? "loop runs on io_uring" : "loop runs on epoll",
            LOG_TEXT("io_uring", uring ? "used" : loop_fallback_reason(loop)));
    return true;
}

static void report_start(struct shard *shard, bool failed)
{
    pthread_mutex_lock(&shard->gate);
    shard->opened = true;
    shard->failed = failed;
    pthread_cond_signal(&shard->opened_signal);
    pthread_mutex_unlock(&shard->gate);
}

static void *run(void *argument)
{
    struct shard *shard = argument;
    char name[16];
    snprintf(name, sizeof name, "shard-%u", shard->options.index);
    cpu_name_thread(name);
    if (shard->options.service->pin && !cpu_pin_thread(shard->options.index))
        LOG(LOG_LEVEL_WARN, "shard", "not pinned to a core: the kernel refused",
            LOG_NUMBER("shard", shard->options.index));
    if (!open_loop(shard, &shard->error)) {
        report_start(shard, true);
        return NULL;
    }
    uint64_t now_ns = clock_monotonic_ns(), surveyed_ns = 0;
    shard->context.pg.wheel = wheel_create(now_ns);
    create_targets(shard, now_ns);
    atomic_store(&shard->waker, shard->context.pg.loop);
    atomic_store(&shard->turned_ns, now_ns);
    report_start(shard, false);

    while (!atomic_load_explicit(&shard->stop, memory_order_acquire)) {
        now_ns = turn(shard, now_ns);
        if (now_ns - surveyed_ns >= TURN_MAX_MS * NS_PER_MS ||
            shard->target_count <= SURVEY_ALWAYS) {
            survey(shard);
            surveyed_ns = now_ns;
        }
    }
    for (size_t i = 0; i < shard->target_count; i++)
        target_close(shard->targets[i]);
    writer_flush(&shard->writer, clock_monotonic_ns());
    publish(shard, clock_monotonic_ns());
    return NULL;
}

struct shard *shard_create(const struct shard_options *options)
{
    struct shard *shard = xcalloc(1, sizeof *shard);
    shard->options = *options;
    shard->target_count = options->target_count;
    shard->assigned = xcalloc(options->target_count + 1, sizeof *shard->assigned);
    shard->targets = xcalloc(options->target_count + 1, sizeof *shard->targets);
    memcpy(shard->assigned, options->targets, options->target_count * sizeof *shard->assigned);
    shard->options.targets = shard->assigned;
    pthread_mutex_init(&shard->gate, NULL);
    pthread_cond_init(&shard->opened_signal, NULL);
    random_init(&shard->random);
    writer_init(&shard->writer, options->ring, options->index);

    struct telemetry_label label = {.key = "shard"};
    snprintf(label.value, sizeof label.value, "%u", options->index);
    struct telemetry_set *telemetry = telemetry_open(TELEMETRY_SHARD, 1, &label);
    telemetry_put(telemetry, TELEMETRY_TARGETS_UNKNOWN, options->target_count);
    shard->context = (struct target_context){
        .pg = {.resolver = resolver_client(options->resolver, options->index, wake, shard),
               .handshakes = handshake_client(options->handshaker, options->index, wake, shard),
               .telemetry = telemetry,
               .random = &shard->random,
               .budget = options->budget,
               .shard = options->index},
        .writer = &shard->writer,
        .plans = plan_cache_create(),
        .telemetry = telemetry,
    };
    if (options->own_chains != NULL)
        shard->own = own_create(options->own_chains, options->own_route,
                                options->service->own_metrics_interval_ns);
    return shard;
}

bool shard_start(struct shard *shard, struct error *error)
{
    int code = pthread_create(&shard->thread, NULL, run, shard);
    if (code != 0)
        return error_set(error, "shard %u: no thread: %s; raise the limit of processes (ulimit -u)",
                         shard->options.index, strerror(code));
    pthread_mutex_lock(&shard->gate);
    while (!shard->opened)
        pthread_cond_wait(&shard->opened_signal, &shard->gate);
    pthread_mutex_unlock(&shard->gate);
    if (!shard->failed)
        return true;
    pthread_join(shard->thread, NULL);
    shard->opened = false;
    *error = shard->error;
    return error_prefix(error, "shard %u: ", shard->options.index);
}

void shard_stop(struct shard *shard)
{
    atomic_store_explicit(&shard->stop, true, memory_order_release);
    wake(shard);
}

void shard_join(struct shard *shard)
{
    if (!shard->opened)
        return;
    pthread_join(shard->thread, NULL);
    atomic_store(&shard->waker, NULL);
    shard->opened = false;
}

void shard_destroy(struct shard **shard_place)
{
    struct shard *shard = *shard_place;
    if (shard == NULL)
        return;
    series_reclaim(shard->options.ring, shard->options.index);
    for (size_t i = 0; i < shard->target_count; i++)
        target_free(&shard->targets[i]);
    own_destroy(&shard->own);
    plan_cache_destroy(&shard->context.plans);
    wheel_destroy(&shard->context.pg.wheel);
    loop_destroy(&shard->context.pg.loop);
    pthread_cond_destroy(&shard->opened_signal);
    pthread_mutex_destroy(&shard->gate);
    free(shard->assigned);
    free(shard->targets);
    free(shard);
    *shard_place = NULL;
}

uint64_t shard_turned_ns(const struct shard *shard)
{
    return atomic_load_explicit(&shard->turned_ns, memory_order_relaxed);
}

uint64_t shard_rounds(const struct shard *shard)
{
    return atomic_load_explicit(&shard->rounds, memory_order_relaxed);
}
