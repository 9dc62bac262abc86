/* SPDX-License-Identifier: Apache-2.0 */
/* The table of last values: what is read as text is what was put in, for random pages; series that
 * expire, slots that are used again, labels that meet; and a reader and a writer at once. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/distribution.h"
#include "exporters/scrape/table.h"
#include "tests/exporters/otlp_pages.h"

static struct page page;

static const struct scrape_table_settings plain = {.naming = {NULL, true},
                                                   .expiration_ns = 300 * NS_PER_S};
static const struct scrape_format text_format = {false, false};

/* Everything, read in blocks of `block` bytes (more where a line needs it); to be freed. */
static char *read_bytes(struct scrape_table *table, struct scrape_format format, size_t block,
                        size_t *ret_bytes)
{
    struct scrape *scrape = scrape_begin(table, format);
    char *text = NULL;
    size_t used = 0, space = 0, read;
    for (;;) {
        if (space < used + block + 1) {
            space = 2 * (used + block + 1);
            text = realloc(text, space);
            assert_non_null(text);
        }
        read = scrape_read(scrape, text + used, block);
        used += read;
        if (read > 0)
            continue;
        if (scrape_line_bytes(scrape) == 0)
            break;
        assert_true(scrape_line_bytes(scrape) > block);
        block = scrape_line_bytes(scrape);
    }
    text[used] = '\0';
    *ret_bytes = used;
    scrape_end(&scrape);
    return text;
}

static char *read_all(struct scrape_table *table, struct scrape_format format, size_t block)
{
    size_t bytes;
    return read_bytes(table, format, block, &bytes);
}

static size_t count_lines(const char *text, const char *start)
{
    size_t count = 0;
    for (const char *at = text; *at != '\0'; at = strchr(at, '\n') + 1)
        count += strncmp(at, start, strlen(start)) == 0;
    return count;
}

static void assert_line(const char *text, const char *line)
{
    size_t bytes = strlen(line);
    for (const char *at = text; (at = strstr(at, line)) != NULL; at++)
        if ((at == text || at[-1] == '\n') && at[bytes] == '\n')
            return;
    fail_msg("no line %s in\n%s", line, text);
}

static bool take(struct scrape_table *table, uint64_t now_ns)
{
    struct page_slice all = {0, page.point_count};
    return scrape_table_take(table, &page, all, 0, now_ns);
}

static struct attrs *make_attrs(enum attrs_tag tag, const char *const *pairs)
{
    static struct attrs_builder builder;
    attrs_begin(&builder, tag);
    for (; pairs[0] != NULL; pairs += 2)
        attrs_add_text(&builder, pairs[0], pairs[1], strlen(pairs[1]));
    return attrs_finish(&builder);
}

#define PAIRS(...) ((const char *const[]){__VA_ARGS__, NULL})

static const struct metric counter = {.name = "pg.commits",
                                      .unit = "1",
                                      .description = "Commits, \"all\" of them\\",
                                      .instrument = METRIC_SUM,
                                      .value = METRIC_INT,
                                      .monotonic = true};
static const struct metric gauge = {
    .name = "pg.lag", .unit = "s", .description = "", .value = METRIC_DOUBLE};

static void put_run(const struct metric *metric, const struct attrs *fixed,
                    const struct resource *resource, const struct attrs *attrs, double value)
{
    struct point *point = page_begin_run(&page, metric, fixed, resource, 1700000000123000000);
    *point = (struct point){.attrs = attrs};
    if (metric->value == METRIC_INT)
        point->value.integer = (int64_t)value;
    else
        point->value.real = value;
    page_end_run(&page, 1);
}

