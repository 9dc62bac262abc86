/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdio.h>

#include "base/arena.h"
#include "tools/sim/recording.h"

/* A recording in memory, private to recording*.c, record*.c and form*.c. Everything lies in its
 * arena. recordings/README.md describes the file. */

enum { RECORDING_VERSION = 1, RECORDING_BYTES_MAX = 256 << 20 };

/* Bounds of one recording; a bigger file is refused. */
enum {
    RECORDING_QUERIES_MAX = 1024,
    RECORDING_COLUMNS_MAX = 1024,
    RECORDING_ROWS_MAX = 100000,
    RECORDING_NAMES_MAX = 4096, /* databases, parameters, settings, probe names, extras */
};

/* What an element was cast to; the types that plan.c asks for. */
enum recording_type { TYPE_TEXT, TYPE_TIMESTAMPTZ, TYPE_INT8, TYPE_FLOAT8, RECORDING_TYPES };

/* What an element is for, which decides how it is multiplied and how it moves. */
enum recording_role {
    ROLE_OTHER,     /* as recorded */
    ROLE_ATTRIBUTE, /* as recorded */
    ROLE_DATABASE,  /* server scope: the row's database; database scope: begins with its name */
    ROLE_TABLE,     /* relation name: gets the table's suffix */
    ROLE_INDEX,     /* index name: gets the suffix of its table */
    ROLE_STATEMENT, /* query id: gets the statement's suffix */
    ROLE_COUNTER,   /* of a monotonic sum: carries the step */
    ROLE_GAUGE,     /* moves a little */
    ROLE_START,     /* since when counters count */
    RECORDING_ROLES
};

enum recording_scope { SCOPE_SERVER, SCOPE_DATABASE };

extern const char *const recording_type_names[RECORDING_TYPES];
extern const char *const recording_role_names[RECORDING_ROLES];
extern const char *const recording_scope_names[2];
extern const uint32_t recording_type_oids[RECORDING_TYPES];

struct recording_column {
    const char *sql; /* the element, as sql_normalise() leaves it */
    enum recording_type type;
    enum recording_role role;
    const char *key; /* of the attribute it is (part of); NULL: none */
};

struct recording_cell {
    bool null;
    union {
        const char *text;
        int64_t integer; /* int8; timestamptz: microseconds since 2000-01-01 */
        double real;
    };
};

struct recording_answer {
    struct recording_column *columns;
    uint32_t column_count, row_count;
    struct recording_cell *cells; /* row by row */
};

struct recording_query {
    const char *name, *group;
    enum recording_scope scope;
    struct recording_answer *answers;
    uint32_t answer_count;
    const char *sqlstate, *message; /* it failed, instead of answers */
};

struct recording_pair {
    const char *name, *value;
};

/* A statement that is not of the catalogue, with its answer in both formats. */
struct recording_extra_column {
    const char *name;
    uint32_t oid;
    int16_t size;
    int32_t modifier;
};

struct recording_bytes {
    const uint8_t *data; /* NULL: the cell is NULL */
    uint32_t bytes;
};

struct recording_extra {
    const char *sql; /* as it was sent */
    const char *tag; /* "SELECT 1" */
    struct recording_extra_column *columns;
    uint32_t column_count, row_count;
    struct recording_bytes *text, *binary; /* row by row */
};

struct recording {
    struct arena arena;
    const char *server_version, *recorded;
    uint32_t version_num;
    bool recovery;
    const char *database; /* that database-scope statements were asked in */
    const char **databases;
    uint32_t database_count;
    struct recording_pair *parameters, *settings;
    uint32_t parameter_count, setting_count;
    const char **present; /* names of the probe that are there */
    uint32_t present_count;
    struct recording_query *queries;
    uint32_t query_count;
    struct recording_extra *extras;
    uint32_t extra_count;
};

/* `place`: for messages. The bytes need not end with NUL. */
bool recording_read(struct recording **ret_recording, const char *place, const char *json,
                    size_t bytes, struct error *error);

/* What recording_read() reads back the same; false when the stream failed. */
bool recording_write(const struct recording *recording, FILE *to);

/* The path of a recording that comes with the program; false when there is none of that name. */
bool recording_find(const char *name, char *ret_path, size_t path_bytes);

/* The built-in one (recordings/builtin.c). */
extern const char recording_builtin_begin[], recording_builtin_end[];
