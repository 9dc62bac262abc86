/* SPDX-License-Identifier: Apache-2.0 */
/* Invariants under random events, orders and clocks: whatever is sent and answered, limits stay
 * within bounds, nothing leaves while gated or half-open, tokens never exceed their bucket, no
 * number is not a number, and the law does not stall for good. */
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/random.h"
#include "control/limiter.h"

enum { SEEDS = 300, EVENTS = 3000, OUT_MAX = 64 };

struct fleet {
    struct limiter limiter;
    struct random random;
    uint64_t now_ns;
    uint64_t out_ns[OUT_MAX]; /* when each that is out left */
    uint32_t out;
    uint32_t sent;
};

static double chance(struct random *random)
{
    return (double)random_below(random, 1u << 20) / (1u << 20);
}

static struct limiter_settings random_settings(struct random *random)
{
    static const double ceilings[] = {0, 0.3, 1, 10, 500, 100000};
    return (struct limiter_settings){
        .rate = {.adaptive = random_below(random, 8) > 0,
                 .requests_per_second = ceilings[random_below(random, 6)],
                 .points_per_minute = random_below(random, 3) == 0 ? 1e6 : 0},
        .concurrency = {.adaptive = random_below(random, 4) > 0,
                        .max = (uint32_t)random_below(random, OUT_MAX),
                        .initial = (uint32_t)random_below(random, 8)},
        .breaker = {.failures = (uint32_t)random_below(random, 8),
                    .pause_ns = random_below(random, NS_PER_S),
                    .pause_max_ns = random_below(random, 20 * NS_PER_S),
                    .pause_held_ns = 60 * NS_PER_S},
        .retry_share = random_below(random, 2) ? 0.1 : 0,
    };
}

static void check_bucket(const struct rate_bucket *bucket)
{
    assert_true(isfinite(bucket->level) && bucket->level <= bucket->most + 1e-9);
    assert_true(bucket->per_second >= 0 && isfinite(bucket->per_second));
}

static void check(const struct fleet *fleet)
{
    const struct limiter *limiter = &fleet->limiter;
    const struct limiter_settings *settings = &limiter->settings;
    struct limiter_view view;
    limiter_look(limiter, fleet->now_ns, &view);
    uint32_t max = settings->concurrency.max > 0 ? settings->concurrency.max : 1;
    assert_in_range(view.concurrency_limit, 1, max);
    assert_int_equal(view.in_flight, fleet->out);
    assert_true(isfinite(view.rate_limit) && view.rate_limit >= 0);
    assert_true(isfinite(view.rate_measured) && view.rate_measured >= 0);
    assert_true(view.utilisation >= 0 && view.utilisation <= 1);
    if (settings->rate.requests_per_second > 0)
        assert_true(view.rate_limit <= settings->rate.requests_per_second);
    if (limiter->rate.mode != RATE_OFF)
        assert_true(limiter->rate.limit >= 0.5 && limiter->rate.limit <= 1e7);
    check_bucket(&limiter->rate.ceiling);
    check_bucket(&limiter->rate.points);
    check_bucket(&limiter->rate.learnt);
    assert_true(isfinite(limiter->rate.progress_s) && limiter->rate.progress_s >= 0);
    assert_true(limiter->retry_tokens >= 0 && limiter->retry_tokens <= 21);
    uint64_t known_ns = limiter->now_ns > fleet->now_ns ? limiter->now_ns : fleet->now_ns;
    assert_true(view.gate_until_ns <= known_ns + 3602 * NS_PER_S);
}

