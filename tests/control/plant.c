/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/control/plant.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"

static double uniform(struct random *random)
{
    return (double)(random_next(random) >> 11) / (double)(1ull << 53);
}

static double between(struct random *random, double low, double high)
{
    return low * exp(uniform(random) * log(high / low));
}

static double normal(struct random *random)
{
    return sqrt(-2 * log(1 - uniform(random))) * cos(2 * M_PI * uniform(random));
}

void plant_init(struct plant *plant, uint64_t seed)
{
    *plant = (struct plant){.random = {.state = seed * 0x9e3779b97f4a7c15ull + 1}};
    struct random *random = &plant->random;
    plant->points_per_s = between(random, 150e3, 3e6);
    plant->point_ns = between(random, 40, 120);
    plant->request_ns = between(random, 40e3, 400e3);
    plant->cache_points = between(random, 4000, 60000);
    plant->cache_ns = between(random, 1, 6);
    for (int i = 1; i < 4; i++) {
        plant->level_ns[i] = plant->level_ns[i - 1] + between(random, 1, 60);
        plant->level_bytes[i] = plant->level_bytes[i - 1] - 0.03;
    }
    plant->latency_s = between(random, 0.001, 0.2);
    plant->noise = between(random, 0.01, 0.05);
    plant->drift_s = 600;
    plant->now_ns = 1000 * NS_PER_S;
}

void plant_tuner(struct tuner *tuner, const struct tuner_settings *settings, double size,
                 double flush_s)
{
    tuner_init(tuner, settings);
    struct knob_plan plans[PLANT_KNOBS] = {
        [PLANT_SIZE] = {.name = "size",
                        .scale = KNOB_FACTOR,
                        .whole = true,
                        .low = 256,
                        .high = 65536,
                        .start = size,
                        .reach = 8,
                        .resolution = 2,
                        .first_side = 1,
                        .dear = -1,
                        .cure = -1},
        [PLANT_FLUSH] = {.name = "flush",
                         .scale = KNOB_FACTOR,
                         .low = 0.02,
                         .high = (double)settings->age_p99_ns / 2e9,
                         .start = flush_s,
                         .reach = 8,
                         .resolution = 2,
                         .first_side = 1,
                         .dear = -1,
                         .cure = -1},
        [PLANT_SENDERS] = {.name = "senders",
                           .scale = KNOB_FACTOR,
                           .whole = true,
                           .low = 1,
                           .high = 10,
                           .start = 10,
                           .reach = 2,
                           .resolution = 2,
                           .first_side = -1,
                           .cure = 1},
        [PLANT_LEVEL] = {.name = "level",
                         .scale = KNOB_STEP,
                         .whole = true,
                         .low = 1,
                         .high = 4,
                         .start = 2,
                         .reach = 1,
                         .resolution = 1,
                         .first_side = -1,
                         .dear = 1,
                         .costs_bytes = true},
    };
    for (int i = 0; i < PLANT_KNOBS; i++)
        tuner_add(tuner, &plans[i]);
}

/* Points of a batch. */
static double batch_points(const struct plant *plant, const double values[PLANT_KNOBS])
{
    return fmax(1, fmin(values[PLANT_SIZE], plant->points_per_s * values[PLANT_FLUSH]));
}

static double requests_wanted(const struct plant *plant, const double values[PLANT_KNOBS])
{
    return plant->points_per_s / batch_points(plant, values) * plant->latency_s;
}

double plant_cost_ns(const struct plant *plant, const double values[PLANT_KNOBS])
{
    double points = batch_points(plant, values);
    double beyond = log2(points / plant->cache_points);
    int level = (int)values[PLANT_LEVEL] - 1;
    return plant->point_ns + plant->request_ns / points +
           plant->cache_ns * (beyond > 0 ? beyond : 0) + plant->level_ns[level];
}

