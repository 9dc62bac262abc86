/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "pg/decode.h"
#include "pg/entity.h"

struct value_type;

/* What decode.c sees of a series table. Shard's thread only. */

/* A column whose cells are part of the key. */
struct key_column {
    uint32_t oid; /* of the last result */
    uint16_t column;
};

/* What a statement's points need, chosen once per result. */
struct point_binding {
    uint32_t oid;
    uint16_t counter;              /* index into entity->counters, or COUNTER_NONE */
    const struct value_type *type; /* NULL: no number, no points */
};

enum { COUNTER_NONE = UINT16_MAX, RESULTS_UNSEEN_MAX = 5 };

struct series_table {
    const struct statement *statement;
    uint32_t shard;
    uint32_t result; /* counts up with each result */
    /* entity of each row of this result, and while it is matched, of the one before; NULL: a row
     * that repeats another's attributes */
    struct entity **rows;
    uint32_t row_count, row_capacity;
    /* all entities by hash of their key: open addressing, linear probing, at most half full */
    struct entity **slots;
    uint32_t slot_mask; /* slots − 1; UINT32_MAX: none yet */
    uint32_t entity_count;
    uint64_t seed;
    /* in the order of the attributes, each column once; behind the points, in the same block: a
     * fleet has dozens of tables per server */
    struct key_column *key_columns;
    uint32_t key_column_count;
    uint32_t counter_count;
    const struct value_type *start_type; /* NULL: no start column */
    const struct resource *resource;     /* what own resources were made from */
    uint8_t *key;                        /* the key of a row that was not where it was */
    size_t key_capacity;
    const char *problem; /* what ret_problem will say next */
    uint32_t problems_said;
    char *problem_text;            /* made when first needed */
    struct point_binding points[]; /* of each statement point */
};

/* Things said once per table. */
enum series_problem {
    PROBLEM_FORMAT = 1,
    PROBLEM_COLUMNS = 2,
    PROBLEM_TYPE = 4,
    PROBLEM_DUPLICATE = 8,
    PROBLEM_ATTRIBUTES = 16,
    PROBLEM_ARRAY = 32,
};
void series_problem(struct series_table *table, enum series_problem kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Finds or makes the entity of each of the first `row_count` rows (table->rows), and moves starts
 * of counters. Returns how many rows repeat another's attributes. */
uint32_t series_match(struct series_table *table, const struct pg_result *rows, uint32_t row_count,
                      const struct decode_context *context);

/* Retires what RESULTS_UNSEEN_MAX results did not have. */
void series_sweep(struct series_table *table, struct telemetry_set *telemetry);

/* Retires all entities (the types of key columns changed, the target's resource changed). */
void series_clear(struct series_table *table, struct telemetry_set *telemetry);
