/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "catalog/catalog.h"

/* What the tests of the catalogue share. Failures end the test. */

enum { FIXTURE_FIELDS_MAX = 12 };

/* Calls `row` with the fields of each line of a tab-separated file but the first. */
void fixture_rows(const char *path, void (*row)(void *owner, char **fields), void *owner);

/* What a server of this major version has, by views.tsv (every view column of 12 to 19). */
struct capabilities fixture_capabilities(const struct catalog *catalog, unsigned major,
                                         bool recovery);

/* A loaded catalogue, with a user's own documents in `text` where not NULL. */
struct catalog *fixture_catalog(const char *text);

/* Loads a user's own document, which must fail; the error's text. */
const char *fixture_load_error(const char *text, struct error *error);

/* A plan with every metric enabled, or only the default ones. */
struct plan *fixture_plan(const struct catalog *catalog, const struct capabilities *capabilities,
                          enum catalog_model model, bool all);

/* The statement of that name, or NULL. */
const struct statement *fixture_statement(const struct plan *plan, const char *name);
