/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/exporters/rig.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

const struct metric rig_metrics[RIG_METRICS] = {
    {.name = "postgresql.commits",
     .unit = "1",
     .description = "Commits",
     .instrument = METRIC_SUM,
     .value = METRIC_INT,
     .monotonic = true},
    {.name = "postgresql.operations",
     .unit = "1",
     .description = "Row operations \"by\" table",
     .instrument = METRIC_SUM,
     .value = METRIC_INT,
     .monotonic = true},
    {.name = "postgresql.database.count",
     .unit = "{database}",
     .description = "Databases",
     .instrument = METRIC_SUM,
     .value = METRIC_INT},
    {.name = "pgweir.target.up",
     .unit = "1",
     .description = "Up",
     .instrument = METRIC_GAUGE,
     .value = METRIC_DOUBLE},
};

static uint64_t parse_duration(const char *text)
{
    char *unit;
    double number = strtod(text, &unit);
    double scale = strcmp(unit, "ms") == 0   ? (double)NS_PER_MS
                   : strcmp(unit, "us") == 0 ? (double)NS_PER_US
                                             : (double)NS_PER_S;
    return (uint64_t)(number * scale);
}

static int64_t parse_bytes(const char *text)
{
    char *unit;
    int64_t number = strtoll(text, &unit, 10);
    return strcmp(unit, "KiB") == 0   ? number << 10
           : strcmp(unit, "MiB") == 0 ? number << 20
           : strcmp(unit, "GiB") == 0 ? number << 30
                                      : number;
}

static int enum_index(const struct option *option, const char *text)
{
    for (int i = 0; option->choices[i] != NULL; i++)
        if (strcmp(option->choices[i], text) == 0)
            return i;
    fail_msg("%s: no choice %s", option->key, text);
    return 0;
}

static void set_option(const struct option *option, char *settings, const char *text)
{
    void *place = settings + option->offset;
    if (option->type == OPTION_BOOL)
        *(bool *)place = strcmp(text, "true") == 0;
    else if (option->type == OPTION_INT)
        *(int64_t *)place = strtoll(text, NULL, 10);
    else if (option->type == OPTION_BYTES)
        *(int64_t *)place = parse_bytes(text);
    else if (option->type == OPTION_DOUBLE)
        *(double *)place = strtod(text, NULL);
    else if (option->type == OPTION_DURATION)
        *(uint64_t *)place = parse_duration(text);
    else if (option->type == OPTION_TEXT || option->type == OPTION_SECRET)
        *(const char **)place = text;
    else if (option->type == OPTION_ENUM)
        *(int *)place = enum_index(option, text);
    else
        fail_msg("%s: type %d is not for tests", option->key, (int)option->type);
}

static void set_defaults(const struct option_table *table, char *settings)
{
    for (const struct option *option = table->options; option->key != NULL; option++) {
        if (option->type == OPTION_GROUP)
            set_defaults(option->table, settings + option->offset);
        else if (option->fallback != NULL)
            set_option(option, settings, option->fallback);
    }
}

static void set_key(const struct option_table *table, char *settings, const char *key,
                    const char *text)
{
    const char *dot = strchr(key, '.');
    size_t bytes = dot == NULL ? strlen(key) : (size_t)(dot - key);
    for (const struct option *option = table->options; option->key != NULL; option++) {
        if (strlen(option->key) != bytes || strncmp(option->key, key, bytes) != 0)
            continue;
        if (dot == NULL) {
            set_option(option, settings, text);
        } else if (option->type == OPTION_GROUP) {
            set_key(option->table, settings + option->offset, dot + 1, text);
        } else {
            struct text_map *map = (struct text_map *)(void *)(settings + option->offset);
            map->items = realloc(map->items, (map->count + 1) * sizeof *map->items);
            map->items[map->count++] = (struct text_pair){dot + 1, text};
        }
        return;
    }
    fail_msg("no option %s", key);
}

void *settings_create(const struct component *component, const char *const *pairs)
{
    char *settings = calloc(1, component->table.size);
    assert_non_null(settings);
    set_defaults(&component->table, settings);
    for (; pairs != NULL && pairs[0] != NULL; pairs += 2)
        set_key(&component->table, settings, pairs[0], pairs[1]);
    return settings;
}

