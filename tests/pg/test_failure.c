/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "pg/failure.h"

static const struct statement statements[3] = {{.name = "a"}, {.name = "b"}, {.name = "c"}};
static const struct plan plan = {.statements = statements, .statement_count = 3};
static const struct plan other = {.statements = statements, .statement_count = 2};

static int teardown(void **state)
{
    (void)state;
    telemetry_reset();
    return 0;
}

static void test_clean(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
        size_t bytes;
    } cases[] = {
        {"plain", "plain", 64},
        {"two\n\tlines \r\n here\n", "two lines here", 64},
        {"  padded  ", "padded", 64},
        {"caf\xc3\xa9", "caf\xc3\xa9", 64},
        {"caf\xc3\xa9", "caf", 5},        /* no half character */
        {"bad \xff\xc3)", "bad ?\?)", 64}, /* no UTF-8 */
        {"over \xc0\x80", "over ??", 64}, /* overlong */
        {"\xed\xa0\x80", "???", 64},      /* a surrogate */
        {"\xf4\x90\x80\x80", "????", 64}, /* beyond Unicode */
        {"cut \xe2\x82", "cut ??", 64},   /* ends within a character */
        {"\x1b[31mred\x7f", "[31mred", 64},
        {"", "", 1},
        {"x", "", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char out[64];
        failure_clean(out, cases[i].bytes, cases[i].text);
        assert_string_equal(out, cases[i].expected);
    }
}

static struct failure failure_of(enum failure_kind kind, const char *sqlstate)
{
    struct failure failure = {.kind = kind};
    snprintf(failure.sqlstate, sizeof failure.sqlstate, "%s", sqlstate);
    return failure;
}

static void test_retried_ever_more_rarely(void **state)
{
    (void)state;
    struct track_record track = {0};
    struct failure missing = failure_of(FAILURE_LASTING, "42P01");
    struct failure denied = failure_of(FAILURE_LASTING, "42501");
    uint64_t now_ns = 1000 * NS_PER_S;
    track_adopt(&track, &plan);
    static const uint64_t minutes[] = {1, 2, 4, 8, 10, 10};
    for (size_t i = 0; i < sizeof minutes / sizeof minutes[0]; i++) {
        /* News at first only: that is what is logged. */
        assert_int_equal(track_failed(&track, &statements[1], &missing, 0, now_ns), i == 0);
        assert_int_equal(track_failing(&track, &statements[1])->retry_ns - now_ns,
                         minutes[i] * 60 * NS_PER_S);
    }
    assert_null(track_failing(&track, &statements[0]));
    assert_true(track_failed(&track, &statements[1], &denied, 0, now_ns));
    assert_true(track_succeeded(&track, &statements[1]));
    assert_false(track_succeeded(&track, &statements[1]));
    assert_true(track_proven(&track, &statements[1]));
    assert_false(track_proven(&track, &statements[2]));
    track_fini(&track);
}

static void test_passing_trouble_gets_one_more_try(void **state)
{
    (void)state;
    struct track_record track = {0};
    struct failure timeout = failure_of(FAILURE_PASSING, "57014");
    track_adopt(&track, &plan);
    track_failed(&track, &statements[0], &timeout, 0, 5);
    assert_int_equal(track_failing(&track, &statements[0])->retry_ns, 5);
    track_failed(&track, &statements[0], &timeout, 0, 5);
    assert_int_equal(track_failing(&track, &statements[0])->retry_ns, 5 + 60 * NS_PER_S);
    track_fini(&track);
}

static void test_new_plan_forgets(void **state)
{
    (void)state;
    struct track_record track = {0};
    struct failure missing = failure_of(FAILURE_LASTING, "42P01");
    track_adopt(&track, &plan);
    track_succeeded(&track, &statements[0]);
    track_failed(&track, &statements[1], &missing, 0, 5);
    track_adopt(&track, &plan);
    assert_true(track_proven(&track, &statements[0]));
    track_adopt(&track, &other);
    assert_false(track_proven(&track, &statements[0]));
    assert_null(track_failing(&track, &statements[1]));
    track_fini(&track);
}

static uint64_t sets(void)
{
    uint64_t count = 0;
    for (const struct telemetry_set *set = telemetry_first(); set != NULL; set = set->next)
        count++;
    return count;
}

static void test_counted_by_query_and_sqlstate(void **state)
{
    (void)state;
    struct telemetry_set *first = failure_count(3, "locks", "57014");
    assert_ptr_equal(failure_count(3, "locks", "57014"), first);
    assert_int_equal(counter_read(&first->values[TELEMETRY_FAILURES]), 2);
    assert_ptr_not_equal(failure_count(4, "locks", "57014"), first);
    assert_string_equal(failure_count(3, "locks", "")->labels[2].value, "none");
    assert_int_equal(sets(), 3);
    /* However many codes a hostile server invents, the number of sets is bounded. */
    for (int i = 0; i < 2000; i++) {
        char sqlstate[6];
        snprintf(sqlstate, sizeof sqlstate, "Z%04d", i);
        failure_count(3, i % 2 == 0 ? "locks" : "io", sqlstate);
    }
    assert_in_range(sets(), 256, 260);
    uint64_t counted = telemetry_total(TELEMETRY_FAILURES);
    assert_int_equal(counted, 2004);
    for (int i = 0; i < 2000; i++) {
        char query[16];
        snprintf(query, sizeof query, "query %d", i);
        failure_count(3, query, "57014");
    }
    assert_in_range(sets(), 500, 520);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_clean, teardown),
        cmocka_unit_test_teardown(test_retried_ever_more_rarely, teardown),
        cmocka_unit_test_teardown(test_passing_trouble_gets_one_more_try, teardown),
        cmocka_unit_test_teardown(test_new_plan_forgets, teardown),
        cmocka_unit_test_teardown(test_counted_by_query_and_sqlstate, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
