/* SPDX-License-Identifier: Apache-2.0 */
/* Where a configuration comes from; see the header. Main thread. */
#include "config/source.h"

#include "base/check.h"
#include "config/file.h"

#include <pgweir/limits.h>

#include <stdlib.h>
#include <string.h>

static const char *after(const char *text, const char *prefix)
{
    size_t bytes = strlen(prefix);
    return strncmp(text, prefix, bytes) == 0 ? text + bytes : NULL;
}

static bool parse_source(struct arena *arena, const char *source, const struct yaml_node **ret_root,
                         struct error *error)
{
    const char *text = after(source, "yaml:");
    if (text != NULL)
        return yaml_parse(arena, "yaml", text, strlen(text), ret_root, error);
    const char *name = after(source, "env:");
    if (name != NULL) {
        text = getenv(name);
        if (text == NULL)
            return error_set(error, "%s: variable %s is not set: it should hold YAML text", source,
                             name);
        return yaml_parse(arena, source, text, strlen(text), ret_root, error);
    }
    const char *path = after(source, "file:");
    char *read_text;
    size_t bytes;
    path = path != NULL ? path : source;
    if (!file_read(path, LIMIT_CONFIG_BYTES, &read_text, &bytes, error))
        return false;
    bool good = yaml_parse(arena, path, read_text, bytes, ret_root, error);
    file_free(&read_text, bytes);
    return good;
}

static const struct yaml_node *merge(struct arena *arena, const struct yaml_node *below,
                                     const struct yaml_node *above)
{
    if (yaml_is_null(above))
        return below;
    if (below->kind != YAML_MAPPING || above->kind != YAML_MAPPING)
        return above;
    size_t most = below->count + above->count, count = below->count;
    const char **keys = arena_take(arena, most * sizeof *keys);
    const struct yaml_node **key_nodes = arena_take(arena, most * sizeof *key_nodes);
    const struct yaml_node **items = arena_take(arena, most * sizeof *items);
    for (size_t i = 0; i < below->count; i++) {
        keys[i] = below->keys[i];
        key_nodes[i] = below->key_nodes[i];
        items[i] = below->items[i];
    }
    for (size_t i = 0; i < above->count; i++) {
        size_t at = 0;
        while (at < below->count && strcmp(keys[at], above->keys[i]) != 0)
            at++;
        if (at == below->count)
            at = count++;
        bool merged = at < below->count;
        keys[at] = above->keys[i];
        key_nodes[at] = above->key_nodes[i];
        /* calls itself; yaml_parse() bounds the depth by LIMIT_CONFIG_DEPTH */
        items[at] = merged ? merge(arena, items[at], above->items[i]) : above->items[i];
    }
    struct yaml_node *result = arena_take(arena, sizeof *result);
    *result = *above;
    result->keys = keys;
    result->key_nodes = key_nodes;
    result->items = items;
    result->count = count;
    return result;
}

bool source_load(struct arena *arena, const char *const *sources, size_t source_count,
                 const struct yaml_node **ret_root, struct error *error)
{
    const struct yaml_node *root = NULL;
    if (source_count == 0)
        return error_set(error, "no configuration given: name a file with --config=FILE");
    for (size_t i = 0; i < source_count; i++) {
        const struct yaml_node *one = NULL;
        if (!parse_source(arena, sources[i], &one, error))
            return false;
        if (!yaml_is_null(one) && one->kind != YAML_MAPPING)
            return yaml_error(one, error,
                              "a configuration is a map with receivers, exporters and service");
        root = root == NULL ? one : merge(arena, root, one);
    }
    *ret_root = root;
    return true;
}
