/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/histogram.h"
#include "tools/load/proc.h"
#include "tools/load/scenario.h"

/* What a run found out: numbers, no handles. Filled by run.c and measure.c, judged by slo.c, shown
 * by summary.c, written by result.c, learnt from by model.c. */

/* One sample of the timeline: rates since the sample before. */
struct moment {
    double t_s; /* since the run's start; the warm-up included */
    uint64_t servers;
    double points_per_s, lag_p99_ms, age_p99_ms, cpu_cores, rss_mib;
    uint64_t connections;
    int64_t descriptors;
    char phase[32];
};

struct span {
    char name[32];
    double from_s, to_s;
};

/* A step of a ramp or of a bisection. */
struct step {
    uint64_t servers;
    double interval_s;
    double points_per_s, lag_p99_ms, age_p99_ms, cpu_cores, rss_mib;
    int64_t lost;
    bool ok;
    char why[200]; /* what did not hold */
};

struct check {
    char name[80];
    bool ok;
    char detail[256];
};

/* The measured window, in one row. A double that is not known is NAN, an int64_t -1. */
struct figures {
    double seconds;
    uint64_t servers, scrapes, failed, partial, skipped, omitted;
    uint64_t points;
    double points_per_s, expected_scrapes;
    double made_percent; /* of the collections that were due, those made or told as skipped; NAN
                            where neither collector nor simulator tells */
    uint64_t left_out;   /* groups of collections, to spare the back end */
    uint64_t interval_ns;
    int64_t lost, doubled; /* of the whole run */
    uint64_t voided;       /* values in answers that the simulator cut off, not lost by anybody */
    uint64_t rejected, dropped;
    double cpu_s, cpu_cores, cpu_us_per_point, cpu_us_per_scrape;
    double rss_mib, rss_baseline_mib, rss_kib_per_server;
    uint64_t connections, series;
    double bytes_per_point, bytes_per_s, requests_per_s, server_bytes_per_s;
    double syscalls_per_scrape;
    double background_cores; /* what all other processes of the machine used meanwhile */
};

struct other {
    const char *program;
    double cpu_cores, rss_mib;
};

struct slopes {
    bool known;
    double rss_kib_per_h, descriptors_per_h, lag_ms_per_h;
    double rss_error_kib_per_h, descriptors_error_per_h, lag_error_ms_per_h; /* standard errors */
};

enum { OUTCOME_CHECKS_MAX = 32, OUTCOME_NOTES_MAX = 24, OUTCOME_NOTE_BYTES = 320 };

struct outcome {
    char started[32];       /* UTC, ISO 8601 */
    const char *age_source; /* "collector": due until acknowledged; "sink": taken until arrived */
    struct figures figures;
    struct histogram_view lag, age, scrape, delivery, sink_age; /* corrected: lag and age */
    struct proc_thread threads[PROC_THREADS_MAX]; /* the collector's, over the window */
    uint32_t thread_count;
    struct other others[2];
    uint32_t other_count;
    struct moment *moments;
    size_t moment_count;
    struct span *spans;
    size_t span_count;
    struct step *steps;
    size_t step_count;
    struct slopes slopes;
    struct check checks[OUTCOME_CHECKS_MAX];
    uint32_t check_count;
    char notes[OUTCOME_NOTES_MAX][OUTCOME_NOTE_BYTES];
    uint32_t note_count;
};

struct outcome *outcome_create(void);
void outcome_destroy(struct outcome **outcome);

struct moment *outcome_add_moment(struct outcome *outcome);
struct span *outcome_add_span(struct outcome *outcome, const char *name, double from_s);
struct step *outcome_add_step(struct outcome *outcome);
void outcome_check(struct outcome *outcome, const char *name, bool ok, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void outcome_note(struct outcome *outcome, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Every check held. */
bool outcome_good(const struct outcome *outcome);
