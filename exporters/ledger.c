/* SPDX-License-Identifier: Apache-2.0 */
/* Nothing is lost silently: double-entry bookkeeping of points. Runs on the worker, the set's only
 * writer; the bracket of telemetry_begin/end makes each entry one instant to readers. */
#include "exporters/ledger.h"

#include "base/check.h"

static const enum telemetry_value reasons[] = {
    TELEMETRY_DROPPED_NO_PAGE,   TELEMETRY_DROPPED_QUEUE_FULL, TELEMETRY_DROPPED_REJECTED,
    TELEMETRY_DROPPED_PERMANENT, TELEMETRY_DROPPED_EXPIRED,    TELEMETRY_DROPPED_TOO_LARGE,
    TELEMETRY_DROPPED_STOP,      TELEMETRY_DROPPED_NO_MEMORY,  TELEMETRY_DROPPED_SPOOL_FULL,
    TELEMETRY_DROPPED_TOO_OLD,   TELEMETRY_DROPPED_CORRUPT,    TELEMETRY_DROPPED_FIRST_VALUE,
};

static uint64_t value(const struct telemetry_set *set, enum telemetry_value id)
{
    return counter_read(&set->values[id]);
}

static void check_books(const struct telemetry_set *set)
{
    uint64_t sum = value(set, TELEMETRY_POINTS_DELIVERED) + value(set, TELEMETRY_POINTS_QUEUED) +
                   value(set, TELEMETRY_POINTS_SPOOLED);
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        sum += value(set, reasons[i]);
    CHECK(sum ==
          value(set, TELEMETRY_POINTS_COLLECTED_FOR) + value(set, TELEMETRY_POINTS_RECOVERED));
}

void ledger_collect(struct telemetry_set *set, uint64_t points, uint64_t no_page)
{
    telemetry_begin(set);
    telemetry_add(set, TELEMETRY_POINTS_COLLECTED_FOR, points + no_page);
    telemetry_add(set, TELEMETRY_DROPPED_NO_PAGE, no_page);
    telemetry_add(set, TELEMETRY_POINTS_QUEUED, points);
    check_books(set);
    telemetry_end(set);
}

void ledger_settle(struct telemetry_set *set, uint64_t delivered, uint64_t dropped,
                   enum telemetry_value reason)
{
    uint64_t queued = value(set, TELEMETRY_POINTS_QUEUED);
    CHECK(delivered + dropped <= queued);
    telemetry_begin(set);
    telemetry_put(set, TELEMETRY_POINTS_QUEUED, queued - delivered - dropped);
    telemetry_add(set, TELEMETRY_POINTS_DELIVERED, delivered);
    if (dropped > 0)
        telemetry_add(set, reason, dropped);
    check_books(set);
    telemetry_end(set);
}

/* `points` from one of the places where they can be to another. */
static void move(struct telemetry_set *set, enum telemetry_value from, enum telemetry_value to,
                 uint64_t points)
{
    CHECK(points <= value(set, from));
    telemetry_begin(set);
    telemetry_put(set, from, value(set, from) - points);
    telemetry_add(set, to, points);
    check_books(set);
    telemetry_end(set);
}

void ledger_recover(struct telemetry_set *set, uint64_t points, uint64_t corrupt)
{
    telemetry_begin(set);
    telemetry_add(set, TELEMETRY_POINTS_RECOVERED, points + corrupt);
    telemetry_add(set, TELEMETRY_POINTS_SPOOLED, points);
    telemetry_add(set, TELEMETRY_DROPPED_CORRUPT, corrupt);
    check_books(set);
    telemetry_end(set);
}

void ledger_spool(struct telemetry_set *set, uint64_t points)
{
    move(set, TELEMETRY_POINTS_QUEUED, TELEMETRY_POINTS_SPOOLED, points);
}

void ledger_unspool(struct telemetry_set *set, uint64_t points)
{
    move(set, TELEMETRY_POINTS_SPOOLED, TELEMETRY_POINTS_QUEUED, points);
}

void ledger_evict(struct telemetry_set *set, uint64_t points, enum telemetry_value reason)
{
    move(set, TELEMETRY_POINTS_SPOOLED, reason, points);
}
