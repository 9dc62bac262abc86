/* SPDX-License-Identifier: Apache-2.0 */
/* A window is the difference of two looks at what the worker counts anyway: CPU time of its thread,
 * points and causes of closed batches, each destination's ages, drops, requests and bytes. Points
 * are counted as their batch closes, because then most of what they cost has been spent; so a
 * window lasts until enough batches have closed. Runs on the worker. */
#include "exporters/tuning_state.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"

enum {
    BATCHES_ENOUGH = 8, /* closed in a window, or it goes on … */
    INTERVALS_MAX = 4,  /* … for so long */
    BATCHES_FEW = 3,    /* fewer say nothing of cost */
    SMALL_PARTS = 20,   /* a batch with less of all points than one in so many counts for nothing */
    QUEUE_SMALL = 16,   /* batches: not more is no pile */
    LESS_LEFT = 9,      /* of so many parts are left … */
    LESS_PARTS = 10,    /* … or fewer: a pile that gets less */
    FAILING_PARTS = 20, /* one failed request of so many: the back end is not well */
};

static uint64_t closed_batches(const struct batch *batch)
{
    const struct batch_tally *tally = batch_tally(batch);
    return tally->by_size + tally->by_age + tally->by_space;
}

/* Points of all batches that were closed in the window. */
static uint64_t closed_points(const struct tuning *tuning)
{
    uint64_t points = 0;
    for (uint32_t i = 0; i < tuning->batch_count; i++)
        points += batch_tally(tuning->batches[i])->points - tuning->batch_from[i].points;
    return points;
}

/* How often the batch that was closed least often was, of those that carry much. */
static uint64_t least_closed(const struct tuning *tuning)
{
    uint64_t all = closed_points(tuning), least = UINT64_MAX;
    for (uint32_t i = 0; i < tuning->batch_count; i++)
        all += batch_points(tuning->batches[i]);
    for (uint32_t i = 0; i < tuning->batch_count; i++) {
        const struct batch *batch = tuning->batches[i];
        const struct batch_tally *from = &tuning->batch_from[i];
        uint64_t points = batch_tally(batch)->points - from->points + batch_points(batch);
        uint64_t closed = closed_batches(batch) - from->by_size - from->by_age - from->by_space;
        if (points * SMALL_PARTS > all && closed < least)
            least = closed;
    }
    return least == UINT64_MAX ? 0 : least;
}

static uint64_t dropped(const uint64_t values[TELEMETRY_VALUE_COUNT])
{
    uint64_t sum = 0;
    for (int i = TELEMETRY_DROPPED_NO_PAGE; i <= TELEMETRY_DROPPED_CORRUPT; i++)
        sum += values[i];
    return sum;
}

void tuning_begin_window(struct tuning *tuning, uint64_t now_ns)
{
    tuning->measuring = true;
    tuning->from_ns = now_ns;
    tuning->from_cpu_ns = clock_thread_cpu_ns();
    for (uint32_t i = 0; i < tuning->batch_count; i++)
        tuning->batch_from[i] = *batch_tally(tuning->batches[i]);
    for (uint32_t i = 0; i < tuning->tuner.knob_count; i++)
        if (tuning->handles[i].batch != NULL)
            tuning->handles[i].before = *batch_tally(tuning->handles[i].batch);
    for (uint32_t g = 0; g < tuning->group_count; g++) {
        struct group *group = &tuning->groups[g];
        memset(&group->age, 0, sizeof group->age);
        histogram_merge(&group->age, group->set->histograms[TELEMETRY_HISTOGRAM_AGE]);
        telemetry_snapshot(group->set, group->values);
        group->looks = group->looks_full = 0;
        group->closed = 0;
        for (uint32_t i = 0; i < tuning->batch_count; i++)
            if (tuning->batch_groups[i] == g)
                group->closed -= (uint32_t)closed_batches(tuning->batches[i]);
    }
}

/* Quantile of what was recorded since the view was taken. */
static double quantile_since(const struct histogram *histogram, const struct histogram_view *from,
                             double share)
{
    struct histogram_view now = {0};
    histogram_merge(&now, histogram);
    now.count -= from->count;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        now.buckets[i] -= from->buckets[i];
    return (double)histogram_quantile(&now, share) / NS_PER_S;
}

/* Age of the oldest point that waits in an open batch of the group. */
static double open_age_s(const struct tuning *tuning, uint32_t group, uint64_t now_ns)
{
    double oldest_s = 0;
    for (uint32_t i = 0; i < tuning->batch_count; i++) {
        uint64_t due_ns = batch_due_ns(tuning->batches[i]);
        if (tuning->batch_groups[i] == group && due_ns < now_ns)
            oldest_s = fmax(oldest_s, (double)(now_ns - due_ns) / NS_PER_S);
    }
    return oldest_s;
}

/* What waits in memory and on disk, and which way it goes. */
static void measure_pile(const uint64_t *from, const uint64_t *now, struct tuner_group *ret)
{
    uint64_t queued = now[TELEMETRY_QUEUE_BATCHES], queued_from = from[TELEMETRY_QUEUE_BATCHES];
    uint64_t spooled = now[TELEMETRY_POINTS_SPOOLED], spooled_from = from[TELEMETRY_POINTS_SPOOLED];
    bool queue_less = queued_from > QUEUE_SMALL && queued * LESS_PARTS < queued_from * LESS_LEFT;
    bool spool_less = spooled_from > 0 && spooled * LESS_PARTS < spooled_from * LESS_LEFT;
    ret->draining = queue_less || spool_less;
    ret->growing =
        dropped(now) > dropped(from) || (!ret->draining && (queued > QUEUE_SMALL || spooled > 0));
    ret->draining = ret->draining && !ret->growing;
}

