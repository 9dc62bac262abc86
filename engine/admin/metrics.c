/* SPDX-License-Identifier: Apache-2.0 */
/* The Prometheus text of all telemetry sets, from the one catalogue in pgweir/telemetry.h. Names
 * follow Prometheus' rules for OpenTelemetry metrics: dots become underscores, the unit is spelled
 * out behind the name unless it is there already, counters end in _total, times are in seconds.
 *
 * The values of one set are of one instant. A histogram's fine buckets are summed into fixed
 * bounds; one that lies across a bound counts above it, so that no quantile is told too small.
 *
 * Any thread: reads counters only. */
#include "admin/admin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pgweir/telemetry.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"

enum { NAME_BYTES = 128 };

/* 1, 2.5 and 5 of each decade from 10 µs to 250 s. */
static const struct {
    uint64_t ns;
    const char *text; /* in seconds */
} bounds[] = {
    {10000, "1e-05"},    {25000, "2.5e-05"},    {50000, "5e-05"},      {100000, "0.0001"},
    {250000, "0.00025"}, {500000, "0.0005"},    {1000000, "0.001"},    {2500000, "0.0025"},
    {5000000, "0.005"},  {10000000, "0.01"},    {25000000, "0.025"},   {50000000, "0.05"},
    {100000000, "0.1"},  {250000000, "0.25"},   {500000000, "0.5"},    {1000000000, "1"},
    {2500000000, "2.5"}, {5000000000, "5"},     {10000000000, "10"},   {25000000000, "25"},
    {50000000000, "50"}, {100000000000, "100"}, {250000000000, "250"},
};

enum { BOUND_COUNT = sizeof bounds / sizeof bounds[0] };

struct snapshot {
    const struct telemetry_set *set;
    uint64_t values[TELEMETRY_VALUE_COUNT];
};

static bool ends_with(const char *text, const char *end)
{
    size_t bytes = strlen(text), end_bytes = strlen(end);
    return bytes >= end_bytes && strcmp(text + bytes - end_bytes, end) == 0;
}

static const char *unit_suffix(const char *unit)
{
    if (strcmp(unit, "s") == 0 || strcmp(unit, "ms") == 0)
        return "_seconds";
    if (strcmp(unit, "By") == 0)
        return "_bytes";
    return ""; /* "1", and annotations such as {point}, which the name holds */
}

static void family_name(char name[NAME_BYTES], const char *dotted, const char *unit, bool counter)
{
    const char *suffix = unit_suffix(unit);
    int used = snprintf(name, NAME_BYTES, "%s", dotted);
    for (char *dot = strchr(name, '.'); dot != NULL; dot = strchr(dot, '.'))
        *dot = '_';
    if (!ends_with(name, suffix))
        used += snprintf(name + used, (size_t)(NAME_BYTES - used), "%s", suffix);
    if (counter)
        used += snprintf(name + used, (size_t)(NAME_BYTES - used), "_total");
    CHECK(used < NAME_BYTES);
}

static void put_head(FILE *out, const char *name, const char *help, const char *type)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_label(FILE *out, char *separator, const char *key, const char *value)
{
    fprintf(out, "%c%s=\"", *separator, key);
    *separator = ',';
    for (const char *c = value; *c != 0; c++) {
        if (*c == '\n')
            fputs("\\n", out);
        else if (*c == '"' || *c == '\\')
            fprintf(out, "\\%c", *c);
        else
            fputc(*c, out);
    }
    fputc('"', out);
}

/* {shard="0",state="up"}, or nothing. */
static void put_labels(FILE *out, const struct telemetry_set *set, const char *key,
                       const char *value)
{
    char separator = '{';
    for (uint32_t i = 0; i < set->label_count; i++)
        put_label(out, &separator, set->labels[i].key, set->labels[i].value);
    if (*key != 0)
        put_label(out, &separator, key, value);
    if (separator == ',')
        fputc('}', out);
}

static void put_seconds(FILE *out, uint64_t ns)
{
    fprintf(out, " %llu.%09llu\n", (unsigned long long)(ns / NS_PER_S),
            (unsigned long long)(ns % NS_PER_S));
}

static void put_value(FILE *out, const char *unit, uint64_t value)
{
    if (strcmp(unit, "ms") == 0)
        fprintf(out, " %llu.%03llu\n", (unsigned long long)(value / 1000),
                (unsigned long long)(value % 1000));
    else
        fprintf(out, " %llu\n", (unsigned long long)value);
}

