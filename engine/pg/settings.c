/* SPDX-License-Identifier: Apache-2.0 */
/* Options of the `postgresql` receiver. Keys of the OTel receiver of this name keep their meaning
 * and their defaults; what of them has no effect here is taken with a warning, so that a file moves
 * over unchanged. Constant data and pure functions.
 * Source: contrib postgresqlreceiver 0.161, configuration. */
#include "pg/settings.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "catalog/catalog.h"

#define SECONDS(n)      ((n) * (int64_t)NS_PER_S)
#define MILLISECONDS(n) ((n) * (int64_t)NS_PER_MS)
#define HOURS(n)        SECONDS((n)*3600)

static const char default_endpoint[] = "localhost:5432";

static const char *const transport_names[] = {
    [TRANSPORT_TCP] = "tcp", [TRANSPORT_UNIX] = "unix", NULL};
static const char *const model_names[] = {
    [CATALOG_SEMCONV] = "semconv", [CATALOG_LEGACY] = "legacy", NULL};

#define IGNORED(name, why)                                                                         \
    {                                                                                              \
        .key = name, .type = OPTION_IGNORED, .help = why                                           \
    }

#define LIBPQ_TLS "libpq and the server agree on it; use ca_file, cert_file and key_file"

static const struct option tls_options[] = {
    {.key = "insecure",
     .type = OPTION_BOOL,
     .offset = offsetof(struct server_tls, insecure),
     .fallback = "false",
     .help = "no encryption (sslmode=disable)"},
    {.key = "insecure_skip_verify",
     .type = OPTION_BOOL,
     .offset = offsetof(struct server_tls, insecure_skip_verify),
     .fallback = "true",
     .help = "encrypted, whoever answers (sslmode=require); false checks certificate and host "
             "name (sslmode=verify-full)"},
    {.key = "ca_file",
     .type = OPTION_TEXT,
     .offset = offsetof(struct server_tls, ca_file),
     .help = "certificates of the authorities that are trusted"},
    {.key = "cert_file",
     .type = OPTION_TEXT,
     .offset = offsetof(struct server_tls, cert_file),
     .help = "our certificate; needs key_file"},
    {.key = "key_file",
     .type = OPTION_TEXT,
     .offset = offsetof(struct server_tls, key_file),
     .help = "key of our certificate"},
    IGNORED("ca_pem", LIBPQ_TLS),
    IGNORED("cert_pem", LIBPQ_TLS),
    IGNORED("key_pem", LIBPQ_TLS),
    IGNORED("server_name_override", LIBPQ_TLS),
    IGNORED("min_version", LIBPQ_TLS),
    IGNORED("max_version", LIBPQ_TLS),
    IGNORED("cipher_suites", LIBPQ_TLS),
    IGNORED("curve_preferences", LIBPQ_TLS),
    IGNORED("reload_interval", "files are read at every connection"),
    IGNORED("include_system_ca_certs_pool", LIBPQ_TLS),
    {0},
};
static const struct option_table tls_table = {sizeof(struct server_tls), tls_options};

/* The same rows serve the receiver (the one server, or the defaults of all) and each target: the
 * receiver's struct begins with the server's. */