static void try_send(struct fleet *fleet)
{
    struct limiter *limiter = &fleet->limiter;
    bool retry = random_below(&fleet->random, 3) == 0;
    uint64_t points = 1 + random_below(&fleet->random, 10000);
    uint64_t ready_ns = limiter_ready_ns(limiter, retry, points, fleet->now_ns);
    enum limiter_wait wait = limiter_waits_for(limiter, retry, points, fleet->now_ns);
    assert_true((wait == LIMITER_FREE) == (ready_ns <= fleet->now_ns));
    if (ready_ns > fleet->now_ns || fleet->out == OUT_MAX)
        return;
    assert_true(limiter->gate_ns <= fleet->now_ns || fleet->now_ns < limiter->now_ns);
    assert_true(limiter->breaker.state != BREAKER_HALF_OPEN);
    bool probe = limiter_probing(limiter, fleet->now_ns);
    uint64_t probes = limiter->breaker.probes;
    if (!probe)
        assert_true(fleet->out < concurrency_limit(&limiter->concurrency));
    limiter_sent(limiter, retry, points, fleet->now_ns);
    if (probe)
        assert_true(limiter->breaker.probes == probes + 1 &&
                    limiter->breaker.state == BREAKER_HALF_OPEN);
    fleet->out_ns[fleet->out++] = fleet->now_ns;
    fleet->sent++;
}

static void try_answer(struct fleet *fleet, double trouble)
{
    if (fleet->out == 0)
        return;
    uint32_t which = (uint32_t)random_below(&fleet->random, fleet->out);
    uint64_t sent_ns = fleet->out_ns[which];
    fleet->out_ns[which] = fleet->out_ns[--fleet->out];
    if (random_below(&fleet->random, 200) == 0) {
        limiter_forget(&fleet->limiter);
        return;
    }
    static const uint64_t hints[] = {0, 0, NS_PER_S, 30 * NS_PER_S, UINT64_MAX};
    struct limiter_answer answer = {.result = LIMITER_OK, .sent_ns = sent_ns};
    if (chance(&fleet->random) < trouble)
        answer.result = (enum limiter_result)random_below(&fleet->random, LIMITER_DATA + 1);
    if (answer.result == LIMITER_THROTTLED)
        answer.retry_after_ns = hints[random_below(&fleet->random, 5)];
    limiter_answered(&fleet->limiter, &answer, fleet->now_ns);
}

static void pass_time(struct fleet *fleet, bool jumps)
{
    static const uint64_t steps_ns[] = {0, NS_PER_US, NS_PER_MS, 20 * NS_PER_MS, NS_PER_S};
    fleet->now_ns += random_below(&fleet->random, 1 + steps_ns[random_below(&fleet->random, 5)]);
    if (!jumps || random_below(&fleet->random, 300) > 0)
        return;
    static const int64_t jump_s[] = {3600, -3600, 1, -1, 60, -7200};
    fleet->now_ns += (uint64_t)(jump_s[random_below(&fleet->random, 6)] * (int64_t)NS_PER_S);
}

static void run(uint64_t seed, bool jumps)
{
    struct fleet fleet = {.random = {.state = seed}, .now_ns = 1000000 * NS_PER_S};
    const struct limiter_settings settings = random_settings(&fleet.random);
    double trouble = chance(&fleet.random);
    limiter_init(&fleet.limiter, &settings, seed, fleet.now_ns);
    for (int i = 0; i < EVENTS; i++) {
        pass_time(&fleet, jumps);
        if (random_below(&fleet.random, 2))
            try_send(&fleet);
        else
            try_answer(&fleet, trouble);
        check(&fleet);
    }
    /* whatever happened: the back end is well again, and soon something leaves */
    while (fleet.out > 0)
        try_answer(&fleet, 0);
    uint64_t ready_ns = limiter_ready_ns(&fleet.limiter, false, 1, fleet.now_ns);
    assert_true(ready_ns <= fleet.now_ns + 3602 * NS_PER_S);
    assert_true(fleet.sent > 0);
}

static void test_steady_clock(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++)
        run(seed, false);
}

static void test_jumping_clock(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++)
        run(seed + SEEDS, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steady_clock),
        cmocka_unit_test(test_jumping_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
