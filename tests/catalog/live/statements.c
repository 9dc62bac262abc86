/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the probe and then every statement of the plan of one real server, in both models and with
 * every metric enabled, and checks what decode relies on: binary types by use, column count, arrays
 * of as many numbers as there are metrics for, the start column, role and version. `run` starts the
 * servers and calls this for each.
 *
 *   statements DSN primary|standby [may-fail=a,b] [rows=a,b] [without=a,b] [unsized=a,b] [default]
 */
#include <libpq-fe.h>

#include <arpa/inet.h>
#include <endian.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/catalog.h"

enum {
    OID_BOOL = 16,
    OID_INT8 = 20,
    OID_INT4 = 23,
    OID_TEXT = 25,
    OID_FLOAT8 = 701,
    OID_TIMESTAMPTZ = 1184,
    OID_INT8_ARRAY = 1016,
    OID_FLOAT8_ARRAY = 1022
};

struct run {
    PGconn *conn;
    const struct plan *plan;
    const char *may_fail, *rows, *without, *unsized;
    int problems, statements, failed;
    size_t values, nulls;
};

static bool listed(const char *list, const char *name)
{
    size_t bytes = strlen(name);
    for (const char *at = list; at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        if (strncmp(at, name, bytes) == 0 && (at[bytes] == ',' || at[bytes] == '\0'))
            return true;
    }
    return false;
}

__attribute__((format(printf, 3, 4))) static void problem(struct run *run, const char *name,
                                                          const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "  PROBLEM %s: ", name);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    run->problems++;
}

static int64_t cell_int8(const PGresult *result, int row, int column)
{
    uint64_t value;
    memcpy(&value, PQgetvalue(result, row, column), sizeof value);
    return (int64_t)be64toh(value);
}

static bool probe(PGconn *conn, const struct catalog *catalog, struct capabilities *ret)
{
    PGresult *result = PQexecParams(conn, catalog_probe_sql(catalog), 0, NULL, NULL, NULL, NULL, 1);
    bool good = PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1 &&
                PQnfields(result) >= 4 && PQftype(result, 0) == OID_INT4 &&
                PQftype(result, 1) == OID_BOOL && PQftype(result, 2) == OID_INT8;
    if (!good)
        fprintf(stderr, "probe failed: %s\n", PQerrorMessage(conn));
    int64_t masks[16] = {0};
    size_t count = 0;
    for (int i = 3; good && i < PQnfields(result); i++) {
        good = PQftype(result, i) == OID_INT8 && !PQgetisnull(result, 0, i);
        masks[count++] = cell_int8(result, 0, i);
    }
    if (good) {
        uint32_t version;
        memcpy(&version, PQgetvalue(result, 0, 0), sizeof version);
        catalog_read_capabilities(ntohl(version), *PQgetvalue(result, 0, 1) != 0, masks, count,
                                  ret);
        good = ret->version_num == (uint32_t)PQserverVersion(conn) && cell_int8(result, 0, 2) > 0;
    }
    PQclear(result);
    return good;
}

/* Every column must be of the one type that its use asks for. */
static void types_check(struct run *run, const struct statement *statement, const PGresult *result)
{
    for (size_t a = 0; a < statement->attribute_count; a++) {
        for (uint16_t k = 0; k < statement->attributes[a].column_count; k++) {
            if (PQftype(result, statement->attributes[a].columns[k]) != OID_TEXT)
                problem(run, statement->name, "attribute %s is not text",
                        statement->attributes[a].key);
        }
    }
    for (size_t p = 0; p < statement->point_count; p++) {
        const struct statement_point *point = &statement->points[p];
        bool is_int = point->metric->value == METRIC_INT;
        Oid wanted = point->element > 0 ? (is_int ? OID_INT8_ARRAY : OID_FLOAT8_ARRAY)
                                        : (is_int ? OID_INT8 : OID_FLOAT8);
        if (point->column >= statement->column_count || PQftype(result, point->column) != wanted)
            problem(run, statement->name, "metric %s: wrong column or type", point->metric->name);
    }
    if (statement->start_column >= 0 && PQftype(result, statement->start_column) != OID_TIMESTAMPTZ)
        problem(run, statement->name, "start is not a timestamptz");
}

