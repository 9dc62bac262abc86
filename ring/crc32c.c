/* SPDX-License-Identifier: Apache-2.0 */
/* Every record of the spool carries two of these. isa-l's runs at memory speed; without it, eight
 * tables take eight bytes a step (Kounavis and Berry 2008, "slicing by 8"). */
#include "ring/crc32c.h"

#include "base/check.h"

#include <pthread.h>
#include <string.h>
#ifdef PGWEIR_HAVE_ISAL
#include <isa-l/crc.h>
#endif

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "eight bytes are read as one number");

enum { SLICES = 8, PIECE_BYTES = 1 << 30 /* isa-l counts in int */ };

#define POLYNOMIAL 0x82f63b78u /* bits reversed */

static uint32_t tables[SLICES][256];
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static void fill_tables(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc & 1) != 0 ? crc >> 1 ^ POLYNOMIAL : crc >> 1;
        tables[0][i] = crc;
    }
    for (int slice = 1; slice < SLICES; slice++)
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t crc = tables[slice - 1][i];
            tables[slice][i] = crc >> 8 ^ tables[0][crc & 0xff];
        }
}

uint32_t crc32c_portable(uint32_t before, const void *data, size_t bytes)
{
    CHECK(pthread_once(&tables_once, fill_tables) == 0);
    const uint8_t *in = data;
    uint32_t crc = ~before;
    for (; bytes >= SLICES; bytes -= SLICES, in += SLICES) {
        uint64_t word;
        memcpy(&word, in, sizeof word);
        word ^= crc;
        crc = 0;
        for (int i = 0; i < SLICES; i++)
            crc ^= tables[SLICES - 1 - i][word >> (8 * i) & 0xff];
    }
    for (; bytes > 0; bytes--, in++)
        crc = crc >> 8 ^ tables[0][(crc ^ *in) & 0xff];
    return ~crc;
}

#ifdef PGWEIR_HAVE_ISAL

uint32_t crc32c(uint32_t before, const void *data, size_t bytes)
{
    uint32_t crc = ~before;
    const unsigned char *in = data;
    while (bytes > 0) {
        int piece = bytes < PIECE_BYTES ? (int)bytes : PIECE_BYTES;
        unsigned char *read_only;
        memcpy(&read_only, &in, sizeof in); /* isa-l reads it, without saying const */
        crc = crc32_iscsi(read_only, piece, crc);
        in += piece;
        bytes -= (size_t)piece;
    }
    return ~crc;
}

#else

uint32_t crc32c(uint32_t before, const void *data, size_t bytes)
{
    return crc32c_portable(before, data, bytes);
}

#endif
