/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/telemetry.h>

#include "base/random.h"
#include "control/limiter.h"
#include "exporters/http.h"

/* What to do with a batch after an answer, or after none: a pure function. Keys and defaults are
 * the Collector's retry_on_failure. Source: OTLP specification, "OTLP/HTTP Response". */
struct retry_settings {
    bool enabled;
    uint64_t initial_interval_ns;
    double multiplier;
    double randomization_factor;
    uint64_t max_interval_ns;
    uint64_t max_elapsed_ns; /* 0: for ever */
    bool every_5xx;          /* not OTLP's 502, 503, 504 alone: what remote write asks for */
};

enum retry_verdict {
    RETRY_DELIVERED, /* the back end has it */
    RETRY_AGAIN,     /* wait, then the same batch again */
    RETRY_HOLD,      /* as AGAIN, but never given up: wrong credentials or an untrusted certificate
                        are cured by a person, not by dropping data */
    RETRY_SPLIT,     /* too large: in two parts, if it can be cut */
    RETRY_DROP,      /* `reason` says why */
};

struct retry_decision {
    enum retry_verdict verdict;
    uint64_t wait_ns; /* AGAIN, HOLD: of this batch; the limiter decides about the destination */
    enum limiter_result result;  /* what the limiter is told */
    enum telemetry_value reason; /* DROP: a TELEMETRY_DROPPED_… */
};

/* `attempt` counts from 1; `elapsed_ns` since the first attempt began. */
struct retry_decision retry_decide(const struct retry_settings *settings, uint32_t attempt,
                                   uint64_t elapsed_ns, const struct http_answer *answer,
                                   struct random *random);
