/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON of all telemetry histograms in full resolution. /metrics sums the fine buckets into few
 * bounds, as scrapers want it; who measures wants percentiles to the per cent, and differences of
 * two readings: buckets only grow, so a window is the later reading minus the earlier one.
 *
 * Any thread: reads counters only. */
#include "admin/admin.h"

#include <stdlib.h>
#include <string.h>

#include <pgweir/telemetry.h>

#include "admin/text.h"
#include "base/memory.h"

static json_t *labels_json(const struct telemetry_set *set)
{
    json_t *labels = json_object();
    for (uint32_t i = 0; i < set->label_count; i++)
        json_object_set_new(labels, set->labels[i].key, json_text(set->labels[i].value));
    return labels;
}

/* Only buckets that hold something, by the first value that falls into them. */
static json_t *buckets_json(const struct histogram_view *view)
{
    json_t *buckets = json_array();
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        if (view->buckets[i] != 0)
            json_array_append_new(buckets, json_pack("[I,I]", (json_int_t)histogram_bucket_start(i),
                                                     (json_int_t)view->buckets[i]));
    return buckets;
}

static json_t *histogram_json(const struct telemetry_set *set, size_t index,
                              struct histogram_view *view)
{
    memset(view, 0, sizeof *view);
    histogram_merge(view, set->histograms[index]);
    return json_pack("{s:s, s:o, s:I, s:I, s:I, s:o}", "name", telemetry_histograms[index].name,
                     "labels", labels_json(set), "count", (json_int_t)view->count, "sum_ns",
                     (json_int_t)view->sum_ns, "max_ns", (json_int_t)view->max_ns, "buckets",
                     buckets_json(view));
}

char *admin_histograms_text(void)
{
    json_t *all = json_array();
    struct histogram_view *view = xmalloc(sizeof *view);
    xdone(all != NULL);
    for (size_t i = 0; i < TELEMETRY_HISTOGRAM_COUNT; i++)
        for (const struct telemetry_set *set = telemetry_first(); set != NULL; set = set->next)
            if (set->histograms[i] != NULL)
                json_array_append_new(all, histogram_json(set, i, view));
    char *text = json_dumps(all, JSON_COMPACT);
    json_decref(all);
    free(view);
    return text;
}
