/* SPDX-License-Identifier: Apache-2.0 */
/* Buffers against a plain array, at random; and that their memory goes round. */
#include "tools/net/buffer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"

enum { MODEL_BYTES = 1 << 20 };

static void test_against_a_model(void **state)
{
    (void)state;
    struct random random = {.state = 11};
    struct net_pool pool = {0};
    struct net_buffer *buffer = NULL;
    static uint8_t model[MODEL_BYTES], bytes[MODEL_BYTES];
    size_t live = 0;
    for (int step = 0; step < 20000; step++) {
        size_t most = random_below(&random, 50) == 0 ? 100000 : 3000;
        size_t count = random_below(&random, most);
        if (random_below(&random, 2) == 0 && live + count < MODEL_BYTES) {
            for (size_t i = 0; i < count; i++)
                bytes[i] = (uint8_t)random_next(&random);
            memcpy(model + live, bytes, count);
            live += count;
            if (step % 2 == 0) {
                net_buffer_append(&pool, &buffer, bytes, count);
            } else if (count > 0) { /* more room than is used */
                memcpy(net_buffer_room(&pool, &buffer, count + 100), bytes, count);
                buffer->end += (uint32_t)count;
            }
        } else {
            count = count > live ? live : count;
            if (random_below(&random, 20) == 0)
                count = live;
            net_buffer_take(&pool, &buffer, count);
            memmove(model, model + count, live - count);
            live -= count;
        }
        assert_int_equal(net_buffer_count(buffer), live);
        if (live == 0)
            assert_null(buffer);
        else
            assert_memory_equal(buffer->bytes + buffer->start, model, live);
    }
    net_buffer_release(&pool, &buffer);
    net_pool_fini(&pool);
}

static void test_memory_goes_round(void **state)
{
    (void)state;
    struct net_pool pool = {0};
    struct net_buffer *one = NULL, *two = NULL;
    net_buffer_append(&pool, &one, "x", 1);
    struct net_buffer *first = one;
    net_buffer_take(&pool, &one, 1);
    assert_null(one);
    net_buffer_append(&pool, &two, "y", 1);
    assert_ptr_equal(two, first);
    net_buffer_release(&pool, &two);
    /* What is kept is bounded. */
    enum { BUFFERS = 3 };
    struct net_buffer *large[BUFFERS] = {0};
    for (int i = 0; i < BUFFERS; i++)
        net_buffer_room(&pool, &large[i], NET_BUFFER_KEPT_BYTES / 2 - 100);
    for (int i = 0; i < BUFFERS; i++)
        net_buffer_release(&pool, &large[i]);
    uint32_t kept = 0;
    for (int i = 0; i < NET_BUFFER_CLASSES; i++)
        kept += pool.free_count[i];
    assert_int_equal(kept, 3); /* the small one, and two of the three */
    net_pool_fini(&pool);
}

/* Taking byte by byte while bytes come must not copy everything each time. */
static void test_no_quadratic_copies(void **state)
{
    (void)state;
    struct net_pool pool = {0};
    struct net_buffer *buffer = NULL;
    uint8_t *block = calloc(1, 1 << 20);
    net_buffer_append(&pool, &buffer, block, 1 << 20);
    int moves = 0;
    for (int i = 0; i < 1 << 20; i++) {
        const uint8_t *before = buffer->bytes + buffer->start;
        net_buffer_append(&pool, &buffer, "x", 1);
        moves += buffer->bytes + buffer->start != before;
        net_buffer_take(&pool, &buffer, 1);
    }
    assert_true(moves < 8);
    free(block);
    net_buffer_release(&pool, &buffer);
    net_pool_fini(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_a_model),
        cmocka_unit_test(test_memory_goes_round),
        cmocka_unit_test(test_no_quadratic_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
