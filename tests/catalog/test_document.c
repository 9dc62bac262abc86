/* SPDX-License-Identifier: Apache-2.0 */
/* A user's own documents: what they can say, and what each mistake is answered with. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "fixture.h"

/* 256 bytes */
#define X16       "xxxxxxxxxxxxxxxx"
#define X64       X16 X16 X16 X16
#define LONG_NAME X64 X64 X64 X64
#define METRIC    "{unit: '1', instrument: gauge, value: int, description: d, column: n}"

static const struct capabilities server15 = {.version_num = 150020};

static void whole_statement(void **state)
{
    (void)state;
    struct catalog *catalog =
        fixture_catalog("name: orders\n"
                        "group: business\n"
                        "scope: database\n"
                        "databases: q.shop\n"
                        "timeout: 2500ms\n"
                        "start: since\n"
                        "sql: |\n"
                        "  SELECT shop, state, count(*) AS n, 1.5 AS mean,\n"
                        "    now() AS since FROM orders GROUP BY 1, 2; -- end\n"
                        "  ;\n"
                        "attributes:\n"
                        "  - {name: shop.state, columns: [shop, state], join: /}\n"
                        "metrics:\n"
                        "  shop.orders: {unit: '{order}', instrument: sum,\n"
                        "    monotonic: true, value: int, description: Orders.,\n"
                        "    column: n}\n"
                        "  shop.mean: {unit: s, instrument: gauge, value: double,\n"
                        "    description: Mean., enabled: false,\n"
                        "    column: mean, attributes: {kind: mean}}\n");
    struct plan *plan = fixture_plan(catalog, &server15, CATALOG_LEGACY, true);
    const struct statement *statement = fixture_statement(plan, "orders");
    assert_non_null(statement);
    assert_string_equal(statement->group, "business");
    assert_int_equal(statement->scope, QUERY_DATABASE);
    assert_true(statement->timeout_ns == 2500000000u);
    assert_int_equal(statement->start_column, 2);
    assert_int_equal(statement->attribute_count, 1);
    assert_string_equal(statement->attributes[0].join, "/");
    assert_false(statement->own_resource);
    assert_non_null(strstr(statement->sql, "SELECT\n"
                                           "  (q.shop)::text AS \"shop\",\n"
                                           "  (q.state)::text AS \"state\",\n"
                                           "  (q.since)::timestamptz AS \"since\",\n"
                                           "  (q.n)::int8 AS \"n\",\n"
                                           "  (q.mean)::float8 AS \"mean\"\n"
                                           "FROM (SELECT shop, state"));
    assert_non_null(strstr(statement->sql, "-- end\n) AS q"));
    struct attr attr;
    size_t position = 0;
    assert_null(statement->points[0].fixed);
    assert_true(attrs_next(statement->points[1].fixed, &position, &attr));
    assert_memory_equal(attr.key, "kind", 4);
    assert_false(catalog_find_metric(catalog, "shop.mean", NULL, NULL)->enabled);
    plan_destroy(&plan);
    catalog_destroy(&catalog);
}

/* A query of the same name takes the built-in one's place, with its metrics or other ones. */
static void replaces_a_builtin(void **state)
{
    (void)state;
    struct catalog *plain = fixture_catalog(NULL);
    struct catalog *catalog = fixture_catalog("- name: wal_directory\n"
                                              "  group: core\n"
                                              "  sql: SELECT 1 AS n\n"
                                              "  metrics: {my.metric: " METRIC "}\n"
                                              "- name: again\n"
                                              "  sql: SELECT 7 AS n\n"
                                              "  metrics: {my.metric: {column: n}}\n");
    assert_int_equal(catalog->query_count, plain->query_count + 1);
    assert_null(catalog_find_metric(catalog, "postgresql.wal.files", NULL, NULL));
    struct plan *plan = fixture_plan(catalog, &server15, CATALOG_SEMCONV, false);
    const struct statement *statement = fixture_statement(plan, "wal_directory");
    assert_string_equal(statement->group, "core");
    assert_ptr_equal(statement->points[0].metric,
                     fixture_statement(plan, "again")->points[0].metric);
    plan_destroy(&plan);
    catalog_destroy(&catalog);
    catalog_destroy(&plain);
}

