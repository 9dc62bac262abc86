/* SPDX-License-Identifier: Apache-2.0 */
/* Why: one destination, four laws, and each must know what the others did. A request leaves when
 * all agree; an answer goes to those it tells something.
 *
 *   answer           gate       rate      concurrency  breaker
 *   2xx              –          accepted  latency      success
 *   429, 503 + hint  begins     limit     –            a probe's: success
 *   429 without      begins     limit     fewer        a probe's: success
 *   400, 413, …      –          accepted  –            success
 *   5xx, timeout, …  –          –         fewer        failure
 *   401, 403, …      –          –         –            opens at once, long pauses
 *
 * The gate: Retry-After, at most an hour, and up to an eighth of it but half a second on top, so
 * that those who were refused together do not return together; without it 0.25 s × 2ⁿ up to 5 s.
 * What was sent before a gate began says nothing new when it is refused too: one episode, one
 * decrease. In the same way what was sent before the breaker opened tells it nothing any more, or
 * ten timeouts of one moment would be ten reasons for a longer pause.
 *
 * Two failures in a row, and nothing more leaves beside what is out until something succeeds: with
 * ten in flight when an outage begins, it sees those ten and the probes, not one more for each that
 * came back.
 *
 * The same after two gates without a success between them: one feeler at a time, or a quota without
 * Retry-After would cost as many refusals as are allowed in flight every 5 s.
 *
 * Retries have a budget: a share of the requests and one a second, so that a back end that fails
 * half of all requests does not get twice as many. The breaker's probe is exempt.
 *
 * Time never goes back here: a step back of up to a second is taken as standing still, a longer one
 * shifts all that was remembered (limiter_settle). */
#include "control/limiter.h"

#include <math.h>
#include <stddef.h>

#include "base/check.h"
#include "base/clock.h"

static const uint64_t hint_max_ns = 3600 * NS_PER_S;
static const uint64_t jitter_max_ns = NS_PER_S / 2;
static const uint64_t gate_first_ns = NS_PER_S / 4, gate_most_ns = 5 * NS_PER_S;
static const uint64_t step_back_ns = NS_PER_S; /* up to that: as if the clock stood */
static const double retry_tokens_max = 20;
static const double told_growth = 1.25; /* growth that is worth an entry in the ring */

enum {
    SUSPICION_FAILURES = 2, /* in a row: then one at a time */
    FEELER_GATES = 2,       /* the same, for gates without a success between them */
};

static const char *const waits[] = {
    [LIMITER_FREE] = "",
    [LIMITER_WAIT_BREAKER] = "breaker",
    [LIMITER_WAIT_GATE] = "gate",
    [LIMITER_WAIT_RATE] = "rate",
    [LIMITER_WAIT_RETRY_BUDGET] = "retry budget",
    [LIMITER_WAIT_CONCURRENCY] = "concurrency",
};

/* --- time --- */

static uint64_t before(uint64_t at_ns, uint64_t back_ns)
{
    return at_ns > back_ns ? at_ns - back_ns : 0;
}

static bool jumped_back(const struct limiter *limiter, uint64_t now_ns)
{
    return limiter->now_ns > now_ns && limiter->now_ns - now_ns > step_back_ns;
}

/* The time to go by. */
static uint64_t settle(struct limiter *limiter, uint64_t now_ns)
{
    if (jumped_back(limiter, now_ns)) {
        uint64_t back_ns = limiter->now_ns - now_ns;
        uint64_t *stamps[] = {&limiter->gate_ns,          &limiter->gate_begun_ns,
                              &limiter->retry_ns,         &limiter->breaker.until_ns,
                              &limiter->breaker.probe_ns, &limiter->breaker.open_ns};
        for (size_t i = 0; i < sizeof stamps / sizeof *stamps; i++)
            *stamps[i] = before(*stamps[i], back_ns);
        rate_shift(&limiter->rate, back_ns);
        concurrency_shift(&limiter->concurrency, back_ns);
        limiter->now_ns = now_ns;
    }
    if (limiter->now_ns < now_ns)
        limiter->now_ns = now_ns;
    return limiter->now_ns;
}

/* --- the ring of changes --- */

static void tell(struct limiter *limiter, const struct limiter_change *change)
{
    limiter->changes[limiter->change_count % LIMITER_CHANGES] = *change;
    limiter->changes[limiter->change_count % LIMITER_CHANGES].at_ns = limiter->now_ns;
    limiter->change_count++;
}

