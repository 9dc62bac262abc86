/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration as a whole: sources → one tree → components with filled settings → pipelines of
 * components. Everything lives in one arena, which is wiped at the end, as it holds secrets. All
 * problems of all sections are looked for before anything is refused. Main thread. */
#include "config/config.h"

#include "base/memory.h"
#include "config/expand.h"
#include "config/fill.h"
#include "config/pipelines.h"
#include "config/service.h"
#include "config/source.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct loaded_config {
    struct config config; /* first: what callers hold points here */
    struct arena arena;
};

/* The id of a component is type or type/name (Collector, component.ID). */
static bool id_valid(const char *id)
{
    size_t type_bytes = strcspn(id, "/");
    if (!isalpha((unsigned char)id[0]) || id[strlen(id) - 1] == '/')
        return false;
    for (size_t i = 0; i < type_bytes; i++)
        if (!isalnum((unsigned char)id[i]) && id[i] != '_')
            return false;
    return strcspn(id, " \t\n") == strlen(id);
}

static bool refuse_type(struct filler *filler, component_registry registry,
                        enum component_kind kind, const struct yaml_node *key)
{
    char list[512] = "";
    const char *known[64], *type = arena_copy(filler->arena, key->text, strcspn(key->text, "/"));
    size_t count = 0, used = 0;
    for (size_t i = 0; registry[i] != NULL; i++) {
        if (registry[i]->kind != kind || count == sizeof known / sizeof known[0])
            continue;
        if (used < sizeof list)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s",
                                     count == 0 ? "" : ", ", registry[i]->type);
        known[count++] = registry[i]->type;
    }
    const char *nearest = yaml_nearest(type, known, count);
    return problem_add(&filler->problems, key, "unknown %s \"%.64s\": %s%s%sknown are %s",
                       section_member(kind), type, nearest != NULL ? "did you mean \"" : "",
                       nearest != NULL ? nearest : "", nearest != NULL ? "\"? " : "",
                       count == 0 ? "none" : list);
}

/* False when the reader cannot know the component, so that references to it would lead nowhere. */
static bool load_instance(struct filler *filler, component_registry registry,
                          enum component_kind kind, const struct yaml_node *section, size_t index,
                          struct config *config)
{
    const struct yaml_node *key = section->key_nodes[index], *body = section->items[index];
    struct component_id id = component_id(filler->arena, registry, kind, key->text);
    if (!id_valid(key->text))
        return problem_add(&filler->problems, key,
                           "\"%.64s\" is not a component's id: write type or type/name", key->text);
    if (id.component == NULL)
        return refuse_type(filler, registry, kind, key);
    if (id.alias)
        problem_warn(&filler->problems, key, NULL, "%s \"%s\" is an old name: write \"%s\"",
                     section_member(kind), key->text, id.canonical);
    for (size_t i = 0; i < config->instance_count; i++)
        if (config->instances[i].component == id.component &&
            strcmp(config->instances[i].id, id.canonical) == 0)
            return problem_add(&filler->problems, key,
                               "duplicate %s \"%s\", first at line %u: remove one, or name it "
                               "\"%s/other\"",
                               section_member(kind), id.canonical, config->instances[i].place.line,
                               id.component->type);
    const struct option_table *table = &id.component->table;
    void *settings = arena_take(filler->arena, table->size);
    fill_defaults(filler, table, settings);
    struct error error;
    if (fill(filler, key->text, body, table, settings) && id.component->validate != NULL &&
        !id.component->validate(settings, &error)) {
        const struct yaml_node *place = fill_follow(yaml_is_null(body) ? key : body, error.text);
        problem_add(&filler->problems, place == body ? key : place, "%s", error.text);
    }
    config->instances[config->instance_count++] =
        (struct instance){.component = id.component,
                          .id = id.canonical,
                          .settings = settings,
                          .place = {key->source, key->line, key->column}};
    return true;
}