void settings_destroy(const struct component *component, void *settings)
{
    for (const struct option *option = component->table.options; option->key != NULL; option++)
        if (option->type == OPTION_SECRET_MAP || option->type == OPTION_TEXT_MAP)
            free(((struct text_map *)(void *)((char *)settings + option->offset))->items);
    free(settings);
}

void rig_init(struct rig *rig)
{
    struct error error;
    *rig = (struct rig){.batch = {.send_batch_size = 100, .timeout_ns = 20 * NS_PER_MS}};
    assert_true(ring_create(&rig->ring, 1, RIG_PAGES, &error));
}

void rig_add(struct rig *rig, const struct component *component, const char *const *pairs)
{
    uint32_t i = rig->destination_count++;
    rig->components[i] = component;
    rig->settings[i] = settings_create(component, pairs);
}

void rig_start(struct rig *rig)
{
    static const char *const ids[RIG_DESTINATIONS] = {"first", "second", "third",   "fourth",
                                                      "fifth", "sixth",  "seventh", "eighth"};
    struct worker_destination destinations[RIG_DESTINATIONS];
    struct error error;
    for (uint32_t i = 0; i < rig->destination_count; i++) {
        if (rig->components[i]->validate != NULL &&
            !rig->components[i]->validate(rig->settings[i], &error))
            fail_msg("%s", error.text);
        destinations[i] = (struct worker_destination){rig->components[i], ids[i], rig->settings[i]};
    }
    struct worker_pipeline pipeline = {.routes = 1,
                                       .batch = rig->no_batch ? NULL : &rig->batch,
                                       .destinations = (1u << rig->destination_count) - 1};
    struct worker_options options = {.destinations = destinations,
                                     .destination_count = rig->destination_count,
                                     .pipelines = &pipeline,
                                     .pipeline_count = 1,
                                     .tuner = rig->tuner};
    if (!worker_create(&rig->worker, rig->ring, &options, &error))
        fail_msg("%s", error.text);
    for (const struct telemetry_set *set = telemetry_first(); set != NULL; set = set->next)
        for (uint32_t i = 0; i < rig->destination_count; i++)
            if (set->owner == TELEMETRY_DESTINATION && strcmp(set->labels[0].value, ids[i]) == 0)
                rig->sets[i] = set;
    if (!worker_start(rig->worker, &error))
        fail_msg("%s", error.text);
}

/* Attribute sets of tests live for ever. */
static const struct resource *rig_resource(void)
{
    static struct resource resource;
    static struct attrs_builder builder;
    if (resource.variants[0] == NULL) {
        attrs_begin(&builder, ATTRS_RESOURCE);
        attrs_add_text(&builder, "service.instance.id", "db1:5432", 8);
        attrs_add_text(&builder, "server.address", "db1", 3);
        resource.variants[0] = attrs_finish(&builder);
    }
    return &resource;
}

static const struct attrs *rig_attrs(int which)
{
    static const struct attrs *sets[8];
    static struct attrs_builder builder;
    if (sets[which] == NULL) {
        char table[32];
        int bytes = snprintf(table, sizeof table, "public.t%d\"\\", which);
        attrs_begin(&builder, ATTRS_POINT);
        attrs_add_text(&builder, "db.namespace", "app", 3);
        attrs_add_text(&builder, "db.collection.name", table, (size_t)bytes);
        attrs_add_text(&builder, "operation", "ins", 3);
        attrs_add_int(&builder, "n", which);
        sets[which] = attrs_finish(&builder);
    }
    return sets[which];
}

