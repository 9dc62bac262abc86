/* SPDX-License-Identifier: Apache-2.0 */
/* The assembly: from a checked configuration to running threads and back. Everything is made here
 * by the main thread in the order resolver, handshaker, ring, worker, shards, admin, and stopped in
 * the order of a point's path, so that what was collected is delivered: shards push their last
 * page, the worker drains until the deadline, then memory goes. After the start the main thread
 * only waits for signals and refreshes the process's own gauges. */
#include "run.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "admin/admin.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "exporters/status.h"
#include "exporters/tuning.h"
#include "exporters/worker.h"
#include "loop/cpu.h"
#include "pg/pool.h"
#include "pg/handshake.h"
#include "pg/resolver.h"
#include "shard/shard.h"

enum {
    PIPELINE_ROUTES_MAX = 31, /* bit mask of receivers, one more for pgweir's own metrics */
    SUPERVISE_MS = 5000,
    ONCE_POLL_MS = 20,
    SIGNAL_ECHO_MS = 500,   /* a signal that comes so soon after the first is the same one */
    STALL_S = 10,           /* seconds without a turn after which a shard counts as stuck */
    DESCRIPTORS_KEPT = 128, /* logs, admin clients, back ends, name servers, files */
    DESCRIPTORS_PER_SHARD = 8,
};

struct engine {
    const struct config *config;
    const struct run_options *options;
    struct receiver receivers[PIPELINE_ROUTES_MAX];
    uint32_t receiver_count;
    struct resource_chains chains;
    struct worker_destination destinations[LIMIT_DESTINATIONS];
    uint32_t destination_count;
    struct worker_pipeline pipelines[LIMIT_PIPELINES];
    struct worker_storage storages[LIMIT_DESTINATIONS];
    uint32_t storage_count;
    size_t target_count;
    struct status_board *board;
    struct pg_budget budget;
    struct resolver *resolver;
    struct handshaker *handshaker;
    struct ring *ring;
    struct worker *worker;
    struct shard *shards[LIMIT_SHARDS];
    uint32_t shard_count;
    struct admin *admin;
    struct telemetry_set *telemetry;
    uint64_t start_ns;
    _Atomic bool stopping;
};

/* ---- from configuration to plan ---- */

static bool add_receiver(struct engine *engine, const struct instance *instance,
                         uint32_t *ret_route, struct error *error)
{
    for (uint32_t i = 0; i < engine->receiver_count; i++) {
        if (engine->receivers[i].settings == instance->settings) {
            *ret_route = i;
            return true;
        }
    }
    if (engine->receiver_count == PIPELINE_ROUTES_MAX)
        return error_set(error,
                         "more than %d receivers; put servers of a kind under one `targets:`",
                         PIPELINE_ROUTES_MAX);
    uint32_t route = engine->receiver_count;
    struct receiver *receiver = &engine->receivers[route];
    if (!receiver_init(receiver, instance->id, instance->settings, error))
        return error_prefix(error, "%s:%u:%u: ", instance->place.source, instance->place.line,
                            instance->place.column);
    receiver->route = route;
    receiver->chains = &engine->chains;
    engine->receiver_count++;
    engine->target_count += postgresql_server_count(receiver->settings);
    *ret_route = route;
    return true;
}

static bool add_destination(struct engine *engine, const struct instance *instance,
                            uint32_t *ret_index, struct error *error)
{
    for (uint32_t i = 0; i < engine->destination_count; i++) {
        if (engine->destinations[i].settings == instance->settings) {
            *ret_index = i;
            return true;
        }
    }
    if (engine->destination_count == LIMIT_DESTINATIONS)
        return error_set(error, "more than %d exporters in use", LIMIT_DESTINATIONS);
    *ret_index = engine->destination_count;
    engine->destinations[engine->destination_count++] = (struct worker_destination){
        .component = instance->component, .id = instance->id, .settings = instance->settings};
    return true;
}

static bool add_processors(struct engine *engine, const struct pipeline *pipeline,
                           struct worker_pipeline *planned, struct error *error)
{
    struct resource_chain chain = {.step_count = 0};
    for (size_t i = 0; i < pipeline->processor_count; i++) {
        const struct instance *processor = pipeline->processors[i];
        if (processor->component == &batch_processor) {
            planned->batch = processor->settings;
        } else {
            CHECK(processor->component == &resource_processor);
            if (chain.step_count == sizeof chain.steps / sizeof *chain.steps)
                return error_set(error, "pipeline %s: more than %zu resource processors",
                                 pipeline->id, chain.step_count);
            chain.steps[chain.step_count++] = processor->settings;
        }
    }
    if (chain.step_count == 0)
        return true;
    if (engine->chains.count == LIMIT_PIPELINES)
        return error_set(error, "more than %d pipelines change resources", LIMIT_PIPELINES - 1);
    planned->variant = engine->chains.count;
    engine->chains.chains[engine->chains.count++] = chain;
    return true;
}

