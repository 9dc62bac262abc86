/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/clock.h"
#include "exporters/retry.h"

static const struct retry_settings collector = {.enabled = true,
                                                .initial_interval_ns = 5 * NS_PER_S,
                                                .multiplier = 1.5,
                                                .randomization_factor = 0,
                                                .max_interval_ns = 30 * NS_PER_S,
                                                .max_elapsed_ns = 300 * NS_PER_S};

struct decision_row {
    const char *what;
    enum http_outcome outcome;
    int status;
    uint64_t retry_after_s;
    uint32_t attempt;
    uint64_t elapsed_s;
    enum retry_verdict verdict;
    uint64_t wait_s;
    enum limiter_result result;
    enum telemetry_value reason;
};

static const struct decision_row rows[] = {
    {"plain success", HTTP_ANSWERED, 200, 0, 1, 0, RETRY_DELIVERED, 0, LIMITER_OK, 0},
    {"VictoriaMetrics answers 204", HTTP_ANSWERED, 204, 0, 1, 0, RETRY_DELIVERED, 0, LIMITER_OK, 0},
    {"Retry-After of a success means nothing", HTTP_ANSWERED, 200, 9, 1, 0, RETRY_DELIVERED, 0,
     LIMITER_OK, 0},
    {"429 waits for the limiter only", HTTP_ANSWERED, 429, 0, 1, 0, RETRY_AGAIN, 0,
     LIMITER_THROTTLED, 0},
    {"so does 503 that says until when", HTTP_ANSWERED, 503, 2, 9, 0, RETRY_AGAIN, 0,
     LIMITER_THROTTLED, 0},
    {"502 is retryable", HTTP_ANSWERED, 502, 0, 1, 0, RETRY_AGAIN, 5, LIMITER_SERVER_ERROR, 0},
    {"503 is retryable", HTTP_ANSWERED, 503, 0, 1, 0, RETRY_AGAIN, 5, LIMITER_SERVER_ERROR, 0},
    {"504 is retryable", HTTP_ANSWERED, 504, 0, 1, 0, RETRY_AGAIN, 5, LIMITER_SERVER_ERROR, 0},
    {"third wait has grown twice", HTTP_ANSWERED, 503, 0, 3, 0, RETRY_AGAIN, 11,
     LIMITER_SERVER_ERROR, 0},
    {"waits stop growing", HTTP_ANSWERED, 503, 0, 50, 0, RETRY_AGAIN, 30, LIMITER_SERVER_ERROR, 0},
    {"given up in time", HTTP_ANSWERED, 503, 0, 50, 271, RETRY_DROP, 0, LIMITER_SERVER_ERROR,
     TELEMETRY_DROPPED_EXPIRED},
    {"one more fits", HTTP_ANSWERED, 503, 0, 50, 270, RETRY_AGAIN, 30, LIMITER_SERVER_ERROR, 0},
    {"no connection", HTTP_UNREACHABLE, 0, 0, 1, 0, RETRY_AGAIN, 5, LIMITER_CONNECTION, 0},
    {"connection lost", HTTP_LOST, 0, 0, 1, 0, RETRY_AGAIN, 5, LIMITER_CONNECTION, 0},
    {"timeout", HTTP_TIMEOUT, 0, 0, 1, 0, RETRY_AGAIN, 5, LIMITER_TIMEOUT, 0},
    {"timeouts expire as well", HTTP_TIMEOUT, 0, 0, 9, 299, RETRY_DROP, 0, LIMITER_TIMEOUT,
     TELEMETRY_DROPPED_EXPIRED},
    {"a proxy's wrong key holds", HTTP_ANSWERED, 407, 0, 1, 0, RETRY_HOLD, 30,
     LIMITER_AUTHENTICATION, 0},
    {"wrong key holds", HTTP_ANSWERED, 401, 0, 1, 0, RETRY_HOLD, 30, LIMITER_AUTHENTICATION, 0},
    {"forbidden holds for ever", HTTP_ANSWERED, 403, 0, 900, 90000, RETRY_HOLD, 30,
     LIMITER_AUTHENTICATION, 0},
    {"certificate holds for ever", HTTP_UNTRUSTED, 0, 0, 900, 90000, RETRY_HOLD, 30,
     LIMITER_AUTHENTICATION, 0},
    {"too large", HTTP_ANSWERED, 413, 0, 1, 0, RETRY_SPLIT, 0, LIMITER_DATA,
     TELEMETRY_DROPPED_TOO_LARGE},
    {"bad request", HTTP_ANSWERED, 400, 0, 1, 0, RETRY_DROP, 0, LIMITER_DATA,
     TELEMETRY_DROPPED_PERMANENT},
    {"404", HTTP_ANSWERED, 404, 0, 1, 0, RETRY_DROP, 0, LIMITER_DATA, TELEMETRY_DROPPED_PERMANENT},
    {"408 is not in OTLP's list", HTTP_ANSWERED, 408, 0, 1, 0, RETRY_DROP, 0, LIMITER_DATA,
     TELEMETRY_DROPPED_PERMANENT},
    {"500 is not in OTLP's list", HTTP_ANSWERED, 500, 0, 1, 0, RETRY_DROP, 0, LIMITER_DATA,
     TELEMETRY_DROPPED_PERMANENT},
    {"redirects are not followed", HTTP_ANSWERED, 302, 0, 1, 0, RETRY_DROP, 0, LIMITER_DATA,
     TELEMETRY_DROPPED_PERMANENT},
    {"answer over the limit", HTTP_OVERSIZED, 0, 0, 1, 0, RETRY_DROP, 0, LIMITER_DATA,
     TELEMETRY_DROPPED_PERMANENT},
};

