/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the model: for each its columns, what was measured, and the fit. Pure functions. */
#include "tools/load/model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"

/* Of the batch processor's defaults. */
static const double batch_points = 8192, batch_age_s = 0.2;

/* A run whose part costs less than this is not taken as exact to the per cent. */
static const double least[MODEL_PARTS] = {
    [MODEL_POINTS] = 1,    [MODEL_SERIES] = 1,     [MODEL_RECEIVED] = 1, [MODEL_BYTES] = 1,
    [MODEL_SHARDS] = 0.01, [MODEL_WORKER] = 0.005, [MODEL_REST] = 0.005, [MODEL_MEMORY] = 1,
};

static void contents_columns(const struct model_load *load, const struct model_rates *rates,
                             double x[LSQ_COLUMNS_MAX])
{
    (void)rates;
    x[0] = load->core ? 1 : 0;
    x[1] = load->tables_group ? load->tables : 0;
    x[2] = load->tables_group ? 1 : 0;
}

static void bytes_columns(const struct model_load *load, const struct model_rates *rates,
                          double x[LSQ_COLUMNS_MAX])
{
    double tables = rates->points_per_s - rates->core_points_per_s;
    for (int i = 0; i < 3; i++) {
        x[2 * i] = load->compression == i ? rates->core_points_per_s : 0;
        x[2 * i + 1] = load->compression == i && load->tables_group ? tables : 0;
    }
}

static void shards_columns(const struct model_load *load, const struct model_rates *rates,
                           double x[LSQ_COLUMNS_MAX])
{
    x[0] = 1;
    x[1] = rates->scrapes_per_s;
    x[2] = rates->points_per_s;
    x[3] = load->tls ? rates->scrapes_per_s : 0;
    x[4] = load->tls ? rates->server_bytes_per_s : 0;
}

static void worker_columns(const struct model_load *load, const struct model_rates *rates,
                           double x[LSQ_COLUMNS_MAX])
{
    x[0] = 1;
    x[1] = rates->scrapes_per_s;
    x[2] = rates->points_per_s;
    x[3] = load->compression == COMPRESSION_GZIP ? rates->points_per_s : 0;
    x[4] = load->compression == COMPRESSION_ZSTD ? rates->points_per_s : 0;
}

static void rest_columns(const struct model_load *load, const struct model_rates *rates,
                         double x[LSQ_COLUMNS_MAX])
{
    (void)load;
    (void)rates;
    x[0] = 1;
}

static void memory_columns(const struct model_load *load, const struct model_rates *rates,
                           double x[LSQ_COLUMNS_MAX])
{
    x[0] = 1;
    x[1] = rates->connections;
    x[2] = rates->series;
    x[3] = load->tls ? rates->connections : 0;
}

static const struct {
    const char *name, *unit;
    void (*columns)(const struct model_load *load, const struct model_rates *rates,
                    double x[LSQ_COLUMNS_MAX]);
    const char *column_names[LSQ_COLUMNS_MAX];
} parts[MODEL_PARTS] = {
    [MODEL_POINTS] = {"points",
                      "points/collection",
                      contents_columns,
                      {"core", "table", "tables_group"}},
    [MODEL_SERIES] = {"series",
                      "series/server",
                      contents_columns,
                      {"core", "table", "tables_group"}},
    [MODEL_RECEIVED] = {"received",
                        "bytes/collection",
                        contents_columns,
                        {"core", "table", "tables_group"}},
    [MODEL_BYTES] = {"bytes",
                     "bytes/s",
                     bytes_columns,
                     {"none_core", "none_table", "gzip_core", "gzip_table", "zstd_core",
                      "zstd_table"}},
    [MODEL_SHARDS] = {"shards",
                      "cores",
                      shards_columns,
                      {"base", "collection", "point", "tls_collection", "tls_byte"}},
    [MODEL_WORKER] = {"worker",
                      "cores",
                      worker_columns,
                      {"base", "collection", "point", "point_gzip", "point_zstd"}},
    [MODEL_REST] = {"rest", "cores", rest_columns, {"base"}},
    [MODEL_MEMORY] = {"memory",
                      "MiB",
                      memory_columns,
                      {"base", "connection", "series", "tls_connection"}},
};

const char *model_part_name(enum model_part part)
{
    return parts[part].name;
}

const char *model_part_unit(enum model_part part)
{
    return parts[part].unit;
}

const char *model_column_name(enum model_part part, size_t column)
{
    return column < LSQ_COLUMNS_MAX ? parts[part].column_names[column] : NULL;
}

static size_t column_count(enum model_part part)
{
    size_t count = 0;
    while (count < LSQ_COLUMNS_MAX && parts[part].column_names[count] != NULL)
        count++;
    return count;
}

