/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/control/scenarios.h"

#include "base/clock.h"

#define BREAKER                                                                                    \
    {                                                                                              \
        .failures = 5, .pause_ns = 250 * NS_PER_MS, .pause_max_ns = 15 * NS_PER_S,                 \
        .pause_held_ns = 60 * NS_PER_S                                                             \
    }
/* As every exporter begins, but for the two numbers that a scenario is about. */
#define SETTINGS(ceiling, at_once)                                                                 \
    {                                                                                              \
        .rate = {.adaptive = true, .requests_per_second = (ceiling)},                              \
        .concurrency = {.adaptive = true, .max = (at_once), .initial = 2}, .breaker = BREAKER,     \
        .retry_share = 0.1                                                                         \
    }

const struct sim_scenario scenarios[SCENARIO_COUNT] = {
    [SCENARIO_RAMP] =
        {.name = "ramp",
         .title = "200 slots of 0.1 s: 2,000 requests/s at most",
         .seconds = 30,
         .clients = 1,
         .settings = SETTINGS(0, 256),
         .backend = {.rtt_s = {{0, 0.002}}, .workers = 200, .service_s = 0.1, .queue = 100000}},
    [SCENARIO_WORKERS] =
        {.name = "workers",
         .title = "8 workers of 0.05 s: 160 requests/s, more only queues",
         .seconds = 120,
         .clients = 1,
         .settings = SETTINGS(0, 64),
         .backend = {.rtt_s = {{0, 0.005}}, .workers = 8, .service_s = 0.05, .queue = 200}},
    [SCENARIO_QUOTA] = {.name = "quota",
                        .title = "6,000 requests a minute, Retry-After",
                        .seconds = 600,
                        .clients = 1,
                        .settings = SETTINGS(0, 64),
                        .backend = {.counting = SIM_WINDOW,
                                    .window_s = 60,
                                    .limit = {{0, 100}},
                                    .hint = true,
                                    .rtt_s = {{0, 0.05}},
                                    .service_s = 0.005}},
    [SCENARIO_QUOTA_UNSAID] = {.name = "quota-unsaid",
                               .title = "6,000 requests a minute, no Retry-After",
                               .seconds = 600,
                               .clients = 1,
                               .settings = SETTINGS(0, 64),
                               .backend = {.counting = SIM_WINDOW,
                                           .window_s = 60,
                                           .limit = {{0, 100}},
                                           .rtt_s = {{0, 0.05}},
                                           .service_s = 0.005}},
    [SCENARIO_QUOTA_OUTAGE] = {.name = "quota-outage",
                               .title = "60 requests/s offered, 6,000 a minute allowed, away from "
                                        "120 to 240 s",
                               .seconds = 900,
                               .clients = 1,
                               .offered = 60,
                               .settings = SETTINGS(0, 64),
                               .backend = {.counting = SIM_WINDOW,
                                           .window_s = 60,
                                           .limit = {{0, 100}},
                                           .hint = true,
                                           .rtt_s = {{0, 0.05}},
                                           .service_s = 0.005,
                                           .outage_from_s = 120,
                                           .outage_to_s = 240,
                                           .outage = LIMITER_CONNECTION}},
    [SCENARIO_OUTAGE] = {.name = "outage",
                         .title = "100 requests/s offered, connections refused from 60 to 120 s",
                         .seconds = 180,
                         .clients = 1,
                         .offered = 100,
                         .settings = SETTINGS(500, 64),
                         .backend = {.rtt_s = {{0, 0.05}},
                                     .service_s = 0.005,
                                     .outage_from_s = 60,
                                     .outage_to_s = 120,
                                     .outage = LIMITER_CONNECTION}},
    [SCENARIO_OUTAGE_ERRORS] = {.name = "outage-errors",
                                .title = "ten in flight, 503 from 60 to 120 s",
                                .seconds = 180,
                                .clients = 1,
                                .settings = SETTINGS(500, 10),
                                .backend = {.rtt_s = {{0, 0.05}},
                                            .service_s = 0.05,
                                            .outage_from_s = 60,
                                            .outage_to_s = 120,
                                            .outage = LIMITER_SERVER_ERROR}},
    [SCENARIO_OUTAGE_SILENT] = {.name = "outage-silent",
                                .title = "ten in flight, no answer from 60 to 120 s",
                                .seconds = 180,
                                .clients = 1,
                                .settings = SETTINGS(500, 10),
                                .backend = {.rtt_s = {{0, 0.05}},
                                            .service_s = 0.05,
                                            .outage_from_s = 60,
                                            .outage_to_s = 120,
                                            .outage = LIMITER_TIMEOUT,
                                            .timeout_s = 10}},
    [SCENARIO_FARTHER] = {.name = "farther",
                          .title = "100 requests/s offered, the round trip goes from 50 to 500 ms",
                          .seconds = 120,
                          .clients = 1,
                          .offered = 100,
                          .settings = SETTINGS(0, 200),
                          .backend = {.rtt_s = {{0, 0.05}, {60, 0.5}}, .service_s = 0.001}},
    [SCENARIO_SHARED] =
        {.name = "shared",
         .title = "ten clients at 8 workers of 0.05 s with a queue of 200",
         .seconds = 300,
         .clients = 10,
         .settings = SETTINGS(0, 64),
         .backend = {.rtt_s = {{0, 0.005}}, .workers = 8, .service_s = 0.05, .queue = 200}},
    [SCENARIO_SHARED_LIMIT] = {.name = "shared-limit",
                               .title = "ten clients, 500 requests/s for all, Retry-After",
                               .seconds = 300,
                               .clients = 10,
                               .settings = SETTINGS(0, 64),
                               .backend = {.counting = SIM_WINDOW,
                                           .window_s = 1,
                                           .limit = {{0, 500}},
                                           .hint = true,
                                           .rtt_s = {{0, 0.05}},
                                           .service_s = 0.005}},
};

