/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <libpq-fe.h>

#include "catalog/catalog.h"
#include "tools/sim/recording_data.h"

/* A recording while it is made; private to record*.c. One connection, one thread. */
struct recorder {
    PGconn *conn;
    struct recording *recording;
    struct arena *arena; /* the recording's */
};

/* One query of the catalogue: its statement in the newer and in the older model; either may be
 * NULL. A statement that fails on the server is recorded as such; false when the answer cannot be
 * read. */
bool record_query(struct recorder *recorder, const struct statement *semconv,
                  const struct statement *legacy, struct error *error);

/* Databases, parameters, settings, and the statements that clients other than pgweir send. */
bool record_surroundings(struct recorder *recorder, struct error *error);
void record_extras(struct recorder *recorder);

/* Statements of a file, one per line; blank lines and those that begin with "--" are left out. */
bool record_file(struct recorder *recorder, const char *path, struct error *error);

/* First cell of a statement as text in the arena; NULL with an error when there is none. */
const char *record_text(struct recorder *recorder, const char *sql, struct error *error);
