/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"

/* SQL as PostgreSQL's lexer cuts it, as far as needed to find the parts of a statement: what is
 * inside quotes, dollar quotes and comments is never mistaken for structure. Any bytes are fine. */
enum sql_kind {
    SQL_END,
    SQL_SPACE,     /* blanks */
    SQL_COMMENT,   /* one, nested ones included */
    SQL_WORD,      /* keyword or identifier */
    SQL_NAME,      /* "identifier" */
    SQL_NUMBER,    /* 1, 1.5e3 */
    SQL_STRING,    /* 'x', E'x', $tag$x$tag$ */
    SQL_PARAMETER, /* $1 */
    SQL_OPEN,      /* ( or [ */
    SQL_CLOSE,     /* ) or ] */
    SQL_OTHER,     /* any other byte */
};

struct sql_token {
    enum sql_kind kind;
    const char *text;
    size_t bytes;
};

/* The token at `at`; SQL_END (0 bytes) at `end`. */
struct sql_token sql_scan(const char *at, const char *end);

/* The next token that is neither blank nor comment; moves *at behind it. */
struct sql_token sql_next(const char **at, const char *end);

/* A word, whatever its case; or one byte of SQL_OPEN, SQL_CLOSE and SQL_OTHER. */
bool sql_is(struct sql_token token, const char *word);

/* What the token says, NUL-terminated: a string's or name's contents, a word in small letters. */
char *sql_value(struct arena *arena, struct sql_token token);

/* The text without blanks and comments at its ends, each run of them within as one blank. */
char *sql_normalise(struct arena *arena, const char *at, const char *end);

/* The same with words in small letters and, where `wild`, each number, string and parameter as "?";
 * a semicolon at the end is dropped. */
char *sql_fold(struct arena *arena, const char *at, const char *end, bool wild);