/* Both formats, letter by letter. */
static void test_text(void **state)
{
    (void)state;
    struct attrs *table_a = make_attrs(ATTRS_POINT, PAIRS("db.table", "a \"b\"\\\n"));
    struct attrs *none = make_attrs(ATTRS_POINT, (const char *const[]){NULL});
    struct attrs *fixed = make_attrs(ATTRS_POINT, PAIRS("source", "heap"));
    struct attrs *identity = make_attrs(
        ATTRS_RESOURCE, PAIRS("service.name", "s", "service.instance.id", "1", "host", "db1"));
    const struct resource resource = {.variants = {identity}};
    struct text_pair labels[] = {{"zone", "eu"}, {"instance", "not this"}};
    struct scrape_table_settings settings = plain;
    settings.const_labels = (struct text_map){labels, 2};
    struct scrape_table *table = scrape_table_create(&settings);
    page_reset(&page, 0, 0);
    put_run(&counter, fixed, &resource, table_a, 12345);
    put_run(&counter, NULL, &resource, none, -7);
    put_run(&gauge, NULL, &resource, none, 0.1);
    assert_true(take(table, clock_monotonic_ns()));
    assert_int_equal(scrape_table_series(table), 4);
    char *text = read_all(table, text_format, 65536);
    assert_string_equal(
        text, "# HELP target_info What is observed\n# TYPE target_info gauge\n"
              "target_info{host=\"db1\",job=\"s\",instance=\"1\",zone=\"eu\"} 1\n"
              "# HELP pg_commits_total Commits, \"all\" of them\\\\\n"
              "# TYPE pg_commits_total counter\n"
              "pg_commits_total{db_table=\"a \\\"b\\\"\\\\\\n\",source=\"heap\",job=\"s\","
              "instance=\"1\",zone=\"eu\"} 12345\n"
              "pg_commits_total{job=\"s\",instance=\"1\",zone=\"eu\"} -7\n"
              "# HELP pg_lag_seconds \n# TYPE pg_lag_seconds gauge\n"
              "pg_lag_seconds{job=\"s\",instance=\"1\",zone=\"eu\"} 0.10000000000000001\n");
    free(text);
    text = read_all(table, (struct scrape_format){true, true}, 65536);
    assert_string_equal(
        text, "# HELP target What is observed\n# TYPE target info\n"
              "target_info{host=\"db1\",job=\"s\",instance=\"1\",zone=\"eu\"} 1 1700000000.123\n"
              "# HELP pg_commits Commits, \\\"all\\\" of them\\\\\n# TYPE pg_commits counter\n"
              "pg_commits_total{db_table=\"a \\\"b\\\"\\\\\\n\",source=\"heap\",job=\"s\","
              "instance=\"1\",zone=\"eu\"} 12345 1700000000.123\n"
              "pg_commits_total{job=\"s\",instance=\"1\",zone=\"eu\"} -7 1700000000.123\n"
              "# HELP pg_lag_seconds \n# TYPE pg_lag_seconds gauge\n"
              "pg_lag_seconds{job=\"s\",instance=\"1\",zone=\"eu\"} 0.10000000000000001 "
              "1700000000.123\n# EOF\n");
    free(text);
    text = read_all(table, (struct scrape_format){false, true}, 65536);
    assert_line(text, "pg_lag_seconds{job=\"s\",instance=\"1\",zone=\"eu\"} 0.10000000000000001 "
                      "1700000000123");
    free(text);
    scrape_table_destroy(&table);
    attrs_destroy(&table_a);
    attrs_destroy(&none);
    attrs_destroy(&fixed);
    attrs_destroy(&identity);
}

static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } rows[] = {{0, "0"},
                {-0.0, "-0"},
                {3, "3"},
                {-12, "-12"},
                {1e15, "1000000000000000"},
                {1.5, "1.5"},
                {1e300, "1.0000000000000001e+300"},
                {__builtin_inf(), "+Inf"},
                {-__builtin_inf(), "-Inf"},
                {__builtin_nan(""), "NaN"}};
    struct attrs *none = make_attrs(ATTRS_POINT, (const char *const[]){NULL});
    struct attrs *identity = make_attrs(ATTRS_RESOURCE, (const char *const[]){NULL});
    const struct resource resource = {.variants = {identity}};
    struct scrape_table *table = scrape_table_create(&plain);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char line[64];
        page_reset(&page, 0, 0);
        put_run(&gauge, NULL, &resource, none, rows[i].value);
        take(table, clock_monotonic_ns());
        char *text = read_all(table, text_format, 65536);
        snprintf(line, sizeof line, "pg_lag_seconds %s", rows[i].text);
        assert_line(text, line);
        free(text);
    }
    page_reset(&page, 0, 0);
    struct point *point = page_begin_run(&page, &counter, NULL, &resource, 1);
    *point = (struct point){.attrs = none, .value.integer = INT64_MIN};
    page_end_run(&page, 1);
    take(table, clock_monotonic_ns());
    char *text = read_all(table, text_format, 65536);
    assert_line(text, "pg_commits_total -9223372036854775808");
    free(text);
    scrape_table_destroy(&table);
    attrs_destroy(&none);
    attrs_destroy(&identity);
}

