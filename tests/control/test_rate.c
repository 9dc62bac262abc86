/* SPDX-License-Identifier: Apache-2.0 */
/* The buckets and what each kind of 429 does to the limit; scenarios are in test_scenarios.c. */
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/random.h"
#include "control/rate.h"

static const uint64_t start_ns = 1000 * NS_PER_S;
static const struct rate_settings adaptive = {.adaptive = true};

/* Sends as fast as allowed for `seconds`, each time up to late_ns after it became possible. */
static size_t send_all(struct rate *rate, double seconds, uint64_t late_ns, uint64_t points,
                       uint64_t *ret_sent, size_t space)
{
    struct random random = {.state = 3};
    size_t count = 0;
    uint64_t now_ns = start_ns, end_ns = start_ns + (uint64_t)(seconds * 1e9);
    for (;;) {
        uint64_t ready_ns = rate_ready_ns(rate, points, now_ns);
        if (ready_ns > now_ns)
            now_ns = ready_ns + random_below(&random, late_ns + 1);
        if (now_ns >= end_ns || count == space)
            return count;
        rate_sent(rate, points, now_ns);
        ret_sent[count++] = now_ns;
    }
}

static size_t busiest(const uint64_t *sent, size_t count, uint64_t window_ns)
{
    size_t most = 0, first = 0;
    for (size_t i = 0; i < count; i++) {
        while (sent[i] - sent[first] >= window_ns)
            first++;
        if (i - first + 1 > most)
            most = i - first + 1;
    }
    return most;
}

struct ceiling_row {
    double per_second;
    uint64_t late_ns;
    size_t most;  /* in any second */
    double least; /* of what is allowed, on average */
};

static const struct ceiling_row ceilings[] = {
    {0.2, 0, 1, 0.95},
    {1, 0, 1, 0.95},
    {1, 20 * NS_PER_MS, 1, 0.95},
    {2.5, 0, 2, 0.75}, /* two whole requests */
    {7, 3 * NS_PER_MS, 7, 0.95},
    {500, 0, 500, 0.975},
    {500, 2 * NS_PER_MS, 500, 0.975}, /* a timer's grain costs nothing */
    {500, 15 * NS_PER_MS, 500, 0.97},
    {1234, 2 * NS_PER_MS, 1234, 0.975},
};

static void test_ceiling(void **state)
{
    (void)state;
    enum { SPACE = 200000, SECONDS = 100 };
    uint64_t *sent = calloc(SPACE, sizeof *sent);
    for (size_t i = 0; i < sizeof ceilings / sizeof *ceilings; i++) {
        const struct ceiling_row *row = &ceilings[i];
        struct rate rate;
        rate_init(&rate, &(struct rate_settings){.requests_per_second = row->per_second}, start_ns);
        size_t count = send_all(&rate, SECONDS, row->late_ns, 1000, sent, SPACE);
        assert_true(busiest(sent, count, NS_PER_S) <= row->most);
        assert_true((double)count >= row->least * row->per_second * SECONDS);
        assert_true(rate_limit(&rate) == row->per_second);
    }
    free(sent);
}

/* An idle minute saves up no more than the burst. */
static void test_ceiling_after_idleness(void **state)
{
    (void)state;
    struct rate rate;
    rate_init(&rate, &(struct rate_settings){.requests_per_second = 100}, start_ns);
    uint64_t now_ns = start_ns + 60 * NS_PER_S;
    int at_once = 0;
    for (; rate_ready_ns(&rate, 1, now_ns) <= now_ns; at_once++)
        rate_sent(&rate, 1, now_ns);
    assert_in_range(at_once, 2, 3);
}

static void test_points(void **state)
{
    (void)state;
    enum { SPACE = 20000, MINUTES = 20 };
    static const struct {
        uint64_t points;
        double ceiling, least;
    } rows[] = {
        {1000, 600000, 0.85},  {8192, 1e6, 0.85},
        {40000, 150000, 0.7},  {50000, 150000, 0.6}, /* a third of a minute's in each request */
        {70000, 150000, 0.45},
    };
    static uint64_t sent[SPACE];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rate rate;
        rate_init(&rate, &(struct rate_settings){.points_per_minute = rows[i].ceiling}, start_ns);
        size_t count = send_all(&rate, MINUTES * 60, NS_PER_MS, rows[i].points, sent, SPACE);
        double most = (double)busiest(sent, count, 60 * NS_PER_S) * (double)rows[i].points;
        assert_true(most <= rows[i].ceiling);
        double used = (double)count * (double)rows[i].points / (rows[i].ceiling * MINUTES);
        assert_true(used >= rows[i].least);
    }
    /* larger than a minute's: it leaves nevertheless, and nothing else for as long as it takes */
    struct rate rate;
    rate_init(&rate, &(struct rate_settings){.points_per_minute = 1000}, start_ns);
    size_t count = send_all(&rate, 3600, 0, 5000, sent, SPACE);
    assert_in_range(count, 6, 15);
}

