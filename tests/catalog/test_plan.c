/* SPDX-License-Identifier: Apache-2.0 */
/* Plans for servers of every version and both roles: which columns are asked, how the SQL is put
 * together, and what a plan promises to decode. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "fixture.h"

enum role { PRIMARY, STANDBY };

struct expectation {
    unsigned major;
    enum role role;
    const char *query;
    const char *with;    /* in the SQL; NULL: the query is not run at all */
    const char *without; /* not in the SQL */
};

/* Each row is a difference between versions or roles that once broke some collector. */
static const struct expectation expectations[] = {
    /* 17 moved checkpoints to a view of their own */
    {16, PRIMARY, "checkpointer", "(s.checkpoints_timed)::int8", "pg_stat_checkpointer"},
    {17, PRIMARY, "checkpointer", "(s.num_timed)::int8", "pg_stat_bgwriter"},
    {17, PRIMARY, "checkpointer", "restartpoints_req", "num_done"},
    {18, PRIMARY, "checkpointer", "(s.num_done)::int8", "checkpoints_timed"},
    {16, PRIMARY, "bgwriter", "buffers_backend_fsync", "checkpoints"},
    {17, PRIMARY, "bgwriter", "(s.buffers_clean)::int8", "buffers_backend"},
    /* 14 has pg_stat_wal; 18 moved writes and syncs to pg_stat_io */
    {13, PRIMARY, "wal", NULL, NULL},
    {14, PRIMARY, "wal", "(s.wal_write_time / 1000)::float8", NULL},
    {18, PRIMARY, "wal", "(s.wal_bytes)::int8", "wal_write"},
    /* 18 counts bytes where 16 and 17 have a block size */
    {15, PRIMARY, "io", NULL, NULL},
    {16, PRIMARY, "io", "(s.reads * s.op_bytes)::int8", "s.read_bytes"},
    {18, PRIMARY, "io", "(s.read_bytes)::int8", "op_bytes"},
    /* 17 renamed the caches */
    {12, PRIMARY, "slru", NULL, NULL},
    {16, PRIMARY, "slru", "'MultiXactMember' THEN 'multixact_member'", NULL},
    {17, PRIMARY, "slru", "(s.name)::text", "CASE"},
    /* columns of 13 and 14 */
    {12, PRIMARY, "replication_slots", "confirmed_flush_lsn", "safe_wal_size"},
    {13, PRIMARY, "replication_slots", "safe_wal_size", "inactive_since"},
    {17, PRIMARY, "replication_slots", "inactive_since", NULL},
    {13, PRIMARY, "database", "xact_commit", "session_time"},
    {14, PRIMARY, "database", "session_time", "parallel_workers"},
    {18, PRIMARY, "database", "parallel_workers_launched", NULL},
    {13, PRIMARY, "lock_waits", "count(*)", "waitstart"},
    {14, PRIMARY, "lock_waits", "waitstart", NULL},
    {13, PRIMARY, "replication_slot_stats", NULL, NULL},
    {14, PRIMARY, "replication_slot_stats", "spill_bytes", NULL},
    {12, PRIMARY, "tables", "n_live_tup", "n_ins_since_vacuum"},
    {18, PRIMARY, "tables", "total_autovacuum_time", "s.stats_reset"},
    {19, PRIMARY, "tables", "(s.stats_reset)::timestamptz", "r.stats_reset"},
    {18, PRIMARY, "subscriptions", "s.sync_error_count", NULL},
    {19, PRIMARY, "subscriptions", "s.sync_table_error_count", "s.sync_error_count"},
    {12, PRIMARY, "statements", "s.total_time", "total_exec_time"},
    {13, PRIMARY, "statements", "s.total_exec_time", "s.total_time"},
    /* functions that fail in the other role */
    {15, PRIMARY, "replication", "pg_current_wal_lsn()", "pg_last_wal"},
    {15, STANDBY, "replication", "pg_last_wal_receive_lsn()", "pg_current_wal_lsn"},
    {15, PRIMARY, "replication_slots", "pg_current_wal_lsn()", "pg_last_wal"},
    {15, STANDBY, "replication_slots", "pg_last_wal_replay_lsn()", "pg_current_wal_lsn"},
    {15, STANDBY, "instance", "pg_last_wal_replay_lsn()", "pg_current_wal_lsn"},
    {15, PRIMARY, "replication_standby", NULL, NULL},
    {12, STANDBY, "replication_standby", "pg_last_xact_replay_timestamp()", NULL},
    {14, STANDBY, "recovery_prefetch", NULL, NULL},
    {15, PRIMARY, "recovery_prefetch", NULL, NULL},
    {15, STANDBY, "recovery_prefetch", "skip_fpw", NULL},
};

