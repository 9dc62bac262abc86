/* SPDX-License-Identifier: Apache-2.0 */
#include "config/value.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

#define COUNT(array) (sizeof array / sizeof array[0])

static void durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ns;
        const char *printed;
    } good[] = {
        {"10s", 10 * NS_PER_S, "10s"},
        {"250ms", 250 * NS_PER_MS, "250ms"},
        {"1h30m", 5400 * NS_PER_S, "1h30m"},
        {"1.5s", 1500 * NS_PER_MS, "1s500ms"},
        {"0", 0, "0s"},
        {"0s", 0, "0s"},
        {"3us", 3000, "3us"},
        {"3µs", 3000, "3us"},
        {"7ns", 7, "7ns"},
        {"1m0.5s", 60 * NS_PER_S + 500 * NS_PER_MS, "1m500ms"},
        {"90m", 5400 * NS_PER_S, "1h30m"},
    };
    for (size_t i = 0; i < COUNT(good); i++) {
        uint64_t ns = 1, again;
        char text[VALUE_TEXT_BYTES];
        assert_true(value_parse_duration(good[i].text, &ns));
        assert_int_equal(ns, good[i].ns);
        value_format_duration(ns, text);
        assert_string_equal(text, good[i].printed);
        assert_true(value_parse_duration(text, &again));
        assert_int_equal(again, ns);
    }
    static const char *const bad[] = {"",    "10", "s",    "-5s",  "1d",   "10 s",
                                      "1s1", ".s", "1..s", "1h x", "1e3s", "9999999999h"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        uint64_t ns;
        assert_false(value_parse_duration(bad[i], &ns));
    }
}

static void sizes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t bytes;
        const char *printed;
    } good[] = {
        {"1048576", 1 << 20, "1MiB"},
        {"64MiB", 64 << 20, "64MiB"},
        {"1MB", 1000000, "1MB"},
        {"10 kB", 10000, "10000"},
        {"0", 0, "0"},
        {"1.5KiB", 1536, "1536"},
        {"2gib", 2ll << 30, "2GiB"},
        {"7B", 7, "7"},
    };
    for (size_t i = 0; i < COUNT(good); i++) {
        int64_t bytes = -1;
        char text[VALUE_TEXT_BYTES];
        assert_true(value_parse_bytes(good[i].text, &bytes));
        assert_int_equal(bytes, good[i].bytes);
        value_format_bytes(bytes, text);
        assert_string_equal(text, good[i].printed);
    }
    static const char *const bad[] = {"", "MiB", "-1", "1TB", "1 M B", "99999999999GiB"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        int64_t bytes;
        assert_false(value_parse_bytes(bad[i], &bytes));
    }
}

static void numbers(void **state)
{
    (void)state;
    int64_t number;
    double real;
    bool flag;
    char text[VALUE_TEXT_BYTES];
    assert_true(value_parse_int("-12", &number) && number == -12);
    assert_true(value_parse_int("9223372036854775807", &number) && number == INT64_MAX);
    assert_false(value_parse_int("9223372036854775808", &number));
    assert_false(value_parse_int("1.0", &number));
    assert_false(value_parse_int("", &number));
    assert_false(value_parse_int(" 1", &number));
    assert_true(value_parse_double("-1.5e3", &real) && real == -1500);
    assert_false(value_parse_double("nan", &real));
    assert_false(value_parse_double("1e999", &real));
    assert_false(value_parse_double("0x1p3", &real));
    value_format_double(0.1, text);
    assert_string_equal(text, "0.1");
    value_format_double(1.0 / 3, text);
    assert_true(value_parse_double(text, &real) && real == 1.0 / 3);
    assert_true(value_parse_bool("True", &flag) && flag);
    assert_true(value_parse_bool("false", &flag) && !flag);
    assert_false(value_parse_bool("yes", &flag));
    assert_false(value_parse_bool("", &flag));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations),
        cmocka_unit_test(sizes),
        cmocka_unit_test(numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