static void measure_group(struct tuning *tuning, uint32_t index, uint64_t now_ns)
{
    struct group *group = &tuning->groups[index];
    struct tuner_group *measured = &tuning->window.groups[index];
    const uint64_t *from = group->values;
    uint64_t now[TELEMETRY_VALUE_COUNT];
    char text[16];
    telemetry_snapshot(group->set, now);
    for (uint32_t i = 0; i < tuning->batch_count; i++)
        if (tuning->batch_groups[i] == index)
            group->closed += (uint32_t)closed_batches(tuning->batches[i]);
    measured->age_p99_s =
        quantile_since(group->set->histograms[TELEMETRY_HISTOGRAM_AGE], &group->age, 0.99);
    if (group->closed < BATCHES_FEW)
        measured->age_p99_s = fmax(measured->age_p99_s, open_age_s(tuning, index, now_ns));
    measure_pile(from, now, measured);
    uint64_t good = now[TELEMETRY_REQUESTS_OK] - from[TELEMETRY_REQUESTS_OK];
    uint64_t bad = now[TELEMETRY_REQUESTS_RETRYABLE] - from[TELEMETRY_REQUESTS_RETRYABLE] +
                   now[TELEMETRY_REQUESTS_PERMANENT] - from[TELEMETRY_REQUESTS_PERMANENT];
    measured->failing =
        bad * FAILING_PARTS > good || !destination_healthy(group->destination, text, sizeof text);
    uint64_t points = now[TELEMETRY_POINTS_DELIVERED] - from[TELEMETRY_POINTS_DELIVERED];
    uint64_t bytes = now[TELEMETRY_BYTES_SENT] - from[TELEMETRY_BYTES_SENT];
    measured->bytes_per_point = points > 0 ? (double)bytes / (double)points : 0;
}

/* How often this knob decided. */
static double binding(const struct tuning *tuning, uint32_t knob)
{
    const struct handle *handle = &tuning->handles[knob];
    const struct group *group = &tuning->groups[handle->group];
    if (handle->kind == KIND_LEVEL)
        return 1;
    if (handle->kind == KIND_REQUESTS)
        return group->looks > 0 ? (double)group->looks_full / group->looks : 0;
    const struct batch_tally *now = batch_tally(handle->batch), *from = &handle->before;
    double by_size = (double)(now->by_size - from->by_size + now->by_space - from->by_space);
    double by_age = (double)(now->by_age - from->by_age);
    double all = by_size + by_age;
    if (all == 0) /* what waits, waits for its age */
        return handle->kind == KIND_FLUSH && batch_due_ns(handle->batch) != UINT64_MAX;
    return (handle->kind == KIND_SIZE ? by_size : by_age) / all;
}

void tuning_end_window(struct tuning *tuning, uint64_t now_ns)
{
    struct tuner_window *window = &tuning->window;
    uint64_t points = closed_points(tuning);
    double seconds = (double)(now_ns - tuning->from_ns) / NS_PER_S;
    double cpu_ns = (double)(clock_thread_cpu_ns() - tuning->from_cpu_ns);
    memset(window, 0, sizeof *window);
    window->thin = points == 0 || least_closed(tuning) < BATCHES_FEW ||
                   now_ns - tuning->from_ns < tuning->tuner.settings.interval_ns;
    window->cost_ns = points == 0 ? 0 : cpu_ns / (double)points;
    window->points_per_s = (double)points / seconds;
    window->cpu_share = cpu_ns / seconds / NS_PER_S;
    for (uint32_t g = 0; g < tuning->group_count; g++)
        measure_group(tuning, g, now_ns);
    for (uint32_t i = 0; i < tuning->tuner.knob_count; i++)
        window->binding[i] = binding(tuning, i);
}

/* Whether the window must not go on: something piles up, is lost, or gets too old. */
bool tuning_alarmed(const struct tuning *tuning, uint64_t now_ns)
{
    double target_s = (double)tuning->tuner.settings.age_p99_ns / NS_PER_S;
    for (uint32_t g = 0; g < tuning->group_count; g++) {
        const struct group *group = &tuning->groups[g];
        uint64_t now[TELEMETRY_VALUE_COUNT];
        telemetry_snapshot(group->set, now);
        bool drops = dropped(now) > dropped(group->values);
        if ((drops && !tuning->window.groups[g].growing) ||
            open_age_s(tuning, g, now_ns) > target_s)
            return true; /* what went on in the last window is no news */
    }
    return false;
}

void tuning_look(struct tuning *tuning)
{
    for (uint32_t i = 0; i < tuning->tuner.knob_count; i++) {
        const struct handle *handle = &tuning->handles[i];
        struct group *group = &tuning->groups[handle->group];
        if (handle->kind != KIND_REQUESTS)
            continue;
        group->looks++;
        group->looks_full += counter_read(&group->set->values[TELEMETRY_REQUESTS_IN_FLIGHT]) >=
                             (uint64_t)tuner_value(&tuning->tuner, i);
    }
}

bool tuning_window_over(const struct tuning *tuning, uint64_t now_ns)
{
    uint64_t interval_ns = tuning->tuner.settings.interval_ns;
    uint64_t passed_ns = now_ns - tuning->from_ns;
    bool enough = least_closed(tuning) >= BATCHES_ENOUGH;
    return passed_ns >= (enough ? 1 : INTERVALS_MAX) * interval_ns;
}
