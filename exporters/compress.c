/* SPDX-License-Identifier: Apache-2.0 */
/* A body is compressed whole, in one call, with a context that is made once: on the worker's thread
 * this is the largest part of a point's cost, so gzip is isa-l's where the processor has it (4 to 6
 * times libdeflate's speed at nearly its ratio) and libdeflate's elsewhere. zstd compresses OTLP
 * better and as fast, for back ends that take it.
 *
 * Back again, which only a body that is too large for its back end needs, goes without an object
 * kept for it: the size is what the body says of itself, and if it is more than the limit, or not
 * the truth, there is no body.
 *
 * One object per thread. Invariant: with `out` as large as compressor_bound() nothing can fail, so
 * a failure is a bug and CHECKed. */
#include "exporters/compress.h"

#include "base/check.h"
#include "base/memory.h"

#include <snappy-c.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>
#ifdef PGWEIR_HAVE_ISAL
#include <isa-l/igzip_lib.h>
#else
#include <libdeflate.h>
#endif

struct compressor {
    enum compression kind;
    int level;
    ZSTD_CCtx *zstd;
#ifdef PGWEIR_HAVE_ISAL
    struct isal_zstream *stream;
    uint8_t *level_memory;
    uint32_t level_bytes;
#else
    struct libdeflate_compressor *deflate;
#endif
};

static int clamp(int value, int low, int high)
{
    return value < low ? low : value > high ? high : value;
}

#ifdef PGWEIR_HAVE_ISAL

enum { GZIP_LEVEL_DEFAULT = 1, GZIP_LEVEL_MAX = ISAL_DEF_MAX_LEVEL };
/* Header and trailer of gzip, and what isa-l may add to a stored block of 64 KiB. */
enum { GZIP_WRAP_BYTES = 18, STORED_BLOCK_BYTES = 65535, STORED_HEAD_BYTES = 5 };

static void gzip_open(struct compressor *compressor)
{
    static const uint32_t level_bytes[] = {
        [0] = ISAL_DEF_LVL0_DEFAULT,
        [1] = ISAL_DEF_LVL1_DEFAULT,
        [2] = ISAL_DEF_LVL2_DEFAULT,
        [3] = ISAL_DEF_LVL3_DEFAULT,
    };
    compressor->level = clamp(compressor->level, 1, GZIP_LEVEL_MAX);
    compressor->level_bytes = level_bytes[compressor->level];
    compressor->level_memory = xmalloc(compressor->level_bytes);
    compressor->stream = xmalloc(sizeof *compressor->stream);
}

static void gzip_close(struct compressor *compressor)
{
    free(compressor->level_memory);
    free(compressor->stream);
}

static size_t gzip_bound(const struct compressor *compressor, size_t bytes)
{
    (void)compressor;
    return bytes + GZIP_WRAP_BYTES + STORED_HEAD_BYTES * (bytes / STORED_BLOCK_BYTES + 2);
}

static size_t gzip_run(struct compressor *compressor, const uint8_t *in, size_t bytes, uint8_t *out,
                       size_t out_bytes)
{
    CHECK(bytes <= UINT32_MAX && out_bytes <= UINT32_MAX);
    struct isal_zstream *stream = compressor->stream;
    isal_deflate_stateless_init(stream);
    stream->level = (uint32_t)compressor->level;
    stream->level_buf = compressor->level_memory;
    stream->level_buf_size = compressor->level_bytes;
    stream->gzip_flag = IGZIP_GZIP;
    stream->end_of_stream = 1;
    stream->flush = NO_FLUSH;
    memcpy(&stream->next_in, &in, sizeof in); /* isa-l reads it, without saying const */
    stream->avail_in = (uint32_t)bytes;
    stream->next_out = out;
    stream->avail_out = (uint32_t)out_bytes;
    CHECK(isal_deflate_stateless(stream) == COMP_OK);
    CHECK(stream->avail_in == 0);
    return stream->total_out;
}

static bool gzip_inflate(const uint8_t *in, size_t bytes, uint8_t *out, size_t out_bytes)
{
    struct inflate_state *state = malloc(sizeof *state); /* tens of KiB */
    if (state == NULL)
        return false;
    isal_inflate_init(state);
    memcpy(&state->next_in, &in, sizeof in);
    state->avail_in = (uint32_t)bytes;
    state->next_out = out;
    state->avail_out = (uint32_t)out_bytes;
    state->crc_flag = ISAL_GZIP;
    int result = isal_inflate(state);
    bool whole = result == ISAL_DECOMP_OK && state->block_state == ISAL_BLOCK_FINISH &&
                 state->avail_in == 0 && state->avail_out == 0;
    free(state);
    return whole;
}

struct gzip_stream {
    struct isal_zstream stream;
    uint8_t level_memory[ISAL_DEF_LVL1_DEFAULT];
};

