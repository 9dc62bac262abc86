/* SPDX-License-Identifier: Apache-2.0 */
/* The command line: one table of commands, each a function from arguments to exit code. What a
 * command does not take is refused, never left aside. */
#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "base/memory.h"
#include "config/yaml.h"
#include "spool_command.h"

/* ---- the table ---- */

enum { TAKES_CONFIG = 1, TAKES_FORMAT = 2, TAKES_OPERAND = 4 };

static const struct command {
    const char *name, *usage, *about, *example;
    int (*run)(const struct arguments *);
    int takes;
} commands[] = {
    {"run", "run --config FILE...", "collect and deliver until SIGTERM or SIGINT",
     "pgweir run --config /etc/pgweir/pgweir.yaml", command_run, TAKES_CONFIG},
    {"once", "once DSN [--format table|prometheus|otlp-json]", "one collection of one server",
     "pgweir once 'postgresql://monitor@db1.example/postgres?sslmode=verify-full'", command_once,
     TAKES_OPERAND | TAKES_FORMAT},
    {"validate", "validate --config FILE...", "check a configuration and say what is wrong, where",
     "pgweir validate --config collector.yaml", command_validate, TAKES_CONFIG},
    {"print-config", "print-config --config FILE...",
     "the configuration with every default filled in and secrets masked",
     "pgweir print-config --config collector.yaml", command_print_config, TAKES_CONFIG},
    {"components", "components", "what receivers, processors, exporters and extensions there are",
     "pgweir components", command_components, 0},
    {"catalog", "catalog [FILE]", "what is collected: queries, metrics, units, versions",
     "pgweir catalog | less", command_catalog, TAKES_OPERAND},
    {"spool", "spool ls|verify|export DIR", "what waits on disk, checked, taken out",
     "pgweir spool ls /var/lib/pgweir/spool\n  pgweir spool --help", NULL, 0},
    {"reference", "reference", "every configuration key as Markdown", "pgweir reference > keys.md",
     command_reference, 0},
    {"version", "version", "the version", "pgweir version", command_version, 0},
};

enum { COMMAND_COUNT = sizeof commands / sizeof *commands };

static void print_help(FILE *to)
{
    fprintf(
        to,
        "pgweir %s: collects the statistics of PostgreSQL fleets and delivers them over OTLP\n\n",
        PGWEIR_VERSION);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(to, "  %-52s %s\n", commands[i].usage, commands[i].about);
    fprintf(to, "\nFILE is a path, file:PATH, env:NAME or yaml:TEXT; several are merged in order.\n"
                "Exit codes: 0 fine, 1 failed while running, 2 bad usage or configuration.\n\n"
                "Example:\n  pgweir once postgresql://monitor@db1.example/postgres\n");
}

static int print_help_of(const struct command *command)
{
    printf("pgweir %s\n\n  %s\n\nExample:\n  %s\n", command->usage, command->about,
           command->example);
    return EXIT_FINE;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static int refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int refuse(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    fputs("pgweir: ", stderr);
    vfprintf(stderr, format, values);
    fputs("\nTry: pgweir --help\n", stderr);
    va_end(values);
    return EXIT_USAGE;
}

/* A connection string in the wrong place may hold a password: it is not shown. */
static bool looks_like_dsn(const char *word)
{
    return strstr(word, "://") != NULL || strchr(word, '=') != NULL;
}

static int refuse_command(const char *word)
{
    if (looks_like_dsn(word))
        return refuse("a connection string is no command: did you mean pgweir once DSN?");
    const char *names[COMMAND_COUNT];
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        names[i] = commands[i].name;
    const char *near = yaml_nearest(word, names, COMMAND_COUNT);
    return refuse("unknown command \"%s\"%s%s%s", word, near != NULL ? ": did you mean \"" : "",
                  near != NULL ? near : "", near != NULL ? "\"?" : "");
}

static int refuse_word(const struct command *command, const char *word)
{
    if (looks_like_dsn(word))
        return refuse("%s: a connection string is unexpected here: it belongs into the "
                      "configuration, or behind pgweir once",
                      command->name);
    if (command->takes & TAKES_CONFIG)
        return refuse("%s: unexpected argument \"%s\": did you mean --config %s?", command->name,
                      word, word);
    return refuse("%s: unexpected argument \"%s\"", command->name, word);
}

/* EXIT_FINE, or that of what was refused. */
static int read_options(int argc, char **argv, struct arguments *arguments, bool *ret_help,
                        bool *ret_version)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"format", required_argument, NULL, 'f'},
                                            {"help", no_argument, NULL, 'h'},
                                            {"version", no_argument, NULL, 'v'},
                                            {0}};
    opterr = 0;
    for (int code; (code = getopt_long(argc, argv, ":c:f:hv", options, NULL)) != -1;) {
        if (code == ':')
            return refuse("option %s needs a value, as in %s", argv[optind - 1],
                          optopt == 'f' ? "--format table" : "--config /etc/pgweir/pgweir.yaml");
        if (code == '?')
            return refuse("unknown option \"%s\"", argv[optind - 1]);
        if (code == 'c' && optarg[0] == 0)
            return refuse("--config is empty: name a file, as in --config pgweir.yaml");
        if (code == 'c' && arguments->source_count == SOURCES_MAX)
            return refuse("more than %d --config are too many: join some of the files",
                          SOURCES_MAX);
        if (code == 'c')
            arguments->sources[arguments->source_count++] = optarg;
        else if (code == 'f')
            arguments->format = optarg;
        else if (code == 'h')
            *ret_help = true;
        else
            *ret_version = true;
    }
    return EXIT_FINE;
}

/* A connection string may hold a password, which `ps` must not show: it is moved out of the
 * process's title. */
static const char *hide(char *word)
{
    static char *hidden; /* lives as long as the process */
    hidden = xstrdup(word);
    memset(word, '*', strlen(word));
    return hidden;
}

static int run_command(const struct command *command, const struct arguments *arguments)
{
    if (arguments->source_count > 0 && (command->takes & TAKES_CONFIG) == 0)
        return refuse("%s takes no --config", command->name);
    if (arguments->format != NULL && (command->takes & TAKES_FORMAT) == 0)
        return refuse("%s takes no --format", command->name);
    return command->run(arguments);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "spool") == 0)
        return spool_command(argc - 1, argv + 1); /* it has options of its own */
    struct arguments arguments = {0};
    bool help_wanted = false, version_wanted = false;
    int code = read_options(argc, argv, &arguments, &help_wanted, &version_wanted);
    if (code != EXIT_FINE)
        return code;
    if (version_wanted)
        return command_version(&arguments);
    /* As with the Collector, a configuration without a command means run. */
    const char *name = optind < argc ? argv[optind++] : arguments.source_count > 0 ? "run" : NULL;
    if (name != NULL && strcmp(name, "help") == 0) {
        help_wanted = true;
        name = optind < argc ? argv[optind++] : NULL;
    }
    if (name == NULL) {
        print_help(help_wanted ? stdout : stderr);
        return help_wanted ? EXIT_FINE : EXIT_USAGE;
    }
    const struct command *command = find_command(name);
    if (command == NULL)
        return refuse_command(name);
    if (help_wanted)
        return print_help_of(command);
    if (command->run == NULL)
        return refuse("%s comes first, before options", name);
    if (optind < argc && (command->takes & TAKES_OPERAND) != 0)
        arguments.operand = looks_like_dsn(argv[optind]) ? hide(argv[optind++]) : argv[optind++];
    if (optind < argc)
        return refuse_word(command, argv[optind]);
    return run_command(command, &arguments);
}
