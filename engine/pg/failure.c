/* SPDX-License-Identifier: Apache-2.0 */
/* One table maps an SQLSTATE (or its class) to what the engine does about it and what the user can
 * do about it. libpq gives no SQLSTATE for a failed connection attempt, so conn asks for verbose
 * messages and it is read from there ("FATAL:  28P01: password …"). Messages come from servers we
 * do not control: they are cut to one clean line before anybody logs them. */
#include "pg/failure.h"

#include <libpq-fe.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"

enum {
    FAILURE_SETS_MAX = 256, /* (query, SQLSTATE) pairs of one shard before "other" */
    FAILING_MAX = LIMIT_QUERIES,
};

static const uint64_t retry_first_ns = 60 * NS_PER_S;
static const uint64_t retry_most_ns = 600 * NS_PER_S;

/* The longest matching code wins; a class is its first two characters. */
static const struct {
    const char *code;
    enum failure_kind kind;
    const char *cure;
} meanings[] = {
    {"08", FAILURE_SESSION, "check that the address is that of a PostgreSQL server"},
    {"0A000", FAILURE_PREPARED, "the server does not support what the query asks"},
    {"25006", FAILURE_ROLE, "collections are read-only: the query must not write"},
    {"26000", FAILURE_PREPARED, "a pooler in transaction mode drops sessions: connect directly"},
    {"28000", FAILURE_ACCESS, "check pg_hba.conf, tls, username and database"},
    {"28P01", FAILURE_LOGIN, "check username and password"},
    {"40", FAILURE_PASSING, "it is tried again"},
    {"42501", FAILURE_LASTING, "grant pg_monitor to the role"},
    {"42703", FAILURE_LASTING, "the server lacks a column the query reads"},
    {"42883", FAILURE_LASTING, "the server lacks a function the query calls"},
    {"42P01", FAILURE_LASTING, "the server lacks a relation the query reads"},
    {"42P05", FAILURE_PREPARED, "a pooler in transaction mode mixes sessions: connect directly"},
    {"53300", FAILURE_LASTING, "free connections on the server or raise its max_connections"},
    {"53", FAILURE_PASSING, "the server is short of resources"},
    {"55000", FAILURE_ROLE, "the server is not in the state the query needs"},
    {"55P03", FAILURE_PASSING, "a relation is locked; raise lock_timeout if that is expected"},
    {"57014", FAILURE_PASSING, "raise statement_timeout or lower the load on the server"},
    {"57P01", FAILURE_SESSION, "the server or its administrator ended the session"},
    {"57P02", FAILURE_SESSION, "the server is recovering from a crash"},
    {"57P03", FAILURE_LASTING, "the server is starting up or shutting down; it is tried again"},
    {"58", FAILURE_LASTING, "the server's log has the cause"},
    {"XX", FAILURE_LASTING, "the server's log has the cause"},
};

/* Said of a database, when a session with it is refused. */
static const struct {
    const char *code, *cure;
} database_cures[] = {
    {"3D000", "check database and databases"},
    {"42501", "grant connect on the database to the role"},
    {"55000", "the database does not accept connections"},
    {"57P04", "the database was dropped"},
};

/* What libpq itself says when there was no server to give an SQLSTATE. */
static const struct {
    const char *phrase, *cure;
} local_cures[] = {
    {"Connection refused", "check endpoint and that PostgreSQL listens there"},
    {"No such file or directory", "check endpoint, the directory of the server's socket"},
    {"No route to host", "check endpoint and the network"},
    {"Network is unreachable", "check endpoint and the network"},
    {"timed out", "check endpoint, firewall and the server's load"},
    {"does not support SSL",
     "set tls: insecure: true (in a dsn: sslmode=disable), or enable ssl on the server"},
    {"certificate verify failed", "check tls: ca_file"},
    {"root certificate file", "check tls: ca_file"},
    {"does not match host name", "the certificate is for another host: check endpoint"},
    {"private key file", "check tls: key_file, mode 0600"},
    {"certificate file", "check tls: cert_file"},
    {"no password supplied", "set password or passfile"},
    {"Too many open files", "raise LimitNOFILE or lower connections_max"},
};

