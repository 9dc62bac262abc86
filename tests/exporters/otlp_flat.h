/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What an ExportMetricsServiceRequest says, point by point: for each data point, in order, a hash
 * of its bytes and of all that stands around it (resource, scope, name, unit, temporality, fields
 * that nobody knows) up to the request. Two requests that say the same about the same points are
 * equal here, however they are cut. Reads with the sink's wire.h, which is not pgweir's. */
struct flat {
    uint64_t *points;
    size_t count, space;
};

/* Appends; false where the bytes are no such request (then the list holds garbage). */
bool flat_add(struct flat *flat, const uint8_t *body, size_t bytes);
bool flat_equal(const struct flat *a, const struct flat *b);
void flat_fini(struct flat *flat);
