/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "tools/sim/recording.h"

/* A *form* is a statement as a client prepared it, compiled against a recording, a shape and a
 * database: the bytes of its answer with the places where numbers go. It is made once and shared by
 * all servers and connections of a thread (a book belongs to one thread); answering an execution is
 * one copy and a few stores per number: no malloc, no look-up. What the numbers are, is in
 * workload.h. */

/* How many there are of what a server has; 0: as recorded. Of n recorded ones, number i (from 0) is
 * the recorded number i % n, with suffix _2, _3, … from its second time on: app, billing, app_2,
 * billing_2, …; fewer than recorded: the first ones. The database "postgres" is always there once,
 * and not counted. */
struct shape {
    uint32_t databases, tables, statements; /* tables and statements: of each database */
    uint64_t seed;
};

struct form_book;
struct form;

struct form_book *form_book_create(const struct recording *recording, const struct shape *shape);
void form_book_destroy(struct form_book **book);

/* Whether there is such a database. Besides those of the shape: "postgres", "template1" and the one
 * recorded in. */
bool form_book_database(const struct form_book *book, const char *database);

struct form_problem {
    char sqlstate[6];
    char text[256];
};

/* The form of this SQL (one statement) on this database, made when first asked for; NULL with a
 * problem where the recording has no answer to it (0A000), no such database (3D000), or the server
 * answered with an error when recorded (its own). Lives as long as the book. */
const struct form *form_find(struct form_book *book, const char *sql, size_t sql_bytes,
                             const char *database, struct form_problem *ret_problem);

const char *form_name(const struct form *form); /* the query's name, "probe" or "other" */
/* Dense, from 0, for counters of steps: one for each server-scope query whatever the database, one
 * for each database and database-scope query, one for everything else. */
uint32_t form_index(const struct form *form);
uint32_t form_book_indexes(const struct form_book *book); /* all form_index() values are below */
bool form_recorded(const struct form *form);              /* of the catalogue (not SELECT 1) */
uint32_t form_rows(const struct form *form);
uint32_t form_values(const struct form *form);     /* numeric non-NULL cells (array elements) */
uint32_t form_parameters(const struct form *form); /* $1 … */
uint32_t form_columns(const struct form *form);
const char *form_tag(const struct form *form); /* of CommandComplete: "SELECT 1", "BEGIN", "SET" */

/* Result formats as Bind gives them: 0 text, 1 binary; for all columns or one each. */
struct form_formats {
    const uint8_t *codes; /* big-endian int16s, as in Bind */
    uint16_t count;
};

/* Who answers, and when: the step, the start of its statistics, its role. */
struct form_moment {
    uint64_t server;  /* number */
    uint64_t step;    /* 0: the numbers as recorded */
    int64_t start_us; /* since 2000-01-01, as a timestamptz is sent */
    int64_t now_us;   /* the server's clock */
    bool recovery;
};

/* RowDescription or NoData, a whole message; returns its bytes. `to` NULL: only how many. */
size_t form_describe(const struct form *form, struct form_formats formats, uint8_t *to);

/* DataRows and CommandComplete. form_bytes() is an upper bound of what form_write() writes; exact
 * where all formats are binary. Returns the bytes written. */
size_t form_bytes(const struct form *form, struct form_formats formats);
size_t form_write(const struct form *form, struct form_formats formats,
                  const struct form_moment *moment, uint8_t *to);

/* What SET, RESET and set_config() set, so that the session can follow: "statement_timeout" and its
 * value, times in ms without a unit; NULL: nothing. */
const char *form_setting(const struct form *form, const char **ret_value);
