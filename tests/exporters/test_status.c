/* SPDX-License-Identifier: Apache-2.0 */
/* What /status says of a destination's limits and its spool, from records made by hand. */
#include "exporters/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/clock.h"
#include "control/breaker.h"

static const uint64_t now_ns = 1000 * NS_PER_S;

static json_t *read_back(char *text)
{
    json_error_t error;
    assert_non_null(text);
    json_t *json = json_loads(text, 0, &error);
    if (json == NULL)
        fail_msg("%s in %s", error.text, text);
    free(text);
    return json;
}

static double real(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static const char *text(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_string(value));
    return json_string_value(value);
}

static void test_limiter(void **state)
{
    (void)state;
    struct outbox_status status = {.rate_limit = 123.456789,
                                   .rate = 0.0001234567,
                                   .utilisation = 0.5,
                                   .concurrency = 3,
                                   .concurrency_max = 10,
                                   .in_flight = 2,
                                   .breaker = "open",
                                   .gate_until_ns = now_ns + 1500 * NS_PER_MS,
                                   .open_until_ns = now_ns - 1,
                                   .change_count = 40,
                                   .changes_held = 2};
    status.changes[0] = (struct limiter_change){.at_ns = now_ns - 20 * NS_PER_S,
                                                .what = "rate",
                                                .reason = "429 from the back end",
                                                .from = 500,
                                                .to = 350};
    status.changes[1] = (struct limiter_change){.at_ns = now_ns - 2 * NS_PER_S,
                                                .what = "breaker",
                                                .reason = "5 failures in a row",
                                                .from = BREAKER_CLOSED,
                                                .to = BREAKER_OPEN};
    json_t *json = read_back(status_outbox_json(&status, now_ns));
    assert_null(json_object_get(json, "spool"));
    const json_t *limiter = json_object_get(json, "limiter");
    assert_true(real(limiter, "rate_limit") == 123.457); /* rounded for people */
    assert_true(real(limiter, "rate") == 0.000123457);
    assert_true(real(limiter, "concurrency") == 3 && real(limiter, "in_flight") == 2);
    assert_string_equal(text(limiter, "circuit_breaker"), "open");
    assert_true(real(limiter, "gate_s") == 1.5);
    assert_true(real(limiter, "opens_again_in_s") == 0);
    assert_true(real(limiter, "change_count") == 40);
    const json_t *changes = json_object_get(limiter, "changes");
    assert_int_equal(json_array_size(changes), 2);
    const json_t *newest = json_array_get(changes, 0), *oldest = json_array_get(changes, 1);
    assert_string_equal(text(newest, "what"), "breaker");
    assert_string_equal(text(newest, "from"), "closed");
    assert_string_equal(text(newest, "to"), "open");
    assert_true(real(newest, "ago_s") == 2);
    assert_string_equal(text(oldest, "reason"), "429 from the back end");
    assert_true(real(oldest, "from") == 500 && real(oldest, "to") == 350);
    json_decref(json);
}

static void test_spool(void **state)
{
    (void)state;
    struct outbox_status status = {.breaker = "closed", .has_spool = true};
    status.spool = (struct spool_status){.records = 7,
                                         .points = 7000,
                                         .disk_bytes = 1 << 20,
                                         .oldest_ns = clock_wall_ns() - 60 * NS_PER_S,
                                         .corrupt_records = 1,
                                         .trouble = "write: no space"};
    json_t *json = read_back(status_outbox_json(&status, now_ns));
    assert_true(json_is_null(json_object_get(json_object_get(json, "limiter"), "rate_limit")));
    const json_t *spool = json_object_get(json, "spool");
    assert_true(json_is_false(json_object_get(spool, "working")));
    assert_true(real(spool, "batches") == 7 && real(spool, "points") == 7000);
    assert_true(real(spool, "corrupt_records") == 1);
    assert_true(real(spool, "oldest_s") >= 60 && real(spool, "oldest_s") < 120);
    assert_string_equal(text(spool, "trouble"), "write: no space");
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limiter),
        cmocka_unit_test(test_spool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