/* The rows of one name, for every set of their owner. Returns the first row of the next name. */
static size_t put_family(FILE *out, size_t first, const struct snapshot *snapshots, size_t count)
{
    const struct telemetry_value_info *info = &telemetry_values[first];
    char name[NAME_BYTES];
    bool begun = false, counter = info->kind == TELEMETRY_COUNTER;
    size_t end = first;
    while (end < TELEMETRY_VALUE_COUNT && strcmp(telemetry_values[end].name, info->name) == 0)
        end++;
    family_name(name, info->name, info->unit, counter);
    for (size_t i = 0; i < count; i++) {
        if (snapshots[i].set->owner != info->owner)
            continue;
        if (!begun)
            put_head(out, name, info->help, counter ? "counter" : "gauge");
        begun = true;
        for (size_t row = first; row < end; row++) {
            fputs(name, out);
            put_labels(out, snapshots[i].set, telemetry_values[row].label,
                       telemetry_values[row].label_value);
            put_value(out, info->unit, snapshots[i].values[row]);
        }
    }
    return end;
}

static void put_histogram(FILE *out, const char *name, const struct telemetry_set *set,
                          const struct histogram_view *view)
{
    uint64_t seen = 0;
    uint32_t bucket = 0;
    for (size_t i = 0; i < BOUND_COUNT; i++) {
        while (bucket < HISTOGRAM_BUCKETS && histogram_bucket_start(bucket + 1) - 1 <= bounds[i].ns)
            seen += view->buckets[bucket++];
        fprintf(out, "%s_bucket", name);
        put_labels(out, set, "le", bounds[i].text);
        fprintf(out, " %llu\n", (unsigned long long)seen);
    }
    fprintf(out, "%s_bucket", name);
    put_labels(out, set, "le", "+Inf");
    fprintf(out, " %llu\n", (unsigned long long)view->count);
    fprintf(out, "%s_sum", name);
    put_labels(out, set, "", "");
    put_seconds(out, view->sum_ns);
    fprintf(out, "%s_count", name);
    put_labels(out, set, "", "");
    fprintf(out, " %llu\n", (unsigned long long)view->count);
}

static void put_histograms(FILE *out, size_t index, const struct snapshot *snapshots, size_t count)
{
    const struct telemetry_histogram_info *info = &telemetry_histograms[index];
    char name[NAME_BYTES];
    bool begun = false;
    struct histogram_view *view = xmalloc(sizeof *view);
    family_name(name, info->name, "s", false);
    for (size_t i = 0; i < count; i++) {
        if (snapshots[i].set->owner != info->owner)
            continue;
        if (!begun)
            put_head(out, name, info->help, "histogram");
        begun = true;
        memset(view, 0, sizeof *view);
        histogram_merge(view, snapshots[i].set->histograms[index]);
        put_histogram(out, name, snapshots[i].set, view);
    }
    free(view);
}

/* Every set as of one instant of its own, oldest first. */
static struct snapshot *take_snapshots(size_t *ret_count)
{
    const struct telemetry_set *first = telemetry_first(); /* the list grows in front of it only */
    size_t count = 0;
    for (const struct telemetry_set *set = first; set != NULL; set = set->next)
        count++;
    struct snapshot *snapshots = xcalloc(count + 1, sizeof *snapshots);
    size_t left = count;
    for (const struct telemetry_set *set = first; set != NULL; set = set->next) {
        snapshots[--left].set = set;
        telemetry_snapshot(set, snapshots[left].values);
    }
    *ret_count = count;
    return snapshots;
}

char *admin_metrics_text(void)
{
    char *text = NULL;
    size_t bytes = 0, count = 0;
    FILE *out = open_memstream(&text, &bytes);
    xdone(out != NULL);
    struct snapshot *snapshots = take_snapshots(&count);
    put_head(out, "pgweir_build_info", "What runs", "gauge");
    fputs("pgweir_build_info{version=\"" PGWEIR_VERSION "\"} 1\n", out);
    for (size_t row = 0; row < TELEMETRY_VALUE_COUNT;)
        row = put_family(out, row, snapshots, count);
    for (size_t i = 0; i < TELEMETRY_HISTOGRAM_COUNT; i++)
        put_histograms(out, i, snapshots, count);
    free(snapshots);
    xdone(fclose(out) == 0);
    return text;
}
