/* SPDX-License-Identifier: Apache-2.0 */
/* The file_storage extension: where queues of exporters live that name it in
 * sending_queue::storage, with the Collector's keys. Only its directory matters: the format is our
 * spool's (ring/spool.h), which needs neither compaction nor a time-out for a lock. */
#include <stddef.h>

#include "exporters/worker.h"

static bool validate(const void *settings, struct error *error)
{
    const struct storage_settings *storage = settings;
    if (storage->directory == NULL || storage->directory[0] != '/')
        return error_set(error, "directory must be an absolute path, e.g. /var/lib/pgweir/spool");
    return true;
}

#define IGNORED(name, why)                                                                         \
    {                                                                                              \
        .key = (name), .type = OPTION_IGNORED, .help = (why)                                       \
    }

static const struct option options[] = {
    {.key = "directory",
     .type = OPTION_TEXT,
     .offset = offsetof(struct storage_settings, directory),
     .fallback = "/var/lib/otelcol/file_storage",
     .help = "Where; each exporter has a directory of its own in it."},
    IGNORED("timeout", "no lock is waited for"),
    IGNORED("compaction", "whole segments are removed as soon as they are delivered"),
    IGNORED("fsync", "group commits are always made (spool::flush_interval of the exporter)"),
    IGNORED("create_directory", "it is always created"),
    IGNORED("directory_permissions", "always 0700"),
    IGNORED("recreate", "damage is skipped and counted"),
    {.key = NULL},
};

const struct component file_storage_extension = {
    .kind = COMPONENT_EXTENSION,
    .type = "file_storage",
    .about = "Keeps exporters' queues on disk (sending_queue::storage)",
    .stability = "beta",
    .table = {.size = sizeof(struct storage_settings), .options = options},
    .validate = validate,
};