static void columns_that_are_not_there(void **state)
{
    (void)state;
    struct catalog *catalog =
        fixture_catalog("name: q\n"
                        "from: [{text: old, until: 14}, {text: standby_view, role: standby}, new]\n"
                        "where: {text: w, until: 12}\n"
                        "select:\n"
                        "  a: {sql: x.a, since: 16}\n"
                        "  b: x.b\n"
                        "  n: [{sql: x.new, since: 15}, x.old]\n"
                        "  gone: {sql: x.gone, until: 14}\n"
                        "attributes:\n"
                        "  - {name: only, column: a}\n"
                        "  - {name: joined, columns: [a, b]}\n"
                        "metrics:\n"
                        "  m.points: {unit: '1', instrument: sum, value: int, description: d,\n"
                        "    points: [{column: n, attributes: {k: n}},\n"
                        "             {column: gone, attributes: {k: gone}}]}\n");
    struct plan *plan = fixture_plan(catalog, &server15, CATALOG_SEMCONV, true);
    const struct statement *statement = fixture_statement(plan, "q");
    assert_int_equal(statement->attribute_count, 1);
    assert_string_equal(statement->attributes[0].key, "joined");
    assert_int_equal(statement->attributes[0].column_count, 1);
    assert_int_equal(statement->point_count, 1);
    assert_non_null(strstr(statement->sql, "(x.new)::int8 AS \"n\"\nFROM new"));
    assert_null(strstr(statement->sql, "WHERE"));
    plan_destroy(&plan);
    catalog_destroy(&catalog);
}

struct mistake {
    const char *text;
    const char *place; /* line:column, or the line alone */
    const char *error;
};

