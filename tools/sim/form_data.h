/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <string.h>

#include "tools/sim/form.h"
#include "tools/sim/recording_data.h"
#include "tools/sim/select_list.h"

/* Forms inside; private to form*.c. */

enum {
    FORMS_MAX = 65536,        /* of one book: different statements and databases */
    FORM_BYTES_MAX = 1 << 30, /* one answer; places are 32 bits wide */
    FORM_ROWS_MAX = 1000000,
    FORM_DATABASES_MAX = 1000000,
};

/* Bytes that grow while a form is made. */
struct form_buffer {
    uint8_t *data;
    size_t count, room;
};

void form_buffer_put(struct form_buffer *buffer, const void *data, size_t bytes);
void form_buffer_put16(struct form_buffer *buffer, uint16_t value);
void form_buffer_put32(struct form_buffer *buffer, uint32_t value);
void form_buffer_put64(struct form_buffer *buffer, uint64_t value);

struct form_column {
    const char *name;
    uint32_t oid;
    int16_t size;
    int32_t modifier;
};

/* A number of a monotonic sum; eight bytes at `offset` of the template. */
struct form_count {
    uint32_t offset, place; /* workload_place() */
};

/* Any other number that moves. */
struct form_gauge {
    uint32_t offset, place;
    union {
        int64_t integer;
        double real;
    };
};

/* What `offset` alone says enough about. */
enum form_spot { SPOT_START, SPOT_NOW, SPOT_RECOVERY, FORM_SPOTS };

/* Fields that one execution reads first. */
struct form {
    uint8_t *bytes; /* DataRows in binary and CommandComplete: the template */
    size_t byte_count;
    uint64_t seed; /* of its statement, see workload_execution() */
    struct form_count *counts, *count_reals;
    struct form_gauge *gauges, *gauge_reals;
    uint32_t count_count, count_real_count, gauge_count, gauge_real_count;
    uint32_t *spots[FORM_SPOTS];
    uint32_t spot_counts[FORM_SPOTS];
    uint32_t rows, values, parameters, index;
    bool recorded;
    uint8_t *text; /* the same in text, where it is not made from the binary cells; or NULL */
    size_t text_count;
    size_t bound; /* of form_write() in any mix of formats */
    struct form_column *columns;
    uint32_t column_count;
    const char *name, *tag, *setting, *value;
};

/* A form while it is made: its parts, in buffers that form_finish() makes its own. */
struct form_maker {
    struct form_book *book;
    struct arena *arena; /* the book's */
    struct form *form;
    struct form_buffer bytes, text, counts, count_reals, gauges, gauge_reals;
    struct form_buffer spots[FORM_SPOTS];
    size_t row_at, text_row_at; /* where the open row begins */
    size_t bound;
};

void form_begin(struct form_maker *maker, struct form_book *book, const char *name);
void form_row_begin(struct form_maker *maker, uint32_t columns);
void form_row_end(struct form_maker *maker);
/* A cell of the open row; `data` NULL: NULL. */
void form_put_cell(struct form_maker *maker, const void *data, uint32_t bytes, size_t text_bound);
void form_put_spot(struct form_maker *maker, enum form_spot spot, size_t at);
/* `tag` NULL: "SELECT rows". NULL where the answer is too big. */
struct form *form_finish(struct form_maker *maker, const char *tag);
void form_free(struct form *form);

/* A database or table that rows are multiplied by. */
struct form_base {
    const char *scope, *name; /* a table's namespace; "" */
};

struct form_book {
    struct arena arena;
    const struct recording *recording;
    struct shape shape;
    const char **bases; /* recorded databases that are multiplied */
    uint32_t base_count;
    const char **databases; /* all that exist; their place is their number */
    uint32_t database_count;
    struct form_base *tables; /* recorded, in order */
    uint32_t table_count;
    uint32_t server_queries, database_queries; /* form_index() */
    uint32_t *query_numbers;                   /* by query: within its scope */
    const char **folded, **wild;               /* by extra: sql_fold() of it */
    struct form **extras;                      /* two by extra; NULL: not made yet */
    struct form_entry *entries;                /* hash table, open addressing */
    uint32_t entry_count, entry_room;          /* a power of two */
    struct form **forms;                       /* all, for the end */
    uint32_t form_count;
};

/* Places of a row in a multiplied answer: 0 is the recorded one, 1 gets suffix _2, … */
struct form_row {
    uint32_t row;     /* recorded */
    uint32_t ordinal; /* before the filter */
    uint32_t database, table, statement;
};

/* The rows of an answer, multiplied and filtered; caller frees. NULL: too many. */
struct form_row *form_rows_make(const struct form_book *book, const struct recording_query *query,
                                const struct recording_answer *answer,
                                const struct select_list *list, uint32_t *ret_count);
/* form_rows.c: the databases and tables; what a book knows from the start. */
void form_book_bases(struct form_book *book);
uint32_t form_database_number(const struct form_book *book, const char *database);

/* One function per kind of statement; NULL with a problem, or NULL without one: not of this kind.
 */
struct form *form_make_query(struct form_book *book, const char *sql, size_t bytes,
                             const char *database, struct form_problem *problem);
struct form *form_make_probe(struct form_book *book, const char *sql, size_t bytes,
                             struct form_problem *problem);
struct form *form_make_native(struct form_book *book, const char *sql, size_t bytes,
                              const char *database, struct form_problem *problem);
struct form *form_make_extra(struct form_book *book, const struct recording_extra *extra);

void form_problem_set(struct form_problem *problem, const char *sqlstate, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* form_text.c: a binary cell in PostgreSQL's text format; returns its bytes. */
size_t form_text_cell(uint32_t oid, const uint8_t *cell, uint32_t bytes, char *to);
/* Most bytes it can have, for cells of `bytes`. */
size_t form_text_bound(uint32_t oid, uint32_t bytes);
