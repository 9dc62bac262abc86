/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* The last value of each series, found by what the series is (a hash of its content, 128 bits), not
 * by where that lies in memory: attribute sets are freed and their places used again. One thread.
 * At most `limit` of them; memory grows in blocks with the series there are, 59 to 69 bytes
 * each. */
struct last_table;

struct last_key {
    uint64_t low, high;
};

struct last {
    struct last_key key;
    union {
        int64_t integer;
        double real;
        struct distribution *distribution; /* the table's drop function's */
    } value;
    uint64_t time_ns;  /* of the value, wall clock; 0: none yet */
    uint64_t start_ns; /* since when it counts, as its point said; 0: not known */
    uint32_t seen_s;   /* monotonic */
    uint32_t gap_s;    /* between the last two times it was seen; 0: not known, or less than 1 s */
};

/* `drop` is called for entries that are forgotten, before their memory is used again; may be NULL.
 */
struct last_table *last_table_create(uint32_t limit, void (*drop)(struct last *last));
void last_table_destroy(struct last_table **table);

/* The series' entry, which stays where it is until the next call of any of these; a new one has
 * neither value nor time. Series asked for in the order in which they were first seen are found
 * without a search. When the table is full, a series not seen for long makes room. */
struct last *last_find(struct last_table *table, struct last_key key, uint32_t now_s);

/* The key will be asked for soon: where series are being searched for, memory is told. */
void last_expect(const struct last_table *table, struct last_key key);

/* Looks at a few series, others with each call, and forgets those that were not seen for five times
 * as long as usual for them, and not for an hour; where that is not known, not for 25 hours. */
void last_sweep(struct last_table *table, uint32_t now_s);

uint32_t last_count(const struct last_table *table);

/* Series forgotten since the start, because they were not seen or because the table was full. */
uint64_t last_forgotten(const struct last_table *table);

/* The latest `time_ns` of a series that was forgotten, 0: none was. What counts since a later time
 * cannot be one of them. */
uint64_t last_forgotten_ns(const struct last_table *table);