/* --- what 429s teach --- */

/* `per_second` requests are accepted, evenly, for so long. */
static uint64_t accept(struct rate *rate, double per_second, double seconds, uint64_t now_ns)
{
    uint64_t step_ns = (uint64_t)(1e9 / per_second);
    for (uint64_t end_ns = now_ns + (uint64_t)(seconds * 1e9); now_ns < end_ns; now_ns += step_ns)
        rate_accepted(rate, now_ns - 20 * NS_PER_MS, now_ns);
    return now_ns;
}

static uint64_t throttle(struct rate *rate, double gate_s, uint64_t now_ns)
{
    uint64_t gate_ns = (uint64_t)(gate_s * 1e9);
    rate_throttled(
        rate,
        &(struct rate_throttle){.latency_ns = 20 * NS_PER_MS, .gate_ns = gate_ns, .chance = 0.5},
        now_ns);
    return now_ns + gate_ns + 25 * NS_PER_MS;
}

/* As the limit allows, for so long or until it exceeds `stop`. */
static uint64_t follow(struct rate *rate, double seconds, double stop, uint64_t now_ns)
{
    uint64_t end_ns = now_ns + (uint64_t)(seconds * 1e9);
    while (now_ns < end_ns && rate->limit > 0 && rate->limit <= stop) {
        now_ns += (uint64_t)(1e9 / rate->limit);
        rate_accepted(rate, now_ns - 20 * NS_PER_MS, now_ns);
    }
    return now_ns;
}

static void test_off_until_the_first(void **state)
{
    (void)state;
    struct rate rate;
    rate_init(&rate, &adaptive, start_ns);
    uint64_t now_ns = accept(&rate, 400, 10, start_ns);
    assert_int_equal(rate.mode, RATE_OFF);
    assert_true(rate_limit(&rate) == 0);
    assert_true(rate_ready_ns(&rate, 1, now_ns) <= now_ns);
    assert_true(fabs(rate_measured(&rate, now_ns) - 400) < 10);
    throttle(&rate, 0.25, now_ns);
    assert_int_equal(rate.mode, RATE_SEARCHING);
    assert_true(rate_limit(&rate) > 250 && rate_limit(&rate) < 320);
    rate_init(&rate, &(struct rate_settings){.adaptive = false, .requests_per_second = 900},
              start_ns);
    now_ns = accept(&rate, 400, 10, start_ns);
    throttle(&rate, 0.25, now_ns);
    assert_true(rate_limit(&rate) == 900);
}

/* A search from 280 up to 400 that is refused at 350 holds just below. */
static void test_search_finds(void **state)
{
    (void)state;
    struct rate rate;
    rate_init(&rate, &adaptive, start_ns);
    uint64_t now_ns = throttle(&rate, 0.25, accept(&rate, 400, 10, start_ns));
    now_ns = follow(&rate, 60, 350, now_ns);
    assert_in_range(now_ns - start_ns, 11 * NS_PER_S, 20 * NS_PER_S);
    throttle(&rate, 1.1, now_ns);
    assert_int_equal(rate.mode, RATE_HOLDING);
    assert_true(rate_limit(&rate) > 310 && rate_limit(&rate) < 345);
}

/* Holds, waits for 14 times the silence of the gate, then looks: + 3 % in 2 s, × 4 in 8. */
static void test_probe(void **state)
{
    (void)state;
    struct rate rate;
    rate_init(&rate, &adaptive, start_ns);
    uint64_t now_ns = throttle(&rate, 0.25, accept(&rate, 400, 10, start_ns));
    now_ns = throttle(&rate, 1.1, follow(&rate, 60, 350, now_ns));
    double held = rate_limit(&rate);
    now_ns = follow(&rate, 12, INFINITY, now_ns);
    assert_true(rate_limit(&rate) == held);
    uint64_t begun_ns = now_ns;
    now_ns = follow(&rate, 20, held * 1.03, now_ns);
    assert_in_range(now_ns - begun_ns, NS_PER_S, 10 * NS_PER_S);
    uint64_t risen_ns = follow(&rate, 20, held * 4, now_ns);
    assert_in_range(risen_ns - now_ns, 3 * NS_PER_S, 6 * NS_PER_S);
}

/* Its limit unused, a rate does not rise; what is not measured is not allowed. */
static void test_unused(void **state)
{
    (void)state;
    struct rate rate;
    rate_init(&rate, &adaptive, start_ns);
    uint64_t now_ns = throttle(&rate, 0.25, accept(&rate, 400, 10, start_ns));
    double before = rate_limit(&rate);
    now_ns = follow(&rate, 1, INFINITY, now_ns);
    accept(&rate, 10, 120, now_ns);
    assert_true(rate_limit(&rate) < before * 1.3);
}

