/* SPDX-License-Identifier: Apache-2.0 */
/* The collector observes itself through the path it offers: the telemetry sets of base/ become
 * points pgweir.*, with the labels of their set as attributes. Attribute sets are made when a set
 * is first seen and live as long as the process, as telemetry sets do. */
#include "shard/own.h"

#include <pgweir/telemetry.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"

enum { SETS_MAX = 4096 };

struct own {
    struct resource *resource;
    uint32_t route;
    uint64_t interval_ns, next_ns, start_wall_ns;
    struct metric metrics[TELEMETRY_VALUE_COUNT];
    struct attrs *fixed[TELEMETRY_VALUE_COUNT]; /* the row's own label */
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

/* Rows of one name share the first row's metric, so that they make one Metric message. */
static const struct metric *metric_of(const struct own *own, size_t value)
{
    while (value > 0 && strcmp(telemetry_values[value - 1].name, telemetry_values[value].name) == 0)
        value--;
    return &own->metrics[value];
}

struct own *own_create(const struct resource_chains *chains, uint32_t route, uint64_t interval_ns)
{
    struct own *own = calloc(1, sizeof *own);
    CHECK(own != NULL);
    own->route = route;
    own->interval_ns = interval_ns;
    own->start_wall_ns = clock_wall_ns();
    describe_metrics(own);

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

void own_destroy(struct own **own_place)
{
    struct own *own = *own_place;
    if (own == NULL)
        return;
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

static void write_value(struct own *own, struct writer *writer, size_t value, uint64_t now_ns)
{
    enum telemetry_owner owner = telemetry_values[value].owner;
    uint64_t time_ns = clock_wall_ns();
    struct point *place = NULL;
    uint32_t room = 0, count = 0;
    for (size_t i = 0; i < own->known_count; i++) {
        if (own->known[i]->owner != owner)
            continue;
        if (place == NULL || count == room) {
            if (place != NULL)
                writer_end(writer, count);
            place = writer_begin(writer, own->route, now_ns, now_ns, metric_of(own, value),
                                 own->fixed[value], own->resource, time_ns, &room);
            count = 0;
        }
        if (place == NULL) {
            writer_drop(writer, own->route, 1);
            continue;
        }
        place[count++] = (struct point){
            .attrs = own->attrs[i],
            .start_ns = own->metrics[value].monotonic ? own->start_wall_ns : 0,
            .value.integer = (int64_t)counter_read(&own->known[i]->values[value]),
        };
    }
    if (place != NULL)
        writer_end(writer, count);
}

void own_collect(struct own *own, struct writer *writer, uint64_t now_ns)
{
    if (now_ns < own->next_ns)
        return;
    own->next_ns = now_ns + own->interval_ns;
    learn_sets(own);
    for (size_t value = 0; value < TELEMETRY_VALUE_COUNT; value++)
        write_value(own, writer, value, now_ns);
}