_Static_assert(offsetof(struct postgresql_settings, server) == 0, "rows are shared");
#define SERVER(field) offsetof(struct server_settings, field)
#define SERVER_OPTIONS                                                                             \
    {.key = "name",                                                                                \
     .type = OPTION_TEXT,                                                                          \
     .offset = SERVER(name),                                                                       \
     .help = "name in logs and on /targets; the endpoint where it is not given"},                  \
        {.key = "endpoint",                                                                        \
         .type = OPTION_TEXT,                                                                      \
         .offset = SERVER(endpoint),                                                               \
         .fallback = default_endpoint,                                                             \
         .help = "host:port; with transport unix the socket's directory, /run/postgresql:5432"},   \
        {.key = "transport",                                                                       \
         .type = OPTION_ENUM,                                                                      \
         .offset = SERVER(transport),                                                              \
         .choices = transport_names,                                                               \
         .fallback = "tcp",                                                                        \
         .help = "tcp or a Unix socket"},                                                          \
        {.key = "dsn",                                                                             \
         .type = OPTION_SECRET,                                                                    \
         .offset = SERVER(dsn),                                                                    \
         .help = "connection string of libpq, in place of endpoint, username and password; its "   \
                 "sslmode wins over tls; with neither given it is prefer on this machine "         \
                 "(loopback, Unix socket), require elsewhere"},                                    \
        {.key = "username",                                                                        \
         .type = OPTION_TEXT,                                                                      \
         .offset = SERVER(username),                                                               \
         .help = "role to log in as; pg_monitor is all the right it needs"},                       \
        {.key = "password",                                                                        \
         .type = OPTION_SECRET,                                                                    \
         .offset = SERVER(password),                                                               \
         .help = "its password, such as ${env:PGPASSWORD} or ${file:/run/secrets/pg}"},            \
        {.key = "passfile",                                                                        \
         .type = OPTION_TEXT,                                                                      \
         .offset = SERVER(passfile),                                                               \
         .help = "password file of libpq (.pgpass), in place of password"},                        \
        {.key = "database",                                                                        \
         .type = OPTION_TEXT,                                                                      \
         .offset = SERVER(database),                                                               \
         .help = "database for what concerns the whole server; the first of databases, else "      \
                 "postgres, where it is not given"},                                               \
        {.key = "databases",                                                                       \
         .type = OPTION_TEXT_LIST,                                                                 \
         .offset = SERVER(databases),                                                              \
         .fallback = "[]",                                                                         \
         .help = "databases whose tables and indexes are collected; empty: the one of database"},  \
        {.key = "exclude_databases",                                                               \
         .type = OPTION_TEXT_LIST,                                                                 \
         .offset = SERVER(exclude_databases),                                                      \
         .fallback = "[]",                                                                         \
         .help = "databases left out of everything collected by database"},                        \
        {.key = "tls",                                                                             \
         .type = OPTION_GROUP,                                                                     \
         .offset = SERVER(tls),                                                                    \
         .table = &tls_table,                                                                      \
         .help = "encryption of the connection"},                                                  \
        {.key = "attributes",                                                                      \
         .type = OPTION_TEXT_MAP,                                                                  \
         .offset = SERVER(resource_attributes),                                                    \
         .fallback = "{}",                                                                         \
         .help = "attributes added to the server's resource"},                                     \
    {                                                                                              \
        .key = "connections", .type = OPTION_INT, .offset = SERVER(connections), .fallback = "2",  \
        .min = 1, .max = 64, .help = "connections to one server at most"                           \
    }

static const struct option target_options[] = {SERVER_OPTIONS, {0}};
static const struct option_table target_table = {sizeof(struct server_settings), target_options};