/* Where names meet each stands once, and the stronger part's value stays. */
static void test_meetings(void **state)
{
    (void)state;
    struct text_pair labels[] = {{"own", "config"}, {"zone", "eu"}};
    struct attrs *own =
        make_attrs(ATTRS_POINT, PAIRS("own", "point", "source", "point", "instance", "point"));
    struct attrs *fixed = make_attrs(ATTRS_POINT, PAIRS("source", "run"));
    struct attrs *identity = make_attrs(ATTRS_RESOURCE, PAIRS("service.instance.id", "1"));
    const struct resource resource = {.variants = {identity}};
    struct scrape_table_settings settings = plain;
    settings.const_labels = (struct text_map){labels, 2};
    struct scrape_table *table = scrape_table_create(&settings);
    for (int i = 0; i < 2; i++) {
        page_reset(&page, 0, 0);
        put_run(&gauge, fixed, &resource, own, i);
        take(table, clock_monotonic_ns());
        char *text = read_all(table, text_format, 65536), line[128];
        snprintf(line, sizeof line,
                 "pg_lag_seconds{instance=\"1\",source=\"run\",own=\"point\",zone=\"eu\"} %d", i);
        assert_line(text, line);
        assert_int_equal(count_lines(text, "pg_lag_seconds{"), 1);
        free(text);
    }
    scrape_table_destroy(&table);
    attrs_destroy(&own);
    attrs_destroy(&fixed);
    attrs_destroy(&identity);
}

/* What describes a resource may change without its series becoming others. */
static void test_description_changes(void **state)
{
    (void)state;
    struct attrs *none = make_attrs(ATTRS_POINT, (const char *const[]){NULL});
    struct scrape_table *table = scrape_table_create(&plain);
    for (int i = 0; i < 3; i++) {
        char version[12];
        snprintf(version, sizeof version, "%d", i);
        struct attrs *identity = make_attrs(
            ATTRS_RESOURCE, PAIRS("service.instance.id", "1", "server.version", version));
        const struct resource resource = {.variants = {identity}};
        page_reset(&page, 0, 0);
        put_run(&gauge, NULL, &resource, none, i);
        take(table, clock_monotonic_ns());
        attrs_destroy(&identity);
    }
    char *text = read_all(table, text_format, 65536);
    assert_int_equal(count_lines(text, "pg_lag_seconds{"), 1);
    assert_int_equal(count_lines(text, "target_info{"), 3);
    assert_line(text, "pg_lag_seconds{instance=\"1\"} 2");
    free(text);
    scrape_table_destroy(&table);
    attrs_destroy(&none);
}

/* A distribution: 26 lines, in order. */
static void test_distribution(void **state)
{
    (void)state;
    static const struct metric metric = {.name = "pgweir.lag",
                                         .unit = "s",
                                         .description = "Lag",
                                         .instrument = METRIC_HISTOGRAM,
                                         .value = METRIC_DISTRIBUTION};
    struct distribution *value = calloc(1, sizeof *value + sizeof value->buckets[0]);
    *value = (struct distribution){.count = 5, .zero_count = 1, .sum = 3.5, .max = 1};
    value->bucket_count = 1; /* (1, 2] */
    value->buckets[0] = 4;
    struct attrs *attrs = make_attrs(ATTRS_POINT, PAIRS("shard", "0"));
    struct attrs *identity = make_attrs(ATTRS_RESOURCE, (const char *const[]){NULL});
    const struct resource resource = {.variants = {identity}};
    struct scrape_table *table = scrape_table_create(&plain);
    for (int round = 0; round < 2; round++) {
        page_reset(&page, 0, 0);
        struct point *point = page_begin_run(&page, &metric, NULL, &resource, 5000000000);
        point[0] = (struct point){.attrs = attrs, .value.distribution = value};
        page_end_run(&page, 1);
        assert_true(take(table, clock_monotonic_ns()));
        assert_int_equal(scrape_table_series(table), 3 + DISTRIBUTION_BOUNDS);
    }
    char *text = read_all(table, text_format, 65536);
    char first[256];
    snprintf(first, sizeof first,
             "# TYPE pgweir_lag_seconds histogram\npgweir_lag_seconds_count{shard=\"0\"} 5\n"
             "pgweir_lag_seconds_sum{shard=\"0\"} 3.5\n"
             "pgweir_lag_seconds_bucket{shard=\"0\",le=\"%s\"} 1\n",
             distribution_bound_names[0]);
    assert_non_null(strstr(text, first));
    assert_line(text, "pgweir_lag_seconds_bucket{shard=\"0\",le=\"1\"} 1");
    assert_line(text, "pgweir_lag_seconds_bucket{shard=\"0\",le=\"2.5\"} 5");
    assert_line(text, "pgweir_lag_seconds_bucket{shard=\"0\",le=\"+Inf\"} 5");
    assert_int_equal(count_lines(text, "pgweir_lag_seconds_bucket"), DISTRIBUTION_BOUNDS + 1);
    free(text);
    scrape_table_destroy(&table);
    attrs_destroy(&attrs);
    attrs_destroy(&identity);
    free(value);
}

