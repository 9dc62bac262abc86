/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/component.h>

#include "config/problem.h"

/* Settings structs out of YAML, by option tables. All texts and lists are the arena's. */
struct filler {
    struct arena *arena;
    struct problems problems;
};

/* Sets every field to its default, nested groups included. `settings` is zeroed memory of
 * table->size bytes. A default that its own row refuses is a bug. */
void fill_defaults(struct filler *filler, const struct option_table *table, void *settings);

/* Sets the fields that `node`, a mapping or null under the key `name`, names; the others stay. Adds
 * a problem for all that is wrong, a required key that is missing included; false then. */
bool fill(struct filler *filler, const char *name, const struct yaml_node *node,
          const struct option_table *table, void *settings);

/* The node a path such as `targets[3].tls.ca_file: …` leads to, as far as it can be followed. */
const struct yaml_node *fill_follow(const struct yaml_node *node, const char *path);

/* Adds the problem "unknown key" with the nearest or all of the known ones; returns false. */
bool fill_unknown(struct filler *filler, const struct yaml_node *key, const char *const *known,
                  size_t known_count);
