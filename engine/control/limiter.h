/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/random.h"
#include "control/breaker.h"
#include "control/concurrency.h"
#include "control/rate.h"

/* What one destination may be sent, and when: the four laws in their order, asked as one.
 *
 *   gate         a Retry-After said "not before": nothing at all is sent
 *   rate         requests and points per second (rate.h): a hard ceiling, and below it what the
 *                back end's 429s taught
 *   concurrency  requests in flight (concurrency.h): AIMD on the latency of successes
 *   breaker      after failures in a row nothing but one probe at a time (breaker.h)
 *
 * Pure: state, event and time in, state out; no I/O, no clock, no allocation. One thread. */

/* What a request came to, as the laws see it. */
enum limiter_result {
    LIMITER_OK,           /* 2xx, partial success included */
    LIMITER_THROTTLED,    /* 429, or 503 with Retry-After */
    LIMITER_SERVER_ERROR, /* 502, 503, 504 */
    LIMITER_TIMEOUT,
    LIMITER_CONNECTION,     /* refused, reset, lost, no name */
    LIMITER_AUTHENTICATION, /* 401, 403, untrusted certificate */
    LIMITER_DATA,           /* 400, 413, …: this body, not the back end */
};

struct limiter_settings {
    struct rate_settings rate;
    struct concurrency_settings concurrency;
    struct breaker_settings breaker;
    double retry_share; /* retries at most this share of requests, and one a second; 0.1; 0: no
                           bound */
};

struct limiter_answer {
    enum limiter_result result;
    uint64_t sent_ns;        /* of the request */
    uint64_t retry_after_ns; /* 0: not said; longer than an hour counts as an hour */
};

/* Why a law last moved, for log, metrics and /status. */
struct limiter_change {
    uint64_t at_ns;
    const char *what;   /* "rate", "concurrency", "gate", "breaker" */
    const char *reason; /* constant text: "429 from the back end", "latency doubled", … */
    double from, to;    /* requests/s, requests in flight, seconds; breaker: enum breaker_state */
};

enum { LIMITER_CHANGES = 16 };

/* What keeps the next request. */
enum limiter_wait {
    LIMITER_FREE,
    LIMITER_WAIT_BREAKER,
    LIMITER_WAIT_GATE,
    LIMITER_WAIT_RATE,
    LIMITER_WAIT_RETRY_BUDGET,
    LIMITER_WAIT_CONCURRENCY,
};

struct limiter {
    struct limiter_settings settings;
    struct random random;
    struct rate rate;
    struct concurrency concurrency;
    struct breaker breaker;
    uint64_t now_ns;  /* latest time told: time does not go back */
    uint64_t gate_ns; /* nothing is sent before */
    uint64_t
        gate_begun_ns; /* answers to requests sent until then say nothing new; 0: no gate yet */
    uint32_t gates_in_a_row;     /* since the last success */
    uint32_t gates_without_hint; /* of these, those without Retry-After */
    double retry_tokens;
    uint64_t retry_ns; /* when retry_tokens was brought up to date */
    bool retry_waits;  /* a retry was refused since the last one left */
    /* since the start */
    uint64_t throttled, gates, retries_refused, probes;
    uint64_t change_count;
    struct limiter_change
        changes[LIMITER_CHANGES];       /* ring: change_count % LIMITER_CHANGES is next */
    double told_rate, told_concurrency; /* as in the last change */
};

void limiter_init(struct limiter *limiter, const struct limiter_settings *settings, uint64_t seed,
                  uint64_t now_ns);

/* When one more request of `points` may be sent: ≤ now_ns now; UINT64_MAX: not before an answer.
 * `retry`: the request was sent before (retry budget). Changes nothing but a count. */
uint64_t limiter_ready_ns(struct limiter *limiter, bool retry, uint64_t points, uint64_t now_ns);

/* What limiter_ready_ns() would wait for longest. */
enum limiter_wait limiter_waits_for(const struct limiter *limiter, bool retry, uint64_t points,
                                    uint64_t now_ns);

/* "rate", "retry budget", … ; "" where nothing is waited for. */
const char *limiter_wait_name(enum limiter_wait wait);

/* The next request is the breaker's probe: let it be the oldest batch. */
bool limiter_probing(const struct limiter *limiter, uint64_t now_ns);

/* A request leaves; limiter_ready_ns() was ≤ now_ns. The answer's sent_ns is this now_ns. */
void limiter_sent(struct limiter *limiter, bool retry, uint64_t points, uint64_t now_ns);

/* Its answer, or that there is none. */
void limiter_answered(struct limiter *limiter, const struct limiter_answer *answer,
                      uint64_t now_ns);

/* A request ended without an answer that says anything (shut down). */
void limiter_forget(struct limiter *limiter);

/* For metrics, /status and /health. */
struct limiter_view {
    double rate_limit;    /* requests/s allowed now; 0: no limit */
    double rate_measured; /* requests/s accepted of late */
    uint32_t concurrency_limit, in_flight;
    double utilisation; /* 0..1 of what may be sent: of rate or concurrency, whichever is fuller */
    enum breaker_state breaker;
    const char *breaker_name;   /* "closed", "open", "half-open", "authentication failed" */
    bool authentication_failed; /* not closed, and a person must cure it */
    uint64_t trips, away_ns;    /* breaker: times it opened, time it was not closed */
    uint64_t open_until_ns;     /* 0: not open */
    uint64_t gate_until_ns;     /* 0: no gate */
    uint64_t throttled, gates;  /* 429s; those that began a gate */
    uint64_t retries_refused;   /* waits of a retry for its budget */
};

void limiter_look(const struct limiter *limiter, uint64_t now_ns, struct limiter_view *ret_view);

/* The change before last at back = 1, …; NULL: not kept (any more). */
const struct limiter_change *limiter_change(const struct limiter *limiter, uint32_t back);
