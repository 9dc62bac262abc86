/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "tools/flame/stacks.h"

/* Behind the thread's name in a stack that ended early, and between inferred callers and the rest.
 */
#define GRAFT_UNKNOWN  "(callers unknown)"
#define GRAFT_INFERRED "(caller inferred)"

/* Gives stacks that ended early (GRAFT_UNKNOWN) their place, as far as the whole stacks of the same
 * thread tell one: assembly code has no unwind data, yet who calls it is known from its neighbours.
 * Looked for are, in this order, the outermost frame that is known as a thread's first; the callers
 * of the same function; the callers of its library. Callers count when they hold two thirds of what
 * is known, and GRAFT_INFERRED says that they were inferred. The rest stays GRAFT_UNKNOWN.
 * Takes and leaves merged stacks; returns the weight that got a place. */
uint64_t graft_stacks(struct stacks *stacks);