double model_requests_per_s(double points_per_s, double scrapes_per_s)
{
    /* While points come, a batch is open for at most batch_age_s; with few collections each has one
     * of its own. */
    double by_age = 1 / (batch_age_s + (scrapes_per_s > 0 ? 1 / scrapes_per_s : 1e9));
    double by_size = points_per_s / batch_points;
    return by_age > by_size ? by_age : by_size;
}

/* ---- what was measured ---- */

static bool has_group(const struct scenario *scenario, const char *name)
{
    for (size_t i = 0; i < scenario->groups.count; i++)
        if (strcmp(scenario->groups.items[i], name) == 0)
            return true;
    return false;
}

static double over(double value, double by)
{
    return by > 0 ? value / by : 0;
}

void model_observe(const struct scenario *scenario, const struct outcome *outcome,
                   struct model_run *ret_run)
{
    const struct figures *figures = &outcome->figures;
    struct model_run *run = ret_run;
    memset(run, 0, sizeof *run);
    snprintf(run->name, sizeof run->name, "%s", scenario->name);
    run->load = (struct model_load){
        .servers = (double)scenario->servers,
        .interval_s = (double)scenario->interval_ns / (double)NS_PER_S,
        .core = has_group(scenario, "core"),
        .tables_group = has_group(scenario, "tables"),
        .tables = (double)scenario->tables,
        .tls = scenario->tls,
        .compression = scenario->compression,
        .databases = scenario->databases > 1 ? (double)scenario->databases : 1,
        .connections_max = (double)scenario->connections,
    };
    double scrapes = (double)figures->scrapes;
    run->rates = (struct model_rates){
        .scrapes_per_s = over(scrapes, figures->seconds),
        .points_per_s = figures->points_per_s,
        .requests_per_s = figures->requests_per_s,
        .server_bytes_per_s = figures->server_bytes_per_s,
        .connections = (double)figures->connections,
        .series = (double)figures->series,
    };
    run->points_per_scrape = over((double)figures->points, scrapes);
    run->series_per_server = over((double)figures->series, (double)figures->servers);
    run->bytes_per_scrape = over(figures->server_bytes_per_s * figures->seconds, scrapes);
    for (uint32_t i = 0; i < outcome->thread_count; i++) {
        const struct proc_thread *thread = &outcome->threads[i];
        double cores = over((double)thread->cpu_ns / (double)NS_PER_S, figures->seconds);
        if (strncmp(thread->name, "shard-", 6) == 0)
            run->shard_cores += cores;
        else if (strcmp(thread->name, "pgweir-worker") == 0)
            run->worker_cores += cores;
        else if (strcmp(thread->name, "admin") != 0)
            run->rest_cores += cores;
    }
    run->beside_cores = figures->background_cores;
    run->rss_mib = figures->rss_mib;
    run->backend_bytes_per_s = figures->bytes_per_s;
    run->lag_p99_ms =
        outcome->lag.count > 0 ? (double)histogram_quantile(&outcome->lag, 0.99) / 1e6 : 0;
    run->age_p99_ms =
        outcome->age.count > 0 ? (double)histogram_quantile(&outcome->age, 0.99) / 1e6 : 0;
}

static double measured(const struct model_run *run, enum model_part part)
{
    switch (part) {
    case MODEL_POINTS:
        return run->points_per_scrape;
    case MODEL_SERIES:
        return run->series_per_server;
    case MODEL_RECEIVED:
        return run->bytes_per_scrape;
    case MODEL_BYTES:
        return run->backend_bytes_per_s;
    case MODEL_SHARDS:
        return run->shard_cores;
    case MODEL_WORKER:
        return run->worker_cores;
    case MODEL_REST:
        return run->rest_cores;
    case MODEL_MEMORY:
        return run->rss_mib;
    case MODEL_PARTS:
        break;
    }
    CHECK(false);
    return 0;
}

/* ---- fitting ---- */

static double weight_of(enum model_part part, double value)
{
    double size = value > least[part] ? value : least[part];
    return 1 / (size * size);
}

static void note_range(struct model *model, const struct model_run *run)
{
    model->knows_tables |= run->load.tables_group;
    model->knows_tls |= run->load.tls;
    model->knows_compression[run->load.compression] = true;
    if (run->rates.scrapes_per_s > model->collections_max)
        model->collections_max = run->rates.scrapes_per_s;
    if (run->load.servers > model->servers_max)
        model->servers_max = run->load.servers;
}

/* Of a collection's points those of the core group, by the part that is fitted first. */
static double core_points(const struct model *model, const struct model_load *load)
{
    return load->core ? model->fits[MODEL_POINTS].coefficients[0] : 0;
}

