/* SPDX-License-Identifier: Apache-2.0 */
/* Fills settings structs from YAML by option tables: the one place that knows what a duration, an
 * enum or a list of groups looks like in a file. Main thread, at start and reload.
 *
 * Functions here call each other as deep as tables nest; tables are constant data, so that depth is
 * known and small (three today). */
#include "config/fill.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "config/expand.h"
#include "config/value.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { TABLE_OPTIONS_MAX = 64, KNOWN_LISTED_MAX = 12 };

static bool fill_option(struct filler *filler, const struct yaml_node *node,
                        const struct option *option, char *settings);

static const char *kind_name(const struct yaml_node *node)
{
    switch (node->kind) {
    case YAML_SCALAR:
        return "a single value";
    case YAML_SEQUENCE:
        return "a list";
    case YAML_MAPPING:
        return "a map";
    }
    return "?";
}

static bool refuse_range(struct filler *filler, const struct yaml_node *node,
                         const struct option *option)
{
    char low[VALUE_TEXT_BYTES], high[VALUE_TEXT_BYTES];
    value_format_bounds(option, low, high);
    return problem_add(&filler->problems, node,
                       "%s: %.64s is out of range: it must be from %s to %s", option->key,
                       node->text, low, high);
}

static bool bounded(const struct option *option)
{
    return option->min != 0 || option->max != 0;
}

static bool within(const struct option *option, int64_t value)
{
    return !bounded(option) || (value >= option->min && value <= option->max);
}

static bool fill_number(struct filler *filler, const struct yaml_node *shown, const char *text,
                        const struct option *option, void *field)
{
    int64_t number = 0;
    uint64_t ns = 0;
    double real = 0;
    switch ((int)option->type) {
    case OPTION_INT:
        if (!value_parse_int(text, &number))
            return problem_add(&filler->problems, shown,
                               "%s: \"%.64s\" is not a whole number: write one such as 10",
                               option->key, shown->text);
        *(int64_t *)field = number;
        return within(option, number) || refuse_range(filler, shown, option);
    case OPTION_BYTES:
        if (!value_parse_bytes(text, &number))
            return problem_add(&filler->problems, shown,
                               "%s: \"%.64s\" is not a size: write one such as 64MiB", option->key,
                               shown->text);
        *(int64_t *)field = number;
        return within(option, number) || refuse_range(filler, shown, option);
    case OPTION_DURATION:
        if (!value_parse_duration(text, &ns))
            return problem_add(
                &filler->problems, shown,
                "%s: \"%.64s\" is not a duration: write a number and a unit, such as 10s, 500ms "
                "or 1h30m",
                option->key, shown->text);
        *(uint64_t *)field = ns;
        return within(option, (int64_t)ns) || refuse_range(filler, shown, option);
    default:
        if (!value_parse_double(text, &real))
            return problem_add(&filler->problems, shown,
                               "%s: \"%.64s\" is not a number: write one such as 0.5", option->key,
                               shown->text);
        *(double *)field = real;
        return !bounded(option) || (real >= (double)option->min && real <= (double)option->max) ||
               refuse_range(filler, shown, option);
    }
}

static bool fill_enum(struct filler *filler, const struct yaml_node *shown, const char *text,
                      const struct option *option, int *field)
{
    char choices[256];
    size_t used = 0;
    choices[0] = 0;
    for (int i = 0; option->choices[i] != NULL; i++) {
        if (strcasecmp(text, option->choices[i]) == 0) {
            *field = i;
            return true;
        }
        if (used < sizeof choices)
            used += (size_t)snprintf(choices + used, sizeof choices - used, "%s%s",
                                     i == 0 ? "" : ", ", option->choices[i]);
    }
    return problem_add(&filler->problems, shown, "%s: \"%.64s\" is none of %s", option->key,
                       shown->text, choices);
}

/* `node` is a scalar with its variables put in, `shown` as it stands in the file: only that may
 * appear in a message, as the other may be a secret. */