double plant_age_s(const struct plant *plant, const double values[PLANT_KNOBS])
{
    double points = batch_points(plant, values);
    double waits_s = requests_wanted(plant, values) > values[PLANT_SENDERS] ? 10 : 0;
    return 0.01 + points / plant->points_per_s + points * 200e-9 + plant->latency_s + waits_s;
}

double plant_best_ns(const struct plant *plant, const struct tuner *tuner)
{
    const struct knob *knobs = tuner->knobs;
    double best_ns = INFINITY, values[PLANT_KNOBS];
    values[PLANT_SENDERS] = 10;
    for (double size = knobs[PLANT_SIZE].plan.low; size <= knobs[PLANT_SIZE].plan.high; size *= 1.1)
        for (double flush_s = knobs[PLANT_FLUSH].plan.low; flush_s <= knobs[PLANT_FLUSH].plan.high;
             flush_s *= 1.1)
            for (int level = 1; level <= 2; level++) {
                values[PLANT_SIZE] = size;
                values[PLANT_FLUSH] = flush_s;
                values[PLANT_LEVEL] = level;
                double age_s = plant_age_s(plant, values);
                if (age_s <= 0.9 * (double)tuner->settings.age_p99_ns / 1e9)
                    best_ns = fmin(best_ns, plant_cost_ns(plant, values));
            }
    return best_ns;
}

void plant_measure(struct plant *plant, const struct tuner *tuner, struct tuner_window *ret_window)
{
    double values[PLANT_KNOBS], interval_s = (double)tuner->settings.interval_ns / 1e9;
    for (uint32_t i = 0; i < PLANT_KNOBS; i++)
        values[i] = tuner_value(tuner, i);
    double batch_s = batch_points(plant, values) / plant->points_per_s;
    double seconds = fmin(fmax(interval_s, 8 * batch_s), 4 * interval_s);
    double age_s = plant_age_s(plant, values);
    double target_s = (double)tuner->settings.age_p99_ns / 1e9;
    bool open_too_old = batch_s > target_s;
    if (open_too_old) {
        seconds = fmin(seconds, target_s + 1);
        age_s = fmax(target_s + 0.5, fmin(age_s, seconds));
    }
    double phase = 2 * M_PI * (double)plant->now_ns / 1e9 / plant->drift_s;
    double times = exp(plant->noise * normal(&plant->random)) * (1 + plant->drift * sin(phase));
    double share = batch_points(plant, values) >= values[PLANT_SIZE] ? 1 : 0;
    double points = batch_points(plant, values);
    bool refused = plant->body_points_max > 0 && points > plant->body_points_max;
    memset(ret_window, 0, sizeof *ret_window);
    ret_window->cost_ns = plant_cost_ns(plant, values) * times;
    ret_window->points_per_s = plant->points_per_s * (1 + 0.02 * normal(&plant->random));
    ret_window->cpu_share = ret_window->cost_ns * plant->points_per_s / 1e9;
    ret_window->thin = seconds < 3 * batch_s;
    ret_window->groups[0].age_p99_s =
        plant->down ? age_s + 30 : age_s * (1 + 0.05 * uniform(&plant->random));
    ret_window->groups[0].failing = plant->down || refused;
    ret_window->groups[0].growing =
        requests_wanted(plant, values) > values[PLANT_SENDERS] || ret_window->cpu_share > 1;
    ret_window->groups[0].bytes_per_point =
        10 + 1000 / points + 10 * plant->level_bytes[(int)values[PLANT_LEVEL] - 1];
    ret_window->binding[PLANT_SIZE] = share;
    ret_window->binding[PLANT_FLUSH] = open_too_old ? 1 : 1 - share;
    ret_window->binding[PLANT_SENDERS] =
        requests_wanted(plant, values) > 0.5 * values[PLANT_SENDERS];
    ret_window->binding[PLANT_LEVEL] = 1;
    /* A trial takes its settling, too. */
    plant->now_ns += (uint64_t)((seconds + 0.2 * interval_s) * 1e9);
}
