/* SPDX-License-Identifier: Apache-2.0 */
/* Counters as deltas: single series step by step, then many that come, go, begin anew and change
 * places, beside a model that knows them by number; attribute sets are freed and their memory used
 * for others all the time. */
#include "exporters/otlp/delta.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/distribution.h"
#include "base/random.h"
#include "exporters/otlp/encode.h"
#include "exporters/otlp/json.h"
#include "tests/exporters/protoc.h"

static const struct metric commits = {.name = "postgresql.commits",
                                      .unit = "{tx}",
                                      .description = "Commits",
                                      .instrument = METRIC_SUM,
                                      .value = METRIC_INT,
                                      .monotonic = true};
static const struct metric seconds = {.name = "postgresql.time",
                                      .unit = "s",
                                      .description = "Time",
                                      .instrument = METRIC_SUM,
                                      .value = METRIC_DOUBLE,
                                      .monotonic = true};
static const struct metric backends = {.name = "postgresql.backends",
                                       .unit = "1",
                                       .description = "Backends",
                                       .instrument = METRIC_SUM,
                                       .value = METRIC_INT};
static const struct metric lag = {.name = "pgweir.schedule.lag",
                                  .unit = "s",
                                  .description = "Lag",
                                  .instrument = METRIC_HISTOGRAM,
                                  .value = METRIC_DISTRIBUTION};

static struct page page, before;

static struct attrs *make_attrs(enum attrs_tag tag, const char *key, uint64_t value)
{
    static struct attrs_builder builder;
    attrs_begin(&builder, tag);
    attrs_add_int(&builder, key, (int64_t)value);
    return attrs_finish(&builder);
}

/* The view; the page itself must not change. */
static const struct page *view_of(struct delta *delta, uint32_t variant)
{
    page_check(&page);
    memcpy(&before, &page, sizeof page);
    const struct page *view = delta_page(delta, &page, variant);
    assert_memory_equal(&before, &page, sizeof page);
    page_check(view);
    return view;
}

/* ---- one series ---- */

enum { STEPS_MAX = 6, SINCE = 50 };

struct step {
    uint64_t time, start; /* seconds; start 0: not known */
    int64_t value;
    bool sent;
    uint64_t sent_start;
    int64_t sent_value;
};

/* A point that gives none. */
#define NONE(at, since, number)                                                                    \
    {                                                                                              \
        .time = at, .start = since, .value = number                                                \
    }

static const struct {
    const char *what;
    struct step steps[STEPS_MAX];
} cases[] = {
    {"the first gives none, zero is one",
     {NONE(100, 40, 7),
      {110, 40, 9, true, 100, 2},
      {120, 40, 9, true, 110, 0},
      {130, 40, 19, true, 120, 10}}},
    {"start not known", {NONE(100, 0, 7), {110, 0, 9, true, 100, 2}}},
    {"the first counts since after we began",
     {{100, 60, 7, true, 60, 7}, {110, 60, 9, true, 100, 2}}},
    {"since we began", {{100, SINCE, 7, true, SINCE, 7}}},
    {"since now, which says nothing", {NONE(100, 100, 7), {110, 100, 9, true, 100, 2}}},
    {"fell: from the new start",
     {NONE(100, 40, 7), {110, 104, 3, true, 104, 3}, {120, 104, 4, true, 110, 1}}},
    {"fell: from the last point where the start is that",
     {NONE(100, 40, 7), {110, 100, 3, true, 100, 3}}},
    {"fell: start not known",
     {NONE(100, 0, 7), {110, 0, 3, true, 100, 3}, {120, 0, 5, true, 110, 2}}},
    {"fell: start as before", {NONE(100, 40, 7), {110, 40, 3, true, 100, 3}}},
    {"fell: start is now", {NONE(100, 40, 7), {110, 110, 3, true, 100, 3}}},
    {"fell to zero", {NONE(100, 40, 7), {110, 105, 0, true, 105, 0}, {120, 105, 2, true, 110, 2}}},
    {"began anew and is past the old value", {NONE(100, 40, 7), {110, 105, 30, true, 105, 30}}},
    {"another start, but before the last point", {NONE(100, 40, 7), {110, 60, 9, true, 100, 2}}},
    {"an earlier start", {NONE(100, 40, 7), {110, 30, 9, true, 100, 2}}},
    {"start known at last",
     {NONE(100, 0, 7), {110, 105, 9, true, 100, 2}, {120, 105, 10, true, 110, 1}}},
    {"start forgotten", {NONE(100, 40, 7), {110, 0, 9, true, 100, 2}}},
    {"the clock was set back",
     {NONE(100, 40, 7), {110, 40, 9, true, 100, 2}, NONE(50, 40, 12), {60, 40, 14, true, 50, 5}}},
    {"twice at one time",
     {NONE(100, 40, 7), {110, 40, 9, true, 100, 2}, NONE(110, 40, 9), {120, 40, 10, true, 110, 1}}},
    {"the first twice at one time",
     {NONE(100, 40, 7), NONE(100, 40, 7), {120, 40, 10, true, 100, 3}}},
    {"further than a number holds",
     {NONE(100, 40, INT64_MIN), {110, 40, INT64_MAX, true, 100, INT64_MAX}}},
};

