/* SPDX-License-Identifier: Apache-2.0 */
/* The worker alone, whole: ring → batch → encode → compress → HTTP. One thread plays the shards: it
 * pushes pages that were filled beforehand and comes back for them, so that the worker is the only
 * bottleneck. Reported are points per second of the worker thread's own CPU (what one core carries)
 * and of wall time (producer, worker and sink share the machine's cores).
 *
 * Pages are those of servers with 200 tables and 20 metrics a table, four attributes (about 100
 * bytes) a point, each server with attribute sets of its own. Run by perf/worker. */
#include <dirent.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pgweir/telemetry.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "config/config.h"
#include "exporters/worker.h"
#include "ring/ring.h"

enum { TABLES = 200, METRICS = 20, PAGES = 128, WARM_S = 1, QUEUE_HIGH = 500 };

static struct metric metrics[METRICS];
static char names[METRICS][40];

struct server {
    struct resource resource;
    const struct attrs *tables[TABLES];
};

static struct server *make_server(int number)
{
    static struct attrs_builder builder;
    struct server *server = xcalloc(1, sizeof *server);
    char text[64];
    int bytes = snprintf(text, sizeof text, "db-%05d.example.com", number);
    attrs_begin(&builder, ATTRS_RESOURCE);
    attrs_add_text(&builder, "server.address", text, (size_t)bytes);
    attrs_add_int(&builder, "server.port", 5432);
    attrs_add_text(&builder, "service.name", "postgresql", 10);
    server->resource.variants[0] = attrs_finish(&builder);
    for (int t = 0; t < TABLES; t++) {
        attrs_begin(&builder, ATTRS_POINT);
        attrs_add_text(&builder, "db.namespace", "shop", 4);
        bytes = snprintf(text, sizeof text, "public.orders_%04d_%03d", number, t);
        attrs_add_text(&builder, "db.collection.name", text, (size_t)bytes);
        attrs_add_text(&builder, "operation", t % 2 ? "ins" : "upd", 3);
        attrs_add_text(&builder, "source", "heap_read", 9);
        server->tables[t] = attrs_finish(&builder);
    }
    return server;
}

static void make_metrics(void)
{
    for (int m = 0; m < METRICS; m++) {
        snprintf(names[m], sizeof names[m], "postgresql.table.statistic_%02d", m);
        metrics[m] = (struct metric){.name = names[m],
                                     .unit = "1",
                                     .description = "A number of a table.",
                                     .instrument = METRIC_SUM,
                                     .value = METRIC_INT,
                                     .monotonic = true};
    }
}

/* Fills the page with as many metrics (one run of all tables each) as fit, from *metric on. */
static void fill_page(struct page *page, const struct server *server, int *metric)
{
    page_reset(page, 0, clock_monotonic_ns());
    for (; *metric < METRICS && page_room(page) >= TABLES; ++*metric) {
        struct point *points =
            page_begin_run(page, &metrics[*metric], NULL, &server->resource, clock_wall_ns());
        for (int t = 0; t < TABLES; t++)
            points[t] = (struct point){.attrs = server->tables[t],
                                       .start_ns = 1700000000000000000ull,
                                       .value.integer = (int64_t)*metric * 7919 + t * 104729};
        page_end_run(page, TABLES);
    }
}

/* Settings the way a user gives them; the points come from no receiver but from this program. */
static const struct config *load(const char *url, const char *compression, const char *batch)
{
    static const struct option no_options[] = {{.key = NULL}};
    static const struct component receiver = {.kind = COMPONENT_RECEIVER,
                                              .type = "pages",
                                              .about = "Pages made beforehand",
                                              .stability = "beta",
                                              .table = {.size = 1, .options = no_options}};
    const struct component *registry[] = {&receiver, &batch_processor, exporter_registry[0], NULL};
    char yaml[1024];
    snprintf(yaml, sizeof yaml,
             "yaml:{receivers: {pages: {}}, processors: {batch: {send_batch_size: %s}}, "
             "exporters: {otlp_http: {endpoint: '%s', compression: %s}}, service: {pipelines: "
             "{metrics: {receivers: [pages], processors: [batch], exporters: [otlp_http]}}}}",
             batch, url, compression);
    const char *sources[] = {yaml};
    struct config *config;
    struct error error;
    if (!config_load(&config, sources, 1, registry, &error)) {
        fprintf(stderr, "%s\n", error.text);
        exit(1);
    }
    return config;
}

/* CPU time of the thread of that name, from /proc: it is the scheduler's own account. */
static uint64_t thread_cpu_ns(const char *name)
{
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks != NULL);
    uint64_t cpu_ns = 0;
    const struct dirent *task;
    while ((task = readdir(tasks)) != NULL) {
        char path[512], comm[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", task->d_name);
        FILE *file = fopen(path, "re");
        if (file == NULL)
            continue;
        bool found =
            fgets(comm, sizeof comm, file) != NULL && strncmp(comm, name, strlen(name)) == 0;
        fclose(file);
        snprintf(path, sizeof path, "/proc/self/task/%s/schedstat", task->d_name);
        if (!found || (file = fopen(path, "re")) == NULL)
            continue;
        CHECK(fscanf(file, "%" SCNu64, &cpu_ns) == 1);
        fclose(file);
    }
    closedir(tasks);
    return cpu_ns;
}

