/* SPDX-License-Identifier: Apache-2.0 */
/* Both ways of computing CRC32C against known values and against each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "ring/crc32c.h"

typedef uint32_t crc_fn(uint32_t before, const void *data, size_t bytes);
static crc_fn *const ways[] = {crc32c, crc32c_portable};

/* RFC 3720, appendix B.4, and the usual check value. */
static void test_known_values(void **state)
{
    (void)state;
    uint8_t zeros[32] = {0}, ones[32], up[32], down[32];
    memset(ones, 0xff, sizeof ones);
    for (uint8_t i = 0; i < 32; i++) {
        up[i] = i;
        down[i] = (uint8_t)(31 - i);
    }
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(ways[i](0, "123456789", 9), 0xe3069283);
        assert_int_equal(ways[i](0, zeros, 32), 0x8a9136aa);
        assert_int_equal(ways[i](0, ones, 32), 0x62a8ab43);
        assert_int_equal(ways[i](0, up, 32), 0x46dd794e);
        assert_int_equal(ways[i](0, down, 32), 0x113fdb5c);
        assert_int_equal(ways[i](0, NULL, 0), 0);
    }
}

/* Any length at any alignment, whole and in two pieces. */
static void test_agree(void **state)
{
    (void)state;
    static uint8_t bytes[4096];
    struct random random = {.state = 3};
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)random_next(&random);
    for (int i = 0; i < 5000; i++) {
        size_t from = random_below(&random, 64), count = random_below(&random, 4000);
        size_t cut = random_below(&random, count + 1);
        uint32_t whole = crc32c(0, bytes + from, count);
        assert_int_equal(whole, crc32c_portable(0, bytes + from, count));
        for (size_t way = 0; way < 2; way++)
            assert_int_equal(whole, ways[1 - way](ways[way](0, bytes + from, cut),
                                                  bytes + from + cut, count - cut));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_known_values),
                                       cmocka_unit_test(test_agree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