static void test_one_episode_one_decrease(void **state)
{
    (void)state;
    struct rate rate;
    rate_init(&rate, &adaptive, start_ns);
    uint64_t now_ns = throttle(&rate, 0.25, accept(&rate, 400, 10, start_ns));
    double after = rate_limit(&rate);
    for (int i = 0; i < 50; i++)
        rate_refused(&rate, now_ns);
    for (int i = 0; i < 12; i++) /* nothing succeeded between these gates */
        now_ns = throttle(&rate, 0.3, now_ns);
    assert_true(rate_limit(&rate) == after);
    assert_true(rate.refused >= 60);
}

/* 6,000 a minute: what comes after is its rate, with Retry-After after one window. */
static void test_quota(void **state)
{
    (void)state;
    struct rate rate;
    rate_init(&rate, &adaptive, start_ns);
    uint64_t now_ns = throttle(&rate, 56, accept(&rate, 1500, 4, start_ns));
    assert_int_equal(rate.mode, RATE_QUOTA);
    assert_true(rate_limit(&rate) > 95 && rate_limit(&rate) <= 100);
    double held = rate_limit(&rate);
    follow(&rate, 150, INFINITY, now_ns); /* 2.5 windows */
    assert_true(rate_limit(&rate) == held);
}

/* The same without Retry-After: gates of seconds without a success between them. */
static void test_quota_unsaid(void **state)
{
    (void)state;
    struct rate rate;
    rate_init(&rate, &adaptive, start_ns);
    uint64_t now_ns = accept(&rate, 1500, 4, start_ns);
    for (uint64_t end_ns = now_ns + 56 * NS_PER_S; now_ns < end_ns;)
        now_ns = throttle(&rate, 4, now_ns);
    assert_int_equal(rate.mode, RATE_SEARCHING);
    accept(&rate, 500, 0.1, now_ns);
    assert_int_equal(rate.mode, RATE_QUOTA);
    assert_true(rate_limit(&rate) > 90 && rate_limit(&rate) <= 100);
}

/* Where the limit fell to a third, what is accepted from gate to gate says how far. */
static void test_collapse(void **state)
{
    (void)state;
    struct rate rate;
    rate_init(&rate, &adaptive, start_ns);
    uint64_t now_ns = throttle(&rate, 0.25, accept(&rate, 400, 10, start_ns));
    now_ns = throttle(&rate, 1.1, follow(&rate, 60, 350, now_ns));
    now_ns = throttle(&rate, 1.1, follow(&rate, 10, INFINITY, now_ns)); /* may be chance: 2 % */
    assert_true(rate_limit(&rate) > 300);
    now_ns = follow(&rate, 0.4, INFINITY, now_ns); /* a new window takes 130 */
    throttle(&rate, 1.1, now_ns);
    assert_int_equal(rate.mode, RATE_SEARCHING);
    assert_true(rate_limit(&rate) > 60 && rate_limit(&rate) < 130);
}

static void test_forgets(void **state)
{
    (void)state;
    struct rate rate;
    rate_init(&rate, &adaptive, start_ns);
    uint64_t now_ns = throttle(&rate, 0.25, accept(&rate, 400, 10, start_ns));
    now_ns = accept(&rate, 10, 290, now_ns);
    assert_true(rate_limit(&rate) > 0);
    accept(&rate, 10, 20, now_ns);
    assert_int_equal(rate.mode, RATE_OFF);
    assert_true(rate_limit(&rate) == 0);
}

/* The ceiling is above all that is learnt. */
static void test_ceiling_stays(void **state)
{
    (void)state;
    struct rate rate;
    rate_init(&rate, &(struct rate_settings){.adaptive = true, .requests_per_second = 500},
              start_ns);
    uint64_t now_ns = throttle(&rate, 0.25, accept(&rate, 400, 10, start_ns));
    now_ns = follow(&rate, 120, 500, now_ns);
    accept(&rate, 490, 100, now_ns);
    assert_true(rate_limit(&rate) == 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ceiling),       cmocka_unit_test(test_ceiling_after_idleness),
        cmocka_unit_test(test_points),        cmocka_unit_test(test_off_until_the_first),
        cmocka_unit_test(test_search_finds),  cmocka_unit_test(test_probe),
        cmocka_unit_test(test_unused),        cmocka_unit_test(test_one_episode_one_decrease),
        cmocka_unit_test(test_quota),         cmocka_unit_test(test_quota_unsaid),
        cmocka_unit_test(test_collapse),      cmocka_unit_test(test_forgets),
        cmocka_unit_test(test_ceiling_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
