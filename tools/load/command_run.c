/* SPDX-License-Identifier: Apache-2.0 */
/* The commands that run scenarios: load it, run it, write what came out, say whether it was good.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "tools/load/commands.h"
#include "tools/load/files.h"
#include "tools/load/phases.h"
#include "tools/load/report.h"
#include "tools/load/result.h"
#include "tools/load/rig.h"
#include "tools/load/run.h"
#include "tools/load/steps.h"
#include "tools/load/summary.h"

static int fail(const struct command_line *line, int code, const struct error *error)
{
    fprintf(stderr, "pgweir-load %s: %s\n", line->name, error->text);
    return code;
}

/* --out, or a directory of its own for each run. */
static const char *choose_directory(struct command_line *line, const struct scenario *scenario)
{
    if (scenario->out != NULL)
        return scenario->out;
    char stamp[32];
    time_t seconds = time(NULL);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", &utc);
    return arena_format(&line->arena, "pgweir-load-results/%s-%s-%d", scenario->name, stamp,
                        (int)getpid());
}

/* The commit of the source tree we were built in, where there is one. */
static const char *find_commit(struct arena *arena)
{
    char self[PATH_MAX], text[64] = "";
    ssize_t bytes = readlink("/proc/self/exe", self, sizeof self - 1);
    self[bytes > 0 ? bytes : 0] = 0;
    char *slash = strrchr(self, '/');
    if (slash == NULL || strchr(self, '\'') != NULL)
        return NULL;
    *slash = 0;
    FILE *git =
        popen(arena_format(arena, "git -C '%s' rev-parse --short=12 HEAD 2>/dev/null", self), "re");
    bool read = git != NULL && fgets(text, sizeof text, git) != NULL;
    bool good = git != NULL && pclose(git) == 0 && read;
    text[strcspn(text, "\n")] = 0;
    return good ? arena_text(arena, text) : NULL;
}

/* Of a ramp or a knee the result is a step's: that is the load it tells of. */
static void take_load(struct scenario *scenario, const struct outcome *outcome)
{
    scenario->servers = (int64_t)outcome->figures.servers;
    scenario->interval_ns = outcome->figures.interval_ns;
}

/* Flags that this kind of run does not read. */
static bool refuse_idle_flags(const struct command_line *line, const struct scenario *scenario,
                              struct error *error)
{
    static const char *const groups[SCENARIO_KIND_COUNT] = {[SCENARIO_RAMP] = "ramp-",
                                                            [SCENARIO_BURST] = "burst-",
                                                            [SCENARIO_CHURN] = "churn-",
                                                            [SCENARIO_OUTAGE] = "outage-",
                                                            [SCENARIO_KNEE] = "knee-"};
    bool stepped = scenario->kind == SCENARIO_RAMP || scenario->kind == SCENARIO_KNEE;
    bool over_servers = scenario->kind == SCENARIO_KNEE || scenario->ramp.over == RAMP_SERVERS;
    const char *kind = scenario_kinds[scenario->kind];
    for (size_t i = 0; i < line->flag_count; i++) {
        const char *name = line->flags[i].name;
        if (stepped && strcmp(name, "for") == 0)
            return error_set(error, "--for: a %s has steps: give --%s-step", kind, kind);
        if (stepped && over_servers && strcmp(name, "servers") == 0)
            return error_set(error,
                             "--servers: a %s tries many numbers: give --%s-from and --%s-to", kind,
                             kind, kind);
        for (int of = 0; of < SCENARIO_KIND_COUNT; of++)
            if (groups[of] != NULL && of != scenario->kind &&
                strncmp(name, groups[of], strlen(groups[of])) == 0)
                return error_set(error, "--%s: has no effect on a run of kind %s", name, kind);
    }
    return true;
}

static bool run_scenario(struct command_line *line, const struct scenario *scenario,
                         const char *directory, struct outcome **ret_outcome, struct error *error)
{
    struct progress progress;
    progress_init(&progress, line->quiet);
    if (scenario->kind == SCENARIO_RAMP)
        return steps_ramp(scenario, directory, &progress, ret_outcome, error);
    if (scenario->kind == SCENARIO_KNEE)
        return steps_knee(scenario, directory, &progress, ret_outcome, error);
    const struct run_request request = {.scenario = scenario,
                                        .directory = directory,
                                        .title = scenario->name,
                                        .progress = &progress};
    return run_once(&request, ret_outcome, error);
}

static void print_summary(const struct scenario *scenario, const struct outcome *outcome,
                          const char *directory, FILE *out)
{
    summary_print(scenario, outcome, out);
    if (outcome->step_count > 0)
        summary_print_steps(outcome, steps_knee_index(outcome), out);
    fprintf(out, "written      %s/report.html, result.json, summary.txt\n", directory);
    summary_print_last_line(outcome, out);
}

static bool write_all(struct command_line *line, const struct scenario *scenario,
                      const struct outcome *outcome, const char *directory, struct error *error)
{
    const struct result_head head = {.scenario = scenario,
                                     .command = command_line_text(line),
                                     .commit = find_commit(&line->arena)};
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    CHECK(out != NULL);
    print_summary(scenario, outcome, directory, out);
    fclose(out);
    const char *json = arena_format(&line->arena, "%s/result.json", directory);
    bool good =
        files_make_directory(directory, error) && result_write(&head, outcome, json, error) &&
        files_write(arena_format(&line->arena, "%s/summary.txt", directory), text, bytes, error) &&
        report_write_html(json, arena_format(&line->arena, "%s/report.html", directory), error);
    fputs(text, stdout);
    free(text);
    return good;
}

int command_run(struct command_line *line)
{
    bool from_file = strcmp(line->name, "run") == 0;
    struct error error = {{0}};
    if (line->operand_count != (from_file ? 1u : 0u)) {
        error_set(&error, from_file ? "name one scenario file, such as perf/scenarios/steady.yaml"
                                    : "takes flags only; a file goes with `pgweir-load run`");
        return fail(line, EXIT_USAGE, &error);
    }
    int kind = -1;
    for (int i = 0; i < SCENARIO_KIND_COUNT; i++)
        if (strcmp(line->name, scenario_kinds[i]) == 0)
            kind = i;
    struct scenario scenario;
    struct phases phases;
    if (!scenario_load(&line->arena, kind, from_file ? line->operands[0] : NULL, line->flags,
                       line->flag_count, &scenario, &error) ||
        !refuse_idle_flags(line, &scenario, &error) ||
        !phases_make(&line->arena, &scenario, &phases, &error) || !rig_check(&scenario, &error))
        return fail(line, EXIT_USAGE, &error);
    const char *directory = choose_directory(line, &scenario);
    struct outcome *outcome = NULL;
    run_catch_signals();
    if (!run_scenario(line, &scenario, directory, &outcome, &error))
        return fail(line, EXIT_RUNNING, &error);
    take_load(&scenario, outcome);
    bool written = write_all(line, &scenario, outcome, directory, &error);
    bool good = outcome_good(outcome);
    outcome_destroy(&outcome);
    if (!written)
        return fail(line, EXIT_RUNNING, &error);
    return good ? EXIT_FINE : EXIT_RUNNING;
}
