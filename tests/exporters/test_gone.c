/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "exporters/gone.h"

/* Known until a question that was asked after the ack is answered. */
static void test_until_an_answer(void **state)
{
    (void)state;
    struct gone gone = {0};
    gone_ask(&gone);
    gone_ask(&gone);
    gone_add(&gone, 7);
    gone_answer(&gone);
    assert_true(gone_has(&gone, 7));
    gone_answer(&gone);
    assert_true(gone_has(&gone, 7)); /* both were asked before */
    assert_false(gone_has(&gone, 8));
    gone_ask(&gone);
    gone_add(&gone, 8);
    gone_answer(&gone);
    assert_false(gone_has(&gone, 7));
    assert_true(gone_has(&gone, 8));
    gone_fini(&gone);
}

/* An eviction answers no question, so a batch is kept even where none is open. */
static void test_without_a_question(void **state)
{
    (void)state;
    struct gone gone = {0};
    gone_add(&gone, 1);
    assert_true(gone_has(&gone, 1));
    gone_ask(&gone);
    gone_answer(&gone);
    assert_false(gone_has(&gone, 1));
    gone_fini(&gone);
}

/* Against a list that is never shortened, through many growths of the ring. */
static void test_many(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    static uint64_t asked_at[COUNT + 1];
    struct gone gone = {0};
    uint64_t asked = 0, answered = 0, random = 1;
    for (uint64_t sequence = 1; sequence <= COUNT; sequence++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        for (uint64_t i = random >> 62; i > 0; i--, asked++)
            gone_ask(&gone);
        gone_add(&gone, sequence);
        asked_at[sequence] = asked;
        for (uint64_t i = random >> 60 & 3; i > 0 && answered < asked; i--, answered++)
            gone_answer(&gone);
        if (sequence % 97 == 0)
            for (uint64_t past = 1; past <= sequence; past++)
                assert_int_equal(gone_has(&gone, past), asked_at[past] >= answered);
    }
    gone_fini(&gone);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_until_an_answer),
        cmocka_unit_test(test_without_a_question),
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
