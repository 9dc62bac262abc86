/* SPDX-License-Identifier: Apache-2.0 */
/* Databases, tables and statements multiplied and cut: all queries agree on what there is. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/tools/sim/forms.h"

enum { RECORDED_TABLES = 26, NAME_BYTES = 160, NAMES_MAX = 4096 };

/* A set of names, in no order. */
struct names {
    char (*items)[NAME_BYTES];
    size_t count;
};

static bool names_have(const struct names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->items[i], name) == 0)
            return true;
    return false;
}

static void names_add(struct names *names, const char *name)
{
    assert_false(names_have(names, name));
    assert_true(names->count < NAMES_MAX);
    names->items = realloc(names->items, (names->count + 1) * sizeof *names->items);
    snprintf(names->items[names->count++], NAME_BYTES, "%s", name);
}

/* Where the attribute `key` stands. */
static uint32_t key_column(const struct statement *statement, const char *key)
{
    for (size_t a = 0; a < statement->attribute_count; a++)
        if (strcmp(statement->attributes[a].key, key) == 0)
            return statement->attributes[a].columns[0];
    fail_msg("%s has no attribute %s", statement->name, key);
    return 0;
}

static struct answer ask(const struct forms *forms, const struct statement *statement,
                         const char *database)
{
    struct form_moment moment = forms_moment(5);
    struct answer answer;
    forms_ask(forms_find(forms, statement->sql, database), forms_binary, &moment, &answer);
    return answer;
}

/* "namespace table" of each row; with `index`, the index's name behind it. Every row is different.
 */
static struct names tables_of(const struct forms *forms, const char *query, const char *database,
                              bool index)
{
    struct plan *plan = forms_plan(forms, CATALOG_SEMCONV, forms->enabled);
    const struct statement *statement = forms_statement(plan, query);
    uint32_t space = key_column(statement, "db.namespace");
    uint32_t table = key_column(statement, "db.collection.name");
    uint32_t third = index ? key_column(statement, "postgresql.index.name") : 0;
    struct answer answer = ask(forms, statement, database);
    struct names names = {0};
    for (uint32_t r = 0; r < answer.row_count; r++) {
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "%s %s%s%s", answer_text(&answer, r, space),
                 answer_text(&answer, r, table), index ? " " : "",
                 index ? answer_text(&answer, r, third) : "");
        names_add(&names, name);
    }
    answer_free(&answer);
    plan_destroy(&plan);
    return names;
}

static void tables_are_multiplied(void **state)
{
    (void)state;
    static const uint32_t counts[] = {1, 5, RECORDED_TABLES, RECORDED_TABLES + 1, 200};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        struct forms forms;
        forms_open(&forms, NULL, (struct shape){.tables = counts[i]});
        struct names tables = tables_of(&forms, "tables", "app", false);
        assert_int_equal(tables.count, counts[i]);
        assert_true(names_have(&tables, "app|public orders") || counts[i] < RECORDED_TABLES);
        assert_int_equal(names_have(&tables, "app|public orders_2"), counts[i] >= 200);
        assert_int_equal(names_have(&tables, "app|reporting daily_sales_7"), counts[i] >= 200);
        struct names sizes = tables_of(&forms, "table_size", "app", false);
        size_t strays = 0; /* the partitioned table, which has a size and no statistics */
        for (size_t s = 0; s < sizes.count; s++)
            strays += !names_have(&tables, sizes.items[s]);
        assert_int_equal(sizes.count, tables.count + strays);
        assert_int_equal(strays, (counts[i] + RECORDED_TABLES - 1) / RECORDED_TABLES);
        free(tables.items);
        free(sizes.items);
        forms_close(&forms);
    }
}

/* An index has the suffix of its table, and only tables that are there have any. */
static void indexes_follow_their_tables(void **state)
{
    (void)state;
    static const char *const queries[] = {"indexes", "index_blocks", "index_size"};
    static const uint32_t counts[] = {3, 0, 150};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        struct forms forms;
        forms_open(&forms, NULL, (struct shape){.tables = counts[i]});
        struct names tables = tables_of(&forms, "tables", "app", false);
        size_t count = 0;
        for (size_t q = 0; q < sizeof queries / sizeof queries[0]; q++) {
            struct names indexes = tables_of(&forms, queries[q], "app", true);
            assert_true(q < 2 || indexes.count >= count);
            count = indexes.count;
            for (size_t k = 0; k < indexes.count; k++) {
                char *index = strrchr(indexes.items[k], ' ');
                *index++ = '\0';
                bool partitioned = strncmp(indexes.items[k], "app|public events", 17) == 0;
                assert_true(partitioned || names_have(&tables, indexes.items[k]));
                const char *suffix = strrchr(indexes.items[k], '_');
                if (suffix && strcmp(suffix, "_6") == 0) /* no recorded name ends so */
                    assert_string_equal(strrchr(index, '_'), "_6");
            }
            free(indexes.items);
        }
        assert_true(counts[i] != 150 || count > 150);
        free(tables.items);
        forms_close(&forms);
    }
}

