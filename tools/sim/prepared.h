/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "tools/sim/command.h"

/* What a session has prepared: name → statement. Sessions of a fleet prepare the same things in the
 * same order, so the sets are shared: each is its parent plus one statement, and sessions that made
 * the same steps stand on the same set. A session holds one pointer, whatever it prepared. One
 * thread. */
struct prepared;

/* The empty set; NULL only ends it, and all sessions must have left. */
struct prepared *prepared_create(void);
void prepared_destroy(struct prepared **root);

/* A session stands on a set, or no longer does; what nobody stands on or came from is freed. */
struct prepared *prepared_enter(struct prepared *set);
void prepared_leave(struct prepared *set);

/* The statement of that name, borrowed; NULL: none. */
struct command *prepared_find(struct prepared *set, const char *name, size_t name_bytes);

/* Moves the session to the set with one more, with one less, or to the empty one. The name must be
 * free; prepared_remove() is false where there is none of that name. */
void prepared_add(struct prepared **set, const char *name, size_t name_bytes,
                  struct command *command);
bool prepared_remove(struct prepared **set, const char *name, size_t name_bytes);
void prepared_clear(struct prepared **set);

size_t prepared_count(const struct prepared *set);
