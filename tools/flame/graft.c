/* SPDX-License-Identifier: Apache-2.0 */
/* Callers of stacks that ended early, told from whole ones. Every such stack is held against every
 * whole one: profiles have some hundred different stacks. */
#include "tools/flame/graft.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/memory.h"

/* A stack in its parts: "thread;" and frames. */
struct parts {
    size_t thread_bytes; /* with its ";" */
    const char *frames;
    bool whole;
};

struct caller {
    const char *text; /* from the thread's first frame to the caller, inclusive */
    size_t bytes;
    uint64_t weight;
};

struct callers {
    struct caller *items;
    size_t count, room;
    uint64_t weight;
};

static const char unknown[] = GRAFT_UNKNOWN ";";

static struct parts parts_of(const char *text)
{
    struct parts parts = {.thread_bytes = strcspn(text, ";"), .whole = true};
    parts.thread_bytes += text[parts.thread_bytes] == ';';
    parts.frames = text + parts.thread_bytes;
    if (strncmp(parts.frames, unknown, sizeof unknown - 1) == 0) {
        parts.whole = false;
        parts.frames += sizeof unknown - 1;
    }
    return parts;
}

static void add_caller(struct callers *callers, const char *text, size_t bytes, uint64_t weight)
{
    callers->weight += weight;
    for (size_t i = 0; i < callers->count; i++)
        if (callers->items[i].bytes == bytes && memcmp(callers->items[i].text, text, bytes) == 0) {
            callers->items[i].weight += weight;
            return;
        }
    if (callers->count == callers->room) {
        callers->room = callers->room * 2 + 8;
        callers->items = xrealloc(callers->items, callers->room * sizeof *callers->items);
    }
    callers->items[callers->count++] = (struct caller){text, bytes, weight};
}

/* " [libisal]" of a frame; 0 bytes when it has none that could be told from others. */
static const char *library_of(const char *frame, size_t bytes, size_t *ret_bytes)
{
    const char *bracket = bytes > 0 && frame[bytes - 1] == ']' ? memrchr(frame, '[', bytes) : NULL;
    *ret_bytes = bracket != NULL && bracket > frame && bracket[-1] == ' '
                     ? (size_t)(frame + bytes - bracket)
                     : 0;
    return bracket;
}

/* Whether the frame is the sought one, or of the sought one's library. */
static bool matches(const char *frame, size_t bytes, const char *sought, size_t sought_bytes,
                    bool by_library)
{
    if (by_library)
        frame = library_of(frame, bytes, &bytes);
    return bytes == sought_bytes && bytes > 0 && memcmp(frame, sought, bytes) == 0;
}

/* Adds who calls the first matching frame of a whole stack. */
static void look_in(struct callers *callers, const char *frames, uint64_t weight,
                    const char *sought, size_t sought_bytes, bool by_library)
{
    for (const char *at = frames; *at != '\0';) {
        size_t bytes = strcspn(at, ";");
        if (matches(at, bytes, sought, sought_bytes, by_library)) {
            add_caller(callers, frames, at > frames ? (size_t)(at - frames - 1) : 0, weight);
            return;
        }
        at += bytes + (at[bytes] == ';');
    }
}

/* Who holds two thirds; NULL: nobody. */
static const struct caller *find_caller(const struct stacks *stacks, const char *text,
                                        const struct parts *parts, bool by_library,
                                        struct callers *callers)
{
    size_t bytes = strcspn(parts->frames, ";");
    const char *sought = parts->frames;
    if (by_library)
        sought = library_of(parts->frames, bytes, &bytes);
    callers->count = 0;
    callers->weight = 0;
    if (bytes == 0 || parts->frames[0] == '?')
        bytes = by_library ? bytes : 0;
    for (size_t i = 0; i < stacks->count && bytes > 0; i++) {
        const char *other = stacks_text(stacks, i);
        struct parts whole = parts_of(other);
        if (whole.whole && whole.thread_bytes == parts->thread_bytes &&
            memcmp(other, text, parts->thread_bytes) == 0)
            look_in(callers, whole.frames, stacks->items[i].after, sought, bytes, by_library);
    }
    for (size_t i = 0; i < callers->count; i++)
        if (callers->items[i].weight * 3 >= callers->weight * 2)
            return &callers->items[i];
    return NULL;
}

static void add_grafted(struct stacks *to, const char *text, const struct parts *parts,
                        const struct caller *caller, uint64_t weight)
{
    char *joined = NULL;
    int bytes;
    /* No callers at all: it is where the thread begins. */
    if (caller->bytes == 0)
        bytes = asprintf(&joined, "%.*s%s", (int)parts->thread_bytes, text, parts->frames);
    else
        bytes = asprintf(&joined, "%.*s%.*s;" GRAFT_INFERRED ";%s", (int)parts->thread_bytes, text,
                         (int)caller->bytes, caller->text, parts->frames);
    CHECK(bytes >= 0);
    stacks_add(to, joined, (size_t)bytes, weight, STACKS_AFTER);
    free(joined);
}

uint64_t graft_stacks(struct stacks *stacks)
{
    struct stacks grafted;
    struct callers callers = {0};
    uint64_t weight = 0;
    stacks_init(&grafted);
    for (size_t i = 0; i < stacks->count; i++) {
        const char *text = stacks_text(stacks, i);
        struct parts parts = parts_of(text);
        const struct caller *caller = NULL;
        if (!parts.whole)
            caller = find_caller(stacks, text, &parts, false, &callers);
        if (!parts.whole && caller == NULL)
            caller = find_caller(stacks, text, &parts, true, &callers);
        if (caller == NULL) {
            stacks_add(&grafted, text, strlen(text), stacks->items[i].after, STACKS_AFTER);
            continue;
        }
        add_grafted(&grafted, text, &parts, caller, stacks->items[i].after);
        weight += stacks->items[i].after;
    }
    free(callers.items);
    stacks_merge(&grafted);
    stacks_fini(stacks);
    *stacks = grafted;
    return weight;
}
