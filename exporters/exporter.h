/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/component.h>

#include "exporters/compress.h"
#include "exporters/http.h"
#include "exporters/retry.h"
#include "exporters/otlp/encode.h"

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
enum body_format { BODY_NONE, BODY_PROTO, BODY_JSON };

/* How bodies become requests. Lives as long as the exporter's state. */
struct request_plan {
    struct http_endpoint endpoint;
    enum compression compression;
    int compression_level;
    struct retry_settings retry;
    uint32_t sender_count;   /* requests in flight at most */
    uint32_t queue_capacity; /* batches queued, waiting for a retry or in flight */
};

struct exporter_output {
    enum body_format format;
    const struct request_plan *requests;
    void *state;
};

struct exporter {
    struct component component;
    bool (*open)(const char *id, const void *settings, struct exporter_output *ret_output,
                 struct error *error);
    /* The page is borrowed until return; so is all it points to, but metrics live on. */
    void (*consume)(void *state, const struct page *page, struct page_slice slice,
                    uint32_t variant);
    /* A batch is complete. False: its points are lost (counted, never fatal). */
    bool (*finish)(void *state, const uint8_t *body, size_t body_bytes);
    /* When something is due by time; returns when to be called next (UINT64_MAX: not needed).
     * May be NULL. */
    uint64_t (*tick)(void *state, uint64_t now_ns);
    void (*close)(void **state); /* `state` NULL inside is fine */
};

extern const struct exporter otlp_http_exporter, file_exporter, debug_exporter, console_exporter;

/* The exporter whose component this is; NULL when it is none of ours. */
const struct exporter *exporter_find(const struct component *component);
