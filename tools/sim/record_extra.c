/* SPDX-License-Identifier: Apache-2.0 */
/* What else a server says: at log-in, and to psql, pgbench and a user's own statements. Each of the
 * latter is asked twice, for the binary and for the text format. */
#include "tools/sim/record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

/* Those of the session (application_name, session_authorization, client_encoding) are the
 * simulator's own to say. */
static const char *const parameters[] = {"server_version",
                                         "server_encoding",
                                         "DateStyle",
                                         "IntervalStyle",
                                         "TimeZone",
                                         "integer_datetimes",
                                         "standard_conforming_strings",
                                         "is_superuser",
                                         "in_hot_standby",
                                         "default_transaction_read_only",
                                         "scram_iterations",
                                         "search_path"};

static const char settings_sql[] =
    "SELECT name, current_setting(name) FROM pg_settings WHERE name IN ('server_version', "
    "'server_version_num', 'server_encoding', 'max_connections', 'shared_buffers', 'work_mem', "
    "'statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'search_path', "
    "'transaction_isolation', 'transaction_read_only', 'default_transaction_read_only', "
    "'TimeZone', 'DateStyle', 'standard_conforming_strings', 'client_encoding', 'wal_level', "
    "'block_size', 'jit', 'autovacuum', 'track_io_timing', 'max_locks_per_transaction') "
    "ORDER BY name";

static const char *const statements[] = {
    "SELECT 1",
    "SELECT version()",
    /* psql's list of databases is long and new in each version; pgbench asks these: */
    "SELECT abalance FROM pgbench_accounts WHERE aid = 1",
    "select count(*) from pgbench_branches",
    "select o.n, p.partstrat, pg_catalog.count(i.inhparent) from pg_catalog.pg_class as c join "
    "pg_catalog.pg_namespace as n on (n.oid = c.relnamespace) cross join lateral (select "
    "pg_catalog.array_position(pg_catalog.current_schemas(true), n.nspname)) as o(n) left join "
    "pg_catalog.pg_partitioned_table as p on (p.partrelid = c.oid) left join "
    "pg_catalog.pg_inherits as i on (c.oid = i.inhparent) where c.relname = 'pgbench_accounts' "
    "and o.n is not null group by 1, 2 order by 1 asc limit 1",
};

const char *record_text(struct recorder *recorder, const char *sql, struct error *error)
{
    PGresult *result = PQexec(recorder->conn, sql);
    const char *text = NULL;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) > 0)
        text = arena_text(recorder->arena, PQgetvalue(result, 0, 0));
    else
        error_set(error, "%s: %s", sql, PQresultErrorMessage(result));
    PQclear(result);
    return text;
}

static bool databases_take(struct recorder *recorder, struct error *error)
{
    struct recording *recording = recorder->recording;
    PGresult *result = PQexec(recorder->conn, "SELECT datname FROM pg_database WHERE datallowconn "
                                              "AND NOT datistemplate ORDER BY oid");
    bool good = PQresultStatus(result) == PGRES_TUPLES_OK;
    if (!good)
        error_set(error, "list of databases: %s", PQresultErrorMessage(result));
    uint32_t rows = good ? (uint32_t)PQntuples(result) : 0;
    rows = rows > RECORDING_NAMES_MAX ? RECORDING_NAMES_MAX : rows;
    recording->databases = arena_take(recorder->arena, (rows + 1) * sizeof(char *));
    for (uint32_t i = 0; i < rows; i++)
        recording->databases[recording->database_count++] =
            arena_text(recorder->arena, PQgetvalue(result, (int)i, 0));
    PQclear(result);
    return good;
}

static bool settings_take(struct recorder *recorder, struct error *error)
{
    struct recording *recording = recorder->recording;
    PGresult *result = PQexec(recorder->conn, settings_sql);
    bool good = PQresultStatus(result) == PGRES_TUPLES_OK;
    if (!good)
        error_set(error, "settings: %s", PQresultErrorMessage(result));
    uint32_t rows = good ? (uint32_t)PQntuples(result) : 0;
    recording->settings = arena_take(recorder->arena, (rows + 1) * sizeof *recording->settings);
    for (uint32_t i = 0; i < rows; i++)
        recording->settings[recording->setting_count++] =
            (struct recording_pair){arena_text(recorder->arena, PQgetvalue(result, (int)i, 0)),
                                    arena_text(recorder->arena, PQgetvalue(result, (int)i, 1))};
    PQclear(result);
    return good;
}

