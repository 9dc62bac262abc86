/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger beside a naive one (a set of steps per series), on streams of points that were
 * shuffled, lost and doubled at random; then the rules one by one. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "tools/sink/ledger.h"
#include "tools/sink/seen.h"

enum {
    SEEDS = 200,
    SERIES_MAX = 64,
    STEPS_MAX = 400,
    STREAM_MAX = SERIES_MAX * STEPS_MAX * 3,
    BODY_MAX = 97,
};

static const struct ledger_place place = {(const uint8_t *)"", (const uint8_t *)"m", 0, 1};

static uint64_t hash(uint64_t number)
{
    struct random random = {number};
    return random_next(&random) | 1;
}

static void enter(struct ledger *ledger, const struct ledger_point *points, size_t count,
                  bool excused)
{
    ledger_enter(ledger, &(struct ledger_body){points, count, &place, 1000, 0, excused, excused});
}

/* -- against the oracle -- */

struct oracle_series {
    uint16_t seen[2][STEPS_MAX + 1]; /* by start; how often the step came */
};

struct stream {
    struct oracle_series series[SERIES_MAX];
    struct ledger_point points[STREAM_MAX];
    size_t count;
};

static void add(struct stream *stream, uint32_t series, uint32_t start, uint32_t step)
{
    stream->points[stream->count++] = (struct ledger_point){
        .series = hash(series + 1),
        .time_ns = 1000000000ull * (start * 1000 + step),
        .start = start == 0 ? 0 : (uint32_t)hash(start + 77),
        .step = step,
    };
    stream->series[series].seen[start][step]++;
}

/* Each step once, but some never and some again; half of the series begin anew in the middle. */
static void make_stream(struct stream *stream, struct random *random)
{
    memset(stream->series, 0, sizeof stream->series);
    stream->count = 0;
    uint32_t series_count = 1 + (uint32_t)random_below(random, SERIES_MAX);
    uint32_t steps = 2 + (uint32_t)random_below(random, STEPS_MAX - 1);
    uint64_t lost = random_below(random, 12), doubled = random_below(random, 12);
    for (uint32_t s = 0; s < series_count; s++) {
        uint32_t starts = 1 + (uint32_t)random_below(random, 2);
        for (uint32_t start = 0; start < starts; start++)
            for (uint32_t step = 1; step <= steps; step++) {
                if (random_below(random, 100) < lost)
                    continue;
                add(stream, s, start, step);
                if (random_below(random, 100) < doubled)
                    add(stream, s, start, step);
            }
    }
}

/* Interleaves the series (stably, by time) and moves points by up to `distance` places. */
static int by_time(const void *a, const void *b)
{
    const struct ledger_point *left = a, *right = b;
    if (left->time_ns != right->time_ns)
        return left->time_ns < right->time_ns ? -1 : 1;
    return left->series < right->series ? -1 : left->series > right->series;
}

static void shuffle(struct stream *stream, struct random *random)
{
    qsort(stream->points, stream->count, sizeof stream->points[0], by_time);
    uint64_t distance = random_below(random, 3) == 0 ? 0 : 1 + random_below(random, 200);
    for (size_t i = 0; i + 1 < stream->count && distance > 0; i++) {
        size_t other = i + random_below(random, distance);
        if (other >= stream->count)
            continue;
        struct ledger_point swap = stream->points[i];
        stream->points[i] = stream->points[other];
        stream->points[other] = swap;
    }
}

/* What the ledger must say. */
static struct ledger_counts judge(const struct stream *stream)
{
    struct ledger_counts counts = {0};
    for (int s = 0; s < SERIES_MAX; s++) {
        uint32_t starts = 0;
        for (int start = 0; start < 2; start++) {
            uint32_t first = 0, last = 0, different = 0;
            for (uint32_t step = 1; step <= STEPS_MAX; step++) {
                uint16_t seen = stream->series[s].seen[start][step];
                if (seen == 0)
                    continue;
                first = first == 0 ? step : first;
                last = step;
                different++;
                counts.doubled += seen - 1u;
            }
            counts.distinct += different;
            counts.gaps += different == 0 ? 0 : last - first + 1 - different;
            counts.series += different > 0;
            starts += different > 0;
        }
        counts.resets += starts > 1;
    }
    counts.points = stream->count;
    return counts;
}

