/* SPDX-License-Identifier: Apache-2.0 */
#include "pool_bench.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct cluster cluster;
struct rig rig;
static enum loop_kind kind;

const struct rig_query three[] = {
    {.name = "one", .sql = "/* pgweir */ SELECT 1"},
    {.name = "hundred", .sql = "/* pgweir */ SELECT g FROM generate_series(1, 100) g"},
    {.name = "local", .sql = "/* pgweir */ SELECT current_database()", .scope = QUERY_DATABASE},
    {0},
};

int pool_setup(void **state)
{
    (void)state;
    if (!rig_init(&rig, kind)) {
        print_message("this kind of loop is denied here\n");
        return 1;
    }
    rig_plan(&rig, three);
    return 0;
}

int pool_teardown(void **state)
{
    (void)state;
    rig_fini(&rig);
    return 0;
}

void pool_on_socket(void)
{
    rig_pool_dsn(&rig, "host=%s port=%u user=postgres dbname=postgres", cluster.directory,
                 cluster.port);
}

void pool_on_tcp(const char *user, const char *password, const char *database)
{
    rig_pool_dsn(&rig, "postgresql://%s:%s@127.0.0.1:%u/%s", user, password, cluster.port,
                 database);
}

uint64_t count_of(const char *query, const char *sqlstate)
{
    for (const struct telemetry_set *set = telemetry_first(); set != NULL; set = set->next)
        if (set->owner == TELEMETRY_FAILURE && strcmp(set->labels[1].value, query) == 0 &&
            strcmp(set->labels[2].value, sqlstate) == 0)
            return counter_read(&set->values[TELEMETRY_FAILURES]);
    return 0;
}

int64_t backends(int64_t expected)
{
    int64_t count = -1;
    for (int i = 0; i < 400 && count != expected; i++) {
        if (i > 0)
            usleep(50000);
        count =
            cluster_sql(&cluster, "postgres",
                        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgweir'");
    }
    return count;
}

PGconn *connect_beside(void)
{
    char dsn[256];
    snprintf(dsn, sizeof dsn, "host=%s port=%u user=postgres dbname=postgres", cluster.directory,
             cluster.port);
    PGconn *pg = PQconnectdb(dsn);
    if (PQstatus(pg) != CONNECTION_OK)
        fail_msg("%s", PQerrorMessage(pg));
    return pg;
}

void run_beside(PGconn *pg, const char *sql)
{
    PGresult *result = PQexec(pg, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(pg));
    PQclear(result);
}

int pool_run(const struct CMUnitTest *tests, size_t count)
{
    static const enum loop_kind kinds[] = {LOOP_IO_URING, LOOP_EPOLL};
    int failed = 0;
    cluster_create(&cluster, "");
    cluster_sql(&cluster, "postgres",
                "CREATE ROLE mon LOGIN PASSWORD 'sesame'; CREATE ROLE plain LOGIN; "
                "GRANT CREATE ON SCHEMA public TO plain");
    for (int i = 0; i < 5; i++) {
        char sql[64];
        snprintf(sql, sizeof sql, "CREATE DATABASE db%d STRATEGY file_copy", i);
        cluster_sql(&cluster, "postgres", sql);
    }
    cluster_hba(&cluster, "host all mon 127.0.0.1/32 scram-sha-256");
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct loop *loop = NULL;
        struct error error;
        kind = kinds[i];
        if (!loop_create(&loop, kind, 4, &error)) {
            print_message("skipped: %s\n", error.text);
            continue;
        }
        loop_destroy(&loop);
        failed += _cmocka_run_group_tests(kind == LOOP_EPOLL ? "epoll" : "io_uring", tests, count,
                                          NULL, NULL);
    }
    cluster_destroy(&cluster);
    return failed;
}
