/* SPDX-License-Identifier: Apache-2.0 */
/* `pgweir-sim record`: the collector's own probe and plans decide what is asked, so that what is
 * recorded is what a collector asks for. One connection at a time; nothing is written on a server,
 * and the file holds nothing of how it was reached. */
#include "tools/sim/record.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"

static bool settings_send(struct recorder *recorder, const char *const *settings,
                          struct error *error)
{
    for (; *settings; settings++) {
        PGresult *result = PQexec(recorder->conn, *settings);
        bool good = PQresultStatus(result) == PGRES_COMMAND_OK;
        if (!good)
            error_set(error, "%s: %s", *settings, PQresultErrorMessage(result));
        PQclear(result);
        if (!good)
            return false;
    }
    return true;
}

/* What is said of the session's own settings is said before they are changed, except for how texts
 * look. */
static bool session_open(struct recorder *recorder, const char *dsn, struct error *error)
{
    const char *const keywords[] = {"dbname", "client_encoding", "fallback_application_name",
                                    "connect_timeout", NULL};
    const char *const values[] = {dsn, "UTF8", "pgweir-sim", "15", NULL};
    recorder->conn = PQconnectdbParams(keywords, values, 1);
    if (PQstatus(recorder->conn) != CONNECTION_OK)
        return error_set(error, "cannot connect: %s", PQerrorMessage(recorder->conn));
    static const char *const looks[] = {"SET TimeZone = 'UTC'", "SET DateStyle = 'ISO, MDY'",
                                        "SET IntervalStyle = 'postgres'", NULL};
    static const char *const guards[] = {"SET default_transaction_read_only = on",
                                         "SET statement_timeout = '60s'", "SET lock_timeout = '1s'",
                                         "SET jit = off", NULL};
    return settings_send(recorder, looks, error) && record_surroundings(recorder, error) &&
           settings_send(recorder, guards, error);
}

static int64_t integer_cell(const PGresult *result, int column)
{
    uint64_t bits = 0;
    if (PQgetlength(result, 0, column) == sizeof bits)
        memcpy(&bits, PQgetvalue(result, 0, column), sizeof bits);
    return (int64_t)be64toh(bits);
}

/* Who the server is, by the collector's own probe; notes the names that are there. */
static bool probe_take(struct recorder *recorder, const struct catalog *catalog,
                       struct capabilities *ret, struct error *error)
{
    PGresult *result =
        PQexecParams(recorder->conn, catalog_probe_sql(catalog), 0, NULL, NULL, NULL, NULL, 1);
    bool good = PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1 &&
                PQnfields(result) >= 4 && PQgetlength(result, 0, 0) == 4 &&
                PQgetlength(result, 0, 1) == 1;
    if (!good) {
        error_set(error, "the collector's probe: %s", PQresultErrorMessage(result));
        PQclear(result);
        return false;
    }
    uint32_t version;
    int64_t masks[16] = {0};
    size_t mask_count = 0;
    memcpy(&version, PQgetvalue(result, 0, 0), sizeof version);
    for (int i = 3; i < PQnfields(result) && mask_count < 16; i++)
        masks[mask_count++] = integer_cell(result, i);
    catalog_read_capabilities(ntohl(version), *PQgetvalue(result, 0, 1) != 0, masks, mask_count,
                              ret);
    PQclear(result);
    struct recording *recording = recorder->recording;
    recording->version_num = ret->version_num;
    recording->recovery = ret->recovery;
    size_t count = 0;
    const char *const *names = catalog_probe_names(catalog, &count);
    recording->present = arena_take(recorder->arena, (count + 1) * sizeof(char *));
    for (size_t i = 0; i < count; i++)
        if (ret->present[i / 64] >> i % 64 & 1)
            recording->present[recording->present_count++] = arena_text(recorder->arena, names[i]);
    return true;
}

static const struct statement *statement_named(const struct plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->statement_count; i++)
        if (strcmp(plan->statements[i].name, name) == 0)
            return &plan->statements[i];
    return NULL;
}

/* Every query of either plan, once. */
static bool plans_take(struct recorder *recorder, const struct plan *semconv,
                       const struct plan *legacy, struct error *error)
{
    struct recording *recording = recorder->recording;
    recording->queries =
        arena_take(recorder->arena, (semconv->statement_count + legacy->statement_count + 1) *
                                        sizeof *recording->queries);
    for (size_t i = 0; i < semconv->statement_count; i++) {
        const struct statement *statement = &semconv->statements[i];
        if (!record_query(recorder, statement, statement_named(legacy, statement->name), error))
            return false;
    }
    for (size_t i = 0; i < legacy->statement_count; i++) {
        const struct statement *statement = &legacy->statements[i];
        if (!statement_named(semconv, statement->name) &&
            !record_query(recorder, NULL, statement, error))
            return false;
    }
    return true;
}

