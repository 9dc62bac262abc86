/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "config/yaml.h"

/* What is wrong with a configuration: several problems, one per line of the error text, so that a
 * user mends a file in one go. Those past PROBLEMS_MAX or past the text's end are only counted. */
enum { PROBLEMS_MAX = 10 };

struct problems {
    struct error *error;
    unsigned count;    /* all */
    unsigned left_out; /* of these, not in the text */
    unsigned warned_count;
    const void *warned[64];
};

/* Adds "file:line:column: what"; returns false. */
bool problem_add(struct problems *problems, const struct yaml_node *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Adds a text that has its place already. */
bool problem_add_text(struct problems *problems, const char *text);

/* True when there were none; otherwise says at the text's end how many were left out. */
bool problems_finish(struct problems *problems);

/* Logs a warning with its place, once for each `about` (an address that names what it is about;
 * NULL: always), as the same key may stand in ten thousand targets. */
void problem_warn(struct problems *problems, const struct yaml_node *node, const void *about,
                  const char *format, ...) __attribute__((format(printf, 4, 5)));
