/* SPDX-License-Identifier: Apache-2.0 */
/* Step 9 of 9, after the answer. The policy in one place, without clock, socket or counter, so that
 * a table of cases tests it whole. */
#include "exporters/retry.h"

#include "base/clock.h"

/* initial × multiplier^(attempt−1), at most the longest, then ± the random share. */
static uint64_t backoff_ns(const struct retry_settings *settings, uint32_t attempt,
                           struct random *random)
{
    double wait = (double)settings->initial_interval_ns;
    double longest = (double)settings->max_interval_ns;
    for (uint32_t i = 1; i < attempt && wait < longest; i++) {
        double before = wait;
        wait *= settings->multiplier;
        if (wait <= before)
            break; /* multiplier ≤ 1: constant */
    }
    if (longest > 0 && wait > longest)
        wait = longest;
    double unit = (double)(random_next(random) >> 11) / (double)(1ull << 53);
    wait *= 1.0 + settings->randomization_factor * (2.0 * unit - 1.0);
    return wait < (double)NS_PER_MS ? NS_PER_MS : (uint64_t)wait;
}

static struct retry_decision drop(enum telemetry_value reason)
{
    return (struct retry_decision){.verdict = RETRY_DROP, .reason = reason};
}

static struct retry_decision hold(const struct retry_settings *settings, struct random *random)
{
    if (!settings->enabled)
        return drop(TELEMETRY_DROPPED_PERMANENT);
    uint64_t wait = random_jitter(random, settings->max_interval_ns, 10);
    return (struct retry_decision){.verdict = RETRY_HOLD, .wait_ns = wait, .gate_ns = wait};
}

static struct retry_decision again(const struct retry_settings *settings, uint32_t attempt,
                                   uint64_t elapsed_ns, uint64_t retry_after_ns,
                                   struct random *random)
{
    if (!settings->enabled)
        return drop(TELEMETRY_DROPPED_EXPIRED);
    uint64_t wait = backoff_ns(settings, attempt, random);
    if (settings->max_elapsed_ns > 0 && elapsed_ns + wait > settings->max_elapsed_ns)
        return drop(TELEMETRY_DROPPED_EXPIRED);
    uint64_t gate = retry_after_ns < RETRY_AFTER_MAX_S * NS_PER_S ? retry_after_ns
                                                                  : RETRY_AFTER_MAX_S * NS_PER_S;
    if (wait < gate)
        wait = gate;
    return (struct retry_decision){.verdict = RETRY_AGAIN, .wait_ns = wait, .gate_ns = gate};
}

struct retry_decision retry_decide(const struct retry_settings *settings, uint32_t attempt,
                                   uint64_t elapsed_ns, const struct http_answer *answer,
                                   struct random *random)
{
    switch (answer->outcome) {
    case HTTP_UNREACHABLE:
    case HTTP_LOST:
    case HTTP_TIMEOUT:
        return again(settings, attempt, elapsed_ns, 0, random);
    case HTTP_UNTRUSTED:
        return hold(settings, random);
    case HTTP_OVERSIZED:
        return drop(TELEMETRY_DROPPED_PERMANENT);
    case HTTP_ANSWERED:
        break;
    }
    if (answer->status >= 200 && answer->status < 300)
        return (struct retry_decision){.verdict = RETRY_DELIVERED};
    switch (answer->status) {
    case 429:
    case 502:
    case 503:
    case 504:
        return again(settings, attempt, elapsed_ns, answer->retry_after_ns, random);
    case 401:
    case 403:
        return hold(settings, random);
    case 413:
        return drop(TELEMETRY_DROPPED_TOO_LARGE);
    default:
        return drop(TELEMETRY_DROPPED_PERMANENT);
    }
}
