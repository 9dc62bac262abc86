/* SPDX-License-Identifier: Apache-2.0 */
/* The process's own metrics. Sets are opened rarely (start, first sight of an SQLSTATE) and pushed
 * onto a list that only grows, so readers walk it without a lock. Snapshots are a seqlock per set:
 * the writer is never held up, a reader tries again. */
#include <pgweir/telemetry.h>

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/memory.h"

#define X(id, owner, name, unit, kind, label, label_value, help)                                   \
    [TELEMETRY_##id] = {TELEMETRY_##owner, name, unit, TELEMETRY_##kind, label, label_value, help},
const struct telemetry_value_info telemetry_values[TELEMETRY_VALUE_COUNT] = {TELEMETRY_VALUES(X)};
#undef X

#define X(id, owner, name, help) [TELEMETRY_HISTOGRAM_##id] = {TELEMETRY_##owner, name, help},
const struct telemetry_histogram_info telemetry_histograms[TELEMETRY_HISTOGRAM_COUNT] = {
    TELEMETRY_HISTOGRAMS(X)};
#undef X

static struct telemetry_set *_Atomic first_set;

struct telemetry_set *telemetry_open(enum telemetry_owner owner, uint32_t label_count,
                                     const struct telemetry_label *labels)
{
    CHECK(label_count <= TELEMETRY_LABELS_MAX);
    struct telemetry_set *set = xcalloc(1, sizeof *set);
    set->owner = owner;
    set->label_count = label_count;
    for (uint32_t i = 0; i < label_count; i++)
        set->labels[i] = labels[i];
    for (int i = 0; i < TELEMETRY_HISTOGRAM_COUNT; i++) {
        if (telemetry_histograms[i].owner != owner)
            continue;
        set->histograms[i] = xcalloc(1, sizeof *set->histograms[i]);
    }
    set->next = atomic_load(&first_set);
    while (!atomic_compare_exchange_weak(&first_set, &set->next, set))
        continue;
    return set;
}

const struct telemetry_set *telemetry_first(void)
{
    return atomic_load_explicit(&first_set, memory_order_acquire);
}

void telemetry_reset(void)
{
    struct telemetry_set *set = atomic_exchange(&first_set, NULL);
    while (set != NULL) {
        struct telemetry_set *next = set->next;
        for (int i = 0; i < TELEMETRY_HISTOGRAM_COUNT; i++)
            free(set->histograms[i]);
        free(set);
        set = next;
    }
}

/* Release and acquire on the values themselves would cost the writer nothing on x86-64, but relaxed
 * values between two ordered versions are the usual seqlock; the RMW keeps them inside. */
void telemetry_begin(struct telemetry_set *set)
{
    uint64_t before = atomic_fetch_add_explicit(&set->version, 1, memory_order_acq_rel);
    CHECK(before % 2 == 0);
}

void telemetry_end(struct telemetry_set *set)
{
    uint64_t before = atomic_fetch_add_explicit(&set->version, 1, memory_order_acq_rel);
    CHECK(before % 2 == 1);
}

void telemetry_snapshot(const struct telemetry_set *set, uint64_t ret_values[TELEMETRY_VALUE_COUNT])
{
    for (;;) {
        uint64_t before = atomic_load_explicit(&set->version, memory_order_acquire);
        for (int i = 0; i < TELEMETRY_VALUE_COUNT; i++)
            ret_values[i] = atomic_load_explicit(&set->values[i].value, memory_order_acquire);
        uint64_t after = atomic_load_explicit(&set->version, memory_order_acquire);
        if (before == after && before % 2 == 0)
            return;
        sched_yield();
    }
}

uint64_t telemetry_total(enum telemetry_value value)
{
    uint64_t total = 0;
    for (const struct telemetry_set *set = telemetry_first(); set != NULL; set = set->next)
        total += counter_read(&set->values[value]);
    return total;
}

void telemetry_merge(enum telemetry_histogram histogram, struct histogram_view *view)
{
    for (const struct telemetry_set *set = telemetry_first(); set != NULL; set = set->next)
        if (set->histograms[histogram] != NULL)
            histogram_merge(view, set->histograms[histogram]);
}
