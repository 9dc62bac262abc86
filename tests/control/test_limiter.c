/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/clock.h"
#include "control/limiter.h"

static const uint64_t start_ns = 10000 * NS_PER_S;

static const struct limiter_settings standard = {
    .rate = {.adaptive = true},
    .concurrency = {.adaptive = false, .max = 10, .initial = 2},
    .breaker = {.failures = 5,
                .pause_ns = 250 * NS_PER_MS,
                .pause_max_ns = 15 * NS_PER_S,
                .pause_held_ns = 60 * NS_PER_S},
    .retry_share = 0.1,
};

static uint64_t ready(struct limiter *limiter, uint64_t now_ns)
{
    return limiter_ready_ns(limiter, false, 1000, now_ns);
}

static void answer(struct limiter *limiter, enum limiter_result result, uint64_t sent_ns,
                   uint64_t now_ns)
{
    limiter_answered(limiter, &(struct limiter_answer){.result = result, .sent_ns = sent_ns},
                     now_ns);
}

static void throttle(struct limiter *limiter, uint64_t retry_after_ns, uint64_t sent_ns,
                     uint64_t now_ns)
{
    limiter_answered(limiter,
                     &(struct limiter_answer){.result = LIMITER_THROTTLED,
                                              .sent_ns = sent_ns,
                                              .retry_after_ns = retry_after_ns},
                     now_ns);
}

/* Sent and answered a millisecond later; returns that time. */
static uint64_t exchange(struct limiter *limiter, enum limiter_result result, uint64_t now_ns)
{
    limiter_sent(limiter, false, 1000, now_ns);
    answer(limiter, result, now_ns, now_ns + NS_PER_MS);
    return now_ns + NS_PER_MS;
}

static struct limiter_view look(const struct limiter *limiter, uint64_t now_ns)
{
    struct limiter_view view;
    limiter_look(limiter, now_ns, &view);
    return view;
}

