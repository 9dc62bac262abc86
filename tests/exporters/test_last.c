/* SPDX-License-Identifier: Apache-2.0 */
/* The table of last values, beside a plain list that is searched from end to end: series that come
 * and go in any order, keys that crowd in one place of the index, series that are forgotten by time
 * and for room. */
#include "exporters/otlp/last.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/random.h"

enum { KEYS = 3000, HOUR = 3600 };

static struct last_key key_of(uint32_t number, bool crowded)
{
    struct random random = {.state = number + 1};
    struct last_key key = {random_next(&random) | 1, random_next(&random)};
    if (crowded) { /* 16 homes, and halves that are equal */
        key.low = (key.low & ~0xffffull) | (number % 16) << 4 | 1;
        if (number % 2 == 0)
            key.high = 7;
        else
            key.low = (number % 16) << 4 | 1;
    }
    return key;
}

/* What is found for a key is what was put there, as long as it is not forgotten. */
static void check_model(bool crowded)
{
    struct random random = {.state = 11};
    struct last_table *table = last_table_create(1 << 20, NULL);
    int64_t *values = calloc(KEYS, sizeof *values); /* 0: never put */
    uint32_t known = 0, at = 0;
    assert_non_null(values);
    for (int i = 0; i < 60000; i++) {
        /* mostly the next one, as servers report; else any */
        at =
            random_below(&random, 8) != 0 ? (at + 1) % KEYS : (uint32_t)random_below(&random, KEYS);
        struct last *last = last_find(table, key_of(at, crowded), 100);
        assert_int_equal(last->value.integer, values[at]);
        assert_int_equal(last->time_ns != 0, values[at] != 0);
        known += values[at] == 0;
        last->value.integer = values[at] = (int64_t)(random_next(&random) >> 1) + 1;
        last->time_ns = 1;
        if (i % 64 == 0)
            last_sweep(table, 100);
        assert_int_equal(last_count(table), known);
    }
    assert_int_equal(last_forgotten(table), 0);
    free(values);
    last_table_destroy(&table);
    assert_null(table);
}

static void test_model(void **state)
{
    (void)state;
    check_model(false);
}

static void test_crowded(void **state)
{
    (void)state;
    check_model(true);
}

static void touch(struct last_table *table, uint32_t number, uint32_t now_s)
{
    struct last *last = last_find(table, key_of(number, number % 3 == 0), now_s);
    last->time_ns = 1;
    last->value.integer = number;
}

static bool knows(struct last_table *table, uint32_t number, uint32_t now_s)
{
    struct last *last = last_find(table, key_of(number, number % 3 == 0), now_s);
    bool known = last->time_ns != 0;
    assert_true(!known || last->value.integer == number);
    return known;
}

static void sweep_all(struct last_table *table, uint32_t now_s)
{
    for (int i = 0; i < 200; i++) /* 64 a call */
        last_sweep(table, now_s);
}

/* How long a series is kept that is not seen any more. */
static void test_how_long(void **state)
{
    (void)state;
    static const struct {
        uint32_t interval_s, times; /* how often it was seen */
        uint32_t away_s;            /* how long not */
        bool kept;
    } rows[] = {
        {10, 3, HOUR, true}, /* an hour at least */
        {10, 3, HOUR + 1, false},
        {HOUR, 3, 5 * HOUR, true}, /* five of its intervals */
        {HOUR, 3, 5 * HOUR + 1, false},
        {10, 1, 25 * HOUR, true}, /* seen once: its interval may be a day */
        {10, 1, 25 * HOUR + 1, false},
        {24 * HOUR, 2, 5 * 24 * HOUR, true},
        {0, 3, 25 * HOUR, true}, /* several times a second: not known */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct last_table *table = last_table_create(100, NULL);
        uint32_t now_s = 1000;
        for (uint32_t n = 0; n < rows[i].times; n++)
            touch(table, 1, now_s += n > 0 ? rows[i].interval_s : 0);
        sweep_all(table, now_s - 100); /* another server's time, a little back */
        sweep_all(table, now_s + rows[i].away_s);
        if (last_count(table) != rows[i].kept || last_forgotten(table) == rows[i].kept)
            fail_msg("row %zu: %u kept", i, last_count(table));
        last_table_destroy(&table);
    }
}

/* Half of the series go; the others, and new ones in their places, are what they should be. */
static void test_forgetting(void **state)
{
    (void)state;
    struct last_table *table = last_table_create(1 << 20, NULL);
    for (uint32_t round = 0; round < 5; round++) {
        uint32_t now_s = 1000 + round * 2 * HOUR;
        for (uint32_t i = 0; i < 2; i++) /* twice, so that intervals are known */
            for (uint32_t number = 0; number < KEYS; number++)
                touch(table, number, now_s + i);
        for (uint32_t number = 0; number < KEYS; number += 2)
            touch(table, number, now_s + HOUR);
        sweep_all(table, now_s + HOUR + 10);
        assert_int_equal(last_count(table), KEYS / 2);
        for (uint32_t number = 0; number < KEYS; number += 2)
            assert_true(knows(table, number, now_s + HOUR));
        for (uint32_t number = KEYS; number < KEYS + 100; number++)
            assert_false(knows(table, number, now_s + HOUR)); /* and puts it */
        assert_int_equal(last_count(table), KEYS / 2 + 100);
        sweep_all(table, now_s + 30 * HOUR);
        assert_int_equal(last_count(table), 0);
        assert_int_equal(last_forgotten(table), (round + 1) * (KEYS + 100));
    }
    last_table_destroy(&table);
}

static uint32_t dropped;

static void count_dropped(struct last *last)
{
    assert_int_equal(last->key.low & 1, 1);
    dropped++;
}

/* A full table forgets one for each new one, and rather those not seen for long. */
static void test_full(void **state)
{
    (void)state;
    enum { LIMIT = 5000, MORE = 2000 };
    struct last_table *table = last_table_create(LIMIT, count_dropped);
    dropped = 0;
    for (uint32_t number = 0; number < LIMIT; number++)
        touch(table, number, number % 2 == 0 ? 1000 : 2000);
    assert_int_equal(last_count(table), LIMIT);
    assert_int_equal(dropped, 0);
    for (uint32_t number = LIMIT; number < LIMIT + MORE; number++)
        touch(table, number, 2000);
    assert_int_equal(last_count(table), LIMIT);
    assert_int_equal(dropped, MORE);
    assert_int_equal(last_forgotten(table), MORE);
    for (uint32_t number = 1; number < LIMIT; number += 2)
        assert_true(knows(table, number, 2000));
    for (uint32_t number = LIMIT; number < LIMIT + MORE; number++)
        assert_true(knows(table, number, 2000));
    last_table_destroy(&table);
    assert_int_equal(dropped, MORE + LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),    cmocka_unit_test(test_crowded),
        cmocka_unit_test(test_how_long), cmocka_unit_test(test_forgetting),
        cmocka_unit_test(test_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
