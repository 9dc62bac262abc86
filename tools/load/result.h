/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <jansson.h>

#include "tools/load/outcome.h"

/* result.json: what report pages, comparisons and the model read (docs/load.md has the keys). What
 * is not known is null. */
struct result_head {
    const struct scenario *scenario;
    const char *command; /* as typed */
    const char *commit;  /* NULL: not known */
};

json_t *result_json(const struct result_head *head, const struct outcome *outcome);
bool result_write(const struct result_head *head, const struct outcome *outcome, const char *path,
                  struct error *error);
