/* SPDX-License-Identifier: Apache-2.0 */
/* Who spent it, as a table: by library, then by function, innermost frames only, so that the shares
 * add up to all. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tools/flame/draw.h"
#include "tools/flame/frame.h"

struct entry {
    const char *name;
    size_t bytes;
    double before, after;
};

static int by_name(const void *a, const void *b)
{
    const struct entry *left = a, *right = b;
    size_t shorter = left->bytes < right->bytes ? left->bytes : right->bytes;
    int order = memcmp(left->name, right->name, shorter);
    return order != 0 ? order : (left->bytes > right->bytes) - (left->bytes < right->bytes);
}

static int by_weight(const void *a, const void *b)
{
    const struct entry *left = a, *right = b;
    double was = fmax(left->before, left->after), is = fmax(right->before, right->after);
    return was != is ? (was < is) - (was > is) : by_name(a, b);
}

static void print_entry(const struct entry *entry, double before, double after, bool diff,
                        FILE *out)
{
    double is = after > 0 ? 100 * entry->after / after : 0;
    if (!diff) {
        fprintf(out, "%8.2f %%  %.*s\n", is, (int)entry->bytes, entry->name);
        return;
    }
    double was = before > 0 ? 100 * entry->before / before : 0;
    fprintf(out, "%8.2f %% %8.2f %% %+8.2f  %.*s\n", was, is, is - was, (int)entry->bytes,
            entry->name);
}

/* Innermost frames, merged by name and sorted by weight; returns how many, `ret` is to be freed. */
static size_t innermost(const struct stacks *stacks, struct entry **ret)
{
    struct entry *entries = xcalloc(stacks->count, sizeof *entries);
    for (size_t i = 0; i < stacks->count; i++) {
        const char *text = stacks_text(stacks, i), *last = strrchr(text, ';');
        const char *name = last != NULL ? last + 1 : text;
        entries[i] = (struct entry){name, strlen(name), (double)stacks->items[i].before,
                                    (double)stacks->items[i].after};
    }
    qsort(entries, stacks->count, sizeof *entries, by_name);
    size_t kept = 0;
    for (size_t i = 1; i < stacks->count; i++)
        if (by_name(&entries[kept], &entries[i]) == 0) {
            entries[kept].before += entries[i].before;
            entries[kept].after += entries[i].after;
        } else {
            entries[++kept] = entries[i];
        }
    *ret = entries;
    return kept + 1;
}

bool print_top(const struct stacks *stacks, const struct picture *picture, uint32_t rows, FILE *out,
               struct error *error)
{
    if (stacks->count == 0)
        return error_set(error, "nothing to show: no stacks");
    /* Shares of the same whole on both sides: of the work, where that is known. */
    double before = (double)stacks_total(stacks, STACKS_BEFORE);
    double after = (double)stacks_total(stacks, STACKS_AFTER);
    if (picture->before_work > 0)
        after = before * picture->after_work / picture->before_work;
    struct entry *entries, families[FAMILY_COUNT] = {0};
    size_t count = innermost(stacks, &entries);
    for (size_t i = 0; i < count; i++) {
        struct entry *family = &families[frame_family(entries[i].name, entries[i].bytes)];
        family->before += entries[i].before;
        family->after += entries[i].after;
    }
    for (enum frame_family family = 0; family < FAMILY_COUNT; family++) {
        families[family].name = frame_family_name(family);
        families[family].bytes = strlen(families[family].name);
    }
    qsort(families, FAMILY_COUNT, sizeof *families, by_weight);
    qsort(entries, count, sizeof *entries, by_weight);
    for (size_t i = 0; i < FAMILY_COUNT; i++)
        if (families[i].before > 0 || families[i].after > 0)
            print_entry(&families[i], before, after, picture->diff, out);
    fputc('\n', out);
    for (size_t i = 0; i < count && i < rows; i++)
        print_entry(&entries[i], before, after, picture->diff, out);
    free(entries);
    return true;
}
