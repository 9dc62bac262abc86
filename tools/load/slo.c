/* SPDX-License-Identifier: Apache-2.0 */
/* Service level conditions: text to table to verdict. Pure functions. */
#include "tools/load/slo.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/yaml.h"
#include "tools/load/outcome.h"
#include "tools/load/views.h"

enum { WORD_BYTES = 32 };

static const struct {
    const char *name;
    enum slo_figure figure;
    const char *unit; /* what a value is turned into */
} figures[] = {
    {"lag", SLO_LAG, "ms"},
    {"age", SLO_AGE, "ms"},
    {"scrape", SLO_SCRAPE, "ms"},
    {"loss", SLO_LOST, ""},
    {"lost", SLO_LOST, ""},
    {"doubled", SLO_DOUBLED, ""},
    {"rejected", SLO_REJECTED, ""},
    {"skipped", SLO_SKIPPED, ""},
    {"failed", SLO_FAILED, ""},
    {"made", SLO_MADE, "%"},
    {"left_out", SLO_LEFT_OUT, ""},
    {"cpu", SLO_CPU, ""},
    {"cpu_per_point", SLO_CPU_PER_POINT, "us"},
    {"rss", SLO_RSS, "KiB"},
    {"rss_per_server", SLO_RSS_PER_SERVER, "KiB"},
    {"points_per_s", SLO_POINTS_PER_S, ""},
};

static const struct {
    const char *name;
    double share;
} quantiles[] = {{"p50", 0.5},      {"p75", 0.75},    {"p90", 0.9},    {"p95", 0.95},
                 {"p99", 0.99},     {"p99.9", 0.999}, {"p999", 0.999}, {"p99.99", 0.9999},
                 {"p9999", 0.9999}, {"max", 1}};

static const struct {
    const char *name;
    enum slo_comparison comparison;
} comparisons[] = {{"<=", SLO_AT_MOST}, {">=", SLO_AT_LEAST}, {"==", SLO_EQUAL},
                   {"<", SLO_BELOW},    {">", SLO_ABOVE},     {"=", SLO_EQUAL}};

static const struct {
    const char *name, *of; /* "s" of "ms": factor 1000 */
    double factor;
} units[] = {{"ns", "ms", 1e-6},   {"us", "ms", 1e-3},      {"µs", "ms", 1e-3}, {"ms", "ms", 1},
             {"s", "ms", 1e3},     {"m", "ms", 6e4},        {"min", "ms", 6e4}, {"ns", "us", 1e-3},
             {"us", "us", 1},      {"µs", "us", 1},         {"ms", "us", 1e3},  {"KiB", "KiB", 1},
             {"MiB", "KiB", 1024}, {"GiB", "KiB", 1 << 20}, {"", "", 1},        {"cores", "", 1},
             {"", "%", 1},         {"%", "%", 1},           {"core", "", 1}};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool is_latency(enum slo_figure figure)
{
    return figure == SLO_LAG || figure == SLO_AGE || figure == SLO_SCRAPE;
}

/* The next word of letters, digits, '_', '.' and '%' or other bytes above ASCII ("µ"). */
static const char *take_word(const char *at, char word[WORD_BYTES])
{
    size_t bytes = 0;
    at += strspn(at, " \t\n");
    while ((isalnum((unsigned char)*at) || *at == '_' || *at == '.' || *at == '%' ||
            (unsigned char)*at > 127) &&
           bytes < WORD_BYTES - 1)
        word[bytes++] = *at++;
    word[bytes] = 0;
    return at + strspn(at, " \t\n");
}

static bool find_figure(const char *word, size_t *ret_index, struct error *error)
{
    const char *names[COUNT(figures)];
    for (size_t i = 0; i < COUNT(figures); i++) {
        names[i] = figures[i].name;
        if (strcmp(word, names[i]) == 0) {
            *ret_index = i;
            return true;
        }
    }
    const char *near = yaml_nearest(word, names, COUNT(figures));
    return error_set(
        error,
        "\"%s\" is no figure%s%s%s; known are lag, age, scrape (with a quantile: \"lag "
        "p99 < 100 ms\"), loss, doubled, rejected, skipped, failed, made, left_out, cpu, "
        "cpu_per_point, rss, rss_per_server, points_per_s",
        word, near != NULL ? ": did you mean \"" : "", near != NULL ? near : "",
        near != NULL ? "\"?" : "");
}

static bool take_quantile(const char **at, struct slo_condition *condition, struct error *error)
{
    char word[WORD_BYTES];
    *at = take_word(*at, word);
    for (size_t i = 0; i < COUNT(quantiles); i++)
        if (strcmp(word, quantiles[i].name) == 0) {
            condition->share = quantiles[i].share;
            return true;
        }
    return error_set(error, "\"%s\" is no quantile: write p50, p90, p95, p99, p99.9, p99.99 or max",
                     word);
}

