/* SPDX-License-Identifier: Apache-2.0 */
/* Folded stacks. Texts lie one after another in one block and are named by offset, since the block
 * moves when it grows. Equal stacks are found by sorting, not by hashing: a profile has some ten
 * thousand samples, and drawing needs the order anyway. */
#include "tools/flame/stacks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/memory.h"

enum { ROOM_MIN = 1024 };

void stacks_init(struct stacks *stacks)
{
    *stacks = (struct stacks){0};
}

void stacks_fini(struct stacks *stacks)
{
    free(stacks->text);
    free(stacks->items);
    *stacks = (struct stacks){0};
}

static void *grown(void *block, size_t *room, size_t wanted, size_t size)
{
    if (wanted <= *room)
        return block;
    *room = wanted * 2 > ROOM_MIN ? wanted * 2 : ROOM_MIN;
    block = xrealloc(block, *room * size);
    return block;
}

void stacks_add(struct stacks *stacks, const char *text, size_t bytes, uint64_t weight,
                enum stacks_side side)
{
    stacks->text = grown(stacks->text, &stacks->text_room, stacks->text_bytes + bytes + 1, 1);
    stacks->items = grown(stacks->items, &stacks->room, stacks->count + 1, sizeof *stacks->items);
    memcpy(stacks->text + stacks->text_bytes, text, bytes);
    stacks->text[stacks->text_bytes + bytes] = '\0';
    stacks->items[stacks->count++] = (struct stack){
        .text = stacks->text_bytes,
        .before = side == STACKS_BEFORE ? weight : 0,
        .after = side == STACKS_AFTER ? weight : 0,
    };
    stacks->text_bytes += bytes + 1;
}

/* ";" before all else: a frame and all that it calls are neighbours, whatever names there are. */
static int compare_texts(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    int left = *a == '\0' ? 0 : *a == ';' ? 1 : 2 + (unsigned char)*a;
    int right = *b == '\0' ? 0 : *b == ';' ? 1 : 2 + (unsigned char)*b;
    return left - right;
}

static int compare_stacks(const void *a, const void *b, void *text)
{
    const struct stack *left = a, *right = b;
    return compare_texts((const char *)text + left->text, (const char *)text + right->text);
}

void stacks_merge(struct stacks *stacks)
{
    if (stacks->count == 0)
        return;
    qsort_r(stacks->items, stacks->count, sizeof *stacks->items, compare_stacks, stacks->text);
    size_t kept = 0;
    for (size_t i = 1; i < stacks->count; i++) {
        struct stack *last = &stacks->items[kept], *next = &stacks->items[i];
        if (compare_stacks(last, next, stacks->text) == 0) {
            last->before += next->before;
            last->after += next->after;
        } else {
            stacks->items[++kept] = *next;
        }
    }
    stacks->count = kept + 1;
}

const char *stacks_text(const struct stacks *stacks, size_t index)
{
    CHECK(index < stacks->count);
    return stacks->text + stacks->items[index].text;
}

uint64_t stacks_total(const struct stacks *stacks, enum stacks_side side)
{
    uint64_t total = 0;
    for (size_t i = 0; i < stacks->count; i++)
        total += side == STACKS_BEFORE ? stacks->items[i].before : stacks->items[i].after;
    return total;
}

/* "frames WEIGHT": the weight stands behind the last space, since names may have spaces. */
static bool add_line(struct stacks *stacks, const char *line, enum stacks_side side)
{
    const char *space = strrchr(line, ' ');
    if (space == NULL || space == line || space[1] < '0' || space[1] > '9')
        return false;
    char *end;
    errno = 0;
    unsigned long long weight = strtoull(space + 1, &end, 10);
    if (errno != 0 || *end != '\0')
        return false;
    stacks_add(stacks, line, (size_t)(space - line), weight, side);
    return true;
}

bool stacks_read(struct stacks *stacks, const char *path, enum stacks_side side,
                 struct error *error)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    if (file == NULL)
        return error_set(error, "%s: cannot be read: %s", path, strerror(errno));
    char *line = NULL;
    size_t room = 0, number = 0;
    bool good = true;
    for (ssize_t bytes; good && (bytes = getline(&line, &room, file)) >= 0;) {
        number++;
        if (bytes > 0 && line[bytes - 1] == '\n')
            line[--bytes] = '\0';
        if (bytes == 0 || line[0] == '#')
            continue;
        good = add_line(stacks, line, side);
        if (!good)
            error_set(error,
                      "%s:%zu: not a folded stack (\"frame;frame WEIGHT\"); fold the output of "
                      "perf script first",
                      path, number);
    }
    if (good && ferror(file))
        good = error_set(error, "%s: cannot be read: %s", path, strerror(errno));
    free(line);
    if (file != stdin)
        fclose(file);
    return good;
}

void stacks_write(const struct stacks *stacks, FILE *out)
{
    for (size_t i = 0; i < stacks->count; i++)
        if (stacks->items[i].after > 0)
            fprintf(out, "%s %llu\n", stacks_text(stacks, i),
                    (unsigned long long)stacks->items[i].after);
}
