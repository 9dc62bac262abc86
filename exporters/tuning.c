/* SPDX-License-Identifier: Apache-2.0 */
/* The auto-tuner's knobs, its turn on the worker's thread, and what it tells. A window is measured
 * (tuning_measure.c), the law decides (control/tuner.h), the one value that changed is set, and the
 * next window begins when the change has shown.
 *
 * Nothing here is on a point's path: between looks, ten a window, a turn of the worker costs one
 * comparison. The lock is the readers' of /status, taken once a window.
 *
 * What is no knob, because it was measured not to help, stands in docs/export.md. */
#include "exporters/tuning_state.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "exporters/outbox.h"

enum {
    ALARMS_MAX = 3,   /* windows in a row that end early */
    TICK_PARTS = 10,  /* looks a window */
    SETTLE_PARTS = 5, /* of an interval: a change shows after it */
};
static const double SIZE_REACH = 8, FLUSH_REACH = 8;

static const struct {
    const char *name, *unit;
} kinds[KIND_COUNT] = {
    [KIND_FLUSH] = {"flush_age", "s"},
    [KIND_SIZE] = {"batch_size", "points"},
    [KIND_REQUESTS] = {"concurrency_max", "requests"},
    [KIND_LEVEL] = {"compression_level", "level"},
};

struct tuning *tuning_create(const struct tuner_settings *settings,
                             struct telemetry_set *worker_set)
{
    struct tuning *tuning = xcalloc(1, sizeof *tuning);
    tuner_init(&tuning->tuner, settings);
    tuning->worker_set = worker_set;
    CHECK(pthread_mutex_init(&tuning->lock, NULL) == 0);
    tuning->status.mode = (enum tuner_mode)settings->mode;
    tuning->status.age_target_s = (double)settings->age_p99_ns / NS_PER_S;
    return tuning;
}

void tuning_destroy(struct tuning **tuning)
{
    if (*tuning == NULL)
        return;
    pthread_mutex_destroy(&(*tuning)->lock);
    free(*tuning);
    *tuning = NULL;
}

/* ---- knobs ---- */

/* As a whole number, for /metrics: times in ms. */
static uint64_t shown(enum knob_kind kind, double value)
{
    return (uint64_t)(kind == KIND_FLUSH ? value * 1e3 : value);
}

static void add_knob(struct tuning *tuning, const struct handle *handle, struct knob_plan *plan)
{
    if (tuning->tuner.knob_count == TUNER_KNOBS || plan->low >= plan->high)
        return; /* nothing to turn */
    struct handle *place = &tuning->handles[tuning->tuner.knob_count];
    *place = *handle;
    const struct group *group = &tuning->groups[handle->group];
    struct telemetry_label labels[2] = {{.key = "exporter"}, {.key = "knob"}};
    snprintf(labels[0].value, sizeof labels[0].value, "%s", group->id);
    snprintf(labels[1].value, sizeof labels[1].value, "%s", place->name);
    place->set = telemetry_open(TELEMETRY_TUNER, 2, labels);
    place->applied = plan->start;
    telemetry_put(place->set, TELEMETRY_TUNER_VALUE, shown(place->kind, plan->start));
    plan->name = place->name;
    plan->group = handle->group;
    uint32_t index = tuner_add(&tuning->tuner, plan);
    struct tuning_knob_status *status = &tuning->status.knobs[index];
    *status = (struct tuning_knob_status){.unit = kinds[handle->kind].unit,
                                          .value = plan->start,
                                          .configured = plan->start,
                                          .low = plan->low,
                                          .high = plan->high};
    snprintf(status->exporter, sizeof status->exporter, "%s", labels[0].value);
    snprintf(status->name, sizeof status->name, "%s", handle->name);
    tuning->status.knob_count = tuning->tuner.knob_count;
}

static void add_batch_knob(struct tuning *tuning, struct handle *handle, uint32_t number)
{
    const struct tuner_settings *settings = &tuning->tuner.settings;
    const struct batch_settings *batch = batch_settings(handle->batch);
    if (batch == NULL || batch->timeout_ns == 0)
        return; /* no batches, by configuration */
    snprintf(handle->name, sizeof handle->name, number == 0 ? "%s" : "%s_%u",
             kinds[handle->kind].name, number + 1);
    struct knob_plan plan = {
        .scale = KNOB_FACTOR, .resolution = 2, .first_side = 1, .dear = -1, .cure = -1};
    if (handle->kind == KIND_FLUSH) {
        uint64_t most_ns = settings->flush_age_max_ns;
        most_ns = most_ns == 0 ? settings->age_p99_ns / 2 : most_ns;
        plan.low = (double)settings->flush_age_min_ns / NS_PER_S;
        plan.high = (double)most_ns / NS_PER_S;
        plan.start = (double)batch->timeout_ns / NS_PER_S;
        plan.reach = FLUSH_REACH;
    } else {
        int64_t most = settings->batch_size_max, max = batch->send_batch_max_size;
        plan.whole = true;
        plan.low = (double)settings->batch_size_min;
        plan.high = (double)(max != 0 && max < most ? max : most);
        plan.start = (double)batch->send_batch_size;
        plan.reach = SIZE_REACH;
    }
    add_knob(tuning, handle, &plan);
}