static void check_seed(uint64_t seed)
{
    static struct stream stream;
    struct random random = {seed};
    struct ledger *ledger = ledger_create();
    make_stream(&stream, &random);
    shuffle(&stream, &random);
    for (size_t at = 0; at < stream.count;) {
        size_t some = 1 + random_below(&random, BODY_MAX);
        some = some < stream.count - at ? some : stream.count - at;
        enter(ledger, stream.points + at, some, false);
        at += some;
    }
    struct ledger_counts want = judge(&stream), got = ledger_counts(ledger);
    if (want.points != got.points || want.distinct != got.distinct || want.doubled != got.doubled ||
        want.gaps != got.gaps || want.series != got.series || want.resets != got.resets ||
        got.unproven != 0 || got.undecided != 0)
        fail_msg("seed %llu: points %llu/%llu distinct %llu/%llu doubled %llu/%llu gaps %llu/%llu "
                 "series %llu/%llu resets %llu/%llu unproven %llu undecided %llu (wanted/found)",
                 (unsigned long long)seed, (unsigned long long)want.points,
                 (unsigned long long)got.points, (unsigned long long)want.distinct,
                 (unsigned long long)got.distinct, (unsigned long long)want.doubled,
                 (unsigned long long)got.doubled, (unsigned long long)want.gaps,
                 (unsigned long long)got.gaps, (unsigned long long)want.series,
                 (unsigned long long)got.series, (unsigned long long)want.resets,
                 (unsigned long long)got.resets, (unsigned long long)got.unproven,
                 (unsigned long long)got.undecided);
    ledger_destroy(&ledger);
}

static void test_oracle(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        check_seed(seed);
}

/* -- rule by rule -- */

struct rule_point {
    uint64_t series;
    uint32_t start, step;
    uint64_t time;
};

struct rule {
    const char *what;
    struct rule_point points[8];
    struct ledger_counts counts; /* series, distinct, doubled, gaps, resets, unproven,
                                    unproven_points, undecided */
};

static const struct rule rules[] = {
    {"in order", {{1, 0, 1, 1}, {1, 0, 2, 2}, {1, 0, 3, 3}}, {.series = 1, .distinct = 3}},
    {"begins late: nothing is missing before the first",
     {{1, 0, 70, 1}, {1, 0, 71, 2}},
     {.series = 1, .distinct = 2}},
    {"one missing", {{1, 0, 1, 1}, {1, 0, 3, 3}}, {.series = 1, .distinct = 2, .gaps = 1}},
    {"filled late",
     {{1, 0, 1, 1}, {1, 0, 900, 3}, {1, 0, 2, 2}},
     {.series = 1, .distinct = 3, .gaps = 897}},
    {"before the first", {{1, 0, 9, 9}, {1, 0, 5, 5}}, {.series = 1, .distinct = 2, .gaps = 3}},
    {"twice", {{1, 0, 1, 1}, {1, 0, 1, 1}}, {.series = 1, .distinct = 1, .doubled = 1}},
    {"twice, later",
     {{1, 0, 1, 1}, {1, 0, 2, 2}, {1, 0, 3, 3}, {1, 0, 2, 2}},
     {.series = 1, .distinct = 3, .doubled = 1}},
    {"another series", {{1, 0, 1, 1}, {2, 0, 1, 1}}, {.series = 2, .distinct = 2}},
    {"a new start is a new series",
     {{1, 7, 5, 1}, {1, 7, 6, 2}, {1, 8, 1, 3}, {1, 8, 2, 4}, {1, 7, 7, 2}},
     {.series = 2, .distinct = 5, .resets = 1}},
    {"gauges by time: in any order, and twice",
     {{1, 0, 0, 5}, {1, 0, 0, 4}, {1, 0, 0, 6}, {1, 0, 0, 4}},
     {.series = 1, .distinct = 3, .doubled = 1}},
    {"a value without a step",
     {{1, 0, 5, 1}, {1, 0, 9, 2}, {1, 0, LEDGER_UNPROVEN_STEP, 3}, {1, 0, 10, 4}},
     {.series = 1, .unproven = 1, .unproven_points = 4}},
    {"one step at two times is no step",
     {{1, 0, 5, 1}, {1, 0, 9, 2}, {1, 0, 9, 3}, {1, 0, 9, 4}},
     {.series = 1, .unproven = 1, .unproven_points = 4}},
    {"a leap of a million is no step",
     {{1, 0, 5, 1}, {1, 0, 5000000, 2}},
     {.series = 1, .unproven = 1, .unproven_points = 2}},
};

