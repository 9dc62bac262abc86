/* SPDX-License-Identifier: Apache-2.0 */
/* The capacity model on a machine whose costs are known: fitted to the grid with noise, it must
 * find the costs again and predict the held-out runs. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/random.h"
#include "tools/load/grid.h"
#include "tools/load/model.h"

/* One per cent, up or down. */
static double noisy(double value, struct random *random)
{
    return value * (0.99 + 0.02 * (double)random_below(random, 1001) / 1000);
}

static void make_run(const struct scenario *scenario, struct model_run *run, struct random *random)
{
    /* per point of core and of tables, by compression */
    static const double bytes[][2] = {{120, 90}, {20, 13}, {8, 5}};
    memset(run, 0, sizeof *run);
    struct model_load *load = &run->load;
    load->servers = (double)scenario->servers;
    load->interval_s = (double)scenario->interval_ns / (double)NS_PER_S;
    load->core = true;
    load->tables_group = scenario->groups.count == 2;
    load->tables = (double)scenario->tables;
    load->tls = scenario->tls;
    load->compression = scenario->compression;
    load->databases = 1;
    load->connections_max = 2;
    run->points_per_scrape = 250 + 20 * load->tables + (load->tables_group ? 7 : 0);
    run->series_per_server = 120 + 3 * load->tables;
    run->bytes_per_scrape = 6000 + 300 * load->tables;
    struct model_rates *rates = &run->rates;
    rates->scrapes_per_s = load->servers / load->interval_s;
    rates->points_per_s = rates->scrapes_per_s * run->points_per_scrape;
    rates->requests_per_s = model_requests_per_s(rates->points_per_s, rates->scrapes_per_s);
    rates->server_bytes_per_s = rates->scrapes_per_s * run->bytes_per_scrape;
    rates->connections = load->servers;
    rates->series = load->servers * run->series_per_server;
    double points = rates->points_per_s, core = 250 * rates->scrapes_per_s;
    run->shard_cores = noisy(0.002 + 1.2e-4 * rates->scrapes_per_s + 8e-8 * points +
                                 (load->tls ? 1e-4 * rates->scrapes_per_s : 0) +
                                 (load->tls ? 2e-9 * rates->server_bytes_per_s : 0),
                             random);
    double per_point = load->compression == COMPRESSION_GZIP   ? 4e-8
                       : load->compression == COMPRESSION_ZSTD ? 5e-8
                                                               : 2e-8;
    run->worker_cores = noisy(0.001 + 1e-5 * rates->scrapes_per_s + per_point * points, random);
    run->rest_cores = noisy(0.001, random);
    run->rss_mib = noisy(18 + 0.03 * rates->connections + 1e-4 * rates->series +
                             (load->tls ? 0.02 * rates->connections : 0),
                         random);
    run->backend_bytes_per_s = noisy(
        bytes[load->compression][0] * core + bytes[load->compression][1] * (points - core), random);
}

static struct model *fit(struct random *random)
{
    struct model *model = calloc(1, sizeof *model);
    struct scenario base = {.servers = 4000}, scenario;
    struct error error = {{0}};
    assert_non_null(model);
    for (size_t i = 0; i < GRID_FIT_RUNS; i++) {
        grid_scenario(&base, &grid_fit[i], &scenario);
        make_run(&scenario, &model->runs[model->run_count++], random);
    }
    if (!model_fit(model, &error))
        fail_msg("%s", error.text);
    return model;
}

static void assert_near(double value, double expected, double share)
{
    if (!(fabs(value / expected - 1) <= share))
        fail_msg("%g is not within %g %% of %g", value, 100 * share, expected);
}

static void test_coefficients(void **state)
{
    (void)state;
    struct random random = {17};
    struct model *model = fit(&random);
    const double *shards = model->fits[MODEL_SHARDS].coefficients;
    assert_near(shards[1], 1.2e-4, 0.1);
    assert_near(shards[2], 8e-8, 0.1);
    assert_near(shards[3], 1e-4, 0.35);
    assert_near(model->fits[MODEL_POINTS].coefficients[1], 20, 1e-6);
    assert_near(model->fits[MODEL_MEMORY].coefficients[1], 0.03, 0.2);
    assert_true(model->knows_tables && model->knows_tls && model->knows_compression[2]);
    assert_true(model->servers_max == 4000);
    free(model);
}

