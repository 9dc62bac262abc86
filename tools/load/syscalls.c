/* SPDX-License-Identifier: Apache-2.0 */
/* Counting system calls with strace. Main thread. */
#include "tools/load/syscalls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "tools/load/files.h"

static const uint64_t limit_ns = 20 * NS_PER_S;

bool syscalls_read_total(const char *text, uint64_t *ret_calls)
{
    /* "100.00    0.012345           3      4021        12 total"; without errors the column is
     * empty */
    for (const char *line = text; line != NULL && *line != 0;) {
        const char *end = strchr(line, '\n');
        size_t bytes = end != NULL ? (size_t)(end - line) : strlen(line);
        double share, seconds;
        unsigned long long per_call, calls;
        if (bytes > 6 && strncmp(line + bytes - 6, " total", 6) == 0 &&
            sscanf(line, "%lf %lf %llu %llu", &share, &seconds, &per_call, &calls) == 4) {
            *ret_calls = calls;
            return true;
        }
        line = end != NULL ? end + 1 : NULL;
    }
    return false;
}

static uint64_t scrapes(const struct sample *sample)
{
    return sample->collector.scrapes_ok + sample->collector.scrapes_partial;
}

void syscalls_count(struct rig *rig, struct outcome *outcome)
{
    char pid[24], path[RIG_PATH_BYTES + 32];
    struct error error;
    struct process strace = {0};
    snprintf(pid, sizeof pid, "%d", (int)rig->collector.pid);
    snprintf(path, sizeof path, "%s/strace.txt", rig->directory);
    const char *const argv[] = {"timeout", "-s", "INT", "2",  "strace", "-c",
                                "-f",      "-o", path,  "-p", pid,      NULL};
    struct sample *before = calloc(2, sizeof *before), *after = before + 1;
    if (before == NULL)
        return;
    struct sample_sources sources = rig_sources(rig);
    sample_take(&sources, before);
    uint64_t begin_ns = clock_monotonic_ns();
    bool started = process_start(&strace, "strace", rig->directory, argv, &error);
    const struct timespec nap = {.tv_nsec = 10 * NS_PER_MS};
    while (started && process_running(&strace) && clock_monotonic_ns() - begin_ns < limit_ns)
        nanosleep(&nap, NULL);
    process_kill(&strace);
    sample_take(&sources, after);
    size_t bytes = 0;
    uint64_t calls = 0;
    char *text = files_read(path, 1 << 20, &bytes, &error);
    if (text != NULL && syscalls_read_total(text, &calls) && after->collector.known &&
        before->collector.known && scrapes(after) > scrapes(before))
        outcome->figures.syscalls_per_scrape =
            (double)calls / (double)(scrapes(after) - scrapes(before));
    else
        outcome_note(outcome, "system calls were not counted: strace is missing, may not trace, or "
                              "nothing was collected meanwhile");
    free(text);
    free(before);
}
