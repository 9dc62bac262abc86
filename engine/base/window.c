/* SPDX-License-Identifier: Apache-2.0 */
/* Differences of a growing histogram by time:
 *
 *   slots:  | oldest | … | newest, unfinished |      total: what was there at the last take
 *
 * The slot of a time is time / slot_ns, modulo the number of slots, so a slot begins at the same
 * times in every window of its length. A slot that the time has passed over is emptied when a take
 * comes to it. */
#include "base/window.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/memory.h"

/* 32 bits: some hundred million values a second for ten seconds. */
struct slot {
    uint64_t sum_ns, max_ns;
    uint32_t first, end; /* buckets that hold something lie in [first, end) */
    uint32_t counts[HISTOGRAM_BUCKETS];
};

struct window {
    uint64_t slot_ns;
    uint32_t slot_count;
    bool begun;
    uint64_t begun_ns, taken_ns;
    struct histogram_view total;
    struct slot slots[];
};

struct window *window_create(uint32_t slot_count, uint64_t slot_ns)
{
    CHECK(slot_count > 0 && slot_ns > 0);
    struct window *window = xcalloc(1, sizeof *window + slot_count * sizeof window->slots[0]);
    window->slot_ns = slot_ns;
    window->slot_count = slot_count;
    return window;
}

void window_destroy(struct window **window)
{
    free(*window);
    *window = NULL;
}

static struct slot *slot_of(struct window *window, uint64_t number)
{
    return &window->slots[number % window->slot_count];
}

/* The slot of this time; those the time has passed over since the last take are emptied. */
static struct slot *advance(struct window *window, uint64_t now_ns)
{
    CHECK(now_ns >= window->taken_ns);
    uint64_t number = window->taken_ns / window->slot_ns, now = now_ns / window->slot_ns;
    if (now - number > window->slot_count)
        number = now - window->slot_count;
    while (number < now) {
        struct slot *slot = slot_of(window, ++number);
        if (slot->end > slot->first)
            memset(slot->counts + slot->first, 0,
                   (slot->end - slot->first) * sizeof slot->counts[0]);
        slot->sum_ns = slot->max_ns = 0;
        slot->first = slot->end = 0;
    }
    window->taken_ns = now_ns;
    return slot_of(window, now);
}

/* Bucket `index` holds `count` now. Returns whether that is more than before. */
static inline bool count_new(struct window *window, struct slot *slot, uint32_t index,
                             uint64_t count)
{
    uint64_t before = window->total.buckets[index];
    if (count == before)
        return false;
    CHECK(count > before);
    window->total.buckets[index] = count;
    slot->counts[index] += (uint32_t)(count - before);
    if (slot->end == 0 || index < slot->first)
        slot->first = index;
    if (index >= slot->end)
        slot->end = index + 1;
    return true;
}

/* `top`: the highest bucket with something new, HISTOGRAM_BUCKETS where there is none. */
static void finish(struct window *window, struct slot *slot, uint32_t top, uint64_t sum_ns,
                   uint64_t max_ns)
{
    uint64_t largest_ns = 0;
    if (top < HISTOGRAM_BUCKETS) {
        uint64_t start_ns = histogram_bucket_start(top);
        largest_ns = start_ns + (histogram_bucket_start(top + 1) - start_ns) / 2;
        if (largest_ns > max_ns)
            largest_ns = max_ns;
    }
    if (max_ns > window->total.max_ns)
        largest_ns = max_ns; /* new, so of this slot */
    if (largest_ns > slot->max_ns)
        slot->max_ns = largest_ns;
    slot->sum_ns += sum_ns - window->total.sum_ns;
    window->total.sum_ns = sum_ns;
    if (max_ns > window->total.max_ns)
        window->total.max_ns = max_ns;
}

/* True: the first take, which counts nothing. */
static bool begin(struct window *window, const struct histogram_view *total, uint64_t now_ns)
{
    if (window->begun)
        return false;
    window->begun = true;
    window->begun_ns = window->taken_ns = now_ns;
    window->total = *total;
    return true;
}

void window_take(struct window *window, const struct histogram_view *total, uint64_t now_ns)
{
    if (begin(window, total, now_ns))
        return;
    struct slot *slot = advance(window, now_ns);
    uint32_t top = HISTOGRAM_BUCKETS;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        if (count_new(window, slot, i, total->buckets[i]))
            top = i;
    finish(window, slot, top, total->sum_ns, total->max_ns);
}

void window_take_one(struct window *window, const struct histogram *histogram, uint64_t now_ns)
{
    if (!window->begun) {
        histogram_merge(&window->total, histogram);
        window->begun = true;
        window->begun_ns = window->taken_ns = now_ns;
        return;
    }
    struct slot *slot = advance(window, now_ns);
    uint32_t top = HISTOGRAM_BUCKETS;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        if (count_new(window, slot, i, counter_read(&histogram->buckets[i])))
            top = i;
    finish(window, slot, top, counter_read(&histogram->sum_ns), counter_read(&histogram->max_ns));
}

uint64_t window_read(const struct window *window, uint32_t slots, struct histogram_view *view)
{
    if (slots > window->slot_count)
        slots = window->slot_count;
    if (slots == 0 || !window->begun)
        return 0;
    uint64_t newest = window->taken_ns / window->slot_ns;
    uint64_t oldest = newest + 1 > slots ? newest + 1 - slots : 0;
    for (uint64_t number = oldest; number <= newest; number++) {
        const struct slot *slot = &window->slots[number % window->slot_count];
        for (uint32_t i = slot->first; i < slot->end; i++) {
            view->buckets[i] += slot->counts[i];
            view->count += slot->counts[i];
        }
        view->sum_ns += slot->sum_ns;
        if (slot->max_ns > view->max_ns)
            view->max_ns = slot->max_ns;
    }
    uint64_t from_ns = oldest * window->slot_ns;
    if (from_ns < window->begun_ns)
        from_ns = window->begun_ns;
    return window->taken_ns - from_ns;
}
