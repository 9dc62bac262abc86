/* SPDX-License-Identifier: Apache-2.0 */
/* What the laws make of back ends whose limits nobody tells them: bounds over a hundred seeds. The
 * bounds are a little wider than what was measured, which is printed: mean and (worst seed).
 *
 *   test_scenarios            small where size does not matter: seconds
 *   test_scenarios --whole    all at full size: a minute */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/control/scenarios.h"

enum { SEEDS = 100, SETTLED_S = 30, PHASE_S = 60 };

static struct sim_result result;
static bool whole; /* all scenarios at full size: minutes instead of seconds */

/* What the worst seed and all seeds on average came to. */
struct summary {
    double use_least, use_mean;          /* requests/s */
    double rejected_most, rejected_mean; /* share of what was sent */
    double p50_mean, p99_most;           /* s */
    double fair_mean;                    /* accepted of the worst served ÷ best served client */
    uint64_t into_outage_most, trips_most;
    double back_most, caught_up_most; /* s; infinite: never */
};

static void add(struct summary *summary, uint32_t from, uint32_t clients)
{
    const struct sim_second sum = sim_sum(&result, from, result.count);
    double use = (double)sum.accepted / (result.count - from);
    double rejected = sum.sent > 0 ? (double)sum.rejected / sum.sent : 0;
    uint64_t least = result.per_client[0], most = least;
    for (uint32_t i = 1; i < clients; i++) {
        least = result.per_client[i] < least ? result.per_client[i] : least;
        most = result.per_client[i] > most ? result.per_client[i] : most;
    }
    double back = result.back_s < 0 ? 1e9 : result.back_s;
    double caught_up = result.caught_up_s < 0 ? 1e9 : result.caught_up_s;
#define WORST(field, value, order)                                                                 \
    summary->field = (value)order summary->field ? (value) : summary->field
    WORST(use_least, use, <);
    WORST(rejected_most, rejected, >);
    WORST(p99_most, result.p99_s, >);
    WORST(into_outage_most, result.into_outage, >);
    WORST(trips_most, result.limiter.breaker.trips, >);
    WORST(back_most, back, >);
    WORST(caught_up_most, caught_up, >);
#undef WORST
    summary->use_mean += use / SEEDS;
    summary->rejected_mean += rejected / SEEDS;
    summary->p50_mean += result.p50_s / SEEDS;
    summary->fair_mean += (double)least / (double)most / SEEDS;
}

/* Requests/s that the back end would have taken, or that were offered; 1: nobody knows. */
static double possible(const struct sim_scenario *scenario)
{
    const struct sim_backend *backend = &scenario->backend;
    if (scenario->offered > 0)
        return scenario->offered * scenario->clients;
    if (backend->workers > 0)
        return backend->workers / backend->service_s;
    return backend->limit[0].value > 0 ? backend->limit[0].value : 1;
}

static struct summary summarise(enum scenario_id id, uint32_t from)
{
    const struct sim_scenario scenario = whole ? scenarios[id] : scenario_small(id);
    struct summary summary = {.use_least = 1e9};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        sim_run(&scenario, seed, &result);
        add(&summary, from, scenario.clients);
    }
    summary.use_mean /= possible(&scenario);
    summary.use_least /= possible(&scenario);
    print_message(
        "%-14s used %.3f (%.3f) rejected %.4f (%.4f) p50 %.3f p99 %.3f into %2lu back %.1f "
        "caught up %.1f fair %.2f\n",
        scenario.name, summary.use_mean, summary.use_least, summary.rejected_mean,
        summary.rejected_most, summary.p50_mean, summary.p99_most,
        (unsigned long)summary.into_outage_most, summary.back_most, summary.caught_up_most,
        summary.fair_mean);
    return summary;
}

static void test_ramp(void **state)
{
    (void)state;
    struct summary s = summarise(SCENARIO_RAMP, 0);
    assert_true(s.use_mean > 0.85 && s.use_least > 0.5); /* start included */
    assert_true(s.p50_mean < 0.13);
}

static void test_workers(void **state)
{
    (void)state;
    struct summary s = summarise(SCENARIO_WORKERS, 0);
    assert_true(s.use_least > 0.96);
    assert_true(s.p50_mean < 0.15 && s.p99_most < 0.5);
    assert_true(s.rejected_most == 0);
}

/* After the first two windows 98 % of the quota and hardly a refusal. */
static void test_quota(void **state)
{
    (void)state;
    struct summary s = summarise(SCENARIO_QUOTA, 120);
    assert_true(s.use_mean > 0.97 && s.use_least > 0.96);
    assert_true(s.rejected_mean < 0.003 && s.rejected_most < 0.008);
    s = summarise(SCENARIO_QUOTA_UNSAID, 120);
    assert_true(s.use_mean > 0.95 && s.use_least > 0.88);
    assert_true(s.rejected_mean < 0.008 && s.rejected_most < 0.02);
}

