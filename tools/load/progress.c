/* SPDX-License-Identifier: Apache-2.0 */
/* The progress bar. Standard error only: standard output is the summary's. */
#include "tools/load/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/load/outcome.h"

enum { WIDTH = 24, LINE_EVERY_S = 10 };

void progress_init(struct progress *progress, bool quiet)
{
    *progress = (struct progress){.terminal = isatty(STDERR_FILENO) == 1, .quiet = quiet};
}

void progress_begin(struct progress *progress, const char *title, double total_s)
{
    snprintf(progress->title, sizeof progress->title, "%s", title);
    progress->total_s = total_s;
    progress->shown_s = -LINE_EVERY_S;
    progress->phase[0] = 0;
    if (!progress->quiet && !progress->terminal)
        fprintf(stderr, "== %s, about %.0f s\n", title, total_s);
}

void progress_bar(char *to, uint32_t bytes, double share, uint32_t width)
{
    char bar[128];
    if (width >= sizeof bar)
        width = sizeof bar - 1;
    share = share < 0 ? 0 : share > 1 ? 1 : share;
    uint32_t full = (uint32_t)(share * width + 0.5);
    memset(bar, '#', full);
    memset(bar + full, ' ', width - full);
    bar[width] = 0;
    snprintf(to, bytes, "[%s] %3.0f %%", bar, share * 100);
}

static void show_left(char *to, size_t bytes, double left_s)
{
    if (left_s >= 90)
        snprintf(to, bytes, "%.0f min left", left_s / 60);
    else
        snprintf(to, bytes, "%.0f s left", left_s > 0 ? left_s : 0);
}

void progress_show(struct progress *progress, double elapsed_s, const char *phase,
                   const struct moment *moment)
{
    if (progress->quiet)
        return;
    char bar[160], left[32], figures[160] = "";
    double share = progress->total_s > 0 ? elapsed_s / progress->total_s : 0;
    progress_bar(bar, sizeof bar, share, WIDTH);
    show_left(left, sizeof left, progress->total_s - elapsed_s);
    if (moment != NULL)
        snprintf(figures, sizeof figures,
                 ": %llu servers, %.0f points/s, lag p99 %.1f ms, age p99 %.0f ms, cpu %.2f",
                 (unsigned long long)moment->servers, moment->points_per_s, moment->lag_p99_ms,
                 moment->age_p99_ms, moment->cpu_cores);
    if (progress->terminal) {
        fprintf(stderr, "\r\033[K%s %s, %s, %s%s", bar, left, progress->title, phase, figures);
        fflush(stderr);
        return;
    }
    if (strcmp(phase, progress->phase) == 0 && elapsed_s - progress->shown_s < LINE_EVERY_S)
        return;
    progress->shown_s = elapsed_s;
    snprintf(progress->phase, sizeof progress->phase, "%s", phase);
    fprintf(stderr, "%5.0f s %s, %s%s\n", elapsed_s, left, phase, figures);
}

void progress_end(struct progress *progress)
{
    if (!progress->quiet && progress->terminal)
        fputs("\r\033[K", stderr);
}