static bool row_equal(const PGresult *result, const struct statement *statement, int a, int b)
{
    for (size_t i = 0; i < statement->attribute_count; i++) {
        for (uint16_t k = 0; k < statement->attributes[i].column_count; k++) {
            int column = statement->attributes[i].columns[k];
            if (strcmp(PQgetvalue(result, a, column), PQgetvalue(result, b, column)) != 0)
                return false;
        }
    }
    return true;
}

static uint32_t load(const char *cell)
{
    uint32_t value;
    memcpy(&value, cell, sizeof value);
    return ntohl(value);
}

/* Walks an array cell, independently of decode. Returns how many of its elements are not NULL. */
static size_t array_check(struct run *run, const struct statement *statement,
                          const PGresult *result, int row, int column)
{
    uint32_t wanted = 0, nulls = 0;
    for (size_t p = 0; p < statement->point_count; p++)
        if (statement->points[p].column == column && statement->points[p].element > wanted)
            wanted = statement->points[p].element;
    const char *cell = PQgetvalue(result, row, column), *at = cell + 20;
    const char *end = cell + PQgetlength(result, row, column);
    Oid type = PQftype(result, column) == OID_INT8_ARRAY ? OID_INT8 : OID_FLOAT8;
    bool good = wanted > 1 && end >= at && load(cell) == 1 && load(cell + 8) == type &&
                load(cell + 12) == wanted && load(cell + 16) == 1;
    for (uint32_t i = 0; good && i < wanted; i++) {
        bool null = end - at >= 4 && load(at) == UINT32_MAX;
        good = null || (end - at >= 12 && load(at) == 8);
        nulls += null;
        at += null ? 4 : 12;
    }
    if (!good || at != end || (nulls > 0) != (load(cell + 4) != 0)) {
        problem(run, statement->name, "row %d: column %d is no array of %u numbers", row, column,
                wanted);
        return 0;
    }
    run->nulls += nulls;
    return wanted - nulls;
}

/* Cells of numbers: one for each kind of value. */
static void values_check(struct run *run, const struct statement *statement, const PGresult *result,
                         int row)
{
    for (int c = 0; c < PQnfields(result); c++) {
        Oid type = PQftype(result, c);
        if (type == OID_INT8_ARRAY || type == OID_FLOAT8_ARRAY)
            run->values += array_check(run, statement, result, row, c);
        else if (type == OID_INT8 || type == OID_FLOAT8)
            run->values += !PQgetisnull(result, row, c);
    }
}

static void rows_check(struct run *run, const struct statement *statement, const PGresult *result)
{
    int rows = PQntuples(result);
    if (!rows && listed(run->rows, statement->name))
        problem(run, statement->name, "no row");
    for (int r = 0; r < rows; r++) {
        for (int other = 0; other < r; other++) {
            if (row_equal(result, statement, r, other))
                problem(run, statement->name, "rows %d and %d are the same series", other, r);
        }
        values_check(run, statement, result, r);
        for (int c = 0; strcmp(statement->group, "sizes") == 0 && c < PQnfields(result); c++) {
            if (PQftype(result, c) == OID_TEXT && listed(run->unsized, PQgetvalue(result, r, c)))
                problem(run, statement->name, "row of locked \"%s\"", PQgetvalue(result, r, c));
        }
    }
}

static void statement_run(struct run *run, const struct statement *statement)
{
    run->statements++;
    PGresult *prepared = PQprepare(run->conn, statement->prepared, statement->sql, 0, NULL);
    bool good = PQresultStatus(prepared) == PGRES_COMMAND_OK;
    if (!good)
        problem(run, statement->name, "PREPARE: %s\n%s", PQresultErrorMessage(prepared),
                statement->sql);
    PQclear(prepared);
    if (!good)
        return;
    PGresult *result = PQexecPrepared(run->conn, statement->prepared, 0, NULL, NULL, NULL, 1);
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        run->failed++;
        if (listed(run->may_fail, statement->name))
            printf("  fails as expected: %s: %s", statement->name, PQresultErrorMessage(result));
        else
            problem(run, statement->name, "%s\n%s", PQresultErrorMessage(result), statement->sql);
    } else if (PQnfields(result) != statement->column_count) {
        problem(run, statement->name, "%d columns, not %d", PQnfields(result),
                statement->column_count);
    } else {
        if (listed(run->may_fail, statement->name))
            problem(run, statement->name, "was expected to fail");
        types_check(run, statement, result);
        rows_check(run, statement, result);
    }
    PQclear(result);
}