static bool fill_scalar(struct filler *filler, const struct yaml_node *shown,
                        const struct yaml_node *node, const struct option *option, void *field)
{
    bool is_text = option->type == OPTION_TEXT || option->type == OPTION_SECRET;
    if (node->kind != YAML_SCALAR)
        return problem_add(&filler->problems, shown, "%s: expected a single value, not %s",
                           option->key, kind_name(node));
    if (is_text) {
        *(const char **)field = node->text;
        return true;
    }
    if (option->type == OPTION_ENUM)
        return fill_enum(filler, shown, node->text, option, field);
    if (node == shown && !node->plain)
        return problem_add(&filler->problems, shown,
                           "%s: \"%.64s\" is text: remove the quotation marks", option->key,
                           shown->text);
    if (option->type != OPTION_BOOL)
        return fill_number(filler, shown, node->text, option, field);
    if (!value_parse_bool(node->text, field))
        return problem_add(&filler->problems, shown, "%s: \"%.64s\" is neither true nor false",
                           option->key, shown->text);
    return true;
}

/* One text of a list or map, variables put in; NULL with a problem when it is none. */
static const char *take_text(struct filler *filler, const struct yaml_node *shown,
                             const struct option *option)
{
    struct error error;
    const struct yaml_node *node = expand(filler->arena, shown, &error);
    if (node == NULL)
        problem_add_text(&filler->problems, error.text);
    else if (node->kind != YAML_SCALAR)
        problem_add(&filler->problems, shown, "%s: expected a single value here, not %s",
                    option->key, kind_name(node));
    return node != NULL && node->kind == YAML_SCALAR ? node->text : NULL;
}

static bool fill_text_list(struct filler *filler, const struct yaml_node *node,
                           const struct option *option, struct text_list *field)
{
    const char **items = arena_take(filler->arena, (node->count + 1) * sizeof *items);
    bool good = true;
    for (size_t i = 0; i < node->count; i++) {
        items[i] = take_text(filler, node->items[i], option);
        good &= items[i] != NULL;
    }
    *field = (struct text_list){items, node->count};
    return good;
}

/* {name: value}, or the Collector's newer [{name: …, value: …}]. */
static bool fill_text_map(struct filler *filler, const struct yaml_node *node,
                          const struct option *option, struct text_map *field)
{
    struct text_pair *items = arena_take(filler->arena, (node->count + 1) * sizeof *items);
    bool good = true;
    for (size_t i = 0; i < node->count; i++) {
        const struct yaml_node *value = node->items[i];
        if (node->kind == YAML_MAPPING) {
            items[i].key = node->keys[i];
        } else {
            const struct yaml_node *name = yaml_find(value, "name");
            if (name == NULL || yaml_find(value, "value") == NULL)
                return problem_add(&filler->problems, value,
                                   "%s: expected a map, or a list of {name: …, value: …}",
                                   option->key);
            items[i].key = take_text(filler, name, option);
            value = yaml_find(value, "value");
        }
        items[i].value = take_text(filler, value, option);
        good &= items[i].key != NULL && items[i].value != NULL;
    }
    *field = (struct text_map){items, node->count};
    return good;
}

static bool fill_group_list(struct filler *filler, const struct yaml_node *node,
                            const struct option *option, char *settings)
{
    const struct option_table *table = option->table;
    char *items = arena_take(filler->arena, node->count * table->size);
    bool good = true;
    for (size_t i = 0; i < node->count; i++) {
        char *item = items + i * table->size;
        if (option->inherits)
            memcpy(item, settings + option->inherit_offset, table->size);
        else
            fill_defaults(filler, table, item);
        good &= fill(filler, option->key, node->items[i], table, item);
    }
    *(struct group_list *)(settings + option->offset) = (struct group_list){items, node->count};
    return good;
}

static bool fill_group_map(struct filler *filler, const struct yaml_node *node,
                           const struct option *option, struct group_map *field)
{
    const struct option_table *table = option->table;
    char *items = arena_take(filler->arena, node->count * table->size);
    bool good = true;
    for (size_t i = 0; i < node->count; i++) {
        fill_defaults(filler, table, items + i * table->size);
        good &= fill(filler, node->keys[i], node->items[i], table, items + i * table->size);
    }
    *field = (struct group_map){node->keys, items, node->count};
    return good;
}

