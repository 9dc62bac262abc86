/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "config/yaml.h"

/* ${env:NAME}, ${env:NAME:-default}, ${NAME}, ${file:/path} (one trailing newline cut) replaced in
 * a scalar; $$ is a dollar. What was put in is not expanded again. Returns the node itself when
 * there is nothing to replace (or it is no scalar), NULL when it cannot be done: the error has the
 * place and never a value. */
const struct yaml_node *expand(struct arena *arena, const struct yaml_node *node,
                               struct error *error);

/* Like expand(); where a list or map is wanted and the text put in is one, it is parsed as YAML
 * (targets: ${file:/etc/pgweir/targets.yaml}). The result may still be of another kind. */
const struct yaml_node *expand_to(struct arena *arena, const struct yaml_node *node,
                                  enum yaml_kind wanted, struct error *error);
