/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/exporters/otlp_pages.h"

#include "base/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct metric model_metrics[MODEL_METRICS] = {
    {"postgresql.commits", "{tx}", "Committed \"transactions\".", METRIC_SUM, METRIC_INT, true,
     true, false},
    {"postgresql.backends", "1", "Backends", METRIC_SUM, METRIC_INT, false, true, false},
    {"postgresql.db_size", "By", "Größe", METRIC_GAUGE, METRIC_INT, false, true, false},
    {"postgresql.lag", "s", "", METRIC_GAUGE, METRIC_DOUBLE, false, true, false},
    {"postgresql.time", "",
     "A description that is longer than one hundred and twenty-seven bytes, so "
     "that its length takes two bytes on the wire, as every length from 128 on does.",
     METRIC_SUM, METRIC_DOUBLE, true, true, false},
    {"x", "", "", METRIC_GAUGE, METRIC_INT, false, true, false},
    {"y", "", "", METRIC_SUM, METRIC_DOUBLE, false, true, false},
};

static const double doubles[] = {0.0,  -0.0, 1.5, 0.1,      1e300,     -1e-300, 123456789.0,
                                 1e15, 1e16, NAN, INFINITY, -INFINITY, 1.0 / 3, 4e-324};
static const int64_t integers[] = {0, 1, -1, 127, 128, 300, INT64_MAX, INT64_MIN, 1ll << 32};

static double random_double(struct random *random)
{
    return doubles[random_below(random, sizeof doubles / sizeof *doubles)];
}

static int64_t random_integer(struct random *random)
{
    return random_below(random, 2)
               ? integers[random_below(random, sizeof integers / sizeof *integers)]
               : (int64_t)random_next(random);
}

/* Valid UTF-8 with everything that text formats must escape. */
static void random_text(struct random *random, struct model_attr *attr)
{
    static const struct {
        const char *text;
        size_t bytes;
    } pieces[] = {{"a", 1},
                  {"public", 6},
                  {"\"", 1},
                  {"'", 1},
                  {"\\", 1},
                  {"\n", 1},
                  {"\t\r", 2},
                  {"\0", 1},
                  {"\x7f", 1},
                  {"7", 1},
                  {"\xc3\xbc", 2},
                  {"\xe2\x82\xac", 3},
                  {"\xf0\x9f\x90\x98", 4}};
    size_t room = random_below(random, 8) ? 20 : sizeof attr->text;
    room = random_below(random, room + 1);
    for (;;) {
        size_t i = random_below(random, sizeof pieces / sizeof *pieces);
        if (attr->text_bytes + pieces[i].bytes > room)
            return;
        memcpy(attr->text + attr->text_bytes, pieces[i].text, pieces[i].bytes);
        attr->text_bytes += pieces[i].bytes;
    }
}

static void make_set(struct random *random, struct model_set *set, enum attrs_tag tag,
                     uint32_t count)
{
    static struct attrs_builder builder;
    attrs_begin(&builder, tag);
    set->count = count;
    for (uint32_t i = 0; i < set->count; i++) {
        struct model_attr *attr = &set->list[i];
        snprintf(attr->key, sizeof attr->key, "key.%u.%u", i, (unsigned)random_below(random, 1000));
        attr->kind = (enum attr_kind)random_below(random, 4);
        switch (attr->kind) {
        case ATTR_TEXT:
            random_text(random, attr);
            attrs_add_text(&builder, attr->key, attr->text, attr->text_bytes);
            break;
        case ATTR_INT:
            attr->number = random_integer(random);
            attrs_add_int(&builder, attr->key, attr->number);
            break;
        case ATTR_DOUBLE:
            attr->real = random_double(random);
            attrs_add_double(&builder, attr->key, attr->real);
            break;
        case ATTR_BOOL:
            attr->number = (int64_t)random_below(random, 2);
            attrs_add_bool(&builder, attr->key, attr->number);
            break;
        }
    }
    CHECK(!builder.full);
    set->attrs = attrs_finish(&builder);
}