struct gzip_stream *gzip_stream_create(void)
{
    struct gzip_stream *gzip = malloc(sizeof *gzip);
    if (gzip == NULL)
        return NULL;
    isal_deflate_init(&gzip->stream);
    gzip->stream.level = 1;
    gzip->stream.level_buf = gzip->level_memory;
    gzip->stream.level_buf_size = sizeof gzip->level_memory;
    gzip->stream.gzip_flag = IGZIP_GZIP;
    return gzip;
}

size_t gzip_stream_run(struct gzip_stream *gzip, const uint8_t **in, size_t *bytes, bool last,
                       uint8_t *out, size_t out_bytes)
{
    struct isal_zstream *stream = &gzip->stream;
    CHECK(*bytes <= UINT32_MAX && out_bytes <= UINT32_MAX);
    memcpy(&stream->next_in, in, sizeof *in);
    stream->avail_in = (uint32_t)*bytes;
    stream->next_out = out;
    stream->avail_out = (uint32_t)out_bytes;
    stream->end_of_stream = last;
    CHECK(isal_deflate(stream) == COMP_OK);
    *in = stream->next_in;
    *bytes = stream->avail_in;
    return out_bytes - stream->avail_out;
}

#else

enum { GZIP_LEVEL_DEFAULT = 3, GZIP_LEVEL_MAX = 12 };

static void gzip_open(struct compressor *compressor)
{
    compressor->level = clamp(compressor->level, 1, GZIP_LEVEL_MAX);
    compressor->deflate = libdeflate_alloc_compressor(compressor->level);
    xdone(compressor->deflate != NULL);
}

static void gzip_close(struct compressor *compressor)
{
    libdeflate_free_compressor(compressor->deflate);
}

static size_t gzip_bound(const struct compressor *compressor, size_t bytes)
{
    return libdeflate_gzip_compress_bound(compressor->deflate, bytes);
}

static size_t gzip_run(struct compressor *compressor, const uint8_t *in, size_t bytes, uint8_t *out,
                       size_t out_bytes)
{
    size_t written = libdeflate_gzip_compress(compressor->deflate, in, bytes, out, out_bytes);
    CHECK(written > 0);
    return written;
}

static bool gzip_inflate(const uint8_t *in, size_t bytes, uint8_t *out, size_t out_bytes)
{
    struct libdeflate_decompressor *inflate = libdeflate_alloc_decompressor();
    if (inflate == NULL)
        return false;
    size_t read = 0;
    enum libdeflate_result result =
        libdeflate_gzip_decompress_ex(inflate, in, bytes, out, out_bytes, &read, NULL);
    libdeflate_free_decompressor(inflate);
    return result == LIBDEFLATE_SUCCESS && read == bytes;
}

struct gzip_stream *gzip_stream_create(void)
{
    return NULL; /* libdeflate has no streams */
}

size_t gzip_stream_run(struct gzip_stream *stream, const uint8_t **in, size_t *bytes, bool last,
                       uint8_t *out, size_t out_bytes)
{
    (void)stream, (void)in, (void)bytes, (void)last, (void)out, (void)out_bytes;
    check_failed("there is no stream", __FILE__, __LINE__);
}

#endif

void gzip_stream_destroy(struct gzip_stream **stream)
{
    free(*stream);
    *stream = NULL;
}

enum { ZSTD_LEVEL_DEFAULT = 1 };

struct compressor *compressor_create(enum compression kind, int level)
{
    struct compressor *compressor = xcalloc(1, sizeof *compressor);
    CHECK(kind < COMPRESSION_COUNT);
    compressor->kind = kind;
    if (kind == COMPRESSION_GZIP) {
        compressor->level = level ? level : GZIP_LEVEL_DEFAULT;
        gzip_open(compressor);
    }
    if (kind == COMPRESSION_ZSTD) {
        compressor->level =
            clamp(level ? level : ZSTD_LEVEL_DEFAULT, ZSTD_minCLevel(), ZSTD_maxCLevel());
        compressor->zstd = ZSTD_createCCtx();
        xdone(compressor->zstd != NULL);
    }
    return compressor;
}

void compressor_destroy(struct compressor **compressor)
{
    struct compressor *dead = *compressor;
    *compressor = NULL;
    if (!dead)
        return;
    if (dead->kind == COMPRESSION_GZIP)
        gzip_close(dead);
    ZSTD_freeCCtx(dead->zstd);
    free(dead);
}

int compression_level(enum compression kind, int level)
{
    switch (kind) {
    case COMPRESSION_GZIP:
        return clamp(level ? level : GZIP_LEVEL_DEFAULT, 1, GZIP_LEVEL_MAX);
    case COMPRESSION_ZSTD:
        return clamp(level ? level : ZSTD_LEVEL_DEFAULT, ZSTD_minCLevel(), ZSTD_maxCLevel());
    case COMPRESSION_NONE:
    case COMPRESSION_SNAPPY:
    case COMPRESSION_COUNT:
        break;
    }
    return 0;
}

