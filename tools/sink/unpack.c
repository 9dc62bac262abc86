/* SPDX-License-Identifier: Apache-2.0 */
/* gzip and deflate by isa-l where it is built in (a fifth faster than libdeflate on bodies as
 * pgweir sends them: perf/bench_sink), else by libdeflate; zstd by libzstd; snappy by libsnappy,
 * whose C interface knows blocks only, so that frames (google/snappy framing_format.txt) are taken
 * apart here. */
#include "tools/sink/unpack.h"

#ifdef PGWEIR_HAVE_ISAL
#include <isa-l.h>
#else
#include <libdeflate.h>
#endif
#include <snappy-c.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zstd.h>

#include "base/check.h"
#include "base/memory.h"

enum {
    SPACE_BYTES_MIN = 64 << 10,
    FRAME_BLOCK_BYTES_MAX = 65536,
    FRAME_HEAD_BYTES = 4, /* kind, 24-bit length */
    FRAME_SUM_BYTES = 4,
};

static const char too_large[] = "body larger than 64 MiB";

struct unpacker {
#ifdef PGWEIR_HAVE_ISAL
    struct inflate_state inflate;
#else
    struct libdeflate_decompressor *inflate;
#endif
    ZSTD_DCtx *zstd;
    uint8_t *space;
    size_t space_bytes;
    uint32_t crc[256]; /* CRC-32C by bytes */
};

struct unpacker *unpacker_create(void)
{
    struct unpacker *unpacker = xcalloc(1, sizeof *unpacker);
#ifndef PGWEIR_HAVE_ISAL
    unpacker->inflate = libdeflate_alloc_decompressor();
    CHECK(unpacker->inflate != NULL);
#endif
    unpacker->zstd = ZSTD_createDCtx();
    CHECK(unpacker->zstd != NULL);
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
        unpacker->crc[i] = crc;
    }
    return unpacker;
}

void unpacker_destroy(struct unpacker **ret_unpacker)
{
    struct unpacker *unpacker = *ret_unpacker;
    if (unpacker == NULL)
        return;
#ifndef PGWEIR_HAVE_ISAL
    libdeflate_free_decompressor(unpacker->inflate);
#endif
    ZSTD_freeDCtx(unpacker->zstd);
    free(unpacker->space);
    free(unpacker);
    *ret_unpacker = NULL;
}

enum body_encoding unpack_encoding(const char *name)
{
    static const struct {
        const char *name;
        enum body_encoding encoding;
    } encodings[] = {
        {"", BODY_IDENTITY},   {"identity", BODY_IDENTITY}, {"gzip", BODY_GZIP},
        {"x-gzip", BODY_GZIP}, {"deflate", BODY_DEFLATE},   {"zlib", BODY_DEFLATE},
        {"zstd", BODY_ZSTD},   {"snappy", BODY_SNAPPY},     {"x-snappy-framed", BODY_SNAPPY},
    };
    for (size_t i = 0; i < sizeof encodings / sizeof encodings[0]; i++)
        if (strcasecmp(name, encodings[i].name) == 0)
            return encodings[i].encoding;
    return BODY_UNKNOWN;
}

/* Room for `bytes`; what is there up to `keep` stays. One byte more than asked for, so that a body
 * of no bytes has an address. */
static void make_space(struct unpacker *unpacker, size_t bytes, size_t keep)
{
    if (bytes < unpacker->space_bytes)
        return;
    if (keep > 0 && bytes < 2 * unpacker->space_bytes)
        bytes = 2 * unpacker->space_bytes; /* it grows by pieces */
    uint8_t *space = xmalloc(bytes + 1);
    if (keep > 0)
        memcpy(space, unpacker->space, keep);
    free(unpacker->space);
    unpacker->space = space;
    unpacker->space_bytes = bytes + 1;
}

/* How large it will be: what a gzip member says in its last four bytes, else a guess. */
static size_t inflate_guess(enum body_encoding encoding, const uint8_t *in, size_t bytes)
{
    uint32_t said = 0;
    if (encoding == BODY_GZIP)
        memcpy(&said, in + bytes - sizeof said, sizeof said);
    size_t guess = encoding == BODY_GZIP ? said : 8 * bytes;
    if (encoding != BODY_GZIP && guess > UNPACK_BYTES_MAX)
        guess = UNPACK_BYTES_MAX;
    return guess < SPACE_BYTES_MIN ? SPACE_BYTES_MIN : guess;
}

/* The next size to try when `bytes` were too few; 0: that was the largest. */
static size_t inflate_grow(size_t bytes)
{
    if (bytes >= UNPACK_BYTES_MAX)
        return 0;
    return 2 * bytes < UNPACK_BYTES_MAX ? 2 * bytes : UNPACK_BYTES_MAX;
}

