/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/component.h>

#include "exporters/body.h"
#include "exporters/compress.h"
#include "exporters/http.h"
#include "exporters/retry.h"
#include "exporters/space.h"
#include "exporters/otlp/encode.h"
#include "exporters/otlp/split.h"
#include "control/limiter.h"
#include "ring/spool.h"

/* One kind of exporter: one .c with one of these, and one line in registry.c. All functions run on
 * the worker's thread (open and close also before it starts and after it ended).
 *
 * open() says what the exporter wants of a batch and where it goes:
 *
 *   requests set     bodies are compressed, queued and posted (otlp_http); destination.c does it
 * all format set       finish() takes the body at once (file) BODY_NONE        consume() sees every
 * page, finish() marks the end of a batch (debug, console)
 *
 * What finish() does it does on the worker's thread: a disk that stalls, stalls collection. */

/* Cuts an uncompressed body in two, as otlp_split() does. */
typedef bool body_split(const uint8_t *body, size_t bytes, struct otlp_part parts[2]);

/* How bodies become requests. Lives as long as the exporter's state. */
struct request_plan {
    struct http_endpoint endpoint;
    enum compression compression;
    int compression_level;
    body_split *split;       /* NULL: a body that is too large is dropped */
    uint64_t body_bytes_max; /* as sent; larger ones are split; 0: no bound */
    bool ordered; /* points of a series must arrive in order: one request at a time, oldest first */
    struct retry_settings retry;
    struct limiter_settings limiter;
    uint32_t sender_count;       /* requests in flight at most */
    uint32_t queue_capacity;     /* batches in memory: queued, waiting for a retry or in flight */
    struct spool_settings spool; /* directory NULL: none, but age_ns counts for the queue as well */
    const char *storage; /* id of the extension that says where to spool; NULL: spool does */
};

struct exporter_output {
    enum body_format format;
    uint32_t body_bytes_max; /* BODY_REMOTE_WRITE: before compression; 0: 8 MiB */
    const struct request_plan *requests;
    bool delta; /* counters go out as what was added since the point before (otlp/delta.h) */
    void *state;
};

/* The option `temporality`, an int `member` of `owner`: output.delta is whether it is 1. */
extern const char *const exporter_temporalities[];
#define EXPORTER_TEMPORALITY(owner, member)                                                        \
    {                                                                                              \
        .key = "temporality", .type = OPTION_ENUM, .offset = offsetof(owner, member),              \
        .fallback = "cumulative", .choices = exporter_temporalities,                               \
        .help =                                                                                    \
            "Counters as they stand, or as what was added since the point before (delta: what "    \
            "is lost on the way is missing for ever, what arrives twice counts twice).",           \
    }

struct exporter {
    struct component component;
    bool (*open)(const char *id, const void *settings, struct exporter_output *ret_output,
                 struct error *error);
    /* The page is borrowed until return; so is all it points to, but metrics live on. */
    void (*consume)(void *state, const struct page *page, struct page_slice slice,
                    uint32_t variant);
    /* BODY_REMOTE_WRITE: writes the slice, borrowed as above, behind what the body has; returns the
     * byte behind the last, or NULL when it does not fit and nothing is to change. */
    uint8_t *(*encode)(void *state, const struct page *page, struct page_slice slice,
                       uint32_t variant, struct space space);
    /* A batch is complete. False: its points are lost (counted, never fatal). */
    bool (*finish)(void *state, const uint8_t *body, size_t body_bytes);
    /* When something is due by time; returns when to be called next (UINT64_MAX: not needed).
     * May be NULL. */
    uint64_t (*tick)(void *state, uint64_t now_ns);
    void (*close)(void **state); /* `state` NULL inside is fine */
};

extern const struct exporter otlp_http_exporter, newrelic_exporter, prometheusremotewrite_exporter,
    prometheus_exporter, file_exporter, debug_exporter, console_exporter;

/* The exporter whose component this is; NULL when it is none of ours. */
const struct exporter *exporter_find(const struct component *component);
