/* SPDX-License-Identifier: Apache-2.0 */
/* Step 1 of 9: what is asked. Loads the built-in documents and a user's own, joins them (a query of
 * the same name replaces the one before), gives each metric its one definition, and sorts what
 * others index by: metrics by name, cadence groups by name. After catalog_load() nothing changes
 * any more, so any thread may read a catalogue. Main thread loads and destroys.
 *
 * document.c (with field.c) reads one document, condition.c decides between variants, probe.c asks
 * what a server has, plan.c makes statements, print.c shows everything. */
#include "catalog/query.h"

#include "base/arena.h"
#include "base/memory.h"
#include "catalog/builtin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DOCUMENT_BYTES_MAX = 1 << 20 };

/* A metric's definition and where it stands. */
struct definition {
    const struct metric *metric;
    const struct yaml_node *node;
    size_t order; /* of loading: the later of two that differ is to blame */
};

static void queries_merge(struct catalog *catalog, const struct catalog_query *added, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t at = 0;
        while (at < catalog->query_count && strcmp(catalog->queries[at].name, added[i].name) != 0)
            at++;
        if (at == catalog->query_count)
            catalog->query_count++;
        catalog->queries[at] = added[i];
    }
}

static bool text_load(struct catalog *catalog, const char *source, const char *text, size_t bytes,
                      struct error *error)
{
    const struct yaml_node *root = NULL;
    if (!yaml_parse(catalog->arena, source, text, bytes, &root, error))
        return false;
    size_t room = LIMIT_QUERIES - catalog->query_count;
    struct catalog_query *added = arena_take(catalog->arena, (root->count + 1) * sizeof *added);
    size_t count = 0;
    if (!document_read(catalog, root, added, room, &count, error))
        return false;
    queries_merge(catalog, added, count);
    return true;
}

static bool file_load(struct catalog *catalog, const char *path, struct error *error)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return error_set(
            error, "%s: cannot read this file of queries: %s: check the path and its permissions",
            path, strerror(errno));
    char *text = xmalloc(DOCUMENT_BYTES_MAX + 1);
    errno = 0;
    size_t bytes = fread(text, 1, DOCUMENT_BYTES_MAX + 1, file);
    bool good = true;
    if (ferror(file))
        good = error_set(
            error, "%s: cannot read this file of queries: %s: check the path and its permissions",
            path, strerror(errno));
    else if (bytes > DOCUMENT_BYTES_MAX)
        good = error_set(error, "%s: longer than %d bytes; split it into several files", path,
                         DOCUMENT_BYTES_MAX);
    fclose(file);
    good = good && text_load(catalog, arena_text(catalog->arena, path), text, bytes, error);
    free(text);
    return good;
}

static int definition_compare(const void *a, const void *b)
{
    const struct definition *x = a, *y = b;
    int order = strcmp(x->metric->name, y->metric->name);
    return order ? order : (x->order < y->order ? -1 : x->order > y->order);
}

static bool metric_equal(const struct metric *a, const struct metric *b)
{
    return strcmp(a->unit, b->unit) == 0 && strcmp(a->description, b->description) == 0 &&
           a->instrument == b->instrument && a->value == b->value && a->monotonic == b->monotonic &&
           a->enabled == b->enabled;
}

/* One definition for each name; several queries may give the same one. */
static bool metrics_define(struct catalog *catalog, struct error *error)
{
    size_t total = 0;
    for (size_t q = 0; q < catalog->query_count; q++)
        total += catalog->queries[q].metric_count;
    struct definition *all = arena_take(catalog->arena, (total + 1) * sizeof *all);
    size_t count = 0;
    for (size_t q = 0; q < catalog->query_count; q++) {
        const struct catalog_query *query = &catalog->queries[q];
        for (size_t m = 0; m < query->metric_count; m++) {
            const struct query_metric *metric = &query->metrics[m];
            if (metric->definition) {
                all[count] = (struct definition){metric->definition, metric->node, count};
                count++;
            }
        }
    }
    qsort(all, count, sizeof *all, definition_compare);
    const struct metric **metrics = arena_take(catalog->arena, (count + 1) * sizeof *metrics);
    for (size_t i = 0; i < count; i++) {
        if (i && strcmp(all[i].metric->name, all[i - 1].metric->name) == 0) {
            if (!metric_equal(all[i].metric, all[i - 1].metric))
                return yaml_error(
                    all[i].node, error,
                    "metric %s is defined otherwise in %s:%u; define it once and give "
                    "only its columns elsewhere",
                    all[i].metric->name, all[i - 1].node->source, all[i - 1].node->line);
            continue;
        }
        metrics[catalog->metric_count++] = all[i].metric;
    }
    catalog->metrics = metrics;
    if (catalog->metric_count > LIMIT_QUERY_METRICS)
        return error_set(error, "the queries have %zu metrics together, more than %d",
                         catalog->metric_count, LIMIT_QUERY_METRICS);
    return true;
}

