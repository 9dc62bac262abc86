/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Requests in flight to one destination: AIMD on the latency of successes against a short minimum
 * window. Pure; limiter.c drives it. */
struct concurrency_settings {
    bool adaptive;
    uint32_t max;     /* also the fixed value where not adaptive; 0 counts as 1 */
    uint32_t initial; /* 2 */
};

enum { CONCURRENCY_SAMPLES = 31 };

struct concurrency {
    struct concurrency_settings settings;
    double limit;
    uint32_t in_flight;
    /* The round: about one round trip. */
    uint64_t round_ns; /* when it began */
    uint32_t peak;     /* most in flight during it */
    uint32_t samples;  /* latencies seen in it; the last CONCURRENCY_SAMPLES are kept */
    uint64_t latency_ns[CONCURRENCY_SAMPLES];
    uint64_t smooth_ns; /* round trip, smoothed; 0: none yet */
    /* The shortest latency of the last 5 to 10 s: of this half and of the one before. */
    uint64_t minimum_ns, minimum_before_ns; /* UINT64_MAX: none */
    uint64_t half_ns;                       /* when this half began */
    bool doubling;                          /* no congestion yet */
    bool halved;                            /* for one round, to see the latency without a queue */
    uint64_t halve_ns;                      /* when next */
    uint64_t cut_ns;                        /* last cut after a failure */
    /* Cuts in a row, and what they began from. */
    uint32_t cuts;
    double limit_before;
    uint64_t median_before_ns;
    const char *reason; /* of the last change: constant text */
};

void concurrency_init(struct concurrency *concurrency, const struct concurrency_settings *settings,
                      uint64_t now_ns);

/* Requests that may be in flight now: at least 1. */
uint32_t concurrency_limit(const struct concurrency *concurrency);

void concurrency_sent(struct concurrency *concurrency);

/* A request ended, however it did. */
void concurrency_ended(struct concurrency *concurrency);

/* It succeeded after so long. Call before concurrency_ended(). */
void concurrency_succeeded(struct concurrency *concurrency, uint64_t latency_ns, uint64_t now_ns);

/* It failed as a back end in trouble makes requests fail: fewer at once, once per round trip.
 * `reason` is constant text. */
void concurrency_failed(struct concurrency *concurrency, const char *reason, uint64_t now_ns);

/* From the beginning again, with `initial`; who is in flight stays. */
void concurrency_restart(struct concurrency *concurrency, uint64_t now_ns);

/* The clock went back by so much. */
void concurrency_shift(struct concurrency *concurrency, uint64_t back_ns);