const struct limiter_change *limiter_change(const struct limiter *limiter, uint32_t back)
{
    if (back >= LIMITER_CHANGES || back >= limiter->change_count)
        return NULL;
    return &limiter->changes[(limiter->change_count - 1 - back) % LIMITER_CHANGES];
}

static void tell_moves(struct limiter *limiter)
{
    double rate = rate_limit(&limiter->rate), told = limiter->told_rate;
    if (rate < told || (told <= 0) != (rate <= 0) || rate > told * told_growth) {
        tell(limiter,
             &(struct limiter_change){
                 .what = "rate", .reason = limiter->rate.reason, .from = told, .to = rate});
        limiter->told_rate = rate;
    }
    double at_once = limiter->concurrency.limit;
    told = limiter->told_concurrency;
    if (at_once < told || at_once > told * told_growth) {
        tell(limiter, &(struct limiter_change){.what = "concurrency",
                                               .reason = limiter->concurrency.reason,
                                               .from = told,
                                               .to = at_once});
        limiter->told_concurrency = at_once;
    }
}

static void tell_breaker(struct limiter *limiter, enum breaker_state from, const char *reason)
{
    if (limiter->breaker.state != from)
        tell(limiter,
             &(struct limiter_change){
                 .what = "breaker", .reason = reason, .from = from, .to = limiter->breaker.state});
}

/* --- may one leave? --- */

static double retry_tokens(const struct limiter *limiter, uint64_t now_ns)
{
    double passed_s = now_ns > limiter->retry_ns ? (double)(now_ns - limiter->retry_ns) / 1e9 : 0;
    return fmin(limiter->retry_tokens + passed_s, retry_tokens_max);
}

static uint64_t retry_ready_ns(const struct limiter *limiter, uint64_t now_ns)
{
    double missing = 1 - retry_tokens(limiter, now_ns);
    return missing <= 0 ? 0 : now_ns + (uint64_t)(missing * 1e9) + 1;
}

static bool is_full(const struct limiter *limiter)
{
    const struct concurrency *concurrency = &limiter->concurrency;
    bool suspicious =
        limiter->settings.breaker.failures > 0 && limiter->breaker.failures >= SUSPICION_FAILURES;
    bool feeling = limiter->gates_in_a_row >= FEELER_GATES;
    return concurrency->in_flight >= (suspicious || feeling ? 1 : concurrency_limit(concurrency));
}

static uint64_t ready(const struct limiter *limiter, bool retry, uint64_t points, uint64_t now_ns,
                      enum limiter_wait *ret_wait)
{
    bool jumped = jumped_back(limiter, now_ns); /* then only what is no matter of time holds */
    if (!jumped && now_ns < limiter->now_ns)
        now_ns = limiter->now_ns;
    uint64_t breaker_ns = breaker_ready_ns(&limiter->breaker);
    bool probe = limiter->breaker.state == BREAKER_OPEN;
    const struct {
        enum limiter_wait wait;
        uint64_t at_ns;
    } laws[] = {
        {LIMITER_WAIT_BREAKER, breaker_ns},
        {LIMITER_WAIT_GATE, limiter->gate_ns},
        {LIMITER_WAIT_RATE, rate_ready_ns(&limiter->rate, points, now_ns)},
        {LIMITER_WAIT_RETRY_BUDGET, retry && !probe && limiter->settings.retry_share > 0
                                        ? retry_ready_ns(limiter, now_ns)
                                        : 0},
        {LIMITER_WAIT_CONCURRENCY, !probe && is_full(limiter) ? UINT64_MAX : 0},
    };
    uint64_t latest_ns = 0;
    *ret_wait = LIMITER_FREE;
    for (size_t i = 0; i < sizeof laws / sizeof *laws; i++) {
        if (laws[i].at_ns <= now_ns || laws[i].at_ns <= latest_ns)
            continue;
        if (jumped && laws[i].at_ns != UINT64_MAX)
            continue;
        latest_ns = laws[i].at_ns;
        *ret_wait = laws[i].wait;
    }
    return latest_ns;
}

uint64_t limiter_ready_ns(struct limiter *limiter, bool retry, uint64_t points, uint64_t now_ns)
{
    enum limiter_wait wait;
    uint64_t ready_ns = ready(limiter, retry, points, now_ns, &wait);
    if (wait == LIMITER_WAIT_RETRY_BUDGET && !limiter->retry_waits) {
        limiter->retry_waits = true;
        limiter->retries_refused++;
    }
    return ready_ns;
}

