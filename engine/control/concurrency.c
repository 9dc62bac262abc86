/* SPDX-License-Identifier: Apache-2.0 */
/* Why: a back end's queue is where overload shows first, and a longer queue delivers nothing more.
 * The law looks once per round (a round trip, and at least 8 successes) at the median latency of
 * the successes in it and compares it with the base, the shortest seventh of the best round of the
 * last 5 to 10 s:
 *
 *   median > 2 × base + 10 ms   a queue has formed: limit × 0.85, not below 2
 *   else, when it was used      doubled until the first congestion, then + 1
 *   failures, 429s that do not  × 0.7 once per round trip, not below 1
 *   say when to come back
 *   every 10 s, when used       halved for one round: a law that always keeps a queue would
 *                               otherwise take it for the base
 *
 * The base is not the one shortest request: where service times vary by half, that is luck, and the
 * ramp to 200 slots ended at 800 of 2,000 requests/s. Nor is it the best median: a queue of our own
 * making hides in it (8 workers: median 0.32 s instead of 0.1).
 *
 * A long memory of the base would take a longer route for congestion and starve until it is
 * forgotten. The window is short for that reason; and where three cuts in a row made nothing
 * faster, the latency is not of our making: it becomes the new base, and the limit is what it was
 * before them.
 *
 * A 429 with Retry-After is about rate (rate.c) and says nothing here. One without may as well be a
 * full queue, and ten clients at one queue share it evenly only if those who are refused take less
 * of it. */
#include "control/concurrency.h"

#include <math.h>

#include "base/clock.h"

static const uint64_t slack_ns = 10 * NS_PER_MS;
static const uint64_t half_window_ns = 5 * NS_PER_S;
static const uint64_t halve_every_ns = 10 * NS_PER_S;
static const uint64_t latency_max_ns = 60 * NS_PER_S;
static const uint64_t round_max_ns = 5 * NS_PER_S;
static const double cut_queue = 0.85, cut_failure = 0.7;
static const double used_share = 0.8; /* of the limit: it was what held us back */

enum {
    BASE_SHARE = 7,    /* the shortest tenth of a round is its base */
    SAMPLES_LEAST = 8, /* in a round: a median of fewer is chance */
    CUTS_TO_DOUBT = 3,
    HELPED_PERCENT = 90, /* of the median before: less means that cutting helped */
};

static uint32_t most(const struct concurrency *concurrency)
{
    return concurrency->settings.max > 0 ? concurrency->settings.max : 1;
}

static void set_limit(struct concurrency *concurrency, double limit, double least,
                      const char *reason)
{
    double max = most(concurrency);
    concurrency->limit = fmin(fmax(limit, fmin(least, max)), max);
    concurrency->reason = reason;
}

static void begin_round(struct concurrency *concurrency, uint64_t now_ns)
{
    concurrency->round_ns = now_ns;
    concurrency->peak = concurrency->in_flight;
    concurrency->samples = 0;
}

void concurrency_restart(struct concurrency *concurrency, uint64_t now_ns)
{
    uint32_t initial = concurrency->settings.adaptive ? concurrency->settings.initial : UINT32_MAX;
    set_limit(concurrency, initial, 1, "starts with few");
    concurrency->smooth_ns = 0;
    concurrency->minimum_ns = concurrency->minimum_before_ns = UINT64_MAX;
    concurrency->half_ns = concurrency->cut_ns = now_ns;
    concurrency->doubling = true;
    concurrency->halved = false;
    concurrency->halve_ns = now_ns + halve_every_ns;
    concurrency->cuts = 0;
    begin_round(concurrency, now_ns);
}

void concurrency_init(struct concurrency *concurrency, const struct concurrency_settings *settings,
                      uint64_t now_ns)
{
    *concurrency = (struct concurrency){.settings = *settings};
    concurrency_restart(concurrency, now_ns);
}

uint32_t concurrency_limit(const struct concurrency *concurrency)
{
    double limit = concurrency->halved ? concurrency->limit / 2 : concurrency->limit;
    return limit < 1 ? 1 : (uint32_t)limit;
}

void concurrency_sent(struct concurrency *concurrency)
{
    concurrency->in_flight++;
    if (concurrency->peak < concurrency->in_flight)
        concurrency->peak = concurrency->in_flight;
}

void concurrency_ended(struct concurrency *concurrency)
{
    if (concurrency->in_flight > 0)
        concurrency->in_flight--;
}

static uint64_t shortest_ns(const struct concurrency *concurrency)
{
    return concurrency->minimum_ns < concurrency->minimum_before_ns
               ? concurrency->minimum_ns
               : concurrency->minimum_before_ns;
}

static void note_latency(struct concurrency *concurrency, uint64_t latency_ns)
{
    concurrency->smooth_ns =
        concurrency->smooth_ns == 0
            ? latency_ns
            : concurrency->smooth_ns - concurrency->smooth_ns / 8 + latency_ns / 8;
    concurrency->latency_ns[concurrency->samples % CONCURRENCY_SAMPLES] = latency_ns;
    concurrency->samples++;
}

