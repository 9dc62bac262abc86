/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "config/config.h"
#include "config/fill.h"
#include "config/service.h"

/* A component id as it is written, taken apart: "otlphttp/nr" → component otlp_http, canonical id
 * "otlp_http/nr". `component` is NULL where the type is not known. */
struct component_id {
    const struct component *component;
    const char *canonical;
    bool alias; /* written with a name of old */
};

struct component_id component_id(struct arena *arena, component_registry registry,
                                 enum component_kind kind, const char *text);

/* Makes pipelines and extensions of the names in `file`; `service` is the node they came from, for
 * places. Adds a problem for each name that leads nowhere and warns of components nobody uses. */
void pipelines_resolve(struct filler *filler, component_registry registry,
                       const struct service_file *file, const struct yaml_node *service,
                       struct config *config);
