/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/sim/form.h"

/* What a client asked to run: a form of the recording, or one of the few commands that change the
 * session and so are the session's own. */
enum command_kind {
    COMMAND_FORM, /* none: `form` answers it */
    COMMAND_EMPTY,
    COMMAND_BEGIN,
    COMMAND_COMMIT,
    COMMAND_ROLLBACK,
    COMMAND_SAVEPOINT,  /* also RELEASE and ROLLBACK TO: `argument` is the tag */
    COMMAND_DEALLOCATE, /* `argument`: the name; NULL: all */
    COMMAND_DISCARD,
    COMMAND_SET,    /* `argument` and `value`: what the recording does not know how to set */
    COMMAND_RESET,  /* `argument`; NULL: all */
    COMMAND_SHOW,   /* `argument` */
    COMMAND_TAG,    /* LISTEN, …: answered with `argument`, nothing else */
    COMMAND_DENIED, /* COPY, …: `argument` says what is not supported */
};

struct command {
    uint32_t references;
    enum command_kind kind;
    bool local; /* what it sets ends with the transaction */
    const struct form *form;
    uint32_t index;       /* form_index() */
    uint32_t generation;  /* of the script that `rules` is about; 0: of none */
    uint64_t rules;       /* that the form's name matches */
    struct command *next; /* in the table's bucket */
    char *argument, *value;
};

/* The statements of one book's forms: one each, so that equal ones are the same pointer. */
struct command_table {
    struct command **buckets;
    uint32_t bucket_count, count;
};

void command_table_init(struct command_table *table);
void command_table_fini(struct command_table *table);

/* The statement of this SQL, with a reference for the caller; NULL with a problem. */
struct command *command_make(struct command_table *table, struct form_book *book, const char *sql,
                             size_t sql_bytes, const char *database,
                             struct form_problem *ret_problem);
struct command *command_acquire(struct command *command);
void command_release(struct command *command);

/* Whether both do the same. */
bool command_equal(const struct command *a, const struct command *b);

/* The next statement of a simple query's text from *at on, without blanks and semicolon around it;
 * false at the end. *at moves behind its semicolon. */
bool command_split(const char **at, const char *end, const char **ret_sql, size_t *ret_bytes);

/* "5s", "500", "1min" as SET statement_timeout takes it, in ms. */
bool command_milliseconds(const char *text, uint32_t *ret_ms);