/* The round's latencies in order; how many. */
static uint32_t sort_round(const struct concurrency *concurrency, uint64_t *ret_sorted)
{
    uint32_t count =
        concurrency->samples < CONCURRENCY_SAMPLES ? concurrency->samples : CONCURRENCY_SAMPLES;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = i;
        for (; at > 0 && ret_sorted[at - 1] > concurrency->latency_ns[i]; at--)
            ret_sorted[at] = ret_sorted[at - 1];
        ret_sorted[at] = concurrency->latency_ns[i];
    }
    return count;
}

static void note_base(struct concurrency *concurrency, uint64_t base_ns, uint64_t now_ns)
{
    if (now_ns - concurrency->half_ns >= half_window_ns) {
        concurrency->minimum_before_ns = concurrency->minimum_ns;
        concurrency->minimum_ns = UINT64_MAX;
        concurrency->half_ns = now_ns;
    }
    if (concurrency->minimum_ns > base_ns)
        concurrency->minimum_ns = base_ns;
}

static void cut_for_queue(struct concurrency *concurrency, uint64_t median)
{
    concurrency->doubling = false;
    if (concurrency->cuts == 0) {
        concurrency->limit_before = concurrency->limit;
        concurrency->median_before_ns = median;
    }
    concurrency->cuts++;
    if (concurrency->cuts > CUTS_TO_DOUBT) {
        concurrency->cuts = 0;
        if (median >= concurrency->median_before_ns / 100 * HELPED_PERCENT) {
            concurrency->minimum_ns = concurrency->minimum_before_ns = median;
            set_limit(concurrency, concurrency->limit_before, 1,
                      "fewer at once was no faster: the latency is not ours");
            return;
        }
    }
    set_limit(concurrency, concurrency->limit * cut_queue, 2, "latency doubled");
}

static void end_round(struct concurrency *concurrency, uint64_t now_ns)
{
    uint64_t sorted[CONCURRENCY_SAMPLES];
    uint32_t count = sort_round(concurrency, sorted);
    uint64_t median = sorted[(count - 1) / 2];
    note_base(concurrency, sorted[count / BASE_SHARE], now_ns);
    bool used = concurrency->peak >= used_share * concurrency_limit(concurrency);
    bool was_halved = concurrency->halved;
    concurrency->halved = false;
    if (was_halved) {
        /* the round was there to look, not to judge */
    } else if (median > 2 * shortest_ns(concurrency) + slack_ns) {
        cut_for_queue(concurrency, median);
    } else {
        concurrency->cuts = 0;
        if (used && concurrency->limit < most(concurrency))
            set_limit(concurrency,
                      concurrency->doubling ? concurrency->limit * 2 : concurrency->limit + 1, 1,
                      concurrency->doubling ? "doubles until the first congestion"
                                            : "no queue: one more");
    }
    if (!was_halved && now_ns >= concurrency->halve_ns) {
        concurrency->halved = used && !concurrency->doubling && concurrency->limit >= 4;
        concurrency->halve_ns = now_ns + halve_every_ns;
    }
    begin_round(concurrency, now_ns);
}

void concurrency_succeeded(struct concurrency *concurrency, uint64_t latency_ns, uint64_t now_ns)
{
    if (!concurrency->settings.adaptive)
        return;
    note_latency(concurrency, latency_ns < latency_max_ns ? latency_ns : latency_max_ns);
    uint64_t round_ns =
        concurrency->smooth_ns < round_max_ns ? concurrency->smooth_ns : round_max_ns;
    uint32_t enough = concurrency_limit(concurrency);
    if (enough < SAMPLES_LEAST)
        enough = SAMPLES_LEAST;
    if (enough > CONCURRENCY_SAMPLES / 2)
        enough = CONCURRENCY_SAMPLES / 2;
    if (concurrency->samples >= enough && now_ns - concurrency->round_ns >= round_ns)
        end_round(concurrency, now_ns);
}

void concurrency_failed(struct concurrency *concurrency, const char *reason, uint64_t now_ns)
{
    if (!concurrency->settings.adaptive)
        return;
    if (concurrency->cut_ns != 0 && now_ns - concurrency->cut_ns < concurrency->smooth_ns)
        return;
    concurrency->cut_ns = now_ns;
    concurrency->doubling = false;
    set_limit(concurrency, concurrency->limit * cut_failure, 1, reason);
}

static uint64_t before(uint64_t at_ns, uint64_t back_ns)
{
    return at_ns > back_ns ? at_ns - back_ns : 0;
}

void concurrency_shift(struct concurrency *concurrency, uint64_t back_ns)
{
    concurrency->round_ns = before(concurrency->round_ns, back_ns);
    concurrency->half_ns = before(concurrency->half_ns, back_ns);
    concurrency->halve_ns = before(concurrency->halve_ns, back_ns);
    concurrency->cut_ns = before(concurrency->cut_ns, back_ns);
}