static struct retry_decision decide(const struct retry_settings *settings,
                                    const struct decision_row *row, struct random *random)
{
    struct http_answer answer = {.outcome = row->outcome,
                                 .status = row->status,
                                 .retry_after_ns = row->retry_after_s * NS_PER_S};
    return retry_decide(settings, row->attempt, row->elapsed_s * NS_PER_S, &answer, random);
}

static void test_decisions(void **state)
{
    (void)state;
    struct random random = {1};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct decision_row *row = &rows[i];
        struct retry_decision decision = decide(&collector, row, &random);
        uint64_t slack_s = row->verdict == RETRY_HOLD ? 4 : 1; /* hold jitters by a tenth */
        uint64_t wait_s = decision.wait_ns / NS_PER_S;
        if (decision.verdict != row->verdict || wait_s + slack_s < row->wait_s ||
            wait_s > row->wait_s + slack_s || decision.result != row->result ||
            ((row->verdict == RETRY_DROP || row->verdict == RETRY_SPLIT) &&
             decision.reason != row->reason))
            fail_msg("%s: verdict %d result %d wait %llu s", row->what, (int)decision.verdict,
                     (int)decision.result, (unsigned long long)wait_s);
    }
}

/* Remote write's rule: any 5xx, no 4xx. */
static void test_every_5xx(void **state)
{
    (void)state;
    struct random random = {1};
    struct retry_settings every = collector;
    every.every_5xx = true;
    for (int status = 400; status < 600; status++) {
        struct http_answer answer = {.outcome = HTTP_ANSWERED, .status = status};
        struct retry_decision decision = retry_decide(&every, 1, 0, &answer, &random);
        bool again = status >= 500 || status == 429;
        assert_int_equal(decision.verdict == RETRY_AGAIN, again);
        if (status >= 500)
            assert_int_equal(decision.result, LIMITER_SERVER_ERROR);
    }
}

/* Retrying switched off: what would be repeated is dropped at once, success stays success. */
static void test_disabled(void **state)
{
    (void)state;
    struct random random = {1};
    struct retry_settings off = collector;
    off.enabled = false;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct retry_decision decision = decide(&off, &rows[i], &random);
        bool stays = rows[i].verdict == RETRY_DELIVERED || rows[i].verdict == RETRY_SPLIT;
        assert_int_equal(decision.verdict, stays ? rows[i].verdict : RETRY_DROP);
    }
}

/* max_elapsed_time 0 never gives up; a factor of 0.5 spreads waits over 2.5 to 7.5 s. */
static void test_spread(void **state)
{
    (void)state;
    struct random random = {7};
    struct retry_settings forever = collector;
    forever.max_elapsed_ns = 0;
    forever.randomization_factor = 0.5;
    uint64_t least = UINT64_MAX, most = 0;
    for (int i = 0; i < 2000; i++) {
        struct http_answer answer = {.outcome = HTTP_ANSWERED, .status = 503};
        struct retry_decision decision =
            retry_decide(&forever, 1, 1000000 * NS_PER_S, &answer, &random);
        assert_int_equal(decision.verdict, RETRY_AGAIN);
        least = decision.wait_ns < least ? decision.wait_ns : least;
        most = decision.wait_ns > most ? decision.wait_ns : most;
    }
    assert_in_range(least, 2500 * NS_PER_MS, 2600 * NS_PER_MS);
    assert_in_range(most, 7400 * NS_PER_MS, 7500 * NS_PER_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decisions),
        cmocka_unit_test(test_every_5xx),
        cmocka_unit_test(test_disabled),
        cmocka_unit_test(test_spread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
