/* SPDX-License-Identifier: Apache-2.0 */
/* Turns a receiver's settings into what its targets need at every collection: which metrics, which
 * groups, how often. Runs at start and reload. */
#include "shard/receiver.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/memory.h"
#include "config/yaml.h"

static bool unknown(struct error *error, const char *key, const char *name,
                    const char *const *candidates, size_t count)
{
    const char *nearest = yaml_nearest(name, candidates, count);
    if (nearest != NULL)
        return error_set(error, "%s: \"%s\" is not known; did you mean \"%s\"?", key, name,
                         nearest);
    return error_set(error, "%s: \"%s\" is not known; `pgweir catalog` lists what is", key, name);
}

static bool apply_metrics(struct receiver *receiver, struct error *error)
{
    const struct catalog *catalog = receiver->catalog;
    const struct group_map *chosen = &receiver->settings->metrics;
    const char **names = xcalloc(catalog->metric_count + 1, sizeof *names);
    receiver->metric_enabled = xcalloc(catalog->metric_count + 1, sizeof *receiver->metric_enabled);
    for (size_t i = 0; i < catalog->metric_count; i++) {
        names[i] = catalog->metrics[i]->name;
        receiver->metric_enabled[i] = catalog->metrics[i]->enabled;
    }
    bool ok = true;
    for (size_t i = 0; i < chosen->count && ok; i++) {
        size_t at = 0;
        while (at < catalog->metric_count && strcmp(names[at], chosen->keys[i]) != 0)
            at++;
        if (at == catalog->metric_count)
            ok = unknown(error, "metrics", chosen->keys[i], names, catalog->metric_count);
        else
            receiver->metric_enabled[at] = ((struct metric_settings *)chosen->items)[i].enabled;
    }
    free(names);
    return ok;
}

static bool apply_groups(struct receiver *receiver, struct error *error)
{
    const struct catalog *catalog = receiver->catalog;
    const struct group_map *chosen = &receiver->settings->groups;
    CHECK(catalog->group_count <= 64);
    receiver->group_interval_ns =
        xcalloc(catalog->group_count + 1, sizeof *receiver->group_interval_ns);
    for (size_t i = 0; i < catalog->group_count; i++)
        receiver->group_interval_ns[i] = receiver->settings->collection_interval_ns;
    for (size_t i = 0; i < chosen->count; i++) {
        const struct group_settings *group = (struct group_settings *)chosen->items + i;
        size_t at = 0;
        while (at < catalog->group_count && strcmp(catalog->groups[at], chosen->keys[i]) != 0)
            at++;
        if (at == catalog->group_count)
            return unknown(error, "groups", chosen->keys[i], catalog->groups, catalog->group_count);
        if (!group->enabled)
            receiver->group_interval_ns[at] = 0;
        else if (group->interval_ns != 0)
            receiver->group_interval_ns[at] = group->interval_ns;
    }
    return true;
}

bool receiver_init(struct receiver *receiver, const char *id,
                   const struct postgresql_settings *settings, struct error *error)
{
    *receiver = (struct receiver){.id = id, .settings = settings};
    if (catalog_load(&receiver->catalog, settings->query_files.items, settings->query_files.count,
                     error) &&
        apply_metrics(receiver, error) && apply_groups(receiver, error))
        return true;
    receiver_fini(receiver);
    return error_prefix(error, "receivers: %s: ", id);
}

void receiver_fini(struct receiver *receiver)
{
    free(receiver->metric_enabled);
    free(receiver->group_interval_ns);
    catalog_destroy(&receiver->catalog);
    *receiver = (struct receiver){0};
}