static void fill_one(const struct metric *metric, const struct step *step,
                     const struct resource *resource, const struct attrs *attrs)
{
    page_reset(&page, 0, step->time * NS_PER_S);
    struct point *point = page_begin_run(&page, metric, NULL, resource, step->time * NS_PER_S);
    *point = (struct point){.attrs = attrs, .start_ns = step->start * NS_PER_S};
    if (metric->value == METRIC_INT)
        point->value.integer = step->value;
    else
        point->value.real = (double)step->value;
    page_end_run(&page, 1);
}

static void check_one(const struct page *view, const struct step *step, const char *what)
{
    if (view->point_count != step->sent)
        fail_msg("%s at %d: %u points", what, (int)step->time, view->point_count);
    if (!step->sent)
        return;
    const struct point *point = page_points_const(view);
    const struct run *run = page_run_const(view, 0);
    assert_true(run->metric->delta);
    assert_int_equal(run->time_ns, step->time * NS_PER_S);
    if (point->start_ns != step->sent_start * NS_PER_S)
        fail_msg("%s at %d: starts at %d", what, (int)step->time,
                 (int)(point->start_ns / NS_PER_S));
    int64_t value =
        run->metric->value == METRIC_INT ? point->value.integer : (int64_t)point->value.real;
    if (value != step->sent_value)
        fail_msg("%s at %d: %lld", what, (int)step->time, (long long)value);
}

static void test_step_by_step(void **state)
{
    (void)state;
    struct attrs *attrs = make_attrs(ATTRS_POINT, "n", 1);
    struct attrs *host = make_attrs(ATTRS_RESOURCE, "host", 1);
    struct resource resource = {.variants = {host}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int real = 0; real < 2; real++) {
            if (real && cases[i].steps[0].value == INT64_MIN)
                continue;
            struct delta *delta = delta_create(SINCE * NS_PER_S);
            for (int s = 0; s < STEPS_MAX && cases[i].steps[s].time != 0; s++) {
                fill_one(real ? &seconds : &commits, &cases[i].steps[s], &resource, attrs);
                check_one(view_of(delta, 0), &cases[i].steps[s], cases[i].what);
            }
            assert_int_equal(delta_state(delta).series, 1);
            delta_destroy(&delta);
            assert_null(delta);
        }
    }
    attrs_destroy(&attrs);
    attrs_destroy(&host);
}

