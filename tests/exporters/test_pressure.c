/* SPDX-License-Identifier: Apache-2.0 */
/* Levels of backpressure: up soon, down slowly, no swinging; what is left of them for a route that
 * several destinations share; and what a worker makes of a back end that is away. */
#include "exporters/pressure.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/random.h"
#include "exporters/exporter.h"
#include "tests/exporters/rig.h"

enum { LOOK_MS = 250 };

/* Looks for so long at this fill; the level at the end. */
static uint32_t look(struct pressure *pressure, double fill, uint64_t *now_ns, uint64_t ms)
{
    for (uint64_t past_ms = 0; past_ms < ms; past_ms += LOOK_MS) {
        *now_ns += LOOK_MS * NS_PER_MS;
        pressure_step(pressure, fill, *now_ns);
    }
    return pressure->level;
}

static void test_up(void **state)
{
    (void)state;
    static const struct {
        double fill;
        uint32_t level;
    } rows[] = {{0, 0},     {0.49, 0}, {0.5, 1},  {0.69, 1}, {0.7, 2},
                {0.849, 2}, {0.85, 3}, {0.95, 4}, {1, 4},    {1.5, 4}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct pressure pressure = {0};
        uint64_t now_ns = 1000 * NS_PER_S;
        assert_int_equal(look(&pressure, rows[i].fill, &now_ns, 2000), 0);
        assert_int_equal(look(&pressure, rows[i].fill, &now_ns, LOOK_MS), rows[i].level);
    }
}

/* What fills and empties again is no backlog. */
static void test_moments_do_not_count(void **state)
{
    (void)state;
    struct pressure pressure = {0};
    uint64_t now_ns = 1000 * NS_PER_S;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(look(&pressure, 1, &now_ns, 2000), 0);
        assert_int_equal(look(&pressure, 0.2, &now_ns, LOOK_MS), 0);
    }
}

static void test_down_step_by_step(void **state)
{
    (void)state;
    struct pressure pressure = {0};
    uint64_t now_ns = 1000 * NS_PER_S;
    assert_int_equal(look(&pressure, 0.97, &now_ns, 2000 + LOOK_MS), 4);
    for (uint32_t level = 4; level > 0; level--) { /* empty at once, but not believed at once */
        assert_int_equal(look(&pressure, 0, &now_ns, 10000 - LOOK_MS), level);
        assert_int_equal(look(&pressure, 0, &now_ns, LOOK_MS), level - 1);
    }
    assert_int_equal(look(&pressure, 0, &now_ns, 100000), 0);
}

static void test_slack(void **state)
{
    (void)state;
    struct pressure pressure = {0};
    uint64_t now_ns = 1000 * NS_PER_S;
    assert_int_equal(look(&pressure, 0.71, &now_ns, 2000 + LOOK_MS), 2);
    for (int i = 0; i < 100; i++) /* around the boundary: once up is enough */
        assert_int_equal(look(&pressure, i % 2 ? 0.71 : 0.61, &now_ns, 7000), 2);
    assert_int_equal(look(&pressure, 0.59, &now_ns, LOOK_MS), 1);
    assert_int_equal(look(&pressure, 0.45, &now_ns, 100000), 1);
    assert_int_equal(look(&pressure, 0.39, &now_ns, LOOK_MS), 0);
}

/* Whatever fills come: in bounds, never more than one down in 10 s, never up but behind 2 s above,
 * and always up where nothing is left for so long. */
static void test_random_fills(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct random random = {.state = seed};
        struct pressure pressure = {0};
        uint64_t now_ns = NS_PER_S, changed_ns = 0, full_since_ns = 0;
        double fill = 0;
        for (int i = 0; i < 5000; i++) {
            uint32_t before = pressure.level;
            if (random_below(&random, 10) == 0)
                fill = (double)random_below(&random, 1001) / 1000;
            now_ns += LOOK_MS * NS_PER_MS;
            uint32_t level = pressure_step(&pressure, fill, now_ns);
            assert_true(level <= PRESSURE_LEVEL_MAX && level == pressure.level);
            assert_true(level <= before || fill >= 0.5);
            if (level < before) {
                assert_int_equal(level, before - 1);
                assert_true(now_ns - changed_ns >= 10 * NS_PER_S);
            }
            if (level != before)
                changed_ns = now_ns;
            if (fill < 0.95)
                full_since_ns = 0;
            else if (full_since_ns == 0)
                full_since_ns = now_ns;
            assert_true(full_since_ns == 0 || now_ns - full_since_ns < 2 * NS_PER_S || level == 4);
        }
    }
}

