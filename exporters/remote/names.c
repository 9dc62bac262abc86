/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics are told by their address, which stays theirs while the process lives. */
#include "exporters/remote/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "exporters/remote/told.h"

enum { SPACE_MIN = 64 };

static const char *const suffixes[NAME_FORMS] = {"", "_count", "_sum", "_bucket"};

void remote_names_init(struct remote_names *names, const struct prom_naming *naming)
{
    *names = (struct remote_names){.naming = naming, .space = SPACE_MIN};
    names->slots = xcalloc(names->space, sizeof(struct remote_name *));
}

void remote_names_fini(struct remote_names *names)
{
    for (size_t i = 0; i < names->space; i++) {
        struct remote_name *name = names->slots[i];
        for (int form = 0; name != NULL && form < NAME_FORMS; form++)
            free(name->pieces[form]);
        free(name);
    }
    free(names->slots);
}

static struct remote_name **slot_of(struct remote_name **slots, size_t space,
                                    const struct metric *metric)
{
    uint64_t mixed = (uint64_t)(uintptr_t)metric * 0x9e3779b97f4a7c15ull;
    size_t slot = (size_t)(mixed >> 32) & (space - 1);
    while (slots[slot] != NULL && slots[slot]->metric != metric)
        slot = (slot + 1) & (space - 1);
    return &slots[slot];
}

static void grow(struct remote_names *names)
{
    size_t space = 2 * names->space;
    struct remote_name **slots = xcalloc(space, sizeof(struct remote_name *));
    for (size_t i = 0; i < names->space; i++)
        if (names->slots[i] != NULL)
            *slot_of(slots, space, names->slots[i]->metric) = names->slots[i];
    free(names->slots);
    names->slots = slots;
    names->space = space;
}

static struct remote_name *make(const struct remote_names *names, const struct metric *metric,
                                struct labels *labels)
{
    char text[PROM_NAME_BYTES + 8];
    struct remote_name *name = xcalloc(1, sizeof *name);
    name->metric = metric;
    name->told_ms = NEVER_MS;
    size_t bytes = prom_metric_name(text, metric, names->naming);
    for (int form = 0; form < (metric_is_number(metric) ? 1 : (int)NAME_FORMS); form++) {
        strcpy(text + bytes, suffixes[form]);
        labels_begin(labels);
        labels_put(labels, "__name__", text, strlen(text), LABELS_REPLACE);
        name->pieces[form] = piece_create(labels);
    }
    return name;
}

struct remote_name *remote_names_find(struct remote_names *names, const struct metric *metric,
                                      struct labels *labels)
{
    struct remote_name **slot = slot_of(names->slots, names->space, metric);
    if (*slot != NULL)
        return *slot;
    if (2 * (names->count + 1) > names->space) {
        grow(names);
        slot = slot_of(names->slots, names->space, metric);
    }
    names->count++;
    *slot = make(names, metric, labels);
    return *slot;
}
