/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of back ends, good and hostile, as bytes written by hand from the specification. */
#include "exporters/otlp/response.h"

#include "base/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define BYTES(text) (text), sizeof(text) - 1

static void test_responses(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        size_t bytes;
        bool good;
        int64_t rejected;
        const char *message;
    } rows[] = {
        {BYTES(""), true, 0, ""},         /* full success */
        {BYTES("\x0a\x00"), true, 0, ""}, /* an empty partial_success */
        {BYTES("\x0a\x02\x08\x05"), true, 5, ""},
        {BYTES("\x0a\x0a\x08\xac\x02\x12\x05stale"), true, 300, "stale"},
        {BYTES("\x0a\x06\x12\x04warn"), true, 0, "warn"}, /* accepted, with a warning */
        {BYTES("\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), true, 0, ""}, /* −1 */
        {BYTES("\x0a\x02\x08\x05\x0a\x02\x08\x07"), true, 7, ""}, /* the last one counts */
        {BYTES("\x18\x01\x0a\x02\x08\x05"), true, 5, ""},         /* unknown fields are skipped */
        {BYTES("\x21\0\0\0\0\0\0\0\0\x2d\0\0\0\0\x32\x02zz"), true, 0, ""},
        {BYTES("\x0a\x07\x12\x05"
               "a\x1b\n\xc2\x9b"),
         true, 0, "a    "},                                       /* no control characters */
        {BYTES("\x0a\x03\x12\x01\xff"), true, 0, "\xef\xbf\xbd"}, /* nor bad UTF-8 */
        {BYTES("<html>502</html>"), false, 0, ""},
        {BYTES("{\"partialSuccess\":{}}"), false, 0, ""},
        {BYTES("OK"), false, 0, ""},
        {BYTES("\x0a"), false, 0, ""},             /* no length */
        {BYTES("\x0a\x05\x08\x05"), false, 0, ""}, /* shorter than it says */
        {BYTES("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), false, 0, ""}, /* 2^64 − 1 bytes */
        {BYTES("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), false, 0,
         ""},                                      /* too long */
        {BYTES("\x08\x05"), false, 0, ""},         /* partial_success as a number */
        {BYTES("\x0a\x02\x0a\x00"), false, 0, ""}, /* rejected_data_points as text */
        {BYTES("\x0a\x02\x10\x05"), false, 0, ""}, /* error_message as a number */
        {BYTES("\x02\x00"), false, 0, ""},         /* field 0 does not exist */
        {BYTES("\x0b\x0c"), false, 0, ""},         /* a group */
        {BYTES("\x21\0\0\0"), false, 0, ""},       /* a cut fixed64 */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct otlp_response response = {.rejected_points = -7};
        bool good = otlp_response_parse((const uint8_t *)rows[i].body, rows[i].bytes, &response);
        assert_int_equal(good, rows[i].good);
        if (!good) {
            assert_int_equal(response.rejected_points, -7); /* untouched */
            continue;
        }
        assert_int_equal(response.rejected_points, rows[i].rejected);
        assert_string_equal(response.message, rows[i].message);
    }
}

static void test_status(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        size_t bytes;
        bool good;
        const char *message;
    } rows[] = {
        {BYTES(""), true, ""},
        {BYTES("\x08\x03\x12\x07"
               "bad key"),
         true, "bad key"},
        {BYTES("\x12\x04slow\x1a\x03\x0a\x01x"), true, "slow"}, /* with details */
        {BYTES("\x0a\x01x"), false, ""},                        /* code as text */
        {BYTES("\x10\x01"), false, ""},                         /* message as a number */
        {BYTES("Unauthorized"), false, ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct otlp_response response;
        bool good = otlp_status_parse((const uint8_t *)rows[i].body, rows[i].bytes, &response);
        assert_int_equal(good, rows[i].good);
        if (good)
            assert_string_equal(response.message, rows[i].message);
    }
}

/* Longer than the field: cut at a character's end, terminated. */
static void test_long_message(void **state)
{
    (void)state;
    uint8_t body[403] = {0x12, 0x90, 0x03}; /* 400 bytes */
    for (size_t i = 3; i + 1 < sizeof body; i += 2)
        memcpy(body + i, "\xc3\xbc", 2);
    struct otlp_response response;
    assert_true(otlp_status_parse(body, sizeof body, &response));
    assert_int_equal(strlen(response.message), 254);
}

/* Any bytes, in a block of exactly their size, so that a sanitizer sees one read too many. */
static void test_garbage(void **state)
{
    (void)state;
    struct random random = {.state = 4711};
    int good = 0;
    for (int round = 0; round < 20000; round++) {
        size_t bytes = random_below(&random, 24);
        uint8_t *body = malloc(bytes ? bytes : 1);
        assert_non_null(body);
        for (size_t i = 0; i < bytes; i++)
            body[i] = (uint8_t)random_below(&random, random_below(&random, 2) ? 24 : 256);
        struct otlp_response response = {0};
        good += otlp_response_parse(body, bytes, &response);
        assert_true(response.rejected_points >= 0);
        otlp_status_parse(body, bytes, &response);
        assert_non_null(memchr(response.message, 0, sizeof response.message));
        free(body);
    }
    assert_true(good > 500 && good < 19500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_responses),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_long_message),
        cmocka_unit_test(test_garbage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