static void versions_and_roles(void **state)
{
    (void)state;
    struct catalog *catalog = fixture_catalog(NULL);
    for (size_t i = 0; i < sizeof expectations / sizeof expectations[0]; i++) {
        const struct expectation *row = &expectations[i];
        struct capabilities server =
            fixture_capabilities(catalog, row->major, row->role == STANDBY);
        struct plan *plan = fixture_plan(catalog, &server, CATALOG_SEMCONV, true);
        const struct statement *statement = fixture_statement(plan, row->query);
        if (!statement != !row->with)
            fail_msg("%u %s: %s", row->major, row->query, statement ? "is run" : "is not run");
        if (statement && !strstr(statement->sql, row->with))
            fail_msg("%u %s lacks \"%s\":\n%s", row->major, row->query, row->with, statement->sql);
        if (statement && row->without && strstr(statement->sql, row->without))
            fail_msg("%u %s has \"%s\":\n%s", row->major, row->query, row->without, statement->sql);
        plan_destroy(&plan);
    }
    catalog_destroy(&catalog);
}

static size_t occurrences(const char *text, const char *part)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at++)
        count++;
    return count;
}

/* The numbers of one kind are one cell, the last but for the other kind's: an array of all of them,
 * or the only one. No place in it is unused. */
static void packs_check(const struct statement *statement)
{
    int columns[] = {[METRIC_INT] = -1, [METRIC_DOUBLE] = -1};
    uint16_t largest[] = {[METRIC_INT] = 0, [METRIC_DOUBLE] = 0};
    bool used[2][LIMIT_QUERY_COLUMNS + 1] = {{false}};
    for (size_t p = 0; p < statement->point_count; p++) {
        const struct statement_point *point = &statement->points[p];
        enum metric_value kind = point->metric->value;
        if (columns[kind] < 0)
            columns[kind] = point->column;
        assert_int_equal(point->column, columns[kind]);
        assert_in_range(point->element, 0, LIMIT_QUERY_COLUMNS);
        used[kind][point->element] = true;
        largest[kind] = point->element > largest[kind] ? point->element : largest[kind];
    }
    int next = statement->column_count;
    for (int kind = METRIC_DOUBLE; kind >= METRIC_INT; kind--) {
        if (columns[kind] >= 0)
            assert_int_equal(columns[kind], --next);
        assert_true(largest[kind] != 1); /* one alone needs no array */
        for (uint16_t element = 1; element <= largest[kind]; element++)
            assert_true(used[kind][element]);
        assert_true(!used[kind][0] || largest[kind] == 0);
    }
    assert_true(statement->start_column < next);
    for (size_t a = 0; a < statement->attribute_count; a++)
        for (uint16_t k = 0; k < statement->attributes[a].column_count; k++)
            assert_true(statement->attributes[a].columns[k] < next);
    assert_int_equal(occurrences(statement->sql, "] AS \"int8_values\""), largest[METRIC_INT] > 0);
    assert_int_equal(occurrences(statement->sql, "] AS \"float8_values\""),
                     largest[METRIC_DOUBLE] > 0);
}

/* What decode.h and pipeline rely on, for each statement there can be. */
static void statement_check(const struct catalog *catalog, const struct statement *statement)
{
    char comment[128];
    snprintf(comment, sizeof comment, "/* otel-collector-ignore */ /* pgweir:%s */ SELECT",
             statement->name);
    assert_memory_equal(statement->sql, comment, strlen(comment));
    assert_in_range(strlen(statement->prepared), 8, 63);
    assert_string_equal(catalog->groups[statement->group_index], statement->group);
    assert_in_range(statement->column_count, 1, LIMIT_QUERY_COLUMNS);
    assert_in_range(statement->point_count, 1, LIMIT_QUERY_COLUMNS);
    assert_true(statement->start_column < statement->column_count);
    bool counters = false;
    for (size_t p = 0; p < statement->point_count; p++) {
        const struct metric *metric = statement->points[p].metric;
        counters = counters || metric->monotonic;
        assert_true(statement->points[p].column < statement->column_count);
        assert_ptr_equal(catalog_find_metric(catalog, metric->name, NULL, NULL), metric);
        for (size_t k = 0; k + 1 < p; k++) {
            if (statement->points[k].metric == metric)
                assert_ptr_equal(statement->points[p - 1].metric, metric);
        }
        assert_true(!statement->points[p].fixed || statement->points[p].fixed->tag == ATTRS_POINT);
    }
    /* Built-in counters say since when they count, but for those of pg_stat_statements. */
    if (counters && strcmp(statement->group, "statements") != 0)
        assert_true(statement->start_column >= 0);
    packs_check(statement);
    for (size_t a = 0; a < statement->attribute_count; a++) {
        assert_in_range(statement->attributes[a].column_count, 1, 4);
        for (uint16_t k = 0; k < statement->attributes[a].column_count; k++)
            assert_true(statement->attributes[a].columns[k] < statement->column_count);
    }
}

