/* SPDX-License-Identifier: Apache-2.0 */
/* Cuts where plan.c joins: at commas outside all brackets. Nothing here knows what an expression
 * means. */
#include "tools/sim/select_list.h"

#include <string.h>

static const char NAME_PREFIX[] = "pgweir:";

char *select_name(struct arena *arena, const char *sql, size_t bytes)
{
    const char *end = sql + bytes;
    for (struct sql_token token; (token = sql_scan(sql, end)).kind != SQL_END; sql += token.bytes) {
        if (token.kind != SQL_SPACE && token.kind != SQL_COMMENT)
            return NULL;
        const char *name = memmem(token.text, token.bytes, NAME_PREFIX, sizeof NAME_PREFIX - 1);
        if (!name)
            continue;
        name += sizeof NAME_PREFIX - 1;
        size_t name_bytes = 0, room = (size_t)(token.text + token.bytes - name);
        while (name_bytes < room && !strchr(" \t\r\n*", name[name_bytes]))
            name_bytes++;
        return arena_copy(arena, name, name_bytes);
    }
    return NULL;
}

/* Ends a select list when outside all brackets. */
static bool is_clause(struct sql_token token)
{
    static const char *const words[] = {"from",   "where", "group",     "having", "order", "limit",
                                        "offset", "union", "intersect", "except", "window"};
    for (size_t i = 0; token.kind == SQL_WORD && i < sizeof words / sizeof words[0]; i++)
        if (sql_is(token, words[i]))
            return true;
    return token.kind == SQL_END || sql_is(token, ";");
}

/* Behind the run of tokens up to a comma, or what ends the list, outside all brackets. */
static const char *item_end(const char *at, const char *end, bool clauses)
{
    size_t depth = 0;
    for (struct sql_token token;; at += token.bytes) {
        token = sql_scan(at, end);
        if (token.kind == SQL_END)
            return at;
        if (depth == 0 && (sql_is(token, ",") || (clauses && is_clause(token))))
            return at;
        if (depth == 0 && token.kind == SQL_CLOSE)
            return at;
        depth += token.kind == SQL_OPEN;
        depth -= token.kind == SQL_CLOSE;
    }
}

static bool element_add(struct select_list *list, const char *at, const char *end)
{
    char *text = sql_normalise(&list->arena, at, end);
    if (!*text || list->element_count == SELECT_ELEMENTS_MAX)
        return false;
    list->elements[list->element_count++] = text;
    return true;
}

/* The contents of ARRAY[…], where that is all the expression is. */
static bool array_contents(const char *at, const char *end, const char **ret_at,
                           const char **ret_end)
{
    if (!sql_is(sql_next(&at, end), "array") || !sql_is(sql_next(&at, end), "["))
        return false;
    *ret_at = at;
    for (;;) {
        at = item_end(at, end, false);
        *ret_end = at;
        struct sql_token token = sql_next(&at, end);
        if (token.kind == SQL_CLOSE)
            return sql_is(token, "]") && sql_next(&at, end).kind == SQL_END;
        if (token.kind == SQL_END)
            return false;
    }
}

/* Finds "AS name" at the item's end; *ret_end: behind the expression. */
static const char *alias_find(struct select_list *list, const char *at, const char *end,
                              const char **ret_end)
{
    const char *alias = NULL;
    size_t depth = 0;
    *ret_end = end;
    for (struct sql_token token; (token = sql_next(&at, end)).kind != SQL_END;) {
        depth += token.kind == SQL_OPEN;
        depth -= token.kind == SQL_CLOSE && depth > 0;
        if (depth > 0 || !sql_is(token, "as"))
            continue;
        const char *behind = at;
        struct sql_token name = sql_next(&behind, end);
        if ((name.kind == SQL_NAME || name.kind == SQL_WORD) &&
            sql_next(&behind, end).kind == SQL_END) {
            alias = sql_value(&list->arena, name);
            *ret_end = token.text;
        }
    }
    return alias ? alias : "?column?";
}