/* Random pages: as many lines as there are different series, the last value of each, whatever the
 * size of the blocks. */
static void test_random_pages(void **state)
{
    (void)state;
    struct model *model = model_create(5);
    struct scrape_table_settings settings = plain;
    settings.resource = LABELS_ALL;
    struct scrape_table *table = scrape_table_create(&settings);
    for (int round = 0; round < 50; round++) {
        model_fill(model, &page, 30, 40);
        assert_true(take(table, clock_monotonic_ns()));
        size_t lines = 0, bytes, again_bytes;
        char *text = read_bytes(table, text_format, 65536, &bytes); /* may hold NULs */
        for (const char *at = text; at < text + bytes;
             at = memchr(at, '\n', (size_t)(text + bytes - at)) + 1)
            lines += *at != '#';
        assert_int_equal(lines, scrape_table_series(table));
        static const size_t blocks[] = {1, 100, 4096};
        char *again = read_bytes(table, text_format, blocks[round % 3], &again_bytes);
        assert_int_equal(again_bytes, bytes);
        assert_memory_equal(again, text, bytes);
        free(again);
        free(text);
    }
    scrape_table_destroy(&table);
    model_destroy(&model);
}

/* ---- series that come and go ---- */

/* One point of series `number` with its value. */
static void put_series(struct scrape_table *table, uint32_t number, int64_t value, uint64_t now_ns)
{
    char text[16];
    snprintf(text, sizeof text, "%u", (unsigned)number);
    struct attrs *attrs = make_attrs(ATTRS_POINT, PAIRS("n", text));
    struct attrs *identity = make_attrs(ATTRS_RESOURCE, PAIRS("service.instance.id", text));
    const struct resource resource = {.variants = {identity}};
    page_reset(&page, 0, 0);
    struct point *point = page_begin_run(&page, &counter, NULL, &resource, 1000000000);
    *point = (struct point){.attrs = attrs, .value.integer = value};
    page_end_run(&page, 1);
    assert_true(take(table, now_ns));
    attrs_destroy(&attrs);
    attrs_destroy(&identity);
}

/* Sweeps over the whole table. */
static void sweep(struct scrape_table *table, uint64_t *now_ns)
{
    for (int i = 0; i < 40; i++)
        scrape_table_tick(table, *now_ns += NS_PER_S + 1);
}

/* Gone for a reader at once, from memory after a sweep; its slot and bytes are used again. */
static void test_expiry(void **state)
{
    (void)state;
    uint64_t real_ns = clock_monotonic_ns(), now_ns = real_ns + 1000 * NS_PER_S;
    struct scrape_table *table = scrape_table_create(&plain);
    put_series(table, 1, 1, real_ns > 400 * NS_PER_S ? real_ns - 400 * NS_PER_S : 0);
    put_series(table, 2, 2, real_ns);
    char *text = read_all(table, text_format, 65536);
    assert_int_equal(count_lines(text, "pg_commits_total{n=\"1\""),
                     real_ns > 400 * NS_PER_S ? 0 : 1);
    assert_line(text, "pg_commits_total{n=\"2\",instance=\"2\"} 2");
    free(text);
    sweep(table, &now_ns);
    assert_int_equal(scrape_table_series(table), 0);
    text = read_all(table, text_format, 65536);
    assert_string_equal(text, "");
    free(text);
    for (uint32_t i = 0; i < 1000; i++)
        put_series(table, i, i, now_ns);
    size_t bytes = scrape_table_bytes(table);
    for (uint32_t round = 1; round < 20; round++) { /* others each time */
        now_ns += 400 * NS_PER_S;
        sweep(table, &now_ns);
        assert_int_equal(scrape_table_series(table), 0);
        for (uint32_t i = 0; i < 1000; i++)
            put_series(table, round * 1000 + i, i, now_ns);
        assert_int_equal(scrape_table_series(table), 1000);
    }
    assert_true(scrape_table_bytes(table) < bytes + bytes / 10);
    scrape_table_destroy(&table);
}

