/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/component.h>

#include "exporters/otlp/encode.h"
#include "exporters/remote/name.h"
#include "exporters/space.h"

/* Step 8 of 9 for remote write 1.0: page in, prometheus.WriteRequest out. A request is the
 * concatenation of what is encoded for its pages, written head to tail, because the samples of a
 * series must stand in order of time. No memory is taken per point, and what the encoder remembers
 * from page to page is bounded whatever the fleet's size: metrics' names, and when each target's
 * target_info was last written. One thread.
 * Source: prometheus.io/docs/specs/prw/remote_write_spec, prometheus/prompb/remote.proto. */
struct remote_settings {
    struct prom_naming naming;
    struct text_map external_labels; /* names valid, together at most LIMIT_ATTRS_BYTES */
    bool resource_labels;            /* all attributes of resources become labels of every series */
    bool exclude_service;            /* of these, service.* not */
    bool target_info;                /* once a minute and target */
    bool metadata;                   /* kind, unit and description, once a minute and metric */
    bool scope_labels;               /* otel_scope_name, otel_scope_version */
};

struct remote_encoder;

/* Texts in `settings` are borrowed as long as the encoder lives. */
struct remote_encoder *remote_encoder_create(const struct remote_settings *settings);
void remote_encoder_destroy(struct remote_encoder **encoder);

/* Writes the slice from `at` on, nowhere behind `end`; returns the byte behind the last, or NULL
 * when it does not fit (what lies between is then garbage, and nothing counts as said). `variant`
 * of the resources. */
uint8_t *remote_encode(struct remote_encoder *encoder, const struct page *page,
                       struct page_slice slice, uint32_t variant, struct space space);
