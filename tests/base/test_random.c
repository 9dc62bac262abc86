/* SPDX-License-Identifier: Apache-2.0 */
/* Bounds, spread, and the published sequence. */
#include "base/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_sequence(void **state)
{
    (void)state;
    /* splitmix64 seeded with 1234567, as in the reference implementation's published output */
    static const uint64_t expected[] = {6457827717110365317u, 3203168211198807973u,
                                        9817491932198370423u, 4593380528125082431u,
                                        16408922859458223821u};
    struct random random = {.state = 1234567};
    for (size_t i = 0; i < 5; i++)
        assert_true(random_next(&random) == expected[i]);
    struct random one, two;
    random_init(&one);
    random_init(&two);
    assert_true(random_next(&one) != random_next(&two));
}

static void test_bounds(void **state)
{
    (void)state;
    struct random random = {.state = 1};
    uint32_t seen[7] = {0};
    for (int i = 0; i < 7000; i++)
        seen[random_below(&random, 7)]++;
    for (int i = 0; i < 7; i++)
        assert_in_range(seen[i], 800, 1200);
    assert_int_equal(random_below(&random, 0), 0);
    assert_int_equal(random_below(&random, 1), 0);
    uint64_t least = UINT64_MAX, most = 0;
    for (int i = 0; i < 10000; i++) {
        uint64_t value = random_jitter(&random, 10000, 10);
        least = value < least ? value : least;
        most = value > most ? value : most;
    }
    assert_in_range(least, 9000, 9010);
    assert_in_range(most, 10990, 11000);
    assert_int_equal(random_jitter(&random, 10000, 0), 10000);
    assert_int_equal(random_jitter(&random, 0, 50), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sequence),
                                       cmocka_unit_test(test_bounds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