void rig_push(struct rig *rig, uint32_t points, uint64_t dropped)
{
    struct page *page;
    while ((page = ring_acquire(rig->ring, 0)) == NULL)
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    uint64_t now_ns = clock_monotonic_ns(), wall_ns = clock_wall_ns();
    page_reset(page, 0, now_ns);
    page->dropped_points = dropped;
    uint32_t left = points;
    for (uint32_t m = 0; m < RIG_METRICS && left > 0; m++) {
        uint32_t count = m + 1 == RIG_METRICS ? left : (left + RIG_METRICS - 1) / RIG_METRICS;
        count = count < left ? count : left;
        assert_true(page_room(page) >= count);
        struct point *point = page_begin_run(page, &rig_metrics[m], NULL, rig_resource(), wall_ns);
        for (uint32_t i = 0; i < count; i++) {
            point[i] = (struct point){.attrs = rig_attrs((int)(i % 8)), .start_ns = wall_ns};
            if (rig_metrics[m].value == METRIC_INT)
                point[i].value.integer = rig->value++;
            else
                point[i].value.real = 1;
        }
        page_end_run(page, count);
        left -= count;
    }
    rig->pushed += points + dropped;
    ring_push(rig->ring, page, now_ns);
}

bool rig_stop(struct rig *rig, uint64_t ms)
{
    return worker_stop(rig->worker, clock_monotonic_ns() + ms * NS_PER_MS);
}

void rig_fini(struct rig *rig)
{
    rig_stop(rig, 0);
    for (uint32_t i = 0; i < rig->destination_count; i++) {
        rig_check_books(rig->sets[i]);
        assert_int_equal(rig_value(rig, i, TELEMETRY_POINTS_QUEUED), 0);
        assert_int_equal(rig_value(rig, i, TELEMETRY_POINTS_COLLECTED_FOR), rig->pushed);
        assert_int_equal(rig_value(rig, i, TELEMETRY_QUEUE_BATCHES), 0);
        assert_int_equal(rig_value(rig, i, TELEMETRY_QUEUE_BYTES), 0);
        assert_int_equal(rig_value(rig, i, TELEMETRY_REQUESTS_IN_FLIGHT), 0);
    }
    worker_destroy(&rig->worker);
    ring_destroy(&rig->ring);
    for (uint32_t i = 0; i < rig->destination_count; i++)
        settings_destroy(rig->components[i], rig->settings[i]);
    telemetry_reset();
}

uint64_t rig_value(const struct rig *rig, uint32_t destination, enum telemetry_value value)
{
    uint64_t values[TELEMETRY_VALUE_COUNT];
    telemetry_snapshot(rig->sets[destination], values);
    return values[value];
}

void rig_wait(const struct rig *rig, uint32_t destination, enum telemetry_value value,
              uint64_t least)
{
    uint64_t deadline_ns = clock_monotonic_ns() + 30 * NS_PER_S;
    while (rig_value(rig, destination, value) < least) {
        if (clock_monotonic_ns() > deadline_ns)
            fail_msg("%s stays at %llu, %llu wanted", telemetry_values[value].name,
                     (unsigned long long)rig_value(rig, destination, value),
                     (unsigned long long)least);
        nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    }
}

void rig_wait_idle(const struct rig *rig, uint32_t destination)
{
    rig_wait(rig, destination, TELEMETRY_POINTS_COLLECTED_FOR, rig->pushed);
    uint64_t deadline_ns = clock_monotonic_ns() + 30 * NS_PER_S;
    while (rig_value(rig, destination, TELEMETRY_POINTS_QUEUED) > 0) {
        if (clock_monotonic_ns() > deadline_ns)
            fail_msg("points stay queued");
        nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    }
}

bool rig_books_balance(const struct telemetry_set *set)
{
    uint64_t values[TELEMETRY_VALUE_COUNT];
    telemetry_snapshot(set, values);
    uint64_t sum = values[TELEMETRY_POINTS_DELIVERED] + values[TELEMETRY_POINTS_QUEUED] +
                   values[TELEMETRY_POINTS_SPOOLED];
    for (size_t i = 0; i < TELEMETRY_VALUE_COUNT; i++)
        if (strcmp(telemetry_values[i].name, "pgweir.exporter.dropped_points") == 0)
            sum += values[i];
    return sum == values[TELEMETRY_POINTS_COLLECTED_FOR] + values[TELEMETRY_POINTS_RECOVERED];
}

void rig_check_books(const struct telemetry_set *set)
{
    assert_true(rig_books_balance(set));
}
