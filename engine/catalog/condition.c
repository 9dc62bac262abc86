/* SPDX-License-Identifier: Apache-2.0 */
/* What makes version differences data: a text may have variants, each with a condition (major
 * versions, role, names that must be there), and the first whose condition holds is taken. Forks of
 * PostgreSQL report a version and lack its columns, so `needs` is the condition to prefer.
 *
 * Reading belongs to start-up and reload (main thread); choosing is pure and any thread may do it.
 */
#include "catalog/query.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool version_read(const struct yaml_node *mapping, const char *key, uint16_t *ret_major,
                         struct error *error)
{
    const struct yaml_node *node = yaml_find(mapping, key);
    if (!node)
        return true;
    char *end = NULL;
    errno = 0;
    long major = node->kind == YAML_SCALAR ? strtol(node->text, &end, 10) : 0;
    if (!end || end == node->text || *end || errno || major < 10 || major > 99)
        return yaml_error(node, error,
                          "\"%s\" must be a major version of PostgreSQL such as 16, not \"%s\"",
                          key, node->kind == YAML_SCALAR ? node->text : "a collection");
    *ret_major = (uint16_t)major;
    return true;
}

static bool role_read(const struct yaml_node *mapping, enum query_role *ret_role,
                      struct error *error)
{
    const char *text = NULL;
    if (!text_read(mapping, "role", &text, error))
        return false;
    if (!text)
        return true;
    if (strcmp(text, "primary") == 0)
        *ret_role = QUERY_ROLE_PRIMARY;
    else if (strcmp(text, "standby") == 0)
        *ret_role = QUERY_ROLE_STANDBY;
    else
        return yaml_error(yaml_find(mapping, "role"), error,
                          "\"role\" must be primary or standby, not \"%s\"", text);
    return true;
}

static bool needs_read(struct catalog *catalog, const struct yaml_node *node,
                       struct condition *condition, struct error *error)
{
    bool list = node->kind == YAML_SEQUENCE;
    size_t count = list ? node->count : 1;
    if (count > QUERY_NEEDS_MAX)
        return yaml_error(node, error, "more than %d names in \"needs\"", QUERY_NEEDS_MAX);
    uint16_t *needs = arena_take(catalog->arena, (count ? count : 1) * sizeof *needs);
    for (size_t i = 0; i < count; i++) {
        const struct yaml_node *name = list ? node->items[i] : node;
        if (name->kind != YAML_SCALAR || !probe_intern(catalog, name->text, &needs[i]))
            return yaml_error(name, error,
                              "\"needs\" takes names such as pg_stat_io.reads (a column), "
                              "pg_ls_waldir() (a function) or extension:vector, not \"%s\"",
                              name->kind == YAML_SCALAR ? name->text : "a collection");
    }
    condition->needs = needs;
    condition->need_count = count;
    return true;
}

bool condition_read(struct catalog *catalog, const struct yaml_node *mapping,
                    struct condition *ret_condition, struct error *error)
{
    struct condition condition = {0};
    if (!version_read(mapping, "since", &condition.since, error) ||
        !version_read(mapping, "until", &condition.until, error) ||
        !role_read(mapping, &condition.role, error))
        return false;
    if (condition.since && condition.until && condition.since > condition.until)
        return yaml_error(yaml_find(mapping, "until"), error,
                          "\"until\" %u is before \"since\" %u: no server matches", condition.until,
                          condition.since);
    const struct yaml_node *needs = yaml_find(mapping, "needs");
    if (needs && !needs_read(catalog, needs, &condition, error))
        return false;
    *ret_condition = condition;
    return true;
}

bool condition_holds(const struct condition *condition, const struct capabilities *capabilities)
{
    uint32_t major = capabilities->version_num / 10000;
    if ((condition->since && major < condition->since) ||
        (condition->until && major > condition->until))
        return false;
    if ((condition->role == QUERY_ROLE_PRIMARY && capabilities->recovery) ||
        (condition->role == QUERY_ROLE_STANDBY && !capabilities->recovery))
        return false;
    for (size_t i = 0; i < condition->need_count; i++) {
        uint16_t bit = condition->needs[i];
        if (!(capabilities->present[bit / 64] >> (bit % 64) & 1))
            return false;
    }
    return true;
}

static bool variant_read(struct catalog *catalog, const struct yaml_node *node,
                         const char *text_key, struct variant *variant, struct error *error)
{
    if (node->kind == YAML_SCALAR) {
        if (yaml_is_null(node) || !node->bytes || strlen(node->text) != node->bytes)
            return yaml_error(node, error, "expected SQL text");
        *variant = (struct variant){.text = node->text};
        return true;
    }
    const char *const allowed[] = {text_key, "since", "until", "role", "needs", NULL};
    if (!keys_check(node, "a variant", allowed, error) ||
        !text_read(node, text_key, &variant->text, error) ||
        !condition_read(catalog, node, &variant->when, error))
        return false;
    if (!variant->text || !variant->text[0])
        return yaml_error(node, error, "this variant has no \"%s\"", text_key);
    return true;
}

bool variants_read(struct catalog *catalog, const struct yaml_node *node, const char *text_key,
                   struct variants *ret_variants, struct error *error)
{
    bool list = node->kind == YAML_SEQUENCE;
    size_t count = list ? node->count : 1;
    if (!count || count > QUERY_VARIANTS_MAX)
        return yaml_error(node, error, "expected 1 to %d variants", QUERY_VARIANTS_MAX);
    struct variant *items = arena_take(catalog->arena, count * sizeof *items);
    for (size_t i = 0; i < count; i++) {
        const struct yaml_node *item = list ? node->items[i] : node;
        if (!variant_read(catalog, item, text_key, &items[i], error))
            return false;
    }
    *ret_variants = (struct variants){items, count};
    return true;
}

const char *variants_choose(const struct variants *variants,
                            const struct capabilities *capabilities)
{
    for (size_t i = 0; i < variants->count; i++) {
        if (condition_holds(&variants->items[i].when, capabilities))
            return variants->items[i].text;
    }
    return NULL;
}
