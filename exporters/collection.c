/* SPDX-License-Identifier: Apache-2.0 */
/* A collection held in memory for `pgweir once`. Owns copies of attribute sets, because a page and
 * what it borrows is gone when the worker gives it back. Bounded; what does not fit is counted. */
#include "exporters/collection.h"

#include <stdlib.h>
#include <string.h>

#include "base/distribution.h"
#include "base/memory.h"
#include "exporters/walk.h"

static struct attrs *copy(const struct attrs *attrs)
{
    struct attrs *own = xmalloc(sizeof *own + attrs->bytes);
    memcpy(own, attrs, sizeof *own + attrs->bytes);
    return own;
}

static uint32_t find_resource(struct collection *collection, const struct attrs *attrs)
{
    for (size_t i = collection->resource_count; i-- > 0;) {
        const struct attrs *known = collection->resources[i];
        if (known->bytes == attrs->bytes && memcmp(known->otlp, attrs->otlp, attrs->bytes) == 0)
            return (uint32_t)i;
    }
    if (collection->resource_count == COLLECTION_RESOURCES_MAX)
        return UINT32_MAX;
    if ((collection->resource_count & (collection->resource_count - 1)) == 0) {
        size_t space = collection->resource_count == 0 ? 1 : 2 * collection->resource_count;
        collection->resources = xrealloc(collection->resources, space * sizeof(struct attrs *));
    }
    collection->resources[collection->resource_count] = copy(attrs);
    return (uint32_t)collection->resource_count++;
}

static struct attrs *join(const struct attrs *fixed, const struct attrs *attrs)
{
    if (fixed == NULL)
        return copy(attrs);
    struct attrs *joined = xmalloc(sizeof *joined + fixed->bytes + attrs->bytes);
    *joined = (struct attrs){.bytes = fixed->bytes + attrs->bytes, .tag = attrs->tag};
    memcpy(joined->otlp, fixed->otlp, fixed->bytes);
    memcpy(joined->otlp + fixed->bytes, attrs->otlp, attrs->bytes);
    return joined;
}

void collection_add(struct collection *collection, const struct page *page, struct page_slice slice,
                    uint32_t variant)
{
    struct walk walk = walk_begin(page, slice);
    const struct run *run, *last = NULL;
    const struct point *point;
    uint32_t resource = 0;
    while (walk_next(&walk, &run, &point)) {
        if (last == NULL || run->resource != last->resource)
            resource = find_resource(collection, walk_resource(run->resource, variant));
        last = run;
        if (collection->point_count == COLLECTION_POINTS_MAX || resource == UINT32_MAX) {
            collection->left_out++;
            continue;
        }
        if (collection->point_count == collection->point_space) {
            collection->point_space += collection->point_space + 1024;
            collection->points =
                xrealloc(collection->points, collection->point_space * sizeof *collection->points);
        }
        struct collected *own = &collection->points[collection->point_count];
        *own = (struct collected){.metric = run->metric,
                                  .resource = resource,
                                  .attrs = join(run->fixed, point->attrs),
                                  .order = collection->point_count++};
        memcpy(&own->value, &point->value, sizeof own->value);
        if (!metric_is_number(run->metric))
            own->value.distribution = distribution_copy(point->value.distribution);
    }
}

static int compare(const void *left, const void *right)
{
    const struct collected *a = left, *b = right;
    int names = strcmp(a->metric->name, b->metric->name);
    if (names != 0)
        return names;
    return a->order < b->order ? -1 : 1;
}

void collection_sort(struct collection *collection)
{
    if (collection->point_count > 0)
        qsort(collection->points, collection->point_count, sizeof *collection->points, compare);
}

void collection_fini(struct collection *collection)
{
    for (size_t i = 0; i < collection->point_count; i++) {
        free(collection->points[i].attrs);
        if (!metric_is_number(collection->points[i].metric))
            distribution_destroy(&collection->points[i].value.distribution);
    }
    for (size_t i = 0; i < collection->resource_count; i++)
        free(collection->resources[i]);
    free(collection->points);
    free(collection->resources);
    *collection = (struct collection){0};
}

static void print_pairs(FILE *stream, const struct attrs *attrs)
{
    struct attr attr;
    size_t position = 0;
    const char *separator = "";
    while (attrs_next(attrs, &position, &attr)) {
        fprintf(stream, "%s%.*s=", separator, (int)attr.key_bytes, attr.key);
        if (attr.kind == ATTR_TEXT)
            fprintf(stream, "%.*s", (int)attr.text_bytes, attr.text);
        else if (attr.kind == ATTR_DOUBLE)
            fprintf(stream, "%g", attr.real);
        else
            fprintf(stream, "%lld", (long long)attr.number);
        separator = " ";
    }
}

static void print_value(FILE *stream, const struct collected *point)
{
    switch (point->metric->value) {
    case METRIC_INT:
        fprintf(stream, "%20lld", (long long)point->value.integer);
        break;
    case METRIC_DOUBLE:
        fprintf(stream, "%20.6g", point->value.real);
        break;
    case METRIC_DISTRIBUTION: {
        char text[32];
        snprintf(text, sizeof text, "p99 %.6g",
                 distribution_quantile(point->value.distribution, 0.99));
        fprintf(stream, "%20s", text);
        break;
    }
    }
}

void collection_print_table(const struct collection *collection, FILE *stream)
{
    for (size_t r = 0; r < collection->resource_count; r++) {
        int width = (int)sizeof "METRIC" - 1;
        size_t points = 0;
        for (size_t i = 0; i < collection->point_count; i++) {
            const struct collected *point = &collection->points[i];
            if (point->resource != r)
                continue;
            int bytes = (int)strlen(point->metric->name);
            width = bytes > width ? bytes : width;
            points++;
        }
        if (points == 0)
            continue;
        fputs(r == 0 ? "" : "\n", stream);
        print_pairs(stream, collection->resources[r]);
        fprintf(stream, "\n%-*s %20s %-14s %s\n", width, "METRIC", "VALUE", "UNIT", "ATTRIBUTES");
        for (size_t i = 0; i < collection->point_count; i++) {
            const struct collected *point = &collection->points[i];
            if (point->resource != r)
                continue;
            fprintf(stream, "%-*s ", width, point->metric->name);
            print_value(stream, point);
            fprintf(stream, " %-14s ", point->metric->unit);
            print_pairs(stream, point->attrs);
            fputc('\n', stream);
        }
    }
}
