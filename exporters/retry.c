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

static struct retry_decision drop(enum limiter_result result, enum telemetry_value reason)
{
    return (struct retry_decision){.verdict = RETRY_DROP, .result = result, .reason = reason};
}

static struct retry_decision hold(const struct retry_settings *settings, struct random *random)
{
    if (!settings->enabled)
        return drop(LIMITER_AUTHENTICATION, TELEMETRY_DROPPED_PERMANENT);
    return (struct retry_decision){.verdict = RETRY_HOLD,
                                   .wait_ns = random_jitter(random, settings->max_interval_ns, 10),
                                   .result = LIMITER_AUTHENTICATION};
}

/* A batch that came at a bad time waits for nothing but the limiter; one that failed waits as well
 * for itself, longer each time. */
static struct retry_decision again(const struct retry_settings *settings, uint32_t attempt,
                                   uint64_t elapsed_ns, enum limiter_result result,
                                   struct random *random)
{
    if (!settings->enabled)
        return drop(result, TELEMETRY_DROPPED_EXPIRED);
    uint64_t wait = result == LIMITER_THROTTLED ? 0 : backoff_ns(settings, attempt, random);
    if (settings->max_elapsed_ns > 0 && elapsed_ns + wait > settings->max_elapsed_ns)
        return drop(result, TELEMETRY_DROPPED_EXPIRED);
    return (struct retry_decision){.verdict = RETRY_AGAIN, .wait_ns = wait, .result = result};
}

struct retry_decision retry_decide(const struct retry_settings *settings, uint32_t attempt,
                                   uint64_t elapsed_ns, const struct http_answer *answer,
                                   struct random *random)
{
    switch (answer->outcome) {
    case HTTP_UNREACHABLE:
    case HTTP_LOST:
        return again(settings, attempt, elapsed_ns, LIMITER_CONNECTION, random);
    case HTTP_TIMEOUT:
        return again(settings, attempt, elapsed_ns, LIMITER_TIMEOUT, random);
    case HTTP_UNTRUSTED:
        return hold(settings, random);
    case HTTP_OVERSIZED:
        return drop(LIMITER_DATA, TELEMETRY_DROPPED_PERMANENT);
    case HTTP_ANSWERED:
        break;
    }
    if (answer->status >= 200 && answer->status < 300)
        return (struct retry_decision){.verdict = RETRY_DELIVERED, .result = LIMITER_OK};
    switch (answer->status) {
    case 429:
        return again(settings, attempt, elapsed_ns, LIMITER_THROTTLED, random);
    case 502:
    case 503:
    case 504:
        return again(settings, attempt, elapsed_ns,
                     answer->retry_after_ns > 0 ? LIMITER_THROTTLED : LIMITER_SERVER_ERROR, random);
    case 401:
    case 403:
    case 407: /* of a proxy; on the way to https:// the same is an HTTP_UNREACHABLE */
        return hold(settings, random);
    case 413:
        return (struct retry_decision){
            .verdict = RETRY_SPLIT, .result = LIMITER_DATA, .reason = TELEMETRY_DROPPED_TOO_LARGE};
    default:
        if (settings->every_5xx && answer->status >= 500)
            return again(settings, attempt, elapsed_ns, LIMITER_SERVER_ERROR, random);
        return drop(LIMITER_DATA, TELEMETRY_DROPPED_PERMANENT);
    }
}
