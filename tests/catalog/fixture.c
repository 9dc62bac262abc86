/* SPDX-License-Identifier: Apache-2.0 */
/* Servers as the catalogue sees them, without a server. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

struct filling {
    const struct catalog *catalog;
    unsigned major;
    struct capabilities capabilities;
};

void fixture_rows(const char *path, void (*row)(void *owner, char **fields), void *owner)
{
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    char line[1024];
    for (bool first = true; fgets(line, sizeof line, file); first = false) {
        line[strcspn(line, "\n")] = '\0';
        char *fields[FIXTURE_FIELDS_MAX], *rest = line;
        for (int i = 0; i < FIXTURE_FIELDS_MAX; i++) {
            static char empty[1];
            char *field = strsep(&rest, "\t");
            fields[i] = field ? field : empty;
        }
        if (!first)
            row(owner, fields);
    }
    fclose(file);
}

/* pg_stat_user_tables has the columns of pg_stat_all_tables. */
static bool same_view(const char *name, const char *view, size_t bytes)
{
    const char *user = strstr(name, "_user_");
    if (!user || user > name + bytes || strstr(view, "_user_"))
        return strlen(view) == bytes && strncmp(name, view, bytes) == 0;
    const char *all = strstr(view, "_all_");
    size_t head = (size_t)(user - name), tail = bytes - head - 6;
    return all && (size_t)(all - view) == head && strncmp(name, view, head) == 0 &&
           strlen(all + 5) == tail && strncmp(user + 6, all + 5, tail) == 0;
}

static void column_add(void *owner, char **fields)
{
    struct filling *filling = owner;
    unsigned since = (unsigned)atoi(fields[2]);
    unsigned last = fields[3][0] ? (unsigned)atoi(fields[3]) : 99;
    if (filling->major < since || filling->major > last)
        return;
    size_t count;
    const char *const *names = catalog_probe_names(filling->catalog, &count);
    for (size_t i = 0; i < count; i++) {
        const char *dot = strchr(names[i], '.');
        if (dot && strcmp(dot + 1, fields[1]) == 0 &&
            same_view(names[i], fields[0], (size_t)(dot - names[i])))
            filling->capabilities.present[i / 64] |= (uint64_t)1 << (i % 64);
    }
}

struct capabilities fixture_capabilities(const struct catalog *catalog, unsigned major,
                                         bool recovery)
{
    struct filling filling = {.catalog = catalog, .major = major};
    filling.capabilities.version_num = major * 10000 + 3;
    filling.capabilities.recovery = recovery;
    fixture_rows(CATALOG_VIEWS, column_add, &filling);
    return filling.capabilities;
}

static bool load(const char *text, struct catalog **ret, struct error *error)
{
    if (!text)
        return catalog_load(ret, NULL, 0, error);
    char path[] = "/tmp/pgweir-test-XXXXXX.yaml";
    int fd = mkstemps(path, 5);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    const char *const files[] = {path};
    bool good = catalog_load(ret, files, 1, error);
    unlink(path);
    return good;
}

struct catalog *fixture_catalog(const char *text)
{
    struct catalog *catalog = NULL;
    struct error error;
    if (!load(text, &catalog, &error))
        fail_msg("%s", error.text);
    return catalog;
}

const char *fixture_load_error(const char *text, struct error *error)
{
    struct catalog *catalog = NULL;
    if (load(text, &catalog, error))
        fail_msg("was loaded: %s", text);
    assert_null(catalog);
    return error->text;
}

struct plan *fixture_plan(const struct catalog *catalog, const struct capabilities *capabilities,
                          enum catalog_model model, bool all)
{
    bool enabled[LIMIT_QUERY_METRICS];
    for (size_t i = 0; i < catalog->metric_count; i++)
        enabled[i] = all || catalog->metrics[i]->enabled;
    struct catalog_choice choice = {.model = model, .metric_enabled = enabled};
    struct plan *plan = NULL;
    struct error error;
    if (!catalog_plan(catalog, &choice, capabilities, &plan, &error))
        fail_msg("%s", error.text);
    return plan;
}

const struct statement *fixture_statement(const struct plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->statement_count; i++) {
        if (strcmp(plan->statements[i].name, name) == 0)
            return &plan->statements[i];
    }
    return NULL;
}
