/* SPDX-License-Identifier: Apache-2.0 */
/* What a script makes of requests, on simulated time. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/random.h"
#include "tools/sink/service.h"

enum { SEEDS = 100 };

#define MS(n)   ((uint64_t)(n)*NS_PER_MS)
#define ZERO_NS (1000 * NS_PER_S)     /* when a script is taken */
#define WALL_NS 784111777000000000ull /* Sun, 06 Nov 1994 08:49:37 GMT */

static struct service *start(const char *yaml)
{
    struct error error;
    struct script *script;
    if (!script_read(&script, "script", yaml, strlen(yaml), &error))
        fail_msg("%s", error.text);
    return service_create(script, ZERO_NS);
}

struct ask {
    uint64_t at_ms;
    uint64_t points, bytes;
    bool reused;
};

/* One request from head to decision, left open. */
static struct service_verdict decide(struct service *service, struct service_request *request,
                                     const struct ask *ask)
{
    struct service_verdict verdict;
    uint64_t now_ns = ZERO_NS + MS(ask->at_ms);
    service_turn(service, now_ns);
    service_begin(service, request, &(struct service_head){now_ns, ask->bytes, ask->reused});
    service_decide(service, request,
                   &(struct service_body){now_ns, WALL_NS, ask->points, ask->bytes, 0}, &verdict);
    return verdict;
}

/* … and ended at once. */
static struct service_verdict request(struct service *service, uint64_t at_ms)
{
    struct service_request open;
    struct service_verdict verdict = decide(service, &open, &(struct ask){.at_ms = at_ms});
    service_end(service, &open, verdict.status);
    return verdict;
}

static void test_phases(void **state)
{
    (void)state;
    static const char yaml[] = "- {name: a, for: 10s}\n"
                               "- {name: b, for: 5s, connections: refuse}\n"
                               "- {name: c, answer: 503}\n";
    struct service *service = start(yaml);
    assert_string_equal(service_phase(service)->name, "a");
    assert_int_equal(service_next_ns(service), ZERO_NS + MS(10000));
    assert_false(service_turn(service, ZERO_NS + MS(9999)));
    assert_true(service_turn(service, ZERO_NS + MS(10000)));
    assert_int_equal(service_phase(service)->connections, CONNECTIONS_REFUSE);
    assert_true(service_turn(service, ZERO_NS + MS(30000)));
    assert_string_equal(service_phase(service)->name, "c");
    assert_int_equal(service_next_ns(service), UINT64_MAX);
    assert_int_equal(request(service, 31000).status, 503);
    assert_int_equal(service_stats(service, 0, ZERO_NS + MS(40000))->ns, MS(10000));
    assert_int_equal(service_stats(service, 1, ZERO_NS + MS(40000))->ns, MS(5000));
    assert_int_equal(service_stats(service, 2, ZERO_NS + MS(40000))->ns, MS(25000));
    assert_int_equal(service_stats(service, 2, ZERO_NS + MS(40000))->answered[503], 1);
    service_destroy(&service);
}

static void test_repeat_and_begin(void **state)
{
    (void)state;
    struct service *service =
        start("{begin: request, repeat: true, phases: [{name: a, for: 1s}, {name: b, for: 2s}]}");
    assert_int_equal(service_next_ns(service), UINT64_MAX);
    assert_false(service_turn(service, ZERO_NS + MS(60000)));
    request(service, 100000);
    assert_int_equal(service_next_ns(service), ZERO_NS + MS(101000));
    static const char want[] = "abbabbabb";
    for (uint64_t i = 0; i < 9; i++) {
        service_turn(service, ZERO_NS + MS(100500 + 1000 * i));
        assert_int_equal(service_phase(service)->name[0], want[i]);
    }
    assert_int_equal(service_stats(service, 0, ZERO_NS + MS(109000))->entered, 3);
    service_destroy(&service);
    /* a last phase with an end stays */
    service = start("[{name: a, for: 1s}, {name: b, for: 1s}]");
    service_turn(service, ZERO_NS + MS(5000));
    assert_string_equal(service_phase(service)->name, "b");
    assert_int_equal(service_next_ns(service), UINT64_MAX);
    service_destroy(&service);
}

static void test_aligned_window(void **state)
{
    (void)state;
    struct service *service = start("[{requests_per_minute: 100}]");
    for (int minute = 0; minute < 3; minute++) {
        int good = 0, refused = 0;
        for (int i = 0; i < 150; i++) {
            struct service_verdict verdict =
                request(service, (uint64_t)(minute * 60000 + 30000 + i * 100));
            if (verdict.status == 200) {
                good++;
                continue;
            }
            refused++;
            assert_int_equal(verdict.status, 429);
            assert_true(verdict.over_limit && verdict.has_retry_after);
            uint64_t left_ms = 30000 - (uint64_t)i * 100; /* to the minute's end, rounded up */
            assert_int_equal(atoi(verdict.retry_after), (left_ms + 999) / 1000);
        }
        assert_int_equal(good, 100);
        assert_int_equal(refused, 50);
    }
    assert_int_equal(service_stats(service, 0, 0)->over_limit, 150);
    assert_int_equal(service_stats(service, 0, 0)->limit_hits[0], 150);
    service_destroy(&service);
}

