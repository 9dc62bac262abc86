/* SPDX-License-Identifier: Apache-2.0 */
/* Due times over simulated hours: on their grid whatever comes, left out under pressure in the
 * order of cost, and all back when it is over. */
#include "shard/schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/random.h"

enum { CORE, SIZES, STATEMENTS, TABLES, OFF, GROUPS };
static const char *const names[GROUPS] = {"core", "sizes", "statements", "tables", "off"};
static const uint64_t intervals_ns[GROUPS] = {10 * NS_PER_S, 60 * NS_PER_S, 30 * NS_PER_S,
                                              10 * NS_PER_S, 0};
static const uint64_t points[GROUPS] = {50, 10, 500, 4000, 0};
static const uint64_t first_ns = 1000 * NS_PER_S + 7;

struct counts {
    uint64_t collected[GROUPS], left_out;
};

/* Runs for so long at this pressure, each timer in time; what is collected pays its points. */
static struct counts run_for(struct schedule *schedule, uint32_t level, uint64_t *now_ns,
                             uint64_t seconds)
{
    struct counts counts = {0};
    uint64_t end_ns = *now_ns + seconds * NS_PER_S;
    while (schedule_next_ns(schedule) < end_ns) {
        *now_ns = schedule_next_ns(schedule);
        struct schedule_due due = schedule_take(schedule, level, *now_ns);
        assert_true(schedule_next_ns(schedule) > *now_ns);
        assert_true(due.groups == 0 ? due.due_ns == UINT64_MAX : due.due_ns == *now_ns);
        counts.left_out += due.left_out;
        for (size_t i = 0; i < GROUPS; i++) {
            if ((due.groups >> i & 1) == 0)
                continue;
            assert_int_equal((*now_ns - first_ns) % intervals_ns[i], 0); /* the grid */
            counts.collected[i]++;
            schedule_count(schedule, i, points[i]);
        }
    }
    *now_ns = end_ns;
    return counts;
}

static void begin(struct schedule *schedule, const char *target)
{
    schedule_init(schedule, names, intervals_ns, GROUPS);
    schedule_begin(schedule, target, first_ns);
}

static void test_levels(void **state)
{
    (void)state;
    /* In 960 s: 96 of core and tables, 16 of sizes, 32 of statements. Points a second: tables 400,
     * statements 17, core 5, sizes 0.2. */
    static const uint64_t expected[5][GROUPS] = {
        {96, 16, 32, 96, 0}, {96, 16, 32, 48, 0}, {96, 16, 16, 24, 0},
        {96, 8, 8, 12, 0},   {48, 4, 4, 6, 0},
    };
    struct schedule schedule;
    uint64_t now_ns = first_ns;
    begin(&schedule, "db7");
    for (uint32_t level = 0; level <= 4; level++) {
        struct counts counts = run_for(&schedule, level, &now_ns, 960);
        uint64_t left_out = 0;
        for (size_t i = 0; i < GROUPS; i++) {
            assert_int_equal(counts.collected[i], expected[level][i]);
            left_out += expected[0][i] - expected[level][i];
        }
        assert_int_equal(counts.left_out, left_out);
    }
    /* It is over: all at once as it was. */
    struct counts counts = run_for(&schedule, 0, &now_ns, 960);
    for (size_t i = 0; i < GROUPS; i++)
        assert_int_equal(counts.collected[i], expected[0][i]);
    assert_int_equal(counts.left_out, 0);
    schedule_fini(&schedule);
}

/* Before anything is known of costs it is in the order of the catalogue, core last. */
static void test_pressure_from_the_start(void **state)
{
    (void)state;
    struct schedule schedule;
    uint64_t now_ns = first_ns;
    begin(&schedule, "db7");
    struct counts counts = run_for(&schedule, 1, &now_ns, 960);
    assert_int_equal(counts.collected[CORE], 96);
    assert_int_equal(counts.collected[SIZES], 8);
    assert_int_equal(counts.collected[TABLES], 96);
    schedule_fini(&schedule);
}

/* A fleet that is stretched by two collects half of it at each due time. */
static void test_targets_take_turns(void **state)
{
    (void)state;
    uint32_t even = 0;
    for (int i = 0; i < 1000; i++) {
        struct schedule schedule;
        char name[16];
        snprintf(name, sizeof name, "db%d", i);
        begin(&schedule, name);
        struct schedule_due due = schedule_take(&schedule, 4, first_ns);
        even += due.groups >> CORE & 1;
        schedule_fini(&schedule);
    }
    assert_in_range(even, 400, 600);
}

/* A shard that stood still makes up for it once, with the lag told, and goes on in the grid. */
static void test_missed_times(void **state)
{
    (void)state;
    struct schedule schedule;
    begin(&schedule, "db");
    struct schedule_due due = schedule_take(&schedule, 0, first_ns + 95 * NS_PER_S);
    assert_int_equal(due.groups, 1u << CORE | 1u << SIZES | 1u << STATEMENTS | 1u << TABLES);
    assert_int_equal(due.due_ns, first_ns);
    assert_int_equal(schedule_next_ns(&schedule), first_ns + 100 * NS_PER_S);
    due = schedule_take(&schedule, 0, first_ns + 100 * NS_PER_S);
    assert_int_equal(due.groups, 1u << CORE | 1u << TABLES);
    assert_int_equal(due.due_ns, first_ns + 100 * NS_PER_S);
    schedule_fini(&schedule);
}

/* Random stalls and levels: nothing is due twice, nothing is ever put off for good. */
static void test_random(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct random random = {.state = seed};
        struct schedule schedule;
        uint64_t now_ns = first_ns, last_ns[GROUPS];
        for (size_t i = 0; i < GROUPS; i++)
            last_ns[i] = first_ns;
        begin(&schedule, "db");
        for (int step = 0; step < 500; step++) {
            now_ns = schedule_next_ns(&schedule) + random_below(&random, 3) * NS_PER_S;
            if (random_below(&random, 50) == 0)
                now_ns += random_below(&random, 300) * NS_PER_S;
            struct schedule_due due =
                schedule_take(&schedule, (uint32_t)random_below(&random, 5), now_ns);
            assert_true(due.groups == 0 || due.due_ns <= now_ns);
            for (size_t i = 0; i < GROUPS; i++) {
                bool taken = due.groups >> i & 1;
                assert_true(!taken || intervals_ns[i] != 0);
                if (taken) {
                    assert_true(last_ns[i] == first_ns || now_ns > last_ns[i]);
                    last_ns[i] = now_ns;
                    schedule_count(&schedule, i, random_below(&random, 1000));
                }
                if (intervals_ns[i] != 0)
                    assert_true(now_ns - last_ns[i] <= 32 * intervals_ns[i] + 303 * NS_PER_S);
            }
        }
        schedule_fini(&schedule);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_pressure_from_the_start),
        cmocka_unit_test(test_targets_take_turns),
        cmocka_unit_test(test_missed_times),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
