/* SPDX-License-Identifier: Apache-2.0 */
/* Zeroed, aligned, apart from each other; whatever the size. */
#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_pieces(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 15, 16, 17, 1000, 65536, 65537, 200000, 3};
    enum { COUNT = 200 };
    struct arena arena = {0};
    uint8_t *pieces[COUNT];
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < COUNT; i++) {
            size_t bytes = sizes[i % 10];
            pieces[i] = arena_take(&arena, bytes);
            assert_int_equal((uintptr_t)pieces[i] % 16, 0);
            for (size_t at = 0; at < bytes; at++)
                assert_int_equal(pieces[i][at], 0);
            memset(pieces[i], (int)(i % 255) + 1, bytes);
        }
        for (size_t i = 0; i < COUNT; i++) /* nobody wrote into another's */
            for (size_t at = 0; at < sizes[i % 10]; at++)
                assert_int_equal(pieces[i][at], (int)(i % 255) + 1);
        arena_fini(&arena); /* usable again */
        assert_null(arena.first);
    }
    arena_fini(&arena);
}

static void test_texts(void **state)
{
    (void)state;
    struct arena arena = {0};
    assert_string_equal(arena_text(&arena, "weir"), "weir");
    assert_string_equal(arena_text(&arena, ""), "");
    assert_memory_equal(arena_copy(&arena, "a\0b", 3), "a\0b\0", 4);
    assert_string_equal(arena_copy(&arena, NULL, 0), "");
    assert_string_equal(arena_format(&arena, "%s:%d", "db", 5432), "db:5432");
    char *large = malloc(100001);
    memset(large, 'x', 100000);
    large[100000] = 0;
    assert_string_equal(arena_format(&arena, "%s", large), large);
    free(large);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pieces), cmocka_unit_test(test_texts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