enum limiter_wait limiter_waits_for(const struct limiter *limiter, bool retry, uint64_t points,
                                    uint64_t now_ns)
{
    enum limiter_wait wait;
    ready(limiter, retry, points, now_ns, &wait);
    return wait;
}

const char *limiter_wait_name(enum limiter_wait wait)
{
    CHECK((unsigned)wait < sizeof waits / sizeof *waits);
    return waits[wait];
}

bool limiter_probing(const struct limiter *limiter, uint64_t now_ns)
{
    return breaker_probing(&limiter->breaker, now_ns);
}

/* --- one leaves --- */

void limiter_sent(struct limiter *limiter, bool retry, uint64_t points, uint64_t now_ns)
{
    now_ns = settle(limiter, now_ns);
    limiter->retry_tokens = retry_tokens(limiter, now_ns);
    limiter->retry_ns = now_ns;
    bool probe = breaker_sent(&limiter->breaker, now_ns);
    if (retry && !probe) {
        limiter->retry_tokens = fmax(0, limiter->retry_tokens - 1);
        limiter->retry_waits = false;
    } else if (!retry) {
        limiter->retry_tokens += limiter->settings.retry_share;
    }
    rate_sent(&limiter->rate, points, now_ns);
    concurrency_sent(&limiter->concurrency);
    if (probe)
        tell_breaker(limiter, BREAKER_OPEN, "one probe");
}

/* --- its answer --- */

static void throttled(struct limiter *limiter, const struct limiter_answer *answer, uint64_t now_ns)
{
    uint64_t hint_ns = answer->retry_after_ns < hint_max_ns ? answer->retry_after_ns : hint_max_ns;
    uint64_t spread_ns = hint_ns / 8 < jitter_max_ns ? hint_ns / 8 : jitter_max_ns;
    limiter->throttled++;
    if (limiter->gate_begun_ns != 0 && answer->sent_ns <= limiter->gate_begun_ns) {
        rate_refused(&limiter->rate, now_ns);
        /* Sent in the same breath and refused for much longer: that holds as well. */
        if (now_ns + hint_ns > limiter->gate_ns + jitter_max_ns)
            limiter->gate_ns = now_ns + hint_ns + random_below(&limiter->random, spread_ns + 1);
        return;
    }
    uint64_t wait_ns = hint_ns + random_below(&limiter->random, spread_ns + 1);
    if (hint_ns == 0) {
        wait_ns = gate_most_ns;
        if (limiter->gates_without_hint < 5)
            wait_ns = gate_first_ns << limiter->gates_without_hint;
        wait_ns -= random_below(&limiter->random, wait_ns / 4);
        limiter->gates_without_hint++;
    }
    double was_s = limiter->gate_ns > now_ns ? (double)(limiter->gate_ns - now_ns) / 1e9 : 0;
    if (limiter->gate_ns < now_ns + wait_ns)
        limiter->gate_ns = now_ns + wait_ns;
    limiter->gate_begun_ns = now_ns;
    limiter->gates++;
    limiter->gates_in_a_row++;
    tell(limiter, &(struct limiter_change){.what = "gate",
                                           .reason = hint_ns > 0 ? "429 with Retry-After"
                                                                 : "429 without Retry-After",
                                           .from = was_s,
                                           .to = (double)(limiter->gate_ns - now_ns) / 1e9});
    struct rate_throttle throttle = {.latency_ns =
                                         now_ns > answer->sent_ns ? now_ns - answer->sent_ns : 0,
                                     .gate_ns = limiter->gate_ns - now_ns,
                                     .chance = (double)random_below(&limiter->random, 1024) / 1024};
    rate_throttled(&limiter->rate, &throttle, now_ns);
    if (hint_ns == 0)
        concurrency_failed(&limiter->concurrency, "429 without Retry-After", now_ns);
}

static void alive(struct limiter *limiter, bool stale, uint64_t now_ns)
{
    enum breaker_state from = limiter->breaker.state;
    if (stale || !breaker_succeeded(&limiter->breaker, now_ns))
        return;
    tell_breaker(limiter, from, "the probe succeeded");
    concurrency_restart(&limiter->concurrency, now_ns);
}

static void failed(struct limiter *limiter, const struct limiter_answer *answer, bool stale,
                   uint64_t now_ns)
{
    static const char *const reasons[] = {
        [LIMITER_SERVER_ERROR] = "server errors in a row",
        [LIMITER_TIMEOUT] = "timeouts in a row",
        [LIMITER_CONNECTION] = "connections failed in a row",
        [LIMITER_AUTHENTICATION] = "authentication failed",
    };
    if (stale)
        return;
    bool held = answer->result == LIMITER_AUTHENTICATION;
    if (!held)
        concurrency_failed(&limiter->concurrency, "requests failed", now_ns);
    enum breaker_state from = limiter->breaker.state;
    breaker_failed(&limiter->breaker, &limiter->settings.breaker,
                   &(struct breaker_failure){.held = held}, &limiter->random, now_ns);
    tell_breaker(limiter, from, reasons[answer->result]);
}