/* Accepted requests of a second-long window stay below the limit, whatever comes, and none is
 * refused while there is room. */
static void check_windows(uint64_t seed)
{
    struct random random = {seed};
    uint64_t limit = 1 + random_below(&random, 300), used[64] = {0}, at_us = 0;
    char yaml[128];
    snprintf(yaml, sizeof yaml, "[{requests_per_s: %llu}]", (unsigned long long)limit);
    struct service *service = start(yaml);
    uint64_t mean_us = 1 + random_below(&random, 4 * 1000000 / limit);
    for (int i = 0; i < 2000 && at_us < 60000000; i++) {
        at_us += random_below(&random, 2 * mean_us);
        bool good = request(service, at_us / 1000).status == 200;
        uint64_t window = at_us / 1000 / 1000;
        assert_true(good == (used[window] < limit));
        used[window] += good;
    }
    service_destroy(&service);
}

/* A bucket lets through, in any stretch of time, no more than its size and what flowed in. */
static void check_bucket(uint64_t seed)
{
    struct random random = {seed};
    double rate = 1 + (double)random_below(&random, 100),
           burst = 1 + (double)random_below(&random, 30);
    char yaml[160];
    snprintf(yaml, sizeof yaml,
             "[{limits: [{requests: %g, per: 1s, window: bucket, burst: %g, status: 503}]}]", rate,
             burst);
    struct service *service = start(yaml);
    static uint64_t taken_ms[4000];
    size_t taken = 0;
    uint64_t at_ms = 0, step = 1 + random_below(&random, 60);
    for (int i = 0; i < 3000; i++) {
        at_ms += random_below(&random, step);
        if (request(service, at_ms).status == 200)
            taken_ms[taken++] = at_ms;
    }
    for (size_t from = 0; from < taken; from += 7)
        for (size_t to = from; to < taken; to += 3) {
            double most = burst + rate * (double)(taken_ms[to] - taken_ms[from]) / 1000;
            assert_true((double)(to - from + 1) <= most + 1e-6);
        }
    double all = burst + rate * (double)at_ms / 1000;
    if (3000 > 2 * all && burst >= 10) /* overloaded, and seldom full: nearly all is used */
        assert_true((double)taken >= 0.95 * all - 2);
    service_destroy(&service);
}

static void test_quotas(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        check_windows(seed);
        check_bucket(seed);
    }
}

static void test_points_and_bytes(void **state)
{
    (void)state;
    struct service *service =
        start("[{points_per_minute: 1000, limits: [{bytes: 5000, per: 10s, retry_after: none}]}]");
    struct service_request open;
    static const struct {
        struct ask ask;
        int status;
    } rows[] = {
        {{0, 600, 100, false}, 200}, {{1, 500, 100, false}, 429},     {{2, 400, 100, false}, 200},
        {{3, 1, 100, false}, 429},   {{60000, 1, 5000, false}, 200},  {{60001, 1, 1, false}, 429},
        {{70000, 1, 1, false}, 200}, {{130000, 1001, 1, false}, 429}, /* more than the whole window
                                                                       */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct service_verdict verdict = decide(service, &open, &rows[i].ask);
        assert_int_equal(verdict.status, rows[i].status);
        service_end(service, &open, verdict.status);
    }
    assert_int_equal(service_stats(service, 0, 0)->over_limit, 4);
    service_destroy(&service);
}

/* A limit that changes with the phase goes on from what is used of it. */
static void test_limit_changes(void **state)
{
    (void)state;
    struct service *service =
        start("[{for: 1500ms, requests_per_s: 500}, {for: 1500ms, requests_per_s: 200}, "
              "{requests_per_s: 800}]");
    int good[4] = {0};
    for (uint64_t at_ms = 0; at_ms < 4000; at_ms++)
        good[at_ms / 1000] += request(service, at_ms).status == 200;
    assert_int_equal(good[0], 500);
    assert_int_equal(good[1], 500); /* used up before the limit fell */
    assert_int_equal(good[2], 200);
    assert_int_equal(good[3], 800);
    service_destroy(&service);
}

