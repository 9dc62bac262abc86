/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* What one real server answered to the whole catalogue: a JSON file, made by `pgweir-sim record`.
 * It holds the answers by *expression*: each element of a statement's select list ("s.xact_commit
 * ::int8") with its cells, so that any choice of metrics and either model can be answered from it.
 * Immutable after loading; shared by all threads. */
struct recording;

/* A path, or the name of one that comes with the program ("pg18"); NULL: the built-in recording.
 * Recordings are untrusted bytes; errors say where ("FILE: queries[3].answers[0]: …"). */
bool recording_load(struct recording **ret_recording, const char *path, struct error *error);
void recording_destroy(struct recording **recording);

uint32_t recording_version_num(const struct recording *recording); /* 170010 */
bool recording_recovery(const struct recording *recording);        /* of a standby */

/* Value of a ParameterStatus ("server_version", "server_encoding", …), in order; NULL past the
 * last. Those that depend on the session (application_name, session_authorization) are not there.
 */
const char *recording_parameter(const struct recording *recording, size_t index,
                                const char **ret_name);

/* Names of the databases that were there, templates left out, in order; NULL past the last. */
const char *recording_database(const struct recording *recording, size_t index);

/* What to record. Neither a connection string nor any part of one is in the file. */
struct recording_source {
    const char *dsn;
    const char *also; /* DSN of a server of the other role, the same version; NULL: none. What only
                         it can answer is added, so that a simulated server can change its role. */
    const char *const *catalogs; /* a user's own query files */
    size_t catalog_count;
    const char *sql_file; /* further statements, one per line; NULL: none */
};

/* Asks and writes the file. Says on stderr which statements failed (their errors are recorded). */
bool recording_make(const struct recording_source *source, const char *path, struct error *error);
