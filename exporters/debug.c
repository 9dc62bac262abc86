/* SPDX-License-Identifier: Apache-2.0 */
/* The debug exporter, as the Collector's: basic counts, normal a line a point, detailed everything.
 * Runs on the worker and writes there to standard error or output: not for a large fleet. Text is
 * collected per batch and leaves in one write. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/distribution.h"
#include "base/memory.h"
#include "exporters/exporter.h"
#include "exporters/walk.h"

enum debug_verbosity { DEBUG_BASIC, DEBUG_NORMAL, DEBUG_DETAILED };

struct debug_settings {
    int verbosity;
    struct text_list output_paths;
};

struct debug {
    enum debug_verbosity verbosity;
    FILE *output;                        /* stderr or stdout */
    uint64_t resources, metrics, points; /* of the batch */
    char *text;                          /* of the batch, by open_memstream */
    size_t text_bytes;
    FILE *stream;
};

static bool validate(const void *settings, struct error *error)
{
    const struct debug_settings *debug = settings;
    for (size_t i = 0; i < debug->output_paths.count; i++) {
        const char *path = debug->output_paths.items[i];
        if (strcmp(path, "stdout") != 0 && strcmp(path, "stderr") != 0)
            return error_set(error,
                             "output_paths: \"%s\" is not supported: use stdout or stderr, "
                             "or the file exporter",
                             path);
    }
    if (debug->output_paths.count > 1)
        return error_set(error, "output_paths: one path is possible, %zu are given",
                         debug->output_paths.count);
    return true;
}

static bool open_exporter(const char *id, const void *given, struct exporter_output *ret_output,
                          struct error *error)
{
    (void)id, (void)error;
    const struct debug_settings *settings = given;
    struct debug *debug = xcalloc(1, sizeof *debug);
    debug->verbosity = (enum debug_verbosity)settings->verbosity;
    const struct text_list *paths = &settings->output_paths;
    debug->output = paths->count > 0 && strcmp(paths->items[0], "stdout") == 0 ? stdout : stderr;
    debug->stream = open_memstream(&debug->text, &debug->text_bytes);
    xdone(debug->stream != NULL);
    *ret_output = (struct exporter_output){.format = BODY_NONE, .state = debug};
    return true;
}

static void print_attribute(FILE *stream, const struct attr *attr, bool typed)
{
    static const char *const types[] = {
        [ATTR_TEXT] = "Str", [ATTR_INT] = "Int", [ATTR_DOUBLE] = "Double", [ATTR_BOOL] = "Bool"};
    if (typed)
        fprintf(stream, "%s(", types[attr->kind]);
    switch (attr->kind) {
    case ATTR_TEXT:
        fprintf(stream, "%.*s", (int)attr->text_bytes, attr->text);
        break;
    case ATTR_INT:
        fprintf(stream, "%lld", (long long)attr->number);
        break;
    case ATTR_DOUBLE:
        fprintf(stream, "%g", attr->real);
        break;
    case ATTR_BOOL:
        fputs(attr->number != 0 ? "true" : "false", stream);
        break;
    }
    if (typed)
        fputc(')', stream);
}

/* `key=value` after a separator, or the Collector's indented list where `typed`. */
static void print_attributes(FILE *stream, const struct attrs *attrs, bool typed,
                             const char **separator)
{
    struct attr attr;
    size_t position = 0;
    while (attrs != NULL && attrs_next(attrs, &position, &attr)) {
        if (typed)
            fprintf(stream, "     -> %.*s: ", (int)attr.key_bytes, attr.key);
        else
            fprintf(stream, "%s%.*s=", *separator, (int)attr.key_bytes, attr.key);
        print_attribute(stream, &attr, typed);
        if (typed)
            fputc('\n', stream);
        *separator = ", ";
    }
}

static void print_time(FILE *stream, const char *name, uint64_t wall_ns)
{
    time_t seconds = (time_t)(wall_ns / NS_PER_S);
    struct tm utc;
    char text[32];
    gmtime_r(&seconds, &utc);
    strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &utc);
    fprintf(stream, "%s: %s.%09llu +0000 UTC\n", name, text,
            (unsigned long long)(wall_ns % NS_PER_S));
}

static void print_resource(struct debug *debug, const struct resource *resource, uint32_t variant)
{
    const char *separator = " ";
    const struct attrs *attrs = walk_resource(resource, variant);
    bool typed = debug->verbosity == DEBUG_DETAILED;
    fprintf(debug->stream, "ResourceMetrics #%llu", (unsigned long long)debug->resources);
    if (typed)
        fputs("\nResource attributes:\n", debug->stream);
    print_attributes(debug->stream, attrs, typed, &separator);
    if (typed)
        fputs("ScopeMetrics #0\nInstrumentationScope pgweir " PGWEIR_VERSION, debug->stream);
    fputc('\n', debug->stream);
}

static void print_metric(struct debug *debug, const struct metric *metric)
{
    if (debug->verbosity != DEBUG_DETAILED)
        return;
    static const char *const types[] = {[METRIC_GAUGE] = "Gauge",
                                        [METRIC_SUM] = "Sum",
                                        [METRIC_HISTOGRAM] = "ExponentialHistogram"};
    fprintf(debug->stream,
            "Metric #%llu\nDescriptor:\n     -> Name: %s\n     -> Description: %s\n"
            "     -> Unit: %s\n     -> DataType: %s\n",
            (unsigned long long)debug->metrics, metric->name, metric->description, metric->unit,
            types[metric->instrument]);
    if (metric->instrument == METRIC_SUM)
        fprintf(debug->stream, "     -> IsMonotonic: %s\n", metric->monotonic ? "true" : "false");
    if (metric->instrument != METRIC_GAUGE)
        fputs("     -> AggregationTemporality: Cumulative\n", debug->stream);
}

