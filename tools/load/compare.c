/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a run is worse than another. The difficulty is noise: two runs of one program differ, and
 * a verdict that cries at each of them is soon ignored. Each run carries what is needed to tell how
 * sure its numbers are, so that no second run is asked for:
 *   - a percentile comes from n counted values; by chance its true rank lies a few standard
 *     deviations of the binomial away, and the histogram says which values lie there;
 *   - a mean comes from a timeline; the means of ten pieces of it differ, and so does the whole by
 *     that over the root of ten (pieces, because neighbouring seconds resemble each other).
 * The larger of the two counts. One thread, nothing kept between calls. */
#include "tools/load/compare.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/check.h"
#include "tools/load/report.h"

enum { PIECES = 10, PIECES_MIN = 4, BUCKET_BITS = 6 };

static const double NS_PER_MILLISECOND = 1e6;
static const double RANK_DEVIATIONS = 3.0;  /* collections of one moment share their fate: not 2 */
static const double PIECE_DEVIATIONS = 2.3; /* Student's 95 % at nine degrees of freedom */

enum judged {
    JUDGED_LESS,  /* less is better */
    JUDGED_MORE,  /* more is better */
    JUDGED_EXACT, /* less is better, and one is one too many */
    JUDGED_INFO,  /* shown only */
};

/* What is compared: key in "summary"; the smallest difference that matters, in its unit; whether it
 * says something only at the same load; where its noise is told from. */
struct metric {
    const char *key, *label, *unit;
    enum judged judged;
    double floor;
    bool same_load;
    const char *histogram;
    double share;
    const char *timeline;
};

static const struct metric metrics[] = {
    {"points_per_s", "Points per second", "1/s", JUDGED_MORE, 1, true, NULL, 0, "points_per_s"},
    {"lag_p50_ms", "Schedule lag p50", "ms", JUDGED_LESS, 0.5, false, "lag", 0.5, NULL},
    {"lag_p99_ms", "Schedule lag p99", "ms", JUDGED_LESS, 0.5, false, "lag", 0.99, "lag_p99_ms"},
    {"lag_max_ms", "Schedule lag max", "ms", JUDGED_INFO, 0, false, NULL, 0, NULL},
    {"scrape_p50_ms", "Scrape p50", "ms", JUDGED_LESS, 0.1, false, "scrape", 0.5, NULL},
    {"scrape_p99_ms", "Scrape p99", "ms", JUDGED_LESS, 0.5, false, "scrape", 0.99, NULL},
    {"age_p50_ms", "Age p50", "ms", JUDGED_LESS, 5, false, "age", 0.5, NULL},
    {"age_p99_ms", "Age p99", "ms", JUDGED_LESS, 5, false, "age", 0.99, "age_p99_ms"},
    {"age_p999_ms", "Age p99.9", "ms", JUDGED_LESS, 5, false, "age", 0.999, NULL},
    {"age_max_ms", "Age max", "ms", JUDGED_INFO, 0, false, NULL, 0, NULL},
    {"lost", "Points lost", "", JUDGED_EXACT, 0, false, NULL, 0, NULL},
    {"doubled", "Points doubled", "", JUDGED_EXACT, 0, false, NULL, 0, NULL},
    {"rejected", "Points rejected", "", JUDGED_EXACT, 0, false, NULL, 0, NULL},
    {"dropped", "Points dropped", "", JUDGED_EXACT, 0, false, NULL, 0, NULL},
    {"skipped", "Collections skipped", "", JUDGED_EXACT, 0, false, NULL, 0, NULL},
    {"failed", "Collections failed", "", JUDGED_EXACT, 0, false, NULL, 0, NULL},
    {"omitted", "Collections omitted", "", JUDGED_EXACT, 0, false, NULL, 0, NULL},
    {"cpu_us_per_point", "CPU per point", "µs", JUDGED_LESS, 0.002, false, NULL, 0, "cpu_cores"},
    {"cpu_us_per_scrape", "CPU per collection", "µs", JUDGED_LESS, 1, false, NULL, 0, "cpu_cores"},
    {"cpu_cores", "CPU", "cores", JUDGED_LESS, 0.002, true, NULL, 0, "cpu_cores"},
    {"rss_mib", "Memory (RSS)", "MiB", JUDGED_LESS, 1, true, NULL, 0, "rss_mib"},
    {"rss_kib_per_server", "Memory per server", "KiB", JUDGED_LESS, 1, false, NULL, 0, NULL},
    {"bytes_per_point", "Bytes per point", "B", JUDGED_LESS, 0.1, false, NULL, 0, NULL},
    {"syscalls_per_scrape", "System calls per collection", "", JUDGED_LESS, 0.1, false, NULL, 0,
     "cpu_cores"},
    {"connections", "Connections", "", JUDGED_INFO, 0, false, NULL, 0, NULL},
    {"requests_per_s", "Requests per second", "1/s", JUDGED_INFO, 0, false, NULL, 0, NULL},
};