/* A series that was forgotten and comes back with the start it had was sent before. */
static void test_back_after_forgotten(void **state)
{
    (void)state;
    enum { LATER = 100 + 2 * 3600 };
    static const struct {
        int series;
        struct step step;
    } steps[] = {
        {0, {100, 60, 7, true, 60, 7}},
        {0, {110, 60, 8, true, 100, 1}},
        {1, {200, 40, 1, false, 0, 0}},
        {1, {LATER, 40, 1, true, 200, 0}}, /* two hours on: the other is forgotten */
        {0, {LATER + 10, 60, 9, false, 0, 0}},
        {0, {LATER + 20, 60, 12, true, LATER + 10, 3}},
        {2, {LATER + 20, 109, 5, false, 0, 0}},  /* it could be the forgotten one */
        {3, {LATER + 20, 111, 5, true, 111, 5}}, /* it cannot */
    };
    struct attrs *sets[4];
    for (uint64_t i = 0; i < 4; i++)
        sets[i] = make_attrs(ATTRS_POINT, "n", i);
    struct attrs *host = make_attrs(ATTRS_RESOURCE, "host", 1);
    struct resource resource = {.variants = {host}};
    struct delta *delta = delta_create(SINCE * NS_PER_S);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        fill_one(&commits, &steps[i].step, &resource, sets[steps[i].series]);
        check_one(view_of(delta, 0), &steps[i].step, "back after forgotten");
    }
    assert_int_equal(delta_state(delta).forgotten, 1);
    delta_destroy(&delta);
    for (int i = 0; i < 4; i++)
        attrs_destroy(&sets[i]);
    attrs_destroy(&host);
}

/* No number has no difference, and spoils none. */
static void test_not_finite(void **state)
{
    (void)state;
    static const double bad[] = {__builtin_nan(""), __builtin_inf(), -__builtin_inf()};
    struct attrs *attrs = make_attrs(ATTRS_POINT, "n", 1);
    struct resource resource = {.variants = {attrs}};
    for (size_t i = 0; i < 3; i++) {
        struct delta *delta = delta_create(SINCE * NS_PER_S);
        fill_one(&seconds, &(struct step)NONE(100, 40, 7), &resource, attrs);
        assert_int_equal(view_of(delta, 0)->point_count, 0);
        fill_one(&seconds, &(struct step)NONE(110, 40, 0), &resource, attrs);
        page_points(&page)->value.real = bad[i];
        assert_int_equal(view_of(delta, 0)->point_count, 0);
        fill_one(&seconds, &(struct step)NONE(120, 40, 9), &resource, attrs);
        check_one(view_of(delta, 0), &(struct step){120, 40, 9, true, 100, 2}, "behind no number");
        delta_destroy(&delta);
    }
    attrs_destroy(&attrs);
}

/* ---- many series ---- */

/* What makes a series, one digit each: resource, metric, fixed attributes, own attributes. */
enum {
    RESOURCES = 3,
    METRICS = 2,
    FIXED = 3,
    OWN = 12,
    SERIES = RESOURCES * METRICS * FIXED * OWN
};

struct model {
    uint64_t time_ns, start_ns; /* time 0: never seen */
    int64_t value;
    bool in_page; /* of this round */
    bool gives;   /* a point, with: */
    uint64_t sent_start_ns;
    int64_t sent_value;
};

static struct model models[SERIES];
static struct attrs *own[OWN], *hosts[RESOURCES], *fixed[FIXED];
static struct resource resources[RESOURCES];

static void free_sets(void)
{
    for (int i = 0; i < OWN; i++)
        attrs_destroy(&own[i]);
    for (int i = 0; i < RESOURCES; i++)
        attrs_destroy(&hosts[i]);
    for (int i = 0; i < FIXED; i++)
        attrs_destroy(&fixed[i]);
}

/* All sets anew, in another order: the same memory, other content. */
static void make_sets(struct random *random)
{
    free_sets();
    for (uint32_t i = 0, at = (uint32_t)random_below(random, OWN); i < OWN;
         i++, at = (at + 5) % OWN)
        own[at] = make_attrs(ATTRS_POINT, "n", at);
    for (uint32_t i = 0, at = (uint32_t)random_below(random, 3); i < 3; i++, at = (at + 1) % 3) {
        hosts[at] = make_attrs(ATTRS_RESOURCE, "n", at);
        resources[at].variants[0] = hosts[at];
        fixed[at] = at == 0 ? NULL : make_attrs(ATTRS_POINT, "f", at);
    }
}

