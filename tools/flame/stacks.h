/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

/* Call stacks with what was spent in each: "thread;outermost;…;innermost WEIGHT" a line, the folded
 * form that most flame graph tools read. Weights are microseconds, or events where a profile
 * counted those. One thread; all memory grows as needed and goes with stacks_fini(). */
struct stack {
    size_t text; /* offset in stacks.text */
    uint64_t before, after;
};

struct stacks {
    char *text;
    size_t text_bytes, text_room;
    struct stack *items;
    size_t count, room;
};

enum stacks_side { STACKS_BEFORE, STACKS_AFTER };

void stacks_init(struct stacks *stacks);
void stacks_fini(struct stacks *stacks);

/* Adds a copy of the text (frames joined by ";", no weight). */
void stacks_add(struct stacks *stacks, const char *text, size_t bytes, uint64_t weight,
                enum stacks_side side);

/* Sorts so that stacks with a common beginning are neighbours, and makes one of equal ones. */
void stacks_merge(struct stacks *stacks);

const char *stacks_text(const struct stacks *stacks, size_t index);
uint64_t stacks_total(const struct stacks *stacks, enum stacks_side side);

/* Reads a folded file ("-": stdin) into one side; false: the error names file and line. */
bool stacks_read(struct stacks *stacks, const char *path, enum stacks_side side,
                 struct error *error);

/* Writes the `after` side, a line each; merge first. */
void stacks_write(const struct stacks *stacks, FILE *out);
