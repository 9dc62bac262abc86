/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>

#include "pg/cell.h"

/* A *pack* is the array cell (int8[] or float8[]) in which a row's numbers travel, read in place:
 * each element is its length and 8 bytes, or the length −1 of a NULL alone. */
struct pack {
    const uint8_t *elements; /* NULL: the cell is NULL or not the array it should be */
    uint32_t at;             /* offset of the element last asked for */
    uint16_t element;        /* which that was, from 1 */
    bool even;               /* no element is NULL: all lie PACK_ELEMENT_BYTES apart */
};

enum { PACK_HEADER_BYTES = 20, PACK_VALUE_BYTES = 8, PACK_ELEMENT_BYTES = 4 + PACK_VALUE_BYTES };

/* The next of `bytes` bytes' elements; its size there, 0: none that can be. */
static inline uint32_t pack_element_bytes(const uint8_t *at, size_t bytes)
{
    if (bytes >= 4 && load32(at) == UINT32_MAX)
        return 4;
    return bytes >= PACK_ELEMENT_BYTES && load32(at) == PACK_VALUE_BYTES ? PACK_ELEMENT_BYTES : 0;
}

/* Binary form of arrays (array_send): dimensions, whether there are NULLs, type of the elements,
 * length and lower bound of the one dimension; then length and bytes of each element. All of it is
 * checked here, so that pack_element() need not. */
static inline struct pack pack_read(const uint8_t *cell, size_t bytes, uint32_t oid,
                                    uint32_t element_count)
{
    const struct pack none = {0};
    if (bytes < PACK_HEADER_BYTES || load32(cell) != 1 || load32(cell + 8) != oid ||
        load32(cell + 12) != element_count)
        return none;
    const uint8_t *at = cell + PACK_HEADER_BYTES, *end = cell + bytes;
    struct pack pack = {.elements = at, .element = 1};
    if ((size_t)(end - at) == (size_t)element_count * PACK_ELEMENT_BYTES) {
        uint32_t wrong = 0;
        for (; at < end; at += PACK_ELEMENT_BYTES)
            wrong |= load32(at) ^ PACK_VALUE_BYTES;
        pack.even = true;
        return wrong == 0 ? pack : none;
    }
    for (uint32_t i = 0; i < element_count; i++) {
        uint32_t taken = pack_element_bytes(at, (size_t)(end - at));
        if (taken == 0)
            return none;
        at += taken;
    }
    return at == end ? pack : none;
}

/* Where the element's value lies; NULL: it has none. Quickest when asked in order. */
static inline const uint8_t *pack_element(struct pack *pack, uint32_t element)
{
    if (pack->even)
        return pack->elements + (size_t)(element - 1) * PACK_ELEMENT_BYTES + 4;
    if (pack->elements == NULL)
        return NULL;
    if (element < pack->element) {
        pack->element = 1;
        pack->at = 0;
    }
    for (; pack->element < element; pack->element++)
        pack->at += load32(pack->elements + pack->at) == PACK_VALUE_BYTES ? PACK_ELEMENT_BYTES : 4;
    const uint8_t *cell = pack->elements + pack->at;
    return load32(cell) == PACK_VALUE_BYTES ? cell + 4 : NULL;
}