static bool item_add(struct select_list *list, const char *at, const char *end)
{
    if (list->item_count == SELECT_ITEMS_MAX)
        return false;
    struct select_item *item = &list->items[list->item_count++];
    item->first = list->element_count;
    item->alias = alias_find(list, at, end, &end);
    const char *inner, *inner_end;
    if (!array_contents(at, end, &inner, &inner_end)) {
        item->count = 1;
        return element_add(list, at, end);
    }
    item->array = true;
    do {
        const char *stop = item_end(inner, inner_end, false);
        if (!element_add(list, inner, stop))
            return false;
        inner = stop + 1;
    } while (inner <= inner_end);
    item->count = list->element_count - item->first;
    return true;
}

/* The list behind IN; false where it holds anything but strings. */
static bool filter_values(struct select_list *list, struct select_filter *filter, const char **at,
                          const char *end)
{
    if (!sql_is(sql_next(at, end), "("))
        return false;
    const char *count_at = *at;
    size_t capacity = 0;
    for (struct sql_token token;
         (token = sql_next(&count_at, end)).kind == SQL_STRING || sql_is(token, ",");)
        capacity += token.kind == SQL_STRING;
    filter->values = arena_take(&list->arena, (capacity + 1) * sizeof *filter->values);
    for (;;) {
        struct sql_token token = sql_next(at, end);
        if (token.kind != SQL_STRING)
            return false;
        filter->values[filter->value_count++] = sql_value(&list->arena, token);
        token = sql_next(at, end);
        if (sql_is(token, ")"))
            return true;
        if (!sql_is(token, ","))
            return false;
    }
}

/* A filter whose "(expression)" is [group, *at); leaves *at where it was when it is none. */
static void filter_add(struct select_list *list, const char *group, const char **at,
                       const char *end)
{
    static const char cast[] = "::text";
    const char *next = *at;
    if ((size_t)(end - next) < sizeof cast || memcmp(next, cast, sizeof cast - 1) != 0)
        return;
    next += sizeof cast - 1;
    struct select_filter filter = {.expression = sql_normalise(&list->arena, group, next)};
    struct sql_token token = sql_next(&next, end);
    filter.exclude = sql_is(token, "not");
    if (filter.exclude)
        token = sql_next(&next, end);
    if (!sql_is(token, "in") || !filter_values(list, &filter, &next, end) ||
        list->filter_count == SELECT_FILTERS_MAX)
        return;
    list->filters[list->filter_count++] = filter;
    *at = next;
}

static void filters_read(struct select_list *list, const char *at, const char *end)
{
    size_t depth = 0;
    const char *group = at;
    for (struct sql_token token; (token = sql_scan(at, end)).kind != SQL_END;) {
        if (token.kind == SQL_OPEN && depth++ == 0)
            group = at;
        at += token.bytes;
        if (token.kind == SQL_CLOSE && depth > 0 && --depth == 0)
            filter_add(list, group, &at, end);
    }
}

static bool list_read(struct select_list *list, const char *sql, const char *at, const char *end)
{
    for (;;) {
        const char *stop = item_end(at, end, true);
        if (!item_add(list, at, stop))
            return false;
        struct sql_token token = sql_scan(stop, end);
        list->list_end = (size_t)(stop - sql);
        if (is_clause(token)) {
            filters_read(list, stop, end);
            return true;
        }
        if (!sql_is(token, ","))
            return false;
        at = stop + 1;
    }
}

bool select_list_init(struct select_list *list, const char *sql, size_t bytes)
{
    *list = (struct select_list){0};
    const char *at = sql, *end = sql + bytes;
    if (!sql_is(sql_next(&at, end), "select"))
        return false;
    struct arena *arena = &list->arena;
    list->name = select_name(arena, sql, bytes);
    list->items = arena_take(arena, SELECT_ITEMS_MAX * sizeof *list->items);
    list->elements = arena_take(arena, SELECT_ELEMENTS_MAX * sizeof *list->elements);
    list->filters = arena_take(arena, SELECT_FILTERS_MAX * sizeof *list->filters);
    if (list_read(list, sql, at, end))
        return true;
    select_list_fini(list);
    return false;
}

void select_list_fini(struct select_list *list)
{
    arena_fini(&list->arena);
    *list = (struct select_list){0};
}
