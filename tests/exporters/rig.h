/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/telemetry.h>

#include "exporters/worker.h"
#include "ring/ring.h"

/* What worker tests share: a ring and a worker, pages of points to push, settings with defaults,
 * and the destination's books read as any other thread would. */

/* Settings of a component with all defaults of its table filled in, then key, value, …, NULL as a
 * user would write them; groups by dots ("tls.ca_file"), maps as "headers.name". */
void *settings_create(const struct component *component, const char *const *pairs);
void settings_destroy(const struct component *component, void *settings);

enum { RIG_METRICS = 4, RIG_DESTINATIONS = 8, RIG_PAGES = 64 };

struct rig {
    struct ring *ring;
    struct worker *worker;
    const struct component *components[RIG_DESTINATIONS];
    void *settings[RIG_DESTINATIONS];
    const struct telemetry_set *sets[RIG_DESTINATIONS];
    uint32_t destination_count;
    struct batch_settings batch;
    bool no_batch;
    const struct tuner_settings *tuner; /* NULL: off */
    uint64_t pushed;
    int value; /* of the next point */
};

extern const struct metric rig_metrics[RIG_METRICS];

void rig_init(struct rig *rig);
void rig_add(struct rig *rig, const struct component *component, const char *const *pairs);
void rig_start(struct rig *rig);

/* Pushes one page of `points` points (a run for each metric) that also reports `dropped`. */
void rig_push(struct rig *rig, uint32_t points, uint64_t dropped);

/* Stops within `ms`; what worker_stop() said. */
bool rig_stop(struct rig *rig, uint64_t ms);
void rig_fini(struct rig *rig);

/* From a snapshot, so an entry of the books is whole: once points are seen not to be queued any
 * more, they are seen where they went. */
uint64_t rig_value(const struct rig *rig, uint32_t destination, enum telemetry_value value);

/* Waits until the counter is at least `least`; fails the test after 30 s. */
void rig_wait(const struct rig *rig, uint32_t destination, enum telemetry_value value,
              uint64_t least);
void rig_wait_idle(const struct rig *rig, uint32_t destination); /* nothing queued any more */

/* collected + recovered = delivered + queued + spooled + Σ dropped in a snapshot; any thread. */
bool rig_books_balance(const struct telemetry_set *set);

/* Fails the test where they do not. */
void rig_check_books(const struct telemetry_set *set);
