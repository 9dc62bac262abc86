/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/clock.h"
#include "control/concurrency.h"

static const struct concurrency_settings settings = {.adaptive = true, .max = 64, .initial = 2};

/* A round as full as the limit allows: all leave at once and come back after `latency_ms` plus a
 * little each, and the same again until there are eight. The time afterwards. */
static uint64_t round_of(struct concurrency *concurrency, uint64_t latency_ms, uint64_t now_ns)
{
    uint32_t limit = concurrency_limit(concurrency);
    for (uint32_t seen = 0; seen < 8; seen += limit) {
        for (uint32_t i = 0; i < limit; i++)
            concurrency_sent(concurrency);
        for (uint32_t i = 0; i < limit; i++) {
            uint64_t latency_ns = latency_ms * NS_PER_MS + i * NS_PER_US;
            concurrency_succeeded(concurrency, latency_ns, now_ns + latency_ns);
            concurrency_ended(concurrency);
        }
        now_ns += (latency_ms + 1) * NS_PER_MS;
    }
    return now_ns;
}

static uint64_t rounds_of(struct concurrency *concurrency, int count, uint64_t latency_ms,
                          uint64_t now_ns)
{
    for (int i = 0; i < count; i++)
        now_ns = round_of(concurrency, latency_ms, now_ns);
    return now_ns;
}

static void test_doubles_then_adds(void **state)
{
    (void)state;
    struct concurrency concurrency;
    uint64_t now_ns = 1000 * NS_PER_S;
    concurrency_init(&concurrency, &settings, now_ns);
    static const uint32_t doubled[] = {2, 4, 8, 16, 32};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(concurrency_limit(&concurrency), doubled[i]);
        now_ns = round_of(&concurrency, 50, now_ns);
    }
    assert_int_equal(concurrency_limit(&concurrency), 64);
    /* > 2 × 50 + 10; the first round began with answers of the last one */
    now_ns = rounds_of(&concurrency, 2, 200, now_ns);
    assert_int_equal(concurrency_limit(&concurrency), 54);
    assert_string_equal(concurrency.reason, "latency doubled");
    now_ns = rounds_of(&concurrency, 2, 50, now_ns);
    uint32_t limit = concurrency_limit(&concurrency);
    assert_in_range(limit, 54, 56);
    rounds_of(&concurrency, 3, 100, now_ns); /* not yet congestion */
    assert_int_equal(concurrency_limit(&concurrency), limit + 3);
}

/* Who does not use it gains nothing, and loses nothing. */
static void test_unused(void **state)
{
    (void)state;
    struct concurrency concurrency;
    uint64_t now_ns = 1000 * NS_PER_S;
    concurrency_init(&concurrency, &settings, now_ns);
    now_ns = rounds_of(&concurrency, 3, 50, now_ns);
    assert_int_equal(concurrency_limit(&concurrency), 16);
    for (int i = 0; i < 1000; i++) {
        concurrency_sent(&concurrency);
        now_ns += 50 * NS_PER_MS;
        concurrency_succeeded(&concurrency, 50 * NS_PER_MS, now_ns);
        concurrency_ended(&concurrency);
    }
    assert_int_equal(concurrency_limit(&concurrency), 16);
}

static void test_failures(void **state)
{
    (void)state;
    struct concurrency concurrency;
    uint64_t now_ns = 1000 * NS_PER_S;
    concurrency_init(&concurrency, &settings, now_ns);
    now_ns = rounds_of(&concurrency, 4, 50, now_ns);
    assert_int_equal(concurrency_limit(&concurrency), 32);
    for (int i = 0; i < 20; i++, now_ns += NS_PER_MS) /* once per round trip */
        concurrency_failed(&concurrency, "requests failed", now_ns);
    assert_int_equal(concurrency_limit(&concurrency), 22);
    for (int i = 0; i < 100; i++)
        concurrency_failed(&concurrency, "requests failed", now_ns += NS_PER_S);
    assert_int_equal(concurrency_limit(&concurrency), 1);
    concurrency_restart(&concurrency, now_ns);
    assert_int_equal(concurrency_limit(&concurrency), 2);
}