static void every_statement_is_sound(void **state)
{
    (void)state;
    struct catalog *catalog = fixture_catalog(NULL);
    for (unsigned i = 0; i < (19 - 12 + 1) * 2 * 2 * 2; i++) {
        struct capabilities server = fixture_capabilities(catalog, 12 + i / 8, i & 1);
        struct plan *plan =
            fixture_plan(catalog, &server, i & 2 ? CATALOG_LEGACY : CATALOG_SEMCONV, i & 4);
        assert_in_range(plan->statement_count, 18, catalog->query_count);
        assert_int_equal(plan->capabilities.version_num, server.version_num);
        for (size_t s = 0; s < plan->statement_count; s++)
            statement_check(catalog, &plan->statements[s]);
        plan_destroy(&plan);
    }
    catalog_destroy(&catalog);
}

/* A fork that reports 17 and has only some columns: what is there is asked, the rest is not. */
static void forks_lack_columns(void **state)
{
    (void)state;
    struct catalog *catalog = fixture_catalog(NULL);
    struct capabilities server = {.version_num = 170000};
    struct plan *plan = fixture_plan(catalog, &server, CATALOG_SEMCONV, true);
    assert_null(fixture_statement(plan, "io"));
    assert_null(fixture_statement(plan, "checkpointer"));
    assert_non_null(strstr(fixture_statement(plan, "database")->sql, "xact_commit"));
    assert_null(strstr(fixture_statement(plan, "database")->sql, "session_time"));
    plan_destroy(&plan);
    catalog_destroy(&catalog);
}

static struct plan *plan_only(const struct catalog *catalog, struct catalog_choice choice,
                              const char *name, struct error *error)
{
    bool enabled[LIMIT_QUERY_METRICS] = {false};
    size_t index;
    if (name) {
        assert_non_null(catalog_find_metric(catalog, name, &index, NULL));
        enabled[index] = true;
    }
    choice.metric_enabled = enabled;
    struct capabilities server = fixture_capabilities(catalog, 15, false);
    struct plan *plan = NULL;
    bool good = catalog_plan(catalog, &choice, &server, &plan, error);
    assert_int_equal(good, plan != NULL);
    return plan;
}

static void disabled_metrics_cost_nothing(void **state)
{
    (void)state;
    struct catalog *catalog = fixture_catalog(NULL);
    struct error error;
    struct plan *plan =
        plan_only(catalog, (struct catalog_choice){0}, "postgresql.temp_files", &error);
    assert_int_equal(plan->statement_count, 1);
    const struct statement *statement = &plan->statements[0];
    assert_string_equal(statement->name, "database");
    assert_int_equal(statement->column_count, 3);
    assert_int_equal(statement->point_count, 1);
    assert_int_equal(statement->start_column, 1);
    assert_string_equal(statement->sql,
                        "/* otel-collector-ignore */ /* pgweir:database */ SELECT\n"
                        "  (s.datname)::text AS \"datname\",\n"
                        "  (s.stats_reset)::timestamptz AS \"stats_reset\",\n"
                        "  (s.temp_files)::int8 AS \"temp_files\"\n"
                        "FROM pg_stat_database AS s JOIN pg_database AS d ON d.oid = s.datid\n"
                        "WHERE (NOT d.datistemplate)");
    plan_destroy(&plan);
    assert_null(plan_only(catalog, (struct catalog_choice){0}, NULL, &error));
    assert_non_null(strstr(error.text, "every metric it could give is disabled"));
    catalog_destroy(&catalog);
}

/* Ints are one array and doubles another, behind texts and start; a number alone of its kind is a
 * cell by itself. What several metrics use is asked once for each kind. */
