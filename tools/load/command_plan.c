/* SPDX-License-Identifier: Apache-2.0 */
/* Planning: what a fleet needs, from the model; what of it is the tightest; and the command that
 * tries it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "config/value.h"
#include "tools/load/commands.h"
#include "tools/load/files.h"
#include "tools/load/model.h"

/* The model of the machine this was built on, where there was one (CMakeLists.txt). */
extern const char default_model_begin[]; /* NUL-terminated; empty: none */

enum { MODEL_BYTES_MAX = 1 << 20, DESCRIPTORS_SPARE = 256 };

/* Of a core that is kept free, so that a burst does not become lag. */
static const double busy_max = 0.7;
/* Two standard errors: 19 of 20 runs lie within. */
static const double sure = 2;

static bool load_model(const struct command_line *line, struct model *model, struct error *error)
{
    if (line->model != NULL) {
        size_t bytes = 0;
        char *text = files_read(line->model, MODEL_BYTES_MAX, &bytes, error);
        bool good = text != NULL && model_read(model, line->model, text, error);
        free(text);
        return good;
    }
    if (*default_model_begin == 0)
        return error_set(error,
                         "this build has no model of its own: make one with `pgweir-load fit "
                         "--model MODEL.json` and give it with --model");
    return model_read(model, "the built-in model", default_model_begin, error);
}

static bool has_group(const struct scenario *scenario, const char *name)
{
    for (size_t i = 0; i < scenario->groups.count; i++)
        if (strcmp(scenario->groups.items[i], name) == 0)
            return true;
    return false;
}

/* Tables that are counted are meant to be collected. */
static bool load_of(const struct scenario *scenario, struct model_load *ret_load,
                    struct error *error)
{
    if (has_group(scenario, "sizes") || has_group(scenario, "statements"))
        return error_set(error,
                         "--groups: the model knows core and tables; run the load itself for "
                         "sizes and statements");
    *ret_load = (struct model_load){
        .servers = (double)scenario->servers,
        .interval_s = (double)scenario->interval_ns / (double)NS_PER_S,
        .core = has_group(scenario, "core"),
        .tables_group = has_group(scenario, "tables") || scenario->tables > 0,
        .tables = (double)scenario->tables,
        .tls = scenario->tls,
        .compression = scenario->compression,
        .databases = scenario->databases > 1 ? (double)scenario->databases : 1,
        .connections_max = (double)scenario->connections,
    };
    if (ret_load->tables_group && scenario->tables == 0)
        return error_set(error, "--tables: how many tables has a server? The group is collected, "
                                "but their number is not given");
    return true;
}

static double shards_needed(const struct model_answer *answer)
{
    double shards = ceil((answer->shard_cores.value + answer->shard_cores.error) / busy_max);
    return shards > 1 ? shards : 1;
}

/* What gives out first, and what rests on a guess. */
static void print_assumptions(const struct model *model, const struct model_load *load,
                              const struct model_answer *answer)
{
    double worker = answer->worker_cores.value + answer->worker_cores.error;
    double shards = shards_needed(answer);
    if (worker > busy_max)
        printf("binds        the worker: one thread encodes and compresses, and would be busy for "
               "%.0f %% of the time: %s\n",
               100 * worker,
               load->compression == COMPRESSION_GZIP ? "run several collectors, or try zstd"
                                                     : "run several collectors");
    else
        printf(
            "binds        the shards: %.2f cores at %.0f %% each are %.0f; the worker has %.0f %% "
            "of a core to spare\n",
            answer->shard_cores.value, 100 * busy_max, shards, 100 * (1 - worker));
    if (shards > 64)
        puts("             more shards than one process has (64): run several collectors");
    if (answer->rates.scrapes_per_s > model->collections_max * 1.05)
        printf("assumes      that cost stays linear beyond what was measured: %.0f collections/s, "
               "measured up to %.0f\n",
               answer->rates.scrapes_per_s, model->collections_max);
    if (load->servers > model->servers_max * 1.05)
        printf("assumes      that memory stays linear beyond what was measured: %.0f servers, "
               "measured up to %.0f\n",
               load->servers, model->servers_max);
    printf("assumes      a machine such as the model's: %s, fitted %s\n", model->machine,
           model->fitted);
}

