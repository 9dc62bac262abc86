/* SPDX-License-Identifier: Apache-2.0 */
/* Reading of arguments. Flags of scenarios are not listed here: scenario_table.c has them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/value.h"
#include "tools/load/commands.h"

static const struct {
    const char *name, *of, *help; /* `of`: the command that takes it; "": all */
} own_flags[] = {
    {"--quiet", "", "No progress on standard error."},
    {"--validate", "fit", "Also predicts runs that the model has not seen; exit 1 beyond 15 %."},
    {"--model", "plan fit",
     "The model's file: fit writes it (MODEL.json), plan reads it (the built-in one)."},
    {"--html", "compare", "Writes both runs as one page."},
    {"--tolerance", "compare", "Share by which figures may differ (0.1)."},
};

static const struct {
    const char *of, *arguments;
} examples[] = {
    {"run", " perf/scenarios/steady.yaml --servers 100"},
    {"compare", " before/result.json after/result.json"},
    {"plan", " --servers 20000 --interval 10s --tables 200 --tls"},
    {"fit", " --validate --model model.json"},
    {"knee", " --interval 10s --knee-from 1000 --knee-to 20000 --slo 'age p99 < 2 s, loss = 0'"},
    {"ramp", " --interval 10s --ramp-from 1000 --ramp-to 16000 --ramp-step 30s"},
};

static bool takes(const char *commands, const char *name)
{
    return *commands == 0 || strstr(commands, name) != NULL;
}

static void print_help(const struct command_line *line)
{
    printf("pgweir-load %s\n\n  %s\n\n", line->usage, line->about);
    for (size_t i = 0; i < sizeof own_flags / sizeof own_flags[0]; i++)
        if (takes(own_flags[i].of, line->name))
            printf("  %-24s %s\n", own_flags[i].name, own_flags[i].help);
    if (strcmp(line->name, "compare") != 0)
        scenario_print_flags(stdout);
    const char *example = " --servers 1000 --interval 10s --for 60s";
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++)
        if (strcmp(examples[i].of, line->name) == 0)
            example = examples[i].arguments;
    printf("\nExample:\n  pgweir-load %s%s\n", line->name, example);
}

static bool refuse(const struct command_line *line, const char *flag, const char *what)
{
    fprintf(stderr, "pgweir-load %s: %s: %s\nTry: pgweir-load %s --help\n", line->name, flag, what,
            line->name);
    return false;
}

/* The value behind '=', or the next argument. */
static const char *take_value(struct command_line *line, int *at, const char *inlined)
{
    if (inlined != NULL)
        return inlined;
    return *at + 1 < line->argc ? line->argv[++*at] : NULL;
}

/* One of own_flags; false when it is none, *ret_good tells whether its value is. */
static bool take_own(struct command_line *line, int *at, const char *flag, const char *inlined,
                     bool *ret_good)
{
    size_t i = 0, count = sizeof own_flags / sizeof own_flags[0];
    while (i < count &&
           (strcmp(flag, own_flags[i].name) != 0 || !takes(own_flags[i].of, line->name)))
        i++;
    *ret_good = true;
    if (i == count)
        return false;
    if (strcmp(flag, "--quiet") == 0) {
        line->quiet = true;
    } else if (strcmp(flag, "--validate") == 0) {
        line->validate = true;
    } else {
        const char *value = take_value(line, at, inlined);
        if (value == NULL)
            *ret_good = refuse(line, flag, "needs a value");
        else if (strcmp(flag, "--model") == 0)
            line->model = value;
        else if (strcmp(flag, "--html") == 0)
            line->html = value;
        else if (!value_parse_double(value, &line->tolerance) || line->tolerance < 0 ||
                 line->tolerance > 10)
            *ret_good = refuse(line, flag, "a share such as 0.1 is wanted");
    }
    return true;
}

static bool take_flag(struct command_line *line, int *at)
{
    char flag[64];
    const char *word = line->argv[*at], *equals = strchr(word, '=');
    size_t bytes = equals != NULL ? (size_t)(equals - word) : strlen(word);
    bool good = true;
    snprintf(flag, sizeof flag, "%.*s", (int)(bytes < sizeof flag ? bytes : sizeof flag - 1), word);
    const char *inlined = equals != NULL ? equals + 1 : NULL;
    if (take_own(line, at, flag, inlined, &good))
        return good;
    const struct option *group, *option = scenario_find_flag(flag + 2, &group);
    if (option == NULL || strcmp(line->name, "compare") == 0)
        return refuse(line, flag, "unknown flag");
    const char *value = inlined;
    if (option->type == OPTION_BOOL && value == NULL)
        value = "true";
    if (value == NULL)
        value = take_value(line, at, NULL);
    if (value == NULL)
        return refuse(line, flag, "needs a value");
    if (line->flag_count == FLAGS_MAX)
        return refuse(line, flag, "too many flags");
    line->flags[line->flag_count++] =
        (struct scenario_flag){arena_text(&line->arena, flag + 2), value};
    return true;
}

bool command_line_read(struct command_line *line, int *ret_code)
{
    line->tolerance = 0.1;
    *ret_code = EXIT_USAGE;
    for (int i = 2; i < line->argc; i++) {
        const char *word = line->argv[i];
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            print_help(line);
            *ret_code = EXIT_FINE;
            return false;
        }
        if (strncmp(word, "--", 2) == 0) {
            if (!take_flag(line, &i))
                return false;
        } else if (line->operand_count == OPERANDS_MAX) {
            return refuse(line, word, "too many arguments");
        } else {
            line->operands[line->operand_count++] = word;
        }
    }
    return true;
}

/* Quotes what a shell would not take as one word. */
const char *command_line_text(struct command_line *line)
{
    const char *text = "pgweir-load";
    for (int i = 1; i < line->argc; i++) {
        const char *word = line->argv[i];
        bool plain =
            *word != 0 && strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                       "0123456789-_=./:,+%") == strlen(word);
        text = arena_format(&line->arena, plain ? "%s %s" : "%s '%s'", text, word);
    }
    return text;
}
