/* SPDX-License-Identifier: Apache-2.0 */
/* Runs on the shard's thread, once per server and once per connection. libpq must never look a name
 * up (it would block the loop) nor try several hosts in one attempt (it would hide which server
 * answered and swap sockets under the poll): host, hostaddr, port and dbname are always ours, one
 * of each. Whatever else the user's own connection string says, wins over the defaults here. */
#include "pg/session.h"

#include <arpa/inet.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

static const char ca_bundle[] = "/etc/ssl/certs/ca-certificates.crt";
static const char socket_directory[] = "/var/run/postgresql";
static const uint16_t default_port = 5432;

/* 2000-01-01 in seconds since 1970-01-01. */
static const uint64_t postgres_epoch_s = 946684800;

enum { INT4OID = 23, INT8OID = 20, BOOLOID = 16 };

static const char *value_of(const struct session *session, const char *keyword)
{
    for (uint32_t i = 0; i < session->parameter_count; i++)
        if (strcmp(session->keywords[i], keyword) == 0)
            return session->values[i];
    return NULL;
}

/* Sets or replaces; an empty or missing value changes nothing. */
static void put(struct session *session, const char *keyword, const char *value)
{
    if (value == NULL || value[0] == 0)
        return;
    uint32_t i = 0;
    while (i < session->parameter_count && strcmp(session->keywords[i], keyword) != 0)
        i++;
    CHECK(i < SESSION_PARAMETERS_MAX);
    if (i == session->parameter_count) {
        session->parameter_count++;
        session->keywords[i] = arena_text(&session->arena, keyword);
    }
    session->values[i] = arena_text(&session->arena, value);
}

static void put_defaults(struct session *session, const struct server_settings *server)
{
    put(session, "application_name", "pgweir");
    put(session, "keepalives", "1");
    put(session, "keepalives_idle", "30");
    put(session, "keepalives_interval", "10");
    put(session, "keepalives_count", "3");
    put(session, "tcp_user_timeout", "15000");
    put(session, "user", server->username);
    put(session, "password", server->password);
    put(session, "passfile", server->passfile);
    const struct server_tls *tls = &server->tls;
    if (tls->insecure) {
        put(session, "sslmode", "disable");
        return;
    }
    put(session, "sslmode", tls->insecure_skip_verify ? "require" : "verify-full");
    /* libpq verifies `require` too as soon as a root certificate is given. */
    if (!tls->insecure_skip_verify)
        put(session, "sslrootcert", tls->ca_file != NULL ? tls->ca_file : ca_bundle);
    put(session, "sslcert", tls->cert_file);
    put(session, "sslkey", tls->key_file);
}

static void put_endpoint(struct session *session, const struct server_settings *server,
                         struct failure *ret_problem)
{
    struct server_endpoint endpoint;
    struct error error = {0};
    if (!server_endpoint_parse(server, &endpoint, &error)) {
        failure_set(ret_problem, FAILURE_UNFIT, "%s", error.text);
        return;
    }
    put(session, "host", endpoint.host);
    put(session, "port", arena_format(&session->arena, "%u", endpoint.port));
}

/* libpq's own words may quote the string, password and all: they are not passed on. */
static void put_dsn(struct session *session, const char *dsn, bool *ret_names_tls,
                    struct failure *ret_problem)
{
    PQconninfoOption *options = PQconninfoParse(dsn, NULL);
    *ret_names_tls = false;
    if (options == NULL) {
        failure_set(ret_problem, FAILURE_UNFIT,
                    "dsn cannot be read: write postgresql://user@host:5432/database, special "
                    "characters as %%XX, or key=value pairs");
        return;
    }
    for (const PQconninfoOption *option = options; option->keyword != NULL; option++) {
        put(session, option->keyword, option->val);
        if (option->val != NULL && strncmp(option->keyword, "ssl", 3) == 0)
            *ret_names_tls = true;
    }
    PQconninfoFree(options);
}

/* What libpq would take from PGHOST, PGPORT, PGUSER, … where the settings are silent. */
static void put_environment(struct session *session)
{
    PQconninfoOption *options = PQconndefaults();
    static const char *const wanted[] = {"host", "hostaddr", "port", "dbname"};
    for (const PQconninfoOption *option = options; option != NULL && option->keyword != NULL;
         option++)
        for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
            if (strcmp(option->keyword, wanted[i]) == 0 &&
                value_of(session, option->keyword) == NULL)
                put(session, option->keyword, option->val);
    PQconninfoFree(options);
}

/* The first of a list: one server is one target. */
static void keep_first(struct session *session, const char *keyword)
{
    const char *value = value_of(session, keyword);
    const char *comma = value == NULL ? NULL : strchr(value, ',');
    if (comma == NULL)
        return;
    LOG(LOG_LEVEL_WARN, "pg",
        "dsn names several servers; only the first is collected: make each "
        "one a target of its own",
        LOG_TEXT("option", keyword));
    put(session, keyword, arena_format(&session->arena, "%.*s", (int)(comma - value), value));
}

