/* SPDX-License-Identifier: Apache-2.0 */
/* The built-in catalogue against what it promises: the OTel receiver's metrics to the letter
 * (receiver.tsv), the reference in docs/catalog.md, look-ups by name, the probe. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "fixture.h"

static void receiver_metric_check(void *owner, char **fields)
{
    const struct metric *metric = catalog_find_metric(owner, fields[0], NULL, NULL);
    if (!metric)
        fail_msg("%s is missing", fields[0]);
    assert_string_equal(metric->instrument == METRIC_SUM ? "sum" : "gauge", fields[1]);
    assert_string_equal(metric->value == METRIC_INT ? "int" : "double", fields[2]);
    assert_string_equal(metric->monotonic ? "true" : "false", fields[3]);
    assert_string_equal(metric->unit, fields[4]);
    assert_string_equal(metric->enabled ? "on" : "off", fields[5]);
}

static void receivers_metrics_are_all_there(void **state)
{
    (void)state;
    struct catalog *catalog = fixture_catalog(NULL);
    fixture_rows(CATALOG_RECEIVER, receiver_metric_check, catalog);
    catalog_destroy(&catalog);
}

/* Adds the names of an attribute set to a sorted, comma-separated list, each once. */
static void name_add(char *list, const char *name, size_t bytes)
{
    char *names[16], copy[512];
    size_t count = 0;
    snprintf(copy, sizeof copy, "%s%s%.*s", list, *list ? "," : "", (int)bytes, name);
    for (char *save = NULL, *at = strtok_r(copy, ",", &save); at; at = strtok_r(NULL, ",", &save)) {
        size_t place = 0;
        while (place < count && strcmp(names[place], at) < 0)
            place++;
        if (place < count && strcmp(names[place], at) == 0)
            continue;
        memmove(&names[place + 1], &names[place], (count++ - place) * sizeof names[0]);
        names[place] = at;
    }
    *list = '\0';
    for (size_t i = 0; i < count; i++)
        strcat(strcat(list, i ? "," : ""), names[i]);
}

struct comparison {
    const struct plan *plan;
    bool legacy;
    size_t compared;
};

static void names_compare(const char *metric, const char *what, const char *found, char *wanted)
{
    char sorted[512] = "";
    for (char *save = NULL, *at = strtok_r(wanted, ",", &save); at; at = strtok_r(NULL, ",", &save))
        name_add(sorted, at, strlen(at));
    if (strcmp(found, sorted) != 0)
        fail_msg("%s: %s are \"%s\", not \"%s\"", metric, what, found, sorted);
}

/* All points of a metric in a plan have the receiver's attributes, and its resource's. Locks that
 * belong to no database have none, as with the receiver. */
static void receiver_attributes_check(void *owner, char **fields)
{
    struct comparison *comparison = owner;
    for (size_t s = 0; s < comparison->plan->statement_count; s++) {
        const struct statement *statement = &comparison->plan->statements[s];
        if (strcmp(statement->name, "locks_shared") == 0)
            continue;
        for (size_t p = 0; p < statement->point_count; p++) {
            if (strcmp(statement->points[p].metric->name, fields[0]) != 0)
                continue;
            char point[512] = "", resource[512] = "";
            for (size_t a = 0; a < statement->attribute_count; a++)
                name_add(statement->attributes[a].resource ? resource : point,
                         statement->attributes[a].key, strlen(statement->attributes[a].key));
            struct attr attr;
            for (size_t at = 0;
                 statement->points[p].fixed && attrs_next(statement->points[p].fixed, &at, &attr);)
                name_add(point, attr.key, attr.key_bytes);
            char wanted[512];
            snprintf(wanted, sizeof wanted, "%s", fields[comparison->legacy ? 7 : 6]);
            names_compare(fields[0], "attributes", point, wanted);
            snprintf(wanted, sizeof wanted, "%s", comparison->legacy ? fields[8] : "");
            names_compare(fields[0], "resource attributes", resource, wanted);
            assert_int_equal(statement->own_resource, resource[0] != '\0');
            comparison->compared++;
        }
    }
}

static void receivers_attributes_in_both_models(void **state)
{
    (void)state;
    struct catalog *catalog = fixture_catalog(NULL);
    for (unsigned major = 13; major <= 19; major++) {
        struct capabilities server = fixture_capabilities(catalog, major, false);
        for (int model = 0; model < 2; model++) {
            struct plan *plan = fixture_plan(catalog, &server, (enum catalog_model)model, true);
            struct comparison comparison = {plan, model == CATALOG_LEGACY, 0};
            fixture_rows(CATALOG_RECEIVER, receiver_attributes_check, &comparison);
            assert_in_range(comparison.compared, 65, 80);
            plan_destroy(&plan);
        }
    }
    catalog_destroy(&catalog);
}

