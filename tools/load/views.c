/* SPDX-License-Identifier: Apache-2.0 */
/* Windows of histograms and coordinated omission (Gil Tene's HdrHistogram,
 * copyCorrectedForCoordinatedOmission). Pure functions. */
#include "tools/load/views.h"

#include <math.h>
#include <string.h>

#include "base/check.h"

enum { STEPS_MAX = 100000 }; /* corrections of one value */

bool view_add_json(struct histogram_view *view, const json_t *entry)
{
    const json_t *buckets = json_object_get(entry, "buckets"), *bucket;
    size_t i;
    if (!json_is_array(buckets))
        return false;
    json_array_foreach(buckets, i, bucket)
    {
        json_int_t start_ns = json_integer_value(json_array_get(bucket, 0));
        json_int_t count = json_integer_value(json_array_get(bucket, 1));
        if (json_array_size(bucket) != 2 || start_ns < 0 || count < 0)
            return false;
        view->buckets[histogram_index((uint64_t)start_ns)] += (uint64_t)count;
        view->count += (uint64_t)count;
    }
    view->sum_ns += (uint64_t)json_integer_value(json_object_get(entry, "sum_ns"));
    uint64_t max_ns = (uint64_t)json_integer_value(json_object_get(entry, "max_ns"));
    if (max_ns > view->max_ns)
        view->max_ns = max_ns;
    return true;
}

void view_window(const struct histogram_view *before, const struct histogram_view *after,
                 struct histogram_view *ret_view)
{
    uint64_t last_ns = 0;
    memset(ret_view, 0, sizeof *ret_view);
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        if (after->buckets[i] <= before->buckets[i])
            continue;
        ret_view->buckets[i] = after->buckets[i] - before->buckets[i];
        ret_view->count += ret_view->buckets[i];
        last_ns = histogram_bucket_start(i + 1) - 1;
    }
    if (after->sum_ns > before->sum_ns)
        ret_view->sum_ns = after->sum_ns - before->sum_ns;
    ret_view->max_ns =
        after->max_ns > before->max_ns || after->max_ns < last_ns ? after->max_ns : last_ns;
}

void view_record(struct histogram_view *view, uint64_t value_ns, uint64_t count)
{
    view->buckets[histogram_index(value_ns)] += count;
    view->count += count;
    view->sum_ns += value_ns * count;
    if (count > 0 && value_ns > view->max_ns)
        view->max_ns = value_ns;
}

void view_add(struct histogram_view *view, const struct histogram_view *more)
{
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        view->buckets[i] += more->buckets[i];
    view->count += more->count;
    view->sum_ns += more->sum_ns;
    if (more->max_ns > view->max_ns)
        view->max_ns = more->max_ns;
}

double view_ms(const struct histogram_view *view, double share)
{
    return (double)histogram_quantile(view, share) / 1e6;
}

json_t *view_json(const struct histogram_view *view)
{
    json_t *buckets = json_array();
    CHECK(buckets != NULL);
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        if (view->buckets[i] != 0)
            json_array_append_new(buckets, json_pack("[I,I]", (json_int_t)histogram_bucket_start(i),
                                                     (json_int_t)view->buckets[i]));
    json_t *json = json_pack("{s:I, s:I, s:o}", "count", (json_int_t)view->count, "max_ns",
                             (json_int_t)view->max_ns, "buckets", buckets);
    CHECK(json != NULL);
    return json;
}

static uint64_t middle(uint32_t bucket, uint64_t max_ns)
{
    uint64_t start_ns = histogram_bucket_start(bucket);
    uint64_t middle_ns = start_ns + (histogram_bucket_start(bucket + 1) - start_ns) / 2;
    return max_ns != 0 && middle_ns > max_ns ? max_ns : middle_ns;
}

/* The samples that one above the interval stands for, without itself. */
static uint64_t add_missing(struct histogram_view *view, uint64_t value_ns, uint64_t interval_ns,
                            uint64_t count)
{
    uint64_t added = 0;
    for (int step = 0; step < STEPS_MAX && value_ns > interval_ns; step++) {
        value_ns -= interval_ns;
        view_record(view, value_ns, count);
        added += count;
    }
    return added;
}

void view_correct(struct histogram_view *view, uint64_t interval_ns)
{
    CHECK(interval_ns > 0);
    struct histogram_view missing = {0};
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        if (view->buckets[i] != 0)
            add_missing(&missing, middle(i, view->max_ns), interval_ns, view->buckets[i]);
    view_add(view, &missing);
}

uint64_t view_omitted(const struct histogram_view *scrapes, uint64_t interval_ns, uint64_t skipped,
                      struct histogram_view *ret_lags)
{
    CHECK(interval_ns > 0);
    memset(ret_lags, 0, sizeof *ret_lags);
    uint64_t added = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        if (scrapes->buckets[i] != 0)
            added +=
                add_missing(ret_lags, middle(i, scrapes->max_ns), interval_ns, scrapes->buckets[i]);
    if (skipped > added) {
        view_record(ret_lags, interval_ns, skipped - added);
        added = skipped;
    }
    return added;
}

void view_add_ages(struct histogram_view *ages, const struct histogram_view *omitted_lags,
                   double per_collection)
{
    uint64_t median_ns = histogram_quantile(ages, 0.5);
    struct histogram_view more = {0};
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        if (omitted_lags->buckets[i] != 0)
            view_record(&more, middle(i, omitted_lags->max_ns) + median_ns,
                        (uint64_t)ceil((double)omitted_lags->buckets[i] * per_collection));
    view_add(ages, &more);
}