static void test_congestion_floor(void **state)
{
    (void)state;
    struct concurrency concurrency;
    uint64_t now_ns = 1000 * NS_PER_S;
    concurrency_init(&concurrency, &settings, now_ns);
    now_ns = rounds_of(&concurrency, 4, 50, now_ns);
    /* a back end that serves one at a time, 30 ms each: any queue is too long */
    for (int i = 0; i < 16; i++) {
        now_ns = round_of(&concurrency, 50 + 30 * concurrency_limit(&concurrency), now_ns);
        assert_true(concurrency_limit(&concurrency) >= 2);
    }
    assert_in_range(concurrency_limit(&concurrency), 2, 8);
}

/* A longer way to the back end is no queue: after three cuts that helped nothing it is the base. */
static void test_latency_not_ours(void **state)
{
    (void)state;
    struct concurrency concurrency;
    uint64_t now_ns = 1000 * NS_PER_S;
    concurrency_init(&concurrency, &settings, now_ns);
    now_ns = rounds_of(&concurrency, 4, 50, now_ns);
    assert_int_equal(concurrency_limit(&concurrency), 32);
    now_ns = rounds_of(&concurrency, 3, 500, now_ns);
    assert_int_equal(concurrency_limit(&concurrency), 19); /* 32 × 0.85³ */
    now_ns = rounds_of(&concurrency, 1, 500, now_ns);
    assert_int_equal(concurrency_limit(&concurrency), 32);
    rounds_of(&concurrency, 3, 500, now_ns);
    assert_true(concurrency_limit(&concurrency) >= 32);
}

/* Every ten seconds a round with half of it. */
static void test_halves_to_look(void **state)
{
    (void)state;
    struct concurrency concurrency;
    uint64_t now_ns = 1000 * NS_PER_S, begun_ns = now_ns;
    concurrency_init(&concurrency, &settings, now_ns);
    now_ns = rounds_of(&concurrency, 3, 50, now_ns);
    now_ns = round_of(&concurrency, 300, now_ns); /* ends the doubling */
    int halved = 0;
    while (now_ns < begun_ns + 61 * NS_PER_S) {
        uint32_t whole = (uint32_t)concurrency.limit;
        if (concurrency.halved) {
            halved++;
            assert_int_equal(concurrency_limit(&concurrency), (uint32_t)(concurrency.limit / 2));
        } else {
            assert_int_equal(concurrency_limit(&concurrency), whole);
        }
        now_ns = round_of(&concurrency, 50, now_ns);
    }
    assert_in_range(halved, 4, 6);
}

static void test_fixed(void **state)
{
    (void)state;
    struct concurrency concurrency;
    const struct concurrency_settings fixed = {.adaptive = false, .max = 7, .initial = 2};
    uint64_t now_ns = 1000 * NS_PER_S;
    concurrency_init(&concurrency, &fixed, now_ns);
    now_ns = rounds_of(&concurrency, 5, 50, now_ns);
    now_ns = rounds_of(&concurrency, 5, 5000, now_ns);
    concurrency_failed(&concurrency, "requests failed", now_ns);
    concurrency_restart(&concurrency, now_ns);
    assert_int_equal(concurrency_limit(&concurrency), 7);
    concurrency_init(&concurrency, &(struct concurrency_settings){.adaptive = true}, now_ns);
    assert_int_equal(concurrency_limit(&concurrency), 1); /* never nothing */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_doubles_then_adds),
        cmocka_unit_test(test_unused),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_congestion_floor),
        cmocka_unit_test(test_latency_not_ours),
        cmocka_unit_test(test_halves_to_look),
        cmocka_unit_test(test_fixed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