/* What the collections want; a text map takes either. */
static bool collection_kind(const struct option *option, const struct yaml_node *node,
                            enum yaml_kind *ret_kind)
{
    switch (option->type) {
    case OPTION_TEXT_LIST:
    case OPTION_GROUP_LIST:
        *ret_kind = YAML_SEQUENCE;
        return true;
    case OPTION_TEXT_MAP:
    case OPTION_SECRET_MAP:
        *ret_kind = node->kind == YAML_SEQUENCE ? YAML_SEQUENCE : YAML_MAPPING;
        return true;
    case OPTION_GROUP_MAP:
        *ret_kind = YAML_MAPPING;
        return true;
    case OPTION_BOOL:
    case OPTION_INT:
    case OPTION_DOUBLE:
    case OPTION_DURATION:
    case OPTION_BYTES:
    case OPTION_TEXT:
    case OPTION_SECRET:
    case OPTION_ENUM:
    case OPTION_GROUP:
    case OPTION_IGNORED:
        return false;
    }
    return false;
}

static bool fill_collection(struct filler *filler, const struct yaml_node *shown,
                            enum yaml_kind wanted, const struct option *option, char *settings)
{
    struct error error;
    const struct yaml_node *node = expand_to(filler->arena, shown, wanted, &error);
    if (node == NULL)
        return problem_add_text(&filler->problems, error.text);
    if (yaml_is_null(node))
        return true;
    if (node->kind != wanted)
        return problem_add(&filler->problems, shown, "%s: expected %s, not %s", option->key,
                           wanted == YAML_SEQUENCE ? "a list, such as [a, b]"
                                                   : "a map, such as {key: value}",
                           kind_name(node));
    if (option->type == OPTION_TEXT_LIST)
        return fill_text_list(filler, node, option, (void *)(settings + option->offset));
    if (option->type == OPTION_GROUP_LIST)
        return fill_group_list(filler, node, option, settings);
    if (option->type == OPTION_GROUP_MAP)
        return fill_group_map(filler, node, option, (void *)(settings + option->offset));
    return fill_text_map(filler, node, option, (void *)(settings + option->offset));
}

static bool fill_option(struct filler *filler, const struct yaml_node *node,
                        const struct option *option, char *settings)
{
    enum yaml_kind wanted;
    struct error error;
    if (option->type == OPTION_GROUP)
        return fill(filler, option->key, node, option->table, settings + option->offset);
    if (collection_kind(option, node, &wanted))
        return fill_collection(filler, node, wanted, option, settings);
    const struct yaml_node *expanded = expand(filler->arena, node, &error);
    if (expanded == NULL)
        return problem_add_text(&filler->problems, error.text);
    bool is_text = option->type == OPTION_TEXT || option->type == OPTION_SECRET;
    if (yaml_is_null(expanded) && !(is_text && expanded->bytes > 0 && expanded != node))
        return true; /* null: as if the key were not there */
    return fill_scalar(filler, node, expanded, option, settings + option->offset);
}

void fill_defaults(struct filler *filler, const struct option_table *table, void *settings)
{
    for (const struct option *option = table->options; option->key != NULL; option++) {
        if (option->type == OPTION_GROUP)
            fill_defaults(filler, option->table, (char *)settings + option->offset);
        if (option->fallback == NULL)
            continue;
        const struct yaml_node scalar = {.kind = YAML_SCALAR,
                                         .plain = true,
                                         .source = "default",
                                         .text = option->fallback,
                                         .bytes = strlen(option->fallback)};
        const struct yaml_node *node = &scalar;
        enum yaml_kind wanted;
        if (collection_kind(option, node, &wanted))
            xdone(yaml_parse(filler->arena, "default", scalar.text, scalar.bytes, &node,
                             filler->problems.error));
        CHECK(fill_option(filler, node, option, settings));
    }
}