#ifdef PGWEIR_HAVE_ISAL
/* All members of the body, one behind the other. */
static const char *inflate_all(struct unpacker *unpacker, enum body_encoding encoding, size_t room,
                               const uint8_t *in, size_t bytes, size_t *ret_bytes)
{
    struct inflate_state *state = &unpacker->inflate;
    const char *bad = encoding == BODY_GZIP ? "body is not gzip" : "body is not deflate (zlib)";
    size_t done = 0;
    isal_inflate_init(state);
    state->next_in = (uint8_t *)(uintptr_t)in;
    state->avail_in = (uint32_t)bytes;
    state->crc_flag = encoding == BODY_GZIP ? ISAL_GZIP : ISAL_ZLIB;
    for (;;) {
        state->next_out = unpacker->space + done;
        state->avail_out = (uint32_t)(room - done);
        if (isal_inflate(state) != ISAL_DECOMP_OK)
            return bad;
        done = room - state->avail_out;
        if (state->block_state == ISAL_BLOCK_FINISH) {
            if (state->avail_in == 0 || encoding != BODY_GZIP)
                break;
            isal_inflate_reset(state);
            state->crc_flag = ISAL_GZIP;
        } else if (state->avail_out > 0) {
            return bad; /* all is read and the end has not come */
        } else {
            room = inflate_grow(room);
            if (room == 0)
                return too_large;
            make_space(unpacker, room, done);
        }
    }
    *ret_bytes = done;
    return NULL;
}
#else
static const char *inflate_all(struct unpacker *unpacker, enum body_encoding encoding, size_t room,
                               const uint8_t *in, size_t bytes, size_t *ret_bytes)
{
    size_t done = 0, used = 0, read = 0, written = 0;
    while (used < bytes) {
        enum libdeflate_result result =
            encoding == BODY_GZIP
                ? libdeflate_gzip_decompress_ex(unpacker->inflate, in + used, bytes - used,
                                                unpacker->space + done, room - done, &read,
                                                &written)
                : libdeflate_zlib_decompress_ex(unpacker->inflate, in + used, bytes - used,
                                                unpacker->space + done, room - done, &read,
                                                &written);
        if (result == LIBDEFLATE_INSUFFICIENT_SPACE) {
            room = inflate_grow(room);
            if (room == 0)
                return too_large;
            make_space(unpacker, room, done);
            continue;
        }
        if (result != LIBDEFLATE_SUCCESS)
            return encoding == BODY_GZIP ? "body is not gzip" : "body is not deflate (zlib)";
        done += written;
        used += read;
        if (encoding != BODY_GZIP)
            break;
    }
    *ret_bytes = done;
    return NULL;
}
#endif

static const char *unpack_inflate(struct unpacker *unpacker, enum body_encoding encoding,
                                  const uint8_t *in, size_t bytes, size_t *ret_bytes)
{
    if (bytes < (encoding == BODY_GZIP ? 18 : 6))
        return encoding == BODY_GZIP ? "gzip body too short" : "deflate body too short";
    if (encoding == BODY_GZIP && (in[0] != 0x1f || in[1] != 0x8b))
        return "body is not gzip";
    size_t room = inflate_guess(encoding, in, bytes);
    if (room > UNPACK_BYTES_MAX)
        return too_large;
    make_space(unpacker, room, 0);
    return inflate_all(unpacker, encoding, room, in, bytes, ret_bytes);
}

/* Frames of any number, whose size nobody said. */
static const char *zstd_stream(struct unpacker *unpacker, const uint8_t *in, size_t bytes,
                               size_t *ret_bytes)
{
    size_t room = SPACE_BYTES_MIN, left = 1;
    make_space(unpacker, room, 0);
    ZSTD_inBuffer source = {in, bytes, 0};
    ZSTD_outBuffer target = {unpacker->space, room, 0};
    ZSTD_DCtx_reset(unpacker->zstd, ZSTD_reset_session_only);
    while (source.pos < source.size || left > 0) {
        if (target.pos == room) {
            room = inflate_grow(room);
            if (room == 0)
                return too_large;
            make_space(unpacker, room, target.pos);
            target.dst = unpacker->space;
            target.size = room;
        }
        size_t read = source.pos, written = target.pos;
        left = ZSTD_decompressStream(unpacker->zstd, &target, &source);
        if (ZSTD_isError(left) || (source.pos == read && target.pos == written && left > 0))
            return "body is not zstd";
    }
    *ret_bytes = target.pos;
    return NULL;
}

static const char *unpack_zstd(struct unpacker *unpacker, const uint8_t *in, size_t bytes,
                               size_t *ret_bytes)
{
    unsigned long long whole = ZSTD_getFrameContentSize(in, bytes);
    if (whole == ZSTD_CONTENTSIZE_ERROR)
        return "body is not zstd";
    if (whole == ZSTD_CONTENTSIZE_UNKNOWN || ZSTD_findFrameCompressedSize(in, bytes) != bytes)
        return zstd_stream(unpacker, in, bytes, ret_bytes);
    if (whole > UNPACK_BYTES_MAX)
        return too_large;
    make_space(unpacker, (size_t)whole, 0);
    *ret_bytes = ZSTD_decompressDCtx(unpacker->zstd, unpacker->space, (size_t)whole, in, bytes);
    return ZSTD_isError(*ret_bytes) ? "body is not zstd" : NULL;
}