/* A reader that stands in the middle while all around it goes and others come. */
static void test_slow_reader(void **state)
{
    (void)state;
    uint64_t now_ns = clock_monotonic_ns();
    struct scrape_table *table = scrape_table_create(&plain);
    for (uint32_t i = 0; i < 2000; i++)
        put_series(table, i, i, now_ns);
    struct scrape *scrape = scrape_begin(table, text_format);
    char block[512];
    size_t read = 0, lines = 0;
    for (int round = 0; (read = scrape_read(scrape, block, sizeof block)) > 0; round++) {
        for (size_t i = 0; i < read; i++)
            lines += block[i] == '\n';
        assert_int_equal(block[read - 1], '\n');
        if (round == 20) {
            uint64_t later_ns = now_ns + 1000 * NS_PER_S;
            sweep(table, &later_ns);
            assert_int_equal(scrape_table_series(table), 0);
            for (uint32_t i = 5000; i < 7000; i++)
                put_series(table, i, i, now_ns);
        }
    }
    assert_true(lines > 2000 && lines <= 2 * 2002 + 4);
    scrape_end(&scrape);
    scrape_table_destroy(&table);
}

/* ---- both at once ---- */

enum { CHURN_SERIES = 3000, CHURN_ROUNDS = 60 };

struct churn {
    struct scrape_table *table;
    atomic_bool done;
    atomic_size_t scrapes;
    size_t lines;
    char bad[256]; /* the first line that is not as it should be */
};

/* Every line is whole, and its value is that of its series: n=7 has 7000 to 7999. */
static void *scrape_on(void *owner)
{
    struct churn *churn = owner;
    static char block[(1 << 18) + 1]; /* long inside */
    while (!atomic_load(&churn->done)) {
        struct scrape *scrape = scrape_begin(churn->table, text_format);
        size_t read;
        while ((read = scrape_read(scrape, block, sizeof block - 1)) > 0) {
            block[read] = '\0';
            for (char *line = block, *end; *line != '\0'; line = end + 1) {
                unsigned n, instance;
                long long value;
                end = strchr(line, '\n');
                if (end == NULL) {
                    snprintf(churn->bad, sizeof churn->bad, "cut: %.200s", line);
                    break;
                }
                *end = '\0';
                if (*line == '#')
                    continue;
                int fields = sscanf(line, "pg_commits_total{n=\"%u\",instance=\"%u\"} %lld", &n,
                                    &instance, &value);
                if (fields != 3 || n != instance || value / 1000 != (long long)n)
                    snprintf(churn->bad, sizeof churn->bad, "%.200s", line);
                churn->lines++;
            }
        }
        scrape_end(&scrape);
        churn->scrapes++;
    }
    return NULL;
}

static void test_reader_and_writer(void **state)
{
    (void)state;
    struct churn churn = {.table = scrape_table_create(&plain)};
    pthread_t thread;
    uint64_t real_ns = clock_monotonic_ns();
    assert_int_equal(pthread_create(&thread, NULL, scrape_on, &churn), 0);
    for (uint32_t round = 0; round < CHURN_ROUNDS; round++) {
        for (uint32_t i = 0; i < CHURN_SERIES / 10; i++) { /* some new, some known */
            uint32_t n = (round * 97 + i) % CHURN_SERIES;
            put_series(churn.table, n, (int64_t)n * 1000 + round, real_ns);
        }
        if (round % 3 == 2) { /* all of them go: for the worker it is later */
            uint64_t later_ns = real_ns + 1000 * NS_PER_S * (round + 1);
            sweep(churn.table, &later_ns);
            assert_int_equal(scrape_table_series(churn.table), 0);
        }
    }
    /* The reader has seen something, however the machine shares out its time. */
    for (int i = 0; i < CHURN_SERIES; i++)
        put_series(churn.table, (uint32_t)i, (int64_t)i * 1000, real_ns);
    for (int i = 0; i < 2000 && churn.scrapes < 3; i++)
        put_series(churn.table, (uint32_t)i, (int64_t)i * 1000 + 1, clock_monotonic_ns());
    atomic_store(&churn.done, true);
    pthread_join(thread, NULL);
    assert_string_equal(churn.bad, "");
    assert_true(churn.lines > 0);
    scrape_table_destroy(&churn.table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_meetings),
        cmocka_unit_test(test_description_changes),
        cmocka_unit_test(test_distribution),
        cmocka_unit_test(test_random_pages),
        cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_reader_and_writer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