static void add_outbox_knobs(struct tuning *tuning, struct handle handle,
                             const struct request_plan *requests)
{
    handle.kind = KIND_REQUESTS;
    snprintf(handle.name, sizeof handle.name, "%s", kinds[KIND_REQUESTS].name);
    struct knob_plan senders = {.scale = KNOB_FACTOR,
                                .whole = true,
                                .low = 1,
                                .high = requests->sender_count,
                                .start = requests->sender_count,
                                .reach = 2,
                                .resolution = 2,
                                .first_side = -1,
                                .cure = 1};
    add_knob(tuning, &handle, &senders);
    int level_max = compression_level(requests->compression, requests->compression_level);
    handle.kind = KIND_LEVEL;
    snprintf(handle.name, sizeof handle.name, "%s", kinds[KIND_LEVEL].name);
    /* Never above what is configured: more costs more. */
    struct knob_plan level = {.scale = KNOB_STEP,
                              .whole = true,
                              .low = fmin(1, level_max),
                              .high = level_max,
                              .start = level_max,
                              .reach = 1,
                              .resolution = 1,
                              .first_side = -1,
                              .dear = 1,
                              .costs_bytes = true};
    add_knob(tuning, &handle, &level);
}

void tuning_add(struct tuning *tuning, const char *id, struct destination *destination,
                struct batch *const *batches, uint32_t batch_count)
{
    const struct request_plan *requests = destination_requests(destination);
    CHECK(tuning->group_count < TUNER_GROUPS);
    uint32_t index = tuning->group_count++;
    struct group *group = &tuning->groups[index];
    snprintf(group->id, sizeof group->id, "%s", id);
    group->destination = destination;
    group->set = destination_telemetry(destination);
    for (uint32_t i = 0; i < batch_count && tuning->batch_count < TUNER_KNOBS; i++) {
        tuning->batch_groups[tuning->batch_count] = index;
        tuning->batches[tuning->batch_count++] = batches[i];
    }
    if (requests == NULL)
        return; /* who prints or writes a file wants batches as configured */
    /* In the order in which they are turned against age. */
    for (int kind = KIND_FLUSH; kind <= KIND_SIZE; kind++)
        for (uint32_t i = 0; i < batch_count; i++)
            add_batch_knob(
                tuning,
                &(struct handle){.kind = (enum knob_kind)kind, .group = index, .batch = batches[i]},
                i);
    add_outbox_knobs(tuning,
                     (struct handle){.group = index, .outbox = destination_outbox(destination)},
                     requests);
}

/* Puts a knob's value in force. */
static void apply(struct tuning *tuning, uint32_t knob)
{
    struct handle *handle = &tuning->handles[knob];
    double value = tuner_value(&tuning->tuner, knob);
    if (value == handle->applied)
        return;
    handle->applied = value;
    telemetry_put(handle->set, TELEMETRY_TUNER_VALUE, shown(handle->kind, value));
    switch (handle->kind) {
    case KIND_FLUSH:
        batch_set_timeout(handle->batch, (uint64_t)(value * (double)NS_PER_S));
        break;
    case KIND_SIZE:
        batch_set_size(handle->batch, (int64_t)value);
        break;
    case KIND_REQUESTS:
        outbox_set_concurrency_max(handle->outbox, (uint32_t)value);
        break;
    case KIND_LEVEL:
        outbox_set_compression_level(handle->outbox, (int)value);
        break;
    case KIND_COUNT:
        break;
    }
}

/* ---- what is told ---- */

static const enum telemetry_value verdict_rows[TUNER_VERDICTS] = {
    [TUNER_KEPT] = TELEMETRY_TUNER_KEPT,
    [TUNER_CURED] = TELEMETRY_TUNER_CURED,
    [TUNER_ROLLED_BACK] = TELEMETRY_TUNER_ROLLED_BACK,
    [TUNER_ABANDONED] = TELEMETRY_TUNER_ABANDONED,
    [TUNER_ADVISED] = TELEMETRY_TUNER_ADVISED,
};

static void count(struct tuning *tuning, const struct tuner_decision *decision)
{
    enum tuner_verdict verdict = decision->verdict;
    if (decision->knob == TUNER_KNOBS)
        return;
    struct handle *handle = &tuning->handles[decision->knob];
    handle->kept += verdict == TUNER_KEPT || verdict == TUNER_CURED;
    handle->rolled_back += verdict == TUNER_ROLLED_BACK || verdict == TUNER_ABANDONED;
}

