/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/telemetry.h>

/* A destination's books, kept in its telemetry set: at every instant, for every reader of a
 * snapshot,
 *
 *     collected + recovered = delivered + queued + spooled + Σ dropped{reason}
 *
 * These functions are the only writers of those numbers, and CHECK it at each change. */

/* `points` meant for the destination have come, and `no_page` more were lost before the ring. */
void ledger_collect(struct telemetry_set *set, uint64_t points, uint64_t no_page);

/* Of the queued points, `delivered` are acknowledged and `dropped` given up for `reason`. */
void ledger_settle(struct telemetry_set *set, uint64_t delivered, uint64_t dropped,
                   enum telemetry_value reason);

/* `points` were found on disk, and `corrupt` more that cannot be read. */
void ledger_recover(struct telemetry_set *set, uint64_t points, uint64_t corrupt);

/* Queued points are from now on only on disk; and back in memory. */
void ledger_spool(struct telemetry_set *set, uint64_t points);
void ledger_unspool(struct telemetry_set *set, uint64_t points);

/* Points on disk are given up. */
void ledger_evict(struct telemetry_set *set, uint64_t points, enum telemetry_value reason);