/* What makes a load the same load; the rest of "options" may differ. */
static const char *const load_keys[] = {"servers", "interval_ms", "groups",
                                        "tables",  "databases",   "statements"};

static double bucket_middle_ms(uint64_t start_ns)
{
    uint64_t width = 1;
    if (start_ns >> BUCKET_BITS != 0)
        width = 1ull << (63 - __builtin_clzll(start_ns) - BUCKET_BITS);
    return ((double)start_ns + (double)width / 2) / NS_PER_MILLISECOND;
}

/* The value at a rank, counted from 0, ms; infinite past the end. */
static double value_at_rank(json_t *buckets, double rank)
{
    double seen = 0;
    size_t i;
    json_t *bucket;
    json_array_foreach(buckets, i, bucket)
    {
        seen += json_number_value(json_array_get(bucket, 1));
        if (seen > rank)
            return bucket_middle_ms((uint64_t)json_integer_value(json_array_get(bucket, 0)));
    }
    return INFINITY;
}

/* How far a percentile may be off by chance, as a share of it; 0 without a histogram. */
static double rank_noise(const json_t *result, const char *name, double share)
{
    json_t *buckets =
        json_object_get(json_object_get(json_object_get(result, "histograms"), name), "buckets");
    double count = 0;
    size_t i;
    json_t *bucket;
    json_array_foreach(buckets, i, bucket) count += json_number_value(json_array_get(bucket, 1));
    if (count < 1)
        return 0;
    double deviation = RANK_DEVIATIONS * sqrt(count * share * (1 - share));
    double middle = value_at_rank(buckets, share * count);
    double low = value_at_rank(buckets, fmax(0, share * count - deviation));
    double high = value_at_rank(buckets, share * count + deviation);
    return middle > 0 ? fmax(high - middle, middle - low) / middle : 0;
}

/* The longest stretch of a timeline within one phase: warming up is no noise, nor is an outage. */
static void longest_phase(json_t *timeline, size_t *ret_from, size_t *ret_count)
{
    size_t from = 0, longest = 0, i;
    json_t *sample;
    const json_t *phase = NULL;
    json_array_foreach(timeline, i, sample)
    {
        const json_t *next = json_object_get(sample, "phase");
        if (i == 0 || (next != phase && !json_equal(phase, next)))
            from = i;
        phase = next;
        if (i - from >= longest) {
            longest = i - from + 1;
            *ret_from = from;
        }
    }
    *ret_count = longest;
}

/* How far a timeline's mean may be off, as a share of it; 0 when it is too short to tell. */
static double timeline_noise(const json_t *result, const char *key)
{
    json_t *timeline = json_object_get(result, "timeline");
    double sums[PIECES] = {0};
    uint32_t counts[PIECES] = {0};
    size_t from = 0, count;
    longest_phase(timeline, &from, &count);
    for (size_t i = 0; i < count; i++) {
        const json_t *value = json_object_get(json_array_get(timeline, from + i), key);
        if (json_is_number(value)) {
            sums[i * PIECES / count] += json_number_value(value);
            counts[i * PIECES / count]++;
        }
    }
    double sum = 0, squares = 0;
    uint32_t pieces = 0;
    for (uint32_t piece = 0; piece < PIECES; piece++) {
        if (counts[piece] == 0)
            continue;
        double mean = sums[piece] / counts[piece];
        sum += mean;
        squares += mean * mean;
        pieces++;
    }
    if (pieces < PIECES_MIN || sum <= 0)
        return 0;
    double mean = sum / pieces;
    double variance = fmax(0, (squares - mean * sum) / (pieces - 1));
    return PIECE_DEVIATIONS * sqrt(variance / pieces) / mean;
}