static void print_command(const struct scenario *scenario, const struct model_load *load)
{
    char interval[VALUE_TEXT_BYTES];
    value_format_duration(scenario->interval_ns, interval);
    printf("try it       pgweir-load steady --servers %lld --interval %s --for 60s",
           (long long)scenario->servers, interval);
    if (load->tables_group)
        printf(" --groups %stables --tables %.0f", load->core ? "core," : "", load->tables);
    if (load->tls)
        fputs(" --tls", stdout);
    if (load->compression != COMPRESSION_GZIP)
        printf(" --compression %s", scenario_compressions[load->compression]);
    putchar('\n');
}

static void print_answer(const struct model_load *load, const struct model_answer *answer)
{
    const struct model_rates *rates = &answer->rates;
    printf("collected    %.0f collections/s of %.0f points: %.0f points/s, %.0f attribute sets\n",
           rates->scrapes_per_s, answer->points_per_scrape, rates->points_per_s, rates->series);
    printf("cores        %.2f ± %.2f: shards %.2f, worker %.2f; service.shards %.0f\n",
           answer->cores.value, sure * answer->cores.error, answer->shard_cores.value,
           answer->worker_cores.value, shards_needed(answer));
    printf("memory       %.0f ± %.0f MiB\n", answer->memory_mib.value,
           sure * answer->memory_mib.error);
    printf("connections  %.0f (allowed: %.0f), service.connections and `ulimit -n` at least %.0f\n",
           rates->connections, load->servers * load->connections_max,
           load->servers * load->connections_max + DESCRIPTORS_SPARE);
    printf("network      from the servers %.2f MiB/s, to the back end %.2f ± %.2f MiB/s in %.1f "
           "requests/s\n",
           rates->server_bytes_per_s / 1048576, answer->backend_bytes_per_s.value / 1048576,
           sure * answer->backend_bytes_per_s.error / 1048576, rates->requests_per_s);
}

/* For scripts: key=value, as a run's last line. */
static void print_last_line(const struct model_load *load, const struct model_answer *answer)
{
    printf("servers=%.0f cores=%.4g cores_error=%.2g memory_mib=%.4g memory_error_mib=%.2g "
           "connections=%.0f points_per_s=%.6g backend_bytes_per_s=%.5g requests_per_s=%.4g\n",
           load->servers, answer->cores.value, sure * answer->cores.error, answer->memory_mib.value,
           sure * answer->memory_mib.error, answer->rates.connections, answer->rates.points_per_s,
           answer->backend_bytes_per_s.value, answer->rates.requests_per_s);
}

/* Flags of runs that no figure of a plan depends on. */
static bool refuse_idle_flags(const struct command_line *line, struct error *error)
{
    static const char *const read[] = {"servers",   "interval", "groups",      "tables",
                                       "databases", "tls",      "compression", "connections"};
    for (size_t i = 0; i < line->flag_count; i++) {
        size_t k = 0;
        while (k < sizeof read / sizeof read[0] && strcmp(read[k], line->flags[i].name) != 0)
            k++;
        if (k == sizeof read / sizeof read[0])
            return error_set(error,
                             "--%s: the model knows no such thing; a plan takes servers, "
                             "interval, groups, tables, tls, compression, connections",
                             line->flags[i].name);
    }
    return true;
}

int command_plan(struct command_line *line)
{
    struct error error = {{0}};
    struct scenario scenario;
    struct model_load load;
    struct model_answer answer;
    if (line->operand_count > 0 ||
        !scenario_load(&line->arena, SCENARIO_STEADY, NULL, line->flags, line->flag_count,
                       &scenario, &error) ||
        !refuse_idle_flags(line, &error) || !load_of(&scenario, &load, &error)) {
        fprintf(stderr, "pgweir-load plan: %s\n",
                line->operand_count > 0 ? "takes flags only" : error.text);
        return EXIT_USAGE;
    }
    struct model *model = xcalloc(1, sizeof *model);
    bool good = load_model(line, model, &error) && model_answer(model, &load, &answer, &error);
    if (good) {
        print_answer(&load, &answer);
        print_assumptions(model, &load, &answer);
        print_command(&scenario, &load);
        print_last_line(&load, &answer);
    } else {
        fprintf(stderr, "pgweir-load plan: %s\n", error.text);
    }
    free(model);
    return good ? EXIT_FINE : EXIT_USAGE;
}