void limiter_answered(struct limiter *limiter, const struct limiter_answer *answer, uint64_t now_ns)
{
    now_ns = settle(limiter, now_ns);
    const struct breaker *breaker = &limiter->breaker;
    bool probe = breaker->state == BREAKER_HALF_OPEN &&
                 (answer->sent_ns == breaker->probe_ns || limiter->concurrency.in_flight <= 1);
    bool stale = !probe && (breaker->state != BREAKER_CLOSED ||
                            (breaker->trips > 0 && answer->sent_ns <= breaker->open_ns));
    uint64_t latency_ns = now_ns > answer->sent_ns ? now_ns - answer->sent_ns : 0;
    switch (answer->result) {
    case LIMITER_OK:
        concurrency_succeeded(&limiter->concurrency, latency_ns, now_ns);
        rate_accepted(&limiter->rate, answer->sent_ns, now_ns);
        if (answer->sent_ns > limiter->gate_begun_ns)
            limiter->gates_in_a_row = limiter->gates_without_hint = 0;
        alive(limiter, stale, now_ns);
        break;
    case LIMITER_DATA:
        rate_accepted(&limiter->rate, answer->sent_ns, now_ns);
        alive(limiter, stale, now_ns);
        break;
    case LIMITER_THROTTLED:
        throttled(limiter, answer, now_ns);
        if (probe)
            alive(limiter, false, now_ns);
        break;
    case LIMITER_SERVER_ERROR:
    case LIMITER_TIMEOUT:
    case LIMITER_CONNECTION:
    case LIMITER_AUTHENTICATION:
        failed(limiter, answer, stale, now_ns);
        break;
    }
    concurrency_ended(&limiter->concurrency);
    tell_moves(limiter);
}

void limiter_forget(struct limiter *limiter)
{
    concurrency_ended(&limiter->concurrency);
    if (limiter->concurrency.in_flight == 0)
        breaker_forgot(&limiter->breaker, limiter->now_ns);
}

/* --- from birth to a look --- */

void limiter_init(struct limiter *limiter, const struct limiter_settings *settings, uint64_t seed,
                  uint64_t now_ns)
{
    *limiter = (struct limiter){.settings = *settings,
                                .random = {.state = seed},
                                .now_ns = now_ns,
                                .retry_tokens = retry_tokens_max,
                                .retry_ns = now_ns};
    rate_init(&limiter->rate, &settings->rate, now_ns);
    concurrency_init(&limiter->concurrency, &settings->concurrency, now_ns);
    breaker_init(&limiter->breaker);
    limiter->told_rate = rate_limit(&limiter->rate);
    limiter->told_concurrency = limiter->concurrency.limit;
}

void limiter_look(const struct limiter *limiter, uint64_t now_ns, struct limiter_view *ret_view)
{
    const struct breaker *breaker = &limiter->breaker;
    double limit = rate_limit(&limiter->rate), measured = rate_measured(&limiter->rate, now_ns);
    uint32_t at_once = concurrency_limit(&limiter->concurrency);
    bool held = breaker->held;
    double used = (double)limiter->concurrency.in_flight / at_once;
    if (limit > 0)
        used = fmax(used, measured / limit);
    *ret_view = (struct limiter_view){
        .rate_limit = limit,
        .rate_measured = measured,
        .concurrency_limit = at_once,
        .in_flight = limiter->concurrency.in_flight,
        .utilisation = fmin(used, 1),
        .breaker = breaker->state,
        .breaker_name = held ? "authentication failed" : breaker_state_name(breaker->state),
        .authentication_failed = held,
        .trips = breaker->trips,
        .away_ns = breaker->away_ns + (breaker->state != BREAKER_CLOSED && now_ns > breaker->open_ns
                                           ? now_ns - breaker->open_ns
                                           : 0),
        .open_until_ns = breaker->state == BREAKER_OPEN ? breaker->until_ns : 0,
        .gate_until_ns = limiter->gate_ns > now_ns ? limiter->gate_ns : 0,
        .throttled = limiter->throttled,
        .gates = limiter->gates,
        .retries_refused = limiter->retries_refused,
    };
}
