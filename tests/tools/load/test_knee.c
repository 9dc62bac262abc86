/* SPDX-License-Identifier: Apache-2.0 */
/* Bisection on functions whose knee is known. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tools/load/knee.h"

struct system {
    uint64_t knee;     /* holds up to here */
    uint64_t fails_at; /* an attempt that cannot be made; 0: none */
    uint64_t tried[64];
    uint32_t count;
};

static bool attempt(void *owner, uint64_t load, bool *ret_ok, struct error *error)
{
    struct system *system = owner;
    system->tried[system->count++] = load;
    if (load == system->fails_at)
        return error_set(error, "the programs do not start");
    *ret_ok = load <= system->knee;
    return true;
}

static struct knee_answer find(struct system *system, uint64_t from, uint64_t to, double within)
{
    struct error error;
    struct knee_answer answer;
    const struct knee_search search = {
        .from = from, .to = to, .within = within, .attempt = attempt, .owner = system};
    assert_true(knee_find(&search, &answer, &error));
    assert_int_equal(answer.attempts, system->count);
    return answer;
}

static void test_every_knee(void **state)
{
    (void)state;
    for (uint64_t knee = 100; knee < 20000; knee += 37) {
        struct system system = {.knee = knee};
        struct knee_answer answer = find(&system, 100, 20000, 0.05);
        assert_true(answer.best <= knee);
        assert_true(answer.broken > knee);
        assert_true((double)(answer.broken - answer.best) <= 0.05 * (double)answer.best);
        assert_true(answer.attempts <= 14); /* 8 doublings, 5 halvings of a doubling, 1 */
        for (uint32_t i = 0; i < system.count; i++)
            assert_in_range(system.tried[i], 100, 20000);
    }
}

static void test_exact(void **state)
{
    (void)state;
    struct system system = {.knee = 777};
    assert_int_equal(find(&system, 1, 5000, 0).best, 777);
}

static void test_ends(void **state)
{
    (void)state;
    struct system nothing = {.knee = 5};
    struct knee_answer answer = find(&nothing, 10, 1000, 0.1);
    assert_int_equal(answer.best, 0);
    assert_int_equal(answer.broken, 10);
    assert_int_equal(answer.attempts, 1);
    struct system everything = {.knee = 5000};
    answer = find(&everything, 10, 1000, 0.1);
    assert_int_equal(answer.best, 1000);
    assert_int_equal(answer.broken, 0);
    struct system one = {.knee = 5000};
    assert_int_equal(find(&one, 7, 7, 0.1).attempts, 1);
}

static void test_error(void **state)
{
    (void)state;
    struct system system = {.knee = 5000, .fails_at = 80};
    struct error error;
    struct knee_answer answer;
    const struct knee_search search = {
        .from = 10, .to = 1000, .within = 0.1, .attempt = attempt, .owner = &system};
    assert_false(knee_find(&search, &answer, &error));
    assert_string_equal(error.text, "the programs do not start");
    assert_int_equal(answer.best, 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_knee),
        cmocka_unit_test(test_exact),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