/* The map under `name`, variables put in; NULL when it is absent, null or wrong (then said). */
static const struct yaml_node *find_section(struct filler *filler, const struct yaml_node *root,
                                            const char *name)
{
    struct error error;
    const struct yaml_node *shown = yaml_find(root, name);
    if (shown == NULL)
        return NULL;
    const struct yaml_node *node = expand_to(filler->arena, shown, YAML_MAPPING, &error);
    if (node == NULL)
        problem_add_text(&filler->problems, error.text);
    else if (!yaml_is_null(node) && node->kind != YAML_MAPPING)
        problem_add(&filler->problems, shown, "%s: expected a map of components", name);
    return node != NULL && node->kind == YAML_MAPPING ? node : NULL;
}

static void check_sections(struct filler *filler, const struct yaml_node *root)
{
    static const char *const known[] = {"receivers",  "processors", "exporters",
                                        "extensions", "connectors", "service"};
    enum { KNOWN_COUNT = sizeof known / sizeof known[0] };
    for (size_t i = 0; i < root->count; i++) {
        size_t at = 0;
        while (at < KNOWN_COUNT && strcmp(known[at], root->keys[i]) != 0)
            at++;
        if (at == KNOWN_COUNT)
            fill_unknown(filler, root->key_nodes[i], known, KNOWN_COUNT);
    }
    const struct yaml_node *connectors = find_section(filler, root, "connectors");
    if (connectors != NULL && connectors->count > 0)
        problem_add(&filler->problems, connectors->key_nodes[0],
                    "unknown connector \"%.64s\": pgweir has no connectors: remove it",
                    connectors->keys[0]);
}

static bool load_instances(struct filler *filler, component_registry registry,
                           const struct yaml_node *root, struct config *config)
{
    const struct yaml_node *sections[COMPONENT_KIND_COUNT];
    size_t most = 0;
    unsigned problems_before = filler->problems.count;
    for (int kind = 0; kind < COMPONENT_KIND_COUNT; kind++) {
        sections[kind] = find_section(filler, root, section_name((enum component_kind)kind));
        most += sections[kind] != NULL ? sections[kind]->count : 0;
    }
    config->instances = arena_take(filler->arena, most * sizeof *config->instances);
    bool known = filler->problems.count == problems_before;
    for (int kind = 0; kind < COMPONENT_KIND_COUNT; kind++)
        for (size_t i = 0; sections[kind] != NULL && i < sections[kind]->count; i++)
            known &= load_instance(filler, registry, (enum component_kind)kind, sections[kind], i,
                                   config);
    return known;
}

static void load_service(struct filler *filler, component_registry registry,
                         const struct yaml_node *root, bool components_known, struct config *config)
{
    struct service_file *file = arena_take(filler->arena, sizeof *file);
    const struct yaml_node *service = yaml_find(root, "service");
    fill_defaults(filler, &service_table, file);
    if (service == NULL) {
        problem_add(&filler->problems, root,
                    "section \"service\" is missing: it names the pipelines to run");
        return;
    }
    bool good = fill(filler, "service", service, &service_table, file);
    config->service = file->settings;
    if (good && components_known)
        pipelines_resolve(filler, registry, file, service, config);
}

bool config_load(struct config **ret_config, const char *const *sources, size_t source_count,
                 component_registry registry, struct error *error)
{
    struct loaded_config *loaded = xcalloc(1, sizeof *loaded);
    struct filler filler = {.arena = &loaded->arena, .problems = {.error = error}};
    const struct yaml_node *root;
    struct config *config = &loaded->config;
    if (!source_load(filler.arena, sources, source_count, &root, error))
        goto fail;
    if (yaml_is_null(root)) {
        yaml_error(root, error,
                   "the configuration is empty: it needs receivers, exporters and service");
        goto fail;
    }
    check_sections(&filler, root);
    bool known = load_instances(&filler, registry, root, config);
    load_service(&filler, registry, root, known, config);
    if (!problems_finish(&filler.problems))
        goto fail;
    *ret_config = config;
    return true;
fail:
    config_destroy(&config);
    return false;
}

void config_destroy(struct config **config)
{
    struct loaded_config *loaded = (struct loaded_config *)*config;
    if (loaded == NULL)
        return;
    arena_fini(&loaded->arena);
    free(loaded);
    *config = NULL;
}
