/* SPDX-License-Identifier: Apache-2.0 */
/* A tree of sets: root → {a} → {a, b} → …; a name given up is a step, too, unless it was the last
 * one added. Only sets that are looked up in have a hash table, and only while sessions stand on
 * them: a session that prepares and executes in turn mostly asks for what it added last. */
#include "tools/sim/prepared.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/memory.h"

enum {
    WALK_MAX = 8,  /* steps back without a table */
    SLACK_MAX = 64 /* steps that gave names up, beyond one per name, before the set is made anew */
};

struct prepared {
    struct prepared *parent; /* NULL: the root */
    struct prepared *children, *next, **previous;
    struct command *command; /* NULL: the name was given up */
    struct prepared **table; /* the steps that count, by hash; NULL: not made */
    uint32_t table_mask;
    uint32_t hash, length, live;
    uint32_t sessions, child_count;
    uint32_t name_bytes;
    char name[];
};

static uint32_t hash_name(const char *name, size_t bytes)
{
    uint64_t hash = bytes * 0x9e3779b97f4a7c15ull, word;
    for (; bytes >= 8; bytes -= 8, name += 8) {
        memcpy(&word, name, 8);
        hash = (hash ^ word) * 0xff51afd7ed558ccdull;
        hash ^= hash >> 32;
    }
    word = 0;
    memcpy(&word, name, bytes);
    hash = (hash ^ word) * 0xff51afd7ed558ccdull;
    return (uint32_t)(hash ^ hash >> 32);
}

static bool has_name(const struct prepared *step, uint32_t hash, const char *name, size_t bytes)
{
    return step->hash == hash && step->name_bytes == bytes && memcmp(step->name, name, bytes) == 0;
}

static struct prepared *create(struct prepared *parent, const char *name, size_t bytes,
                               struct command *command)
{
    struct prepared *set = xcalloc(1, sizeof *set + bytes + 1);
    memcpy(set->name, name, bytes);
    set->name_bytes = (uint32_t)bytes;
    set->hash = hash_name(name, bytes);
    set->command = command == NULL ? NULL : command_acquire(command);
    set->parent = parent;
    if (parent == NULL)
        return set;
    set->length = parent->length + 1;
    set->live = command != NULL ? parent->live + 1 : parent->live - 1;
    set->next = parent->children;
    if (set->next != NULL)
        set->next->previous = &set->next;
    set->previous = &parent->children;
    parent->children = set;
    parent->child_count++;
    return set;
}

struct prepared *prepared_create(void)
{
    struct prepared *root = create(NULL, "", 0, NULL);
    root->sessions = 1; /* whoever created it */
    return root;
}

void prepared_destroy(struct prepared **root)
{
    if (*root == NULL)
        return;
    CHECK((*root)->parent == NULL && (*root)->sessions == 1 && (*root)->child_count == 0);
    free(*root);
    *root = NULL;
}

struct prepared *prepared_enter(struct prepared *set)
{
    set->sessions++;
    return set;
}

void prepared_leave(struct prepared *set)
{
    CHECK(set->sessions > 0);
    if (--set->sessions > 0)
        return;
    free(set->table);
    set->table = NULL;
    while (set->parent != NULL && set->sessions == 0 && set->child_count == 0) {
        struct prepared *parent = set->parent;
        if (set->next != NULL)
            set->next->previous = set->previous;
        *set->previous = set->next;
        parent->child_count--;
        command_release(set->command);
        free(set);
        set = parent;
    }
}

/* Places a step unless a later one has the name already. */
static void place(struct prepared *set, struct prepared *step)
{
    uint32_t slot = step->hash & set->table_mask;
    while (set->table[slot] != NULL) {
        if (has_name(set->table[slot], step->hash, step->name, step->name_bytes))
            return;
        slot = (slot + 1) & set->table_mask;
    }
    set->table[slot] = step;
}

static void make_table(struct prepared *set)
{
    uint32_t size = 16;
    while (size < set->length * 2)
        size *= 2;
    set->table = xcalloc(size, sizeof(struct prepared *));
    set->table_mask = size - 1;
    for (struct prepared *step = set; step->parent != NULL; step = step->parent)
        place(set, step);
}

struct command *prepared_find(struct prepared *set, const char *name, size_t name_bytes)
{
    uint32_t hash = hash_name(name, name_bytes);
    if (set->parent == NULL)
        return NULL;
    if (has_name(set, hash, name, name_bytes))
        return set->command;
    if (set->table == NULL && set->length <= WALK_MAX) {
        for (struct prepared *step = set->parent; step->parent != NULL; step = step->parent)
            if (has_name(step, hash, name, name_bytes))
                return step->command;
        return NULL;
    }
    if (set->table == NULL)
        make_table(set);
    for (uint32_t slot = hash & set->table_mask; set->table[slot] != NULL;
         slot = (slot + 1) & set->table_mask)
        if (has_name(set->table[slot], hash, name, name_bytes))
            return set->table[slot]->command;
    return NULL;
}

static void move(struct prepared **set, struct prepared *to)
{
    struct prepared *from = *set;
    *set = prepared_enter(to);
    prepared_leave(from);
}

/* The step that leads there, made when there is none. */
static struct prepared *step_to(struct prepared *set, const char *name, size_t name_bytes,
                                struct command *command)
{
    uint32_t hash = hash_name(name, name_bytes);
    for (struct prepared *child = set->children; child != NULL; child = child->next) {
        bool same = command == child->command || (command != NULL && child->command != NULL &&
                                                  command_equal(command, child->command));
        if (same && has_name(child, hash, name, name_bytes))
            return child;
    }
    return create(set, name, name_bytes, command);
}

void prepared_add(struct prepared **set, const char *name, size_t name_bytes,
                  struct command *command)
{
    CHECK(command != NULL);
    move(set, step_to(*set, name, name_bytes, command));
}

static struct prepared *root_of(struct prepared *set)
{
    while (set->parent != NULL)
        set = set->parent;
    return set;
}

/* The same names without the steps that gave some up. */
static void make_anew(struct prepared **set)
{
    struct prepared *old = prepared_enter(*set);
    if (old->table == NULL)
        make_table(old);
    prepared_clear(set);
    for (uint32_t i = 0; i <= old->table_mask; i++) {
        const struct prepared *step = old->table[i];
        if (step != NULL && step->command != NULL)
            prepared_add(set, step->name, step->name_bytes, step->command);
    }
    prepared_leave(old);
}

bool prepared_remove(struct prepared **set, const char *name, size_t name_bytes)
{
    if (prepared_find(*set, name, name_bytes) == NULL)
        return false;
    if (has_name(*set, hash_name(name, name_bytes), name, name_bytes)) {
        move(set, (*set)->parent);
        return true;
    }
    move(set, step_to(*set, name, name_bytes, NULL));
    if ((*set)->length > 3 * (*set)->live + SLACK_MAX)
        make_anew(set);
    return true;
}

void prepared_clear(struct prepared **set)
{
    move(set, root_of(*set));
}

size_t prepared_count(const struct prepared *set)
{
    return set->live;
}
