/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "config/yaml.h"

/* Reads and merges sources in order: a path, `file:PATH`, `env:NAME` or `yaml:TEXT`. Maps merge,
 * all else replaces; a null leaves what was there. The root is a mapping, or null when all are
 * empty. */
bool source_load(struct arena *arena, const char *const *sources, size_t source_count,
                 const struct yaml_node **ret_root, struct error *error);