/* A run that collected core alone has nothing else, whatever the fit says of it. */
static void split_points(const struct model *model, const struct model_load *load,
                         struct model_rates *rates)
{
    double core = rates->scrapes_per_s * core_points(model, load);
    rates->core_points_per_s =
        load->tables_group && core < rates->points_per_s ? core : rates->points_per_s;
}

bool model_fit(struct model *model, struct error *error)
{
    static struct lsq_row rows[MODEL_RUNS_MAX];
    CHECK(model->run_count <= MODEL_RUNS_MAX);
    for (size_t i = 0; i < model->run_count; i++)
        note_range(model, &model->runs[i]);
    for (int p = 0; p < MODEL_PARTS; p++) {
        enum model_part part = (enum model_part)p;
        for (size_t i = 0; i < model->run_count; i++) {
            const struct model_run *run = &model->runs[i];
            memset(&rows[i], 0, sizeof rows[i]);
            parts[p].columns(&run->load, &run->rates, rows[i].x);
            rows[i].y = measured(run, part);
            rows[i].weight = weight_of(part, rows[i].y);
            if (!isfinite(rows[i].y))
                return error_set(error, "%s of run %s was not measured", parts[p].name, run->name);
        }
        if (!lsq_solve_positive(rows, model->run_count, column_count(part), &model->fits[p]))
            return error_set(error,
                             "%s cannot be fitted to %zu runs: more runs that differ more are "
                             "needed",
                             parts[p].name, model->run_count);
        for (size_t i = 0; i < model->run_count && part == MODEL_POINTS; i++)
            split_points(model, &model->runs[i].load, &model->runs[i].rates);
    }
    return true;
}

/* ---- answering ---- */

static struct model_figure ask(const struct model *model, enum model_part part,
                               const struct model_load *load, const struct model_rates *rates)
{
    double x[LSQ_COLUMNS_MAX] = {0};
    parts[part].columns(load, rates, x);
    double value = lsq_predict(&model->fits[part], x);
    return (struct model_figure){value, lsq_error(&model->fits[part], x, weight_of(part, value))};
}

static bool within(const struct model *model, const struct model_load *load, struct error *error)
{
    static const char *const names[] = {"none", "gzip", "zstd"};
    if (load->tables_group && !model->knows_tables)
        return error_set(error, "the model has seen no tables: fit it with groups core and tables");
    if (load->databases > 1)
        return error_set(error,
                         "--databases: the model has seen one database a server, and most of "
                         "a collection is per server: run the load itself");
    if (load->tls && !model->knows_tls)
        return error_set(error, "the model has seen no TLS: fit it with --tls runs");
    if (!model->knows_compression[load->compression])
        return error_set(error, "the model has seen no compression %s", names[load->compression]);
    return load->servers > 0 && load->interval_s > 0 && (load->core || load->tables_group)
               ? true
               : error_set(error, "servers, interval and groups of a plan must not be empty");
}

bool model_answer(const struct model *model, const struct model_load *load,
                  struct model_answer *ret_answer, struct error *error)
{
    if (!within(model, load, error))
        return false;
    struct model_rates *rates = &ret_answer->rates;
    memset(ret_answer, 0, sizeof *ret_answer);
    ret_answer->points_per_scrape = ask(model, MODEL_POINTS, load, rates).value;
    rates->scrapes_per_s = load->servers * load->databases / load->interval_s;
    rates->points_per_s = rates->scrapes_per_s * ret_answer->points_per_scrape;
    split_points(model, load, rates);
    rates->requests_per_s = model_requests_per_s(rates->points_per_s, rates->scrapes_per_s);
    rates->server_bytes_per_s =
        rates->scrapes_per_s * ask(model, MODEL_RECEIVED, load, rates).value;
    double connections =
        load->databases < load->connections_max ? load->databases : load->connections_max;
    rates->connections = load->servers * connections;
    rates->series = load->servers * load->databases * ask(model, MODEL_SERIES, load, rates).value;
    ret_answer->shard_cores = ask(model, MODEL_SHARDS, load, rates);
    ret_answer->worker_cores = ask(model, MODEL_WORKER, load, rates);
    struct model_figure rest = ask(model, MODEL_REST, load, rates);
    ret_answer->cores.value =
        ret_answer->shard_cores.value + ret_answer->worker_cores.value + rest.value;
    ret_answer->cores.error = sqrt(ret_answer->shard_cores.error * ret_answer->shard_cores.error +
                                   ret_answer->worker_cores.error * ret_answer->worker_cores.error +
                                   rest.error * rest.error);
    ret_answer->memory_mib = ask(model, MODEL_MEMORY, load, rates);
    ret_answer->backend_bytes_per_s = ask(model, MODEL_BYTES, load, rates);
    return true;
}
