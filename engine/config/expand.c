/* SPDX-License-Identifier: Apache-2.0 */
/* Substitution of variables and files in scalars, as in the Collector, with one difference: a
 * variable that is not set and has no default is an error that names it, where the Collector goes
 * on with nothing. Done when a value is read, so what nobody reads need not be set. Main thread. */
#include "config/expand.h"

#include "base/memory.h"
#include "config/file.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pgweir/limits.h>

struct expansion {
    struct arena *arena;
    const struct yaml_node *node;
    struct error *error;
    char *text; /* the result so far, wiped when it moves */
    size_t used, capacity;
};

static void append(struct expansion *expansion, const char *text, size_t bytes)
{
    size_t needed = expansion->used + bytes + 1;
    if (needed > expansion->capacity) {
        size_t capacity = 2 * needed;
        char *larger = xmalloc(capacity);
        if (expansion->used > 0)
            memcpy(larger, expansion->text, expansion->used);
        file_free(&expansion->text, expansion->used);
        expansion->text = larger;
        expansion->capacity = capacity;
    }
    memcpy(expansion->text + expansion->used, text, bytes);
    expansion->used += bytes;
    expansion->text[expansion->used] = 0;
}

static bool name_valid(const char *name)
{
    if (!isalpha((unsigned char)name[0]) && name[0] != '_')
        return false;
    for (const char *c = name; *c != 0; c++)
        if (!isalnum((unsigned char)*c) && *c != '_')
            return false;
    return true;
}

static bool put_variable(struct expansion *expansion, char *name)
{
    char *fallback = strstr(name, ":-");
    if (fallback != NULL) {
        *fallback = 0;
        fallback += 2;
    }
    if (!name_valid(name))
        return yaml_error(expansion->node, expansion->error,
                          "\"%s\" is not the name of a variable: write ${env:NAME}, and $$ for a "
                          "dollar",
                          name);
    const char *value = getenv(name);
    if (value == NULL || (value[0] == 0 && fallback != NULL))
        value = fallback;
    if (value == NULL)
        return yaml_error(expansion->node, expansion->error,
                          "variable %s is not set: set it, or give a default: ${env:%s:-default}",
                          name, name);
    append(expansion, value, strlen(value));
    return true;
}

static bool put_file(struct expansion *expansion, const char *path)
{
    char *text;
    size_t bytes;
    if (!file_read(path, LIMIT_CONFIG_BYTES, &text, &bytes, expansion->error))
        return error_prefix(expansion->error, "%s:%u:%u: ${file:…}: ", expansion->node->source,
                            expansion->node->line, expansion->node->column);
    size_t kept = bytes;
    if (kept > 0 && text[kept - 1] == '\n')
        kept--;
    if (kept > 0 && kept < bytes && text[kept - 1] == '\r')
        kept--;
    bool good = memchr(text, 0, kept) == NULL;
    if (good)
        append(expansion, text, kept);
    else
        yaml_error(expansion->node, expansion->error,
                   "${file:%s}: has a NUL character: it must be text", path);
    file_free(&text, bytes);
    return good;
}

/* `inner` is what stands between ${ and }; it is changed. */
static bool put_reference(struct expansion *expansion, char *inner)
{
    char *colon = strchr(inner, ':');
    if (strstr(inner, "${") != NULL)
        return yaml_error(
            expansion->node, expansion->error,
            "${…} inside ${…} is not supported: put the whole value into one variable");
    if (colon == NULL || colon[1] == '-')
        return put_variable(expansion, inner);
    *colon = 0;
    if (strcmp(inner, "env") == 0)
        return put_variable(expansion, colon + 1);
    if (strcmp(inner, "file") == 0)
        return put_file(expansion, colon + 1);
    return yaml_error(expansion->node, expansion->error,
                      "${%s:…}: unknown source \"%s\": env and file are known", inner, inner);
}

static bool run(struct expansion *expansion)
{
    const char *at = expansion->node->text;
    while (*at != 0) {
        size_t literal = strcspn(at, "$");
        append(expansion, at, literal);
        at += literal;
        if (*at == 0)
            break;
        if (at[1] == '{') {
            const char *end = strchr(at, '}');
            if (end == NULL)
                return yaml_error(expansion->node, expansion->error,
                                  "\"${\" without \"}\": close it, or write $$ for a dollar");
            char *inner = arena_copy(expansion->arena, at + 2, (size_t)(end - at - 2));
            if (!put_reference(expansion, inner))
                return false;
            at = end + 1;
        } else {
            append(expansion, "$", 1);
            at += at[1] == '$' ? 2 : 1;
        }
    }
    return true;
}

const struct yaml_node *expand(struct arena *arena, const struct yaml_node *node,
                               struct error *error)
{
    if (node->kind != YAML_SCALAR || strchr(node->text, '$') == NULL)
        return node;
    struct expansion expansion = {.arena = arena, .node = node, .error = error};
    struct yaml_node *expanded = NULL;
    if (run(&expansion)) {
        expanded = arena_take(arena, sizeof *expanded);
        *expanded = *node;
        expanded->text = arena_copy(arena, expansion.text, expansion.used);
        expanded->bytes = expansion.used;
    }
    file_free(&expansion.text, expansion.used);
    return expanded;
}

const struct yaml_node *expand_to(struct arena *arena, const struct yaml_node *node,
                                  enum yaml_kind wanted, struct error *error)
{
    const struct yaml_node *expanded = expand(arena, node, error);
    if (expanded == NULL || expanded == node || wanted == YAML_SCALAR || yaml_is_null(expanded))
        return expanded;
    char source[512];
    snprintf(source, sizeof source, "%s:%u:%u: in %.200s", node->source, node->line, node->column,
             node->text);
    const struct yaml_node *parsed = NULL;
    if (!yaml_parse(arena, source, expanded->text, expanded->bytes, &parsed, error))
        return NULL;
    return parsed->kind == wanted ? parsed : expanded;
}
