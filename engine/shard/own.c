/* SPDX-License-Identifier: Apache-2.0 */
/* The collector observes itself through the path it offers: the telemetry sets of base/ become
 * points pgweir.*, with the labels of their set as attributes. Attribute sets are made when a set
 * is first seen and live as long as the process, as telemetry sets do. A histogram's point borrows
 * a snapshot made for it, which is freed when the pages pushed up to then have come back:
 * own_reclaim() does for it what series_reclaim() does for the entities of series.c. */
#include "shard/own.h"

#include <pgweir/telemetry.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/distribution.h"
#include "base/memory.h"

enum { SETS_MAX = 4096 };

/* A distribution on its way through the pages. */
struct snapshot {
    struct snapshot *next;
    uint64_t sequence; /* of the last page pushed with or after it */
    struct distribution *distribution;
};

struct own {
    struct resource *resource;
    uint32_t route;
    uint64_t interval_ns, next_ns, start_wall_ns;
    struct metric metrics[TELEMETRY_VALUE_COUNT];
    struct attrs *fixed[TELEMETRY_VALUE_COUNT]; /* the row's own label */
    struct metric histograms[TELEMETRY_HISTOGRAM_COUNT];
    struct histogram_view view;          /* where snapshots are taken */
    struct snapshot *fresh;              /* on pages that may still be open */
    struct snapshot *first, **last_next; /* on pages that were pushed, oldest first */
    size_t known_count;
    const struct telemetry_set *newest; /* the list's first when it was last read */
    const struct telemetry_set *known[SETS_MAX];
    struct attrs *attrs[SETS_MAX];
    struct attrs_builder builder;
};

static void describe_metrics(struct own *own)
{
    for (size_t i = 0; i < TELEMETRY_VALUE_COUNT; i++) {
        const struct telemetry_value_info *info = &telemetry_values[i];
        own->metrics[i] = (struct metric){
            .name = info->name,
            .unit = info->unit,
            .description = info->help,
            .instrument = info->kind == TELEMETRY_COUNTER ? METRIC_SUM : METRIC_GAUGE,
            .value = METRIC_INT,
            .monotonic = info->kind == TELEMETRY_COUNTER,
        };
        if (info->label[0] == 0)
            continue;
        attrs_begin(&own->builder, ATTRS_POINT);
        attrs_add_text(&own->builder, info->label, info->label_value, strlen(info->label_value));
        own->fixed[i] = attrs_finish(&own->builder);
    }
}

static void describe_histograms(struct own *own)
{
    for (size_t i = 0; i < TELEMETRY_HISTOGRAM_COUNT; i++)
        own->histograms[i] = (struct metric){
            .name = telemetry_histograms[i].name,
            .unit = "s",
            .description = telemetry_histograms[i].help,
            .instrument = METRIC_HISTOGRAM,
            .value = METRIC_DISTRIBUTION,
        };
}

/* Rows of one name share the first row's metric, so that they make one Metric message. */
static const struct metric *metric_of(const struct own *own, size_t value)
{
    while (value > 0 && strcmp(telemetry_values[value - 1].name, telemetry_values[value].name) == 0)
        value--;
    return &own->metrics[value];
}

struct own *own_create(const struct resource_chains *chains, uint32_t route, uint64_t interval_ns)
{
    struct own *own = xcalloc(1, sizeof *own);
    own->route = route;
    own->interval_ns = interval_ns;
    own->start_wall_ns = clock_wall_ns();
    own->last_next = &own->first;
    describe_metrics(own);
    describe_histograms(own);

    char host[256] = "localhost", id[37];
    gethostname(host, sizeof host - 1);
    resource_instance_id(host, 0, id);
    attrs_begin(&own->builder, ATTRS_RESOURCE);
    attrs_add_text(&own->builder, "service.name", "pgweir", 6);
    attrs_add_text(&own->builder, "service.version", PGWEIR_VERSION, strlen(PGWEIR_VERSION));
    attrs_add_text(&own->builder, "service.instance.id", id, 36);
    attrs_add_text(&own->builder, "host.name", host, strlen(host));
    struct attrs *base = attrs_finish(&own->builder);
    own->resource = resource_create(base, chains);
    attrs_destroy(&base);
    return own;
}

static void free_snapshots(struct snapshot **list)
{
    while (*list != NULL) {
        struct snapshot *snapshot = *list;
        *list = snapshot->next;
        distribution_destroy(&snapshot->distribution);
        free(snapshot);
    }
}

void own_destroy(struct own **own_place)
{
    struct own *own = *own_place;
    if (own == NULL)
        return;
    free_snapshots(&own->fresh);
    free_snapshots(&own->first);
    resource_destroy(&own->resource);
    for (size_t i = 0; i < TELEMETRY_VALUE_COUNT; i++)
        if (own->fixed[i] != NULL)
            attrs_destroy(&own->fixed[i]);
    for (size_t i = 0; i < own->known_count; i++)
        attrs_destroy(&own->attrs[i]);
    free(own);
    *own_place = NULL;
}