static void find_storages(struct engine *engine)
{
    const struct config *config = engine->config;
    for (size_t i = 0; i < config->extension_count && engine->storage_count < LIMIT_DESTINATIONS;
         i++)
        if (config->extensions[i]->component == &file_storage_extension)
            engine->storages[engine->storage_count++] = (struct worker_storage){
                .id = config->extensions[i]->id, .settings = config->extensions[i]->settings};
}

static bool check_tuner(const struct tuner_settings *tuner, struct error *error)
{
    if (tuner->batch_size_min > tuner->batch_size_max)
        return error_set(error,
                         "service.tuner: batch_size_min %lld is above batch_size_max %lld: "
                         "exchange them",
                         (long long)tuner->batch_size_min, (long long)tuner->batch_size_max);
    uint64_t most_ns = tuner->flush_age_max_ns;
    if (most_ns != 0 && tuner->flush_age_min_ns > most_ns)
        return error_set(error, "service.tuner: flush_age_min is above flush_age_max: exchange "
                                "them");
    return true;
}

static bool plan_pipelines(struct engine *engine, struct error *error)
{
    const struct config *config = engine->config;
    engine->chains.count = 1;
    if (!check_tuner(&config->service.tuner, error))
        return false;
    find_storages(engine);
    if (config->pipeline_count > LIMIT_PIPELINES)
        return error_set(error, "more than %d pipelines", LIMIT_PIPELINES);
    for (size_t p = 0; p < config->pipeline_count; p++) {
        const struct pipeline *pipeline = &config->pipelines[p];
        struct worker_pipeline *planned = &engine->pipelines[p];
        uint32_t index = 0;
        for (size_t i = 0; i < pipeline->receiver_count; i++) {
            if (!add_receiver(engine, pipeline->receivers[i], &index, error))
                return false;
            planned->routes |= 1u << index;
        }
        for (size_t i = 0; i < pipeline->exporter_count; i++) {
            if (!add_destination(engine, pipeline->exporters[i], &index, error))
                return false;
            planned->destinations |= 1u << index;
        }
        if (!add_processors(engine, pipeline, planned, error))
            return false;
        planned->routes |= 1u << PIPELINE_ROUTES_MAX; /* own metrics */
    }
    if (engine->target_count == 0)
        return error_set(error, "no server to collect from: no `postgresql` receiver is in a "
                                "pipeline of service.pipelines");
    if (engine->target_count > LIMIT_TARGETS)
        return error_set(error, "%zu targets, at most %d in one process", engine->target_count,
                         LIMIT_TARGETS);
    return true;
}

static void forget_receivers(struct engine *engine)
{
    for (uint32_t i = 0; i < engine->receiver_count; i++)
        receiver_fini(&engine->receivers[i]);
    engine->receiver_count = 0;
}

bool run_validate(const struct config *config, size_t *ret_targets, struct error *error)
{
    struct engine *engine = xcalloc(1, sizeof *engine);
    engine->config = config;
    bool ok = plan_pipelines(engine, error);
    if (ok)
        *ret_targets = engine->target_count;
    forget_receivers(engine);
    free(engine);
    return ok;
}

/* ---- start ---- */

/* Targets are dealt to shards in turn, and their first collections spread evenly over one interval,
 * so that neither connects nor scrapes come in waves. */
static void deal_targets(const struct engine *engine, uint32_t shard,
                         struct shard_target *ret_targets, size_t *ret_count)
{
    size_t number = 0, count = 0;
    for (uint32_t r = 0; r < engine->receiver_count; r++) {
        const struct receiver *receiver = &engine->receivers[r];
        size_t servers = postgresql_server_count(receiver->settings);
        for (size_t i = 0; i < servers; i++, number++) {
            if (number % engine->shard_count != shard)
                continue;
            ret_targets[count++] = (struct shard_target){
                .receiver = receiver,
                .server = postgresql_server(receiver->settings, i),
                .status = &engine->board->slots[number],
                .speaks = i == 0,
                .delay_ns = receiver->settings->initial_delay_ns +
                            receiver->settings->collection_interval_ns / servers * i,
            };
        }
    }
    *ret_count = count;
}