/* Length of the valid UTF-8 character at `text`, 0 when it is none. */
static size_t character_bytes(const unsigned char *text)
{
    static const struct {
        unsigned char mask, lead, least_second;
        size_t bytes;
    } forms[] = {{0x80, 0x00, 0, 1}, {0xe0, 0xc0, 0, 2}, {0xf0, 0xe0, 0, 3}, {0xf8, 0xf0, 0, 4}};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if ((text[0] & forms[i].mask) != forms[i].lead)
            continue;
        for (size_t k = 1; k < forms[i].bytes; k++)
            if ((text[k] & 0xc0) != 0x80)
                return 0;
        bool overlong = (text[0] == 0xc0) || (text[0] == 0xc1) ||
                        (text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xf0 && text[1] < 0x90);
        bool outside = (text[0] == 0xed && text[1] > 0x9f) || text[0] > 0xf4 ||
                       (text[0] == 0xf4 && text[1] > 0x8f);
        return overlong || outside ? 0 : forms[i].bytes;
    }
    return 0;
}

void failure_clean(char *ret_text, size_t bytes, const char *text)
{
    CHECK(bytes > 0);
    size_t used = 0;
    const unsigned char *from = (const unsigned char *)text;
    while (*from != 0) {
        size_t length = character_bytes(from);
        bool blank = length == 0 || *from <= ' ' || *from == 0x7f;
        size_t room = bytes - 1 - used;
        if ((blank ? 1 : length) > room)
            break;
        if (!blank) {
            memcpy(ret_text + used, from, length);
            used += length;
        } else if (length == 0) {
            ret_text[used++] = '?';
        } else if (used > 0 && ret_text[used - 1] != ' ') {
            ret_text[used++] = ' ';
        }
        from += length == 0 ? 1 : length;
    }
    while (used > 0 && ret_text[used - 1] == ' ')
        used--;
    ret_text[used] = 0;
}

static bool is_sqlstate(const char *text)
{
    for (int i = 0; i < SQLSTATE_BYTES - 1; i++)
        if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'A' && text[i] <= 'Z')))
            return false;
    return true;
}

/* Looks the code up; the cure is "" where nobody knows one. */
static const char *meaning(const char *sqlstate, enum failure_kind *ret_kind)
{
    const char *cure = "";
    size_t best = 0;
    *ret_kind = FAILURE_LASTING;
    for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++) {
        size_t length = strlen(meanings[i].code);
        if (length <= best || strncmp(sqlstate, meanings[i].code, length) != 0)
            continue;
        best = length;
        cure = meanings[i].cure;
        *ret_kind = meanings[i].kind;
    }
    return cure;
}

/* "what (SQLSTATE): cure" */
static void compose(struct failure *failure, const char *what, const char *cure)
{
    char line[FAILURE_TEXT_BYTES];
    failure_clean(line, sizeof line, what);
    bool coded = failure->sqlstate[0] != 0;
    char tail[128];
    int tail_bytes = snprintf(tail, sizeof tail, "%s%s%s%s%s", coded ? " (" : "", failure->sqlstate,
                              coded ? ")" : "", cure[0] != 0 ? ": " : "", cure);
    CHECK(tail_bytes >= 0 && (size_t)tail_bytes < sizeof tail);
    char cut[FAILURE_TEXT_BYTES];
    failure_clean(cut, sizeof cut - (size_t)tail_bytes, line);
    snprintf(failure->text, sizeof failure->text, "%.*s%s",
             (int)(sizeof cut - 1 - (size_t)tail_bytes), cut, tail);
}

/* Verbose messages read `connection to server at "…", port 1 failed: FATAL:  28P01: what\nLOCATION:
 * …`; libpq's own have neither severity nor code. */