static void move(struct model *model, struct random *random, uint64_t time_ns)
{
    bool reset = model->time_ns != 0 && random_below(random, 10) == 0;
    uint64_t more = random_below(random, 1000);
    model->gives = model->time_ns != 0;
    model->sent_start_ns = model->time_ns;
    model->sent_value = (int64_t)more;
    if (model->time_ns == 0) {
        model->value = (int64_t)random_below(random, 1000000);
        model->start_ns = 1;
    } else if (reset) {
        model->start_ns = model->time_ns + 1 + random_below(random, NS_PER_S);
        model->value = 0;
        model->sent_start_ns = model->start_ns;
    }
    model->value += (int64_t)more;
    model->time_ns = time_ns;
}

/* A run with some of its series, in any order. */
static void fill_run(struct random *random, uint32_t first, const struct metric *metric,
                     const struct attrs *run_fixed, const struct resource *resource)
{
    uint64_t time_ns = page.scrape_start_ns;
    struct point *points = page_begin_run(&page, metric, run_fixed, resource, time_ns);
    uint32_t count = 0, at = (uint32_t)random_below(random, OWN);
    uint32_t step = random_below(random, 2) ? 1 : 7;
    for (uint32_t i = 0; i < OWN; i++, at = (at + step) % OWN) {
        struct model *model = &models[first + at];
        if (random_below(random, 4) == 0)
            continue;
        move(model, random, time_ns);
        model->in_page = true;
        points[count] = (struct point){.attrs = own[at], .start_ns = model->start_ns};
        if (metric->value == METRIC_INT)
            points[count].value.integer = model->value;
        else
            points[count].value.real = (double)model->value;
        count++;
    }
    page_end_run(&page, count);
}

static void fill_page(struct random *random, uint64_t time_ns)
{
    static const struct metric *const metrics[METRICS] = {&commits, &seconds};
    page_reset(&page, 0, time_ns);
    for (uint32_t i = 0; i < SERIES; i++)
        models[i].in_page = false;
    for (uint32_t r = 0; r < RESOURCES; r++)
        for (uint32_t m = 0; m < METRICS; m++)
            for (uint32_t f = 0; f < FIXED; f++)
                fill_run(random, ((r * METRICS + m) * FIXED + f) * OWN, metrics[m], fixed[f],
                         &resources[r]);
}

/* Which of them the point is. */
static struct model *model_of(const struct run *run, const struct point *point)
{
    uint32_t r = 0, m = run->metric->value == METRIC_DOUBLE, f = 0, at = 0;
    while (run->resource != &resources[r])
        r++;
    while (run->fixed != fixed[f])
        f++;
    while (point->attrs != own[at])
        at++;
    return &models[((r * METRICS + m) * FIXED + f) * OWN + at];
}

static uint32_t check_view(const struct page *view)
{
    uint32_t expected = 0;
    for (uint32_t i = 0; i < view->run_count; i++) {
        const struct run *run = page_run_const(view, i);
        for (uint32_t p = 0; p < run->count; p++) {
            const struct point *point = page_points_const(view) + run->first + p;
            struct model *model = model_of(run, point);
            assert_true(model->in_page && model->gives);
            assert_int_equal(point->start_ns, model->sent_start_ns);
            if (run->metric->value == METRIC_INT)
                assert_int_equal(point->value.integer, model->sent_value);
            else
                assert_true(point->value.real == (double)model->sent_value);
        }
    }
    for (uint32_t i = 0; i < SERIES; i++)
        expected += models[i].in_page && models[i].gives;
    assert_int_equal(view->point_count, expected);
    return expected;
}

static void test_many(void **state)
{
    (void)state;
    struct random random = {.state = 3};
    struct delta *delta = delta_create(2);
    uint64_t sent = 0;
    memset(models, 0, sizeof models);
    for (uint64_t round = 1; round <= 300; round++) {
        make_sets(&random);
        fill_page(&random, round * 10 * NS_PER_S);
        sent += check_view(view_of(delta, 0));
    }
    assert_true(sent > 100 * SERIES);
    assert_int_equal(delta_state(delta).series, SERIES);
    assert_int_equal(delta_state(delta).forgotten, 0);
    assert_true(delta_state(delta).resets > 1000);
    delta_destroy(&delta);
    free_sets();
}

