/* SPDX-License-Identifier: Apache-2.0 */
/* pgweir-load: load, measured. The command line: one table of commands. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/yaml.h"
#include "tools/load/commands.h"

static const struct {
    const char *name, *usage, *about;
    int (*run)(struct command_line *line);
} commands[] = {
    {"steady", "steady [flags]", "one load, held", command_run},
    {"ramp", "ramp [flags]", "more and more until a condition breaks: a table and the knee",
     command_run},
    {"burst", "burst [flags]", "all servers at once, or all after a stall", command_run},
    {"churn", "churn [flags]", "servers go away and come back in waves", command_run},
    {"outage", "outage [flags]", "the back end or a share of the servers fails for a time",
     command_run},
    {"soak", "soak [flags]", "long, with slopes of memory, descriptors and lag", command_run},
    {"knee", "knee [flags]", "the largest fleet that keeps a condition, by bisection", command_run},
    {"run", "run FILE.yaml [flags]", "a scenario from a file", command_run},
    {"fit", "fit [--model MODEL.json] [--validate] [flags]",
     "fits the capacity model on this machine", command_fit},
    {"plan", "plan --servers N --interval D [--tables N] [--tls] [--model FILE]",
     "what a fleet needs: cores, memory, connections, network", command_plan},
    {"compare", "compare A.json B.json [--html FILE] [--tolerance 0.1]",
     "two results: what is better, worse, the same", command_compare},
};

enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

static void print_help(FILE *to)
{
    fputs("pgweir-load: runs a simulated fleet, a collector and a back end, and measures them\n\n",
          to);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(to, "  %-52s %s\n", commands[i].usage, commands[i].about);
    fputs("\nThe last line of a run's summary is key=value pairs for scripts. `pgweir-load COMMAND "
          "--help` lists\nits flags. Exit codes: 0 fine, 1 a condition does not hold, points were "
          "lost or doubled, or the run\nfailed, 2 bad usage or scenario.\n\n"
          "Examples:\n"
          "  pgweir-load steady --servers 1000 --interval 10s --for 60s\n"
          "  pgweir-load knee --slo 'age p99 < 2 s, lag p99 < 100 ms, loss = 0'\n"
          "  pgweir-load run perf/scenarios/outage.yaml --out /tmp/outage\n"
          "  pgweir-load plan --servers 20000 --interval 10s --tables 200 --tls\n",
          to);
}

static int refuse(const char *word)
{
    const char *names[COMMAND_COUNT];
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        names[i] = commands[i].name;
    const char *near = yaml_nearest(word, names, COMMAND_COUNT);
    fprintf(stderr, "pgweir-load: unknown command \"%s\"%s%s%s\nTry: pgweir-load --help\n", word,
            near != NULL ? ": did you mean \"" : "", near != NULL ? near : "",
            near != NULL ? "\"?" : "");
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_help(argc < 2 ? stderr : stdout);
        return argc < 2 ? EXIT_USAGE : EXIT_FINE;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "version") == 0) {
        printf("pgweir-load %s\n", PGWEIR_VERSION);
        return EXIT_FINE;
    }
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(argv[1], commands[i].name) != 0)
            continue;
        struct command_line line = {.argc = argc,
                                    .argv = argv,
                                    .name = commands[i].name,
                                    .usage = commands[i].usage,
                                    .about = commands[i].about};
        int code = EXIT_USAGE;
        if (command_line_read(&line, &code))
            code = commands[i].run(&line);
        arena_fini(&line.arena);
        return code;
    }
    return refuse(argv[1]);
}