static void test_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        const struct rule *rule = &rules[i];
        struct ledger *ledger = ledger_create();
        uint64_t count = 0;
        for (; count < 8 && rule->points[count].series != 0; count++) {
            const struct rule_point *point = &rule->points[count];
            enter(ledger,
                  &(struct ledger_point){.series = hash(point->series),
                                         .start = point->start,
                                         .step = point->step,
                                         .time_ns = point->time * 1000000000ull},
                  1, false);
        }
        struct ledger_counts got = ledger_counts(ledger), want = rule->counts;
        print_message("%s\n", rule->what);
        assert_int_equal(got.points, count);
        assert_int_equal(got.series, want.series);
        assert_int_equal(got.distinct, want.distinct);
        assert_int_equal(got.doubled, want.doubled);
        assert_int_equal(got.gaps, want.gaps);
        assert_int_equal(got.resets, want.resets);
        assert_int_equal(got.unproven, want.unproven);
        assert_int_equal(got.unproven_points, want.unproven_points);
        assert_int_equal(got.undecided, want.undecided);
        assert_int_equal(got.first_arrival_ns, 1000);
        ledger_destroy(&ledger);
    }
}

/* More gaps than are kept: the oldest are given up, and stay missing. */
static void test_many_gaps(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_create();
    enum { GAPS = 3 * LEDGER_HOLES_MAX };
    for (uint32_t i = 0; i <= GAPS; i++)
        enter(ledger, &(struct ledger_point){.series = 1, .step = 1 + 2 * i, .time_ns = i}, 1,
              false);
    assert_int_equal(ledger_counts(ledger).gaps, GAPS);
    /* the newest can be filled, the oldest cannot be told any more */
    enter(ledger, &(struct ledger_point){.series = 1, .step = 2 * GAPS, .time_ns = 5}, 1, false);
    enter(ledger, &(struct ledger_point){.series = 1, .step = 2, .time_ns = 5}, 1, false);
    enter(ledger, &(struct ledger_point){.series = 1, .step = 2 * GAPS + 1, .time_ns = GAPS}, 1,
          false);
    struct ledger_counts counts = ledger_counts(ledger);
    assert_int_equal(counts.gaps, GAPS - 1);
    assert_int_equal(counts.undecided, 1);
    assert_int_equal(counts.doubled, 1);
    assert_int_equal(counts.distinct, GAPS + 2);
    ledger_destroy(&ledger);
}

/* A body that is sent again because its answer was lost doubles points, but is excused. */
static void test_excused(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_create();
    struct ledger_point points[] = {{.series = 5, .step = 1, .time_ns = 1},
                                    {.series = 6, .step = 0, .time_ns = 1}};
    enter(ledger, points, 2, false);
    enter(ledger, points, 2, true);
    assert_int_equal(ledger_counts(ledger).doubled, 2);
    assert_int_equal(ledger_counts(ledger).doubled_excused, 2);
    assert_null(ledger_doubled_example(ledger, 0));
    enter(ledger, points, 2, false);
    assert_int_equal(ledger_counts(ledger).doubled, 4);
    assert_int_equal(ledger_counts(ledger).doubled_excused, 2);
    ledger_destroy(&ledger);
}

/* The same bytes again are doubled however long ago; other bytes with gauges only as long as their
 * times are remembered. */
static void test_again(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_create();
    struct ledger_point point = {.series = 6, .step = 0};
    struct ledger_body body = {.points = &point, .count = 1, .places = &place};
    for (point.time_ns = 1; point.time_ns <= 100; point.time_ns++)
        ledger_enter(ledger, &body);
    point.time_ns = 1;
    body.again = true;
    ledger_enter(ledger, &body);
    assert_int_equal(ledger_counts(ledger).distinct, 100);
    assert_int_equal(ledger_counts(ledger).doubled, 1);
    ledger_destroy(&ledger);
    struct seen *seen = seen_create();
    for (uint64_t i = 0; i < 3 * SEEN_MIN; i++)
        assert_false(seen_before(seen, hash(i)));
    for (uint64_t i = 2 * SEEN_MIN; i < 3 * SEEN_MIN; i++)
        assert_true(seen_before(seen, hash(i)));
    assert_false(seen_before(seen, 0));
    assert_true(seen_before(seen, 0));
    seen_destroy(&seen);
}

