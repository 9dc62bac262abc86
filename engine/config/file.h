/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* Reads a whole file of at most `limit_bytes`; the text ends with a NUL. It may be a secret: give
 * it back with file_free(), which wipes it. The error names the path. */
bool file_read(const char *path, size_t limit_bytes, char **ret_text, size_t *ret_bytes,
               struct error *error);

void file_free(char **text, size_t bytes);
