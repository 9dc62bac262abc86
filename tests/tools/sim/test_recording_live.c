/* SPDX-License-Identifier: Apache-2.0 */
/* A recording of a real server, made and served again, compared with that server's own answers:
 * what is said of the columns, how many rows there are and what they are called, and what texts of
 * numbers look like. The server is idle, so that most numbers are equal too. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cluster.h"
#include "tests/tools/sim/forms.h"
#include "tools/sim/form_data.h"

static struct cluster cluster;
static PGconn *conn;
static char path[128], dsn[256];

static const char secret[] = "correct-horse-battery";

static void run(const char *sql)
{
    PGresult *result = PQexec(conn, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        fail_msg("%s: %s", sql, PQresultErrorMessage(result));
    PQclear(result);
}

/* Until what the first session did is in the statistics: rows and NULLs depend on it. */
static void statistics_await(void)
{
    for (int i = 0; i < 500; i++) {
        if (cluster_sql(&cluster, "app",
                        "SELECT count(*) FROM pg_stat_user_tables, pg_stat_user_functions WHERE "
                        "last_vacuum IS NOT NULL AND last_analyze IS NOT NULL AND calls = 1") == 1)
            return;
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    fail_msg("the server's statistics do not come");
}

static int setup(void **state)
{
    (void)state;
    cluster_create(&cluster, "shared_preload_libraries = 'pg_stat_statements'\n"
                             "track_functions = 'pl'\nautovacuum = off\n");
    cluster_sql(&cluster, "postgres", "CREATE DATABASE app");
    snprintf(dsn, sizeof dsn,
             "host=127.0.0.1 port=%u user=watcher password=%s dbname=app application_name=%s",
             cluster.port, secret, secret);
    char admin[128];
    snprintf(admin, sizeof admin, "host=127.0.0.1 port=%u user=postgres dbname=app", cluster.port);
    conn = PQconnectdb(admin);
    run("CREATE ROLE watcher LOGIN IN ROLE pg_monitor");
    run("CREATE EXTENSION pg_stat_statements");
    run("CREATE TABLE items (id int PRIMARY KEY, note text)");
    run("CREATE SCHEMA \"odd|schema\"");
    run("CREATE TABLE \"odd|schema\".\"B\u00f6se \"\"Tabelle\"\"\" (id int)");
    run("INSERT INTO items SELECT i, 'x' FROM generate_series(1, 1000) AS i");
    run("CREATE FUNCTION twice(a int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 2 * a; END'");
    run("SELECT twice(1)");
    run("VACUUM ANALYZE items");
    PQfinish(conn);
    statistics_await();
    conn = PQconnectdb(dsn);
    assert_int_equal(PQstatus(conn), CONNECTION_OK);
    run("SET TimeZone = 'UTC'");
    snprintf(path, sizeof path, "%s/recording.json", cluster.directory);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    PQfinish(conn);
    unlink(path);
    cluster_destroy(&cluster);
    return 0;
}

static bool record(const char *from, const char *to, struct error *error)
{
    return recording_make(&(struct recording_source){.dsn = from}, to, error);
}

/* Queries whose rows or texts are different from one moment to the next. */
static bool is_fleeting(const char *name)
{
    return strcmp(name, "locks") == 0 || strcmp(name, "locks_shared") == 0 ||
           strcmp(name, "wait_events") == 0;
}

static void columns_compare(const struct form *form, const PGresult *real)
{
    struct column *columns = forms_columns(form, forms_binary);
    assert_int_equal(form_columns(form), PQnfields(real));
    for (int c = 0; c < PQnfields(real); c++) {
        assert_string_equal(columns[c].name, PQfname(real, c));
        assert_int_equal(columns[c].oid, PQftype(real, c));
        assert_int_equal(columns[c].size, PQfsize(real, c));
        assert_int_equal(columns[c].format, PQfformat(real, c));
    }
    free(columns);
}

/* As recorded, cell by cell: NULLs, lengths, texts. Returns how many cells are equal. */
static size_t cells_compare(const struct answer *answer, const PGresult *real)
{
    size_t equal = 0;
    for (int r = 0; r < PQntuples(real); r++) {
        for (int c = 0; c < PQnfields(real); c++) {
            const struct cell *cell = answer_cell(answer, (uint32_t)r, (uint32_t)c);
            bool null = PQgetisnull(real, r, c);
            assert_int_equal(cell->data == NULL, null);
            if (null)
                continue;
            assert_int_equal(cell->bytes, PQgetlength(real, r, c));
            bool same = memcmp(cell->data, PQgetvalue(real, r, c), cell->bytes) == 0;
            equal += same;
            if (PQftype(real, c) == 25 && !same)
                fail_msg("row %d: %s, not %s", r, answer_text(answer, (uint32_t)r, (uint32_t)c),
                         PQgetvalue(real, r, c));
        }
    }
    return equal;
}

static void statement_compare(const struct forms *forms, const struct statement *statement,
                              size_t *equal, size_t *cells)
{
    PGresult *real = PQexecParams(conn, statement->sql, 0, NULL, NULL, NULL, NULL, 1);
    if (PQresultStatus(real) != PGRES_TUPLES_OK)
        fail_msg("%s: %s", statement->name, PQresultErrorMessage(real));
    const struct form *form = forms_find(forms, statement->sql, "app");
    struct form_moment moment = forms_moment(0);
    struct answer answer;
    forms_ask(form, forms_binary, &moment, &answer);
    columns_compare(form, real);
    if (!is_fleeting(statement->name)) {
        if ((int)answer.row_count != PQntuples(real))
            fail_msg("%s: %u rows, not %d", statement->name, answer.row_count, PQntuples(real));
        assert_string_equal(answer.tag, PQcmdStatus(real));
        *equal += cells_compare(&answer, real);
        *cells += (size_t)PQntuples(real) * (size_t)PQnfields(real);
    }
    answer_free(&answer);
    PQclear(real);
}

static void served_as_the_server_answers(void **state)
{
    (void)state;
    struct error error;
    if (!record(dsn, path, &error))
        fail_msg("%s", error.text);
    struct forms forms;
    forms_open(&forms, path, (struct shape){0});
    size_t equal = 0, cells = 0;
    for (int model = CATALOG_SEMCONV; model <= CATALOG_LEGACY; model++) {
        struct plan *plan = forms_plan(&forms, (enum catalog_model)model, forms.enabled);
        assert_true(plan->statement_count >= 25);
        for (size_t i = 0; i < plan->statement_count; i++)
            statement_compare(&forms, &plan->statements[i], &equal, &cells);
        plan_destroy(&plan);
    }
    assert_true(cells > 200 && equal > cells / 2);
    forms_close(&forms);
}

static void probe_as_the_server_answers(void **state)
{
    (void)state;
    struct forms forms;
    forms_open(&forms, path, (struct shape){0});
    PGresult *real =
        PQexecParams(conn, catalog_probe_sql(forms.catalog), 0, NULL, NULL, NULL, NULL, 1);
    const struct form *form = forms_find(&forms, catalog_probe_sql(forms.catalog), "app");
    struct form_moment moment = forms_moment(1);
    struct answer answer;
    forms_ask(form, forms_binary, &moment, &answer);
    columns_compare(form, real);
    assert_int_equal(cells_compare(&answer, real), PQnfields(real) - 1); /* but the start */
    answer_free(&answer);
    PQclear(real);
    forms_close(&forms);
}

/* Nothing of how the server was reached. */
static void the_file_keeps_no_secret(void **state)
{
    (void)state;
    struct error error;
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    char *text = calloc(1, 1 << 20), port[16];
    assert_true(fread(text, 1, (1 << 20) - 1, file) > 1000);
    fclose(file);
    snprintf(port, sizeof port, "%u", cluster.port);
    static const char *const never[] = {"battery", "watcher", "127.0.0.1", "pgweir-sim"};
    for (size_t i = 0; i < sizeof never / sizeof never[0]; i++)
        assert_null(strstr(text, never[i]));
    free(text);
    /* Nor does a message name the password. */
    char wrong[300];
    snprintf(wrong, sizeof wrong, "host=127.0.0.1 port=1 user=x password=%s", secret);
    assert_false(record(wrong, path, &error));
    assert_null(strstr(error.text, secret));
    assert_non_null(strstr(error.text, "cannot connect"));
}

/* A file of one's own statements, and a catalogue of one's own. */
static void further_statements(void **state)
{
    (void)state;
    char sql_path[128], catalog_path[128], other[128];
    snprintf(sql_path, sizeof sql_path, "%s/more.sql", cluster.directory);
    snprintf(catalog_path, sizeof catalog_path, "%s/mine.yaml", cluster.directory);
    snprintf(other, sizeof other, "%s/other.json", cluster.directory);
    FILE *file = fopen(sql_path, "we");
    fputs("-- mine\n\nSELECT 1.50::numeric AS a, NULL::int AS b, 'x'::name AS c, true AS d\n"
          "select relname from pg_class where relname = 'items'\n",
          file);
    fclose(file);
    file = fopen(catalog_path, "we");
    fputs("name: mine\nabout: Mine.\ngroup: mine\nscope: database\nfrom: items AS i\n"
          "select: {biggest: max(i.id)}\nmetrics:\n  my.biggest: {unit: \"1\", instrument: gauge, "
          "value: int, description: Biggest., enabled: true, column: biggest}\n",
          file);
    fclose(file);
    cluster_sql(&cluster, "app", "GRANT SELECT ON items TO watcher");
    struct error error;
    const char *const catalogs[] = {catalog_path};
    struct recording_source source = {
        .dsn = dsn, .catalogs = catalogs, .catalog_count = 1, .sql_file = sql_path};
    if (!recording_make(&source, other, &error))
        fail_msg("%s", error.text);
    struct forms forms;
    forms_open(&forms, other, (struct shape){0});
    struct form_moment moment = forms_moment(0);
    struct answer answer;
    uint64_t bits;
    forms_ask(forms_find(&forms,
                         "/* pgweir:mine */ SELECT (max(i.id))::int8 AS biggest FROM items AS i",
                         "app"),
              forms_binary, &moment, &answer);
    assert_true(answer_bits(&answer, 0, 0, 0, &bits) && bits == 1000);
    answer_free(&answer);
    static const char *const sql[] = {
        "SELECT 1.50::numeric AS a, NULL::int AS b, 'x'::name AS c, true AS d",
        "SELECT relname FROM pg_class WHERE relname = 'anything'", "SELECT version()", "SELECT 1"};
    for (size_t i = 0; i < sizeof sql / sizeof sql[0]; i++) {
        for (int binary = 0; binary < 2; binary++) {
            struct form_formats formats = binary ? forms_binary : forms_text;
            PGresult *real = PQexecParams(conn, i == 1 ? "select 'items'::name AS relname" : sql[i],
                                          0, NULL, NULL, NULL, NULL, binary);
            const struct form *form = forms_find(&forms, sql[i], "app");
            forms_ask(form, formats, &moment, &answer);
            assert_int_equal(answer.column_count, PQnfields(real));
            struct column *columns = forms_columns(form, formats);
            size_t nulls = 0;
            for (int c = 0; c < PQnfields(real); c++) {
                assert_int_equal(columns[c].oid, PQftype(real, c));
                assert_int_equal(columns[c].size, PQfsize(real, c));
                nulls += PQgetisnull(real, 0, c) != 0;
            }
            assert_int_equal(cells_compare(&answer, real) + nulls, PQnfields(real));
            free(columns);
            answer_free(&answer);
            PQclear(real);
        }
    }
    forms_close(&forms);
    unlink(other);
    unlink(sql_path);
    unlink(catalog_path);
}

/* A file that is not there, or a line that fails, leaves no recording behind. */
static void statements_that_fail(void **state)
{
    (void)state;
    char sql_path[128], other[128];
    snprintf(sql_path, sizeof sql_path, "%s/bad.sql", cluster.directory);
    snprintf(other, sizeof other, "%s/other.json", cluster.directory);
    struct error error;
    struct recording_source source = {.dsn = dsn, .sql_file = "/nowhere.sql"};
    assert_false(recording_make(&source, other, &error));
    assert_non_null(strstr(error.text, "/nowhere.sql: "));
    FILE *file = fopen(sql_path, "we");
    fputs("SELECT 1\nSELECT nonsense\n", file);
    fclose(file);
    source.sql_file = sql_path;
    assert_false(recording_make(&source, other, &error));
    assert_non_null(strstr(error.text, "bad.sql:2: "));
    assert_int_equal(access(other, F_OK), -1);
    unlink(sql_path);
}

/* A role without rights: the statement's error is recorded and served. */
static void errors_are_recorded(void **state)
{
    (void)state;
    char nobody[128];
    cluster_sql(&cluster, "app", "CREATE ROLE nobody_special LOGIN");
    snprintf(nobody, sizeof nobody, "host=127.0.0.1 port=%u user=nobody_special dbname=app",
             cluster.port);
    struct error error;
    if (!record(nobody, path, &error))
        fail_msg("%s", error.text);
    struct forms forms;
    forms_open(&forms, path, (struct shape){0});
    struct plan *plan = forms_plan(&forms, CATALOG_SEMCONV, forms.enabled);
    const char *sqlstate;
    const char *text =
        forms_refusal(&forms, forms_statement(plan, "wal_directory")->sql, "app", &sqlstate);
    assert_string_equal(sqlstate, "42501");
    assert_string_equal(text, "permission denied for function pg_ls_waldir");
    plan_destroy(&plan);
    forms_close(&forms);
}

/* It must be of the other role; see test_form.c for what comes of it. */
static void the_other_role_is_checked(void **state)
{
    (void)state;
    struct error error;
    struct recording_source source = {.dsn = dsn, .also = dsn};
    assert_false(recording_make(&source, path, &error));
    assert_non_null(strstr(error.text, "is a primary"));
    source.also = "host=127.0.0.1 port=1 dbname=app";
    assert_false(recording_make(&source, path, &error));
    assert_non_null(strstr(error.text, "the other server: cannot connect"));
}

/* Text of what forms convert themselves, against the server's own. */
static void text_compare(const char *sql)
{
    PGresult *binary = PQexecParams(conn, sql, 0, NULL, NULL, NULL, NULL, 1);
    PGresult *text = PQexecParams(conn, sql, 0, NULL, NULL, NULL, NULL, 0);
    if (PQresultStatus(text) != PGRES_TUPLES_OK)
        fail_msg("%s", PQresultErrorMessage(text));
    for (int r = 0; r < PQntuples(text); r++) {
        for (int c = 0; c < PQnfields(text); c++) {
            uint32_t bytes = (uint32_t)PQgetlength(binary, r, c);
            char *shown = malloc(form_text_bound(PQftype(binary, c), bytes) + 1);
            size_t shown_bytes = form_text_cell(
                PQftype(binary, c), (const uint8_t *)PQgetvalue(binary, r, c), bytes, shown);
            shown[shown_bytes] = '\0';
            assert_string_equal(shown, PQgetvalue(text, r, c));
            free(shown);
        }
    }
    assert_true(PQntuples(text) > 0);
    PQclear(binary);
    PQclear(text);
}

static void texts_are_postgresqls(void **state)
{
    (void)state;
    text_compare("SELECT x, -x, 1 / x, x * 1e-300 FROM (SELECT abs(sin(i)) * 10::float8 ^ (i "
                 "% 40 - 20) AS x FROM generate_series(1, 2000) AS i) AS s WHERE x > 0");
    text_compare("SELECT (i::float8 ^ 3) / 8, i * 1e14::float8, i * 1e-6::float8, i::int8 * "
                 "9007199254740993, i::int4 - 500 FROM generate_series(0, 999) AS i");
    text_compare("SELECT timestamptz '2000-01-01 00:00+00' + sin(i) * interval '4500 years' "
                 "FROM generate_series(1, 2000) AS i");
    text_compare("SELECT ARRAY[i, NULL, -i]::int8[], ARRAY[NULL, i / 7.0, 1e20]::float8[], i > 5, "
                 "ARRAY[NULL]::float8[] FROM generate_series(1, 9) AS i");
    text_compare("SELECT unnest(ARRAY['NaN', 'Infinity', '-Infinity', '-0', '5e-324', "
                 "'1.7976931348623157e308', '2.2250738585072014e-308', '123456789012345.6']::"
                 "float8[])");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(served_as_the_server_answers),
        cmocka_unit_test(probe_as_the_server_answers),
        cmocka_unit_test(the_file_keeps_no_secret),
        cmocka_unit_test(further_statements),
        cmocka_unit_test(statements_that_fail),
        cmocka_unit_test(errors_are_recorded),
        cmocka_unit_test(the_other_role_is_checked),
        cmocka_unit_test(texts_are_postgresqls),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