const char *compression_name(enum compression kind)
{
    static const char *const names[COMPRESSION_COUNT] = {
        [COMPRESSION_GZIP] = "gzip",
        [COMPRESSION_ZSTD] = "zstd",
        [COMPRESSION_SNAPPY] = "snappy",
    };
    return names[kind];
}

size_t compressor_bound(const struct compressor *compressor, size_t bytes)
{
    switch (compressor->kind) {
    case COMPRESSION_GZIP:
        return gzip_bound(compressor, bytes);
    case COMPRESSION_ZSTD:
        return ZSTD_compressBound(bytes);
    case COMPRESSION_SNAPPY:
        return snappy_max_compressed_length(bytes);
    case COMPRESSION_NONE:
    case COMPRESSION_COUNT:
        break;
    }
    return bytes;
}

size_t compressor_run(struct compressor *compressor, const uint8_t *in, size_t bytes, uint8_t *out,
                      size_t out_bytes)
{
    size_t written = 0;
    switch (compressor->kind) {
    case COMPRESSION_GZIP:
        return gzip_run(compressor, in, bytes, out, out_bytes);
    case COMPRESSION_ZSTD:
        written = ZSTD_compressCCtx(compressor->zstd, out, out_bytes, in, bytes, compressor->level);
        xdone(ZSTD_getErrorCode(written) != ZSTD_error_memory_allocation);
        CHECK(!ZSTD_isError(written));
        return written;
    case COMPRESSION_SNAPPY:
        written = out_bytes;
        CHECK(snappy_compress((const char *)in, bytes, (char *)out, &written) == SNAPPY_OK);
        return written;
    case COMPRESSION_NONE:
    case COMPRESSION_COUNT:
        break;
    }
    CHECK(bytes <= out_bytes);
    if (bytes > 0)
        memcpy(out, in, bytes);
    return bytes;
}

/* What the body says; SIZE_MAX where it says nothing that can be. */
static size_t unpacked_bytes(enum compression kind, const uint8_t *in, size_t bytes)
{
    enum { GZIP_BYTES_MIN = 18 };
    uint32_t tail;
    size_t whole;
    unsigned long long frame;
    switch (kind) {
    case COMPRESSION_NONE:
        return bytes;
    case COMPRESSION_GZIP:
        if (bytes < GZIP_BYTES_MIN || bytes > UINT32_MAX)
            return SIZE_MAX;
        memcpy(&tail, in + bytes - sizeof tail, sizeof tail);
        return tail;
    case COMPRESSION_ZSTD:
        frame = ZSTD_getFrameContentSize(in, bytes);
        return frame == ZSTD_CONTENTSIZE_UNKNOWN || frame == ZSTD_CONTENTSIZE_ERROR ? SIZE_MAX
                                                                                    : (size_t)frame;
    case COMPRESSION_SNAPPY:
        return snappy_uncompressed_length((const char *)in, bytes, &whole) == SNAPPY_OK ? whole
                                                                                        : SIZE_MAX;
    case COMPRESSION_COUNT:
        break;
    }
    return SIZE_MAX;
}

/* Into exactly `out_bytes`; false where they are others or the bytes make no sense. */
static bool unpack(enum compression kind, const uint8_t *in, size_t bytes, uint8_t *out,
                   size_t out_bytes)
{
    size_t written = out_bytes;
    switch (kind) {
    case COMPRESSION_NONE:
        if (bytes > 0)
            memcpy(out, in, bytes);
        return true;
    case COMPRESSION_GZIP:
        return gzip_inflate(in, bytes, out, out_bytes);
    case COMPRESSION_ZSTD:
        return ZSTD_decompress(out, out_bytes, in, bytes) == out_bytes;
    case COMPRESSION_SNAPPY:
        return snappy_uncompress((const char *)in, bytes, (char *)out, &written) == SNAPPY_OK &&
               written == out_bytes;
    case COMPRESSION_COUNT:
        break;
    }
    return false;
}

uint8_t *decompress(enum compression kind, const uint8_t *in, size_t bytes, size_t limit,
                    size_t *ret_bytes)
{
    size_t whole = unpacked_bytes(kind, in, bytes);
    if (whole == SIZE_MAX || whole > limit)
        return NULL;
    uint8_t *out = malloc(whole > 0 ? whole : 1);
    if (out != NULL && !unpack(kind, in, bytes, out, whole)) {
        free(out);
        return NULL;
    }
    if (out != NULL)
        *ret_bytes = whole;
    return out;
}
