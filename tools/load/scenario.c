/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios from files and flags. A flag is a YAML scalar that happens to stand on the command
 * line: it goes through the same code as a file's value and gets the same errors.
 *
 * One thread, before anything runs. */
#include "tools/load/scenario.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "config/fill.h"
#include "tools/load/files.h"
#include "tools/load/slo.h"

enum { FILE_BYTES_MAX = 1 << 20, FLAG_BYTES = 64, ITEMS_MAX = 256 };

/* ---- flags ---- */

/* "outage-how" against the keys "outage" and "how"; '-' and '_' are one. */
static bool flag_is(const char *flag, const char *group, const char *key)
{
    char name[FLAG_BYTES];
    snprintf(name, sizeof name, "%s%s%s", group, *group != 0 ? "-" : "", key);
    for (char *c = name; *c != 0; c++)
        if (*c == '_')
            *c = '-';
    return strcmp(flag, name) == 0;
}

const struct option *scenario_find_flag(const char *name, const struct option **ret_group)
{
    *ret_group = NULL;
    for (const struct option *option = scenario_table.options; option->key != NULL; option++) {
        if (option->type == OPTION_GROUP_LIST)
            continue; /* only files have phases and needs */
        if (strcmp(option->key, "kind") == 0)
            continue; /* the command is the kind */
        if (option->type != OPTION_GROUP && flag_is(name, "", option->key))
            return option;
        for (const struct option *inner = option->type == OPTION_GROUP ? option->table->options
                                                                       : NULL;
             inner != NULL && inner->key != NULL; inner++) {
            if (!flag_is(name, option->key, inner->key))
                continue;
            *ret_group = option;
            return inner;
        }
    }
    return NULL;
}

/* The flag's value as a node; variables are the file's, not the command line's: $ is a dollar. */
static struct yaml_node *flag_scalar(struct arena *arena, const char *source, const char *text,
                                     size_t bytes)
{
    char *copy = arena_take(arena, 2 * bytes + 1), *out = copy;
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] == '$')
            *out++ = '$';
        *out++ = text[i];
    }
    struct yaml_node *node = arena_take(arena, sizeof *node);
    *node = (struct yaml_node){.kind = YAML_SCALAR,
                               .plain = true,
                               .source = source,
                               .text = copy,
                               .bytes = (size_t)(out - copy)};
    return node;
}

/* a,b,c */
static const struct yaml_node *flag_list(struct arena *arena, const char *source, const char *text)
{
    const struct yaml_node **items = arena_take(arena, ITEMS_MAX * sizeof *items);
    size_t count = 0;
    while (*text != 0 && count < ITEMS_MAX) {
        size_t bytes = strcspn(text, ",");
        items[count++] = flag_scalar(arena, source, text, bytes);
        text += bytes + (text[bytes] == ',');
    }
    struct yaml_node *node = arena_take(arena, sizeof *node);
    *node =
        (struct yaml_node){.kind = YAML_SEQUENCE, .source = source, .items = items, .count = count};
    return node;
}

static const struct yaml_node *flag_mapping(struct arena *arena, const char *source,
                                            const char *key, const struct yaml_node *value)
{
    const char **keys = arena_take(arena, sizeof *keys);
    const struct yaml_node **items = arena_take(arena, sizeof *items);
    const struct yaml_node **key_nodes = arena_take(arena, sizeof *key_nodes);
    keys[0] = key;
    items[0] = value;
    key_nodes[0] = flag_scalar(arena, source, key, strlen(key));
    struct yaml_node *node = arena_take(arena, sizeof *node);
    *node = (struct yaml_node){.kind = YAML_MAPPING,
                               .source = source,
                               .keys = keys,
                               .key_nodes = key_nodes,
                               .items = items,
                               .count = 1};
    return node;
}

static bool apply_flag(struct arena *arena, const struct scenario_flag *flag,
                       struct scenario *scenario, struct error *error)
{
    const struct option *group = NULL, *option = scenario_find_flag(flag->name, &group);
    CHECK(option != NULL); /* the command line asked first */
    const char *source = arena_format(arena, "--%s", flag->name);
    const struct yaml_node *node =
        option->type == OPTION_TEXT_LIST
            ? flag_list(arena, source, flag->value)
            : flag_scalar(arena, source, flag->value, strlen(flag->value));
    node = flag_mapping(arena, source, option->key, node);
    if (group != NULL)
        node = flag_mapping(arena, source, group->key, node);
    struct error problem = {{0}};
    struct filler filler = {.arena = arena, .problems = {.error = &problem}};
    if (fill(&filler, "flags", node, &scenario_table, scenario) &&
        problems_finish(&filler.problems))
        return true;
    /* "--servers:0:0: servers: …": the place says nothing here, the key repeats the flag */
    const char *text = problem.text + strlen(source) + strlen(":0:0: ");
    size_t key_bytes = strlen(option->key);
    if (strncmp(text, option->key, key_bytes) == 0 && text[key_bytes] == ':')
        text += key_bytes + 2;
    return error_set(error, "--%s: %s", flag->name, text);
}

/* ---- what no single row can check ---- */

