/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>

/* Exit codes of every program of pgweir. */
enum { EXIT_FINE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

enum { SOURCES_MAX = 32 };

/* The command line after parsing; borrowed from argv. */
struct arguments {
    const char *sources[SOURCES_MAX]; /* --config */
    size_t source_count;
    const char *format;  /* --format */
    const char *operand; /* the word after the command: DSN, FILE */
};

/* Each returns an exit code, having said on stderr what went wrong. */
int command_run(const struct arguments *arguments);
int command_once(const struct arguments *arguments);
int command_validate(const struct arguments *arguments);
int command_print_config(const struct arguments *arguments);
int command_components(const struct arguments *arguments);
int command_catalog(const struct arguments *arguments);
int command_reference(const struct arguments *arguments);
int command_version(const struct arguments *arguments);
