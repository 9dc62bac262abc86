/* SPDX-License-Identifier: Apache-2.0 */
/* The histograms behind every latency: ns to record one value, to merge one histogram into a view,
 * and to ask a view for a quantile; what a window over the last seconds costs whoever reads it
 * (nothing to who records). Floors: one plain counter per value in an array as long; a memcpy of
 * the buckets; a bare walk over the buckets up to where the quantile is. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/histogram.h"
#include "base/random.h"
#include "base/window.h"
#include "perf/shim/bench.h"

enum { VALUES = 4096, FEW = 64 };
static uint64_t values[VALUES];
static struct histogram histogram;
static struct histogram_view view;

/* Latencies from 1 µs to 1 s, evenly over the orders of magnitude. */
static void make_values(void)
{
    struct random random = {.state = 7};
    for (int i = 0; i < VALUES; i++)
        values[i] = (1000 + random_below(&random, 1000)) << random_below(&random, 20);
}

static void record(struct bench *bench)
{
    while (bench_next(bench))
        for (int i = 0; i < VALUES; i++)
            histogram_record(&histogram, values[i]);
    bench_items(bench, VALUES);
}

static void count(struct bench *bench)
{
    static uint64_t counters[HISTOGRAM_BUCKETS];
    while (bench_next(bench))
        for (int i = 0; i < VALUES; i++) {
            counters[values[i] % HISTOGRAM_BUCKETS]++;
            bench_keep(counters);
        }
    bench_items(bench, VALUES);
}

static void merge(struct bench *bench)
{
    for (int i = 0; i < VALUES; i++)
        histogram_record(&histogram, values[i]);
    while (bench_next(bench)) {
        histogram_merge(&view, &histogram);
        bench_keep(&view);
    }
    bench_items(bench, 1);
    bench_bytes(bench, sizeof view.buckets);
}

static void copy_buckets(struct bench *bench)
{
    static uint64_t copy[HISTOGRAM_BUCKETS];
    while (bench_next(bench)) {
        memcpy(copy, view.buckets, sizeof copy);
        bench_keep(copy);
    }
    bench_items(bench, 1);
    bench_bytes(bench, sizeof copy);
}

static const double shares[] = {0.5, 0.9, 0.99, 0.999};
enum { SHARES = sizeof shares / sizeof *shares };

static void fill_view(void)
{
    for (int i = 0; i < VALUES; i++)
        histogram_record(&histogram, values[i]);
    memset(&view, 0, sizeof view);
    histogram_merge(&view, &histogram);
}

static void quantile(struct bench *bench)
{
    fill_view();
    while (bench_next(bench))
        for (int i = 0; i < SHARES; i++)
            CHECK(histogram_quantile(&view, shares[i]) > 0);
    bench_items(bench, SHARES);
}

static void walk(struct bench *bench)
{
    fill_view();
    while (bench_next(bench))
        for (int i = 0; i < SHARES; i++) {
            uint64_t rank = (uint64_t)((double)view.count * shares[i]), seen = 0;
            uint32_t bucket = 0;
            while (seen <= rank)
                seen += view.buckets[bucket++];
            bench_keep(&bucket);
        }
    bench_items(bench, SHARES);
}

/* What a controller does once a slot, after a few recordings; 10 slots of 1 s. */
static void take(struct bench *bench)
{
    struct window *window = window_create(10, NS_PER_S);
    uint64_t now_ns = NS_PER_S;
    window_take_one(window, &histogram, now_ns);
    while (bench_next(bench)) {
        for (int i = 0; i < FEW; i++)
            histogram_record(&histogram, values[i]);
        window_take_one(window, &histogram, now_ns += NS_PER_S);
    }
    bench_items(bench, 1);
    bench_bytes(bench, sizeof view.buckets);
    window_destroy(&window);
}

static void read_window(struct bench *bench)
{
    struct window *window = window_create(10, NS_PER_S);
    window_take_one(window, &histogram, NS_PER_S);
    for (uint64_t second = 1; second <= 10; second++) {
        for (int i = 0; i < VALUES; i++)
            histogram_record(&histogram, values[i]);
        window_take_one(window, &histogram, second * NS_PER_S);
    }
    while (bench_next(bench)) {
        memset(&view, 0, sizeof view);
        window_read(window, 10, &view);
        CHECK(histogram_quantile(&view, 0.99) > 0);
    }
    bench_items(bench, 1);
    window_destroy(&window);
}

static const struct bench_case cases[] = {
    {"count_floor", count, .unit = "value"},
    {"record", record, .unit = "value", .floor = "count_floor"},
    {"copy_floor", copy_buckets, .unit = "histogram", .exact = -1},
    {"merge", merge, .unit = "histogram", .floor = "copy_floor"},
    {"walk_floor", walk, .unit = "quantile"},
    {"quantile", quantile, .unit = "quantile", .floor = "walk_floor"},
    {"window_take", take, .unit = "slot", .floor = "copy_floor"},
    {"window_read", read_window, .unit = "window", .floor = "copy_floor"},
};

int main(int argc, char **argv)
{
    make_values();
    bench_add_cases(cases, sizeof cases / sizeof *cases);
    bench_headline("histogram_record", "record");
    return bench_main(argc, argv);
}
