/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/component.h>

#include "ring/page.h"

/* Who is observed: the OTLP resource of each target, and the `resource` processor that changes
 * resources per pipeline. Resources never change after they are built, so the processor runs once
 * per target and pipeline, not once per point. */

enum resource_action_kind { RESOURCE_INSERT, RESOURCE_UPDATE, RESOURCE_UPSERT, RESOURCE_DELETE };

struct resource_action {
    const char *key;
    const char *value;
    const char *from_attribute;
    int action; /* enum resource_action_kind */
};

/* Settings of processor `resource`: the Collector's. Values are text. */
struct resource_settings {
    struct group_list attributes; /* of struct resource_action, in order */
};

extern const struct component resource_processor;

/* The processors of each variant: variant 0 has none; variant v runs `chains[v]` in order. */
struct resource_chain {
    const struct resource_settings *steps[8];
    size_t step_count;
};

struct resource_chains {
    struct resource_chain chains[LIMIT_PIPELINES];
    uint32_t count; /* at least 1 */
};

/* Builds all variants of a resource whose own attributes are `base` (tag ATTRS_RESOURCE; stays the
 * caller's). resource_destroy() frees; never NULL. */
struct resource *resource_create(const struct attrs *base, const struct resource_chains *chains);
void resource_destroy(struct resource **resource);

/* service.instance.id of the OTel receiver's newer model: UUIDv5 of "host:port" (of
 * "unix\0hostname\0directory" for a socket) in its namespace, with a loopback host replaced by this
 * machine's name ("name/127.0.0.2" where it is another of 127.0.0.0/8). Writes 36 characters and a NUL. */
void resource_instance_id(const char *host, uint16_t port, char ret_id[37]);

/* The host as it goes on the wire: loopback and sockets become this machine's name. */
const char *resource_public_host(const char *host);
