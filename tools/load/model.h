/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "tools/load/lsq.h"
#include "tools/load/outcome.h"

/* The capacity model: what a collector needs, as linear functions of its load, fitted to runs on
 * one machine and good for that machine. It has three layers, each fed by the one before: what is
 * collected (points, series, bytes of a collection, from groups and tables), how often
 * (collections, points and requests per second), and what that costs (cores of the shards, of the
 * worker, of the rest; memory; bytes to the back end).
 *
 * Residuals are taken relative to what was measured, so that small loads count as much as large
 * ones. No coefficient is negative: nothing that is done gives CPU or memory back. */

/* A load, as planned: the input. */
struct model_load {
    double servers, interval_s;
    bool core, tables_group;
    double tables; /* of a server, where tables_group */
    bool tls;
    int compression;                   /* enum scenario_compression */
    double databases, connections_max; /* of a server */
};

/* A load with everything that follows from it; in a measured one what was measured. */
struct model_rates {
    double scrapes_per_s, points_per_s, requests_per_s, server_bytes_per_s;
    double core_points_per_s; /* of points_per_s, those of the core group: their names and
                                 attributes compress differently from those of tables */
    double connections, series;
};

/* One run: a load, and what it cost. */
struct model_run {
    char name[48];
    struct model_load load;
    struct model_rates rates;
    double points_per_scrape, series_per_server, bytes_per_scrape;
    double shard_cores, worker_cores, rest_cores, rss_mib, backend_bytes_per_s;
    double lag_p99_ms, age_p99_ms, beside_cores; /* what other processes used */
};

enum model_part {
    MODEL_POINTS,   /* per collection */
    MODEL_SERIES,   /* per server */
    MODEL_RECEIVED, /* bytes per collection from the server */
    MODEL_BYTES,    /* per s to the back end */
    MODEL_SHARDS,   /* cores */
    MODEL_WORKER,
    MODEL_REST,
    MODEL_MEMORY, /* MiB */
    MODEL_PARTS,
};

enum { MODEL_RUNS_MAX = 64 };

struct model {
    struct lsq_fit fits[MODEL_PARTS];
    struct model_run runs[MODEL_RUNS_MAX];
    size_t run_count;
    bool knows_tables, knows_tls;
    bool knows_compression[3];
    double collections_max, servers_max; /* the largest that were measured */
    char fitted[32], machine[192];
};

/* What a model says of a load; each ± is the standard error of a single further run. */
struct model_figure {
    double value, error;
};

struct model_answer {
    struct model_rates rates;
    double points_per_scrape;
    struct model_figure cores, shard_cores, worker_cores, memory_mib, backend_bytes_per_s;
};

const char *model_part_name(enum model_part part);
const char *model_part_unit(enum model_part part);
const char *model_column_name(enum model_part part, size_t column); /* NULL: there is none */

/* A run as the model sees it. */
void model_observe(const struct scenario *scenario, const struct outcome *outcome,
                   struct model_run *ret_run);

/* Fits the model's runs. The error names the part that cannot be fitted. */
bool model_fit(struct model *model, struct error *error);

/* False with the reason where the model has seen nothing of the kind (a group, TLS, a compressor).
 */
bool model_answer(const struct model *model, const struct model_load *load,
                  struct model_answer *ret_answer, struct error *error);

/* Requests per second of the batch processor: closed by size or by age. */
double model_requests_per_s(double points_per_s, double scrapes_per_s);

json_t *model_json(const struct model *model);
bool model_read(struct model *model, const char *name, const char *text, struct error *error);
