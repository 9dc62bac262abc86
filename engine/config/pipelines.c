/* SPDX-License-Identifier: Apache-2.0 */
/* From names in `service` to components: pipelines and extensions. Main thread. */
#include "config/pipelines.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct resolver_context {
    struct filler *filler;
    component_registry registry;
    struct config *config;
    bool *used; /* by index into config->instances */
};

struct component_id component_id(struct arena *arena, component_registry registry,
                                 enum component_kind kind, const char *text)
{
    size_t type_bytes = strcspn(text, "/");
    struct component_id id = {.canonical = text};
    for (size_t i = 0; registry[i] != NULL; i++) {
        const struct component *component = registry[i];
        if (component->kind != kind)
            continue;
        const char *const *alias = component->aliases;
        bool same =
            strlen(component->type) == type_bytes && memcmp(component->type, text, type_bytes) == 0;
        while (!same && alias != NULL && *alias != NULL) {
            if (strlen(*alias) == type_bytes && memcmp(*alias, text, type_bytes) == 0) {
                id.alias = true;
                break;
            }
            alias++;
        }
        if (same || id.alias) {
            id.component = component;
            break;
        }
    }
    if (id.alias)
        id.canonical = arena_format(arena, "%s%s", id.component->type, text + type_bytes);
    return id;
}

/* The child under `key`, or the node itself where there is none: the nearest place to point at. */
static const struct yaml_node *near(const struct yaml_node *node, const char *key)
{
    const struct yaml_node *child = yaml_find(node, key);
    return child != NULL && !yaml_is_null(child) ? child : node;
}

static const struct yaml_node *near_item(const struct yaml_node *list, size_t index)
{
    return list->kind == YAML_SEQUENCE && index < list->count ? list->items[index] : list;
}

static const struct yaml_node *near_key(const struct yaml_node *mapping, const char *key)
{
    for (size_t i = 0; mapping->kind == YAML_MAPPING && i < mapping->count; i++)
        if (strcmp(mapping->keys[i], key) == 0)
            return mapping->key_nodes[i];
    return mapping;
}

static const struct instance *find_instance(struct resolver_context *context,
                                            enum component_kind kind, const char *name)
{
    struct config *config = context->config;
    struct component_id id = component_id(context->filler->arena, context->registry, kind, name);
    for (size_t i = 0; i < config->instance_count; i++)
        if (config->instances[i].component->kind == kind &&
            strcmp(config->instances[i].id, id.canonical) == 0) {
            context->used[i] = true;
            return &config->instances[i];
        }
    return NULL;
}

static void refuse_reference(struct resolver_context *context, enum component_kind kind,
                             const struct yaml_node *place, const char *user, const char *name)
{
    const struct config *config = context->config;
    const char **known =
        arena_take(context->filler->arena, (config->instance_count + 1) * sizeof *known);
    size_t count = 0;
    for (size_t i = 0; i < config->instance_count; i++)
        if (config->instances[i].component->kind == kind)
            known[count++] = config->instances[i].id;
    const char *nearest = yaml_nearest(name, known, count);
    if (nearest != NULL)
        problem_add(&context->filler->problems, place,
                    "%s: %s \"%.64s\" is not configured: did you mean \"%s\"?", user,
                    section_member(kind), name, nearest);
    else
        problem_add(&context->filler->problems, place,
                    "%s: %s \"%.64s\" is not configured: add it under %s, or remove it here", user,
                    section_member(kind), name, section_name(kind));
}

static const struct instance **resolve_list(struct resolver_context *context,
                                            enum component_kind kind, const struct text_list *names,
                                            const struct yaml_node *list, const char *user)
{
    const struct instance **found =
        arena_take(context->filler->arena, (names->count + 1) * sizeof *found);
    for (size_t i = 0; i < names->count; i++) {
        const struct yaml_node *place = near_item(list, i);
        if (names->items[i] == NULL)
            continue; /* said already */
        found[i] = find_instance(context, kind, names->items[i]);
        if (found[i] == NULL)
            refuse_reference(context, kind, place, user, names->items[i]);
        for (size_t j = 0; found[i] != NULL && j < i; j++)
            if (found[j] == found[i])
                problem_add(&context->filler->problems, place,
                            "%s: %s \"%s\" stands there twice: remove one", user,
                            section_member(kind), found[i]->id);
    }
    return found;
}

/* Only metrics go through pgweir. */
static bool check_signal(struct resolver_context *context, const struct yaml_node *key,
                         const char *id)
{
    static const char *const others[] = {"traces", "logs", "profiles"};
    size_t bytes = strcspn(id, "/");
    if (bytes == strlen("metrics") && memcmp(id, "metrics", bytes) == 0)
        return true;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (strlen(others[i]) == bytes && memcmp(id, others[i], bytes) == 0)
            return problem_add(&context->filler->problems, key,
                               "pipeline \"%.64s\": pgweir carries metrics only: remove this "
                               "pipeline, or leave it to another collector",
                               id);
    return problem_add(&context->filler->problems, key,
                       "pipeline \"%.64s\": unknown signal: name it metrics or metrics/NAME", id);
}

