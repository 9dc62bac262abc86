/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* CRC32C (Castagnoli; RFC 3720, appendix B.4): of "123456789" it is 0xe3069283. By isa-l where it
 * is built in, else by tables. To go on over a second piece, give the CRC of the first as `before`;
 * 0 to begin. */
uint32_t crc32c(uint32_t before, const void *data, size_t bytes);

/* The same by tables alone. */
uint32_t crc32c_portable(uint32_t before, const void *data, size_t bytes);