#define SESSION(name, default_text, low, high, text)                                               \
    {                                                                                              \
        .key = #name, .type = OPTION_DURATION,                                                     \
        .offset = offsetof(struct session_settings, name##_ns), .fallback = default_text,          \
        .min = low, .max = high, .help = text                                                      \
    }

static const struct option session_options[] = {
    SESSION(connect_timeout, "10s", MILLISECONDS(100), SECONDS(300),
            "from the first packet to a session that answers"),
    SESSION(statement_timeout, "5s", MILLISECONDS(10), SECONDS(600),
            "the server ends a statement of ours that takes longer"),
    SESSION(lock_timeout, "100ms", MILLISECONDS(1), SECONDS(60),
            "the server ends a statement of ours that waits longer for a lock"),
    SESSION(idle_in_transaction_session_timeout, "10s", MILLISECONDS(100), SECONDS(600),
            "the server ends a session of ours that leaves a transaction open"),
    SESSION(client_connection_check_interval, "2s", 0, SECONDS(600),
            "how often the server looks whether we are still there; from PostgreSQL 14 on"),
    SESSION(connection_max_age, "1h", SECONDS(1), HOURS(24 * 30),
            "a connection is replaced at this age, give or take a tenth"),
    SESSION(backoff_initial, "1s", MILLISECONDS(10), SECONDS(600),
            "wait after the first failed connection; doubles with each"),
    SESSION(backoff_max, "60s", MILLISECONDS(10), HOURS(24), "longest wait between attempts"),
    {0},
};
static const struct option_table session_table = {sizeof(struct session_settings), session_options};

static const struct option group_options[] = {
    {.key = "interval",
     .type = OPTION_DURATION,
     .offset = offsetof(struct group_settings, interval_ns),
     .fallback = "0",
     .max = HOURS(24 * 30),
     .help = "how often; 0: collection_interval"},
    {.key = "enabled",
     .type = OPTION_BOOL,
     .offset = offsetof(struct group_settings, enabled),
     .fallback = "true",
     .help = "collect this group"},
    {0},
};
static const struct option_table group_table = {sizeof(struct group_settings), group_options};

static const struct option metric_options[] = {
    {.key = "enabled",
     .type = OPTION_BOOL,
     .offset = offsetof(struct metric_settings, enabled),
     .fallback = "true",
     .help = "collect this metric"},
    {0},
};
static const struct option_table metric_table = {sizeof(struct metric_settings), metric_options};

#define RECEIVER(field) offsetof(struct postgresql_settings, field)
#define NO_EVENTS       "pgweir carries metrics only"

static const struct option receiver_options[] = {
    SERVER_OPTIONS,
    {.key = "targets",
     .type = OPTION_GROUP_LIST,
     .offset = RECEIVER(targets),
     .table = &target_table,
     .inherits = true,
     .inherit_offset = RECEIVER(server),
     .help = "the servers of a fleet, each with the keys above"},
    {.key = "session",
     .type = OPTION_GROUP,
     .offset = RECEIVER(session),
     .table = &session_table,
     .help = "what keeps us from harming a server"},
    {.key = "collection_interval",
     .type = OPTION_DURATION,
     .offset = RECEIVER(collection_interval_ns),
     .fallback = "10s",
     .min = MILLISECONDS(100),
     .max = HOURS(24),
     .help = "how often every group without an interval of its own is collected"},
    {.key = "initial_delay",
     .type = OPTION_DURATION,
     .offset = RECEIVER(initial_delay_ns),
     .fallback = "1s",
     .max = HOURS(24),
     .help = "servers are first collected at a random time within it"},
    {.key = "timeout",
     .type = OPTION_DURATION,
     .offset = RECEIVER(timeout_ns),
     .fallback = "0",
     .max = HOURS(24),
     .help = "longest time of one collection; 0: the interval"},
    {.key = "groups",
     .type = OPTION_GROUP_MAP,
     .offset = RECEIVER(groups),
     .table = &group_table,
     .help = "cadence by group of queries; `pgweir catalog` lists them"},
    {.key = "metrics",
     .type = OPTION_GROUP_MAP,
     .offset = RECEIVER(metrics),
     .table = &metric_table,
     .help = "metrics switched on or off by name; `pgweir catalog` lists them"},
    {.key = "model",
     .type = OPTION_ENUM,
     .offset = RECEIVER(model),
     .choices = model_names,
     .fallback = "semconv",
     .help = "one resource per server (semconv), or one per database, table and index (legacy), as "
             "the OTel receiver has them"},
    {.key = "queries",
     .type = OPTION_TEXT_LIST,
     .offset = RECEIVER(query_files),
     .fallback = "[]",
     .help = "files with queries of your own, in the form of the built-in ones"},
    IGNORED("resource_attributes",
            "every server's resource has service.instance.id, server.address "
            "and server.port; change it with a resource processor"),
    IGNORED("events", NO_EVENTS),
    IGNORED("query_sample_collection", NO_EVENTS),
    IGNORED("top_query_collection", NO_EVENTS),
    IGNORED("connection_pool", "use connections and session.connection_max_age"),
    IGNORED("db_auth", "use password, passfile or dsn"),
    {0},
};

/* ---- what no single row can check; texts begin with the key, config finds its place ---- */

static bool check_dsn(const struct server_settings *server, const char *default_or_inherited,
                      const char *path, struct error *error)
{
    bool is_uri = strncmp(server->dsn, "postgresql://", 13) == 0 ||
                  strncmp(server->dsn, "postgres://", 11) == 0;
    if (!is_uri && strchr(server->dsn, '=') == NULL)
        return error_set(
            error,
            "%sdsn: is no connection string: write postgresql://user@host:5432/postgres "
            "or \"host=… user=…\"",
            path);
    if (strcmp(server->endpoint, default_or_inherited) != 0)
        return error_set(error, "%sendpoint: excludes dsn: remove one of the two", path);
    return true;
}

/* All of them, the server's own names and those of a row (in the older model) fit into a resource.
 */
static bool check_attributes(const struct text_map *attributes, const char *path,
                             struct error *error)
{
    enum { OWN = 3, MOST = LIMIT_RESOURCE_ATTRIBUTES - LIMIT_QUERY_ATTRIBUTES - OWN };
    if (attributes->count > MOST)
        return error_set(error, "%sattributes: %zu are too many: the limit is %d", path,
                         attributes->count, MOST);
    for (size_t i = 0; i < attributes->count; i++)
        if (strlen(attributes->items[i].key) > LIMIT_ATTRIBUTE_NAME_BYTES)
            return error_set(error, "%sattributes: the name \"%.40s…\" has over %d bytes", path,
                             attributes->items[i].key, LIMIT_ATTRIBUTE_NAME_BYTES);
    return true;
}

static bool check_server(const struct server_settings *server, const char *default_or_inherited,
                         const char *path, struct error *error)
{
    struct server_endpoint endpoint;
    if (server->dsn != NULL && !check_dsn(server, default_or_inherited, path, error))
        return false;
    if (server->dsn == NULL && !server_endpoint_parse(server, &endpoint, error))
        return error_prefix(error, "%s", path);
    if (server->dsn == NULL && (server->username == NULL || server->username[0] == 0))
        return error_set(error, "%susername: is missing: name the role to log in as, or give a dsn",
                         path);
    if ((server->tls.cert_file == NULL) != (server->tls.key_file == NULL))
        return error_set(error, "%stls: cert_file and key_file go together: give both or none",
                         path);
    if (server->databases.count > LIMIT_DATABASES)
        return error_set(error, "%sdatabases: %zu are too many: the limit is %d on one server",
                         path, server->databases.count, LIMIT_DATABASES);
    for (size_t i = 0; i < server->databases.count; i++)
        if (server->databases.items[i][0] == 0)
            return error_set(error, "%sdatabases[%zu]: is empty: name a database", path, i);
    return check_attributes(&server->resource_attributes, path, error);
}

static bool validate(const void *settings, struct error *error)
{
    const struct postgresql_settings *postgresql = settings;
    const struct server_settings *targets = postgresql->targets.items;
    if (postgresql->session.backoff_initial_ns > postgresql->session.backoff_max_ns)
        return error_set(error, "session.backoff_initial: is longer than backoff_max");
    if (postgresql->targets.count == 0)
        return check_server(&postgresql->server, default_endpoint, "", error);
    if (postgresql->targets.count > LIMIT_TARGETS)
        return error_set(error, "targets: %zu are too many: the limit is %d in one process",
                         postgresql->targets.count, LIMIT_TARGETS);
    for (size_t i = 0; i < postgresql->targets.count; i++) {
        char path[48];
        snprintf(path, sizeof path, "targets[%zu].", i);
        if (!check_server(&targets[i], postgresql->server.endpoint, path, error))
            return false;
    }
    return true;
}

const struct component postgresql_receiver = {
    .kind = COMPONENT_RECEIVER,
    .type = "postgresql",
    .about = "collects the statistics of PostgreSQL servers, one or a fleet",
    .stability = "beta",
    .table = {sizeof(struct postgresql_settings), receiver_options},
    .validate = validate,
};

/* ---- what others ask of settings ---- */

size_t postgresql_server_count(const struct postgresql_settings *settings)
{
    return settings->targets.count == 0 ? 1 : settings->targets.count;
}

const struct server_settings *postgresql_server(const struct postgresql_settings *settings,
                                                size_t index)
{
    if (settings->targets.count == 0)
        return &settings->server;
    return (const struct server_settings *)settings->targets.items + index;
}

const char *server_name(const struct server_settings *server)
{
    if (server->name != NULL)
        return server->name;
    return server->dsn != NULL ? "dsn" : server->endpoint;
}

const char *server_database(const struct server_settings *server)
{
    if (server->database != NULL)
        return server->database;
    return server->databases.count > 0 ? server->databases.items[0] : "postgres";
}

static bool parse_port(const char *text, uint16_t *ret_port)
{
    unsigned port = 0;
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 5 || text[digits] != 0)
        return false;
    for (size_t i = 0; i < digits; i++)
        port = port * 10 + (unsigned)(text[i] - '0');
    *ret_port = (uint16_t)port;
    return port > 0 && port <= 65535;
}

