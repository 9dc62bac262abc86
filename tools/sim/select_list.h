/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdint.h>

#include "tools/sim/sql_scan.h"

/* The collector's statements taken apart: the query's name out of the comment in front, the select
 * list element by element, and the database filters of WHERE (engine/catalog/plan.c writes them).
 * `record` and `serve` read the same statement the same way, so that an element found in a
 * recording is the element that was asked for. */

struct select_item {
    const char *alias;     /* the result column's name */
    uint32_t first, count; /* of `elements` */
    bool array;            /* ARRAY[a, b]: its elements, even if one */
};

/* (expression)::text IN ('a', 'b'), or NOT IN. */
struct select_filter {
    const char *expression; /* with its cast, normalised as elements are */
    const char **values;
    size_t value_count;
    bool exclude;
};

struct select_list {
    struct arena arena;
    const char *name; /* behind "pgweir:"; NULL: not a statement of the catalogue */
    struct select_item *items;
    uint32_t item_count;
    const char **elements; /* expressions, blanks normalised */
    uint32_t element_count;
    struct select_filter *filters;
    uint32_t filter_count;
    size_t list_end; /* offset in the text, behind the last item */
};

enum { SELECT_ITEMS_MAX = 1024, SELECT_ELEMENTS_MAX = 4096, SELECT_FILTERS_MAX = 8 };

/* False where it does not begin with SELECT or is out of bounds; nothing is left to free then. */
bool select_list_init(struct select_list *list, const char *sql, size_t bytes);
void select_list_fini(struct select_list *list);

/* The name behind "pgweir:" in the comments in front; NULL: none. */
char *select_name(struct arena *arena, const char *sql, size_t bytes);
