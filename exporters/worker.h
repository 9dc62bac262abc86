/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/component.h>

#include "control/tuner.h"
#include "ring/ring.h"

/* Steps 7 to 9 of 9: the worker is the one thread that takes pages from the ring, encodes each for
 * every destination that wants it, gives the page back, and runs the destinations: batches, queue,
 * compression, requests, retries. Nobody else touches a destination. */
struct worker;

struct batch_settings {
    int64_t send_batch_size;     /* points; 8192. A batch is closed when it holds as many */
    int64_t send_batch_max_size; /* points; 0: no bound */
    uint64_t timeout_ns;         /* 200ms; 0: every page at once */
};

/* The same exporter in two pipelines is one destination. */
struct worker_destination {
    const struct component *component; /* one of exporter_registry */
    const char *id;                    /* "otlp_http/newrelic" */
    const void *settings;
};

/* A file_storage extension in use: where queues that name it are kept on disk. */
struct storage_settings {
    const char *directory;
};
struct worker_storage {
    const char *id; /* "file_storage/main" */
    const struct storage_settings *settings;
};

struct worker_pipeline {
    uint32_t routes;                    /* bit i: pages with route i belong to this pipeline */
    uint32_t variant;                   /* of the resource */
    const struct batch_settings *batch; /* NULL: no batch processor, every sweep at once */
    uint32_t destinations;              /* bit i: destination i */
};

struct worker_options {
    const struct worker_destination *destinations;
    uint32_t destination_count;
    const struct worker_pipeline *pipelines;
    uint32_t pipeline_count;
    const struct worker_storage *storages;
    uint32_t storage_count;
    const struct tuner_settings *tuner; /* NULL: off */
};

/* Components of all exporters, NULL-terminated, and of the processor and extension that live here.
 */
extern const struct component *const exporter_registry[];
extern const struct component batch_processor;
extern const struct component file_storage_extension;

bool worker_create(struct worker **ret_worker, struct ring *ring,
                   const struct worker_options *options, struct error *error);

/* Starts the thread. */
bool worker_start(struct worker *worker, struct error *error);

/* After every shard has pushed its last page: delivers what is there until `deadline_ns`
 * (monotonic), counts the rest as dropped{shutdown}, joins the thread. True when nothing was
 * left. */
bool worker_stop(struct worker *worker, uint64_t deadline_ns);

void worker_destroy(struct worker **worker);

/* Any thread: true when the destination's last request was answered well or none was needed yet;
 * the text says what is wrong otherwise ("401 Unauthorized: check the api-key header"). */
bool worker_healthy(const struct worker *worker, uint32_t destination, char *ret_text,
                    size_t text_bytes);

/* Any thread: what limits the destination and what waits on its disk (outbox.h); false where it
 * sends no requests. */
struct outbox_status;
bool worker_read_outbox(const struct worker *worker, uint32_t destination,
                        struct outbox_status *ret_status);

/* Any thread: what the auto-tuner does and did; false where it is off. */
struct tuning_status;
bool worker_read_tuning(const struct worker *worker, struct tuning_status *ret_status);