static void test_quota_outage(void **state)
{
    (void)state;
    struct summary s = summarise(SCENARIO_QUOTA_OUTAGE, 0);
    assert_true(s.use_least > 0.98);
    assert_true(s.rejected_most < 0.02);
}

/* The outage sees the ten that were out, at most one more, and the probes. */
static void test_outages(void **state)
{
    (void)state;
    struct summary s = summarise(SCENARIO_OUTAGE, 0);
    assert_true(s.into_outage_most <= 20 && s.trips_most == 1);
    assert_true(s.back_most < 19 && s.caught_up_most < 45);
    s = summarise(SCENARIO_OUTAGE_ERRORS, 0);
    assert_true(s.into_outage_most <= 20 && s.trips_most == 1);
    assert_true(s.back_most < 19);
    s = summarise(SCENARIO_OUTAGE_SILENT, 0);
    assert_true(s.into_outage_most <= 20 && s.trips_most == 1);
    assert_true(s.back_most < 19 + 10);
}

static void test_farther(void **state)
{
    (void)state;
    struct summary s = summarise(SCENARIO_FARTHER, 0);
    assert_true(s.use_least > 0.96);
}

static void test_shared(void **state)
{
    (void)state;
    struct summary s = summarise(SCENARIO_SHARED, 0);
    assert_true(s.use_least > 0.97);
    assert_true(s.rejected_most < 0.01);
    assert_true(s.fair_mean > (whole ? 0.5 : 0.35));
    s = summarise(SCENARIO_SHARED_LIMIT, 0);
    assert_true(s.use_least > 0.75);
    assert_true(s.rejected_most < (whole ? 0.015 : 0.03));
    assert_true(s.fair_mean > (whole ? 0.25 : 0.18));
}

/* Half a minute after each change less than 1 % is refused and 90 % of the limit used, and the
 * ceiling is crossed in no second. */
static void hidden(double first, uint64_t seeds, enum sim_counting counting, bool hint,
                   double use_mean, double use_least)
{
    const struct sim_scenario scenario = scenario_hidden(first, counting, hint);
    double mean[3] = {0}, least[3] = {9, 9, 9}, rejected_mean[3] = {0}, rejected_most = 0;
    for (uint64_t seed = 0; seed < seeds; seed++) {
        sim_run(&scenario, seed, &result);
        assert_true(result.busiest <= (uint32_t)(2 * first));
        for (uint32_t phase = 0; phase < 3; phase++) {
            uint32_t from = phase * PHASE_S + SETTLED_S, to = (phase + 1) * PHASE_S;
            double use = sim_use(&result, from, to), rejected = sim_rejected(&result, from, to);
            mean[phase] += use / (double)seeds;
            least[phase] = use < least[phase] ? use : least[phase];
            rejected_mean[phase] += rejected / (double)seeds;
            rejected_most = rejected > rejected_most ? rejected : rejected_most;
        }
    }
    for (int phase = 0; phase < 3; phase++) {
        print_message("%4.0f/s, %-52s used %.3f (%.3f) rejected %.4f (%.4f)\n",
                      scenario.backend.limit[phase].value, scenario.title, mean[phase],
                      least[phase], rejected_mean[phase], rejected_most);
        assert_true(mean[phase] > use_mean && least[phase] > use_least);
        assert_true(rejected_mean[phase] < 0.01);
    }
}

/* A tenth of 500, 200, 800 requests/s. */
static void test_hidden_tenth(void **state)
{
    (void)state;
    hidden(50, SEEDS, SIM_WINDOW, false, 0.93, 0.80);
    hidden(50, SEEDS, SIM_WINDOW, true, 0.88, 0.70);
    hidden(50, SEEDS / 2, SIM_SLIDING, false, 0.92, 0.80);
    hidden(50, SEEDS / 2, SIM_SLIDING, true, 0.88, 0.70);
    hidden(50, SEEDS, SIM_BUCKET, false, 0.95, 0.90);
    hidden(50, SEEDS, SIM_BUCKET, true, 0.93, 0.85);
}

static void test_hidden(void **state)
{
    (void)state;
    uint64_t seeds = whole ? SEEDS : 2;
    hidden(500, seeds, SIM_WINDOW, false, 0.93, 0.90);
    hidden(500, seeds, SIM_WINDOW, true, 0.86, 0.75);
    hidden(500, seeds, SIM_SLIDING, false, 0.93, 0.90);
    hidden(500, seeds, SIM_SLIDING, true, 0.86, 0.75);
    hidden(500, seeds, SIM_BUCKET, false, 0.95, 0.93);
    hidden(500, seeds, SIM_BUCKET, true, 0.93, 0.85);
}

int main(int argc, char **argv)
{
    whole = argc > 1 && strcmp(argv[1], "--whole") == 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ramp),    cmocka_unit_test(test_workers),
        cmocka_unit_test(test_quota),   cmocka_unit_test(test_quota_outage),
        cmocka_unit_test(test_outages), cmocka_unit_test(test_farther),
        cmocka_unit_test(test_shared),  cmocka_unit_test(test_hidden_tenth),
        cmocka_unit_test(test_hidden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