static void test_least_of_a_route(void **state)
{
    (void)state;
    struct pressure destinations[32] = {{.level = 4}, {.level = 2}, {.level = 0}, {.level = 3}};
    /* Route 0 goes to 0; 1 to 0 and 1; 2 to 0 and, by another pipeline, 2; 31 to 3 and 1. */
    static const struct pressure_pipeline pipelines[] = {
        {1u << 0 | 1u << 2, 1u << 0},
        {1u << 1, 1u << 0 | 1u << 1},
        {1u << 2, 1u << 2},
        {1u << 31, 1u << 3 | 1u << 1},
    };
    uint8_t levels[32];
    memset(levels, 0xff, sizeof levels);
    pressure_of_routes(pipelines, 4, destinations, levels);
    assert_int_equal(levels[0], 4);
    assert_int_equal(levels[1], 2);
    assert_int_equal(levels[2], 0);
    assert_int_equal(levels[31], 2);
    for (int route = 3; route < 31; route++)
        assert_int_equal(levels[route], 0); /* nobody gets it */
}

static const char *const dead_pairs[] = {"endpoint", "http://127.0.0.1:9",
                                         "sending_queue.queue_size", "10", NULL};

/* One batch a page. */
static void push_until_full(struct rig *rig)
{
    for (int i = 0; i < 12; i++)
        rig_push(rig, 100, 0);
    rig_wait(rig, 0, TELEMETRY_DROPPED_QUEUE_FULL, 100);
}

/* Memory is full and nobody takes anything: the shards see it. */
static void test_dead_back_end_presses(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig_add(&rig, &otlp_http_exporter.component, dead_pairs);
    rig_start(&rig);
    assert_int_equal(ring_pressure(rig.ring, 0), 0);
    push_until_full(&rig);
    uint64_t deadline_ns = clock_monotonic_ns() + 30 * NS_PER_S;
    while (ring_pressure(rig.ring, 0) < 3 && clock_monotonic_ns() < deadline_ns)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    assert_in_range(ring_pressure(rig.ring, 0), 3, 4);
    assert_int_equal(ring_pressure(rig.ring, 1), 0);
    rig_stop(&rig, 0);
    rig_fini(&rig);
}

/* Beside one that takes all it slows nobody. */
static void test_dead_beside_a_living_one(void **state)
{
    (void)state;
    static const char *const file_pairs[] = {"path", "/dev/null", NULL};
    struct rig rig;
    rig_init(&rig);
    rig_add(&rig, &otlp_http_exporter.component, dead_pairs);
    rig_add(&rig, &file_exporter.component, file_pairs);
    rig_start(&rig);
    push_until_full(&rig);
    uint64_t end_ns = clock_monotonic_ns() + 3 * NS_PER_S; /* longer than a level takes to rise */
    while (clock_monotonic_ns() < end_ns) {
        assert_int_equal(ring_pressure(rig.ring, 0), 0);
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    assert_int_equal(rig_value(&rig, 1, TELEMETRY_POINTS_DELIVERED), 1200);
    rig_stop(&rig, 0);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_up),
        cmocka_unit_test(test_moments_do_not_count),
        cmocka_unit_test(test_down_step_by_step),
        cmocka_unit_test(test_slack),
        cmocka_unit_test(test_random_fills),
        cmocka_unit_test(test_least_of_a_route),
        cmocka_unit_test(test_dead_back_end_presses),
        cmocka_unit_test(test_dead_beside_a_living_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
