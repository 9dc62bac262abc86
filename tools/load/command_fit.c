/* SPDX-License-Identifier: Apache-2.0 */
/* Fitting the capacity model: the grid's runs, the fit, and on request the proof on runs that the
 * fit has not seen. Main thread. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "tools/load/commands.h"
#include "tools/load/files.h"
#include "tools/load/grid.h"
#include "tools/load/model.h"
#include "tools/load/run.h"

enum { PASSES = 7, ATTEMPTS = 2 };

static const double error_max = 0.15; /* of a held-out run */

/* What the grid starts from, where the command line says nothing else. */
static const struct scenario_flag defaults[] = {{"servers", "4000"}, {"for", "10s"}};

struct fitting {
    struct command_line *line;
    struct scenario base;
    const char *directory;
    struct progress progress;
    struct model *model;
    struct model_run held_out[GRID_HELD_OUT_RUNS]; /* what the fit does not see */
    int64_t baseline_kib;
    size_t number, total;
};

/* One attempt at a run of the grid. */
static bool try_one(struct fitting *fitting, const struct grid_run *grid, int attempt,
                    struct model_run *ret_run, struct error *error)
{
    struct scenario scenario;
    struct outcome *outcome = NULL;
    struct arena *arena = &fitting->line->arena;
    grid_scenario(&fitting->base, grid, &scenario);
    scenario.rss_baseline_kib = fitting->baseline_kib;
    const struct run_request request = {
        .scenario = &scenario,
        .directory =
            arena_format(arena, "%s/%02zu-%s", fitting->directory, fitting->number, grid->name),
        .title = arena_format(arena, "run %zu of %zu: %s%s", fitting->number, fitting->total,
                              grid->name, attempt > 0 ? ", again" : ""),
        .progress = &fitting->progress};
    if (!run_once(&request, &outcome, error))
        return error_prefix(error, "run %s: ", grid->name);
    fitting->baseline_kib = (int64_t)(outcome->figures.rss_baseline_mib * 1024 + 0.5);
    model_observe(&scenario, outcome, ret_run);
    bool good = outcome_good(outcome);
    for (uint32_t i = 0; i < outcome->check_count && !good; i++)
        if (!outcome->checks[i].ok) {
            error_set(error, "run %s is no measurement: %s: %s; choose fewer --servers", grid->name,
                      outcome->checks[i].name, outcome->checks[i].detail);
            break;
        }
    outcome_destroy(&outcome);
    return good;
}

static double cores_of(const struct model_run *run)
{
    return run->shard_cores + run->worker_cores + run->rest_cores;
}

/* One run of a pass; the cheapest of all passes is kept: whatever else happens on a machine makes
 * CPU dearer, never cheaper. */
static bool run_one(struct fitting *fitting, const struct grid_run *grid, struct model_run *kept,
                    struct error *error)
{
    struct model_run run;
    bool done = false;
    fitting->number++;
    for (int attempt = 0; attempt < ATTEMPTS && !done && !run_interrupted(); attempt++)
        done = try_one(fitting, grid, attempt, &run, error);
    if (!done)
        return false;
    bool better = kept->name[0] == 0 || cores_of(&run) < cores_of(kept);
    if (better)
        *kept = run;
    printf("%-14s %6.0f servers every %3.1f s %8.0f points/s  %.4f + %.4f + %.4f cores (others: "
           "%.2f)  %7.1f MiB%s\n",
           run.name, run.load.servers, run.load.interval_s, run.rates.points_per_s, run.shard_cores,
           run.worker_cores, run.rest_cores, run.beside_cores, run.rss_mib,
           better ? "" : "  (dearer)");
    fflush(stdout);
    return true;
}

/* Passes through the whole grid, not one run often in a row: a virtual machine's speed drifts by a
 * third within minutes. The held-out runs are made in between for the same reason. */
static bool run_pass(struct fitting *fitting, struct error *error)
{
    const size_t every = GRID_FIT_RUNS / GRID_HELD_OUT_RUNS;
    for (size_t i = 0; i < GRID_FIT_RUNS; i++) {
        if (!run_one(fitting, &grid_fit[i], &fitting->model->runs[i], error))
            return false;
        if (fitting->line->validate && (i + 1) % every == 0 &&
            !run_one(fitting, &grid_held_out[i / every], &fitting->held_out[i / every], error))
            return false;
    }
    return true;
}

static void print_model(const struct model *model)
{
    for (int p = 0; p < MODEL_PARTS; p++) {
        const struct lsq_fit *fit = &model->fits[p];
        printf("%-9s %-18s ± %4.1f %%:", model_part_name((enum model_part)p),
               model_part_unit((enum model_part)p), 100 * sqrt(fit->variance));
        for (size_t c = 0; model_column_name((enum model_part)p, c) != NULL; c++)
            if (!fit->dropped[c])
                printf("  %s %.3g ± %.1g", model_column_name((enum model_part)p, c),
                       fit->coefficients[c], lsq_coefficient_error(fit, c));
        putchar('\n');
    }
}