static void test_rejected_points_are_not_entered(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_create();
    struct ledger_point points[] = {{.series = 5, .step = 1, .ordinal = 0},
                                    {.series = 6, .step = 1, .ordinal = 3},
                                    {.series = 7, .step = 1, .ordinal = 4}};
    ledger_enter(ledger, &(struct ledger_body){points, 3, &place, 1, 3, false, false});
    assert_int_equal(ledger_counts(ledger).points, 2);
    ledger_destroy(&ledger);
}

/* Names what came twice and what is open; what was filled is no longer named. */
static void test_examples(void **state)
{
    (void)state;
    static const uint8_t resource[] = "\x0a\x10\x0a\x04host\x12\x08\x0a\x06"
                                      "d\xc3\xa4\xff-1";
    struct ledger_place named = {resource, (const uint8_t *)"pg.rows", sizeof resource - 1, 7};
    struct ledger *ledger = ledger_create();
    for (uint32_t step = 1; step <= 9; step += step == 3 ? 3 : 1) {
        struct ledger_point point = {.series = 5, .step = step, .time_ns = step};
        ledger_enter(ledger, &(struct ledger_body){&point, 1, &named, 1, 0, false, false});
    }
    struct ledger_point again = {.series = 5, .step = 7, .time_ns = 7};
    ledger_enter(ledger, &(struct ledger_body){&again, 1, &named, 1, 0, false, false});
    assert_string_equal(ledger_doubled_example(ledger, 0),
                        "pg.rows of host=d\xc3\xa4\xef\xbf\xbd-1: step 7 came twice");
    assert_null(ledger_doubled_example(ledger, 1));
    assert_string_equal(ledger_gap_example(ledger, 0),
                        "pg.rows of host=d\xc3\xa4\xef\xbf\xbd-1: of steps 4 to 5 some are "
                        "missing");
    for (uint32_t step = 4; step <= 5; step++) {
        assert_non_null(ledger_gap_example(ledger, 0));
        enter(ledger, &(struct ledger_point){.series = 5, .step = step, .time_ns = step}, 1, false);
    }
    assert_null(ledger_gap_example(ledger, 0));
    /* a series that turns out to carry no steps has doubled nothing */
    assert_null(ledger_unproven_example(ledger, 0));
    struct ledger_point still = {.series = 5, .step = 9, .time_ns = 10};
    ledger_enter(ledger, &(struct ledger_body){&still, 1, &named, 1, 0, false, false});
    assert_null(ledger_doubled_example(ledger, 0));
    assert_string_equal(ledger_unproven_example(ledger, 0),
                        "pg.rows of host=d\xc3\xa4\xef\xbf\xbd-1: its values carry no steps");
    ledger_destroy(&ledger);
}

/* It grows without losing anybody, at about 40 to 60 bytes a series. */
static void test_many_series(void **state)
{
    (void)state;
    enum { SERIES = 300000 };
    struct ledger *ledger = ledger_create();
    for (uint32_t step = 1; step <= 2; step++)
        for (uint64_t i = 0; i < SERIES; i++)
            enter(ledger, &(struct ledger_point){.series = hash(i), .step = step, .time_ns = step},
                  1, false);
    struct ledger_counts counts = ledger_counts(ledger);
    assert_int_equal(counts.series, SERIES);
    assert_int_equal(counts.distinct, 2 * SERIES);
    assert_int_equal(counts.gaps + counts.doubled + counts.unproven, 0);
    assert_in_range(counts.bytes / SERIES, 32, 60);
    ledger_destroy(&ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_oracle),    cmocka_unit_test(test_rules),
        cmocka_unit_test(test_many_gaps), cmocka_unit_test(test_excused),
        cmocka_unit_test(test_again),     cmocka_unit_test(test_rejected_points_are_not_entered),
        cmocka_unit_test(test_examples),  cmocka_unit_test(test_many_series),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
