/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/clock.h"
#include "control/breaker.h"

static const struct breaker_settings settings = {.failures = 5,
                                                 .pause_ns = 250 * NS_PER_MS,
                                                 .pause_max_ns = 15 * NS_PER_S,
                                                 .pause_held_ns = 60 * NS_PER_S};
static const struct breaker_failure plain = {0};
static const uint64_t now_ns = 1000 * NS_PER_S;

static bool fails(struct breaker *breaker, struct random *random, uint64_t at_ns)
{
    return breaker_failed(breaker, &settings, &plain, random, at_ns);
}

static void test_opens_after_failures_in_a_row(void **state)
{
    (void)state;
    struct breaker breaker;
    struct random random = {.state = 1};
    breaker_init(&breaker);
    for (int i = 0; i < 4; i++)
        assert_false(fails(&breaker, &random, now_ns));
    assert_false(breaker_succeeded(&breaker, now_ns)); /* was closed: nothing changed */
    for (int i = 0; i < 4; i++)
        assert_false(fails(&breaker, &random, now_ns));
    assert_int_equal(breaker.state, BREAKER_CLOSED);
    assert_int_equal(breaker_ready_ns(&breaker), 0);
    assert_true(fails(&breaker, &random, now_ns));
    assert_int_equal(breaker.state, BREAKER_OPEN);
    assert_int_equal(breaker.trips, 1);
    assert_string_equal(breaker_state_name(breaker.state), "open");
}

/* 250 ms × 2ⁿ ± 25 %, at most 15 s ± 25 %, whatever the seed. */
static void test_pauses_grow(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct breaker breaker;
        struct random random = {.state = seed};
        uint64_t at_ns = now_ns;
        breaker_init(&breaker);
        for (int i = 0; i < 5; i++)
            fails(&breaker, &random, at_ns);
        uint64_t expected_ns = settings.pause_ns;
        for (int pause = 0; pause < 12; pause++) {
            uint64_t pause_ns = breaker_ready_ns(&breaker) - at_ns;
            assert_in_range(pause_ns, expected_ns * 3 / 4, expected_ns * 5 / 4);
            at_ns += pause_ns;
            assert_false(breaker_probing(&breaker, at_ns - 1));
            assert_true(breaker_probing(&breaker, at_ns));
            assert_true(breaker_sent(&breaker, at_ns));
            assert_true(fails(&breaker, &random, at_ns));
            expected_ns =
                expected_ns * 2 < settings.pause_max_ns ? expected_ns * 2 : settings.pause_max_ns;
        }
        assert_int_equal(breaker.trips, 1);
        assert_int_equal(breaker.probes, 12);
    }
}

static void test_one_probe(void **state)
{
    (void)state;
    struct breaker breaker;
    struct random random = {.state = 1};
    breaker_init(&breaker);
    assert_false(breaker_sent(&breaker, now_ns)); /* closed: no probe */
    for (int i = 0; i < 5; i++)
        fails(&breaker, &random, now_ns);
    uint64_t at_ns = breaker_ready_ns(&breaker);
    assert_true(breaker_sent(&breaker, at_ns));
    assert_int_equal(breaker.state, BREAKER_HALF_OPEN);
    assert_true(breaker_ready_ns(&breaker) == UINT64_MAX);
    assert_false(breaker_probing(&breaker, at_ns + NS_PER_S));
    breaker_forgot(&breaker, at_ns + NS_PER_S); /* it ended in silence: the next one now */
    assert_true(breaker_sent(&breaker, at_ns + NS_PER_S));
    assert_true(breaker_succeeded(&breaker, at_ns + 2 * NS_PER_S));
    assert_int_equal(breaker.state, BREAKER_CLOSED);
    assert_int_equal(breaker.last_away_ns, at_ns + 2 * NS_PER_S - now_ns);
    assert_int_equal(breaker.away_ns, breaker.last_away_ns);
    /* and begins with the shortest pause again */
    for (int i = 0; i < 5; i++)
        fails(&breaker, &random, at_ns);
    assert_in_range(breaker_ready_ns(&breaker) - at_ns, 187 * NS_PER_MS, 313 * NS_PER_MS);
    assert_int_equal(breaker.trips, 2);
}

static void test_what_a_person_must_cure(void **state)
{
    (void)state;
    struct breaker breaker;
    struct random random = {.state = 1};
    const struct breaker_failure held = {.held = true};
    breaker_init(&breaker);
    assert_true(breaker_failed(&breaker, &settings, &held, &random, now_ns));
    assert_true(breaker.held);
    assert_in_range(breaker_ready_ns(&breaker) - now_ns, 60 * NS_PER_S, 66 * NS_PER_S);
    /* it is back but does not answer: an ordinary outage, an ordinary pause */
    uint64_t at_ns = breaker_ready_ns(&breaker);
    breaker_sent(&breaker, at_ns);
    fails(&breaker, &random, at_ns);
    assert_false(breaker.held);
    assert_in_range(breaker_ready_ns(&breaker) - at_ns, NS_PER_MS, NS_PER_S);
}

static void test_least_pause(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct breaker breaker;
        struct random random = {.state = seed};
        const struct breaker_settings once = {
            .failures = 1, .pause_ns = NS_PER_S, .pause_max_ns = 120 * NS_PER_S};
        const struct breaker_failure login = {.least_ns = 30 * NS_PER_S};
        breaker_init(&breaker);
        assert_true(breaker_failed(&breaker, &once, &login, &random, now_ns));
        assert_in_range(breaker_ready_ns(&breaker) - now_ns, 30 * NS_PER_S, 33 * NS_PER_S);
    }
}

static void test_never(void **state)
{
    (void)state;
    struct breaker breaker;
    struct random random = {.state = 1};
    const struct breaker_settings off = {.failures = 0};
    const struct breaker_failure held = {.held = true};
    breaker_init(&breaker);
    for (int i = 0; i < 100; i++)
        assert_false(breaker_failed(&breaker, &off, i % 2 ? &held : &plain, &random, now_ns));
    assert_int_equal(breaker.state, BREAKER_CLOSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opens_after_failures_in_a_row),
        cmocka_unit_test(test_pauses_grow),
        cmocka_unit_test(test_one_probe),
        cmocka_unit_test(test_what_a_person_must_cure),
        cmocka_unit_test(test_least_pause),
        cmocka_unit_test(test_never),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
