/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "catalog/catalog.h"
#include "tools/sim/form.h"

/* What the tests of recordings and forms share: a book over a recording, asked as a collector asks,
 * and the answers read as a client reads them, every length checked. Failures end the test. */

struct cell {
    const uint8_t *data; /* NULL: NULL */
    uint32_t bytes;
};

struct column {
    const char *name;
    uint32_t oid;
    int16_t size, format;
};

struct answer {
    uint8_t *messages; /* as written */
    size_t bytes;
    uint32_t row_count, column_count;
    struct cell *cells;
    char tag[64];
};

struct forms {
    struct recording *recording;
    struct form_book *book;
    struct catalog *catalog;
    struct capabilities capabilities; /* as the probe's form tells them */
    bool *enabled;                    /* by metric: all */
};

extern const char
    *const forms_recordings[]; /* paths of all that come with the program; NULL ends */
extern const struct form_formats forms_binary, forms_text;

/* `path` NULL: the built-in recording. */
void forms_open(struct forms *forms, const char *path, struct shape shape);
/* From a JSON text. */
void forms_open_text(struct forms *forms, const char *json, struct shape shape);
void forms_close(struct forms *forms);

struct plan *forms_plan(const struct forms *forms, enum catalog_model model, const bool *enabled);
const struct statement *forms_statement(const struct plan *plan, const char *name);

const struct form *forms_find(const struct forms *forms, const char *sql, const char *database);
/* That there is none; returns the problem's text, *ret_sqlstate its code. */
const char *forms_refusal(const struct forms *forms, const char *sql, const char *database,
                          const char **ret_sqlstate);

/* A moment of server 1. */
struct form_moment forms_moment(uint64_t step);

/* The answer of one execution; written into exactly form_bytes() of memory. */
void forms_ask(const struct form *form, struct form_formats formats,
               const struct form_moment *moment, struct answer *ret);
void answer_free(struct answer *answer);

/* The RowDescription; caller frees. */
struct column *forms_columns(const struct form *form, struct form_formats formats);

const struct cell *answer_cell(const struct answer *answer, uint32_t row, uint32_t column);
/* An element of a binary cell, from 1, or the cell (0). False: NULL. */
bool answer_bits(const struct answer *answer, uint32_t row, uint32_t column, uint32_t element,
                 uint64_t *ret_bits);
bool answer_is(const struct answer *answer, uint32_t row, uint32_t column, const char *text);
/* The cell as text; valid until the next call but seven. */
const char *answer_text(const struct answer *answer, uint32_t row, uint32_t column);
double bits_real(uint64_t bits);
