/* SPDX-License-Identifier: Apache-2.0 */
/* Every recording that comes with the program answers everything a collector asks of a server like
 * it, in both models, and every number is what workload.h says. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "tests/tools/sim/forms.h"
#include "tools/sim/workload.h"

enum { OID_TEXT = 25, OID_INT8 = 20, OID_FLOAT8 = 701, OID_TIMESTAMPTZ = 1184 };
enum { OID_INT8_ARRAY = 1016, OID_FLOAT8_ARRAY = 1022 };

static bool is_counter(const struct metric *metric)
{
    return metric->instrument == METRIC_SUM && metric->monotonic;
}

/* Calls `check` for each statement of the recording's plan in each model. */
static void each_statement(const char *path, void (*check)(const struct forms *forms,
                                                           const struct statement *statement))
{
    struct forms forms;
    forms_open(&forms, path, (struct shape){.seed = 1});
    for (int model = CATALOG_SEMCONV; model <= CATALOG_LEGACY; model++) {
        struct plan *plan = forms_plan(&forms, (enum catalog_model)model, forms.enabled);
        assert_true(plan->statement_count >= 25);
        for (size_t i = 0; i < plan->statement_count; i++)
            check(&forms, &plan->statements[i]);
        plan_destroy(&plan);
    }
    forms_close(&forms);
}

/* ---- structure ---- */

static void statement_described(const struct forms *forms, const struct statement *statement)
{
    const struct form *form = forms_find(forms, statement->sql, "app");
    assert_string_equal(form_name(form), statement->name);
    assert_true(form_recorded(form));
    assert_int_equal(form_parameters(form), 0);
    assert_int_equal(form_columns(form), statement->column_count);
    struct column *columns = forms_columns(form, forms_binary);
    for (size_t a = 0; a < statement->attribute_count; a++)
        for (uint16_t k = 0; k < statement->attributes[a].column_count; k++)
            assert_int_equal(columns[statement->attributes[a].columns[k]].oid, OID_TEXT);
    for (size_t p = 0; p < statement->point_count; p++) {
        const struct statement_point *point = &statement->points[p];
        bool integer = point->metric->value == METRIC_INT;
        uint32_t oid = point->element ? integer ? OID_INT8_ARRAY : OID_FLOAT8_ARRAY
                       : integer      ? OID_INT8
                                      : OID_FLOAT8;
        assert_int_equal(columns[point->column].oid, oid);
        assert_int_equal(columns[point->column].size, point->element ? -1 : 8);
        if (point->element)
            assert_string_equal(columns[point->column].name,
                                integer ? "int8_values" : "float8_values");
    }
    if (statement->start_column >= 0)
        assert_int_equal(columns[statement->start_column].oid, OID_TIMESTAMPTZ);
    for (uint32_t i = 0; i < form_columns(form); i++)
        assert_int_equal(columns[i].format, 1);
    free(columns);
}

static void every_recording_answers_every_statement(void **state)
{
    (void)state;
    for (const char *const *path = forms_recordings; *path; path++)
        each_statement(*path, statement_described);
    each_statement(NULL, statement_described);
}

/* A server that changes its role can still be asked everything. */
static void either_role_is_answered(void **state)
{
    (void)state;
    for (const char *const *path = forms_recordings; *path; path++) {
        struct forms forms;
        forms_open(&forms, *path, (struct shape){.databases = 3});
        forms.capabilities.recovery = !forms.capabilities.recovery;
        for (int model = CATALOG_SEMCONV; model <= CATALOG_LEGACY; model++) {
            struct plan *plan = forms_plan(&forms, (enum catalog_model)model, forms.enabled);
            for (size_t i = 0; i < plan->statement_count; i++)
                statement_described(&forms, &plan->statements[i]);
            plan_destroy(&plan);
        }
        forms_close(&forms);
    }
}

/* ---- numbers ---- */

/* The value of a point; false: NULL. */
static bool point_bits(const struct answer *answer, uint32_t row,
                       const struct statement_point *point, uint64_t *ret_bits)
{
    return answer_bits(answer, row, point->column, point->element, ret_bits);
}

static void gauge_check(const struct statement_point *point, uint64_t recorded, uint64_t moved)
{
    if (point->metric->value == METRIC_INT) {
        int64_t from = (int64_t)recorded, to = (int64_t)moved;
        assert_true(from <= 0 ? to == from : to >= from && to <= from + from / 16);
    } else {
        double from = bits_real(recorded), to = bits_real(moved);
        assert_true(from <= 0 ? !(to < from) && !(to > from)
                              : to >= from && to <= from + from / 16);
    }
}

