/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "control/limiter.h"

/* Back ends and clients on simulated time: what the laws in engine/control make of a limit that
 * nobody tells them. Discrete events, seeded; a second of a thousand requests takes a millisecond.
 */

enum { SIM_STEPS = 4, SIM_SECONDS = 1200, SIM_CLIENTS = 10 };

/* From at_s on. */
struct sim_step {
    double at_s, value;
};

enum sim_counting {
    SIM_UNLIMITED,
    SIM_WINDOW,  /* so many in each window, which begins at multiples of its length */
    SIM_SLIDING, /* so many in any window */
    SIM_BUCKET,  /* a token bucket that holds window_s of the rate */
};

struct sim_backend {
    enum sim_counting counting;
    struct sim_step limit[SIM_STEPS]; /* requests/s */
    double window_s;                  /* of its counting; 1 */
    bool hint;                        /* 429s say when the window ends, in whole seconds */
    struct sim_step rtt_s[SIM_STEPS];
    uint32_t workers; /* 0: no end of them */
    double service_s;
    uint32_t queue; /* places; one more is refused with a 429 */
    double outage_from_s, outage_to_s;
    enum limiter_result outage; /* LIMITER_TIMEOUT takes timeout_s, the rest an rtt */
    double timeout_s;
    double fails_share; /* of the requests: server errors at random */
};

struct sim_scenario {
    const char *name, *title;
    double seconds;
    uint32_t clients;
    double offered; /* requests/s of each client; 0: always one more */
    struct limiter_settings settings;
    struct sim_backend backend;
};

struct sim_second {
    double limit;  /* what the first client's law allows; 0: none */
    double hidden; /* what the back end takes */
    uint32_t offered, sent, accepted, rejected, failed;
    uint32_t in_flight, concurrency; /* at its end; of the first client */
    uint32_t backlog;                /* of all clients */
};

struct sim_result {
    struct sim_second seconds[SIM_SECONDS];
    uint32_t count;
    uint64_t offered, sent, accepted, rejected, failed;
    uint64_t into_outage; /* sent before and answered in it, and sent in it */
    double caught_up_s;   /* after the outage's end until no backlog was left; < 0: never */
    double back_s;        /* after its end until the first success */
    uint64_t per_client[SIM_CLIENTS]; /* accepted */
    double p50_s, p99_s;              /* of the accepted */
    uint32_t busiest;                 /* most sent by one client in any second */
    struct limiter limiter;           /* of the first client, at the end */
};

/* `result` is filled; the same seed gives the same. */
void sim_run(const struct sim_scenario *scenario, uint64_t seed, struct sim_result *result);

/* Sums over seconds [from, to). */
struct sim_second sim_sum(const struct sim_result *result, uint32_t from, uint32_t to);

/* accepted ÷ what the back end would have taken; rejected ÷ sent. */
double sim_use(const struct sim_result *result, uint32_t from, uint32_t to);
double sim_rejected(const struct sim_result *result, uint32_t from, uint32_t to);
