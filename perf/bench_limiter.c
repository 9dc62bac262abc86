/* SPDX-License-Identifier: Apache-2.0 */
/* One request through the four laws (engine/control): may it leave, it leaves, its answer. Once per
 * request of some thousand points, so what matters is that it stays far below a request's own cost.
 * Floor: one number from the generator and one exp(), of which the rate law's curve needs three. */
#include <math.h>

#include "base/clock.h"
#include "control/limiter.h"
#include "perf/shim/bench.h"

enum { STEPS = 1000 };

static const struct limiter_settings settings = {
    .rate = {.adaptive = true, .requests_per_second = 5000, .points_per_minute = 1e9},
    .concurrency = {.adaptive = true, .max = 16, .initial = 2},
    .breaker = {.failures = 5,
                .pause_ns = 250 * NS_PER_MS,
                .pause_max_ns = 15 * NS_PER_S,
                .pause_held_ns = 60 * NS_PER_S},
    .retry_share = 0.1,
};

static uint64_t step(struct limiter *limiter, enum limiter_result result, uint64_t now_ns)
{
    uint64_t ready_ns = limiter_ready_ns(limiter, false, 8192, now_ns);
    if (ready_ns > now_ns)
        now_ns = ready_ns;
    limiter_sent(limiter, false, 8192, now_ns);
    const struct limiter_answer answer = {.result = result, .sent_ns = now_ns};
    now_ns += NS_PER_MS;
    limiter_answered(limiter, &answer, now_ns);
    return now_ns;
}

/* No 429 yet: the rate law only measures. */
static void unlimited(struct bench *bench)
{
    struct limiter limiter;
    uint64_t now_ns = NS_PER_S;
    limiter_init(&limiter, &settings, 7, now_ns);
    while (bench_next(bench))
        for (int i = 0; i < STEPS; i++)
            now_ns = step(&limiter, LIMITER_OK, now_ns);
    bench_items(bench, STEPS);
}

/* On the curve, with a 429 per thousand requests. */
static void limited(struct bench *bench)
{
    struct limiter limiter;
    uint64_t now_ns = NS_PER_S;
    limiter_init(&limiter, &settings, 7, now_ns);
    for (int i = 0; i < STEPS; i++)
        now_ns = step(&limiter, LIMITER_OK, now_ns);
    while (bench_next(bench)) {
        now_ns = step(&limiter, LIMITER_THROTTLED, now_ns);
        for (int i = 1; i < STEPS; i++)
            now_ns = step(&limiter, LIMITER_OK, now_ns);
    }
    bench_items(bench, STEPS);
}

static void exp_floor(struct bench *bench)
{
    struct random random = {.state = 7};
    while (bench_next(bench))
        for (int i = 0; i < STEPS; i++) {
            double number = exp(-(double)random_below(&random, 1000) / 1000);
            bench_keep(&number);
        }
    bench_items(bench, STEPS);
}

static const struct bench_case cases[] = {
    {"exp_floor", exp_floor, .unit = "request"},
    {"unlimited", unlimited, .unit = "request", .floor = "exp_floor"},
    {"limited", limited, .unit = "request", .floor = "exp_floor"},
};

int main(int argc, char **argv)
{
    bench_add_cases(cases, sizeof cases / sizeof *cases);
    bench_headline("limiter_request", "limited");
    return bench_main(argc, argv);
}