static bool start_shards(struct engine *engine, struct error *error)
{
    const struct service_settings *service = &engine->config->service;
    struct shard_target *targets = xcalloc(engine->target_count + 1, sizeof *targets);
    bool ok = true;
    for (uint32_t i = 0; i < engine->shard_count && ok; i++) {
        size_t count = 0;
        deal_targets(engine, i, targets, &count);
        engine->shards[i] = shard_create(&(struct shard_options){
            .index = i,
            .service = service,
            .ring = engine->ring,
            .resolver = engine->resolver,
            .handshaker = engine->handshaker,
            .budget = &engine->budget,
            .targets = targets,
            .target_count = count,
            .own_route = PIPELINE_ROUTES_MAX,
            .own_chains = i == 0 && service->own_metrics ? &engine->chains : NULL,
        });
        ok = shard_start(engine->shards[i], error);
    }
    free(targets);
    return ok;
}

static uint32_t choose_shards(const struct engine *engine)
{
    uint32_t count = engine->config->service.shards != 0 ? (uint32_t)engine->config->service.shards
                                                         : cpu_usable_count();
    if (count > LIMIT_SHARDS)
        count = LIMIT_SHARDS;
    return count < engine->target_count ? count : (uint32_t)engine->target_count;
}

static bool source_destination(void *owner, uint32_t index, const char **ret_id, bool *ret_healthy,
                               char *ret_text, size_t text_bytes)
{
    const struct engine *engine = owner;
    if (index >= engine->destination_count)
        return false;
    *ret_id = engine->destinations[index].id;
    *ret_healthy = worker_healthy(engine->worker, index, ret_text, text_bytes);
    return true;
}

static bool source_live(void *owner, char *ret_text, size_t text_bytes)
{
    const struct engine *engine = owner;
    uint64_t now_ns = clock_monotonic_ns();
    bool stopping = atomic_load(&engine->stopping); /* shards have ended, the worker drains */
    for (uint32_t i = 0; i < engine->shard_count && !stopping; i++) {
        uint64_t turned_ns = shard_turned_ns(engine->shards[i]);
        if (now_ns > turned_ns && now_ns - turned_ns > STALL_S * NS_PER_S) {
            snprintf(ret_text, text_bytes, "shard %u has not turned for %llu s", i,
                     (unsigned long long)((now_ns - turned_ns) / NS_PER_S));
            return false;
        }
    }
    return true;
}

static bool source_stopping(void *owner)
{
    const struct engine *engine = owner;
    return atomic_load(&engine->stopping);
}

static char *source_destination_json(void *owner, uint32_t index)
{
    const struct engine *engine = owner;
    struct outbox_status status;
    return worker_read_outbox(engine->worker, index, &status)
               ? status_outbox_json(&status, clock_monotonic_ns())
               : NULL;
}

static char *source_tuner_json(void *owner)
{
    const struct engine *engine = owner;
    struct tuning_status *status = malloc(sizeof *status);
    char *text = NULL;
    if (status != NULL && worker_read_tuning(engine->worker, status))
        text = status_tuning_json(status, clock_monotonic_ns());
    free(status);
    return text;
}

static bool start_admin(struct engine *engine, struct error *error)
{
    const struct config *config = engine->config;
    for (size_t i = 0; i < config->extension_count && !engine->options->once; i++) {
        if (config->extensions[i]->component != &health_check_extension)
            continue;
        struct admin_sources sources = {
            .targets = engine->board,
            .owner = engine,
            .destination = source_destination,
            .live = source_live,
            .stopping = source_stopping,
            .destination_json = source_destination_json,
            .tuner_json = source_tuner_json,
        };
        if (!admin_create(&engine->admin, config->extensions[i]->settings, &sources, error))
            return error_prefix(error, "extension %s: ", config->extensions[i]->id);
    }
    return true;
}

/* Raises the limit of open files as far as it goes. Connections to servers never take what the rest
 * needs: with more servers than files may be open they share, which is slow, so it is said. */