static void test_retry_after(void **state)
{
    (void)state;
    static const struct {
        uint64_t hint_ns, least_ns, most_ns;
    } rows[] = {
        {NS_PER_S, NS_PER_S, 1125 * NS_PER_MS},
        {30 * NS_PER_S, 30 * NS_PER_S, 30500 * NS_PER_MS},
        {7 * 86400 * NS_PER_S, 3600 * NS_PER_S, 3601 * NS_PER_S}, /* absurd: an hour */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (uint64_t seed = 0; seed < 100; seed++) {
            struct limiter limiter;
            limiter_init(&limiter, &standard, seed, start_ns);
            limiter_sent(&limiter, false, 1000, start_ns);
            throttle(&limiter, rows[i].hint_ns, start_ns, start_ns + NS_PER_MS);
            uint64_t wait_ns = ready(&limiter, start_ns + NS_PER_MS) - start_ns - NS_PER_MS;
            assert_in_range(wait_ns, rows[i].least_ns, rows[i].most_ns);
            assert_int_equal(limiter_waits_for(&limiter, false, 1000, start_ns + NS_PER_MS),
                             LIMITER_WAIT_GATE);
        }
}

/* 0.25 s × 2ⁿ down to three quarters of it, at most 5 s; a success begins anew. */
static void test_gate_without_hint(void **state)
{
    (void)state;
    struct limiter limiter;
    uint64_t now_ns = start_ns, expected_ns = NS_PER_S / 4;
    limiter_init(&limiter, &standard, 1, start_ns);
    for (int i = 0; i < 10; i++) {
        now_ns = exchange(&limiter, LIMITER_THROTTLED, now_ns);
        uint64_t wait_ns = limiter.gate_ns - now_ns;
        assert_in_range(wait_ns, expected_ns * 3 / 4, expected_ns);
        expected_ns = expected_ns * 2 < 5 * NS_PER_S ? expected_ns * 2 : 5 * NS_PER_S;
        now_ns += wait_ns + 10 * NS_PER_S;
    }
    now_ns = exchange(&limiter, LIMITER_OK, now_ns) + NS_PER_S;
    now_ns = exchange(&limiter, LIMITER_THROTTLED, now_ns);
    assert_in_range(limiter.gate_ns - now_ns, NS_PER_S * 3 / 16, NS_PER_S / 4);
}

/* What left before the gate is refused too: one episode, one decrease, one gate. */
static void test_one_episode(void **state)
{
    (void)state;
    struct limiter limiter;
    limiter_init(&limiter, &standard, 1, start_ns);
    for (int i = 0; i < 10; i++)
        limiter_sent(&limiter, false, 1000, start_ns);
    throttle(&limiter, NS_PER_S, start_ns, start_ns + 50 * NS_PER_MS);
    uint64_t gate_ns = limiter.gate_ns;
    double limit = limiter.rate.limit;
    for (uint64_t i = 1; i < 9; i++)
        throttle(&limiter, NS_PER_S, start_ns, start_ns + (50 + i) * NS_PER_MS);
    assert_int_equal(limiter.gate_ns, gate_ns);
    assert_int_equal(limiter.gates, 1);
    assert_int_equal(limiter.throttled, 9);
    assert_true(limiter.rate.limit == limit);
    /* but one that asks for much more is heard */
    throttle(&limiter, 20 * NS_PER_S, start_ns, start_ns + 60 * NS_PER_MS);
    assert_in_range(limiter.gate_ns, start_ns + 20 * NS_PER_S, start_ns + 21 * NS_PER_S);
    assert_int_equal(limiter.gates, 1);
}

/* After two gates without a success one request at a time feels whether it is over. */
static void test_feeler(void **state)
{
    (void)state;
    struct limiter limiter;
    limiter_init(&limiter, &standard, 1, start_ns);
    uint64_t now_ns = exchange(&limiter, LIMITER_THROTTLED, start_ns) + NS_PER_S;
    now_ns = exchange(&limiter, LIMITER_THROTTLED, now_ns) + 100 * NS_PER_S;
    assert_true(ready(&limiter, now_ns) <= now_ns);
    limiter_sent(&limiter, false, 1000, now_ns);
    assert_true(ready(&limiter, now_ns + 60 * NS_PER_S) == UINT64_MAX);
    answer(&limiter, LIMITER_OK, now_ns, now_ns + NS_PER_MS);
    now_ns += 100 * NS_PER_S;
    limiter_sent(&limiter, false, 1000, now_ns);
    now_ns += 100 * NS_PER_S;
    assert_true(ready(&limiter, now_ns) <= now_ns);
}

static void test_throttling_and_data_never_trip(void **state)
{
    (void)state;
    struct limiter limiter;
    limiter_init(&limiter, &standard, 1, start_ns);
    uint64_t now_ns = start_ns;
    for (int i = 0; i < 100; i++)
        now_ns =
            exchange(&limiter, i % 2 ? LIMITER_THROTTLED : LIMITER_DATA, now_ns) + 10 * NS_PER_S;
    assert_int_equal(look(&limiter, now_ns).breaker, BREAKER_CLOSED);
    assert_int_equal(look(&limiter, now_ns).trips, 0);
    /* and a 429 between failures does not hide them */
    for (int i = 0; i < 5; i++) {
        now_ns = exchange(&limiter, LIMITER_TIMEOUT, now_ns) + 10 * NS_PER_S;
        if (i < 4)
            now_ns = exchange(&limiter, LIMITER_THROTTLED, now_ns) + 10 * NS_PER_S;
    }
    assert_int_equal(look(&limiter, now_ns).breaker, BREAKER_OPEN);
}

/* Ten in flight fail: the breaker opens once; those that come late neither lengthen its pause nor
 * open it again after the probe has closed it. */
static void test_outage(void **state)
{
    (void)state;
    struct limiter limiter;
    limiter_init(&limiter, &standard, 1, start_ns);
    for (int i = 0; i < 10; i++)
        limiter_sent(&limiter, false, 1000, start_ns);
    uint64_t now_ns = start_ns + NS_PER_S;
    for (int i = 0; i < 2; i++)
        answer(&limiter, LIMITER_CONNECTION, start_ns, now_ns);
    assert_true(ready(&limiter, now_ns) == UINT64_MAX); /* suspicion: one at a time */
    for (int i = 0; i < 3; i++)
        answer(&limiter, LIMITER_CONNECTION, start_ns, now_ns);
    assert_string_equal(look(&limiter, now_ns).breaker_name, "open");
    uint64_t until_ns = ready(&limiter, now_ns);
    answer(&limiter, LIMITER_CONNECTION, start_ns, now_ns + 10 * NS_PER_MS);
    assert_int_equal(ready(&limiter, now_ns), until_ns);
    /* the probe leaves although four are still out, and it alone */
    assert_true(limiter_probing(&limiter, until_ns));
    limiter_sent(&limiter, true, 1000, until_ns);
    assert_false(limiter_probing(&limiter, until_ns));
    assert_true(ready(&limiter, until_ns + 3600 * NS_PER_S) == UINT64_MAX);
    answer(&limiter, LIMITER_OK, start_ns, until_ns + NS_PER_MS); /* old: says nothing */
    assert_string_equal(look(&limiter, until_ns).breaker_name, "half-open");
    answer(&limiter, LIMITER_OK, until_ns, until_ns + 2 * NS_PER_MS);
    assert_string_equal(look(&limiter, until_ns).breaker_name, "closed");
    for (int i = 0; i < 3; i++)
        answer(&limiter, LIMITER_TIMEOUT, start_ns, until_ns + 5 * NS_PER_S);
    assert_int_equal(limiter.breaker.failures, 0);
    assert_int_equal(look(&limiter, until_ns + 5 * NS_PER_S).in_flight, 0);
    assert_int_equal(look(&limiter, until_ns + 5 * NS_PER_S).trips, 1);
}

/* A probe that is refused shows that the back end answers: closed, and the gate rules. */
static void test_probe_throttled(void **state)
{
    (void)state;
    struct limiter limiter;
    limiter_init(&limiter, &standard, 1, start_ns);
    uint64_t now_ns = start_ns;
    for (int i = 0; i < 5; i++)
        now_ns = exchange(&limiter, LIMITER_SERVER_ERROR, now_ns);
    now_ns = ready(&limiter, now_ns);
    limiter_sent(&limiter, true, 1000, now_ns);
    throttle(&limiter, 10 * NS_PER_S, now_ns, now_ns + NS_PER_MS);
    assert_int_equal(look(&limiter, now_ns).breaker, BREAKER_CLOSED);
    assert_true(ready(&limiter, now_ns) >= now_ns + 10 * NS_PER_S);
}

static void test_authentication(void **state)
{
    (void)state;
    struct limiter limiter;
    limiter_init(&limiter, &standard, 1, start_ns);
    uint64_t now_ns = exchange(&limiter, LIMITER_AUTHENTICATION, start_ns);
    assert_true(look(&limiter, now_ns).authentication_failed);
    assert_string_equal(look(&limiter, now_ns).breaker_name, "authentication failed");
    for (int i = 0; i < 5; i++) {
        uint64_t ready_ns = ready(&limiter, now_ns);
        assert_in_range(ready_ns - now_ns, 60 * NS_PER_S, 66 * NS_PER_S);
        limiter_sent(&limiter, true, 1000, ready_ns);
        assert_true(look(&limiter, ready_ns).authentication_failed); /* while the probe is out */
        answer(&limiter, LIMITER_AUTHENTICATION, ready_ns, ready_ns + NS_PER_MS);
        now_ns = ready_ns + NS_PER_MS;
    }
    now_ns = ready(&limiter, now_ns);
    exchange(&limiter, LIMITER_OK, now_ns);
    assert_false(look(&limiter, now_ns).authentication_failed);
    assert_string_equal(look(&limiter, now_ns).breaker_name, "closed");
}

/* A tenth of the requests and one a second. */
static void test_retry_budget(void **state)
{
    (void)state;
    struct limiter limiter;
    limiter_init(&limiter, &standard, 1, start_ns);
    uint64_t now_ns = start_ns;
    uint32_t retries = 0, fresh = 0;
    for (int step = 0; step < 60 * 100; step++) { /* 100 a second, all would retry too */
        now_ns = exchange(&limiter, LIMITER_OK, now_ns);
        fresh++;
        if (limiter_ready_ns(&limiter, true, 1000, now_ns) <= now_ns) {
            limiter_sent(&limiter, true, 1000, now_ns);
            answer(&limiter, LIMITER_OK, now_ns, now_ns);
            retries++;
        }
        now_ns += 9 * NS_PER_MS;
    }
    assert_in_range(retries, fresh / 10 + 50, fresh / 10 + 60 + 21);
    assert_true(limiter.retries_refused >= retries - 21 && limiter.retries_refused <= retries + 1);
    assert_int_equal(limiter_waits_for(&limiter, true, 1000, now_ns), LIMITER_WAIT_RETRY_BUDGET);
    assert_string_equal(limiter_wait_name(LIMITER_WAIT_RETRY_BUDGET), "retry budget");
    struct limiter_settings unbounded = standard;
    unbounded.retry_share = 0;
    limiter_init(&limiter, &unbounded, 1, start_ns);
    for (int i = 0; i < 1000; i++) {
        assert_true(limiter_ready_ns(&limiter, true, 1000, start_ns) <= start_ns);
        limiter_sent(&limiter, true, 1000, start_ns);
        answer(&limiter, LIMITER_OK, start_ns, start_ns);
    }
}

static void test_concurrency_counts(void **state)
{
    (void)state;
    struct limiter limiter;
    limiter_init(&limiter, &standard, 1, start_ns);
    for (int i = 0; i < 10; i++) {
        assert_true(ready(&limiter, start_ns) <= start_ns);
        limiter_sent(&limiter, false, 1000, start_ns);
    }
    assert_true(ready(&limiter, start_ns) == UINT64_MAX);
    assert_int_equal(limiter_waits_for(&limiter, false, 1000, start_ns), LIMITER_WAIT_CONCURRENCY);
    assert_true(look(&limiter, start_ns).utilisation == 1);
    limiter_forget(&limiter);
    assert_true(ready(&limiter, start_ns) <= start_ns);
    assert_int_equal(look(&limiter, start_ns).in_flight, 9);
}

/* Shut down with the probe out, then used again: the next one may probe. */
static void test_forgotten_probe(void **state)
{
    (void)state;
    struct limiter limiter;
    limiter_init(&limiter, &standard, 1, start_ns);
    uint64_t now_ns = start_ns;
    for (int i = 0; i < 5; i++)
        now_ns = exchange(&limiter, LIMITER_CONNECTION, now_ns);
    now_ns = ready(&limiter, now_ns);
    limiter_sent(&limiter, true, 1000, now_ns);
    limiter_forget(&limiter);
    assert_true(limiter_probing(&limiter, now_ns));
    assert_true(ready(&limiter, now_ns) <= now_ns);
}

static void test_changes(void **state)
{
    (void)state;
    struct limiter limiter;
    limiter_init(&limiter, &standard, 1, start_ns);
    assert_null(limiter_change(&limiter, 0));
    uint64_t now_ns = start_ns;
    for (int i = 0; i < 5; i++)
        now_ns = exchange(&limiter, LIMITER_TIMEOUT, now_ns);
    const struct limiter_change *change = limiter_change(&limiter, 0);
    assert_string_equal(change->what, "breaker");
    assert_string_equal(change->reason, "timeouts in a row");
    assert_true((int)change->from == BREAKER_CLOSED && (int)change->to == BREAKER_OPEN);
    assert_int_equal(change->at_ns, now_ns);
    for (int i = 0; i < 40; i++) {
        now_ns = ready(&limiter, now_ns);
        limiter_sent(&limiter, true, 1000, now_ns);
        throttle(&limiter, NS_PER_S, now_ns, now_ns + NS_PER_MS);
    }
    assert_true(limiter.change_count > LIMITER_CHANGES);
    for (uint32_t i = 0; i < LIMITER_CHANGES; i++)
        assert_non_null(limiter_change(&limiter, i)->reason);
    assert_null(limiter_change(&limiter, LIMITER_CHANGES));
}

/* A step back of the clock: a little is as if it stood, an hour does not stall for an hour. */
static void test_clock_back(void **state)
{
    (void)state;
    struct limiter limiter;
    limiter_init(&limiter, &standard, 1, start_ns);
    exchange(&limiter, LIMITER_THROTTLED, start_ns);
    uint64_t gate_ns = limiter.gate_ns;
    assert_int_equal(ready(&limiter, start_ns - 100 * NS_PER_MS), gate_ns);
    uint64_t back_ns = start_ns - 3600 * NS_PER_S;
    uint64_t ready_ns = ready(&limiter, back_ns);
    assert_true(ready_ns <= back_ns + 2 * NS_PER_S);
    limiter_sent(&limiter, false, 1000, ready_ns > back_ns ? ready_ns : back_ns);
    assert_true(limiter.gate_ns <= back_ns + 10 * NS_PER_S);
    answer(&limiter, LIMITER_OK, back_ns, back_ns + 10 * NS_PER_S);
    ready_ns = ready(&limiter, back_ns + 10 * NS_PER_S);
    assert_true(ready_ns <= back_ns + 20 * NS_PER_S);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_gate_without_hint),
        cmocka_unit_test(test_one_episode),
        cmocka_unit_test(test_feeler),
        cmocka_unit_test(test_throttling_and_data_never_trip),
        cmocka_unit_test(test_outage),
        cmocka_unit_test(test_probe_throttled),
        cmocka_unit_test(test_authentication),
        cmocka_unit_test(test_retry_budget),
        cmocka_unit_test(test_concurrency_counts),
        cmocka_unit_test(test_forgotten_probe),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_clock_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