/* The error's text begins with a path into the file. */
static bool check(const struct scenario *scenario, struct error *error)
{
    static const char *const groups[] = {"core", "tables", "sizes", "statements", NULL};
    struct slo slo;
    if (scenario->slo != NULL && !slo_parse(scenario->slo, &slo, error))
        return error_prefix(error, "slo: ");
    if (scenario->groups.count == 0)
        return error_set(error, "groups: name one at least, such as [core]");
    for (size_t i = 0; i < scenario->groups.count; i++) {
        size_t known = 0;
        while (groups[known] != NULL && strcmp(groups[known], scenario->groups.items[i]) != 0)
            known++;
        if (groups[known] == NULL)
            return error_set(error,
                             "groups: \"%.64s\" is no group: known are core, tables, sizes, "
                             "statements",
                             scenario->groups.items[i]);
    }
    if (scenario->collector != NULL && scenario->collector_config != NULL)
        return error_set(error, "collector_config: goes with our own collector, not with one of "
                                "your own: give it to your command");
    if (scenario->collector_admin != NULL && scenario->collector == NULL)
        return error_set(error, "collector_admin: only where `collector` is a command of yours");
    if (scenario->server != NULL && scenario->kind != SCENARIO_STEADY &&
        scenario->kind != SCENARIO_SOAK)
        return error_set(error, "server: a real server takes part in steady and soak only, the "
                                "others need the simulator");
    if (scenario->kind == SCENARIO_RAMP && scenario->ramp.factor <= 1)
        return error_set(error, "ramp.factor: must be above 1, such as 2");
    if (scenario->kind == SCENARIO_KNEE && scenario->knee.from >= scenario->knee.to)
        return error_set(error, "knee.from: must be below knee.to");
    return true;
}

/* ---- loading ---- */

static bool parse_file(struct arena *arena, const char *path, const struct yaml_node **ret_root,
                       struct error *error)
{
    size_t bytes = 0;
    char *text = files_read(path, FILE_BYTES_MAX, &bytes, error);
    if (text == NULL)
        return false;
    bool parsed = yaml_parse(arena, arena_text(arena, path), text, bytes, ret_root, error);
    free(text);
    return parsed;
}

/* A path in a scenario begins at the scenario's own directory. */
static const char *beside(struct arena *arena, const char *scenario, const char *path)
{
    const char *name = strrchr(scenario, '/');
    if (path == NULL || path[0] == '/' || name == NULL)
        return path;
    return arena_format(arena, "%.*s/%s", (int)(name - scenario), scenario, path);
}

bool scenario_load(struct arena *arena, int kind, const char *path,
                   const struct scenario_flag *flags, size_t flag_count,
                   struct scenario *ret_scenario, struct error *error)
{
    memset(ret_scenario, 0, sizeof *ret_scenario);
    error->text[0] = 0;
    struct filler filler = {.arena = arena, .problems = {.error = error}};
    fill_defaults(&filler, &scenario_table, ret_scenario);
    const struct yaml_node *root = NULL;
    if (path != NULL) {
        if (!parse_file(arena, path, &root, error))
            return false;
        bool good = fill(&filler, "scenario", root, &scenario_table, ret_scenario);
        if (!problems_finish(&filler.problems) || !good)
            return false;
        ret_scenario->collector_config = beside(arena, path, ret_scenario->collector_config);
    }
    if (kind >= 0)
        ret_scenario->kind = kind;
    for (size_t i = 0; i < flag_count; i++)
        if (!apply_flag(arena, &flags[i], ret_scenario, error))
            return false;
    if (ret_scenario->name == NULL)
        ret_scenario->name = scenario_kinds[ret_scenario->kind];
    if (check(ret_scenario, error))
        return true;
    const struct yaml_node *node = root != NULL ? fill_follow(root, error->text) : NULL;
    if (node != NULL && node != root)
        error_prefix(error, "%s:%u:%u: ", node->source, node->line, node->column);
    return false;
}

/* ---- help ---- */

static void print_flag(FILE *out, const char *group, const struct option *option)
{
    char name[FLAG_BYTES];
    int used = snprintf(name, sizeof name, "--%s%s%s%s", group, *group != 0 ? "-" : "", option->key,
                        option->type == OPTION_BOOL ? "" : " X");
    for (int i = 0; i < used; i++)
        if (name[i] == '_')
            name[i] = '-';
    fprintf(out, "  %-24s %s", name, option->help);
    if (option->type == OPTION_ENUM)
        for (int i = 0; option->choices[i] != NULL; i++)
            fprintf(out, "%s%s", i == 0 ? " One of " : ", ", option->choices[i]);
    if (option->fallback != NULL)
        fprintf(out, " (%s)", option->fallback);
    fputc('\n', out);
}

void scenario_print_flags(FILE *out)
{
    for (const struct option *option = scenario_table.options; option->key != NULL; option++) {
        if (option->type == OPTION_GROUP)
            for (const struct option *inner = option->table->options; inner->key != NULL; inner++)
                print_flag(out, option->key, inner);
        else if (option->type != OPTION_GROUP_LIST && strcmp(option->key, "kind") != 0)
            print_flag(out, "", option);
    }
}