static struct names databases_of(const struct forms *forms, const char *query)
{
    struct plan *plan = forms_plan(forms, CATALOG_SEMCONV, forms->enabled);
    const struct statement *statement = forms_statement(plan, query);
    struct answer answer = ask(forms, statement, "postgres");
    struct names names = {0};
    for (uint32_t r = 0; r < answer.row_count; r++)
        names_add(&names, answer_text(&answer, r, key_column(statement, "db.namespace")));
    answer_free(&answer);
    plan_destroy(&plan);
    return names;
}

static void databases_are_multiplied(void **state)
{
    (void)state;
    static const struct {
        uint32_t databases;
        const char *there, *last, *not_there;
    } rows[] = {
        {0, "app", "billing", "app_2"},      {1, "app", "app", "billing"},
        {2, "app", "billing", "app_2"},      {3, "billing", "app_2", "billing_2"},
        {10, "app_2", "billing_5", "app_6"}, {101, "billing_7", "app_51", "billing_51"},
    };
    static const char *const queries[] = {"database", "backends", "database_size", "statements"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct forms forms;
        forms_open(&forms, NULL, (struct shape){.databases = rows[i].databases});
        for (size_t q = 0; q < sizeof queries / sizeof queries[0]; q++) {
            struct names names = databases_of(&forms, queries[q]);
            assert_int_equal(names.count, 1 + (rows[i].databases ? rows[i].databases : 2));
            assert_true(names_have(&names, "postgres"));
            assert_true(names_have(&names, rows[i].there));
            assert_true(names_have(&names, rows[i].last));
            assert_false(names_have(&names, rows[i].not_there));
            for (size_t k = 0; k < names.count; k++)
                assert_true(form_book_database(forms.book, names.items[k]));
            free(names.items);
        }
        assert_false(form_book_database(forms.book, rows[i].not_there));
        assert_true(form_book_database(forms.book, "template1"));
        const char *sqlstate;
        forms_refusal(&forms, "SELECT 1", rows[i].not_there, &sqlstate);
        assert_string_equal(sqlstate, "3D000");
        forms_close(&forms);
    }
}

/* In each database the same tables, under the database's own name. */
static void databases_name_themselves(void **state)
{
    (void)state;
    static const char *const databases[] = {"app", "billing", "app_4", "postgres"};
    struct forms forms;
    forms_open(&forms, NULL, (struct shape){.databases = 8});
    for (size_t i = 0; i < sizeof databases / sizeof databases[0]; i++) {
        char name[NAME_BYTES];
        struct names tables = tables_of(&forms, "tables", databases[i], false);
        assert_int_equal(tables.count, RECORDED_TABLES);
        snprintf(name, sizeof name, "%s|public orders", databases[i]);
        assert_true(names_have(&tables, name));
        free(tables.items);
        for (int model = CATALOG_SEMCONV; model <= CATALOG_LEGACY; model++) {
            struct plan *plan = forms_plan(&forms, (enum catalog_model)model, forms.enabled);
            const char *key =
                model == CATALOG_SEMCONV ? "db.namespace" : "postgresql.database.name";
            for (size_t s = 0; s < plan->statement_count; s++) {
                const struct statement *statement = &plan->statements[s];
                if (statement->scope != QUERY_DATABASE)
                    continue;
                struct answer answer = ask(&forms, statement, databases[i]);
                size_t bytes = strlen(databases[i]);
                for (uint32_t r = 0; r < answer.row_count; r++) {
                    const char *text = answer_text(&answer, r, key_column(statement, key));
                    assert_int_equal(strncmp(text, databases[i], bytes), 0);
                    assert_true(text[bytes] == '\0' || text[bytes] == '|');
                }
                answer_free(&answer);
            }
            plan_destroy(&plan);
        }
        struct form_moment moment = forms_moment(1);
        struct answer answer;
        forms_ask(forms_find(&forms, "SELECT current_database()", databases[i]), forms_text,
                  &moment, &answer);
        assert_true(answer_is(&answer, 0, 0, databases[i]));
        answer_free(&answer);
    }
    forms_close(&forms);
}

/* Marks the counters of a statement in each database; returns how many there are. */
static size_t counters_mark(const struct forms *forms, const struct statement *statement,
                            bool *used)
{
    static const char *const databases[] = {"app", "billing", "app_2", "postgres", "template1"};
    uint32_t first = form_index(forms_find(forms, statement->sql, databases[0]));
    size_t count = 0;
    for (size_t i = 0; i < sizeof databases / sizeof databases[0]; i++) {
        uint32_t index = form_index(forms_find(forms, statement->sql, databases[i]));
        if (statement->scope == QUERY_SERVER && i > 0) {
            assert_int_equal(index, first);
            continue;
        }
        assert_false(used[index]);
        used[index] = true;
        count++;
    }
    return count;
}

/* Server-scope statements have one counter of steps, whatever the database they are sent in; the
 * others one for each database. Those of the other role have theirs, too. */
