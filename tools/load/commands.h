/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/arena.h"
#include "tools/load/scenario.h"

enum { EXIT_FINE = 0, EXIT_RUNNING = 1, EXIT_USAGE = 2 };
enum { FLAGS_MAX = 128, OPERANDS_MAX = 8 };

/* A command's arguments: flags of scenarios, flags of the command itself, operands. */
struct command_line {
    int argc;
    char **argv;
    const char *name, *usage, *about;
    struct arena arena;
    struct scenario_flag flags[FLAGS_MAX]; /* those that scenario_find_flag() knows */
    size_t flag_count;
    const char *operands[OPERANDS_MAX];
    size_t operand_count;
    bool quiet, validate;
    const char *model, *html;
    double tolerance;
};

/* False when it is done already (help, or an error that was said); *ret_code is the exit code. */
bool command_line_read(struct command_line *line, int *ret_code);

/* The command as it was typed, for the result. */
const char *command_line_text(struct command_line *line);

int command_run(struct command_line *line);
int command_fit(struct command_line *line);
int command_plan(struct command_line *line);
int command_compare(struct command_line *line);
