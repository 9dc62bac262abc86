/* SPDX-License-Identifier: Apache-2.0 */
/* The wheel against a model that knows every deadline, and the corners by hand. */
#include "loop/wheel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/random.h"

#define START_NS (1234567ull * NS_PER_S + 123456)

struct probe {
    struct timer timer;
    uint32_t fired;
    uint64_t fired_ns;
    struct wheel *wheel;
    struct probe *other; /* cancelled or moved by the callback */
    uint64_t other_deadline_ns;
    uint64_t again_ns; /* armed by the callback when not zero */
};

static void on_fire(struct timer *timer, uint64_t now_ns)
{
    struct probe *probe = (struct probe *)timer;
    assert_false(timer_armed(timer));
    assert_true(timer->deadline_ns <= now_ns);
    probe->fired++;
    probe->fired_ns = now_ns;
    if (probe->again_ns != 0)
        wheel_arm(probe->wheel, timer, probe->again_ns);
    if (probe->other != NULL && probe->other_deadline_ns != 0)
        wheel_arm(probe->wheel, &probe->other->timer, probe->other_deadline_ns);
    else if (probe->other != NULL)
        wheel_cancel(probe->wheel, &probe->other->timer);
}

static void test_fires_exactly(void **state)
{
    (void)state;
    struct wheel *wheel = wheel_create(START_NS);
    struct probe probe = {0};
    timer_init(&probe.timer, on_fire);
    assert_true(wheel_next_ns(wheel) == UINT64_MAX);
    assert_int_equal(wheel_run(wheel, START_NS + NS_PER_S), 0);

    /* within one tick: not a nanosecond early, and without waiting for the tick's end */
    uint64_t deadline_ns = START_NS + NS_PER_S + 5 * NS_PER_MS + 300;
    wheel_arm(wheel, &probe.timer, deadline_ns);
    assert_true(timer_armed(&probe.timer));
    assert_true(wheel_next_ns(wheel) <= deadline_ns);
    assert_int_equal(wheel_run(wheel, deadline_ns - 1), 0);
    assert_true(wheel_next_ns(wheel) == deadline_ns); /* in the current tick it is exact: no spin */
    assert_int_equal(wheel_run(wheel, deadline_ns), 1);
    assert_int_equal(probe.fired, 1);
    assert_true(wheel_next_ns(wheel) == UINT64_MAX);

    /* the past fires on the next run, and a run back in time does no harm */
    wheel_arm(wheel, &probe.timer, 1);
    assert_int_equal(wheel_run(wheel, START_NS), 1);
    wheel_arm(wheel, &probe.timer, deadline_ns + NS_PER_MS);
    assert_int_equal(wheel_run(wheel, deadline_ns + NS_PER_MS), 1);
    wheel_destroy(&wheel);
    assert_null(wheel);
    wheel_destroy(&wheel);
}

/* One timer on each side of every level's border. */
static void test_far_deadlines(void **state)
{
    (void)state;
    static const uint64_t distances_ms[] = {0,
                                            1,
                                            254,
                                            255,
                                            256,
                                            257,
                                            65535,
                                            65536,
                                            65537,
                                            16777215,
                                            1u << 24,
                                            1ull << 32,
                                            (1ull << 32) + 5,
                                            1ull << 40};
    enum { COUNT = sizeof distances_ms / sizeof distances_ms[0] };
    for (uint64_t offset = 0; offset < 300; offset += 37) {
        uint64_t start_ns = START_NS + offset * NS_PER_MS;
        struct wheel *wheel = wheel_create(start_ns);
        struct probe probes[COUNT] = {0};
        for (int i = 0; i < COUNT; i++) {
            timer_init(&probes[i].timer, on_fire);
            wheel_arm(wheel, &probes[i].timer, start_ns + distances_ms[i] * NS_PER_MS);
        }
        /* go where wheel_next_ns() leads: each timer fires at its very deadline */
        int turns = 0;
        for (uint64_t next_ns; (next_ns = wheel_next_ns(wheel)) != UINT64_MAX; turns++) {
            assert_true(turns < 200);
            wheel_run(wheel, next_ns);
        }
        for (int i = 0; i < COUNT; i++) {
            assert_int_equal(probes[i].fired, 1);
            assert_true(probes[i].fired_ns == start_ns + distances_ms[i] * NS_PER_MS);
        }
        wheel_destroy(&wheel);
    }
}

static void test_the_end_of_time(void **state)
{
    (void)state;
    struct wheel *wheel = wheel_create(START_NS);
    struct probe last = {0}, before = {0};
    timer_init(&last.timer, on_fire);
    timer_init(&before.timer, on_fire);
    wheel_arm(wheel, &last.timer, UINT64_MAX);
    wheel_arm(wheel, &before.timer, UINT64_MAX - 1);
    wheel_run(wheel, UINT64_MAX - 2);
    assert_int_equal(last.fired + before.fired, 0);
    wheel_run(wheel, UINT64_MAX);
    assert_int_equal(last.fired + before.fired, 2);
    wheel_destroy(&wheel);
}

