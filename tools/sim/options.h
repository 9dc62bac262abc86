/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "tools/sim/serve.h"

/* The command line of `pgweir-sim serve`, `record` and `tell`. */
struct serve_options {
    struct sim_settings settings;
    struct sim_recordings recordings; /* loaded */
    bool help;
};

/* Fills in the defaults, reads argv[1…], loads the recordings. Errors name the option, the value
 * and the cure. *ret_usage: the error is one of usage (exit code 2). */
bool serve_options_read(struct serve_options *options, int argc, char **argv, bool *ret_usage,
                        struct error *error);

struct record_options {
    const char *dsn, *also, *path, *sql_file;
    const char *catalogs[64];
    size_t catalog_count;
    bool help;
};

bool record_options_read(struct record_options *options, int argc, char **argv,
                         struct error *error);