static bool take_value(const char *at, const char *unit, struct slo_condition *condition,
                       struct error *error)
{
    char *end, word[WORD_BYTES];
    double number = strtod(at, &end);
    if (end == at || !isfinite(number))
        return error_set(error, "a number is missing behind the comparison, as in \"lag p99 < 100 "
                                "ms\"");
    at = take_word(end, word);
    if (*at != 0)
        return error_set(error, "\"%s\" is unexpected: separate conditions by commas", at);
    for (size_t i = 0; i < COUNT(units); i++)
        if (strcmp(units[i].name, word) == 0 && strcmp(units[i].of, unit) == 0) {
            condition->value = number * units[i].factor;
            return true;
        }
    return error_set(error, "\"%s\" is no unit of this figure%s%s", word,
                     *unit != 0 ? ": write one such as " : ", which has none", unit);
}

static bool parse_one(const char *text, struct slo_condition *condition, struct error *error)
{
    char word[WORD_BYTES];
    size_t index = 0;
    const char *at = take_word(text, word);
    if (!find_figure(word, &index, error))
        return false;
    condition->figure = figures[index].figure;
    condition->share = 1;
    if (is_latency(condition->figure) && !take_quantile(&at, condition, error))
        return false;
    size_t i = 0;
    while (i < COUNT(comparisons) &&
           strncmp(at, comparisons[i].name, strlen(comparisons[i].name)) != 0)
        i++;
    if (i == COUNT(comparisons))
        return error_set(error, "a comparison is missing in \"%s\": write <, <=, =, >= or >", text);
    condition->comparison = comparisons[i].comparison;
    return take_value(at + strlen(comparisons[i].name), figures[index].unit, condition, error);
}

bool slo_parse(const char *text, struct slo *ret_slo, struct error *error)
{
    memset(ret_slo, 0, sizeof *ret_slo);
    while (*(text += strspn(text, " \t\n,")) != 0) {
        struct slo_condition *condition = &ret_slo->conditions[ret_slo->count];
        if (ret_slo->count == SLO_CONDITIONS_MAX)
            return error_set(error, "more than %d conditions", SLO_CONDITIONS_MAX);
        size_t bytes = strcspn(text, ",");
        if (bytes >= SLO_TEXT_BYTES)
            return error_set(error, "a condition is longer than %d bytes", SLO_TEXT_BYTES - 1);
        snprintf(condition->text, sizeof condition->text, "%.*s", (int)bytes, text);
        if (!parse_one(condition->text, condition, error))
            return false;
        ret_slo->count++;
        text += bytes;
    }
    return ret_slo->count > 0 ||
           error_set(error, "no condition: write one such as \"age p99 < 2 s, loss = 0\"");
}

static double known(int64_t value)
{
    return value >= 0 ? (double)value : (double)NAN;
}

/* A quantile of nothing is no quantile: a run without a single collection keeps no promise. */
static double latency(const struct histogram_view *view, double share)
{
    return view->count > 0 ? view_ms(view, share) : (double)NAN;
}

double slo_value(const struct slo_condition *condition, const struct outcome *outcome)
{
    const struct figures *figures_of = &outcome->figures;
    switch (condition->figure) {
    case SLO_LAG:
        return latency(&outcome->lag, condition->share);
    case SLO_AGE:
        return latency(&outcome->age, condition->share);
    case SLO_SCRAPE:
        return latency(&outcome->scrape, condition->share);
    case SLO_LOST:
        return known(figures_of->lost);
    case SLO_DOUBLED:
        return known(figures_of->doubled);
    case SLO_REJECTED:
        return (double)figures_of->rejected;
    case SLO_MADE:
        return figures_of->made_percent;
    case SLO_LEFT_OUT:
        return (double)figures_of->left_out;
    case SLO_SKIPPED:
        return (double)(figures_of->skipped > figures_of->omitted ? figures_of->skipped
                                                                  : figures_of->omitted);
    case SLO_FAILED:
        return (double)figures_of->failed;
    case SLO_CPU:
        return figures_of->cpu_cores;
    case SLO_CPU_PER_POINT:
        return figures_of->cpu_us_per_point;
    case SLO_RSS:
        return figures_of->rss_mib * 1024;
    case SLO_RSS_PER_SERVER:
        return figures_of->rss_kib_per_server;
    case SLO_POINTS_PER_S:
        return figures_of->points_per_s;
    }
    return (double)NAN;
}

static bool holds(const struct slo_condition *condition, double value)
{
    if (isnan(value))
        return false;
    switch (condition->comparison) {
    case SLO_BELOW:
        return value < condition->value;
    case SLO_AT_MOST:
        return value <= condition->value;
    case SLO_EQUAL:
        return fabs(value - condition->value) < 1e-9;
    case SLO_AT_LEAST:
        return value >= condition->value;
    case SLO_ABOVE:
        return value > condition->value;
    }
    return false;
}

void slo_check(const struct slo *slo, struct outcome *outcome)
{
    for (uint32_t i = 0; i < slo->count; i++) {
        double value = slo_value(&slo->conditions[i], outcome);
        if (isnan(value))
            outcome_check(outcome, slo->conditions[i].text, false, "not known in this run");
        else
            outcome_check(outcome, slo->conditions[i].text, holds(&slo->conditions[i], value),
                          "measured %.6g", value);
    }
}

const struct slo_condition *slo_broken(const struct slo *slo, const struct outcome *outcome)
{
    for (uint32_t i = 0; i < slo->count; i++)
        if (!holds(&slo->conditions[i], slo_value(&slo->conditions[i], outcome)))
            return &slo->conditions[i];
    return NULL;
}
