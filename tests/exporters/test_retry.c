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
    uint64_t wait_s, gate_s;
    enum telemetry_value reason;
};

static const struct decision_row rows[] = {
    {"plain success", HTTP_ANSWERED, 200, 0, 1, 0, RETRY_DELIVERED, 0, 0, 0},
    {"VictoriaMetrics answers 204", HTTP_ANSWERED, 204, 0, 1, 0, RETRY_DELIVERED, 0, 0, 0},
    {"Retry-After of a success means nothing", HTTP_ANSWERED, 200, 9, 1, 0, RETRY_DELIVERED, 0, 0,
     0},
    {"429 backs off", HTTP_ANSWERED, 429, 0, 1, 0, RETRY_AGAIN, 5, 0, 0},
    {"502 is retryable", HTTP_ANSWERED, 502, 0, 1, 0, RETRY_AGAIN, 5, 0, 0},
    {"503 is retryable", HTTP_ANSWERED, 503, 0, 1, 0, RETRY_AGAIN, 5, 0, 0},
    {"504 is retryable", HTTP_ANSWERED, 504, 0, 1, 0, RETRY_AGAIN, 5, 0, 0},
    {"third wait has grown twice", HTTP_ANSWERED, 503, 0, 3, 0, RETRY_AGAIN, 11, 0, 0},
    {"waits stop growing", HTTP_ANSWERED, 503, 0, 50, 0, RETRY_AGAIN, 30, 0, 0},
    {"Retry-After longer than the back-off wins", HTTP_ANSWERED, 429, 60, 1, 0, RETRY_AGAIN, 60, 60,
     0},
    {"the longer back-off wins, the gate is as asked", HTTP_ANSWERED, 503, 2, 1, 0, RETRY_AGAIN, 5,
     2, 0},
    {"an absurd Retry-After is cut to an hour", HTTP_ANSWERED, 429, 1u << 30, 1, 0, RETRY_AGAIN,
     3600, 3600, 0},
    {"given up in time", HTTP_ANSWERED, 503, 0, 50, 271, RETRY_DROP, 0, 0,
     TELEMETRY_DROPPED_EXPIRED},
    {"one more fits", HTTP_ANSWERED, 503, 0, 50, 270, RETRY_AGAIN, 30, 0, 0},
    {"no connection", HTTP_UNREACHABLE, 0, 0, 1, 0, RETRY_AGAIN, 5, 0, 0},
    {"connection lost", HTTP_LOST, 0, 0, 1, 0, RETRY_AGAIN, 5, 0, 0},
    {"timeout", HTTP_TIMEOUT, 0, 0, 1, 0, RETRY_AGAIN, 5, 0, 0},
    {"timeouts expire as well", HTTP_TIMEOUT, 0, 0, 9, 299, RETRY_DROP, 0, 0,
     TELEMETRY_DROPPED_EXPIRED},
    {"wrong key holds", HTTP_ANSWERED, 401, 0, 1, 0, RETRY_HOLD, 30, 30, 0},
    {"forbidden holds for ever", HTTP_ANSWERED, 403, 0, 900, 90000, RETRY_HOLD, 30, 30, 0},
    {"certificate holds for ever", HTTP_UNTRUSTED, 0, 0, 900, 90000, RETRY_HOLD, 30, 30, 0},
    {"too large", HTTP_ANSWERED, 413, 0, 1, 0, RETRY_DROP, 0, 0, TELEMETRY_DROPPED_TOO_LARGE},
    {"bad request", HTTP_ANSWERED, 400, 0, 1, 0, RETRY_DROP, 0, 0, TELEMETRY_DROPPED_PERMANENT},
    {"404", HTTP_ANSWERED, 404, 0, 1, 0, RETRY_DROP, 0, 0, TELEMETRY_DROPPED_PERMANENT},
    {"408 is not in OTLP's list", HTTP_ANSWERED, 408, 0, 1, 0, RETRY_DROP, 0, 0,
     TELEMETRY_DROPPED_PERMANENT},
    {"500 is not in OTLP's list", HTTP_ANSWERED, 500, 0, 1, 0, RETRY_DROP, 0, 0,
     TELEMETRY_DROPPED_PERMANENT},
    {"redirects are not followed", HTTP_ANSWERED, 302, 0, 1, 0, RETRY_DROP, 0, 0,
     TELEMETRY_DROPPED_PERMANENT},
    {"answer over the limit", HTTP_OVERSIZED, 0, 0, 1, 0, RETRY_DROP, 0, 0,
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
        uint64_t wait_s = decision.wait_ns / NS_PER_S, gate_s = decision.gate_ns / NS_PER_S;
        if (decision.verdict != row->verdict || wait_s + slack_s < row->wait_s ||
            wait_s > row->wait_s + slack_s || gate_s + slack_s < row->gate_s ||
            gate_s > row->gate_s + slack_s ||
            (row->verdict == RETRY_DROP && decision.reason != row->reason))
            fail_msg("%s: verdict %d wait %llu s gate %llu s", row->what, (int)decision.verdict,
                     (unsigned long long)wait_s, (unsigned long long)gate_s);
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
        assert_int_equal(decision.verdict,
                         rows[i].verdict == RETRY_DELIVERED ? RETRY_DELIVERED : RETRY_DROP);
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
        cmocka_unit_test(test_disabled),
        cmocka_unit_test(test_spread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
