/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs answer, read; and the figures that are made of it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tools/load/measure.h"
#include "tools/load/result.h"
#include "tools/load/syscalls.h"
#include "tools/load/views.h"

static const char metrics[] =
    "# HELP pgweir_build_info What runs\n"
    "pgweir_build_info{version=\"0.1.0\"} 1\n"
    "pgweir_scrapes_total{shard=\"0\",result=\"ok\"} 40\n"
    "pgweir_scrapes_total{shard=\"1\",result=\"ok\"} 60\n"
    "pgweir_scrapes_total{shard=\"0\",result=\"skipped\"} 3\n"
    "pgweir_scrapes_total_more{shard=\"0\",result=\"ok\"} 9999\n"
    "pgweir_targets{shard=\"0\",state=\"up\"} 7\n"
    "pgweir_exporter_collected_points_total{exporter=\"a\"} 1000\n"
    "pgweir_exporter_delivered_points_total{exporter=\"a\"} 900\n"
    "pgweir_exporter_queued_points{exporter=\"a\"} 60\n"
    "pgweir_exporter_dropped_points_total{exporter=\"a\",reason=\"rejected\"} 30\n"
    "pgweir_exporter_dropped_points_total{exporter=\"a\",reason=\"queue_full\"} 10\n"
    "pgweir_exporter_requests_total{exporter=\"a\",result=\"ok\"} 5\n"
    "pgweir_exporter_requests_total{exporter=\"a\",result=\"retryable\"} 2\n"
    "pgweir_loop_io_uring{shard=\"0\"} 1";

static void test_metrics(void **state)
{
    (void)state;
    struct collector_sample sample = {0};
    assert_true(sample_read_metrics(metrics, &sample));
    assert_true(sample.known && sample.io_uring);
    assert_int_equal(sample.scrapes_ok, 100);
    assert_int_equal(sample.scrapes_skipped, 3);
    assert_int_equal(sample.targets_up, 7);
    assert_int_equal(sample.collected, sample.delivered + sample.queued + sample.dropped);
    assert_int_equal(sample.rejected, 30);
    assert_int_equal(sample.requests_ok, 5);
    assert_int_equal(sample.requests_failed, 2);
    assert_false(sample_read_metrics("go_goroutines 5\n", &sample));
    assert_false(sample_read_metrics("", &sample));
}

static void test_histograms(void **state)
{
    (void)state;
    static struct sample sample;
    assert_true(sample_read_histograms(
        "[{\"name\":\"pgweir.schedule.lag\",\"labels\":{\"shard\":\"0\"},\"count\":3,\"sum_ns\":30,"
        "\"max_ns\":20,\"buckets\":[[5,2],[20,1]]},"
        "{\"name\":\"pgweir.schedule.lag\",\"labels\":{\"shard\":\"1\"},\"count\":1,\"sum_ns\":70,"
        "\"max_ns\":70,\"buckets\":[[70,1]]},"
        "{\"name\":\"pgweir.other\",\"buckets\":[[1,1]]},"
        "{\"name\":\"pgweir.delivery.age\",\"max_ns\":9,\"buckets\":[[9,4]]}]",
        &sample));
    assert_int_equal(sample.lag.count, 4); /* both shards */
    assert_int_equal(sample.lag.max_ns, 70);
    assert_int_equal(sample.lag.sum_ns, 100);
    assert_int_equal(sample.age.count, 4);
    assert_int_equal(sample.scrape.count, 0);
    assert_false(sample_read_histograms("not found\n", &sample));
    assert_false(sample_read_histograms("{}", &sample));
    assert_false(sample_read_histograms("[{\"name\":\"pgweir.schedule.lag\"}]", &sample));
}

static void test_reports(void **state)
{
    (void)state;
    static struct sample sample;
    assert_true(sample_read_sink("{\"requests\":7,\"accepted_points\":90,\"bytes\":1234,"
                                 "\"ledger\":{\"points\":88,\"distinct\":80,\"doubled\":8,"
                                 "\"gaps\":2},\"age\":{\"max_ns\":5,\"buckets\":[[5,1]]}}",
                                 &sample));
    assert_true(sample.sink.known && sample.sink.has_ledger && sample.sink_age_known);
    assert_int_equal(sample.sink.points, 90);
    assert_int_equal(sample.sink.distinct, 80);
    assert_int_equal(sample.sink.doubled, 8);
    assert_int_equal(sample.sink.gaps, 2);
    assert_true(sample_read_sink("{\"requests\":7}", &sample));
    assert_false(sample.sink.has_ledger || sample.sink_age_known);
    assert_false(sample_read_sink("pgweir-sink: 7 requests", &sample));

    struct sim_sample sim = {0};
    assert_true(sample_read_sim("{\"values\":500,\"void_values\":20,\"scrapes\":9,"
                                "\"cpu_seconds\":0.5}",
                                &sim));
    assert_int_equal(sim.values, 500);
    assert_true(sim.cpu_s == 0.5);
    assert_false(sample_read_sim("{\"error\":\"no such command\"}", &sim));
    assert_false(sample_read_sim("", &sim));
}