bool record_surroundings(struct recorder *recorder, struct error *error)
{
    struct recording *recording = recorder->recording;
    size_t count = sizeof parameters / sizeof parameters[0];
    recording->parameters = arena_take(recorder->arena, count * sizeof *recording->parameters);
    for (size_t i = 0; i < count; i++) {
        const char *value = PQparameterStatus(recorder->conn, parameters[i]);
        if (value)
            recording->parameters[recording->parameter_count++] =
                (struct recording_pair){parameters[i], arena_text(recorder->arena, value)};
    }
    const char *version = PQparameterStatus(recorder->conn, "server_version");
    recording->server_version = arena_text(recorder->arena, version ? version : "");
    recording->database = record_text(recorder, "SELECT pg_catalog.current_database()", error);
    return recording->database && databases_take(recorder, error) && settings_take(recorder, error);
}

static struct recording_bytes *cells_take(struct recorder *recorder, const PGresult *result)
{
    size_t columns = (size_t)PQnfields(result), rows = (size_t)PQntuples(result);
    struct recording_bytes *cells =
        arena_take(recorder->arena, (columns * rows + 1) * sizeof *cells);
    for (size_t i = 0; i < columns * rows; i++) {
        int row = (int)(i / columns), column = (int)(i % columns);
        if (PQgetisnull(result, row, column))
            continue;
        int bytes = PQgetlength(result, row, column);
        cells[i].data = (const uint8_t *)arena_copy(recorder->arena,
                                                    PQgetvalue(result, row, column), (size_t)bytes);
        cells[i].bytes = (uint32_t)bytes;
    }
    return cells;
}

/* False where the server does not take it; `error` has its words. */
static bool extra_take(struct recorder *recorder, const char *sql, struct error *error)
{
    struct recording *recording = recorder->recording;
    PGresult *binary = PQexecParams(recorder->conn, sql, 0, NULL, NULL, NULL, NULL, 1);
    PGresult *text = PQexecParams(recorder->conn, sql, 0, NULL, NULL, NULL, NULL, 0);
    bool good = recording->extra_count < RECORDING_NAMES_MAX &&
                PQresultStatus(binary) == PGRES_TUPLES_OK &&
                PQresultStatus(text) == PGRES_TUPLES_OK && PQntuples(text) == PQntuples(binary) &&
                PQntuples(text) <= RECORDING_ROWS_MAX;
    if (good) {
        struct recording_extra *extra = &recording->extras[recording->extra_count++];
        extra->sql = arena_text(recorder->arena, sql);
        extra->tag = arena_text(recorder->arena, PQcmdStatus(text));
        extra->column_count = (uint32_t)PQnfields(text);
        extra->row_count = (uint32_t)PQntuples(text);
        extra->columns =
            arena_take(recorder->arena, (extra->column_count + 1) * sizeof *extra->columns);
        for (uint32_t c = 0; c < extra->column_count; c++)
            extra->columns[c] = (struct recording_extra_column){
                arena_text(recorder->arena, PQfname(text, (int)c)), PQftype(text, (int)c),
                (int16_t)PQfsize(text, (int)c), PQfmod(text, (int)c)};
        extra->text = cells_take(recorder, text);
        extra->binary = cells_take(recorder, binary);
    } else {
        const char *said = PQresultErrorMessage(binary);
        error_set(error, "%s", *said ? said : "no rows, or another number of them each time\n");
    }
    PQclear(text);
    PQclear(binary);
    return good;
}

void record_extras(struct recorder *recorder)
{
    struct error error;
    recorder->recording->extras =
        arena_take(recorder->arena, RECORDING_NAMES_MAX * sizeof *recorder->recording->extras);
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++)
        (void)extra_take(recorder, statements[i], &error); /* no pgbench here */
}

bool record_file(struct recorder *recorder, const char *path, struct error *error)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return error_set(error, "%s: %s", path, strerror(errno));
    char *line = NULL;
    size_t room = 0, number = 0;
    bool good = true;
    while (good && getline(&line, &room, file) >= 0) {
        number++;
        line[strcspn(line, "\r\n")] = '\0';
        if (line[strspn(line, " \t")] == '\0' || strncmp(line, "--", 2) == 0)
            continue;
        good = extra_take(recorder, line, error) || error_prefix(error, "%s:%zu: ", path, number);
    }
    free(line);
    fclose(file);
    return good;
}