static int64_t limit_connections(const struct engine *engine)
{
    int64_t wanted = engine->config->service.connections_max;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return wanted;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    int64_t kept = DESCRIPTORS_KEPT + (int64_t)engine->shard_count * DESCRIPTORS_PER_SHARD;
    if (limit.rlim_max > (rlim_t)(wanted + kept))
        return wanted;
    int64_t room = (int64_t)limit.rlim_max > 2 * kept ? (int64_t)limit.rlim_max - kept : kept;
    if ((int64_t)engine->target_count > room)
        LOG(LOG_LEVEL_WARN, "run",
            "more servers than files may be open: connections are closed and opened again for each "
            "collection; raise the limit (LimitNOFILE, ulimit -n) or share the servers among "
            "processes",
            LOG_NUMBER("targets", engine->target_count),
            LOG_NUMBER("open_files", (uint64_t)limit.rlim_max),
            LOG_NUMBER("connections", (uint64_t)room));
    return room;
}

static bool start(struct engine *engine, struct error *error)
{
    const struct service_settings *service = &engine->config->service;
    engine->shard_count = choose_shards(engine);
    engine->board = status_board_create(engine->target_count);
    engine->budget.connections_max = limit_connections(engine);
    engine->budget.connects_in_flight_max = service->connects_in_flight_max;
    engine->telemetry = telemetry_open(TELEMETRY_PROCESS, 0, NULL);
    struct worker_options options = {
        .destinations = engine->destinations,
        .destination_count = engine->destination_count,
        .pipelines = engine->pipelines,
        .pipeline_count = (uint32_t)engine->config->pipeline_count,
        .storages = engine->storages,
        .storage_count = engine->storage_count,
        .tuner = engine->options->once ? NULL : &service->tuner,
    };
    return resolver_create(&engine->resolver, engine->shard_count, error) &&
           handshaker_create(&engine->handshaker, engine->shard_count, engine->shard_count,
                             error) &&
           ring_create(&engine->ring, engine->shard_count, (uint32_t)service->pages, error) &&
           worker_create(&engine->worker, engine->ring, &options, error) &&
           worker_start(engine->worker, error) && start_shards(engine, error) &&
           start_admin(engine, error);
}

/* ---- while it runs ---- */

static void supervise(struct engine *engine)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    uint64_t cpu_ms = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 +
                      (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000;
    telemetry_put(engine->telemetry, TELEMETRY_CPU_SECONDS_MS, cpu_ms);
    telemetry_put(engine->telemetry, TELEMETRY_UPTIME,
                  (clock_monotonic_ns() - engine->start_ns) / NS_PER_S);
    unsigned long long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "re");
    if (statm != NULL) {
        if (fscanf(statm, "%*u %llu", &pages) == 1)
            telemetry_put(engine->telemetry, TELEMETRY_MEMORY_RSS,
                          pages * (uint64_t)sysconf(_SC_PAGESIZE));
        fclose(statm);
    }
    uint64_t descriptors = 0;
    DIR *directory = opendir("/proc/self/fd");
    if (directory != NULL) {
        while (readdir(directory) != NULL)
            descriptors++;
        closedir(directory);
        telemetry_put(engine->telemetry, TELEMETRY_DESCRIPTORS, descriptors - 3);
    }
}

static bool all_collected_once(const struct engine *engine)
{
    for (uint32_t i = 0; i < engine->shard_count; i++)
        if (shard_rounds(engine->shards[i]) == 0)
            return false;
    return true;
}

static void wait_for_end(struct engine *engine, const sigset_t *signals)
{
    const uint64_t poll_ms = engine->options->once ? ONCE_POLL_MS : SUPERVISE_MS;
    const struct timespec timeout = {.tv_sec = (time_t)(poll_ms / 1000),
                                     .tv_nsec = (long)(poll_ms % 1000 * NS_PER_MS)};
    for (;;) {
        supervise(engine);
        int number = sigtimedwait(signals, NULL, &timeout);
        if (number > 0) {
            LOG(LOG_LEVEL_INFO, "run", "stopping: delivering what was collected",
                LOG_TEXT("signal", strsignal(number)));
            return;
        }
        if (engine->options->once && all_collected_once(engine))
            return;
    }
}

/* When the first signal came; written before there is a handler. */
static uint64_t signalled_ns;

/* What sends signals often sends one twice: timeout(1), for one, to the process and to its group.
 */
static void end_at_once(int number)
{
    (void)number;
    if (clock_monotonic_ns() - signalled_ns < SIGNAL_ECHO_MS * NS_PER_MS)
        return;
    static const char text[] =
        "pgweir: second signal: ended at once, what was not delivered is lost\n";
    ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
    (void)written;
    _exit(1);
}

