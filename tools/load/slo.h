/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct outcome;

/* Conditions that a run must meet: "age p99 < 2 s, lag p99 < 100 ms, loss = 0". A condition is a
 * figure, for latencies with a quantile (p50 … p99.99, max), a comparison (< <= = >= >) and a
 * number with its unit (ns us ms s m; KiB MiB GiB; none). */
enum { SLO_CONDITIONS_MAX = 16, SLO_TEXT_BYTES = 64 };

enum slo_figure {
    SLO_LAG,
    SLO_AGE,
    SLO_SCRAPE,
    SLO_LOST,
    SLO_DOUBLED,
    SLO_REJECTED,
    SLO_SKIPPED,
    SLO_FAILED,
    SLO_MADE, /* percent */
    SLO_LEFT_OUT,
    SLO_CPU, /* cores */
    SLO_CPU_PER_POINT,
    SLO_RSS,
    SLO_RSS_PER_SERVER,
    SLO_POINTS_PER_S,
};

enum slo_comparison { SLO_BELOW, SLO_AT_MOST, SLO_EQUAL, SLO_AT_LEAST, SLO_ABOVE };

struct slo_condition {
    enum slo_figure figure;
    double share; /* of a latency; 1: maximum */
    enum slo_comparison comparison;
    double value; /* ms, KiB, cores, µs or a plain number */
    char text[SLO_TEXT_BYTES];
};

struct slo {
    struct slo_condition conditions[SLO_CONDITIONS_MAX];
    uint32_t count;
};

bool slo_parse(const char *text, struct slo *ret_slo, struct error *error);

/* The figure in the condition's unit; NAN when it is not known. */
double slo_value(const struct slo_condition *condition, const struct outcome *outcome);

/* Adds a check per condition to the outcome. An unknown figure does not hold. */
void slo_check(const struct slo *slo, struct outcome *outcome);

/* The first condition that does not hold, or NULL. */
const struct slo_condition *slo_broken(const struct slo *slo, const struct outcome *outcome);