static void test_strace(void **state)
{
    (void)state;
    uint64_t calls = 0;
    assert_true(
        syscalls_read_total("% time     seconds  usecs/call     calls    errors syscall\n"
                            "------ ----------- ----------- --------- --------- ----------------\n"
                            " 61.90    0.002113           4       421           io_uring_enter\n"
                            " 38.10    0.001300           3       400         7 recvfrom\n"
                            "------ ----------- ----------- --------- --------- ----------------\n"
                            "100.00    0.003413           4       821         7 total\n",
                            &calls));
    assert_int_equal(calls, 821);
    assert_true(
        syscalls_read_total("100.00    0.003413           4       820           total\n", &calls));
    assert_int_equal(calls, 820);
    assert_false(syscalls_read_total("strace: attach: Operation not permitted\n", &calls));
}

/* ---- figures ---- */

static struct sample *make_samples(void)
{
    struct sample *samples = calloc(2, sizeof *samples);
    assert_non_null(samples);
    struct sample *first = &samples[0], *last = &samples[1];
    first->at_ns = 100 * NS_PER_S;
    last->at_ns = 110 * NS_PER_S;
    first->collector.known = last->collector.known = true;
    last->collector = (struct collector_sample){.known = true,
                                                .scrapes_ok = 100,
                                                .delivered = 40000,
                                                .requests_ok = 50,
                                                .bytes_sent = 400000,
                                                .connections = 100,
                                                .targets_up = 100,
                                                .series = 12000};
    first->collector_process =
        (struct proc_sample){.alive = true,
                             .cpu_ns = NS_PER_S,
                             .rss_kib = 20480,
                             .thread_count = 2,
                             .threads = {{"shard-0", 600 * NS_PER_MS}, {"admin", 400 * NS_PER_MS}}};
    last->collector_process = first->collector_process;
    last->collector_process.cpu_ns += 3 * NS_PER_S;
    last->collector_process.threads[0].cpu_ns += 2 * NS_PER_S;
    last->collector_process.threads[1].cpu_ns += NS_PER_S;
    last->collector_process.rss_kib = 30720;
    return samples;
}

static void test_window(void **state)
{
    (void)state;
    struct sample *samples = make_samples();
    struct outcome *outcome = outcome_create();
    struct scenario scenario = {.servers = 100, .interval_ns = 10 * NS_PER_S};
    const struct window window = {.scenario = &scenario,
                                  .first = &samples[0],
                                  .last = &samples[1],
                                  .to_s = 10,
                                  .baseline_kib = 20720};
    measure_window(&window, outcome);
    const struct figures *figures = &outcome->figures;
    assert_int_equal(figures->points, 40000);
    assert_true(figures->points_per_s == 4000);
    assert_true(figures->expected_scrapes == 100);
    /* 3 s of CPU, of which one second answered the harness: 2 s / 40,000 */
    assert_true(fabs(figures->cpu_us_per_point - 50) < 1e-9);
    assert_true(fabs(figures->cpu_cores - 0.2) < 1e-9);
    assert_true(fabs(figures->rss_kib_per_server - 100) < 1e-9);
    assert_true(figures->bytes_per_point == 10);
    assert_true(figures->requests_per_s == 5);
    assert_true(isnan(figures->syscalls_per_scrape));
    assert_int_equal(outcome->threads[0].cpu_ns, 2 * NS_PER_S);
    outcome_destroy(&outcome);
    free(samples);
}

static struct outcome *books(uint64_t values, uint64_t voided, uint64_t distinct, uint64_t doubled,
                             uint64_t gaps)
{
    struct sample *last = calloc(2, sizeof *last), *final = last + 1;
    struct outcome *outcome = outcome_create();
    const struct scenario scenario = {.servers = 10};
    assert_non_null(last);
    last->collector.known = true;
    final->sim = (struct sim_sample){.known = true, .values = values, .void_values = voided};
    final->sink = (struct sink_sample){
        .known = true, .has_ledger = true, .distinct = distinct, .doubled = doubled, .gaps = gaps};
    measure_books(&scenario, 1, last, final, outcome);
    free(last);
    return outcome;
}

