/* SPDX-License-Identifier: Apache-2.0 */
/* Statements taken apart: select lists, filters, names, and texts made comparable. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "tools/sim/select_list.h"

/* Elements and aliases as one text: "alias=element;alias[element;element]". */
static const char *shown(const struct select_list *list)
{
    static char text[4096];
    size_t bytes = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < list->item_count; i++) {
        const struct select_item *item = &list->items[i];
        bytes += (size_t)snprintf(text + bytes, sizeof text - bytes, "%s%s%c", i ? " | " : "",
                                  item->alias, item->array ? '[' : '=');
        for (uint32_t k = 0; k < item->count; k++)
            bytes += (size_t)snprintf(text + bytes, sizeof text - bytes, "%s%s", k ? ";" : "",
                                      list->elements[item->first + k]);
        if (item->array)
            bytes += (size_t)snprintf(text + bytes, sizeof text - bytes, "]");
    }
    return text;
}

static void lists(void **state)
{
    (void)state;
    static const struct {
        const char *sql, *shown, *rest;
    } rows[] = {
        {"SELECT a", "?column?=a", ""},
        {"select a, b AS \"B\" from t", "?column?=a | B=b", "from t"},
        {"SELECT (a)::text AS \"x\"\nFROM t", "x=(a)::text", "FROM t"},
        {"SELECT\n  (f(a, b))::int8\n  AS y WHERE c", "y=(f(a, b))::int8", "WHERE c"},
        /* arrays, and what only looks like one */
        {"SELECT ARRAY[(a)::int8, (b)::int8] AS \"v\" FROM t", "v[(a)::int8;(b)::int8]", "FROM t"},
        {"SELECT ARRAY[\n  (a[1])::int8] AS v", "v[(a[1])::int8]", ""},
        {"SELECT array [a,(b)] FROM t", "?column?[a;(b)]", "FROM t"},
        {"SELECT ARRAY[a] || b AS v", "v=ARRAY[a] || b", ""},
        {"SELECT ARRAY(SELECT 1) AS v", "v=ARRAY(SELECT 1)", ""},
        {"SELECT arrays[a, b] AS v", "v=arrays[a, b]", ""},
        {"SELECT ARRAY[ARRAY[a, b], c] AS v", "v[ARRAY[a, b];c]", ""},
        /* blanks and comments are one blank */
        {"SELECT  a  +\t\n b /* , */ -- x, y\n , c", "?column?=a + b | ?column?=c", ""},
        {"SELECT/* a /* nested, */ FROM */a", "?column?=a", ""},
        /* quotes hide commas and words */
        {"SELECT 'a, '' FROM', E'\\', FROM' AS \"a\"\"b, FROM\" FROM t",
         "?column?='a, '' FROM' | a\"b, FROM=E'\\', FROM'", "FROM t"},
        {"SELECT $$, FROM $$, $x$ $$, $x$ FROM t", "?column?=$$, FROM $$ | ?column?=$x$ $$, $x$",
         "FROM t"},
        {"SELECT \"from\", \"a, b\".c FROM t", "?column?=\"from\" | ?column?=\"a, b\".c", "FROM t"},
        /* FROM within brackets */
        {"SELECT extract(epoch FROM now() - t) AS e, (SELECT a FROM b) FROM t",
         "e=extract(epoch FROM now() - t) | ?column?=(SELECT a FROM b)", "FROM t"},
        {"SELECT CAST(a AS int8) AS b, CASE WHEN a THEN (b) END AS c", /* AS within brackets */
         "b=CAST(a AS int8) | c=CASE WHEN a THEN (b) END", ""},
        {"SELECT a; SELECT b", "?column?=a", "; SELECT b"},
        {"SELECT a UNION SELECT b", "?column?=a", "UNION SELECT b"},
        {"SELECT 'open", "?column?='open", ""},
        {"SELECT $1, $2::text", "?column?=$1 | ?column?=$2::text", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct select_list list;
        if (!select_list_init(&list, rows[i].sql, strlen(rows[i].sql)))
            fail_msg("not read: %s", rows[i].sql);
        assert_string_equal(shown(&list), rows[i].shown);
        assert_string_equal(rows[i].sql + list.list_end, rows[i].rest);
        select_list_fini(&list);
    }
}

static void no_lists(void **state)
{
    (void)state;
    static const char *const rows[] = {"",
                                       "DELETE FROM t",
                                       "SELECT",
                                       "SELECT ,",
                                       "SELECT a, FROM t",
                                       "SELECT FROM t",
                                       "SELECT a)",
                                       "SELECT ARRAY[] AS v",
                                       "SELECT ARRAY[a,] AS v",
                                       "/* SELECT a",
                                       "SELECTED a",
                                       "WITH x AS (SELECT 1) SELECT a"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct select_list list;
        if (select_list_init(&list, rows[i], strlen(rows[i])))
            fail_msg("read: %s", rows[i]);
        assert_null(list.arena.first);
    }
    /* More than there is room for. */
    char *sql = malloc(20000);
    strcpy(sql, "SELECT a");
    for (int i = 0; i < SELECT_ITEMS_MAX; i++)
        strcpy(sql + 8 + 3 * i, ", a");
    struct select_list list;
    assert_false(select_list_init(&list, sql, strlen(sql)));
    sql[strlen(sql) - 3] = '\0';
    assert_true(select_list_init(&list, sql, strlen(sql)));
    assert_int_equal(list.item_count, SELECT_ITEMS_MAX);
    select_list_fini(&list);
    free(sql);
}

static void names(void **state)
{
    (void)state;
    static const struct {
        const char *sql, *name;
    } rows[] = {
        {"/* otel-collector-ignore */ /* pgweir:database */ SELECT 1", "database"},
        {"/*pgweir:a_b*/SELECT 1", "a_b"},
        {"  \n/* pgweir:x y */ SELECT 1", "x"},
        {"-- pgweir:x\nSELECT 1", "x"},
        {"/* pgweir */ SELECT 1", NULL},
        {"SELECT 1 /* pgweir:x */", NULL},
        {"SELECT '/* pgweir:x */'", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct arena arena = {0};
        const char *name = select_name(&arena, rows[i].sql, strlen(rows[i].sql));
        assert_int_equal(name != NULL, rows[i].name != NULL);
        if (name)
            assert_string_equal(name, rows[i].name);
        arena_fini(&arena);
    }
}

/* Filters as "expression IN a,b" or "expression NOT IN a,b". */
static void filters(void **state)
{
    (void)state;
    static const struct {
        const char *sql, *shown;
    } rows[] = {
        {"SELECT a FROM t", ""},
        {"SELECT a FROM t WHERE (d.datname)::text IN ('app')", "(d.datname)::text IN app;"},
        {"SELECT a FROM t\nWHERE (NOT x)\n  AND (d)::text IN ('a''b', E'c\\\\d')\n  AND (d)::text "
         "NOT IN ('e')\nGROUP BY 1",
         "(d)::text IN a'b,c\\d;(d)::text NOT IN e;"},
        {"SELECT a WHERE (coalesce(x, 'y'))::text IN ('z')", "(coalesce(x, 'y'))::text IN z;"},
        /* anything else is none */
        {"SELECT a WHERE (d)::text IN (SELECT b)", ""},
        {"SELECT a WHERE (d)::text IN ()", ""},
        {"SELECT a WHERE (d)::text IN ('a'", ""},
        {"SELECT a WHERE (d)::text = 'a'", ""},
        {"SELECT a WHERE (d)::int8 IN ('1')", ""},
        {"SELECT a WHERE ((d)::text IN ('a'))", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct select_list list;
        char text[512] = "";
        assert_true(select_list_init(&list, rows[i].sql, strlen(rows[i].sql)));
        for (uint32_t f = 0; f < list.filter_count; f++) {
            const struct select_filter *filter = &list.filters[f];
            size_t bytes = strlen(text);
            bytes += (size_t)snprintf(text + bytes, sizeof text - bytes, "%s%s IN ",
                                      filter->expression, filter->exclude ? " NOT" : "");
            for (size_t v = 0; v < filter->value_count; v++)
                bytes += (size_t)snprintf(text + bytes, sizeof text - bytes, "%s%s", v ? "," : "",
                                          filter->values[v]);
            snprintf(text + bytes, sizeof text - bytes, ";");
        }
        assert_string_equal(text, rows[i].shown);
        select_list_fini(&list);
    }
}

static void folded(void **state)
{
    (void)state;
    static const struct {
        const char *sql, *exact, *wild;
    } rows[] = {
        {"SELECT  1 ;", "select 1", "select ?"},
        {"Select \"A\" , 'B' From c -- d", "select \"A\",'B' from c", "select \"A\",? from c"},
        {"SELECT x WHERE aid = 17", "select x where aid=17", "select x where aid=?"},
        {"select X where AID=$1;", "select x where aid=$1", "select x where aid=?"},
        {"a.b - -c", "a.b--c", "a.b--c"},
        {"'a'\"b\"'c'\"d\"'e'", "'a' \"b\" 'c' \"d\" 'e'", "? \"b\" ? \"d\" ?"},
        {"select 1e5, .5, 1.5e-3", "select 1e5,.5,1.5e-3", "select ?,?,?"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct arena arena = {0};
        const char *end = rows[i].sql + strlen(rows[i].sql);
        assert_string_equal(sql_fold(&arena, rows[i].sql, end, false), rows[i].exact);
        assert_string_equal(sql_fold(&arena, rows[i].sql, end, true), rows[i].wild);
        arena_fini(&arena);
    }
}

/* Tokens cover any bytes without a gap, and nothing is read past the end. */
static void any_bytes(void **state)
{
    (void)state;
    static const char letters[] = "aE'\"$/*-()[], \n;:x1.\\";
    struct random random = {.state = 1};
    for (int round = 0; round < 4000; round++) {
        size_t bytes = random_below(&random, 40);
        char *sql = malloc(bytes ? bytes : 1); /* of its size: a sanitizer sees what is beyond */
        for (size_t i = 0; i < bytes; i++)
            sql[i] = letters[random_below(&random, sizeof letters - 1)];
        size_t at = 0;
        for (struct sql_token token; (token = sql_scan(sql + at, sql + bytes)).kind != SQL_END;) {
            assert_true(token.bytes > 0 && token.bytes <= bytes - at);
            struct arena arena = {0};
            assert_true(strlen(sql_value(&arena, token)) <= token.bytes);
            arena_fini(&arena);
            at += token.bytes;
        }
        assert_int_equal(at, bytes);
        struct arena arena = {0};
        assert_true(strlen(sql_fold(&arena, sql, sql + bytes, false)) <= 2 * bytes);
        assert_true(strlen(sql_fold(&arena, sql, sql + bytes, true)) <= 2 * bytes);
        assert_true(strlen(sql_normalise(&arena, sql, sql + bytes)) <= bytes);
        arena_fini(&arena);
        struct select_list list;
        if (select_list_init(&list, sql, bytes))
            select_list_fini(&list);
        free(sql);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists),   cmocka_unit_test(no_lists), cmocka_unit_test(names),
        cmocka_unit_test(filters), cmocka_unit_test(folded),   cmocka_unit_test(any_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