static double noise_of(const struct metric *metric, const json_t *result)
{
    double noise = 0;
    if (metric->histogram != NULL)
        noise = rank_noise(result, metric->histogram, metric->share);
    if (metric->timeline != NULL)
        noise = fmax(noise, timeline_noise(result, metric->timeline));
    return noise;
}

static bool same_load(const json_t *a, const json_t *b)
{
    for (size_t i = 0; i < sizeof load_keys / sizeof *load_keys; i++) {
        const json_t *left = json_object_get(json_object_get(a, "options"), load_keys[i]);
        const json_t *right = json_object_get(json_object_get(b, "options"), load_keys[i]);
        if ((left == NULL) != (right == NULL) || (left != NULL && !json_equal(left, right)))
            return false;
    }
    return true;
}

static const char *judge(const struct metric *metric, double a, double b, double tolerance,
                         double noise)
{
    double worse = metric->judged == JUDGED_MORE ? a - b : b - a;
    if (metric->judged == JUDGED_EXACT)
        return worse > 0 ? "worse" : worse < 0 ? "better" : "same";
    double allowed = tolerance * fabs(a);
    if (fabs(worse) <= metric->floor || fabs(worse) <= allowed)
        return "same";
    if (isinf(noise))
        return "too few";
    if (fabs(worse) <= noise * fmin(fabs(a), fabs(b)))
        return "noise";
    return worse > 0 ? "worse" : "better";
}

/* A number or JSON's null where there is none: infinities are no JSON. */
static json_t *number_or_null(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *compare_metric(const struct metric *metric, const json_t *a, const json_t *b,
                              double tolerance, bool comparable)
{
    const json_t *left = json_object_get(json_object_get(a, "summary"), metric->key);
    const json_t *right = json_object_get(json_object_get(b, "summary"), metric->key);
    bool both = json_is_number(left) && json_is_number(right);
    double from = json_is_number(left) ? json_number_value(left) : NAN;
    double to = json_is_number(right) ? json_number_value(right) : NAN;
    double noise = hypot(noise_of(metric, a), noise_of(metric, b));
    const char *verdict;
    if (!both)
        verdict = "missing";
    else if (metric->judged == JUDGED_INFO || (metric->same_load && !comparable))
        verdict = "info";
    else
        verdict = judge(metric, from, to, tolerance, noise);
    bool told = metric->histogram != NULL || metric->timeline != NULL;
    json_t *row = json_pack(
        "{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:s}", "metric", metric->key, "label", metric->label,
        "unit", metric->unit, "a", number_or_null(from), "b", number_or_null(to), "change",
        number_or_null(from != 0 ? (to - from) / fabs(from)
                       : to == 0 ? 0
                                 : NAN),
        "noise", number_or_null(told && noise > 0 ? noise : NAN), "verdict", verdict);
    CHECK(row != NULL);
    return row;
}

/* Rows for conditions of both runs whose outcome differs. */
static void compare_checks(json_t *rows, const json_t *a, const json_t *b)
{
    size_t i, j;
    json_t *left, *right;
    json_array_foreach(json_object_get(a, "checks"), i, left)
        json_array_foreach(json_object_get(b, "checks"), j, right)
    {
        const char *name = json_string_value(json_object_get(left, "name"));
        const char *other = json_string_value(json_object_get(right, "name"));
        if (name == NULL || other == NULL || strcmp(name, other) != 0)
            continue;
        bool held = json_is_true(json_object_get(left, "ok"));
        bool holds = json_is_true(json_object_get(right, "ok"));
        if (held == holds)
            continue;
        json_t *row =
            json_pack("{s:s, s:s+, s:s, s:i, s:i, s:n, s:n, s:s}", "metric", "check", "label",
                      "Condition: ", name, "unit", "holds", "a", (int)held, "b", (int)holds,
                      "change", "noise", "verdict", held ? "worse" : "better");
        CHECK(row != NULL);
        json_array_append_new(rows, row);
    }
}

json_t *compare_rows(const json_t *a, const json_t *b, double tolerance)
{
    json_t *rows = json_array();
    CHECK(rows != NULL);
    bool comparable = same_load(a, b);
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++)
        if (json_object_get(json_object_get(a, "summary"), metrics[i].key) != NULL ||
            json_object_get(json_object_get(b, "summary"), metrics[i].key) != NULL)
            json_array_append_new(rows, compare_metric(&metrics[i], a, b, tolerance, comparable));
    compare_checks(rows, a, b);
    return rows;
}