/* With a sample of servers in the ledger, loss shows in the number of all points. */
static void test_sampled_books(void **state)
{
    (void)state;
    struct sample *last = calloc(2, sizeof *last), *final = last + 1;
    struct outcome *outcome = outcome_create();
    const struct scenario scenario = {.servers = 100};
    assert_non_null(last);
    final->sim = (struct sim_sample){.known = true, .values = 10000};
    final->sink = (struct sink_sample){.known = true,
                                       .has_ledger = true,
                                       .taken_points = 10190,
                                       .own_points = 200,
                                       .distinct = 995,
                                       .doubled = 6,
                                       .excused = 1};
    measure_books(&scenario, 10, last, final, outcome);
    assert_int_equal(outcome->figures.lost, 16);
    assert_int_equal(outcome->figures.doubled, 5);
    assert_int_equal(outcome->note_count, 3);
    outcome_destroy(&outcome);
    free(last);
}

static void test_books(void **state)
{
    (void)state;
    static const struct {
        uint64_t values, voided, distinct, doubled, gaps;
        int64_t lost;
    } cases[] = {
        {1000, 0, 1000, 0, 0, 0},
        {1000, 0, 990, 0, 0, 10}, /* the last steps of ten series: no gap shows it */
        {1000, 0, 1000, 5, 0, 0}, /* doubled points do not make up for lost ones */
        {1000, 0, 990, 10, 3, 10},
        {1000, 50, 1000, 0, 50, 0},  /* cut off on order: the fault's gaps */
        {1000, 50, 1020, 0, 60, 10}, /* some of what was cut off came through; others did not */
        {1000, 50, 1040, 0, 10, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct outcome *outcome = books(cases[i].values, cases[i].voided, cases[i].distinct,
                                        cases[i].doubled, cases[i].gaps);
        assert_int_equal(outcome->figures.lost, cases[i].lost);
        assert_int_equal(outcome->figures.doubled, cases[i].doubled);
        outcome_destroy(&outcome);
    }
}

/* What is not known is null, not zero. */
static void test_result(void **state)
{
    (void)state;
    struct outcome *outcome = outcome_create();
    const struct scenario scenario = {.name = "x", .servers = 10};
    const struct result_head head = {.scenario = &scenario, .command = "pgweir-load steady"};
    outcome->figures.syscalls_per_scrape = outcome->figures.cpu_us_per_point = (double)NAN;
    json_t *json = result_json(&head, outcome);
    const json_t *summary = json_object_get(json, "summary");
    assert_int_equal(json_integer_value(json_object_get(json, "version")), 1);
    assert_true(json_is_null(json_object_get(json, "commit")));
    assert_true(json_is_null(json_object_get(json, "slopes")));
    static const char *const unknown[] = {
        "lost", "doubled", "syscalls_per_scrape", "cpu_us_per_point", "lag_p99_ms", "age_p50_ms"};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
        assert_true(json_is_null(json_object_get(summary, unknown[i])));
    json_decref(json);
    outcome_destroy(&outcome);
}

/* This very process. */
static void test_proc(void **state)
{
    (void)state;
    static struct proc_sample before, after;
    proc_read(getpid(), false, &before);
    assert_true(before.alive);
    assert_true(before.rss_kib > 500);
    assert_true(before.descriptors >= 3);
    assert_int_equal(before.thread_count, 1);
    volatile uint64_t work = 0;
    uint64_t end_ns = clock_thread_cpu_ns() + 50 * NS_PER_MS;
    while (clock_thread_cpu_ns() < end_ns)
        work++;
    proc_read(getpid(), false, &after);
    assert_in_range(after.cpu_ns - before.cpu_ns, 40 * NS_PER_MS, 5 * NS_PER_S);
    proc_read(1 << 30, false, &after);
    assert_false(after.alive);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metrics),       cmocka_unit_test(test_histograms),
        cmocka_unit_test(test_reports),       cmocka_unit_test(test_strace),
        cmocka_unit_test(test_window),        cmocka_unit_test(test_books),
        cmocka_unit_test(test_sampled_books), cmocka_unit_test(test_result),
        cmocka_unit_test(test_proc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
