/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* The whole file with a NUL behind, to be freed; NULL when it cannot be read or is larger than
 * `bytes_max`. The error names the file. */
char *files_read(const char *path, size_t bytes_max, size_t *ret_bytes, struct error *error);

/* Writes a new file through a temporary one, so that readers see all of it or nothing. */
bool files_write(const char *path, const char *text, size_t bytes, struct error *error);

/* Makes the directory and those above it that are missing. */
bool files_make_directory(const char *path, struct error *error);
