/* SPDX-License-Identifier: Apache-2.0 */
/* One sweep over everything in the order of numbers. */
#include "ring/spool_books.h"

#include "base/memory.h"

#include <stdlib.h>

void spool_books_fini(struct spool_books *books)
{
    free(books->items);
    books->items = NULL;
    books->count = books->capacity = 0;
}

static struct spool_item *add(struct spool_books *books, enum spool_item_kind kind, uint64_t file,
                              struct spool_range range)
{
    if (books->count == books->capacity) {
        books->capacity = books->capacity > 0 ? 2 * books->capacity : 256;
        books->items = xrealloc(books->items, books->capacity * sizeof *books->items);
    }
    struct spool_item *item = &books->items[books->count++];
    *item = (struct spool_item){.range = range, .kind = kind, .file = file};
    return item;
}

static struct spool_range mark(uint64_t number, uint64_t points)
{
    return (struct spool_range){
        .first = number, .end = number, .points_before = points, .points_end = points};
}

void spool_books_add_head(struct spool_books *books, uint64_t file, const struct spool_head *head)
{
    add(books, SPOOL_ITEM_HEAD, file, mark(head->number, head->points_before));
}

void spool_books_add_record(struct spool_books *books, uint64_t file,
                            const struct spool_record *record, void *owner)
{
    struct spool_range range = {.first = record->number,
                                .end = record->number + 1,
                                .points_before = record->points_before,
                                .points_end = record->points_before + record->points};
    add(books, SPOOL_ITEM_RECORD, file, range)->owner = owner;
}

void spool_books_add_lost(struct spool_books *books, uint64_t file,
                          const struct spool_record *record)
{
    add(books, SPOOL_ITEM_MARK, file, mark(record->number, record->points_before));
    add(books, SPOOL_ITEM_MARK, file,
        mark(record->number + 1, record->points_before + record->points));
}

void spool_books_add_end(struct spool_books *books, uint64_t file,
                         const struct spool_record *record)
{
    add(books, SPOOL_ITEM_MARK, file, mark(record->number, record->points_before));
}

void spool_books_add_done(struct spool_books *books, const struct spool_set *done)
{
    for (size_t i = 0; i < done->count; i++)
        add(books, SPOOL_ITEM_DONE, 0, done->ranges[i]);
}

void spool_books_add_position(struct spool_books *books, const struct spool_position *position)
{
    if (position->number > 0)
        add(books, SPOOL_ITEM_MARK, 0, mark(position->number, position->points));
}

static int by_number(const void *a, const void *b)
{
    const struct spool_item *one = a, *other = b;
    if (one->range.first != other->range.first)
        return one->range.first < other->range.first ? -1 : 1;
    if (one->kind != other->kind)
        return one->kind < other->kind ? -1 : 1;
    return one->file > other->file ? -1 : one->file < other->file; /* what was written last */
}

/* A hole is loss where both its edges are in one segment, or in two that follow each other. A
 * whole segment that is missing is loss only if the ack log is there to say that it was not done
 * with. */
static bool is_loss(const struct spool_books *books, uint64_t at, const struct spool_item *right,
                    uint64_t left_file)
{
    if (right->range.first - at >= SPOOL_JUMP / 2)
        return false;
    if (books->trusted && !books->blind)
        return true;
    return right->file != 0 && left_file != 0 &&
           (right->file == left_file || (right->file == left_file + 1 && !books->blind));
}

struct spool_position spool_books_balance(struct spool_books *books, spool_hole_fn *hole,
                                          void *context)
{
    struct spool_position at = {.number = 0};
    uint64_t left_file = 0;
    if (books->count > 0)
        qsort(books->items, books->count, sizeof *books->items, by_number);
    for (size_t i = 0; i < books->count; i++) {
        const struct spool_item *item = &books->items[i];
        const struct spool_range *range = &item->range;
        if (range->first > at.number) {
            struct spool_range missing = {.first = at.number,
                                          .end = range->first,
                                          .points_before = at.points,
                                          .points_end = range->points_before};
            hole(context, &missing, is_loss(books, at.number, item, left_file));
            at = (struct spool_position){.number = range->first, .points = range->points_before};
        }
        if (range->end > at.number)
            at = (struct spool_position){.number = range->end, .points = range->points_end};
        if (item->file != 0)
            left_file = item->file;
    }
    return at;
}