static void test_held_out(void **state)
{
    (void)state;
    struct random random = {23};
    struct model *model = fit(&random);
    struct scenario base = {.servers = 4000}, scenario;
    for (size_t i = 0; i < GRID_HELD_OUT_RUNS; i++) {
        struct model_run run;
        struct model_answer answer;
        struct error error = {{0}};
        grid_scenario(&base, &grid_held_out[i], &scenario);
        make_run(&scenario, &run, &random);
        if (!model_answer(model, &run.load, &answer, &error))
            fail_msg("%s", error.text);
        assert_near(answer.cores.value, run.shard_cores + run.worker_cores + run.rest_cores, 0.05);
        assert_near(answer.memory_mib.value, run.rss_mib, 0.05);
        assert_near(answer.backend_bytes_per_s.value, run.backend_bytes_per_s, 0.05);
        assert_near(answer.rates.points_per_s, run.rates.points_per_s, 1e-6);
        assert_true(answer.rates.connections == run.rates.connections);
        assert_true(answer.cores.error > 0 && answer.cores.error < 0.1 * answer.cores.value);
    }
    free(model);
}

static void test_file(void **state)
{
    (void)state;
    struct random random = {29};
    struct model *model = fit(&random), *back = calloc(1, sizeof *back);
    struct error error = {{0}};
    strcpy(model->machine, "a machine");
    json_t *json = model_json(model);
    char *text = json_dumps(json, JSON_INDENT(1));
    if (!model_read(back, "model.json", text, &error))
        fail_msg("%s", error.text);
    assert_string_equal(back->machine, "a machine");
    const struct model_load load = {.servers = 20000,
                                    .interval_s = 10,
                                    .core = true,
                                    .tables_group = true,
                                    .tables = 200,
                                    .tls = true,
                                    .compression = COMPRESSION_ZSTD,
                                    .databases = 1,
                                    .connections_max = 2};
    struct model_answer one, other;
    assert_true(model_answer(model, &load, &one, &error));
    assert_true(model_answer(back, &load, &other, &error));
    assert_near(other.cores.value, one.cores.value, 1e-9);
    assert_near(other.cores.error, one.cores.error, 1e-9);
    assert_near(other.memory_mib.value, one.memory_mib.value, 1e-9);
    free(text);
    json_decref(json);
    assert_false(model_read(back, "model.json", "{\"version\":1}", &error));
    assert_non_null(strstr(error.text, "model.json: no model of this version"));
    assert_false(model_read(back, "model.json", "[", &error));
    assert_non_null(strstr(error.text, "model.json:1:1: no JSON"));
    free(back);
    free(model);
}

/* What it has not seen it does not guess. */
static void test_unknown(void **state)
{
    (void)state;
    struct random random = {31};
    struct model *model = calloc(1, sizeof *model);
    struct scenario base = {.servers = 1000}, scenario;
    struct error error = {{0}};
    struct model_answer answer;
    for (size_t i = 0; i < 6; i++) { /* core, gzip, no TLS */
        grid_scenario(&base, &grid_fit[i % 3], &scenario);
        make_run(&scenario, &model->runs[model->run_count++], &random);
    }
    assert_true(model_fit(model, &error));
    struct model_load load = {.servers = 100,
                              .interval_s = 10,
                              .core = true,
                              .compression = COMPRESSION_GZIP,
                              .databases = 1,
                              .connections_max = 2};
    assert_true(model_answer(model, &load, &answer, &error));
    load.tls = true;
    assert_false(model_answer(model, &load, &answer, &error));
    assert_non_null(strstr(error.text, "has seen no TLS"));
    load.tls = false;
    load.tables_group = true;
    assert_false(model_answer(model, &load, &answer, &error));
    load.tables_group = false;
    load.compression = COMPRESSION_ZSTD;
    assert_false(model_answer(model, &load, &answer, &error));
    assert_non_null(strstr(error.text, "compression zstd"));
    free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_coefficients),
        cmocka_unit_test(test_held_out),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