static void numbers_are_packed(void **state)
{
    (void)state;
#define METRIC(value) "unit: '1', instrument: gauge, value: " value ", description: d, "
    struct catalog *catalog = fixture_catalog(
        "name: shop\n"
        "select: {n: s.n, since: s.since, m: s.m, state: s.state, p: s.p}\n"
        "from: shop AS s\n"
        "tail: ORDER BY s.m\n"
        "start: since\n"
        "attributes: [{name: state, column: state}]\n"
        "metrics:\n"
        "  a: {" METRIC(
            "double") "column: n}\n"
                      "  b: {" METRIC(
                          "int") "points: [{column: n, attributes: {x: n}}, {column: m, "
                                 "attributes: {x: m}}]}\n"
                                 "  c: {" METRIC(
                                     "int") "column: m}\n"
                                            "  d: {" METRIC(
                                                "double") "column: p, enabled: false}\n");
    struct capabilities server = fixture_capabilities(catalog, 15, false);
    static const struct {
        bool all;
        const char *doubles;
        uint16_t elements[5];
    } cases[] = {
        {false, "(s.n)::float8 AS \"n\"\n", {0, 1, 2, 2}},
        {true,
         "ARRAY[\n    (s.n)::float8,\n    (s.p)::float8] AS \"float8_values\"\n",
         {1, 1, 2, 2, 2}},
    };
    static const uint16_t columns[] = {3, 2, 2, 2, 3};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct plan *plan = fixture_plan(catalog, &server, CATALOG_SEMCONV, cases[i].all);
        const struct statement *statement = fixture_statement(plan, "shop");
        char sql[512];
        snprintf(sql, sizeof sql,
                 "/* otel-collector-ignore */ /* pgweir:shop */ SELECT\n"
                 "  (s.state)::text AS \"state\",\n"
                 "  (s.since)::timestamptz AS \"since\",\n"
                 "  ARRAY[\n"
                 "    (s.n)::int8,\n"
                 "    (s.m)::int8] AS \"int8_values\",\n"
                 "  %s"
                 "FROM shop AS s\n"
                 "ORDER BY s.m",
                 cases[i].doubles);
        assert_string_equal(statement->sql, sql);
        assert_int_equal(statement->column_count, 4);
        assert_int_equal(statement->start_column, 1);
        assert_int_equal(statement->point_count, cases[i].all ? 5 : 4);
        for (size_t p = 0; p < statement->point_count; p++) {
            assert_int_equal(statement->points[p].column, columns[p]);
            assert_int_equal(statement->points[p].element, cases[i].elements[p]);
        }
        statement_check(catalog, statement);
        plan_destroy(&plan);
    }
    catalog_destroy(&catalog);
}

static void database_filters_are_quoted(void **state)
{
    (void)state;
    static const char *const only[] = {"app", "o'brien"};
    static const char *const not [] = {"back\\slash", "'); DROP TABLE x; --"};
    struct catalog *catalog = fixture_catalog(NULL);
    struct error error;
    struct catalog_choice choice = {
        .databases = only, .database_count = 2, .exclude_databases = not, .exclude_count = 2};
    struct plan *plan = plan_only(catalog, choice, "postgresql.commits", &error);
    assert_non_null(strstr(plan->statements[0].sql,
                           "\n  AND (s.datname)::text IN ('app', 'o''brien')"
                           "\n  AND (s.datname)::text NOT IN (E'back\\\\slash', "
                           "'''); DROP TABLE x; --')"));
    /* The name changes with the text, so a session never runs a statement it prepared before. */
    struct plan *other =
        plan_only(catalog, (struct catalog_choice){0}, "postgresql.commits", &error);
    assert_string_not_equal(plan->statements[0].prepared, other->statements[0].prepared);
    plan_destroy(&plan);
    plan_destroy(&other);
    /* Statements without databases have no filter. */
    plan = plan_only(catalog, choice, "postgresql.wal.records", &error);
    assert_null(strstr(plan->statements[0].sql, "o''brien"));
    plan_destroy(&plan);
    plan_destroy(&plan);
    catalog_destroy(&catalog);
}

static void old_servers_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint32_t version_num;
        const char *text;
    } cases[] = {{90624, "PostgreSQL 9.6 is older than 12"},
                 {100023, "PostgreSQL 10 is older than 12"},
                 {110022, "PostgreSQL 11 is older than 12"}};
    struct catalog *catalog = fixture_catalog(NULL);
    bool enabled[LIMIT_QUERY_METRICS] = {true};
    struct catalog_choice choice = {.metric_enabled = enabled};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct capabilities server = {.version_num = cases[i].version_num};
        struct plan *plan = NULL;
        struct error error;
        assert_false(catalog_plan(catalog, &choice, &server, &plan, &error));
        assert_null(plan);
        assert_memory_equal(error.text, cases[i].text, strlen(cases[i].text));
    }
    catalog_destroy(&catalog);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_and_roles),      cmocka_unit_test(every_statement_is_sound),
        cmocka_unit_test(forks_lack_columns),      cmocka_unit_test(disabled_metrics_cost_nothing),
        cmocka_unit_test(numbers_are_packed),      cmocka_unit_test(database_filters_are_quoted),
        cmocka_unit_test(old_servers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