static void numbers_check(const struct forms *forms, const struct statement *statement)
{
    const struct form *form = forms_find(forms, statement->sql, "app");
    struct form_moment recorded = forms_moment(0), now = forms_moment(123456789);
    struct answer before, after;
    forms_ask(form, forms_binary, &recorded, &before);
    forms_ask(form, forms_binary, &now, &after);
    assert_int_equal(before.bytes, after.bytes);
    for (uint32_t r = 0; r < after.row_count; r++) {
        for (size_t p = 0; p < statement->point_count; p++) {
            const struct statement_point *point = &statement->points[p];
            uint64_t from, to;
            bool there = point_bits(&after, r, point, &to);
            assert_int_equal(point_bits(&before, r, point, &from), there);
            if (!there)
                continue;
            if (!is_counter(point->metric))
                gauge_check(point, from, to);
            else if (point->metric->value == METRIC_INT)
                assert_int_equal(workload_step_of_count((int64_t)to), now.step);
            else
                assert_int_equal(workload_step_of_real(bits_real(to)), now.step);
        }
        uint64_t start;
        if (statement->start_column >= 0 &&
            answer_bits(&after, r, (uint32_t)statement->start_column, 0, &start))
            assert_int_equal(start, now.start_us);
    }
    answer_free(&before);
    answer_free(&after);
}

static void numbers_carry_the_step(void **state)
{
    (void)state;
    for (const char *const *path = forms_recordings; *path; path++)
        each_statement(*path, numbers_check);
}

/* Numbers that are there, and how often the two answers differ by more than the steps do. */
static uint64_t values_count(const struct statement *statement, const struct answer *answer)
{
    uint64_t count = 0;
    bool seen[256][2]; /* columns of several points count once */
    for (uint32_t r = 0; r < answer->row_count; r++) {
        memset(seen, 0, sizeof seen);
        for (size_t p = 0; p < statement->point_count; p++) {
            const struct statement_point *point = &statement->points[p];
            bool *known = &seen[point->element][point->metric->value];
            uint64_t bits;
            count += !*known && point_bits(answer, r, point, &bits);
            *known = true;
        }
    }
    return count;
}

static void values_check(const struct forms *forms, const struct statement *statement)
{
    const struct form *form = forms_find(forms, statement->sql, "app");
    struct form_moment moment = forms_moment(1);
    struct answer answer;
    forms_ask(form, forms_binary, &moment, &answer);
    assert_int_equal(form_values(form), values_count(statement, &answer));
    answer_free(&answer);
}

static void values_are_counted(void **state)
{
    (void)state;
    for (const char *const *path = forms_recordings; *path; path++)
        each_statement(*path, values_check);
}

/* ---- reproducible ---- */

/* One answer of the statement `name`; the caller frees it. */
static struct answer ask(const struct forms *forms, const char *name, uint64_t server,
                         uint64_t step)
{
    struct plan *plan = forms_plan(forms, CATALOG_SEMCONV, forms->enabled);
    const struct statement *statement = forms_statement(plan, name);
    struct form_moment moment = forms_moment(step);
    moment.server = server;
    struct answer answer;
    forms_ask(forms_find(forms, statement->sql, "app"), forms_binary, &moment, &answer);
    plan_destroy(&plan);
    return answer;
}

static bool answers_equal(struct answer a, struct answer b)
{
    bool equal = a.bytes == b.bytes && memcmp(a.messages, b.messages, a.bytes) == 0;
    answer_free(&a);
    answer_free(&b);
    return equal;
}

static void same_seed_same_bytes(void **state)
{
    (void)state;
    struct forms one, two, other;
    forms_open(&one, NULL, (struct shape){.seed = 7, .tables = 60});
    forms_open(&two, NULL, (struct shape){.seed = 7, .tables = 60});
    forms_open(&other, NULL, (struct shape){.seed = 8, .tables = 60});
    /* A form made later, after others, is the same. */
    answers_equal(ask(&two, "database", 4, 2), ask(&two, "io", 4, 2));
    static const char *const names[] = {"tables", "indexes", "database", "backends", "io"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_true(answers_equal(ask(&one, names[i], 4, 99), ask(&two, names[i], 4, 99)));
        assert_false(answers_equal(ask(&one, names[i], 4, 99), ask(&other, names[i], 4, 99)));
        assert_false(answers_equal(ask(&one, names[i], 4, 99), ask(&one, names[i], 5, 99)));
        assert_false(answers_equal(ask(&one, names[i], 4, 99), ask(&one, names[i], 4, 100)));
    }
    forms_close(&one);
    forms_close(&two);
    forms_close(&other);
}

