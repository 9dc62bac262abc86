/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/telemetry.h>

/* A destination's books, kept in its telemetry set: at every instant, for every reader of a
 * snapshot,
 *
 *     collected = delivered + queued + Σ dropped{reason}
 *
 * These two functions are the only writers of those numbers, and CHECK it at each change. */

/* `points` meant for the destination have come, and `no_page` more were lost before the ring. */
void ledger_collect(struct telemetry_set *set, uint64_t points, uint64_t no_page);

/* Of the queued points, `delivered` are acknowledged and `dropped` given up for `reason`. */
void ledger_settle(struct telemetry_set *set, uint64_t delivered, uint64_t dropped,
                   enum telemetry_value reason);
