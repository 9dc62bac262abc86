/* SPDX-License-Identifier: Apache-2.0 */
/* Latencies of a script. Normal numbers by Box and Muller (1958); a lognormal one is given by what
 * people measure, its median and its 99th percentile. */
#include "tools/sim/latency.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "config/value.h"

static const double longest_ns = 3600e9;
static const double z_of_p99 = 2.3263478740408408;

static const char cure[] = "write 5ms, {fixed: 5ms}, {uniform: [1ms, 9ms]}, "
                           "{normal: {mean: 5ms, sd: 1ms}}, {lognormal: {p50: 2ms, p99: 50ms}} or "
                           "{exponential: 5ms}";

static bool read_ns(const struct yaml_node *node, double *ret_ns, struct error *error)
{
    uint64_t ns;
    if (node->kind != YAML_SCALAR || !value_parse_duration(node->text, &ns))
        return yaml_error(node, error, "a duration is wanted, as 5ms or 1.5s");
    if ((double)ns > longest_ns)
        return yaml_error(node, error, "%s is longer than 1h", node->text);
    *ret_ns = (double)ns;
    return true;
}

/* Exactly the two keys `first` and `second` of a mapping. */
static bool read_pair(const struct yaml_node *node, const char *first, const char *second,
                      struct latency *ret, struct error *error)
{
    const struct yaml_node *a = NULL, *b = NULL;
    if (node->kind == YAML_MAPPING) {
        a = yaml_find(node, first);
        b = yaml_find(node, second);
    }
    if (a == NULL || b == NULL || node->count != 2)
        return yaml_error(node, error, "%s and %s are wanted: %s", first, second, cure);
    return read_ns(a, &ret->a, error) && read_ns(b, &ret->b, error);
}

static bool read_uniform(const struct yaml_node *node, struct latency *ret, struct error *error)
{
    if (node->kind != YAML_SEQUENCE || node->count != 2)
        return yaml_error(node, error, "two durations are wanted: %s", cure);
    if (!read_ns(node->items[0], &ret->a, error) || !read_ns(node->items[1], &ret->b, error))
        return false;
    return ret->a <= ret->b || yaml_error(node, error, "the first must not be above the second");
}

static bool read_lognormal(const struct yaml_node *node, struct latency *ret, struct error *error)
{
    if (!read_pair(node, "p50", "p99", ret, error))
        return false;
    if (ret->a <= 0 || ret->b < ret->a)
        return yaml_error(node, error, "p50 must be above 0 and p99 not below it");
    ret->b = log(ret->b / ret->a) / z_of_p99;
    return true;
}

static bool read_kind(const char *kind, const struct yaml_node *node, struct latency *ret,
                      struct error *error)
{
    if (strcmp(kind, "fixed") == 0) {
        ret->kind = LATENCY_FIXED;
        return read_ns(node, &ret->a, error);
    }
    if (strcmp(kind, "uniform") == 0) {
        ret->kind = LATENCY_UNIFORM;
        return read_uniform(node, ret, error);
    }
    if (strcmp(kind, "normal") == 0) {
        ret->kind = LATENCY_NORMAL;
        return read_pair(node, "mean", "sd", ret, error);
    }
    if (strcmp(kind, "lognormal") == 0) {
        ret->kind = LATENCY_LOGNORMAL;
        return read_lognormal(node, ret, error);
    }
    if (strcmp(kind, "exponential") == 0) {
        ret->kind = LATENCY_EXPONENTIAL;
        return read_ns(node, &ret->a, error);
    }
    return yaml_error(node, error, "no distribution is called \"%.40s\": %s", kind, cure);
}

bool latency_read(const struct yaml_node *node, struct latency *ret, struct error *error)
{
    struct latency read = {.kind = LATENCY_FIXED};
    bool good;
    if (node->kind == YAML_SCALAR)
        good = read_ns(node, &read.a, error);
    else if (node->kind == YAML_MAPPING && node->count == 1)
        good = read_kind(node->keys[0], node->items[0], &read, error);
    else
        good = yaml_error(node, error, "one distribution is wanted: %s", cure);
    if (good)
        *ret = read;
    return good;
}

/* In (0, 1], so that its logarithm is finite. */
static double draw_unit(struct random *random)
{
    return ((double)(random_next(random) >> 11) + 1) / 9007199254740992.0;
}

static double draw_normal(struct random *random)
{
    double radius = sqrt(-2 * log(draw_unit(random)));
    return radius * cos(2 * M_PI * draw_unit(random));
}

static double draw(const struct latency *latency, struct random *random)
{
    switch (latency->kind) {
    case LATENCY_FIXED:
        return latency->a;
    case LATENCY_UNIFORM:
        return latency->a + (latency->b - latency->a) * draw_unit(random);
    case LATENCY_NORMAL:
        return latency->a + latency->b * draw_normal(random);
    case LATENCY_LOGNORMAL:
        return latency->a * exp(latency->b * draw_normal(random));
    case LATENCY_EXPONENTIAL:
        return -latency->a * log(draw_unit(random));
    }
    return 0;
}

uint64_t latency_draw(const struct latency *latency, struct random *random)
{
    double ns = draw(latency, random);
    return ns <= 0 ? 0 : ns > longest_ns ? (uint64_t)longest_ns : (uint64_t)ns;
}
