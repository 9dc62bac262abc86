/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdatomic.h>
#include <stdint.h>

/* A closed batch, compressed, as it goes over the wire and to disk: immutable, shared by the worker
 * (which sends it) and the spool's thread (which writes it), freed by whoever lets go last. */
struct parcel {
    _Atomic uint32_t references;
    uint32_t points;
    uint64_t sequence;   /* per destination, growing with age order; what acks name */
    uint64_t created_ns; /* wall clock when the batch was closed: what age limits count from */
    uint64_t due_ns;     /* wall clock when its oldest collection was due: the zero of age */
    uint32_t encoding;   /* of the body, so that a changed configuration still sends it with the right
                            headers: parcel_encoding() */
    uint32_t bytes;
    uint8_t body[];
};

/* enum compression and enum body_format, in one number that is on disk. */
static inline uint32_t parcel_encoding(uint32_t compression, uint32_t format)
{
    return compression | format << 8;
}

static inline uint32_t parcel_compression(uint32_t encoding)
{
    return encoding & 0xff;
}

static inline uint32_t parcel_format(uint32_t encoding)
{
    return encoding >> 8;
}

/* Room for `bytes`, one reference, everything else zero; NULL when memory is out. */
struct parcel *parcel_create(uint32_t bytes);
struct parcel *parcel_hold(struct parcel *parcel); /* one more reference */
void parcel_release(struct parcel **parcel);       /* NULL inside is fine */