struct sim_scenario scenario_small(enum scenario_id id)
{
    static const uint32_t divisors[SCENARIO_COUNT] = {
        [SCENARIO_RAMP] = 4,          [SCENARIO_QUOTA] = 10,       [SCENARIO_QUOTA_UNSAID] = 10,
        [SCENARIO_QUOTA_OUTAGE] = 10, [SCENARIO_OUTAGE] = 4,       [SCENARIO_FARTHER] = 2,
        [SCENARIO_SHARED] = 1,        [SCENARIO_SHARED_LIMIT] = 2,
    };
    struct sim_scenario scenario = scenarios[id];
    if (divisors[id] > 0) {
        scenario.offered /= divisors[id];
        scenario.backend.limit[0].value /= divisors[id];
        scenario.backend.workers /= divisors[id];
        if (scenario.clients > 1)
            scenario.seconds = 120;
        if (id == SCENARIO_RAMP)
            scenario.settings.concurrency.max /= divisors[id];
    }
    return scenario;
}

struct sim_scenario scenario_hidden(double first, enum sim_counting counting, bool hint)
{
    static const char *const titles[][2] = {
        [SIM_WINDOW] = {"a hidden limit by windows of a second",
                        "a hidden limit by windows of a second, Retry-After"},
        [SIM_SLIDING] = {"a hidden limit of any second",
                         "a hidden limit of any second, Retry-After"},
        [SIM_BUCKET] = {"a hidden token bucket", "a hidden token bucket, Retry-After"},
    };
    return (struct sim_scenario){
        .name = "hidden",
        .title = titles[counting][hint],
        .seconds = 180,
        .clients = 1,
        .settings = SETTINGS(2 * first, 64),
        .backend = {.counting = counting,
                    .window_s = 1,
                    .limit = {{0, first}, {60, 0.4 * first}, {120, 1.6 * first}},
                    .hint = hint,
                    .rtt_s = {{0, 0.05}},
                    .service_s = 0.005},
    };
}
