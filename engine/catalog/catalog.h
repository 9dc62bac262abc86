/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/limits.h>
#include <pgweir/metric.h>

#include "base/error.h"
#include "ring/attrs.h"

/* Step 1 of 9: what is asked. Every metric is data: a *query* is a YAML document (docs/catalog.md),
 * built in or a user's own, loaded by the same code. A *plan* is the catalogue made concrete for
 * servers of one set of capabilities: the statements to prepare and what each result column means.
 * Plans are immutable and shared by all targets of a shard that are alike. */

enum query_scope {
    QUERY_SERVER,   /* once per server, on the maintenance database */
    QUERY_DATABASE, /* once per collected database, connected to it */
};

/* Names and attributes: the OTel receiver's newer model (one resource per server), or its older one
 * (a resource per table, index, database). */
enum catalog_model { CATALOG_SEMCONV, CATALOG_LEGACY };

struct catalog_query; /* private: a loaded document */
struct catalog_probe; /* private: what decides which columns a server has */

struct catalog {
    struct catalog_query *queries;
    size_t query_count;
    const struct metric *const *metrics; /* all metrics of all queries, sorted by name */
    size_t metric_count;
    const char *const *groups; /* cadence groups in use: "core", "tables", … */
    size_t group_count;
    struct catalog_probe *probe;
    struct arena *arena;
};

/* The built-in queries plus, where `files` are given, a user's own YAML files (a query of the same
 * name replaces the built-in one). Errors read "file:line:column: …". */
bool catalog_load(struct catalog **ret_catalog, const char *const *files, size_t file_count,
                  struct error *error);
void catalog_destroy(struct catalog **catalog);

/* The metric of that name, or NULL; then *ret_near, where not NULL, is the nearest name there is,
 * or NULL. Its index into catalog->metrics goes to *ret_index where not NULL. */
const struct metric *catalog_find_metric(const struct catalog *catalog, const char *name,
                                         size_t *ret_index, const char **ret_near);

/* What the configuration wants of a catalogue. Borrowed for the life of the plans. */
struct catalog_choice {
    enum catalog_model model;
    const bool *metric_enabled;   /* by index into catalog->metrics */
    const char *const *databases; /* only these (empty: all); for statements that list databases */
    size_t database_count;
    const char *const *exclude_databases;
    size_t exclude_count;
};

/* What a server can do, found once per connection epoch. */
struct capabilities {
    uint32_t version_num; /* server_version_num: 150018 */
    bool recovery;        /* a standby */
    /* One bit per name of catalog_probe_names(): the column ("view.column"), function or extension
     * is there. Forks report a version and lack columns, hence the probe. */
    uint64_t present[16];
};

/* Names whose presence decides something, in the order of `present`'s bits: "pg_stat_io.reads". */
const char *const *catalog_probe_names(const struct catalog *catalog, size_t *ret_count);

/* SQL to run once per connection that answers, in one row of text-free binary results:
 * int4 version_num, bool recovery, int8 postmaster start (µs since 2000-01-01 UTC), then one int8
 * mask per 64 names, at least one. No parameters; any role may run it, on any supported version. */
const char *catalog_probe_sql(const struct catalog *catalog);

/* The probe's row, already decoded: cell 0, cell 1, and the masks from cell 3 on (bit i of mask m
 * is name m * 64 + i). Missing masks count as "not there". Clears and fills *ret. */
void catalog_read_capabilities(uint32_t version_num, bool recovery, const int64_t *masks,
                               size_t mask_count, struct capabilities *ret);

/* How decode finds a row's attribute set: the cells of `columns`, joined by `join` when there is
 * more than one, become attribute `key`. */
struct statement_attribute {
    const char *key;
    const char *join; /* "|" */
    uint16_t columns[4];
    uint16_t column_count;
    bool resource; /* legacy model: belongs to the row's own resource */
};

/* One metric value of each row. Points of the same metric stand together. Every cell costs libpq
 * and decode the same whatever it holds, so a statement's int8 values travel as one int8[] cell,
 * its float8 values as one float8[]. */
struct statement_point {
    const struct metric *metric;
    const struct attrs *fixed; /* tag ATTRS_POINT; NULL: none */
    uint16_t column;
    uint16_t element; /* place in the array cell, from 1; 0: the cell is the value */
};

struct statement {
    const char *name;     /* query name: for logs and metrics */
    const char *group;    /* cadence group */
    uint32_t group_index; /* into catalog->groups */
    enum query_scope scope;
    const char *prepared; /* name on the server, changes with the SQL text */
    const char *sql;      /* starts with the comment that names pgweir */
    uint16_t column_count;
    const struct statement_attribute *attributes;
    size_t attribute_count;
    const struct statement_point *points;
    size_t point_count;
    int start_column;    /* timestamptz since when counters count; -1: the server's start */
    bool own_resource;   /* legacy model: each row is its own resource */
    uint64_t timeout_ns; /* 0: the session's statement_timeout */
};

struct plan {
    const struct statement *statements;
    size_t statement_count;
    struct capabilities capabilities;
};

/* Makes a plan. False when nothing is left to ask of this server (the error says why, e.g. too
 * old: "PostgreSQL 9.6 is older than 12"). */
bool catalog_plan(const struct catalog *catalog, const struct catalog_choice *choice,
                  const struct capabilities *capabilities, struct plan **ret_plan,
                  struct error *error);
void plan_destroy(struct plan **plan);

/* Text of the whole catalogue for `pgweir catalog`: queries, metrics, units, versions; caller
 * frees. */
char *catalog_print(const struct catalog *catalog);
