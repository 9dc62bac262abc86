/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Cells in PostgreSQL's binary result format, by type. A decoder is chosen once per column, then
 * run cell after cell. Cells come from a server that need not be a friend: every length is checked,
 * and a cell that makes no sense is "no value", like one that is out of range or not finite. */
enum { VALUE_TEXT_BYTES = 4096 };

struct value_type {
    uint32_t oid; /* pg_type.oid, fixed for built-in types */
    /* A number for a metric; false: no value. NULL: the type is no number.
     *   bool: 0 or 1 · oid, xid, xid8, cid: unsigned · pg_lsn: byte position
     *   timestamp, timestamptz: ns since the Unix epoch · interval: seconds, as EXTRACT(EPOCH)
     *   real and numeric cells become the nearest integer as PostgreSQL's cast to bigint does;
     *   what does not fit, NaN and infinities have no value. */
    bool (*to_int)(const uint8_t *cell, size_t bytes, int64_t *ret_value);
    bool (*to_double)(const uint8_t *cell, size_t bytes, double *ret_value);
    /* Text for an attribute, never longer than the cell or than `buffer`, in which it may lie. The
     * form is PostgreSQL's own (timestamps in UTC), but for bool (true, false) and interval
     * (seconds). False: no value. NULL: cannot be shown. */
    bool (*to_text)(const uint8_t *cell, size_t bytes, char buffer[VALUE_TEXT_BYTES],
                    const char **ret_text, size_t *ret_bytes);
    bool time; /* timestamp or timestamptz */
};

/* NULL for a type that pgweir does not read: cast it in the query. */
const struct value_type *value_type(uint32_t oid);