void failure_from_connection(struct failure *failure, const struct pg_conn *connection)
{
    *failure = (struct failure){.kind = FAILURE_LASTING};
    const char *message = PQerrorMessage(connection);
    const char *what = message;
    const char *prefix = strstr(message, "failed: ");
    if (strncmp(message, "connection to server", 20) == 0 && prefix != NULL)
        what = prefix + 8;
    const char *cure = "";
    for (const char *at = strstr(message, ":  "); at != NULL; at = strstr(at + 3, ":  ")) {
        if (!is_sqlstate(at + 3) || strncmp(at + 8, ": ", 2) != 0)
            continue;
        memcpy(failure->sqlstate, at + 3, SQLSTATE_BYTES - 1);
        cure = meaning(failure->sqlstate, &failure->kind);
        what = at + 10;
        break;
    }
    for (size_t i = 0; i < sizeof database_cures / sizeof database_cures[0]; i++) {
        if (strcmp(failure->sqlstate, database_cures[i].code) != 0)
            continue;
        cure = database_cures[i].cure;
        failure->kind = FAILURE_DATABASE;
    }
    for (size_t i = 0; failure->sqlstate[0] == 0 && i < sizeof local_cures / sizeof local_cures[0];
         i++) {
        if (strstr(what, local_cures[i].phrase) == NULL)
            continue;
        cure = local_cures[i].cure;
        break;
    }
    char line[FAILURE_TEXT_BYTES];
    size_t length = strcspn(what, "\n");
    snprintf(line, sizeof line, "%.*s", (int)(length < sizeof line ? length : sizeof line - 1),
             what);
    compose(failure, line[0] != 0 ? line : "connection lost", cure);
}

void failure_from_result(struct failure *failure, const struct pg_result *result)
{
    *failure = (struct failure){.kind = FAILURE_LASTING};
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *what = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *cure = "";
    if (sqlstate == NULL || !is_sqlstate(sqlstate)) {
        /* libpq's own words: it lost the server or did not understand it. */
        failure->kind = FAILURE_SESSION;
    } else {
        memcpy(failure->sqlstate, sqlstate, SQLSTATE_BYTES - 1);
        cure = meaning(failure->sqlstate, &failure->kind);
    }
    if (severity != NULL && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0))
        failure->kind = FAILURE_SESSION;
    compose(failure, what != NULL ? what : PQresultErrorMessage(result), cure);
}

