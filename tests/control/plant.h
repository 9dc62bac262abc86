/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/random.h"
#include "control/tuner.h"

/* A worker as a formula, for tests of the tuner on simulated time: cost per point from requests,
 * caches and compression; age from batches; noise, drift and load as told. Group 0 has the knobs
 * flush age, size, senders, level, in this order. */
enum { PLANT_FLUSH, PLANT_SIZE, PLANT_SENDERS, PLANT_LEVEL, PLANT_KNOBS };

struct plant {
    struct random random;
    double points_per_s;
    double point_ns, request_ns; /* CPU */
    double cache_points;         /* batches above these cost more … */
    double cache_ns;             /* … by this for each doubling */
    double level_ns[4];          /* of levels 1 to 4, more than level 1 */
    double level_bytes[4];
    double latency_s;       /* of a request */
    double noise;           /* spread of a window's cost, relative */
    double drift;           /* ± of the cost, relative, … */
    double drift_s;         /* … over this period */
    double body_points_max; /* larger bodies are refused; 0: none are */
    bool down;              /* the back end is */
    uint64_t now_ns;
};

/* Random, but of a likely kind. */
void plant_init(struct plant *plant, uint64_t seed);

/* The tuner with the plant's knobs, starting there. */
void plant_tuner(struct tuner *tuner, const struct tuner_settings *settings, double size,
                 double flush_s);

/* What the values cost, without noise; and the age they make. */
double plant_cost_ns(const struct plant *plant, const double values[PLANT_KNOBS]);
double plant_age_s(const struct plant *plant, const double values[PLANT_KNOBS]);

/* The least cost within the tuner's bounds and target, by looking everywhere. */
double plant_best_ns(const struct plant *plant, const struct tuner *tuner);

/* Measures one window with the tuner's values, and lets the time pass. */
void plant_measure(struct plant *plant, const struct tuner *tuner, struct tuner_window *ret_window);