static void test_concurrency(void **state)
{
    (void)state;
    struct service *service =
        start("[{limits: [{concurrency: 3, status: 503, retry_after: [date 2s, none]}]}]");
    struct service_request open[5];
    for (int i = 0; i < 3; i++)
        assert_int_equal(decide(service, &open[i], &(struct ask){0}).status, 200);
    struct service_verdict verdict = decide(service, &open[3], &(struct ask){0});
    assert_int_equal(verdict.status, 503);
    assert_string_equal(verdict.retry_after, "Sun, 06 Nov 1994 08:49:39 GMT");
    verdict = decide(service, &open[4], &(struct ask){0});
    assert_int_equal(verdict.status, 503);
    assert_false(verdict.has_retry_after);
    service_end(service, &open[0], 200);
    service_end(service, &open[3], 503);
    service_end(service, &open[4], 0);
    assert_int_equal(decide(service, &open[0], &(struct ask){0}).status, 200);
    const struct service_stats *stats = service_stats(service, 0, 0);
    assert_int_equal(stats->peak_concurrency, 5);
    assert_int_equal(stats->requests, 6);
    assert_int_equal(stats->answered[200], 1);
    assert_int_equal(stats->answered[503], 1);
    assert_int_equal(stats->unanswered, 1);
    service_destroy(&service);
}

/* Two workers of 10 ms: the n-th of a crowd waits for those before it; a full queue refuses. */
static void test_workers(void **state)
{
    (void)state;
    struct service *service = start("[{workers: 2, queue: 4, latency: 10ms, full: {status: 429, "
                                    "retry_after: rest}}]");
    static const uint64_t delays_ms[] = {10, 10, 20, 20, 30, 30};
    struct service_request open[8];
    for (int i = 0; i < 6; i++) {
        struct service_verdict verdict = decide(service, &open[i], &(struct ask){0});
        assert_int_equal(verdict.status, 200);
        assert_int_equal(verdict.delay_ns, MS(delays_ms[i]));
    }
    struct service_verdict verdict = decide(service, &open[6], &(struct ask){0});
    assert_int_equal(verdict.status, 429);
    assert_int_equal(verdict.delay_ns, 0);
    assert_string_equal(verdict.retry_after, "1");
    service_end(service, &open[6], 429);
    for (int i = 0; i < 2; i++)
        service_end(service, &open[i], 200);
    /* 10 ms later two have gone and two more may wait */
    for (int i = 0; i < 2; i++) {
        verdict = decide(service, &open[i], &(struct ask){.at_ms = 10});
        assert_int_equal(verdict.status, 200);
        assert_int_equal(verdict.delay_ns, MS(30));
    }
    assert_int_equal(service_stats(service, 0, 0)->waited, 6);
    assert_int_equal(service_stats(service, 0, 0)->over_limit, 1);
    service_destroy(&service);
}

/* Which of requests 0, 1, 2, … (every third on a fresh connection, of 100 × number bytes) meet it.
 */
static void test_fault_choice(void **state)
{
    (void)state;
    static const struct {
        const char *keys;
        const char *met; /* one letter for each request */
    } rows[] = {
        {"", "xxxxxxxxx"},
        {", first: 2", "xx......."},
        {", after: 3, first: 2", "...xx...."},
        {", every: 3", "x..x..x.."},
        {", after: 1, every: 4", ".x...x..."},
        {", on: fresh", "x..x..x.."},
        {", on: reused", ".xx.xx.xx"},
        {", on: reused, first: 3", ".xx.x...."},
        {", larger_than: 500", "......xxx"},
        {", share: 0", "........."},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char yaml[128], met[10] = "";
        snprintf(yaml, sizeof yaml, "[{faults: [{do: status, status: 500%s}]}]", rows[i].keys);
        struct service *service = start(yaml);
        uint64_t hits = 0;
        for (int k = 0; k < 9; k++) {
            struct service_request open;
            struct ask ask = {.reused = k % 3 != 0, .bytes = (uint64_t)k * 100};
            bool hit = decide(service, &open, &ask).status == 500;
            met[k] = hit ? 'x' : '.';
            hits += hit;
            service_end(service, &open, 200);
        }
        assert_string_equal(met, rows[i].met);
        assert_int_equal(service_stats(service, 0, 0)->fault_hits[0], hits);
        service_destroy(&service);
    }
}

static void test_fault_share_and_order(void **state)
{
    (void)state;
    struct service *service = start("[{faults: [{do: status, status: 401, share: 0.2}, "
                                    "{do: status, status: 403, share: 0.5}, {do: partial}], "
                                    "answer: [500, 200]}]");
    int seen[600] = {0};
    for (int i = 0; i < 10000; i++)
        seen[request(service, 0).status]++;
    assert_in_range(seen[401], 1850, 2150);
    assert_in_range(seen[403], 3800, 4200); /* half of what the first left */
    assert_int_equal(seen[500], 1);         /* the first that met neither */
    assert_int_equal(seen[200], 10000 - 1 - seen[401] - seen[403]);
    service_destroy(&service);
}