/* Two pipelines see one server under two names: two series. Where the names are the same, the page
 * that comes twice gives its points once. */
static void test_variants(void **state)
{
    (void)state;
    struct attrs *attrs = make_attrs(ATTRS_POINT, "n", 1);
    struct attrs *first = make_attrs(ATTRS_RESOURCE, "n", 1);
    struct attrs *second = make_attrs(ATTRS_RESOURCE, "n", 2);
    struct resource resource = {.variants = {first, second}};
    struct delta *delta = delta_create(SINCE * NS_PER_S);
    for (int i = 0; i < 2; i++) {
        fill_one(&commits, &(struct step)NONE(100 + 10 * (uint64_t)i, 40, 7 + i), &resource, attrs);
        for (uint32_t variant = 0; variant < 2; variant++)
            assert_int_equal(view_of(delta, variant)->point_count, i);
        assert_int_equal(view_of(delta, 2)->point_count,
                         0); /* none of its own: that of variant 0 */
    }
    assert_int_equal(delta_state(delta).series, 2);
    delta_destroy(&delta);
    attrs_destroy(&attrs);
    attrs_destroy(&first);
    attrs_destroy(&second);
}

/* ---- what is no number ---- */

static struct distribution *distribution_of(uint64_t a, uint64_t b)
{
    struct distribution *made = calloc(1, sizeof *made + 2 * sizeof made->buckets[0]);
    assert_non_null(made);
    *made = (struct distribution){.count = a + b + 1,
                                  .zero_count = 1,
                                  .sum = (double)(a + 2 * b),
                                  .max = 9,
                                  .scale = 5,
                                  .offset = -10,
                                  .bucket_count = 2};
    made->buckets[0] = a;
    made->buckets[1] = b;
    return made;
}

static void test_distributions(void **state)
{
    (void)state;
    static const struct {
        uint64_t a, b;
        bool sent;
        uint64_t count, sent_a, sent_start;
    } rows[] = {
        {3, 4, false, 0, 0, 0},
        {5, 4, true, 2, 2, 100},
        {5, 6, true, 2, 0, 110}, /* only the second bucket is left */
        {1, 1, true, 3, 1, 120}, /* began anew */
    };
    struct attrs *attrs = make_attrs(ATTRS_POINT, "n", 1);
    struct resource resource = {.variants = {attrs}};
    struct delta *delta = delta_create(SINCE * NS_PER_S);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t time_ns = (100 + 10 * i) * NS_PER_S;
        struct distribution *value = distribution_of(rows[i].a, rows[i].b);
        page_reset(&page, 0, time_ns);
        struct point *given = page_begin_run(&page, &lag, NULL, &resource, time_ns);
        *given = (struct point){.attrs = attrs, .start_ns = 40 * NS_PER_S};
        given->value.distribution = value;
        page_end_run(&page, 1);
        const struct page *view = view_of(delta, 0);
        assert_int_equal(view->point_count, rows[i].sent);
        if (rows[i].sent) {
            const struct point *point = page_points_const(view);
            assert_true(page_run_const(view, 0)->metric->delta);
            assert_int_equal(point->start_ns, rows[i].sent_start * NS_PER_S);
            assert_int_equal(point->value.distribution->count, rows[i].count);
            if (rows[i].sent_a > 0)
                assert_int_equal(point->value.distribution->buckets[0], rows[i].sent_a);
        }
        distribution_destroy(&value); /* as the own metrics do when the page has come back */
    }
    delta_destroy(&delta);
    attrs_destroy(&attrs);
}

/* ---- on the wire ---- */

/* A counter in two runs, a sum that goes both ways, a histogram. */
static void fill_mixed(uint64_t round, const struct attrs *attrs, const struct resource *resource,
                       const struct attrs *run_fixed, const struct distribution *value)
{
    uint64_t time_ns = (100 + 10 * round) * NS_PER_S;
    const struct metric *metrics[] = {&commits, &commits, &backends, &lag};
    page_reset(&page, 0, time_ns);
    for (int i = 0; i < 4; i++) {
        struct point *point =
            page_begin_run(&page, metrics[i], i == 1 ? run_fixed : NULL, resource, time_ns);
        *point = (struct point){.attrs = attrs};
        if (metrics[i] == &lag)
            point->value.distribution = value;
        else
            point->value.integer = 100 + 7 * (int64_t)round;
        page_end_run(&page, 1);
    }
}

