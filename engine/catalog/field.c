/* SPDX-License-Identifier: Apache-2.0 */
/* The small parts that documents are made of: keys, texts, names, choices, durations; each mistake
 * is answered with its place and its cure. Main thread, at start-up and reload. */
#include "catalog/query.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

bool name_valid(const char *name, const char *also, size_t bytes_max)
{
    size_t bytes = strlen(name);
    if (!bytes || bytes > bytes_max)
        return false;
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)name[i];
        if (!islower(c) && !isdigit(c) && c != '_' && !strchr(also, c))
            return false;
    }
    return true;
}

bool keys_check(const struct yaml_node *mapping, const char *what, const char *const *allowed,
                struct error *error)
{
    if (mapping->kind != YAML_MAPPING)
        return yaml_error(mapping, error, "%s must be a mapping of keys to values", what);
    size_t allowed_count = 0;
    while (allowed[allowed_count])
        allowed_count++;
    for (size_t i = 0; i < mapping->count; i++) {
        size_t at = 0;
        while (at < allowed_count && strcmp(allowed[at], mapping->keys[i]) != 0)
            at++;
        if (at < allowed_count)
            continue;
        const char *near = yaml_nearest(mapping->keys[i], allowed, allowed_count);
        return yaml_error(mapping->key_nodes[i], error, "unknown key \"%s\" in %s%s%s%s",
                          mapping->keys[i], what, near ? "; did you mean \"" : "", near ? near : "",
                          near ? "\"?" : "");
    }
    return true;
}

bool text_read(const struct yaml_node *mapping, const char *key, const char **ret_text,
               struct error *error)
{
    const struct yaml_node *node = yaml_find(mapping, key);
    if (!node)
        return true;
    if (node->kind != YAML_SCALAR || yaml_is_null(node))
        return yaml_error(node, error, "\"%s\" must be a text", key);
    if (strlen(node->text) != node->bytes)
        return yaml_error(node, error, "\"%s\" holds a NUL byte", key);
    *ret_text = node->text;
    return true;
}

bool bool_read(const struct yaml_node *mapping, const char *key, bool *ret, struct error *error)
{
    const struct yaml_node *node = yaml_find(mapping, key);
    if (!node)
        return true;
    if (node->kind == YAML_SCALAR && node->plain && strcmp(node->text, "true") == 0)
        *ret = true;
    else if (node->kind == YAML_SCALAR && node->plain && strcmp(node->text, "false") == 0)
        *ret = false;
    else
        return yaml_error(node, error, "\"%s\" must be true or false", key);
    return true;
}

/* The index of one of `choices`, which ends with NULL; a missing key leaves *ret as it is. */
bool choice_read(const struct yaml_node *mapping, const char *key, const char *const *choices,
                 int *ret, struct error *error)
{
    const char *text = NULL;
    if (!text_read(mapping, key, &text, error))
        return false;
    if (!text)
        return true;
    for (int i = 0; choices[i]; i++) {
        if (strcmp(choices[i], text) == 0) {
            *ret = i;
            return true;
        }
    }
    return yaml_error(yaml_find(mapping, key), error, "\"%s\" must be %s or %s, not \"%s\"", key,
                      choices[0], choices[1], text);
}

bool duration_read(const struct yaml_node *mapping, const char *key, uint64_t *ret_ns,
                   struct error *error)
{
    const char *text = NULL;
    if (!text_read(mapping, key, &text, error))
        return false;
    if (!text)
        return true;
    char *end = NULL;
    unsigned long long number = isdigit((unsigned char)text[0]) ? strtoull(text, &end, 10) : 0;
    uint64_t unit = !end                     ? 0
                    : strcmp(end, "ms") == 0 ? 1000000u
                    : strcmp(end, "s") == 0  ? 1000000000u
                                             : 0;
    if (!unit || !number || number > 3600000)
        return yaml_error(yaml_find(mapping, key), error,
                          "\"%s\" must be a duration such as 500ms or 10s, not \"%s\"", key, text);
    *ret_ns = number * unit;
    return true;
}
