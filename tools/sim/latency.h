/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/random.h"
#include "config/yaml.h"

/* How long something takes: a distribution of durations, drawn from with a seeded generator. */
enum latency_kind {
    LATENCY_FIXED,       /* `a` */
    LATENCY_UNIFORM,     /* between `a` and `b` */
    LATENCY_NORMAL,      /* mean `a`, standard deviation `b`; never below 0 */
    LATENCY_LOGNORMAL,   /* median `a`; `b` is the standard deviation of the logarithm */
    LATENCY_EXPONENTIAL, /* mean `a` */
};

struct latency {
    enum latency_kind kind;
    double a, b; /* ns, but where said otherwise */
};

/* "5ms", or one of {fixed: 5ms}, {uniform: [1ms, 9ms]}, {normal: {mean: 5ms, sd: 1ms}},
 * {lognormal: {p50: 2ms, p99: 50ms}}, {exponential: 5ms}. Errors start with the place. */
bool latency_read(const struct yaml_node *node, struct latency *ret, struct error *error);

/* A duration in ns, at most an hour. */
uint64_t latency_draw(const struct latency *latency, struct random *random);
