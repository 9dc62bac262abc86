/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Remembers bodies by their hash: at least the last SEEN_MIN, at most twice as many. */
struct seen;

enum { SEEN_MIN = 1 << 17 };

struct seen *seen_create(void);
void seen_destroy(struct seen **seen);

/* Whether the hash was there; from now on it is. */
bool seen_before(struct seen *seen, uint64_t hash);
