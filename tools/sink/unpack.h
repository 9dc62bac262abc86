/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* Content-Encoding undone: one object per thread, whose buffer is used again for every body. Bodies
 * are untrusted bytes; none unpacks to more than UNPACK_BYTES_MAX. */
enum body_encoding {
    BODY_IDENTITY,
    BODY_GZIP,
    BODY_DEFLATE, /* zlib's format, as RFC 9110 says */
    BODY_ZSTD,
    BODY_SNAPPY, /* framed (as the Collector's "snappy" was for years) or one block (as remote
                    write's): told apart by the stream identifier */
    BODY_UNKNOWN,
};

enum { UNPACK_BYTES_MAX = 64 << 20 };

struct unpacker;

struct unpacker *unpacker_create(void);
void unpacker_destroy(struct unpacker **unpacker);

/* Of a Content-Encoding header; "" is BODY_IDENTITY. */
enum body_encoding unpack_encoding(const char *name);

/* The decoded bytes, good until the next call; NULL with a reason when they cannot be unpacked or
 * are too many. */
const uint8_t *unpack(struct unpacker *unpacker, enum body_encoding encoding, const uint8_t *in,
                      size_t bytes, size_t *ret_bytes, const char **ret_problem);