/* ---- proof ---- */

struct proof {
    const char *name;
    double predicted, measured;
};

/* One line a figure; false when one of them is further off than error_max. */
static bool print_proof(const struct model *model, const struct model_run *run, double *worst,
                        struct error *error)
{
    struct model_answer answer;
    if (!model_answer(model, &run->load, &answer, error))
        return false;
    const struct proof proofs[] = {
        {"cores", answer.cores.value, run->shard_cores + run->worker_cores + run->rest_cores},
        {"memory MiB", answer.memory_mib.value, run->rss_mib},
        {"points/s", answer.rates.points_per_s, run->rates.points_per_s},
        {"connections", answer.rates.connections, run->rates.connections},
        {"back end B/s", answer.backend_bytes_per_s.value, run->backend_bytes_per_s},
        {"servers B/s", answer.rates.server_bytes_per_s, run->rates.server_bytes_per_s},
        {"requests/s", answer.rates.requests_per_s, run->rates.requests_per_s},
    };
    for (size_t i = 0; i < sizeof proofs / sizeof proofs[0]; i++) {
        double off = proofs[i].predicted / proofs[i].measured - 1;
        printf("%-10s %-14s predicted %12.4g  measured %12.4g  error %+6.1f %%%s\n", run->name,
               proofs[i].name, proofs[i].predicted, proofs[i].measured, 100 * off,
               fabs(off) <= error_max ? "" : "  TOO FAR");
        if (!(fabs(off) <= *worst))
            *worst = fabs(off);
    }
    return true;
}

static bool validate(const struct fitting *fitting, double *ret_worst, struct error *error)
{
    *ret_worst = 0;
    for (size_t i = 0; i < GRID_HELD_OUT_RUNS; i++)
        if (!print_proof(fitting->model, &fitting->held_out[i], ret_worst, error))
            return false;
    printf("held-out runs: largest error %.1f %%, allowed %.0f %%\n", 100 * *ret_worst,
           100 * error_max);
    return true;
}

/* ---- the command ---- */

static void describe(struct model *model)
{
    struct machine machine;
    time_t seconds = time(NULL);
    struct tm utc;
    machine_read(&machine);
    gmtime_r(&seconds, &utc);
    strftime(model->fitted, sizeof model->fitted, "%Y-%m-%dT%H:%M:%SZ", &utc);
    snprintf(model->machine, sizeof model->machine, "%u cores, %.100s, %.60s", machine.cores,
             machine.cpu, machine.kernel);
}

static bool fit(struct fitting *fitting, double *ret_worst, struct error *error)
{
    const struct command_line *line = fitting->line;
    fitting->total = PASSES * (GRID_FIT_RUNS + (line->validate ? GRID_HELD_OUT_RUNS : 0u));
    for (int pass = 0; pass < PASSES; pass++)
        if (!run_pass(fitting, error))
            return false;
    fitting->model->run_count = GRID_FIT_RUNS;
    describe(fitting->model);
    if (!model_fit(fitting->model, error))
        return false;
    print_model(fitting->model);
    json_t *json = model_json(fitting->model);
    char *text = json_dumps(json, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    CHECK(text != NULL);
    const char *path = line->model != NULL ? line->model : "MODEL.json";
    bool written = files_write(path, text, strlen(text), error);
    free(text);
    json_decref(json);
    if (!written)
        return false;
    printf("written %s\n", path);
    return !line->validate || validate(fitting, ret_worst, error);
}

int command_fit(struct command_line *line)
{
    struct error error = {{0}};
    static struct fitting fitting;
    fitting = (struct fitting){.line = line, .baseline_kib = -1};
    struct scenario_flag flags[FLAGS_MAX + 2];
    memcpy(flags, defaults, sizeof defaults);
    memcpy(flags + 2, line->flags, line->flag_count * sizeof *flags);
    if (line->operand_count > 0 || !scenario_load(&line->arena, SCENARIO_STEADY, NULL, flags,
                                                  line->flag_count + 2, &fitting.base, &error)) {
        fprintf(stderr, "pgweir-load fit: %s\n",
                line->operand_count > 0 ? "takes flags only" : error.text);
        return EXIT_USAGE;
    }
    fitting.directory = fitting.base.out != NULL ? fitting.base.out : "pgweir-load-results/fit";
    progress_init(&fitting.progress, line->quiet);
    fitting.model = xcalloc(1, sizeof *fitting.model);
    run_catch_signals();
    double worst = 0;
    bool good = fit(&fitting, &worst, &error);
    free(fitting.model);
    if (!good)
        fprintf(stderr, "pgweir-load fit: %s\n", error.text);
    return good && worst <= error_max ? EXIT_FINE : EXIT_RUNNING;
}