/* UTF-8's continuation bytes take no room. */
static int columns_of(const char *text)
{
    int columns = 0;
    for (; *text != '\0'; text++)
        columns += ((unsigned char)*text & 0xc0) != 0x80;
    return columns;
}

static void print_right(FILE *out, const char *text, int width)
{
    fprintf(out, "%*s%s", width - columns_of(text), "", text);
}

static void print_left(FILE *out, const char *text, int width)
{
    fprintf(out, "%s%*s", text, -(width - columns_of(text)), "");
}

static void print_number(FILE *out, const json_t *value)
{
    char text[32] = "-";
    if (json_is_number(value))
        snprintf(text, sizeof text, "%.6g", json_number_value(value));
    print_right(out, text, 12);
}

static void print_share(FILE *out, const char *before, const json_t *value)
{
    char text[32] = "-";
    double percent = json_number_value(value) * 100;
    if (json_is_number(value))
        snprintf(text, sizeof text, "%s%.1f %%", percent > 0 ? before : "", percent);
    print_right(out, text, 11);
}

static void print_row(FILE *out, const json_t *row)
{
    print_left(out, json_string_value(json_object_get(row, "label")), 30);
    print_number(out, json_object_get(row, "a"));
    print_number(out, json_object_get(row, "b"));
    fputc(' ', out);
    print_left(out, json_string_value(json_object_get(row, "unit")), 6);
    print_share(out, "+", json_object_get(row, "change"));
    print_share(out, "±", json_object_get(row, "noise"));
    fprintf(out, "  %s\n", json_string_value(json_object_get(row, "verdict")));
}

static void print_load_warning(FILE *out, const json_t *a, const json_t *b)
{
    if (!same_load(a, b))
        fputs("The loads differ (servers, interval, groups, tables, databases or statements): "
              "totals are shown, not judged.\n",
              out);
    if (!json_equal(json_object_get(a, "machine"), json_object_get(b, "machine")))
        fputs("The machines differ: times and CPU say little.\n", out);
}

int compare_results(const char *a_path, const char *b_path, double tolerance, FILE *out,
                    struct error *error)
{
    json_t *a = report_read_result(a_path, error);
    json_t *b = a != NULL ? report_read_result(b_path, error) : NULL;
    if (b == NULL) {
        json_decref(a);
        return -1;
    }
    json_t *rows = compare_rows(a, b, tolerance), *row;
    uint32_t worse = 0, better = 0, judged = 0;
    size_t i;
    print_load_warning(out, a, b);
    fprintf(out, "%-30s%12s%12s %-6s%11s%11s  %s\n", "metric", "A", "B", "", "change", "noise",
            "verdict");
    json_array_foreach(rows, i, row)
    {
        const char *verdict = json_string_value(json_object_get(row, "verdict"));
        worse += strcmp(verdict, "worse") == 0;
        better += strcmp(verdict, "better") == 0;
        judged += strcmp(verdict, "info") != 0 && strcmp(verdict, "missing") != 0 &&
                  strcmp(verdict, "too few") != 0;
        print_row(out, row);
    }
    fprintf(out, "worse=%u better=%u judged=%u tolerance=%g\n", worse, better, judged, tolerance);
    json_decref(rows);
    json_decref(a);
    json_decref(b);
    return worse > 0;
}
