/* SPDX-License-Identifier: Apache-2.0 */
/* One count, two threads: whoever lets go last frees. Holding needs no order (who holds has a
 * reference already); letting go releases what was done with the body to whoever frees it. */
#include "ring/parcel.h"

#include "base/check.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct parcel *parcel_create(uint32_t bytes)
{
    struct parcel *parcel = malloc(sizeof *parcel + bytes);
    if (parcel == NULL)
        return NULL;
    memset(parcel, 0, sizeof *parcel);
    atomic_init(&parcel->references, 1);
    parcel->bytes = bytes;
    return parcel;
}

struct parcel *parcel_hold(struct parcel *parcel)
{
    uint32_t before = atomic_fetch_add_explicit(&parcel->references, 1, memory_order_relaxed);
    CHECK(before > 0 && before < UINT32_MAX);
    return parcel;
}

void parcel_release(struct parcel **parcel)
{
    struct parcel *dead = *parcel;
    *parcel = NULL;
    if (dead == NULL)
        return;
    uint32_t before = atomic_fetch_sub_explicit(&dead->references, 1, memory_order_acq_rel);
    CHECK(before > 0);
    if (before == 1)
        free(dead);
}
