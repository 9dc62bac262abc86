/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "tools/load/outcome.h"
#include "tools/load/progress.h"

/* One run of one scenario: programs up, warm-up, the measured phases, programs down, figures.
 * Main thread; one at a time. */
struct run_request {
    const struct scenario *scenario;
    const char *directory; /* for logs and configuration; made when missing */
    const char *title;
    struct progress *progress;
};

/* An error is a run that could not be made; a run in which something went wrong has a check that
 * did not hold. */
bool run_once(const struct run_request *request, struct outcome **ret_outcome, struct error *error);

/* SIGINT and SIGTERM end the run at hand with an error and leave nothing running; again: at once.
 */
void run_catch_signals(void);
bool run_interrupted(void);
