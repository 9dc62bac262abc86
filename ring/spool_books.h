/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "ring/spool_acks.h"

/* What is missing in a directory, by the records' numbers and the sums of points before them: each
 * thing that can be read says which numbers it covers; between them is what is lost, exactly. One
 * thread. */

/* In the order of sorting where several begin at one number. */
enum spool_item_kind { SPOOL_ITEM_HEAD, SPOOL_ITEM_MARK, SPOOL_ITEM_DONE, SPOOL_ITEM_RECORD };

struct spool_item {
    struct spool_range range; /* may be empty: a mark in between */
    enum spool_item_kind kind;
    uint64_t file; /* of the segment; 0: acks */
    void *owner;   /* the caller's */
};

struct spool_books {
    struct spool_item *items; /* in order once balanced; of copies of a record the newest first */
    size_t count, capacity;
    bool trusted; /* the ack log is whole */
    bool blind;   /* some file could not be read: what it holds is not lost */
};

typedef void spool_hole_fn(void *context, const struct spool_range *hole, bool loss);

void spool_books_fini(struct spool_books *books);

void spool_books_add_head(struct spool_books *books, uint64_t file, const struct spool_head *head);
void spool_books_add_record(struct spool_books *books, uint64_t file,
                            const struct spool_record *record, void *owner);

/* A sound head whose body is gone: it says what was there. */
void spool_books_add_lost(struct spool_books *books, uint64_t file,
                          const struct spool_record *record);
void spool_books_add_end(struct spool_books *books, uint64_t file,
                         const struct spool_record *record);
void spool_books_add_done(struct spool_books *books, const struct spool_set *done);
void spool_books_add_position(struct spool_books *books, const struct spool_position *position);

/* Sorts, and gives each hole: whether it is loss, or nobody can know. Where it ends: number and
 * points of the next record. */
struct spool_position spool_books_balance(struct spool_books *books, spool_hole_fn *hole,
                                          void *context);
