/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* What a person sees while it runs, on standard error: a bar with the time left on a terminal, a
 * line every ten seconds and at each phase elsewhere. Main thread. */
struct moment;

struct progress {
    bool terminal, quiet;
    char title[80]; /* of the run at hand: "step 3 of at most 8: 400 servers" */
    double total_s; /* of it */
    double shown_s; /* when a line was last shown */
    char phase[32];
};

void progress_init(struct progress *progress, bool quiet);
void progress_begin(struct progress *progress, const char *title, double total_s);
void progress_show(struct progress *progress, double elapsed_s, const char *phase,
                   const struct moment *moment);
void progress_end(struct progress *progress);

/* "[#####     ] 45 %", for tests too. */
void progress_bar(char *to, uint32_t bytes, double share, uint32_t width);
