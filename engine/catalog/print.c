/* SPDX-License-Identifier: Apache-2.0 */
/* The whole catalogue as text for `pgweir catalog`: each query with its group, its scope and when
 * it runs, and under it each of its metrics. */
#include "catalog/query.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

static void condition_write(FILE *out, const struct catalog *catalog,
                            const struct condition *condition)
{
    if (condition->since)
        fprintf(out, ", from PostgreSQL %u", condition->since);
    if (condition->until)
        fprintf(out, ", up to PostgreSQL %u", condition->until);
    if (condition->role != QUERY_ROLE_ANY)
        fprintf(out, ", on a %s", condition->role == QUERY_ROLE_PRIMARY ? "primary" : "standby");
    for (size_t i = 0; i < condition->need_count; i++)
        fprintf(out, "%s%s", i ? " and " : ", with ", catalog->probe->names[condition->needs[i]]);
}

static void point_write(FILE *out, const struct attrs *fixed, const char **glue)
{
    if (!fixed)
        return;
    struct attr attr;
    size_t position = 0;
    while (attrs_next(fixed, &position, &attr)) {
        fprintf(out, "%s%.*s=%.*s", *glue, (int)attr.key_bytes, attr.key, (int)attr.text_bytes,
                attr.text);
        *glue = ", ";
    }
}

static void metric_write(FILE *out, const struct query_metric *entry)
{
    const struct metric *metric = entry->definition;
    fprintf(out, "  %-46s %-18s %-6s %-5s %-10s %s\n", metric->name, metric->unit,
            metric->value == METRIC_INT ? "int" : "double",
            metric->instrument == METRIC_SUM ? "sum" : "gauge",
            metric->monotonic ? "monotonic" : "", metric->enabled ? "on" : "off");
    fprintf(out, "      %s", metric->description);
    const char *glue = " (";
    for (size_t p = 0; p < entry->point_count; p++)
        point_write(out, entry->points[p].fixed, &glue);
    fprintf(out, "%s\n", *glue == ',' ? ")" : "");
}

static void query_write(FILE *out, const struct catalog *catalog, const struct catalog_query *query)
{
    fprintf(out, "%s: group %s, for each %s", query->name, query->group,
            query->scope == QUERY_SERVER ? "server" : "database");
    condition_write(out, catalog, &query->when);
    fprintf(out, "\n");
    if (query->about[0])
        fprintf(out, "  %s\n", query->about);
    const char *glue = "  attributes: ";
    for (size_t i = 0; i < query->attribute_count; i++) {
        if (query->attributes[i].forms[CATALOG_SEMCONV].present) {
            fprintf(out, "%s%s", glue, query->attributes[i].forms[CATALOG_SEMCONV].key);
            glue = ", ";
        }
    }
    if (*glue == ',')
        fprintf(out, "\n");
    for (size_t m = 0; m < query->metric_count; m++)
        metric_write(out, &query->metrics[m]);
}

char *catalog_print(const struct catalog *catalog)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    xdone(out != NULL);
    for (size_t q = 0; q < catalog->query_count; q++) {
        if (q)
            fputc('\n', out);
        query_write(out, catalog, &catalog->queries[q]);
    }
    xdone(fclose(out) == 0);
    return text;
}
