/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "catalog/catalog.h"
#include "ring/writer.h"

struct pg_result;

/* Step 5 of 9: binary cells straight into points; no text, no allocation per cell. Column by
 * column: all rows of one metric make one run.
 *
 * A *series table* holds what is remembered of one statement on one database of one target: the
 * interned attribute sets of its rows, and last value and start time of each counter, so that
 * resets are recognised. Rows usually come back in the order of last time, so row i is first
 * compared with what row i was, then looked up by hash. Sets not seen for a while are retired and
 * freed when no page can refer to them (ring.h). Shard's thread only. */
struct series_table;

struct decode_context {
    struct writer *writer;
    struct telemetry_set *telemetry;   /* ROWS, ROWS_CUT, POINTS_SKIPPED, SERIES */
    uint32_t route;
    uint64_t due_ns, now_ns;           /* monotonic */
    uint64_t time_ns;                  /* wall clock: when the rows were read */
    uint64_t server_start_ns;          /* wall clock: postmaster start, 0: not known */
    const struct resource *resource;   /* of the target */
};

struct series_table *series_table_create(const struct statement *statement);

/* Retires all sets, which series_reclaim() frees in due time, and frees the table. */
void series_table_retire(struct series_table **table, struct ring *ring, uint32_t shard,
                         struct telemetry_set *telemetry);

/* Decodes one result into points. Returns how many points (written or dropped and counted).
 * Unknown types, out-of-range and NULL cells give no point, nor does a row whose attributes another
 * row of the result has. What the query's author should know is said by *ret_problem, each kind
 * once per table: a text that lives until the table's next call, or NULL. */
uint64_t decode_result(struct series_table *table, const struct pg_result *rows,
                       const struct decode_context *context, const char **ret_problem);

/* Frees what was retired and is no longer referred to; once per turn, after writer_flush(): no open
 * page of the shard's may refer to what was retired before. Cheap when nothing was. */
void series_reclaim(struct ring *ring, uint32_t shard);
