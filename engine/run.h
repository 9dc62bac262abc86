/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "config/config.h"

struct run_options {
    bool once; /* end when every target was collected once; no admin server */
};

/* Runs the engine until a signal (or once); returns the exit code: 0 fine, 1 something failed or
 * was lost at the end, 2 the configuration cannot be used. Errors are said on stderr. */
int run_engine(const struct config *config, const struct run_options *options);

/* What `validate` checks beyond the file itself: catalogues, metric and group names. Counts the
 * targets. */
bool run_validate(const struct config *config, size_t *ret_targets, struct error *error);