/* Buckets that hold something, as the Collector writes them. */
static void print_buckets(FILE *stream, const struct distribution *value)
{
    if (value->zero_count > 0)
        fprintf(stream, "Bucket [0, 0], Count: %llu\n", (unsigned long long)value->zero_count);
    for (uint32_t i = 0; i < value->bucket_count; i++)
        if (value->buckets[i] > 0)
            fprintf(stream, "Bucket (%f, %f], Count: %llu\n",
                    distribution_upper(value, i) / exp2(ldexp(1, -value->scale)),
                    distribution_upper(value, i), (unsigned long long)value->buckets[i]);
}

static void print_distribution(FILE *stream, const struct distribution *value, bool typed)
{
    if (!typed) {
        fprintf(stream, "count=%llu sum=%g max=%g\n", (unsigned long long)value->count, value->sum,
                value->max);
        return;
    }
    fprintf(stream, "Count: %llu\nSum: %f\nMax: %f\n", (unsigned long long)value->count, value->sum,
            value->max);
    print_buckets(stream, value);
}

static void print_value(FILE *stream, const struct metric *metric, const struct point *point,
                        bool typed)
{
    const char *name = typed ? "Value: " : "";
    switch (metric->value) {
    case METRIC_INT:
        fprintf(stream, "%s%lld\n", name, (long long)point->value.integer);
        break;
    case METRIC_DOUBLE:
        fprintf(stream, "%s%f\n", name, point->value.real);
        break;
    case METRIC_DISTRIBUTION:
        print_distribution(stream, point->value.distribution, typed);
        break;
    }
}

static void print_point(struct debug *debug, const struct run *run, const struct point *point)
{
    FILE *stream = debug->stream;
    bool typed = debug->verbosity == DEBUG_DETAILED;
    const char *separator = "";
    if (typed)
        fprintf(stream, "%s #%llu\nData point attributes:\n",
                metric_is_number(run->metric) ? "NumberDataPoints"
                                              : "ExponentialHistogramDataPoints",
                (unsigned long long)debug->points);
    else
        fprintf(stream, "%s{", run->metric->name);
    print_attributes(stream, run->fixed, typed, &separator);
    print_attributes(stream, point->attrs, typed, &separator);
    if (typed) {
        print_time(stream, "StartTimestamp", point->start_ns);
        print_time(stream, "Timestamp", run->time_ns);
    }
    fputs(typed ? "" : "} ", stream);
    print_value(stream, run->metric, point, typed);
}

static void consume(void *state, const struct page *page, struct page_slice slice, uint32_t variant)
{
    struct debug *debug = state;
    const struct resource *resource = NULL;
    const struct metric *metric = NULL;
    struct walk walk = walk_begin(page, slice);
    const struct run *run;
    const struct point *point;
    while (walk_next(&walk, &run, &point)) {
        bool new_resource = run->resource != resource;
        if (new_resource && debug->verbosity != DEBUG_BASIC)
            print_resource(debug, run->resource, variant);
        debug->resources += new_resource;
        if (new_resource || run->metric != metric) {
            print_metric(debug, run->metric);
            debug->metrics++;
        }
        if (debug->verbosity != DEBUG_BASIC)
            print_point(debug, run, point);
        debug->points++;
        resource = run->resource;
        metric = run->metric;
    }
}

static bool finish(void *state, const uint8_t *body, size_t body_bytes)
{
    (void)body, (void)body_bytes;
    struct debug *debug = state;
    fflush(debug->stream);
    fprintf(debug->output,
            "Metrics {\"resource metrics\": %llu, \"metrics\": %llu, "
            "\"data points\": %llu}\n",
            (unsigned long long)debug->resources, (unsigned long long)debug->metrics,
            (unsigned long long)debug->points);
    fwrite(debug->text, 1, debug->text_bytes, debug->output);
    debug->resources = debug->metrics = debug->points = 0;
    rewind(debug->stream);
    bool written = fflush(debug->output) == 0 && !ferror(debug->output);
    clearerr(debug->output);
    return written;
}

static void close_exporter(void **ret_state)
{
    struct debug *debug = *ret_state;
    if (debug == NULL)
        return;
    xdone(fclose(debug->stream) == 0);
    free(debug->text);
    free(debug);
    *ret_state = NULL;
}

static const char *const verbosities[] = {"basic", "normal", "detailed", NULL};

static const struct option options[] = {
    {.key = "verbosity",
     .type = OPTION_ENUM,
     .offset = offsetof(struct debug_settings, verbosity),
     .fallback = "basic",
     .choices = verbosities,
     .help = "basic: counts of each batch; normal: a line a point; detailed: everything."},
    {.key = "output_paths",
     .type = OPTION_TEXT_LIST,
     .offset = offsetof(struct debug_settings, output_paths),
     .help = "stderr (default) or stdout."},
    {.key = "sampling_initial", .type = OPTION_IGNORED, .help = "all is printed"},
    {.key = "sampling_thereafter", .type = OPTION_IGNORED, .help = "all is printed"},
    {.key = "use_internal_logger", .type = OPTION_IGNORED, .help = "text is printed"},
    {.key = NULL},
};

const struct exporter debug_exporter = {
    .component = {.kind = COMPONENT_EXPORTER,
                  .type = "debug",
                  .about = "Prints what is collected, for trying things out",
                  .stability = "beta",
                  .table = {.size = sizeof(struct debug_settings), .options = options},
                  .validate = validate},
    .open = open_exporter,
    .consume = consume,
    .finish = finish,
    .close = close_exporter,
};