static const char *snappy_block(struct unpacker *unpacker, size_t done, const uint8_t *in,
                                size_t bytes, size_t *ret_bytes)
{
    size_t whole = 0;
    if (snappy_uncompressed_length((const char *)in, bytes, &whole) != SNAPPY_OK)
        return "body is not snappy";
    if (whole > UNPACK_BYTES_MAX - done)
        return too_large;
    make_space(unpacker, done + whole, done);
    *ret_bytes = whole;
    return snappy_uncompress((const char *)in, bytes, (char *)unpacker->space + done, ret_bytes) ==
                   SNAPPY_OK
               ? NULL
               : "body is not snappy";
}

static bool sum_fits(const struct unpacker *unpacker, const uint8_t *data, size_t bytes,
                     uint32_t masked)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < bytes; i++)
        crc = crc >> 8 ^ unpacker->crc[(crc ^ data[i]) & 0xff];
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xa282ead8 == masked;
}

/* One frame's content; *done is moved on. */
static const char *snappy_frame(struct unpacker *unpacker, uint8_t kind, const uint8_t *in,
                                size_t bytes, size_t *done)
{
    if (kind >= 0x80) /* stream identifier, padding, skippable */
        return NULL;
    uint32_t sum;
    size_t whole = bytes - FRAME_SUM_BYTES;
    if (kind > 1 || bytes < FRAME_SUM_BYTES)
        return "snappy frame of an unknown kind";
    memcpy(&sum, in, sizeof sum);
    in += FRAME_SUM_BYTES;
    if (kind == 0) {
        const char *problem = snappy_block(unpacker, *done, in, bytes - FRAME_SUM_BYTES, &whole);
        if (problem != NULL)
            return problem;
    } else if (whole > UNPACK_BYTES_MAX - *done) {
        return too_large;
    } else {
        make_space(unpacker, *done + whole, *done);
        memcpy(unpacker->space + *done, in, whole);
    }
    if (whole > FRAME_BLOCK_BYTES_MAX)
        return "snappy frame too large";
    if (!sum_fits(unpacker, unpacker->space + *done, whole, sum))
        return "snappy frame with a wrong checksum";
    *done += whole;
    return NULL;
}

static const char *unpack_snappy(struct unpacker *unpacker, const uint8_t *in, size_t bytes,
                                 size_t *ret_bytes)
{
    static const uint8_t stream[] = {0xff, 6, 0, 0, 's', 'N', 'a', 'P', 'p', 'Y'};
    if (bytes < sizeof stream || memcmp(in, stream, sizeof stream) != 0)
        return snappy_block(unpacker, 0, in, bytes, ret_bytes);
    size_t done = 0;
    make_space(unpacker, SPACE_BYTES_MIN, 0);
    while (bytes > 0) {
        size_t frame = bytes < FRAME_HEAD_BYTES
                           ? SIZE_MAX
                           : (size_t)in[1] | (size_t)in[2] << 8 | (size_t)in[3] << 16;
        if (frame == SIZE_MAX || frame > bytes - FRAME_HEAD_BYTES)
            return "snappy frame cut short";
        const char *problem = snappy_frame(unpacker, in[0], in + FRAME_HEAD_BYTES, frame, &done);
        if (problem != NULL)
            return problem;
        in += FRAME_HEAD_BYTES + frame;
        bytes -= FRAME_HEAD_BYTES + frame;
    }
    *ret_bytes = done;
    return NULL;
}

const uint8_t *unpack(struct unpacker *unpacker, enum body_encoding encoding, const uint8_t *in,
                      size_t bytes, size_t *ret_bytes, const char **ret_problem)
{
    const char *problem = NULL;
    switch (encoding) {
    case BODY_IDENTITY:
        *ret_bytes = bytes;
        return in;
    case BODY_GZIP:
    case BODY_DEFLATE:
        problem = unpack_inflate(unpacker, encoding, in, bytes, ret_bytes);
        break;
    case BODY_ZSTD:
        problem = unpack_zstd(unpacker, in, bytes, ret_bytes);
        break;
    case BODY_SNAPPY:
        problem = unpack_snappy(unpacker, in, bytes, ret_bytes);
        break;
    case BODY_UNKNOWN:
        problem = "unknown Content-Encoding: gzip, deflate, zstd and snappy are read here";
        break;
    }
    *ret_problem = problem;
    return problem == NULL ? unpacker->space : NULL;
}
