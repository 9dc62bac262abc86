/* SPDX-License-Identifier: Apache-2.0 */
/* A collection as Prometheus text (rules: collection.h). Clean under `promtool check metrics`. */
#include <math.h>
#include <string.h>

#include "base/distribution.h"
#include "exporters/collection.h"

enum { NAME_BYTES_MAX = 256, LABELS_MAX = 64 };

/* The label names already in a sample, as two attributes may become one name. */
struct labels {
    FILE *stream;
    uint32_t count;
    char names[LABELS_MAX][64];
};

static void sanitize(char *to, size_t to_bytes, const char *from, size_t from_bytes, bool colon)
{
    size_t used = 0;
    for (size_t i = 0; i < from_bytes && used + 2 < to_bytes; i++) {
        char c = from[i];
        bool digit = c >= '0' && c <= '9';
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (used == 0 && digit)
            to[used++] = '_';
        to[used++] = digit || letter || (colon && c == ':') ? c : '_';
    }
    to[used] = '\0';
}

static bool ends_in(const char *name, const char *suffix)
{
    size_t bytes = strlen(name), suffix_bytes = strlen(suffix);
    return bytes >= suffix_bytes && strcmp(name + bytes - suffix_bytes, suffix) == 0;
}

static bool is_counter(const struct metric *metric)
{
    return metric->instrument == METRIC_SUM && metric->monotonic;
}

static void metric_name(char name[NAME_BYTES_MAX], const struct metric *metric)
{
    sanitize(name, NAME_BYTES_MAX - sizeof "_value", metric->name, strlen(metric->name), true);
    if (is_counter(metric)) {
        if (!ends_in(name, "_total"))
            strcat(name, "_total");
    } else if (ends_in(name, "_count") || ends_in(name, "_sum") || ends_in(name, "_bucket") ||
               ends_in(name, "_total")) {
        strcat(name, "_value");
    }
}

static void print_escaped(FILE *stream, const char *text, size_t bytes, bool quotes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] == '\n')
            fputs("\\n", stream);
        else if (text[i] == '\\')
            fputs("\\\\", stream);
        else if (text[i] == '"' && quotes)
            fputs("\\\"", stream);
        else
            fputc(text[i], stream);
    }
}

static void print_real(FILE *stream, double value)
{
    if (isnan(value))
        fputs("NaN", stream);
    else if (isinf(value))
        fputs(value > 0 ? "+Inf" : "-Inf", stream);
    else
        fprintf(stream, "%.17g", value);
}

static bool new_label(struct labels *labels, const char *name)
{
    for (uint32_t i = 0; i < labels->count; i++)
        if (strcmp(labels->names[i], name) == 0)
            return false;
    if (labels->count == LABELS_MAX)
        return false;
    memcpy(labels->names[labels->count++], name, strlen(name) + 1);
    return true;
}

static void print_labels(struct labels *labels, const struct attrs *attrs)
{
    struct attr attr;
    size_t position = 0;
    while (attrs_next(attrs, &position, &attr)) {
        char name[64];
        sanitize(name, sizeof name, attr.key, attr.key_bytes, false);
        if (!new_label(labels, name))
            continue;
        fprintf(labels->stream, "%s%s=\"", labels->count == 1 ? "{" : ",", name);
        if (attr.kind == ATTR_TEXT)
            print_escaped(labels->stream, attr.text, attr.text_bytes, true);
        else if (attr.kind == ATTR_INT)
            fprintf(labels->stream, "%lld", (long long)attr.number);
        else if (attr.kind == ATTR_DOUBLE)
            print_real(labels->stream, attr.real);
        else
            fputs(attr.number != 0 ? "true" : "false", labels->stream);
        fputc('"', labels->stream);
    }
}

static void print_head(FILE *stream, const char *name, const struct metric *metric)
{
    fprintf(stream, "# HELP %s ", name);
    print_escaped(stream, metric->description, strlen(metric->description), false);
    fprintf(stream, " (unit: %s)\n# TYPE %s %s\n", metric->unit, name,
            !metric_is_number(metric) ? "histogram"
            : is_counter(metric)      ? "counter"
                                      : "gauge");
}

static void print_info(const struct collection *collection, FILE *stream)
{
    fputs("# HELP target_info What is observed\n# TYPE target_info gauge\n", stream);
    for (size_t i = 0; i < collection->resource_count; i++) {
        struct labels labels = {.stream = stream};
        fputs("target_info", stream);
        print_labels(&labels, collection->resources[i]);
        fputs(labels.count > 0 ? "} 1\n" : " 1\n", stream);
    }
}

/* One sample without its value: name, suffix, labels, and where it is not NULL `le`. */
static void print_series(const struct collection *collection, FILE *stream,
                         const struct collected *point, const char *name, const char *le)
{
    struct labels labels = {.stream = stream};
    fputs(name, stream);
    print_labels(&labels, point->attrs);
    if (collection->resource_count > 1)
        print_labels(&labels, collection->resources[point->resource]);
    if (le != NULL)
        fprintf(stream, "%sle=\"%s\"", labels.count++ == 0 ? "{" : ",", le);
    fputs(labels.count > 0 ? "} " : " ", stream);
}

/* Classic buckets (base/distribution.h says with which error). */
static void print_distribution(const struct collection *collection, FILE *stream,
                               const struct collected *point, const char *name)
{
    const struct distribution *value = point->value.distribution;
    char part[NAME_BYTES_MAX + sizeof "_bucket"];
    snprintf(part, sizeof part, "%s_bucket", name);
    for (int i = 0; i < DISTRIBUTION_BOUNDS; i++) {
        print_series(collection, stream, point, part, distribution_bound_names[i]);
        fprintf(stream, "%llu\n",
                (unsigned long long)distribution_count_to(value, distribution_bounds[i]));
    }
    print_series(collection, stream, point, part, "+Inf");
    fprintf(stream, "%llu\n", (unsigned long long)value->count);
    snprintf(part, sizeof part, "%s_sum", name);
    print_series(collection, stream, point, part, NULL);
    print_real(stream, value->sum);
    snprintf(part, sizeof part, "%s_count", name);
    fputc('\n', stream);
    print_series(collection, stream, point, part, NULL);
    fprintf(stream, "%llu\n", (unsigned long long)value->count);
}

static void print_sample(const struct collection *collection, FILE *stream,
                         const struct collected *point, const char *name)
{
    switch (point->metric->value) {
    case METRIC_INT:
        print_series(collection, stream, point, name, NULL);
        fprintf(stream, "%lld\n", (long long)point->value.integer);
        break;
    case METRIC_DOUBLE:
        print_series(collection, stream, point, name, NULL);
        print_real(stream, point->value.real);
        fputc('\n', stream);
        break;
    case METRIC_DISTRIBUTION:
        print_distribution(collection, stream, point, name);
        break;
    }
}

void collection_print_prometheus(const struct collection *collection, FILE *stream)
{
    char last[NAME_BYTES_MAX] = "";
    for (size_t i = 0; i < collection->point_count; i++) {
        const struct collected *point = &collection->points[i];
        char name[NAME_BYTES_MAX];
        metric_name(name, point->metric);
        if (strcmp(name, last) != 0)
            print_head(stream, name, point->metric);
        memcpy(last, name, sizeof last);
        print_sample(collection, stream, point, name);
    }
    if (collection->resource_count > 0)
        print_info(collection, stream);
}