static void test_retry_forms_in_turn(void **state)
{
    (void)state;
    static const char yaml[] = "[{for: 90s, answer: 503, retry_after: [2s, 1500ms, rest, date 3s, "
                               "date rest, past, absurd, "
                               "negative, fraction, garbage, empty, none]}, {}]";
    static const char *const want[] = {
        "2",
        "2",
        "80",
        "Sun, 06 Nov 1994 08:49:40 GMT",
        "Sun, 06 Nov 1994 08:50:57 GMT",
        "Sun, 06 Nov 1994 07:49:37 GMT",
        "1000000000",
        "-5",
        "1.5",
        "soon",
        "",
        NULL,
        "2",
    };
    struct service *service = start(yaml);
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        struct service_verdict verdict = request(service, 10000);
        assert_int_equal(verdict.status, 503);
        assert_int_equal(verdict.has_retry_after, want[i] != NULL);
        assert_string_equal(verdict.retry_after, want[i] != NULL ? want[i] : "");
    }
    service_destroy(&service);
}

static void test_peak_rate(void **state)
{
    (void)state;
    struct service *service = start("[{}]");
    for (uint64_t i = 0; i < 50; i++) /* 50 in the second from 1.5 s on, over a second's edge */
        request(service, 1500 + 18 * i);
    for (uint64_t i = 0; i < 10; i++)
        request(service, 5000 + 200 * i);
    assert_in_range(service_stats(service, 0, 0)->peak_per_s, 50, 51);
    service_destroy(&service);
}

/* Latencies are drawn from the phase's distribution: the median and the 99th percentile hold. */
static int by_size(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

static void test_latency(void **state)
{
    (void)state;
    enum { DRAWS = 20000 };
    static uint64_t delays[DRAWS];
    struct service *service = start("[{latency: {lognormal: {p50: 20ms, p99: 200ms}}}]");
    for (int i = 0; i < DRAWS; i++)
        delays[i] = request(service, 0).delay_ns;
    qsort(delays, DRAWS, sizeof delays[0], by_size);
    assert_in_range(delays[DRAWS / 2], MS(19), MS(21));
    assert_in_range(delays[DRAWS * 99 / 100], MS(180), MS(222));
    service_destroy(&service);
}

static void test_bad_body(void **state)
{
    (void)state;
    struct service *service = start("[{answer: [503, 200], faults: [{do: lose, first: 1}]}]");
    struct service_request open;
    struct service_verdict verdict;
    service_begin(service, &open, &(struct service_head){ZERO_NS, 10, false});
    service_decide(service, &open, &(struct service_body){.now_ns = ZERO_NS, .bad_status = 415},
                   &verdict);
    assert_int_equal(verdict.status, 415);
    assert_null(verdict.fault);
    service_end(service, &open, 415);
    assert_int_equal(request(service, 0).status, 503); /* it used up no answer */
    service_destroy(&service);
}

/* A new script while requests are open: they end well, and counts begin anew. */
static void test_replace(void **state)
{
    (void)state;
    struct service *service = start("[{faults: [{do: lose}]}]");
    struct service_request decided, begun;
    struct service_verdict verdict;
    struct script *script;
    struct error error;
    decide(service, &decided, &(struct ask){0});
    service_begin(service, &begun, &(struct service_head){ZERO_NS, 10, false});
    assert_int_equal(begun.fault->kind, FAULT_LOSE);
    assert_true(script_read(&script, "script", "[{answer: 503, concurrency: 2}]", 31, &error));
    service_replace(service, script, ZERO_NS + MS(5));
    assert_int_equal(service_stats(service, 0, 0)->requests, 0);
    service_decide(service, &begun, &(struct service_body){.now_ns = ZERO_NS + MS(6)}, &verdict);
    assert_int_equal(verdict.status, 503);
    assert_null(verdict.fault);
    service_end(service, &decided, 200);
    service_end(service, &begun, 503);
    assert_int_equal(service_stats(service, 0, 0)->requests, 1);
    assert_int_equal(service_stats(service, 0, 0)->answered[503], 1);
    assert_int_equal(service_stats(service, 0, 0)->answered[200], 0);
    service_destroy(&service);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_phases),
        cmocka_unit_test(test_repeat_and_begin),
        cmocka_unit_test(test_aligned_window),
        cmocka_unit_test(test_quotas),
        cmocka_unit_test(test_points_and_bytes),
        cmocka_unit_test(test_limit_changes),
        cmocka_unit_test(test_concurrency),
        cmocka_unit_test(test_workers),
        cmocka_unit_test(test_fault_choice),
        cmocka_unit_test(test_fault_share_and_order),
        cmocka_unit_test(test_retry_forms_in_turn),
        cmocka_unit_test(test_peak_rate),
        cmocka_unit_test(test_latency),
        cmocka_unit_test(test_bad_body),
        cmocka_unit_test(test_replace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
