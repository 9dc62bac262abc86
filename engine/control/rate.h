/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Requests and points per second of one destination: paced token buckets under hard ceilings, and
 * adaptive below them: off until the first 429, then a search for the back end's limit, held, and
 * probed ever again. Pure; limiter.c drives it. */
struct rate_settings {
    bool adaptive;
    double requests_per_second; /* hard ceiling, in every second; 0: none */
    double points_per_minute;   /* hard ceiling in every minute, for requests of at most half of it;
                                   0: none */
};

/* A bucket: `level` tokens at `at_ns`, `per_second` more, never above `most`. */
struct rate_bucket {
    double level, most, per_second; /* per_second 0: not in use */
    uint64_t at_ns;
};

enum rate_mode {
    /* No limit but the ceilings: no 429 for minutes, or never. */
    RATE_OFF,
    /* The limit lies between what was accepted and what was refused: up, evenly. */
    RATE_SEARCHING,
    /* The limit is known: just below it, then up to probe it. */
    RATE_HOLDING,
    /* A quota per window is known, from how long the gates were: as HOLDING, for some windows. */
    RATE_QUOTA,
};

/* A 429 that begins an episode: nothing was throttled since the last success. */
struct rate_throttle {
    uint64_t latency_ns; /* of that request */
    uint64_t gate_ns;    /* for how long nothing is sent now */
    double chance;       /* [0, 1): jitter */
};

struct rate {
    struct rate_settings settings;
    struct rate_bucket ceiling, points, learnt;
    enum rate_mode mode;
    double limit; /* requests/s by the law, 0: none */
    /* The curve: base × exp(slope × t + (max(0, t − pause) / scale)³), t = progress_s. */
    double base, slope, pause_s, scale_s;
    double progress_s; /* busy time on the curve */
    uint64_t progress_ns;
    /* Accepted requests per second, smoothed. */
    double measured, measured_weight;
    uint64_t measured_ns;
    /* The period: from the end of one gate to the end of the next. */
    uint64_t period_ns;
    double accepted; /* in it */
    /* The episode: from a 429 to the first success of a request sent after it. */
    bool throttled;
    uint64_t episode_ns;              /* when the last one began; 0: never */
    uint64_t gate_ns;                 /* when its last gate began */
    uint64_t latest_ns;               /* the last 429 */
    double refused;                   /* 429s in it */
    double period_s, period_accepted; /* up to it */
    double busy_s;                    /* of that time at the limit */
    double window_s;                  /* of the quota */
    double chance;
    double failed;      /* requests/s when it began */
    uint32_t soon;      /* times in a row that a rate found was a little too high */
    const char *reason; /* of the last change: constant text */
};

void rate_init(struct rate *rate, const struct rate_settings *settings, uint64_t now_ns);

/* When one more request of `points` may leave: ≤ now_ns when it may now. */
uint64_t rate_ready_ns(const struct rate *rate, uint64_t points, uint64_t now_ns);

void rate_sent(struct rate *rate, uint64_t points, uint64_t now_ns);

/* The back end took a request that was sent then. */
void rate_accepted(struct rate *rate, uint64_t sent_ns, uint64_t now_ns);

/* A 429 of a request sent after the last gate. */
void rate_throttled(struct rate *rate, const struct rate_throttle *throttle, uint64_t now_ns);

/* A 429 of a request sent before it: counts, changes nothing. */
void rate_refused(struct rate *rate, uint64_t now_ns);

/* Requests per second allowed now: the lowest of ceiling and what was learnt; 0: no limit. */
double rate_limit(const struct rate *rate);

/* Requests per second accepted of late. */
double rate_measured(const struct rate *rate, uint64_t now_ns);

/* The clock went back by so much. */
void rate_shift(struct rate *rate, uint64_t back_ns);
