/* SPDX-License-Identifier: Apache-2.0 */
/* What the worker decides after each answer (exporters/retry.c), by the kind of answer. Once per
 * request, so what matters is that it stays far below a request's own cost. Floor: one number from
 * the generator, which every wait is jittered by. */
#include "base/clock.h"
#include "exporters/retry.h"
#include "perf/shim/bench.h"

enum { STEPS = 1000, ATTEMPTS = 12 };

static const struct retry_settings settings = {
    .enabled = true,
    .initial_interval_ns = 5 * NS_PER_S,
    .multiplier = 1.5,
    .randomization_factor = 0.5,
    .max_interval_ns = 30 * NS_PER_S,
    .max_elapsed_ns = 300 * NS_PER_S,
};

static const struct http_answer accepted = {.outcome = HTTP_ANSWERED, .status = 200};
static const struct http_answer throttled = {
    .outcome = HTTP_ANSWERED, .status = 429, .retry_after_ns = 7 * NS_PER_S};
static const struct http_answer unreachable = {.outcome = HTTP_UNREACHABLE};

static void decide(struct bench *bench)
{
    const struct http_answer *answer = bench_data(bench);
    struct random random = {.state = 7};
    while (bench_next(bench))
        for (uint32_t i = 0; i < STEPS; i++) {
            struct retry_decision decision =
                retry_decide(&settings, 1 + i % ATTEMPTS, i * NS_PER_MS, answer, &random);
            bench_keep(&decision);
        }
    bench_items(bench, STEPS);
}

static void random_floor(struct bench *bench)
{
    struct random random = {.state = 7};
    while (bench_next(bench))
        for (int i = 0; i < STEPS; i++) {
            uint64_t number = random_next(&random);
            bench_keep(&number);
        }
    bench_items(bench, STEPS);
}

static const struct bench_case cases[] = {
    {"random_floor", random_floor, .unit = "decision"},
    {"accepted", decide, .data = &accepted, .unit = "decision", .floor = "random_floor"},
    {"throttled", decide, .data = &throttled, .unit = "decision", .floor = "random_floor"},
    {"unreachable", decide, .data = &unreachable, .unit = "decision", .floor = "random_floor"},
};

int main(int argc, char **argv)
{
    bench_add_cases(cases, sizeof cases / sizeof *cases);
    bench_headline("retry_decision", "throttled");
    return bench_main(argc, argv);
}