static void indexes_tell_counters_apart(void **state)
{
    (void)state;
    struct forms forms;
    forms_open(&forms, NULL, (struct shape){.databases = 3});
    struct plan *primary = forms_plan(&forms, CATALOG_SEMCONV, forms.enabled);
    forms.capabilities.recovery = true;
    struct plan *standby = forms_plan(&forms, CATALOG_LEGACY, forms.enabled);
    bool *used = calloc(form_book_indexes(forms.book), sizeof *used);
    size_t count = 0;
    for (size_t i = 0; i < primary->statement_count; i++)
        count += counters_mark(&forms, &primary->statements[i], used);
    for (size_t i = 0; i < standby->statement_count; i++) {
        bool both = false;
        for (size_t k = 0; k < primary->statement_count; k++)
            both = both || strcmp(primary->statements[k].name, standby->statements[i].name) == 0;
        count += both ? 0 : counters_mark(&forms, &standby->statements[i], used);
    }
    uint32_t other = form_index(forms_find(&forms, "SELECT 1", "app"));
    assert_false(used[other]);
    assert_int_equal(count + 1, form_book_indexes(forms.book));
    free(used);
    plan_destroy(&primary);
    plan_destroy(&standby);
    forms_close(&forms);
}

/* A user's own query by query id, as one might record it with --catalog. */
static const char top_statements[] =
    "{\"version\": 1, \"server_version\": \"17\", \"version_num\": 170000, \"recovery\": false,"
    "\"recorded\": \"\", \"database\": \"app\", \"databases\": [\"postgres\", \"app\", "
    "\"billing\"], \"parameters\": {}, \"settings\": {}, \"present\": [], \"queries\": ["
    "{\"name\": \"top\", \"group\": \"statements\", \"scope\": \"server\", \"answers\": ["
    "{\"columns\": [{\"sql\": \"(d.datname)::text\", \"type\": \"text\", \"role\": \"database\"},"
    "{\"sql\": \"(s.queryid)::text\", \"type\": \"text\", \"role\": \"statement\"},"
    "{\"sql\": \"(s.calls)::int8\", \"type\": \"int8\", \"role\": \"counter\"}],"
    "\"rows\": [[\"app\", \"11\", 5], [\"app\", \"12\", 6], [\"billing\", \"11\", 7],"
    "[\"app\", \"11\", 8], [\"postgres\", \"13\", 9]]}]}], \"extras\": []}";

static void statements_are_multiplied(void **state)
{
    (void)state;
    static const char sql[] = "/* pgweir:top */ SELECT (d.datname)::text AS \"datname\", "
                              "(s.queryid)::text AS \"id\", (s.calls)::int8 AS \"calls\" FROM x";
    static const struct {
        uint32_t statements, databases, rows;
        const char *first, *last; /* "database id" */
    } cases[] = {
        /* app: ids 11 (two rows) and 12; billing: 11; postgres: 13 */
        {0, 0, 5, "app 11", "postgres 13"},     {1, 0, 4, "app 11", "postgres 13"},
        {2, 0, 7, "app 11", "postgres 13_2"}, /* app 3, billing 2, postgres 2 */
        {3, 0, 11, "app 11", "postgres 13_3"},  {2, 1, 5, "app 11", "postgres 13_2"},
        {2, 4, 12, "app 11", "billing_2 11_2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct forms forms;
        forms_open_text(
            &forms, top_statements,
            (struct shape){.statements = cases[i].statements, .databases = cases[i].databases});
        struct form_moment moment = forms_moment(4);
        struct answer answer;
        forms_ask(forms_find(&forms, sql, "app"), forms_binary, &moment, &answer);
        char first[64], last[64];
        uint32_t end = answer.row_count - 1;
        snprintf(first, sizeof first, "%s %s", answer_text(&answer, 0, 0),
                 answer_text(&answer, 0, 1));
        snprintf(last, sizeof last, "%s %s", answer_text(&answer, end, 0),
                 answer_text(&answer, end, 1));
        assert_int_equal(answer.row_count, cases[i].rows);
        assert_string_equal(first, cases[i].first);
        assert_string_equal(last, cases[i].last);
        answer_free(&answer);
        forms_close(&forms);
    }
}

/* An answer of a size that cannot be is refused, not made. */
static void the_impossible_is_refused(void **state)
{
    (void)state;
    struct forms forms;
    forms_open(&forms, NULL, (struct shape){.tables = 2000000});
    struct plan *plan = forms_plan(&forms, CATALOG_SEMCONV, forms.enabled);
    const char *sqlstate;
    const char *text =
        forms_refusal(&forms, forms_statement(plan, "tables")->sql, "app", &sqlstate);
    assert_string_equal(sqlstate, "54000");
    assert_non_null(strstr(text, "ask for fewer"));
    plan_destroy(&plan);
    forms_close(&forms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_multiplied),
        cmocka_unit_test(indexes_follow_their_tables),
        cmocka_unit_test(databases_are_multiplied),
        cmocka_unit_test(databases_name_themselves),
        cmocka_unit_test(indexes_tell_counters_apart),
        cmocka_unit_test(statements_are_multiplied),
        cmocka_unit_test(the_impossible_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
