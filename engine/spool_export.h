/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* `pgweir spool export`: what waits in a spool, written where it can be sent from by other means.
 */
struct spool_export {
    const char *to; /* folder: a file for each batch, as it would be sent */
    bool plain;     /* else all to standard output, decompressed, each behind its length */
};

/* One destination; `name` of it below the folder, "" for the folder itself. False where something
 * could not be read or written; the rest is written nevertheless. */
bool spool_export(const char *path, const struct spool_export *options, const char *name,
                  struct error *error);

/* "gzip", "none", … of a record's encoding. */
const char *spool_compression_text(uint32_t encoding);