bool fill_unknown(struct filler *filler, const struct yaml_node *key, const char *const *known,
                  size_t known_count)
{
    const char *nearest = yaml_nearest(key->text, known, known_count);
    if (nearest != NULL)
        return problem_add(&filler->problems, key, "unknown key \"%.64s\": did you mean \"%s\"?",
                           key->text, nearest);
    char list[512];
    size_t used = 0;
    list[0] = 0;
    for (size_t i = 0; i < known_count && i < KNOWN_LISTED_MAX && used < sizeof list; i++)
        used +=
            (size_t)snprintf(list + used, sizeof list - used, "%s%s", i == 0 ? "" : ", ", known[i]);
    return problem_add(&filler->problems, key, "unknown key \"%.64s\": known here: %s%s", key->text,
                       known_count > 0 ? list : "none",
                       known_count > KNOWN_LISTED_MAX ? ", …" : "");
}

static const struct option *find_option(const struct option_table *table, const char *key)
{
    for (const struct option *option = table->options; option->key != NULL; option++)
        if (strcmp(option->key, key) == 0)
            return option;
    return NULL;
}

static bool refuse_key(struct filler *filler, const struct yaml_node *key,
                       const struct option_table *table)
{
    const char *known[TABLE_OPTIONS_MAX];
    size_t count = 0;
    for (const struct option *option = table->options; option->key != NULL; option++) {
        CHECK(count < TABLE_OPTIONS_MAX);
        known[count++] = option->key;
    }
    return fill_unknown(filler, key, known, count);
}

bool fill(struct filler *filler, const char *name, const struct yaml_node *shown,
          const struct option_table *table, void *settings)
{
    struct error error;
    const struct yaml_node *node = expand_to(filler->arena, shown, YAML_MAPPING, &error);
    if (node == NULL)
        return problem_add_text(&filler->problems, error.text);
    bool empty = yaml_is_null(node), good = true;
    if (!empty && node->kind != YAML_MAPPING)
        return problem_add(&filler->problems, shown,
                           "%.64s: expected a map of keys and values, not %s", name,
                           kind_name(node));
    /* Lists of groups come last: their members begin as copies of what the others set. */
    for (int lists = 0; lists <= 1; lists++)
        for (size_t i = 0; i < node->count; i++) {
            const struct option *option = find_option(table, node->keys[i]);
            if (option == NULL && lists == 0)
                good &= refuse_key(filler, node->key_nodes[i], table);
            if (option != NULL && option->type == OPTION_IGNORED)
                problem_warn(&filler->problems, node->key_nodes[i], option,
                             "%s has no effect here: %s", option->key, option->help);
            else if (option != NULL && (option->type == OPTION_GROUP_LIST) == (lists == 1))
                good &= fill_option(filler, node->items[i], option, settings);
        }
    for (const struct option *option = table->options; option->key != NULL; option++) {
        const struct yaml_node *value = empty ? NULL : yaml_find(node, option->key);
        if (option->required && (value == NULL || yaml_is_null(value)))
            good &= problem_add(&filler->problems, shown, "key \"%s\" is missing: %s", option->key,
                                option->help);
    }
    return good;
}

/* The longest key of the mapping that `path` begins with, as keys may hold dots. */
static const struct yaml_node *follow_key(const struct yaml_node *node, const char **path)
{
    size_t best_bytes = 0;
    const struct yaml_node *best = NULL;
    for (size_t i = 0; i < node->count; i++) {
        size_t bytes = strlen(node->keys[i]);
        if (bytes <= best_bytes || strncmp(*path, node->keys[i], bytes) != 0 ||
            strchr(".[: ", (*path)[bytes]) == NULL)
            continue;
        best_bytes = bytes;
        best = yaml_is_null(node->items[i]) ? node->key_nodes[i] : node->items[i];
    }
    *path += best_bytes;
    return best;
}

const struct yaml_node *fill_follow(const struct yaml_node *node, const char *path)
{
    for (;;) {
        const struct yaml_node *next = NULL;
        size_t index;
        int used = 0;
        if (node->kind == YAML_MAPPING)
            next = follow_key(node, &path);
        else if (node->kind == YAML_SEQUENCE && sscanf(path, "[%zu]%n", &index, &used) == 1 &&
                 used > 0 && index < node->count)
            next = node->items[index];
        if (next == NULL)
            return node;
        node = next;
        path += used;
        path += *path == '.';
    }
}