static const struct mistake mistakes[] = {
    {"name: q\n", "1:1", "needs \"select\" (with \"from\"), or \"sql\""},
    {"[]\n", "1:1", "expected a query"},
    {"just text\n", "1:1", "expected a query"},
    {"- {name: q, sql: SELECT 1 AS n, metrics: {m: " METRIC "}}\n"
     "- {name: q, sql: SELECT 1 AS n, metrics: {m: " METRIC "}}\n",
     "2:3", "query q is in this file twice"},
    {"sql: SELECT 1 AS n\nmetrics: {m: " METRIC "}\n", "1:1", "a query needs a \"name\""},
    {"name: Big\nsql: SELECT 1 AS n\nmetrics: {m: " METRIC "}\n", "1:7", "small letters"},
    {"name: q\nsqll: SELECT 1\n", "2:1", "unknown key \"sqll\" in a query; did you mean \"sql\"?"},
    {"name: q\nscope: table\n", "2:8", "\"scope\" must be server or database, not \"table\""},
    {"name: q\ngroup: 'a b'\n", "2", "is no name for a group"},
    {"name: q\nsince: fifteen\n", "2:8", "must be a major version of PostgreSQL such as 16"},
    {"name: q\nsince: 150002\n", "2:8", "must be a major version of PostgreSQL such as 16"},
    {"name: q\nsince: 16\nuntil: 14\n", "3:8", "is before \"since\" 16"},
    {"name: q\nrole: master\n", "2:7", "must be primary or standby, not \"master\""},
    {"name: q\nneeds: pg_stat_io\n", "2:8", "takes names such as pg_stat_io.reads"},
    {"name: q\nneeds: \"a.b') --\"\n", "2", "takes names such as pg_stat_io.reads"},
    {"name: q\ntimeout: fast\n", "2:10", "must be a duration such as 500ms or 10s"},
    {"name: q\nsql: ''\n", "2", "expected SQL text"},
    {"name: q\nsql: {since: 12}\n", "2:6", "this variant has no \"text\""},
    {"name: q\nsql: SELECT 1 AS n\nfrom: t\nmetrics: {m: " METRIC "}\n", "3:7",
     "and \"from\" beside it"},
    {"name: q\nselect: {n: 'count(*)'}\nfrom: t\nstart: m\nmetrics: {m: " METRIC "}\n", "4:8",
     "no column \"m\" in \"select\" of query q"},
    {"name: q\nselect: {orders: 'count(*)'}\nfrom: t\nmetrics:\n"
     "  m: {unit: '1', instrument: gauge, value: int, description: d, column: order}\n",
     "5:73", "did you mean \"orders\"?"},
    {"name: q\nselect: {'a b': x}\nmetrics: {m: " METRIC "}\n", "2", "is no name for a column"},
    {"name: q\nsql: SELECT 1\nmetrics: {m: {column: 'a\"b', unit: s, instrument: gauge, value: "
     "int, "
     "description: d}}\n",
     "3", "give it another name in the statement with AS"},
    {"name: q\nsql: SELECT 1 AS n\n", "1:1", "query q needs \"metrics\""},
    {"name: q\nsql: SELECT 1 AS n\nmetrics: {}\n", "3:10", "query q needs \"metrics\""},
    {"name: q\nsql: SELECT 1 AS n\nmetrics: {'m m': " METRIC "}\n", "3", "is no name for a metric"},
    {"name: q\nsql: SELECT 1 AS n\nmetrics: {m: {unit: s, instrument: gauge, value: int, "
     "column: n}}\n",
     "3:14", "metric m has no \"description\""},
    {"name: q\nsql: SELECT 1 AS n\nmetrics: {m: {unit: s, instrument: counter, value: int, "
     "description: d, column: n}}\n",
     "3:36", "\"instrument\" must be gauge or sum, not \"counter\""},
    {"name: q\nsql: SELECT 1 AS n\nmetrics: {m: {unit: s, instrument: gauge, monotonic: true, "
     "value: int, description: d, column: n}}\n",
     "3:54", "only a sum can be monotonic"},
    {"name: q\nsql: SELECT 1 AS n\nmetrics: {m: {unit: s, instrument: gauge, enabled: yes, "
     "value: int, description: d, column: n}}\n",
     "3:52", "\"enabled\" must be true or false"},
    {"name: q\nsql: SELECT 1 AS n\nmetrics: {m: {unit: s, instrument: gauge, value: int, "
     "description: d}}\n",
     "3:14", "metric m needs \"column\" or a list of \"points\""},
    {"name: q\nsql: SELECT 1 AS n\nmetrics: {m: {unit: s, instrument: gauge, value: int, "
     "description: d, points: [{column: a}, {column: b}]}}\n",
     "3:93", "two points of a row have the same attributes"},
    {"name: q\nsql: SELECT 1 AS n\nmetrics: {m: {unit: s, instrument: gauge, value: int, "
     "description: d, points: [{attributes: {a: b}}]}}\n",
     "3:80", "this point has no \"column\""},
    {"name: q\nsql: SELECT 1 AS n\nattributes: [{name: a}]\nmetrics: {m: " METRIC "}\n", "3:14",
     "attribute a has no \"column\""},
    {"name: q\nsql: SELECT 1 AS n\nattributes: [{column: a}]\nmetrics: {m: " METRIC "}\n", "3:14",
     "this attribute has no \"name\""},
    {"name: q\nsql: SELECT 1 AS n\nattributes: [{name: a, column: x}, {name: a, column: y}]\n"
     "metrics: {m: " METRIC "}\n",
     "3:36", "attribute a is there twice"},
    {"name: q\nsql: SELECT 1 AS n\nattributes: [{name: a, columns: [b, c, d, e, f]}]\n"
     "metrics: {m: " METRIC "}\n",
     "3:33", "1 to 4 columns"},
    {"name: q\nsql: SELECT 1 AS n\nattributes: [{name: m, column: x}]\nmetrics: {m: " METRIC "}\n",
     "4:11", "an attribute and a metric are both named m"},
    {"name: q\nsql: SELECT 1 AS n\nattributes: [{name: a, column: x, legacy: {name: m}}]\n"
     "metrics: {m: " METRIC "}\n",
     "4:11", "an attribute and a metric are both named m"},
    {"name: q\nsql: SELECT 1 AS n\nmetrics: {m: {unit: s, instrument: gauge, value: int, "
     "description: d, points: [{column: a, attributes: {m: b}}]}}\n",
     "3:11", "an attribute and a metric are both named m"},
    {"name: q\nsql: SELECT 1 AS n\nattributes: [{column: x, name: " LONG_NAME "}]\n"
     "metrics: {m: " METRIC "}\n",
     "1:1", "has a name of over 255 bytes"},
    {"name: q\nsql: SELECT 1 AS n\nmetrics: {postgresql.comits: {column: n}}\n", "3:11",
     "no other query defines it; did you mean \"postgresql.commits\"?"},
    {"name: q\nsql: SELECT 1 AS n\nmetrics: {postgresql.commits: " METRIC "}\n", "3:11",
     "metric postgresql.commits is defined otherwise in"},
    {"name: [\n", "2:1", ""},
};