void failure_set(struct failure *failure, enum failure_kind kind, const char *format, ...)
{
    *failure = (struct failure){.kind = kind};
    char line[FAILURE_TEXT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    failure_clean(failure->text, sizeof failure->text, line);
}

static bool labelled(const struct telemetry_set *set, const struct telemetry_label labels[3])
{
    for (int i = 0; i < 3; i++)
        if (strcmp(set->labels[i].value, labels[i].value) != 0)
            return false;
    return true;
}

/* The shard's set with these labels, and how many sets the shard has. Only the shard's own sets are
 * written by it; the list only grows, so walking it needs no lock. */
static struct telemetry_set *find_set(const struct telemetry_label labels[3], uint32_t *ret_count)
{
    *ret_count = 0;
    for (const struct telemetry_set *set = telemetry_first(); set != NULL; set = set->next) {
        if (set->owner != TELEMETRY_FAILURE || strcmp(set->labels[0].value, labels[0].value) != 0)
            continue;
        ++*ret_count;
        if (labelled(set, labels))
            return (struct telemetry_set *)(uintptr_t)set;
    }
    return NULL;
}

struct telemetry_set *failure_count(uint32_t shard, const char *query, const char *sqlstate)
{
    struct telemetry_label labels[3] = {{.key = "shard"}, {.key = "query"}, {.key = "sqlstate"}};
    snprintf(labels[0].value, sizeof labels[0].value, "%u", shard);
    snprintf(labels[1].value, sizeof labels[1].value, "%.63s", query);
    snprintf(labels[2].value, sizeof labels[2].value, "%s", sqlstate[0] != 0 ? sqlstate : "none");
    uint32_t count;
    struct telemetry_set *set = find_set(labels, &count);
    if (set == NULL && count >= FAILURE_SETS_MAX) {
        snprintf(labels[2].value, sizeof labels[2].value, "other");
        set = find_set(labels, &count);
        if (set == NULL && count >= FAILURE_SETS_MAX + LIMIT_QUERIES) {
            snprintf(labels[1].value, sizeof labels[1].value, "other");
            set = find_set(labels, &count);
        }
    }
    if (set == NULL)
        set = telemetry_open(TELEMETRY_FAILURE, 3, labels);
    telemetry_add(set, TELEMETRY_FAILURES, 1);
    return set;
}

static uint32_t index_of(const struct track_record *track, const struct statement *statement)
{
    ptrdiff_t index = statement - track->plan->statements;
    CHECK(index >= 0 && (size_t)index < track->plan->statement_count);
    return (uint32_t)index;
}

void track_adopt(struct track_record *track, const struct plan *plan)
{
    CHECK(plan->statement_count <= LIMIT_QUERIES);
    if (track->plan == plan)
        return;
    track->plan = plan;
    memset(track->proven, 0, sizeof track->proven);
    track->failing_count = 0;
}

void track_fini(struct track_record *track)
{
    free(track->failing);
    *track = (struct track_record){0};
}

bool track_proven(const struct track_record *track, const struct statement *statement)
{
    uint32_t index = index_of(track, statement);
    return (track->proven[index / 64] >> (index % 64) & 1) != 0;
}

static struct failing *find_failing(const struct track_record *track,
                                    const struct statement *statement)
{
    for (uint32_t i = 0; i < track->failing_count; i++)
        if (track->failing[i].statement == statement)
            return &track->failing[i];
    return NULL;
}

const struct failing *track_failing(const struct track_record *track,
                                    const struct statement *statement)
{
    return find_failing(track, statement);
}

bool track_succeeded(struct track_record *track, const struct statement *statement)
{
    uint32_t index = index_of(track, statement);
    track->proven[index / 64] |= 1ull << (index % 64);
    struct failing *failing = find_failing(track, statement);
    if (failing == NULL)
        return false;
    *failing = track->failing[--track->failing_count];
    return true;
}

bool track_failed(struct track_record *track, const struct statement *statement,
                  const struct failure *failure, uint32_t shard, uint64_t now_ns)
{
    uint32_t index = index_of(track, statement);
    track->proven[index / 64] &= ~(1ull << (index % 64));
    struct failing *failing = find_failing(track, statement);
    bool news = failing == NULL || strcmp(failing->failure.sqlstate, failure->sqlstate) != 0;
    if (failing == NULL) {
        if (track->failing_count == track->failing_capacity) {
            uint32_t capacity = track->failing_capacity == 0 ? 4 : track->failing_capacity * 2;
            CHECK(capacity <= 2 * FAILING_MAX);
            track->failing = xrealloc(track->failing, capacity * sizeof *track->failing);
            track->failing_capacity = capacity;
        }
        failing = &track->failing[track->failing_count++];
        *failing = (struct failing){.statement = statement};
    }
    failing->failure = *failure;
    if (news)
        failing->telemetry = failure_count(shard, statement->name, failure->sqlstate);
    else
        telemetry_add(failing->telemetry, TELEMETRY_FAILURES, 1);
    /* What may pass by itself gets one more try at the usual time. */
    if (failing->times++ == 0 && failure->kind == FAILURE_PASSING) {
        failing->retry_ns = now_ns;
        return news;
    }
    uint64_t interval_ns = failing->interval_ns == 0 ? retry_first_ns : failing->interval_ns * 2;
    failing->interval_ns = interval_ns < retry_most_ns ? interval_ns : retry_most_ns;
    failing->retry_ns = now_ns + failing->interval_ns;
    return news;
}
