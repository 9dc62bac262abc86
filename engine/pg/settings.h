/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/component.h>

#include "base/error.h"

/* The `postgresql` receiver's options: the OTel receiver's keys, plus what a fleet needs. Filled
 * by engine/config/, immutable, borrowed by shards for the life of the configuration. */

enum server_transport { TRANSPORT_TCP, TRANSPORT_UNIX };
enum server_pooler { POOLER_NONE, POOLER_SESSION, POOLER_TRANSACTION };

struct server_tls {
    bool insecure;             /* sslmode=disable */
    bool insecure_skip_verify; /* sslmode=require; the Collector's default, as here */
    const char *ca_file, *cert_file, *key_file;
};

/* One server. Keys of the receiver are the defaults of every entry of `targets`. */
struct server_settings {
    const char *name;     /* for logs and /targets; default: the endpoint */
    const char *endpoint; /* host:port, default localhost:5432; with transport unix: a directory */
    const char *dsn; /* postgresql://… or key=value; wins over endpoint, username, password */
    int transport;   /* enum server_transport */
    const char *username;
    const char *password;
    const char *passfile;
    const char *database; /* maintenance database, default postgres; the first of `databases` where
                             that is set */
    struct text_list databases;         /* collected databases; empty: the maintenance database */
    struct text_list exclude_databases; /* left out of per-database metrics */
    struct server_tls tls;
    struct text_map resource_attributes; /* `attributes`: added to the target's resource */
    int64_t connections;                 /* at most, default 2 */
};

struct session_settings {
    uint64_t connect_timeout_ns;                     /* 10s */
    uint64_t statement_timeout_ns;                   /* 5s */
    uint64_t lock_timeout_ns;                        /* 100ms */
    uint64_t idle_in_transaction_session_timeout_ns; /* 10s */
    uint64_t client_connection_check_interval_ns;    /* 2s, servers from 14 on */
    uint64_t connection_max_age_ns;                  /* 1h ± 10 % */
    uint64_t backoff_initial_ns;                     /* 1s */
    uint64_t backoff_max_ns;                         /* 60s */
};

struct group_settings {
    uint64_t interval_ns; /* 0: collection_interval */
    bool enabled;
};

struct metric_settings {
    bool enabled;
};

struct postgresql_settings {
    struct server_settings server; /* the only target where `targets` is empty */
    struct group_list targets;     /* of struct server_settings */
    struct session_settings session;
    uint64_t collection_interval_ns; /* 10s */
    uint64_t initial_delay_ns;       /* 1s; targets start within it, jittered */
    uint64_t timeout_ns;             /* one collection; 0: the interval */
    struct group_map groups;         /* struct group_settings by cadence group */
    struct group_map metrics;        /* struct metric_settings by metric name */
    int model;                       /* enum catalog_model */
    struct text_list query_files;    /* `queries`: a user's own catalogue documents */
};

extern const struct component postgresql_receiver;

/* Number of servers, and the i-th. */
size_t postgresql_server_count(const struct postgresql_settings *settings);
const struct server_settings *postgresql_server(const struct postgresql_settings *settings,
                                                size_t index);

/* Name in logs and on /targets: `name`, or the endpoint, or "dsn" (a dsn may hold a password). */
const char *server_name(const struct server_settings *server);

/* Maintenance database: `database`, or the first of `databases`, or "postgres". */
const char *server_database(const struct server_settings *server);

/* Where a server listens: a name or address without brackets, or with transport unix the socket's
 * directory. */
struct server_endpoint {
    char host[256];
    uint16_t port;
};

/* Takes `endpoint` apart: db1:5432, [::1]:5432; with transport unix /run/postgresql:5432. */
bool server_endpoint_parse(const struct server_settings *server,
                           struct server_endpoint *ret_endpoint, struct error *error);