static size_t count_text(const char *text, const char *what)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, what)) != NULL; at++)
        count++;
    return count;
}

static void check_text(const char *text, const char *const expected[][2])
{
    for (size_t i = 0; expected[i][0] != NULL; i++)
        if (count_text(text, expected[i][0]) != (size_t)atoi(expected[i][1]))
            fail_msg("not %s times %s in:\n%s", expected[i][1], expected[i][0], text);
}

static void test_encoded(void **state)
{
    (void)state;
    static uint8_t space[1 << 16];
    static const char *const proto[][2] = {{"name: \"postgresql.commits\"", "1"},
                                           {"as_int: 7\n", "2"},
                                           {"as_int: 107\n", "1"},
                                           {"AGGREGATION_TEMPORALITY_DELTA", "2"},
                                           {"AGGREGATION_TEMPORALITY_CUMULATIVE", "1"},
                                           {"start_time_unix_nano: 100000000000", "3"},
                                           {"count: 4\n", "1"},
                                           {"max:", "0"},
                                           {NULL, NULL}};
    static const char *const json_text[][2] = {{"\"asInt\":\"7\"", "2"},
                                               {"\"asInt\":\"107\"", "1"},
                                               {"\"aggregationTemporality\":1", "2"},
                                               {"\"aggregationTemporality\":2", "1"},
                                               {"\"max\"", "0"},
                                               {NULL, NULL}};
    protoc_require();
    struct attrs *attrs = make_attrs(ATTRS_POINT, "n", 1),
                 *run_fixed = make_attrs(ATTRS_POINT, "f", 1);
    struct resource resource = {.variants = {attrs}};
    struct delta *delta = delta_create(SINCE * NS_PER_S);
    struct distribution *values[] = {distribution_of(1, 2), distribution_of(2, 5)};
    fill_mixed(0, attrs, &resource, run_fixed, values[0]);
    assert_int_equal(view_of(delta, 0)->point_count, 1);
    fill_mixed(1, attrs, &resource, run_fixed, values[1]);
    const struct page *view = view_of(delta, 0);
    struct page_slice all = {0, view->point_count};
    assert_int_equal(view->point_count, 4);
    uint8_t *end = space + sizeof space, *start = otlp_encode(view, all, 0, space, end);
    assert_non_null(start);
    char *text = protoc_decode(start, (size_t)(end - start));
    check_text(text, proto);
    free(text);
    struct otlp_json *json = otlp_json_create();
    otlp_json_add(json, view, all, 0);
    text = otlp_json_take(json, false);
    check_text(text, json_text);
    free(text);
    otlp_json_destroy(&json);
    distribution_destroy(&values[0]);
    distribution_destroy(&values[1]);
    delta_destroy(&delta);
    attrs_destroy(&attrs);
    attrs_destroy(&run_fixed);
}

/* A page without counters is not copied. */
static void test_nothing_to_do(void **state)
{
    (void)state;
    struct attrs *attrs = make_attrs(ATTRS_POINT, "n", 1);
    struct resource resource = {.variants = {attrs}};
    struct delta *delta = delta_create(0);
    fill_one(&backends, &(struct step)NONE(100, 0, 7), &resource, attrs);
    assert_ptr_equal(view_of(delta, 0), &page);
    page_reset(&page, 0, 0);
    assert_ptr_equal(view_of(delta, 0), &page);
    assert_int_equal(delta_state(delta).series, 0);
    delta_destroy(&delta);
    attrs_destroy(&attrs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step_by_step), cmocka_unit_test(test_back_after_forgotten),
        cmocka_unit_test(test_not_finite),   cmocka_unit_test(test_many),
        cmocka_unit_test(test_variants),     cmocka_unit_test(test_distributions),
        cmocka_unit_test(test_encoded),      cmocka_unit_test(test_nothing_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