static bool is_address(const char *host)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    char plain[INET6_ADDRSTRLEN + 1];
    snprintf(plain, sizeof plain, "%.*s", (int)strcspn(host, "%"), host);
    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, plain, bytes) == 1;
}

static bool is_local(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (host[0] == '/' || host[0] == '@' || strcmp(host, "localhost") == 0)
        return true;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
    return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

/* A dsn that says nothing about TLS works on this machine as it does with psql: encrypted where the
 * server offers it, since there is nobody in between. Settings of `tls` that are not the defaults
 * are somebody's wish and stay in force. */
static void soften_tls(struct session *session, const struct server_tls *tls)
{
    const char *place = value_of(session, "hostaddr");
    if (place == NULL)
        place = session->host;
    bool defaults = !tls->insecure && tls->insecure_skip_verify && tls->ca_file == NULL &&
                    tls->cert_file == NULL && tls->key_file == NULL;
    if (defaults && is_local(place))
        put(session, "sslmode", "prefer");
}

static void settle_place(struct session *session, const struct server_settings *server,
                         struct failure *ret_problem)
{
    keep_first(session, "host");
    keep_first(session, "hostaddr");
    keep_first(session, "port");
    const char *host = value_of(session, "host");
    const char *address = value_of(session, "hostaddr");
    if (host == NULL)
        host = address != NULL ? address : socket_directory;
    const char *port = value_of(session, "port");
    unsigned long number = port == NULL ? default_port : strtoul(port, NULL, 10);
    if (number == 0 || number > 65535)
        failure_set(ret_problem, FAILURE_UNFIT, "port %.20s is not in 1 to 65535", port);
    session->host = arena_text(&session->arena, host);
    session->port = (uint16_t)number;
    session->by_name = address == NULL && host[0] != '/' && host[0] != '@' && !is_address(host);
    put(session, "host", host);
    put(session, "port", arena_format(&session->arena, "%u", session->port));
    /* An address in `host` needs no look-up, but only hostaddr promises that there is none. */
    if (address == NULL && is_address(host))
        put(session, "hostaddr", host);
    const char *named = value_of(session, "dbname");
    bool silent = server->database == NULL && server->databases.count == 0;
    session->database =
        arena_text(&session->arena, silent && named != NULL ? named : server_database(server));
    bool v6 = strchr(host, ':') != NULL && host[0] != '/';
    char *endpoint = arena_format(&session->arena, "%s%s%s:%u", v6 ? "[" : "", host, v6 ? "]" : "",
                                  session->port);
    bool nameless = server->name == NULL || server->name[0] == 0;
    session->name = nameless ? endpoint : arena_text(&session->arena, server->name);
    session->place =
        strcmp(session->name, endpoint) == 0
            ? arena_format(&session->arena, "target %s", endpoint)
            : arena_format(&session->arena, "target %.80s (%s)", session->name, endpoint);
}

static unsigned long long to_ms(uint64_t ns)
{
    return (ns + NS_PER_MS - 1) / NS_PER_MS;
}

static void make_guards(struct session *session, const struct session_settings *settings)
{
    static const char form[] = "/* pgweir */ SELECT pg_catalog.set_config('%s', '%llu', false)";
    struct arena *arena = &session->arena;
    session->guards[0] =
        arena_format(arena, form, "statement_timeout", to_ms(settings->statement_timeout_ns));
    session->guards[1] =
        arena_format(arena, form, "lock_timeout", to_ms(settings->lock_timeout_ns));
    session->guards[2] = arena_format(arena, form, "idle_in_transaction_session_timeout",
                                      to_ms(settings->idle_in_transaction_session_timeout_ns));
    session->guards[3] =
        "/* pgweir */ SELECT pg_catalog.set_config('default_transaction_read_only', 'on', false)";
    session->wishes[0] = "/* pgweir */ SELECT pg_catalog.set_config('jit', 'off', false)";
    session->wish_versions[0] = 110000;
    session->wishes[1] = arena_format(arena, form, "client_connection_check_interval",
                                      to_ms(settings->client_connection_check_interval_ns));
    session->wish_versions[1] = 140000;
}

void session_init(struct session *session, const struct server_settings *server,
                  const struct session_settings *settings, struct failure *ret_problem)
{
    *session = (struct session){.connect_timeout_ns = settings->connect_timeout_ns};
    *ret_problem = (struct failure){0};
    bool names_tls = true;
    put_defaults(session, server);
    if (server->dsn != NULL) {
        put_dsn(session, server->dsn, &names_tls, ret_problem);
        put_environment(session);
    } else {
        put_endpoint(session, server, ret_problem);
    }
    put(session, "client_encoding", "UTF8");
    put(session, "gssencmode", "disable");
    put(session, "target_session_attrs", "any");
    const char *timeout = value_of(session, "connect_timeout");
    if (timeout != NULL && strtoul(timeout, NULL, 10) > 0)
        session->connect_timeout_ns = strtoul(timeout, NULL, 10) * NS_PER_S;
    settle_place(session, server, ret_problem);
    if (!names_tls)
        soften_tls(session, &server->tls);
    make_guards(session, settings);
}

void session_fini(struct session *session)
{
    arena_fini(&session->arena);
    *session = (struct session){0};
}

/* A server's notices are none of our output; libpq prints them otherwise. */
static void ignore_notice(void *owner, const struct pg_result *result)
{
    (void)owner;
    (void)result;
}

struct pg_conn *session_connect(const struct session *session, const char *database,
                                const char *address)
{
    const char *keywords[SESSION_PARAMETERS_MAX + 3], *values[SESSION_PARAMETERS_MAX + 3];
    uint32_t count = 0;
    for (uint32_t i = 0; i < session->parameter_count; i++) {
        bool ours = strcmp(session->keywords[i], "dbname") == 0 ||
                    (address != NULL && strcmp(session->keywords[i], "hostaddr") == 0);
        if (ours)
            continue;
        keywords[count] = session->keywords[i];
        values[count++] = session->values[i];
    }
    keywords[count] = "dbname";
    values[count++] = database;
    if (address != NULL) {
        keywords[count] = "hostaddr";
        values[count++] = address;
    }
    keywords[count] = values[count] = NULL;
    struct pg_conn *connection = PQconnectStartParams(keywords, values, 0);
    xdone(connection != NULL);
    PQsetNoticeReceiver(connection, ignore_notice, NULL);
    PQsetErrorVerbosity(connection, PQERRORS_VERBOSE);
    return connection;
}

static void send_sql(struct pipeline *pipeline, struct pg_conn *connection, enum pipeline_kind kind,
                     const char *sql)
{
    pipeline_expect(pipeline, kind, 0,
                    PQsendQueryParams(connection, sql, 0, NULL, NULL, NULL, NULL, 1));
}

/* The guards share a Sync with the probe (all must hold); each wish has its own. */
void session_send_setup(const struct session *session, struct pipeline *pipeline,
                        struct pg_conn *connection, const char *probe_sql)
{
    PQsetErrorVerbosity(connection, PQERRORS_DEFAULT);
    for (size_t i = 0; i < sizeof session->guards / sizeof session->guards[0]; i++)
        send_sql(pipeline, connection, PIPELINE_GUARD, session->guards[i]);
    session_send_probe(pipeline, connection, probe_sql);
    for (size_t i = 0; i < sizeof session->wishes / sizeof session->wishes[0]; i++) {
        if ((uint32_t)PQserverVersion(connection) < session->wish_versions[i])
            continue;
        send_sql(pipeline, connection, PIPELINE_WISH, session->wishes[i]);
        pipeline_sync(pipeline, connection);
    }
}

void session_send_probe(struct pipeline *pipeline, struct pg_conn *connection,
                        const char *probe_sql)
{
    send_sql(pipeline, connection, PIPELINE_PROBE, probe_sql);
    pipeline_sync(pipeline, connection);
}

/* Big-endian integer of the cell; false when it has another type or is NULL. */
static bool read_cell(const struct pg_result *result, int column, Oid type, int64_t *ret_value)
{
    int bytes = type == INT8OID ? 8 : type == INT4OID ? 4 : 1;
    if (column >= PQnfields(result) || PQftype(result, column) != type ||
        PQfformat(result, column) != 1 || PQgetisnull(result, 0, column) ||
        PQgetlength(result, 0, column) != bytes)
        return false;
    const unsigned char *cell = (const unsigned char *)PQgetvalue(result, 0, column);
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value = value << 8 | cell[i];
    *ret_value = (int64_t)value;
    return true;
}

bool session_read_identity(const struct pg_result *result, struct identity *ret_identity)
{
    int64_t version, recovery, start_us, masks[16] = {0};
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1 ||
        !read_cell(result, 0, INT4OID, &version) || !read_cell(result, 1, BOOLOID, &recovery) ||
        !read_cell(result, 2, INT8OID, &start_us))
        return false;
    size_t count = 0;
    while (count < sizeof masks / sizeof masks[0] && 3 + (int)count < PQnfields(result)) {
        if (!read_cell(result, 3 + (int)count, INT8OID, &masks[count]))
            return false;
        count++;
    }
    struct identity identity = {0};
    catalog_read_capabilities((uint32_t)version, recovery != 0, masks, count,
                              &identity.capabilities);
    identity.start_ns = postgres_epoch_s * NS_PER_S + (uint64_t)start_us * NS_PER_US;
    *ret_identity = identity;
    return true;
}