static void learn_sets(struct own *own)
{
    const struct telemetry_set *first = telemetry_first(); /* the list grows in front of it only */
    const struct telemetry_set *set = first;
    for (; set != own->newest && own->known_count < SETS_MAX; set = set->next) {
        attrs_begin(&own->builder, ATTRS_POINT);
        for (uint32_t i = 0; i < set->label_count; i++)
            attrs_add_text(&own->builder, set->labels[i].key, set->labels[i].value,
                           strlen(set->labels[i].value));
        own->known[own->known_count] = set;
        own->attrs[own->known_count++] = attrs_finish(&own->builder);
    }
    own->newest = first;
}

/* Points of one metric on their way into pages. */
struct run_of_points {
    struct writer *writer;
    const struct metric *metric;
    const struct attrs *fixed;
    uint64_t now_ns, time_ns;
    struct point *place; /* NULL: no run is open */
    uint32_t room, count;
};

static void add_point(const struct own *own, struct run_of_points *run, struct point point)
{
    if (run->place != NULL && run->count == run->room) {
        writer_end(run->writer, run->count);
        run->place = NULL;
    }
    if (run->place == NULL) {
        run->count = 0;
        run->place = writer_begin(run->writer, own->route, run->now_ns, run->now_ns, run->metric,
                                  run->fixed, own->resource, run->time_ns, &run->room);
    }
    if (run->place == NULL)
        writer_drop(run->writer, own->route, 1);
    else
        run->place[run->count++] = point;
}

static void end_points(struct run_of_points *run)
{
    if (run->place != NULL)
        writer_end(run->writer, run->count);
}

static void write_value(struct own *own, struct writer *writer, size_t value, uint64_t now_ns)
{
    struct run_of_points run = {.writer = writer,
                                .metric = metric_of(own, value),
                                .fixed = own->fixed[value],
                                .now_ns = now_ns,
                                .time_ns = clock_wall_ns()};
    for (size_t i = 0; i < own->known_count; i++) {
        if (own->known[i]->owner != telemetry_values[value].owner)
            continue;
        add_point(own, &run,
                  (struct point){
                      .attrs = own->attrs[i],
                      .start_ns = own->metrics[value].monotonic ? own->start_wall_ns : 0,
                      .value.integer = (int64_t)counter_read(&own->known[i]->values[value]),
                  });
    }
    end_points(&run);
}

/* What the histogram holds now, the pages' until own_reclaim() finds them back. */
static const struct distribution *take_snapshot(struct own *own, const struct histogram *histogram)
{
    memset(&own->view, 0, sizeof own->view);
    histogram_merge(&own->view, histogram);
    struct snapshot *snapshot = xmalloc(sizeof *snapshot);
    *snapshot =
        (struct snapshot){.next = own->fresh, .distribution = distribution_create(&own->view)};
    own->fresh = snapshot;
    return snapshot->distribution;
}

/* Of those that recorded something. */
static void write_histogram(struct own *own, struct writer *writer, size_t index, uint64_t now_ns)
{
    struct run_of_points run = {.writer = writer,
                                .metric = &own->histograms[index],
                                .now_ns = now_ns,
                                .time_ns = clock_wall_ns()};
    for (size_t i = 0; i < own->known_count; i++) {
        const struct histogram *histogram = own->known[i]->histograms[index];
        if (histogram == NULL || counter_read(&histogram->count) == 0)
            continue;
        add_point(own, &run,
                  (struct point){.attrs = own->attrs[i],
                                 .start_ns = own->start_wall_ns,
                                 .value.distribution = take_snapshot(own, histogram)});
    }
    end_points(&run);
}

void own_collect(struct own *own, struct writer *writer, uint64_t now_ns)
{
    if (now_ns < own->next_ns)
        return;
    own->next_ns = now_ns + own->interval_ns;
    learn_sets(own);
    for (size_t value = 0; value < TELEMETRY_VALUE_COUNT; value++)
        write_value(own, writer, value, now_ns);
    for (size_t i = 0; i < TELEMETRY_HISTOGRAM_COUNT; i++)
        write_histogram(own, writer, i, now_ns);
}

void own_reclaim(struct own *own, struct ring *ring, uint32_t shard)
{
    if (own->fresh == NULL && own->first == NULL)
        return;
    uint64_t pushed = ring_next_sequence(ring, shard) - 1;
    while (own->fresh != NULL) {
        struct snapshot *snapshot = own->fresh;
        own->fresh = snapshot->next;
        snapshot->next = NULL;
        snapshot->sequence = pushed;
        *own->last_next = snapshot;
        own->last_next = &snapshot->next;
    }
    uint64_t returned = ring_returned_sequence(ring, shard);
    while (own->first != NULL && own->first->sequence <= returned) {
        struct snapshot *snapshot = own->first;
        own->first = snapshot->next;
        distribution_destroy(&snapshot->distribution);
        free(snapshot);
    }
    if (own->first == NULL)
        own->last_next = &own->first;
}
