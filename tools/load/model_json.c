/* SPDX-License-Identifier: Apache-2.0 */
/* MODEL.json: the coefficients with their errors, for people and for `plan`; the runs they were
 * fitted to, so that anybody can fit again; the machine, as the numbers are its. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "tools/load/model.h"

enum { MODEL_VERSION = 1 };

static void set(json_t *object, const char *key, json_t *value)
{
    CHECK(value != NULL && json_object_set_new(object, key, value) == 0);
}

/* ---- writing ---- */

static size_t column_count(enum model_part part)
{
    size_t count = 0;
    while (model_column_name(part, count) != NULL)
        count++;
    return count;
}

static json_t *part_json(const struct model *model, enum model_part part)
{
    const struct lsq_fit *fit = &model->fits[part];
    size_t columns = column_count(part);
    json_t *terms = json_object(), *covariance = json_array(), *json = json_object();
    for (size_t i = 0; i < columns; i++) {
        json_t *row = json_array();
        for (size_t j = 0; j < columns; j++)
            json_array_append_new(row, json_real(fit->covariance[i][j]));
        json_array_append_new(covariance, row);
        set(terms, model_column_name(part, i),
            json_pack("{s:f, s:f, s:b}", "value", fit->coefficients[i], "error",
                      lsq_coefficient_error(fit, i), "dropped", (int)fit->dropped[i]));
    }
    set(json, "unit", json_string(model_part_unit(part)));
    set(json, "terms", terms);
    set(json, "covariance", covariance);
    set(json, "variance", json_real(fit->variance));
    set(json, "degrees", json_real(fit->degrees));
    set(json, "relative_error", json_real(sqrt(fit->variance)));
    return json;
}

static json_t *run_json(const struct model_run *run)
{
    static const char *const compressions[] = {"none", "gzip", "zstd"};
    json_t *json = json_pack(
        "{s:s, s:f, s:f, s:b, s:b, s:f, s:b, s:s, s:f, s:f}", "name", run->name, "servers",
        run->load.servers, "interval_s", run->load.interval_s, "core", (int)run->load.core,
        "tables_group", (int)run->load.tables_group, "tables", run->load.tables, "tls",
        (int)run->load.tls, "compression", compressions[run->load.compression], "databases",
        run->load.databases, "connections_max", run->load.connections_max);
    const struct {
        const char *key;
        double value;
    } values[] = {
        {"scrapes_per_s", run->rates.scrapes_per_s},
        {"points_per_s", run->rates.points_per_s},
        {"requests_per_s", run->rates.requests_per_s},
        {"server_bytes_per_s", run->rates.server_bytes_per_s},
        {"connections", run->rates.connections},
        {"series", run->rates.series},
        {"points_per_scrape", run->points_per_scrape},
        {"series_per_server", run->series_per_server},
        {"bytes_per_scrape", run->bytes_per_scrape},
        {"shard_cores", run->shard_cores},
        {"worker_cores", run->worker_cores},
        {"rest_cores", run->rest_cores},
        {"rss_mib", run->rss_mib},
        {"backend_bytes_per_s", run->backend_bytes_per_s},
        {"lag_p99_ms", run->lag_p99_ms},
        {"age_p99_ms", run->age_p99_ms},
        {"beside_cores", run->beside_cores},
    };
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        set(json, values[i].key, json_real(values[i].value));
    return json;
}

json_t *model_json(const struct model *model)
{
    json_t *json = json_object(), *parts = json_object(), *runs = json_array();
    for (int p = 0; p < MODEL_PARTS; p++)
        set(parts, model_part_name((enum model_part)p), part_json(model, (enum model_part)p));
    for (size_t i = 0; i < model->run_count; i++)
        json_array_append_new(runs, run_json(&model->runs[i]));
    set(json, "version", json_integer(MODEL_VERSION));
    set(json, "fitted", json_string(model->fitted));
    set(json, "machine", json_string(model->machine));
    set(json, "knows",
        json_pack("{s:b, s:b, s:[b,b,b], s:f, s:f}", "tables", (int)model->knows_tables, "tls",
                  (int)model->knows_tls, "none_gzip_zstd", (int)model->knows_compression[0],
                  (int)model->knows_compression[1], (int)model->knows_compression[2],
                  "collections_per_s", model->collections_max, "servers", model->servers_max));
    set(json, "parts", parts);
    set(json, "runs", runs);
    return json;
}

/* ---- reading ---- */

static bool read_part(struct model *model, enum model_part part, const json_t *json)
{
    struct lsq_fit *fit = &model->fits[part];
    const json_t *terms = json_object_get(json, "terms"),
                 *covariance = json_object_get(json, "covariance");
    fit->columns = column_count(part);
    fit->variance = json_number_value(json_object_get(json, "variance"));
    fit->degrees = json_number_value(json_object_get(json, "degrees"));
    for (size_t i = 0; i < fit->columns; i++) {
        const json_t *term = json_object_get(terms, model_column_name(part, i));
        const json_t *value = json_object_get(term, "value");
        if (!json_is_number(value) || json_number_value(value) < 0)
            return false;
        fit->coefficients[i] = json_number_value(value);
        fit->dropped[i] = json_is_true(json_object_get(term, "dropped"));
        for (size_t j = 0; j < fit->columns; j++)
            fit->covariance[i][j] =
                json_number_value(json_array_get(json_array_get(covariance, i), j));
    }
    return true;
}

static void copy_text(char *to, size_t bytes, const json_t *from)
{
    const char *text = json_string_value(from);
    snprintf(to, bytes, "%s", text != NULL ? text : "");
}

bool model_read(struct model *model, const char *name, const char *text, struct error *error)
{
    json_error_t problem;
    memset(model, 0, sizeof *model);
    json_t *json = json_loads(text, 0, &problem);
    if (json == NULL)
        return error_set(error, "%s:%d:%d: no JSON: %s", name, problem.line, problem.column,
                         problem.text);
    const json_t *knows = json_object_get(json, "knows"), *parts = json_object_get(json, "parts");
    bool good = json_integer_value(json_object_get(json, "version")) == MODEL_VERSION &&
                json_is_object(knows);
    for (int p = 0; p < MODEL_PARTS && good; p++)
        good = read_part(model, (enum model_part)p,
                         json_object_get(parts, model_part_name((enum model_part)p)));
    if (good) {
        const json_t *compressions = json_object_get(knows, "none_gzip_zstd");
        model->knows_tables = json_is_true(json_object_get(knows, "tables"));
        model->knows_tls = json_is_true(json_object_get(knows, "tls"));
        for (size_t i = 0; i < 3; i++)
            model->knows_compression[i] = json_is_true(json_array_get(compressions, i));
        model->collections_max = json_number_value(json_object_get(knows, "collections_per_s"));
        model->servers_max = json_number_value(json_object_get(knows, "servers"));
        copy_text(model->fitted, sizeof model->fitted, json_object_get(json, "fitted"));
        copy_text(model->machine, sizeof model->machine, json_object_get(json, "machine"));
    }
    json_decref(json);
    return good || error_set(error,
                             "%s: no model of this version: make one with `pgweir-load fit "
                             "--model MODEL.json`",
                             name);
}