static void metrics_are_sorted_and_found(void **state)
{
    (void)state;
    struct catalog *catalog = fixture_catalog(NULL);
    for (size_t i = 0; i < catalog->metric_count; i++) {
        size_t index = SIZE_MAX;
        assert_ptr_equal(catalog_find_metric(catalog, catalog->metrics[i]->name, &index, NULL),
                         catalog->metrics[i]);
        assert_int_equal(index, i);
        assert_true(!i || strcmp(catalog->metrics[i - 1]->name, catalog->metrics[i]->name) < 0);
        assert_memory_equal(catalog->metrics[i]->name, "postgresql.", 11);
    }
    const char *near = NULL;
    assert_null(catalog_find_metric(catalog, "postgresql.comits", NULL, &near));
    assert_string_equal(near, "postgresql.commits");
    assert_null(catalog_find_metric(catalog, "", NULL, NULL));
    catalog_destroy(&catalog);
    catalog_destroy(&catalog);
}

static void groups_are_the_documented_ones(void **state)
{
    (void)state;
    static const char *const groups[] = {"core", "sizes", "statements", "tables"};
    struct catalog *catalog = fixture_catalog(NULL);
    assert_int_equal(catalog->group_count, 4);
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(catalog->groups[i], groups[i]);
    catalog_destroy(&catalog);
}

static void probe_masks_become_bits(void **state)
{
    (void)state;
    struct catalog *catalog = fixture_catalog(
        "name: q\nneeds: [mine.column, pg_mine(), 'extension:mine']\n"
        "sql: SELECT 1 AS n\nmetrics:\n  m: {unit: '1', instrument: gauge, value: int, "
        "description: d, column: n}\n");
    size_t count;
    const char *const *names = catalog_probe_names(catalog, &count);
    assert_in_range(count, 3, 1024);
    assert_string_equal(names[count - 3], "mine.column");
    assert_string_equal(names[count - 1], "extension:mine");
    const char *sql = catalog_probe_sql(catalog);
    assert_memory_equal(sql, "/* otel-collector-ignore */ /* pgweir:probe */ SELECT", 53);
    assert_non_null(strstr(sql, "'column', 'mine', 'column')"));
    assert_non_null(strstr(sql, "'function', 'pg_mine', '')"));
    assert_non_null(strstr(sql, "'extension', 'mine', '')"));
    assert_true(count <= 64 || strstr(sql, "mask_1"));

    struct capabilities server;
    const int64_t masks[] = {INT64_MIN | 5, 2};
    catalog_read_capabilities(160004, true, masks, 2, &server);
    assert_int_equal(server.version_num, 160004);
    assert_true(server.recovery);
    assert_true(server.present[0] == (UINT64_C(1) << 63 | 5) && server.present[1] == 2);
    assert_int_equal(server.present[2], 0);
    int64_t many[40];
    memset(many, -1, sizeof many);
    catalog_read_capabilities(170000, false, many, 40, &server);
    assert_true(server.present[15] == UINT64_MAX);
    catalog_destroy(&catalog);
}

static char *file_read(const char *path)
{
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    char *text = calloc(1, 1 << 20);
    size_t bytes = fread(text, 1, (1 << 20) - 1, file);
    fclose(file);
    assert_true(bytes > 0);
    return text;
}

/* The reference for users has one row for each metric, and it is right. */
static void documentation_is_complete(void **state)
{
    (void)state;
    struct catalog *catalog = fixture_catalog(NULL);
    char *text = file_read(CATALOG_DOCUMENTATION);
    for (size_t i = 0; i < catalog->metric_count; i++) {
        const struct metric *metric = catalog->metrics[i];
        char row[512];
        snprintf(row, sizeof row, "| `%s` | `%s` | %s %s%s | %s |", metric->name, metric->unit,
                 metric->value == METRIC_INT ? "int" : "double",
                 metric->instrument == METRIC_GAUGE ? "gauge" : "sum",
                 metric->monotonic ? ", monotonic" : "", metric->enabled ? "on" : "off");
        if (!strstr(text, row))
            fail_msg("docs/catalog.md lacks: %s", row);
        if (!strstr(text, metric->description))
            fail_msg("docs/catalog.md lacks: %s", metric->description);
    }
    free(text);
    catalog_destroy(&catalog);
}

static void print_shows_everything(void **state)
{
    (void)state;
    struct catalog *catalog = fixture_catalog(NULL);
    char *text = catalog_print(catalog);
    for (size_t i = 0; i < catalog->metric_count; i++)
        assert_non_null(strstr(text, catalog->metrics[i]->name));
    assert_non_null(strstr(text, "io: group core, for each server, with pg_stat_io.reads\n"));
    assert_non_null(strstr(text, "on a standby"));
    assert_non_null(strstr(text, "(source=bgwriter, source=backend, source=backend_fsync)"));
    free(text);
    catalog_destroy(&catalog);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(receivers_metrics_are_all_there),
        cmocka_unit_test(receivers_attributes_in_both_models),
        cmocka_unit_test(metrics_are_sorted_and_found),
        cmocka_unit_test(groups_are_the_documented_ones),
        cmocka_unit_test(probe_masks_become_bits),
        cmocka_unit_test(documentation_is_complete),
        cmocka_unit_test(print_shows_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