static bool catalog_take(struct recorder *recorder, const struct catalog *catalog,
                         struct error *error)
{
    struct capabilities capabilities;
    if (!probe_take(recorder, catalog, &capabilities, error))
        return false;
    bool *enabled = xcalloc(catalog->metric_count + 1, sizeof *enabled);
    for (size_t i = 0; i < catalog->metric_count; i++)
        enabled[i] = true;
    struct catalog_choice choice = {.model = CATALOG_SEMCONV, .metric_enabled = enabled};
    struct catalog_choice older = {.model = CATALOG_LEGACY, .metric_enabled = enabled};
    struct plan *semconv = NULL, *legacy = NULL;
    bool good = catalog_plan(catalog, &choice, &capabilities, &semconv, error) &&
                catalog_plan(catalog, &older, &capabilities, &legacy, error) &&
                plans_take(recorder, semconv, legacy, error);
    plan_destroy(&semconv);
    plan_destroy(&legacy);
    free(enabled);
    return good;
}

/* Written beside its place and moved there when whole. */
static bool file_write(const struct recording *recording, const char *path, struct error *error)
{
    char part[4096];
    if (snprintf(part, sizeof part, "%s.part", path) >= (int)sizeof part)
        return error_set(error, "%s: the name is too long", path);
    FILE *file = fopen(part, "we");
    if (!file)
        return error_set(error, "%s: %s", part, strerror(errno));
    bool good = recording_write(recording, file);
    good = fclose(file) == 0 && good && rename(part, path) == 0;
    if (!good) {
        error_set(error, "%s: %s", path, strerror(errno));
        unlink(part);
    }
    return good;
}

/* ---- the other role ---- */

static bool answered(const struct recording_query *query, const char *sql)
{
    for (uint32_t a = 0; a < query->answer_count; a++)
        for (uint32_t c = 0; c < query->answers[a].column_count; c++)
            if (strcmp(query->answers[a].columns[c].sql, sql) == 0)
                return true;
    return false;
}

/* The other server's answer joins those that are there when it knows an expression that they lack.
 */
static void answer_join(struct arena *arena, struct recording_query *query,
                        const struct recording_query *other)
{
    bool lacks = false;
    for (uint32_t c = 0; other->answer_count && c < other->answers[0].column_count; c++)
        lacks = lacks || !answered(query, other->answers[0].columns[c].sql);
    if (!lacks || query->sqlstate)
        return;
    struct recording_answer *answers =
        arena_take(arena, (query->answer_count + 1) * sizeof *answers);
    memcpy(answers, query->answers, query->answer_count * sizeof *answers);
    answers[query->answer_count++] = other->answers[0];
    query->answers = answers;
}

static void recordings_join(struct arena *arena, struct recording *recording,
                            const struct recording *other)
{
    struct recording_query *queries =
        arena_take(arena, (recording->query_count + other->query_count + 1u) * sizeof *queries);
    memcpy(queries, recording->queries, recording->query_count * sizeof *queries);
    recording->queries = queries;
    for (uint32_t o = 0; o < other->query_count; o++) {
        uint32_t q = 0;
        while (q < recording->query_count && strcmp(queries[q].name, other->queries[o].name) != 0)
            q++;
        if (q == recording->query_count)
            queries[recording->query_count++] = other->queries[o];
        else
            answer_join(arena, &queries[q], &other->queries[o]);
    }
}

/* ---- the whole ---- */

static bool server_take(struct recorder *recorder, const char *dsn, const struct catalog *catalog,
                        const char *sql_file, struct error *error)
{
    bool good = session_open(recorder, dsn, error) && catalog_take(recorder, catalog, error);
    if (good)
        record_extras(recorder);
    good = good && (!sql_file || record_file(recorder, sql_file, error));
    PQfinish(recorder->conn);
    return good;
}

static bool also_take(struct recorder *recorder, const char *dsn, const struct catalog *catalog,
                      struct error *error)
{
    struct recording *first = recorder->recording;
    struct recorder other = {.recording = arena_take(recorder->arena, sizeof *first),
                             .arena = recorder->arena};
    if (!server_take(&other, dsn, catalog, NULL, error))
        return error_prefix(error, "the other server: ");
    if (first->version_num != other.recording->version_num ||
        first->recovery == other.recording->recovery)
        return error_set(error,
                         "the other server is a %s of version %u, as --also it must be a %s of "
                         "version %u",
                         other.recording->recovery ? "standby" : "primary",
                         other.recording->version_num, first->recovery ? "primary" : "standby",
                         first->version_num);
    recordings_join(recorder->arena, first, other.recording);
    return true;
}

bool recording_make(const struct recording_source *source, const char *path, struct error *error)
{
    struct catalog *catalog = NULL;
    if (!catalog_load(&catalog, source->catalogs, source->catalog_count, error))
        return false;
    struct arena arena = {0};
    struct recording *recording = arena_take(&arena, sizeof *recording);
    struct recorder recorder = {.recording = recording, .arena = &arena};
    char now[32];
    time_t seconds = time(NULL);
    struct tm tm;
    strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &tm));
    recording->recorded = arena_text(&arena, now);
    bool good = server_take(&recorder, source->dsn, catalog, source->sql_file, error) &&
                (!source->also || also_take(&recorder, source->also, catalog, error)) &&
                file_write(recording, path, error);
    arena_fini(&arena);
    catalog_destroy(&catalog);
    return good;
}