static void mistakes_are_named_with_their_place(void **state)
{
    (void)state;
    int wrong = 0;
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        const struct mistake *row = &mistakes[i];
        struct error error;
        const char *text = fixture_load_error(row->text, &error);
        char place[32];
        snprintf(place, sizeof place, ".yaml:%s:", row->place);
        if (strstr(text, place) && strstr(text, row->error))
            continue;
        print_error("%s\ngives: %s\nnot:   …%s … %s\n", row->text, text, place, row->error);
        wrong++;
    }
    assert_int_equal(wrong, 0);
}

static void files_that_cannot_be_read(void **state)
{
    (void)state;
    static const char *const missing[] = {"/nowhere/queries.yaml"};
    static const char *const directory[] = {"/tmp"};
    struct catalog *catalog = NULL;
    struct error error;
    assert_false(catalog_load(&catalog, missing, 1, &error));
    assert_string_equal(error.text,
                        "/nowhere/queries.yaml: cannot read this file of queries: "
                        "No such file or directory: check the path and its permissions");
    assert_false(catalog_load(&catalog, directory, 1, &error));
    assert_string_equal(error.text, "/tmp: cannot read this file of queries: Is a directory: check "
                                    "the path and its permissions");
    assert_null(catalog);
}

static void limits_hold(void **state)
{
    (void)state;
    size_t room = 1 << 20;
    char *text = malloc(room);
    size_t used = 0;
    for (int i = 0; i < LIMIT_QUERIES; i++)
        used +=
            (size_t)snprintf(text + used, room - used,
                             "- {name: q%d, sql: SELECT 1 AS n, metrics: {m: {column: n}}}\n", i);
    struct error error;
    assert_non_null(strstr(fixture_load_error(text, &error), "more than 256 queries"));

    /* One column read as three types counts three times. */
    used = (size_t)snprintf(text, room, "name: q\nsql: SELECT 1\nmetrics:\n");
    for (int i = 0; i < 65; i++)
        used +=
            (size_t)snprintf(text + used, room - used,
                             "  i.%d: {unit: s, instrument: gauge, value: int, description: d, "
                             "column: c%d}\n"
                             "  d.%d: {unit: s, instrument: gauge, value: double, description: d, "
                             "column: c%d}\n",
                             i, i, i, i);
    assert_non_null(strstr(fixture_load_error(text, &error), "query q selects 130 columns"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_statement),
        cmocka_unit_test(replaces_a_builtin),
        cmocka_unit_test(columns_that_are_not_there),
        cmocka_unit_test(mistakes_are_named_with_their_place),
        cmocka_unit_test(files_that_cannot_be_read),
        cmocka_unit_test(limits_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
