/* SPDX-License-Identifier: Apache-2.0 */
/* Which groups are left out at which level, and that their due times stay on their grid. */
#include "shard/stretch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void assert_plan(const struct stretch_group *groups, size_t count, uint32_t level,
                        const char *expected)
{
    uint8_t doublings[STRETCH_GROUPS_MAX];
    char text[STRETCH_GROUPS_MAX + 1] = "";
    stretch_plan(groups, count, level, doublings);
    for (size_t i = 0; i < count; i++)
        text[i] = (char)('0' + doublings[i]);
    assert_string_equal(text, expected);
}

/* core costs most and is the last all the same; the other three in order of cost. */
static void test_four_groups(void **state)
{
    (void)state;
    static const struct stretch_group groups[] = {
        {"core", 1000, true}, {"sizes", 1, true}, {"statements", 90, true}, {"tables", 200, true}};
    assert_plan(groups, 4, 0, "0000");
    assert_plan(groups, 4, 1, "0001");
    assert_plan(groups, 4, 2, "0012");
    assert_plan(groups, 4, 3, "0123");
    assert_plan(groups, 4, 4, "1234");
}

static void test_few_groups(void **state)
{
    (void)state;
    static const struct stretch_group core = {"core", 5, true};
    assert_plan(&core, 1, 3, "0");
    assert_plan(&core, 1, 4, "1");
    static const struct stretch_group two[] = {{"core", 9, true}, {"tables", 1, true}};
    assert_plan(two, 2, 1, "01");
    assert_plan(two, 2, 4, "14");
    static const struct stretch_group own = {"mine", 0, true};
    assert_plan(&own, 1, 1, "1");
    /* Those that are not collected take no place in the order. */
    static const struct stretch_group off[] = {
        {"core", 9, true}, {"sizes", 99, false}, {"tables", 1, true}};
    assert_plan(off, 3, 1, "001");
    assert_plan(off, 3, 4, "104");
}

/* Costs not known yet: in the order of the catalogue, one class as large as the other. */
static void test_many_groups_of_no_cost(void **state)
{
    (void)state;
    static const struct stretch_group groups[] = {{"a", 0, true}, {"b", 0, true}, {"core", 0, true},
                                                  {"d", 0, true}, {"e", 0, true}, {"f", 0, true},
                                                  {"g", 0, true}, {"h", 0, true}};
    assert_plan(groups, 8, 1, "11000000");
    assert_plan(groups, 8, 2, "22011000");
    assert_plan(groups, 8, 4, "44133221");
}

/* A higher level never collects anything more often, a dearer group never more often than a
 * cheaper one. */
static void test_order_holds(void **state)
{
    (void)state;
    struct stretch_group groups[9];
    uint8_t before[9] = {0}, now[9];
    for (size_t i = 0; i < 9; i++)
        groups[i] = (struct stretch_group){"g", (double)i, true};
    for (uint32_t level = 0; level <= 4; level++) {
        stretch_plan(groups, 9, level, now);
        for (size_t i = 0; i < 9; i++) {
            assert_true(now[i] >= before[i] && now[i] <= level);
            assert_true(i == 0 || now[i] >= now[i - 1]);
            before[i] = now[i];
        }
    }
}

static void test_grid(void **state)
{
    (void)state;
    for (uint8_t doublings = 0; doublings <= 4; doublings++) {
        for (uint32_t phase = 0; phase < 40; phase++) {
            for (uint64_t first = 0; first < 40; first++) {
                for (uint64_t count = 1; count < 20; count++) {
                    uint64_t expected = first;
                    while (expected < first + count && (expected + phase) % (1u << doublings) != 0)
                        expected++;
                    assert_int_equal(stretch_next(first, count, phase, doublings), expected);
                }
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_four_groups),
        cmocka_unit_test(test_few_groups),
        cmocka_unit_test(test_many_groups_of_no_cost),
        cmocka_unit_test(test_order_holds),
        cmocka_unit_test(test_grid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