bool server_endpoint_parse(const struct server_settings *server,
                           struct server_endpoint *ret_endpoint, struct error *error)
{
    const char *text = server->endpoint;
    const char *host = text, *colon = strrchr(text, ':');
    size_t host_bytes = colon != NULL ? (size_t)(colon - text) : strlen(text);
    bool is_unix = server->transport == TRANSPORT_UNIX;
    struct server_endpoint endpoint = {.port = 5432};
    if (!is_unix && strpbrk(text, " \t\n/@,") != NULL)
        return error_set(error, /* not shown: it may hold a password */
                         "endpoint: is not host:port; for a connection string use dsn");
    if (colon == NULL && !is_unix)
        return error_set(error, "endpoint: \"%.128s\" has no port: write %.128s:5432", text, text);
    if (colon != NULL && !parse_port(colon + 1, &endpoint.port))
        return error_set(error, "endpoint: \"%.128s\": the port must be a number from 1 to 65535",
                         text);
    if (host[0] == '[' && host_bytes >= 2 && host[host_bytes - 1] == ']') {
        host++;
        host_bytes -= 2;
    } else if (!is_unix && memchr(host, ':', host_bytes) != NULL) {
        return error_set(
            error, "endpoint: \"%.128s\": put an IPv6 address into brackets: [::1]:5432", text);
    }
    bool add_slash = is_unix && host[0] != '/'; /* as the OTel receiver does */
    if (host_bytes == 0 || host_bytes + add_slash >= sizeof endpoint.host)
        return error_set(error, "endpoint: \"%.128s\": the host is %s: write host:5432", text,
                         host_bytes == 0 ? "missing" : "too long");
    endpoint.host[0] = '/';
    memcpy(endpoint.host + add_slash, host, host_bytes);
    *ret_endpoint = endpoint;
    return true;
}