/* Over many steps r goes everywhere from 0 to 999, so that deltas are neither all the same nor
 * negative. */
static void remainders_are_spread(void **state)
{
    (void)state;
    uint32_t counts[10] = {0};
    uint64_t last = 0;
    for (uint64_t step = 1; step <= 10000; step++) {
        uint64_t hash = workload_hash(workload_execution(workload_text(1, "tables"), 3, step),
                                      workload_place(5, 7));
        uint64_t value = (uint64_t)workload_count(step, hash);
        assert_true(value > last && value - last < 2000);
        assert_int_equal((uint64_t)workload_real(step, hash), step);
        counts[value % 1000 / 100]++;
        last = value;
    }
    for (int i = 0; i < 10; i++)
        assert_in_range(counts[i], 850, 1150);
}

static void gauges_stay_in_bounds(void **state)
{
    (void)state;
    static const int64_t values[] = {INT64_MIN, -1, 0, 1, 15, 16, 100, INT64_MAX / 2, INT64_MAX};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        for (int shift = 0; shift < 64; shift++) {
            int64_t moved = workload_gauge(values[i], UINT64_MAX >> shift);
            assert_true(moved >= values[i]);
            assert_true(values[i] > 0 ? moved - values[i] <= values[i] / 16 : moved == values[i]);
        }
    }
}

/* ---- any choice ---- */

/* Each metric alone: the same numbers as among all others. */
static void metrics_alone_are_the_same(void **state)
{
    (void)state;
    struct forms forms;
    forms_open(&forms, NULL, (struct shape){.seed = 1});
    bool *alone = calloc(forms.catalog->metric_count, sizeof *alone);
    struct form_moment moment = forms_moment(31);
    struct plan *all = forms_plan(&forms, CATALOG_SEMCONV, forms.enabled);
    size_t asked = 0;
    for (size_t m = 0; m < forms.catalog->metric_count; m++) {
        struct catalog_choice choice = {.model = CATALOG_SEMCONV, .metric_enabled = alone};
        struct plan *plan = NULL;
        struct error error;
        alone[m] = true;
        bool planned = catalog_plan(forms.catalog, &choice, &forms.capabilities, &plan, &error);
        for (size_t i = 0; planned && i < plan->statement_count; i++) {
            const struct statement *few = &plan->statements[i];
            const struct statement *many = forms_statement(all, few->name);
            struct answer little, much;
            forms_ask(forms_find(&forms, few->sql, "app"), forms_binary, &moment, &little);
            forms_ask(forms_find(&forms, many->sql, "app"), forms_binary, &moment, &much);
            assert_int_equal(little.row_count, much.row_count);
            size_t first = 0; /* of the metric's points among all */
            while (many->points[first].metric != few->points[0].metric)
                first++;
            for (uint32_t r = 0; r < little.row_count; r++) {
                for (size_t p = 0; p < few->point_count; p++) {
                    uint64_t a = 0, b = 0;
                    assert_int_equal(point_bits(&little, r, &few->points[p], &a),
                                     point_bits(&much, r, &many->points[first + p], &b));
                    assert_true(a == b);
                }
            }
            asked++;
            answer_free(&little);
            answer_free(&much);
        }
        plan_destroy(&plan);
        alone[m] = false;
    }
    assert_true(asked > 100);
    plan_destroy(&all);
    free(alone);
    forms_close(&forms);
}

/* Rows of a statement whose database filter leaves only one, or that one out. */
static void database_filters_are_obeyed(void **state)
{
    (void)state;
    static const char *const one[] = {"app", "it's \\ odd"};
    static const char *const server_queries[] = {"database", "backends", "database_size",
                                                 "statements"};
    for (int exclude = 0; exclude < 2; exclude++) {
        struct forms forms;
        forms_open(&forms, NULL, (struct shape){.databases = 7});
        struct catalog_choice choice = {.model = CATALOG_LEGACY, .metric_enabled = forms.enabled};
        *(exclude ? &choice.exclude_databases : &choice.databases) = one;
        *(exclude ? &choice.exclude_count : &choice.database_count) = 2;
        struct plan *plan = NULL;
        struct error error;
        assert_true(catalog_plan(forms.catalog, &choice, &forms.capabilities, &plan, &error));
        for (size_t i = 0; i < sizeof server_queries / sizeof server_queries[0]; i++) {
            const struct statement *statement = forms_statement(plan, server_queries[i]);
            struct form_moment moment = forms_moment(1);
            struct answer answer;
            forms_ask(forms_find(&forms, statement->sql, "app"), forms_binary, &moment, &answer);
            assert_int_equal(answer.row_count, exclude ? 7 : 1); /* 7 and postgres, less app */
            for (uint32_t r = 0; r < answer.row_count; r++)
                assert_int_equal(answer_is(&answer, r, 0, "app"), !exclude);
            answer_free(&answer);
        }
        plan_destroy(&plan);
        forms_close(&forms);
    }
}