static void resolve_pipeline(struct resolver_context *context, const struct pipeline_file *file,
                             const struct yaml_node *node, struct pipeline *pipeline)
{
    char user[128];
    snprintf(user, sizeof user, "pipeline \"%.64s\"", pipeline->id);
    pipeline->receivers =
        resolve_list(context, COMPONENT_RECEIVER, &file->receivers, near(node, "receivers"), user);
    pipeline->processors = resolve_list(context, COMPONENT_PROCESSOR, &file->processors,
                                        near(node, "processors"), user);
    pipeline->exporters =
        resolve_list(context, COMPONENT_EXPORTER, &file->exporters, near(node, "exporters"), user);
    pipeline->receiver_count = file->receivers.count;
    pipeline->processor_count = file->processors.count;
    pipeline->exporter_count = file->exporters.count;
    if (file->receivers.count == 0 || file->exporters.count == 0)
        problem_add(&context->filler->problems, node,
                    "%s: no %s: a pipeline needs at least one receiver and one exporter", user,
                    file->receivers.count == 0 ? "receiver" : "exporter");
}

/* An extension that a component's settings name. */
static void check_extension(struct resolver_context *context, const struct instance *instance,
                            const struct yaml_node *place)
{
    const struct component *component = instance->component;
    if (component->extension_offset == 0)
        return;
    const char *const *name =
        (const void *)((const char *)instance->settings + component->extension_offset);
    const struct config *config = context->config;
    for (size_t i = 0; *name != NULL && i < config->extension_count; i++)
        if (config->extensions[i] != NULL && strcmp(config->extensions[i]->id, *name) == 0)
            return;
    if (*name != NULL)
        problem_add(&context->filler->problems, place,
                    "%s: there is no extension \"%.64s\" in use: add it to service.extensions, or "
                    "remove the key",
                    component->extension_key, *name);
}

static void check_use(struct resolver_context *context)
{
    const struct config *config = context->config;
    size_t exporters = 0;
    for (size_t i = 0; i < config->instance_count; i++) {
        const struct instance *instance = &config->instances[i];
        struct yaml_node place = {.source = instance->place.source,
                                  .line = instance->place.line,
                                  .column = instance->place.column};
        exporters += instance->component->kind == COMPONENT_EXPORTER && context->used[i];
        if (context->used[i])
            check_extension(context, instance, &place);
        if (!context->used[i])
            problem_warn(&context->filler->problems, &place, NULL,
                         "%s \"%s\" is configured but not used: name it under service.%s",
                         section_member(instance->component->kind), instance->id,
                         instance->component->kind == COMPONENT_EXTENSION ? "extensions"
                                                                          : "pipelines");
        else if (exporters > LIMIT_DESTINATIONS)
            problem_add(&context->filler->problems, &place,
                        "more than %d exporters are in use: that is the limit", LIMIT_DESTINATIONS);
    }
}

void pipelines_resolve(struct filler *filler, component_registry registry,
                       const struct service_file *file, const struct yaml_node *service,
                       struct config *config)
{
    struct resolver_context context = {filler, registry, config, NULL};
    context.used = arena_take(filler->arena, config->instance_count * sizeof *context.used);
    config->extensions = resolve_list(&context, COMPONENT_EXTENSION, &file->extensions,
                                      near(service, "extensions"), "service.extensions");
    config->extension_count = file->extensions.count;

    const struct yaml_node *nodes = near(service, "pipelines");
    const struct pipeline_file *files = file->pipelines.items;
    config->pipelines = arena_take(filler->arena, file->pipelines.count * sizeof(struct pipeline));
    for (size_t i = 0; i < file->pipelines.count; i++) {
        struct pipeline *pipeline = &config->pipelines[config->pipeline_count];
        const struct yaml_node *key = near_key(nodes, file->pipelines.keys[i]);
        pipeline->id = file->pipelines.keys[i];
        pipeline->place = (struct place){key->source, key->line, key->column};
        if (!check_signal(&context, key, pipeline->id))
            continue;
        resolve_pipeline(&context, &files[i], near(nodes, pipeline->id), pipeline);
        if (config->pipeline_count++ == LIMIT_PIPELINES)
            problem_add(&filler->problems, key, "more than %d pipelines: that is the limit",
                        LIMIT_PIPELINES);
    }
    if (file->pipelines.count == 0 && filler->problems.count == 0)
        problem_add(&filler->problems, nodes,
                    "service.pipelines is empty: add a pipeline, such as metrics: {receivers: "
                    "[postgresql], exporters: [debug]}");
    if (filler->problems.count == 0)
        check_use(&context);
}