struct sample {
    uint64_t points, wall_ns, cpu_ns;
};

static struct sample take_sample(void)
{
    return (struct sample){telemetry_total(TELEMETRY_POINTS_DELIVERED), clock_monotonic_ns(),
                           thread_cpu_ns("pgweir-worker")};
}

/* Pushes pages round and round for `ns`; yields when all are under way, or when the sink falls so
 * far behind that the queue would overflow. */
static void produce(struct ring *ring, uint64_t ns)
{
    static int filled, metric;
    static struct server *server;
    uint64_t end_ns = clock_monotonic_ns() + ns;
    for (;;) {
        uint64_t now_ns = clock_monotonic_ns();
        if (now_ns >= end_ns)
            return;
        bool behind = telemetry_total(TELEMETRY_QUEUE_BATCHES) > QUEUE_HIGH; /* the sink is */
        struct page *page = behind ? NULL : ring_acquire(ring, 0);
        if (page == NULL) {
            sched_yield();
            continue;
        }
        if (page->point_count == 0) {
            if (metric == 0)
                server = make_server(filled);
            fill_page(page, server, &metric);
            metric = metric == METRICS ? 0 : metric;
            filled++;
        }
        page->scrape_start_ns = now_ns;
        ring_push(ring, page, now_ns);
    }
}

static void report(struct sample a, struct sample b)
{
    double points = (double)(b.points - a.points);
    double wall_s = (double)(b.wall_ns - a.wall_ns) / 1e9;
    double cpu_s = (double)(b.cpu_ns - a.cpu_ns) / 1e9;
    struct histogram_view *view = xcalloc(1, sizeof *view);
    telemetry_merge(TELEMETRY_HISTOGRAM_ENCODE, view);
    double encode_ns = (double)view->sum_ns,
           pages_points = (double)telemetry_total(TELEMETRY_WORKER_POINTS);
    memset(view, 0, sizeof *view);
    telemetry_merge(TELEMETRY_HISTOGRAM_COMPRESS, view);
    double encoded = (double)telemetry_total(TELEMETRY_BYTES_ENCODED);
    double sent = (double)telemetry_total(TELEMETRY_BYTES_SENT);
    printf("delivered points %.0f in %.2f s, worker CPU %.2f s\n", points, wall_s, cpu_s);
    printf("encode           %.1f ns a point (wall)\n", encode_ns / pages_points);
    printf("compress         %.1f ns a point (wall)\n", (double)view->sum_ns / pages_points);
    printf("whole worker     %.1f ns a point (CPU)\n", cpu_s * 1e9 / points);
    printf("body             %.1f bytes a point, %.1f after compression\n", encoded / pages_points,
           sent / (double)telemetry_total(TELEMETRY_POINTS_DELIVERED));
    printf("delivered        %" PRIu64 " of %" PRIu64 ", dropped queue_full %" PRIu64 "\n",
           telemetry_total(TELEMETRY_POINTS_DELIVERED),
           telemetry_total(TELEMETRY_POINTS_COLLECTED_FOR),
           telemetry_total(TELEMETRY_DROPPED_QUEUE_FULL));
    printf("worker_wall_rate %.0f points/s\n", points / wall_s);
    printf("worker_rate %.0f points/s\n", points / cpu_s);
    free(view);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: %s URL SECONDS gzip|zstd|none BATCH   (run perf/worker)\n",
                argv[0]);
        return 2;
    }
    struct error error;
    struct ring *ring;
    struct worker *worker;
    const struct config *config = load(argv[1], argv[3], argv[4]);
    const struct instance *exporter = config->pipelines[0].exporters[0];
    const struct batch_settings *batch = config->pipelines[0].processors[0]->settings;
    struct worker_destination destination = {exporter->component, exporter->id, exporter->settings};
    struct worker_pipeline pipeline = {.routes = 1, .batch = batch, .destinations = 1};
    struct worker_options options = {.destinations = &destination,
                                     .destination_count = 1,
                                     .pipelines = &pipeline,
                                     .pipeline_count = 1};
    make_metrics();
    if (!ring_create(&ring, 1, PAGES, &error) || !worker_create(&worker, ring, &options, &error) ||
        !worker_start(worker, &error)) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    produce(ring, WARM_S * NS_PER_S);
    struct sample before = take_sample();
    produce(ring, (uint64_t)(atof(argv[2]) * 1e9));
    struct sample after = take_sample();
    bool clean = worker_stop(worker, clock_monotonic_ns() + 10 * NS_PER_S);
    report(before, after);
    worker_destroy(&worker);
    ring_destroy(&ring);
    return clean ? 0 : 1;
}