/* ---- what is not there ---- */

static void what_is_unknown_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *sql, *database, *sqlstate, *text;
    } rows[] = {
        {"/* pgweir:database */ SELECT (s.datname)::text AS a, (s.nonsense)::int8 AS b FROM x",
         "app", "0A000", "query database, expression (s.nonsense)::int8"},
        {"/* pgweir:mine */ SELECT (a)::int8 AS b FROM x", "app", "0A000", "query mine"},
        {"/* pgweir:database */ SELECT ARRAY[(s.datname)::text] AS a FROM x", "app", "42804",
         "query database"},
        {"/* pgweir:database */ SELECT ARRAY[(s.xact_commit)::int8, (s.blk_read_time / "
         "1000)::float8] AS a FROM x",
         "app", "42804", "query database"},
        {"/* pgweir:database */ SELECT", "app", "0A000", "select list"},
        {"/* pgweir:database */ DELETE FROM x", "app", "0A000", "select list"},
        {"/* pgweir:probe */ SELECT 1", "app", "0A000", "probe"},
        {"/* pgweir:probe */ SELECT 1, 2, 3, 4 FROM (VALUES (0, 64, 'column', 'a', 'b')) AS p",
         "app", "0A000", "probe"},
        {"/* pgweir:probe */ SELECT 1, 2, 3, 4 FROM (VALUES (0, 0, 'column', 'a')) AS p", "app",
         "0A000", "probe"},
        {"SELECT set_config('a', 'b', false), 2", "app", "0A000", "set_config"},
        {"SELECT 2", "app", "0A000", "SELECT 2"},
        {"SELECT abalance FROM pgbench_accounts WHERE bid = 1", "app", "0A000", "--sql"},
        {"CREATE TABLE x ()", "app", "0A000", "CREATE TABLE x ()"},
        {"", "app", "0A000", ""},
        {"SELECT 1", "nowhere", "3D000", "database \"nowhere\" does not exist"},
        {"SHOW nonsense", "app", "42704", "\"nonsense\""},
    };
    struct forms forms;
    forms_open(&forms, NULL, (struct shape){0});
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *sqlstate;
        const char *text = forms_refusal(&forms, rows[i].sql, rows[i].database, &sqlstate);
        if (strcmp(sqlstate, rows[i].sqlstate) != 0 || !strstr(text, rows[i].text))
            fail_msg("%s: %s %s", rows[i].sql, sqlstate, text);
    }
    forms_close(&forms);
}

/* A query that failed when it was recorded fails the same when it is served. */
static void recorded_errors_are_served(void **state)
{
    (void)state;
    static const char json[] =
        "{\"version\": 1, \"server_version\": \"17\", \"version_num\": 170000, \"recovery\": false,"
        "\"recorded\": \"\", \"database\": \"app\", \"databases\": [\"app\"], \"parameters\": {},"
        "\"settings\": {}, \"present\": [], \"queries\": [{\"name\": \"wal_directory\", \"group\": "
        "\"sizes\", \"scope\": \"server\", \"error\": {\"sqlstate\": \"42501\", \"message\": "
        "\"permission denied for function pg_ls_waldir\"}}], \"extras\": []}";
    struct forms forms;
    forms_open_text(&forms, json, (struct shape){0});
    const char *sqlstate;
    const char *text = forms_refusal(
        &forms, "/* pgweir:wal_directory */ SELECT (count(*))::int8 AS files", "app", &sqlstate);
    assert_string_equal(sqlstate, "42501");
    assert_string_equal(text, "permission denied for function pg_ls_waldir");
    forms_close(&forms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_recording_answers_every_statement),
        cmocka_unit_test(either_role_is_answered),
        cmocka_unit_test(numbers_carry_the_step),
        cmocka_unit_test(values_are_counted),
        cmocka_unit_test(same_seed_same_bytes),
        cmocka_unit_test(remainders_are_spread),
        cmocka_unit_test(gauges_stay_in_bounds),
        cmocka_unit_test(metrics_alone_are_the_same),
        cmocka_unit_test(database_filters_are_obeyed),
        cmocka_unit_test(what_is_unknown_is_refused),
        cmocka_unit_test(recorded_errors_are_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