static void tell(struct tuning *tuning, const struct tuner_decision *decision)
{
    const char *verdict = tuner_verdict_name(decision->verdict);
    const char *id = tuning->groups[decision->group].id;
    if (decision->verdict == TUNER_ARMED) {
        telemetry_add(tuning->worker_set, TELEMETRY_TUNER_ARMED, 1);
        LOG(LOG_LEVEL_INFO, "tuner", verdict, LOG_TEXT("reason", decision->reason));
        return;
    }
    if (decision->verdict == TUNER_GAVE_UP) {
        telemetry_add(tuning->worker_set, TELEMETRY_TUNER_GAVE_UP, 1);
        LOG(LOG_LEVEL_WARN, "tuner", verdict, LOG_TEXT("exporter", id),
            LOG_TEXT("reason", decision->reason));
        return;
    }
    const struct handle *handle = &tuning->handles[decision->knob];
    char from[32], to[32];
    telemetry_add(handle->set, verdict_rows[decision->verdict], 1);
    snprintf(from, sizeof from, "%.6g", decision->from);
    snprintf(to, sizeof to, "%.6g", decision->to);
    LOG(LOG_LEVEL_INFO, "tuner", verdict, LOG_TEXT("exporter", id), LOG_TEXT("knob", handle->name),
        LOG_TEXT("unit", kinds[handle->kind].unit), LOG_TEXT("from", from), LOG_TEXT("to", to),
        LOG_NUMBER("cpu_ps_before", decision->cost_before_ns * 1e3),
        LOG_NUMBER("cpu_ps_after", decision->cost_after_ns * 1e3),
        LOG_NUMBER("age_p99_us_before", decision->age_before_s * 1e6),
        LOG_NUMBER("age_p99_us_after", decision->age_after_s * 1e6),
        LOG_TEXT("reason", decision->reason));
}

/* For readers. */
static void show(struct tuning *tuning)
{
    const struct tuner *tuner = &tuning->tuner;
    struct tuning_status *status = &tuning->status;
    CHECK(pthread_mutex_lock(&tuning->lock) == 0);
    status->trying = tuner->phase != TUNER_WATCH;
    status->trial = tuner->trial.knob;
    status->trial_value = tuner->trial.to;
    if (!tuning->window.thin) {
        status->cost_ns = tuning->window.cost_ns;
        status->points_per_s = tuning->window.points_per_s;
        status->cpu_share = tuning->window.cpu_share;
    }
    status->noise = tuner->noise;
    status->trials = tuner->trials;
    status->kept = tuner->kept;
    status->rolled_back = tuner->rolled_back;
    for (uint32_t i = 0; i < tuner->knob_count; i++) {
        status->knobs[i].value = tuner->knobs[i].value;
        status->knobs[i].kept = tuning->handles[i].kept;
        status->knobs[i].rolled_back = tuning->handles[i].rolled_back;
    }
    uint64_t held =
        tuner->decision_count < TUNER_DECISIONS ? tuner->decision_count : TUNER_DECISIONS;
    for (uint64_t i = 0; i < held; i++)
        status->decisions[i] =
            tuner->decisions[(tuner->decision_count - held + i) % TUNER_DECISIONS];
    status->decision_count = (uint32_t)held;
    CHECK(pthread_mutex_unlock(&tuning->lock) == 0);
    telemetry_put(tuning->worker_set, TELEMETRY_TUNER_TRIALS, tuner->trials);
    if (!tuning->window.thin)
        telemetry_put(tuning->worker_set, TELEMETRY_TUNER_COST, (uint64_t)tuning->window.cost_ns);
}

void tuning_read(const struct tuning *tuning, struct tuning_status *ret_status)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&tuning->lock;
    CHECK(pthread_mutex_lock(lock) == 0);
    *ret_status = tuning->status;
    CHECK(pthread_mutex_unlock(lock) == 0);
}

/* ---- the worker's turn ---- */

static void decide(struct tuning *tuning, uint64_t now_ns)
{
    struct tuner *tuner = &tuning->tuner;
    tuning_end_window(tuning, now_ns);
    bool changed = tuner_take(tuner, &tuning->window, now_ns);
    for (uint32_t i = 0; changed && i < tuner->knob_count; i++)
        apply(tuning, i);
    for (uint64_t i = tuning->told; i < tuner->decision_count; i++)
        count(tuning, &tuner->decisions[i % TUNER_DECISIONS]);
    show(tuning);
    for (; tuning->told < tuner->decision_count; tuning->told++)
        tell(tuning, &tuner->decisions[tuning->told % TUNER_DECISIONS]);
    tuning->measuring = false;
    tuning->next_ns = now_ns + (changed ? tuner->settings.interval_ns / SETTLE_PARTS : 0);
}

uint64_t tuning_step(struct tuning *tuning, uint64_t now_ns)
{
    if (now_ns < tuning->next_ns)
        return tuning->next_ns;
    if (tuning->measuring) {
        tuning_look(tuning);
        bool alarm = tuning->alarms < ALARMS_MAX && tuning_alarmed(tuning, now_ns);
        if (alarm || tuning_window_over(tuning, now_ns)) {
            tuning->alarms = alarm ? tuning->alarms + 1 : 0;
            decide(tuning, now_ns);
        }
    }
    if (now_ns >= tuning->next_ns && !tuning->measuring)
        tuning_begin_window(tuning, now_ns);
    if (tuning->measuring)
        tuning->next_ns = now_ns + tuning->tuner.settings.interval_ns / TICK_PARTS;
    return tuning->next_ns;
}
