/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of prepared statements, shared by sessions: against a plain list per session. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "tools/sim/prepared.h"

enum { NAMES = 40, SESSIONS = 6, STEPS = 4000 };

/* Two statements, neither of a form: equality is by what they do. */
static struct command commands[2] = {
    {.references = 1, .kind = COMMAND_BEGIN},
    {.references = 1, .kind = COMMAND_COMMIT},
};

static const char *name_of(uint64_t number, char text[32])
{
    snprintf(text, 32, "pgweir_statement_%llu", (unsigned long long)number);
    return text;
}

static void test_shared(void **state)
{
    (void)state;
    struct prepared *root = prepared_create();
    struct prepared *a = prepared_enter(root), *b = prepared_enter(root);
    prepared_add(&a, "x", 1, &commands[0]);
    prepared_add(&b, "x", 1, &commands[0]);
    assert_ptr_equal(a, b); /* the same steps lead to the same set, … */
    prepared_add(&a, "y", 1, &commands[0]);
    prepared_add(&b, "y", 1, &commands[1]);
    assert_ptr_not_equal(a, b); /* … others do not */
    assert_ptr_equal(prepared_find(a, "y", 1), &commands[0]);
    assert_ptr_equal(prepared_find(b, "y", 1), &commands[1]);
    assert_null(prepared_find(a, "", 0));
    assert_null(prepared_find(a, "xy", 2));
    assert_false(prepared_remove(&a, "z", 1));
    assert_true(prepared_remove(&a, "x", 1));
    assert_int_equal(prepared_count(a), 1);
    assert_null(prepared_find(a, "x", 1));
    prepared_leave(a);
    prepared_leave(b);
    assert_int_equal(commands[0].references, 1); /* nothing is left behind */
    assert_int_equal(commands[1].references, 1);
    prepared_destroy(&root);
}

static void test_random_steps(void **state)
{
    (void)state;
    struct random random = {.state = 7};
    struct prepared *root = prepared_create(), *sets[SESSIONS];
    struct command *model[SESSIONS][NAMES] = {{0}};
    char text[32];
    for (int i = 0; i < SESSIONS; i++)
        sets[i] = prepared_enter(root);
    for (int step = 0; step < STEPS; step++) {
        uint64_t session = random_below(&random, SESSIONS), number = random_below(&random, NAMES);
        struct command **expected = &model[session][number];
        const char *name = name_of(number, text);
        size_t bytes = strlen(name), count = 0;
        assert_ptr_equal(prepared_find(sets[session], name, bytes), *expected);
        if (random_below(&random, 500) == 0) {
            prepared_clear(&sets[session]);
            memset(model[session], 0, sizeof model[session]);
        } else if (*expected != NULL) {
            assert_true(prepared_remove(&sets[session], name, bytes));
            *expected = NULL;
        } else {
            *expected = &commands[random_below(&random, 2)];
            prepared_add(&sets[session], name, bytes, *expected);
        }
        for (uint64_t k = 0; k < NAMES; k++) {
            name = name_of(k, text);
            assert_ptr_equal(prepared_find(sets[session], name, strlen(name)), model[session][k]);
            count += model[session][k] != NULL;
        }
        assert_int_equal(prepared_count(sets[session]), count);
    }
    for (int i = 0; i < SESSIONS; i++)
        prepared_leave(sets[i]);
    assert_int_equal(commands[0].references, 1);
    assert_int_equal(commands[1].references, 1);
    prepared_destroy(&root);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared),
        cmocka_unit_test(test_random_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
