/* SPDX-License-Identifier: Apache-2.0 */
/* The command line: one table of commands, each a function from arguments to exit code. */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "commands.h"

/* ---- the table ---- */

static const struct command {
    const char *name, *usage, *about, *example;
    int (*run)(const struct arguments *);
} commands[] = {
    {"run", "run --config FILE...", "collect and deliver until SIGTERM or SIGINT",
     "pgweir run --config /etc/pgweir/pgweir.yaml", command_run},
    {"once", "once DSN [--format table|prometheus|otlp-json]", "one collection of one server",
     "pgweir once 'postgresql://monitor@db1.example/postgres?sslmode=verify-full'", command_once},
    {"validate", "validate --config FILE...", "check a configuration and say what is wrong, where",
     "pgweir validate --config collector.yaml", command_validate},
    {"print-config", "print-config --config FILE...",
     "the configuration with every default filled in and secrets masked",
     "pgweir print-config --config collector.yaml", command_print_config},
    {"components", "components", "what receivers, processors, exporters and extensions there are",
     "pgweir components", command_components},
    {"catalog", "catalog [FILE]", "what is collected: queries, metrics, units, versions",
     "pgweir catalog | less", command_catalog},
    {"reference", "reference", "every configuration key as Markdown", "pgweir reference > keys.md",
     command_reference},
    {"version", "version", "the version", "pgweir version", command_version},
};

enum { COMMAND_COUNT = sizeof commands / sizeof *commands };

static int help(const struct command *only)
{
    if (only != NULL) {
        printf("pgweir %s\n\n  %s\n\nExample:\n  %s\n", only->usage, only->about, only->example);
        return EXIT_FINE;
    }
    printf(
        "pgweir %s: collects the statistics of PostgreSQL fleets and delivers them over OTLP\n\n",
        PGWEIR_VERSION);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        printf("  %-52s %s\n", commands[i].usage, commands[i].about);
    printf("\nFILE is a path, file:PATH, env:NAME or yaml:TEXT; several are merged in order.\n"
           "Exit codes: 0 fine, 1 failed while running, 2 bad usage or configuration.\n\n"
           "Example:\n  pgweir once postgresql://monitor@db1.example/postgres\n");
    return EXIT_FINE;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static int refuse(const char *what, const char *word)
{
    fprintf(stderr, "pgweir: %s \"%s\"; see pgweir --help\n", what, word);
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"format", required_argument, NULL, 'f'},
                                            {"help", no_argument, NULL, 'h'},
                                            {"version", no_argument, NULL, 'v'},
                                            {0}};
    struct arguments arguments = {0};
    bool help_wanted = false;
    opterr = 0;
    for (int code; (code = getopt_long(argc, argv, "c:f:hv", options, NULL)) != -1;) {
        if (code == 'c' && arguments.source_count < SOURCES_MAX)
            arguments.sources[arguments.source_count++] = optarg;
        else if (code == 'f')
            arguments.format = optarg;
        else if (code == 'h')
            help_wanted = true;
        else if (code == 'v')
            return command_version(&arguments);
        else
            return refuse("unknown option, or one without its value", argv[optind - 1]);
    }
    /* As with the Collector, a configuration without a command means run. */
    const char *name =
        optind < argc ? argv[optind++] : (arguments.source_count > 0 ? "run" : "help");
    if (strcmp(name, "help") == 0)
        return help(optind < argc ? find_command(argv[optind]) : NULL);
    const struct command *command = find_command(name);
    if (command == NULL)
        return refuse("unknown command", name);
    if (help_wanted)
        return help(command);
    if (optind < argc)
        arguments.operand = argv[optind++];
    if (optind < argc)
        return refuse("unexpected argument", argv[optind]);
    return command->run(&arguments);
}