/* From here on a second signal ends the process. */
static void arm_second_signal(const sigset_t *signals)
{
    signalled_ns = clock_monotonic_ns();
    struct sigaction action = {.sa_handler = end_at_once, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    pthread_sigmask(SIG_UNBLOCK, signals, NULL);
}

/* ---- stop ---- */

static bool stop(struct engine *engine)
{
    atomic_store(&engine->stopping, true);
    for (uint32_t i = 0; i < engine->shard_count; i++)
        if (engine->shards[i] != NULL)
            shard_stop(engine->shards[i]);
    for (uint32_t i = 0; i < engine->shard_count; i++)
        if (engine->shards[i] != NULL)
            shard_join(engine->shards[i]);
    bool drained = true;
    if (engine->worker != NULL)
        drained = worker_stop(engine->worker,
                              clock_monotonic_ns() + engine->config->service.shutdown_timeout_ns);
    return drained;
}

static void report(const struct engine *engine)
{
    uint64_t up = 0;
    for (size_t i = 0; i < engine->board->count; i++) {
        struct target_status status;
        status_read(&engine->board->slots[i], &status);
        up += status.last_scrape_wall_ns != 0;
    }
    uint64_t delivered = 0, dropped = 0;
    for (int i = 0; i < TELEMETRY_VALUE_COUNT; i++)
        if (strcmp(telemetry_values[i].name, "pgweir.exporter.dropped_points") == 0)
            dropped += telemetry_total((enum telemetry_value)i);
    delivered = telemetry_total(TELEMETRY_POINTS_DELIVERED);
    LOG(LOG_LEVEL_INFO, "run", "stopped", LOG_NUMBER("delivered_points", delivered),
        LOG_NUMBER("dropped_points", dropped), LOG_NUMBER("servers", up));
}

static void destroy(struct engine *engine)
{
    admin_destroy(&engine->admin);
    worker_destroy(&engine->worker);
    resolver_destroy(&engine->resolver); /* its thread wakes shards: they go after it */
    if (engine->handshaker != NULL)
        handshaker_stop(engine->handshaker); /* as do its */
    for (uint32_t i = 0; i < LIMIT_SHARDS; i++)
        shard_destroy(&engine->shards[i]);
    handshaker_destroy(&engine->handshaker);
    ring_destroy(&engine->ring);
    status_board_destroy(&engine->board);
    forget_receivers(engine);
    telemetry_reset();
    free(engine);
}

/* Of one collection only the failure is said; the rest is what the exporter printed. */
static bool say_failures(const struct engine *engine)
{
    bool failed = false;
    for (size_t i = 0; i < engine->board->count; i++) {
        struct target_status status;
        status_read(&engine->board->slots[i], &status);
        if (status.error[0] == 0)
            continue;
        failed = failed || status.state == TARGET_DOWN || status.state == TARGET_UNKNOWN;
        fprintf(stderr, "pgweir: %s\n", status.error);
    }
    return failed;
}

int run_engine(const struct config *config, const struct run_options *options)
{
    struct error error;
    struct engine *engine = xcalloc(1, sizeof *engine);
    engine->config = config;
    engine->options = options;
    engine->start_ns = clock_monotonic_ns();
    if (!plan_pipelines(engine, &error)) {
        fprintf(stderr, "pgweir: %s\n", error.text);
        destroy(engine);
        return 2;
    }
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);  /* a file at its limit is EFBIG, for the spool to cope with */
    prctl(PR_SET_DUMPABLE, 0); /* credentials stay out of core dumps and ptrace */

    bool started = start(engine, &error);
    if (started) {
        telemetry_put(engine->telemetry, TELEMETRY_START_TIME, clock_wall_ns() / NS_PER_S);
        LOG(LOG_LEVEL_INFO, "run", "collecting", LOG_NUMBER("targets", engine->target_count),
            LOG_NUMBER("shards", engine->shard_count), LOG_TEXT("version", PGWEIR_VERSION));
        wait_for_end(engine, &signals);
    } else {
        fprintf(stderr, "pgweir: %s\n", error.text);
    }
    arm_second_signal(&signals);
    bool drained = stop(engine);
    bool failed = !started || !drained;
    if (started && options->once)
        failed = say_failures(engine) || failed;
    else if (started)
        report(engine);
    destroy(engine);
    return failed ? 1 : 0;
}
