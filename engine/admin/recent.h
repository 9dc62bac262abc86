/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/telemetry.h>

#include <stdbool.h>

/* The last minute of every latency histogram, for /status: windows that the admin's thread turns
 * every few seconds, whether or not anybody asks. One thread: the admin's. */
struct recent;

enum { RECENT_SECONDS = 60 };

struct recent *recent_create(void);
void recent_destroy(struct recent **recent); /* NULL inside is fine */

/* Takes what is new where it is time to, or at once where `now`. Returns when to be called next
 * (monotonic). */
uint64_t recent_turn(struct recent *recent, bool now, uint64_t now_ns);

/* Adds what this histogram of `set` recorded in the last minute as of the last turn to the view;
 * `set` NULL: of all sets. */
void recent_read(const struct recent *recent, const struct telemetry_set *set,
                 enum telemetry_histogram histogram, struct histogram_view *view);