/* Names that the plan must have (`rows`) or must not have (`without`). */
static void plan_check(struct run *run)
{
    char *names = strdup(run->rows ? run->rows : "");
    for (char *save = NULL, *name = strtok_r(names, ",", &save); name;
         name = strtok_r(NULL, ",", &save)) {
        bool found = false;
        for (size_t i = 0; i < run->plan->statement_count; i++)
            found = found || strcmp(run->plan->statements[i].name, name) == 0;
        if (!found)
            problem(run, name, "is not in the plan");
    }
    free(names);
    for (size_t i = 0; i < run->plan->statement_count; i++) {
        if (listed(run->without, run->plan->statements[i].name))
            problem(run, run->plan->statements[i].name, "must not be in the plan");
    }
}

static void model_run(struct run *run, const struct catalog *catalog,
                      const struct capabilities *capabilities, enum catalog_model model,
                      bool defaults)
{
    bool *enabled = calloc(catalog->metric_count, sizeof *enabled);
    for (size_t i = 0; i < catalog->metric_count; i++)
        enabled[i] = !defaults || catalog->metrics[i]->enabled;
    static const char *const exclude[] = {"it's \\ odd"};
    struct catalog_choice choice = {.model = model,
                                    .metric_enabled = enabled,
                                    .exclude_databases = exclude,
                                    .exclude_count = 1};
    struct plan *plan = NULL;
    struct error error;
    if (!catalog_plan(catalog, &choice, capabilities, &plan, &error)) {
        problem(run, "plan", "%s", error.text);
    } else {
        run->plan = plan;
        plan_check(run);
        for (size_t i = 0; i < plan->statement_count; i++)
            statement_run(run, &plan->statements[i]);
        plan_destroy(&plan);
    }
    free(enabled);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: statements DSN primary|standby [may-fail=a,b] [rows=a,b] "
                        "[without=a,b] [unsized=a,b] [default]\n");
        return 2;
    }
    struct run run = {0};
    bool defaults = false;
    for (int i = 3; i < argc; i++) {
        if (strncmp(argv[i], "may-fail=", 9) == 0)
            run.may_fail = argv[i] + 9;
        else if (strncmp(argv[i], "rows=", 5) == 0)
            run.rows = argv[i] + 5;
        else if (strncmp(argv[i], "without=", 8) == 0)
            run.without = argv[i] + 8;
        else if (strncmp(argv[i], "unsized=", 8) == 0)
            run.unsized = argv[i] + 8;
        else
            defaults = true;
    }
    struct catalog *catalog = NULL;
    struct error error;
    if (!catalog_load(&catalog, NULL, 0, &error)) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    run.conn = PQconnectdb(argv[1]);
    struct capabilities capabilities;
    if (PQstatus(run.conn) != CONNECTION_OK) {
        problem(&run, "connect", "%s", PQerrorMessage(run.conn));
    } else if (!probe(run.conn, catalog, &capabilities)) {
        problem(&run, "probe", "no usable answer");
    } else {
        if (capabilities.recovery != (strcmp(argv[2], "standby") == 0))
            problem(&run, "probe", "the role is not %s", argv[2]);
        model_run(&run, catalog, &capabilities, CATALOG_SEMCONV, defaults);
        PQclear(PQexec(run.conn, "DEALLOCATE ALL"));
        model_run(&run, catalog, &capabilities, CATALOG_LEGACY, defaults);
        printf("  %u %s as %s: %d statements, %d failed, %zu values, %zu NULLs, "
               "%d problems\n",
               capabilities.version_num, argv[2], PQuser(run.conn), run.statements, run.failed,
               run.values, run.nulls, run.problems);
    }
    PQfinish(run.conn);
    catalog_destroy(&catalog);
    return run.problems ? 1 : 0;
}