static void test_callbacks_change_timers(void **state)
{
    (void)state;
    struct wheel *wheel = wheel_create(START_NS);
    struct probe first = {.wheel = wheel}, second = {.wheel = wheel};
    timer_init(&first.timer, on_fire);
    timer_init(&second.timer, on_fire);
    uint64_t due_ns = START_NS + 3 * NS_PER_MS;

    /* Both due: whichever runs first cancels the other, which must not run. */
    first.other = &second;
    second.other = &first;
    wheel_arm(wheel, &first.timer, due_ns);
    wheel_arm(wheel, &second.timer, due_ns);
    assert_int_equal(wheel_run(wheel, due_ns), 1);
    assert_int_equal(first.fired + second.fired, 1);
    assert_true(wheel_next_ns(wheel) == UINT64_MAX);

    /* The first moves the second, due in the same run, an hour ahead. */
    first = (struct probe){.wheel = wheel, .other = &second};
    first.other_deadline_ns = due_ns + 3600 * NS_PER_S;
    second = (struct probe){.wheel = wheel};
    timer_init(&first.timer, on_fire);
    timer_init(&second.timer, on_fire);
    wheel_arm(wheel, &first.timer, due_ns + 1);
    wheel_arm(wheel, &second.timer, due_ns + 2 * NS_PER_MS);
    assert_int_equal(wheel_run(wheel, due_ns + NS_PER_S), 1);
    assert_int_equal(second.fired, 0);
    assert_true(timer_armed(&second.timer));
    assert_int_equal(wheel_run(wheel, due_ns + 3600 * NS_PER_S), 1);

    /* One that arms itself for the past runs once a run, not for ever. */
    first = (struct probe){.wheel = wheel, .again_ns = 1};
    timer_init(&first.timer, on_fire);
    wheel_arm(wheel, &first.timer, 1);
    for (uint32_t run = 1; run <= 3; run++) {
        assert_int_equal(wheel_run(wheel, due_ns + 3600 * NS_PER_S), 1);
        assert_int_equal(first.fired, run);
    }
    wheel_cancel(wheel, &first.timer);
    wheel_cancel(wheel, &first.timer);
    assert_int_equal(wheel_run(wheel, due_ns + 3601 * NS_PER_S), 0);
    wheel_destroy(&wheel);
}

static void test_destroy_forgets(void **state)
{
    (void)state;
    struct wheel *wheel = wheel_create(START_NS);
    struct probe near = {0}, far = {0};
    timer_init(&near.timer, on_fire);
    timer_init(&far.timer, on_fire);
    wheel_arm(wheel, &near.timer, START_NS + 1);
    wheel_arm(wheel, &far.timer, START_NS + 100000 * NS_PER_S);
    wheel_destroy(&wheel);
    assert_int_equal(near.fired + far.fired, 0);
    assert_false(timer_armed(&near.timer) || timer_armed(&far.timer));
}

/* Takes 0.3 s under the sanitizers. */
enum { TIMERS = 400, STEPS = 100000 };

static uint64_t random_distance(struct random *random)
{
    static const uint64_t scales_ns[] = {1000,          NS_PER_MS,       20 * NS_PER_MS,  NS_PER_S,
                                         70 * NS_PER_S, 7200 * NS_PER_S, 90000 * NS_PER_S};
    return random_below(random, scales_ns[random_below(random, 7)]);
}

static void check_against_model(struct probe *probes, uint64_t *model, uint64_t now_ns,
                                const struct wheel *wheel)
{
    uint64_t least_ns = UINT64_MAX;
    for (int i = 0; i < TIMERS; i++) {
        bool due = model[i] != 0 && model[i] <= now_ns;
        assert_int_equal(probes[i].fired, due);
        if (due)
            model[i] = 0;
        probes[i].fired = 0;
        assert_int_equal(timer_armed(&probes[i].timer), model[i] != 0);
        if (model[i] != 0 && model[i] < least_ns)
            least_ns = model[i];
    }
    assert_true(wheel_next_ns(wheel) <= least_ns);
    assert_true(wheel_next_ns(wheel) > now_ns); /* or the loop would spin */
}

static void test_random_model(void **state)
{
    (void)state;
    struct random random = {.state = 42};
    static struct probe probes[TIMERS];
    static uint64_t model[TIMERS];
    uint64_t now_ns = START_NS;
    struct wheel *wheel = wheel_create(now_ns);
    for (int i = 0; i < TIMERS; i++)
        timer_init(&probes[i].timer, on_fire);
    for (int step = 0; step < STEPS; step++) {
        uint64_t index = random_below(&random, TIMERS);
        switch (random_below(&random, 8)) {
        case 0:
            wheel_cancel(wheel, &probes[index].timer);
            model[index] = 0;
            break;
        case 1: /* the past */
            model[index] = now_ns - random_below(&random, NS_PER_S);
            wheel_arm(wheel, &probes[index].timer, model[index]);
            break;
        case 2:
            now_ns += random_distance(&random);
            wheel_run(wheel, now_ns);
            check_against_model(probes, model, now_ns, wheel);
            break;
        case 4: { /* back in time: only what is due then */
            uint64_t back_ns = now_ns - random_below(&random, 2 * NS_PER_S);
            wheel_run(wheel, back_ns);
            check_against_model(probes, model, back_ns, wheel);
            break;
        }
        case 3: /* to where the wheel says */
            if (wheel_next_ns(wheel) == UINT64_MAX)
                break;
            now_ns = wheel_next_ns(wheel) > now_ns ? wheel_next_ns(wheel) : now_ns;
            wheel_run(wheel, now_ns);
            check_against_model(probes, model, now_ns, wheel);
            break;
        default:
            model[index] = now_ns + 1 + random_distance(&random);
            wheel_arm(wheel, &probes[index].timer, model[index]);
        }
    }
    wheel_destroy(&wheel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fires_exactly),   cmocka_unit_test(test_far_deadlines),
        cmocka_unit_test(test_the_end_of_time), cmocka_unit_test(test_callbacks_change_timers),
        cmocka_unit_test(test_destroy_forgets), cmocka_unit_test(test_random_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