struct model *model_create(uint64_t seed)
{
    struct model *model = calloc(1, sizeof *model);
    CHECK(model);
    model->random.state = seed;
    for (uint32_t i = 0; i < MODEL_SETS; i++)
        make_set(&model->random, &model->sets[i], ATTRS_POINT, i % (MODEL_ATTRS_MAX + 1));
    for (uint32_t i = 0; i < MODEL_RESOURCES; i++) {
        for (uint32_t variant = 0; variant < 2; variant++) {
            make_set(&model->random, &model->resource_sets[i][variant], ATTRS_RESOURCE,
                     (i + 3 * variant) % (MODEL_ATTRS_MAX + 1));
            /* The last resource has no variant 1 of its own. */
            if (variant == 0 || i + 1 < MODEL_RESOURCES)
                model->resources[i].variants[variant] = model->resource_sets[i][variant].attrs;
        }
    }
    return model;
}

void model_destroy(struct model **model)
{
    for (uint32_t i = 0; i < MODEL_SETS; i++)
        attrs_destroy(&(*model)->sets[i].attrs);
    for (uint32_t i = 0; i < MODEL_RESOURCES; i++) {
        attrs_destroy(&(*model)->resource_sets[i][0].attrs);
        attrs_destroy(&(*model)->resource_sets[i][1].attrs);
    }
    free(*model);
    *model = NULL;
}

const struct model_set *model_find(const struct model *model, const struct attrs *attrs)
{
    static const struct model_set none;
    for (uint32_t i = 0; i < MODEL_SETS; i++) {
        if (model->sets[i].attrs == attrs)
            return &model->sets[i];
    }
    for (uint32_t i = 0; i < MODEL_RESOURCES; i++) {
        for (uint32_t variant = 0; variant < 2; variant++) {
            if (model->resource_sets[i][variant].attrs == attrs)
                return &model->resource_sets[i][variant];
        }
    }
    CHECK(attrs == NULL);
    return &none;
}

void model_fill(struct model *model, struct page *page, uint32_t runs_max, uint32_t run_points_max)
{
    struct random *random = &model->random;
    page_reset(page, 0, 0);
    const struct metric *metric = &model_metrics[0];
    const struct resource *resource = &model->resources[0];
    for (uint32_t i = 0; i < runs_max && page_room(page) > 0; i++) {
        /* Neighbours often share metric and resource, as in real pages. */
        if (random_below(random, 2))
            metric = &model_metrics[random_below(random, MODEL_METRICS)];
        if (random_below(random, 4) == 0)
            resource = &model->resources[random_below(random, MODEL_RESOURCES)];
        const struct attrs *fixed =
            random_below(random, 2) ? model->sets[random_below(random, MODEL_SETS)].attrs : NULL;
        uint32_t room = page_room(page);
        uint32_t count = (uint32_t)random_below(random, run_points_max) + 1;
        count = count < room ? count : room;
        struct point *points = page_begin_run(page, metric, fixed, resource,
                                              1700000000000000000ull + random_below(random, 1000));
        for (uint32_t at = 0; at < count; at++) {
            points[at].attrs = model->sets[random_below(random, MODEL_SETS)].attrs;
            points[at].start_ns = random_below(random, 3) ? 1600000000000000001ull : 0;
            if (metric->value == METRIC_INT)
                points[at].value.integer = random_integer(random);
            else
                points[at].value.real = random_double(random);
        }
        page_end_run(page, count);
    }
    page_check(page);
}

bool model_part(const struct page *page, uint32_t index, struct page_slice slice,
                uint32_t *ret_first, uint32_t *ret_end)
{
    const struct run *run = page_run_const(page, index);
    uint32_t slice_end = slice.first + slice.count, run_end = run->first + run->count;
    *ret_first = run->first > slice.first ? run->first : slice.first;
    *ret_end = run_end < slice_end ? run_end : slice_end;
    return *ret_first < *ret_end;
}
