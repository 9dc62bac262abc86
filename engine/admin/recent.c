/* SPDX-License-Identifier: Apache-2.0 */
/* One window for each histogram of each telemetry set. Sets appear while the process runs; all that
 * one holds when it is first seen came within the last seconds, so it counts. */
#include "admin/recent.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/window.h"

enum { SLOT_SECONDS = 5, SLOTS = RECENT_SECONDS / SLOT_SECONDS };

struct entry {
    const struct telemetry_set *set;
    enum telemetry_histogram histogram;
    struct window *window;
};

struct recent {
    uint64_t next_ns;
    const struct telemetry_set *newest; /* the list's first when it was last read */
    struct entry *entries;
    size_t entry_count, entry_space;
};

struct recent *recent_create(void)
{
    return xcalloc(1, sizeof(struct recent));
}

void recent_destroy(struct recent **recent)
{
    if (*recent == NULL)
        return;
    for (size_t i = 0; i < (*recent)->entry_count; i++)
        window_destroy(&(*recent)->entries[i].window);
    free((*recent)->entries);
    free(*recent);
    *recent = NULL;
}

static void add_entry(struct recent *recent, const struct telemetry_set *set,
                      enum telemetry_histogram histogram, uint64_t now_ns)
{
    static const struct histogram nothing;
    if (recent->entry_count == recent->entry_space) {
        recent->entry_space = 2 * recent->entry_space + 16;
        recent->entries =
            xrealloc(recent->entries, recent->entry_space * sizeof recent->entries[0]);
    }
    struct entry entry = {set, histogram, window_create(SLOTS, SLOT_SECONDS * NS_PER_S)};
    window_take_one(entry.window, &nothing, now_ns);
    recent->entries[recent->entry_count++] = entry;
}

static void learn_sets(struct recent *recent, uint64_t now_ns)
{
    const struct telemetry_set *first = telemetry_first(); /* the list grows in front of it only */
    for (const struct telemetry_set *set = first; set != recent->newest; set = set->next)
        for (int i = 0; i < TELEMETRY_HISTOGRAM_COUNT; i++)
            if (set->histograms[i] != NULL)
                add_entry(recent, set, (enum telemetry_histogram)i, now_ns);
    recent->newest = first;
}

uint64_t recent_turn(struct recent *recent, bool now, uint64_t now_ns)
{
    if (!now && now_ns < recent->next_ns)
        return recent->next_ns;
    learn_sets(recent, now_ns);
    for (size_t i = 0; i < recent->entry_count; i++) {
        const struct entry *entry = &recent->entries[i];
        window_take_one(entry->window, entry->set->histograms[entry->histogram], now_ns);
    }
    recent->next_ns = now_ns + SLOT_SECONDS * NS_PER_S;
    return recent->next_ns;
}

void recent_read(const struct recent *recent, const struct telemetry_set *set,
                 enum telemetry_histogram histogram, struct histogram_view *view)
{
    for (size_t i = 0; i < recent->entry_count; i++) {
        const struct entry *entry = &recent->entries[i];
        if (entry->histogram == histogram && (set == NULL || entry->set == set))
            window_read(entry->window, SLOTS, view);
    }
}
