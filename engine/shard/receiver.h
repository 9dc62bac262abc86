/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "catalog/catalog.h"
#include "pg/settings.h"
#include "shard/resource.h"

/* One configured `postgresql` receiver: what all its targets share. Built and owned by the main
 * thread, immutable while shards run. */
struct receiver {
    const char *id;
    const struct postgresql_settings *settings;
    struct catalog *catalog;
    bool *metric_enabled;        /* by index into catalog->metrics */
    uint64_t *group_interval_ns; /* by index into catalog->groups; 0: not collected */
    uint32_t route;              /* on this receiver's pages */
    const struct resource_chains *chains;
};

/* Loads the catalogue and applies `metrics:` and `groups:`; unknown names are errors with the
 * nearest known one. */
bool receiver_init(struct receiver *receiver, const char *id,
                   const struct postgresql_settings *settings, struct error *error);
void receiver_fini(struct receiver *receiver);
