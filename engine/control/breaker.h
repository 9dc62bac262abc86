/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/random.h"

/* A circuit breaker for anything that can be away, a destination or a database server: closed,
 * open after failures in a row, half-open with exactly one probe; pauses grow and are jittered.
 * Pure: state, event and time in, state out. One thread. */
enum breaker_state {
    /* All may pass. */
    BREAKER_CLOSED,
    /* Nothing passes before `until_ns`; then the next one that leaves is the probe. */
    BREAKER_OPEN,
    /* The probe is out and nothing else may leave. */
    BREAKER_HALF_OPEN,
};

struct breaker_settings {
    uint32_t failures;      /* in a row that open it; 5; 0: never opens */
    uint64_t pause_ns;      /* first pause, 250 ms; doubles */
    uint64_t pause_max_ns;  /* 15 s */
    uint64_t pause_held_ns; /* while a person must cure it (credentials), 60 s */
};

/* What is special about a failure; all zero for most. */
struct breaker_failure {
    bool held;         /* a person must cure it: opens at once, waits at least pause_held_ns */
    uint64_t least_ns; /* waits at least so long */
};

struct breaker {
    enum breaker_state state;
    bool held;         /* the last failure is one that a person must cure */
    uint32_t failures; /* in a row */
    uint32_t pauses;   /* begun since it was closed */
    uint64_t until_ns; /* OPEN: end of the pause */
    uint64_t probe_ns; /* HALF_OPEN: when the probe left */
    uint64_t open_ns;  /* not CLOSED: since when */
    /* since the start */
    uint64_t trips; /* from closed to open */
    uint64_t probes;
    uint64_t away_ns;      /* the time spent not closed, up to the last recovery */
    uint64_t last_away_ns; /* the last such time */
};

void breaker_init(struct breaker *breaker);

/* When one more may leave: 0 when closed, UINT64_MAX while the probe is out. */
uint64_t breaker_ready_ns(const struct breaker *breaker);

/* What leaves next is the probe. */
bool breaker_probing(const struct breaker *breaker, uint64_t now_ns);

/* One leaves; breaker_ready_ns() was ≤ now_ns. True: it is the probe, and its outcome is to be
 * told by one of the next three. */
bool breaker_sent(struct breaker *breaker, uint64_t now_ns);

/* It came back well. True: that closed the breaker. What left before the breaker opened is not to
 * be told. */
bool breaker_succeeded(struct breaker *breaker, uint64_t now_ns);

/* It failed. True: that opened the breaker, for the first time or again. */
bool breaker_failed(struct breaker *breaker, const struct breaker_settings *settings,
                    const struct breaker_failure *failure, struct random *random, uint64_t now_ns);

/* The probe ended without saying anything: the next one may leave now. */
void breaker_forgot(struct breaker *breaker, uint64_t now_ns);

/* OPEN only: the next probe leaves no earlier than that. */
void breaker_postpone(struct breaker *breaker, uint64_t until_ns);

/* "closed", "open", "half-open" */
const char *breaker_state_name(enum breaker_state state);