static bool metrics_join(struct catalog *catalog, struct error *error)
{
    for (size_t q = 0; q < catalog->query_count; q++) {
        struct catalog_query *query = &catalog->queries[q];
        for (size_t m = 0; m < query->metric_count; m++) {
            struct query_metric *metric = &query->metrics[m];
            const char *near = NULL;
            if (!catalog_find_metric(catalog, metric->name, &metric->index, &near))
                return yaml_error(
                    metric->node, error,
                    "metric %s has no unit, instrument, value and description, and no "
                    "other query defines it%s%s%s",
                    metric->name, near ? "; did you mean \"" : "", near ? near : "",
                    near ? "\"?" : "");
            metric->definition = catalog->metrics[metric->index];
        }
        if (!query_check(query, error))
            return false;
    }
    return true;
}

static int text_compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool groups_join(struct catalog *catalog, struct error *error)
{
    const char **groups = arena_take(catalog->arena, (catalog->query_count + 1) * sizeof *groups);
    for (size_t q = 0; q < catalog->query_count; q++)
        groups[q] = catalog->queries[q].group;
    qsort(groups, catalog->query_count, sizeof *groups, text_compare);
    for (size_t q = 0; q < catalog->query_count; q++) {
        if (!q || strcmp(groups[q], groups[catalog->group_count - 1]) != 0)
            groups[catalog->group_count++] = groups[q];
    }
    catalog->groups = groups;
    if (catalog->group_count > CATALOG_GROUPS_MAX)
        return error_set(error, "the queries have %zu cadence groups, more than %d",
                         catalog->group_count, CATALOG_GROUPS_MAX);
    for (size_t q = 0; q < catalog->query_count; q++) {
        uint32_t at = 0;
        while (strcmp(groups[at], catalog->queries[q].group) != 0)
            at++;
        catalog->queries[q].group_index = at;
    }
    return true;
}

bool catalog_load(struct catalog **ret_catalog, const char *const *files, size_t file_count,
                  struct error *error)
{
    struct catalog *catalog = xcalloc(1, sizeof *catalog);
    struct arena *arena = xcalloc(1, sizeof *arena);
    catalog->arena = arena;
    catalog->queries = arena_take(arena, LIMIT_QUERIES * sizeof *catalog->queries);
    catalog->probe = arena_take(arena, sizeof *catalog->probe);
    catalog->probe->names = arena_take(arena, CATALOG_PROBES_MAX * sizeof(char *));
    for (size_t i = 0; i < builtin_document_count; i++) {
        const struct builtin_document *document = &builtin_documents[i];
        const char *source = arena_format(arena, "builtin:%s", document->file);
        if (!text_load(catalog, source, document->begin, (size_t)(document->end - document->begin),
                       error))
            goto fail;
    }
    for (size_t i = 0; i < file_count; i++) {
        if (!file_load(catalog, files[i], error))
            goto fail;
    }
    if (!metrics_define(catalog, error) || !metrics_join(catalog, error) ||
        !groups_join(catalog, error))
        goto fail;
    probe_finish(catalog);
    *ret_catalog = catalog;
    return true;
fail:
    catalog_destroy(&catalog);
    return false;
}

void catalog_destroy(struct catalog **catalog)
{
    if (!*catalog)
        return;
    arena_fini((*catalog)->arena);
    free((*catalog)->arena);
    free(*catalog);
    *catalog = NULL;
}

const struct metric *catalog_find_metric(const struct catalog *catalog, const char *name,
                                         size_t *ret_index, const char **ret_near)
{
    size_t low = 0, high = catalog->metric_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, catalog->metrics[middle]->name);
        if (order == 0) {
            if (ret_index)
                *ret_index = middle;
            return catalog->metrics[middle];
        }
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    if (ret_near) {
        const char *names[LIMIT_QUERY_METRICS];
        size_t count = catalog->metric_count < LIMIT_QUERY_METRICS ? catalog->metric_count
                                                                   : LIMIT_QUERY_METRICS;
        for (size_t i = 0; i < count; i++)
            names[i] = catalog->metrics[i]->name;
        *ret_near = yaml_nearest(name, names, count);
    }
    return NULL;
}
