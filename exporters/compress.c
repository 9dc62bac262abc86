/* SPDX-License-Identifier: Apache-2.0 */
/* A body is compressed whole, in one call, with a context that is made once: on the worker's thread
 * this is the largest part of a point's cost, so gzip is isa-l's where the processor has it (4 to 6
 * times libdeflate's speed at nearly its ratio) and libdeflate's elsewhere. zstd compresses OTLP
 * better and as fast, for back ends that take it.
 *
 * One object per thread. Invariant: with `out` as large as compressor_bound() nothing can fail, so
 * a failure is a bug and CHECKed. */
#include "exporters/compress.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>
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
    compressor->level_memory = malloc(compressor->level_bytes);
    compressor->stream = malloc(sizeof *compressor->stream);
    CHECK(compressor->level_memory && compressor->stream);
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

#else

enum { GZIP_LEVEL_DEFAULT = 3, GZIP_LEVEL_MAX = 12 };

static void gzip_open(struct compressor *compressor)
{
    compressor->level = clamp(compressor->level, 1, GZIP_LEVEL_MAX);
    compressor->deflate = libdeflate_alloc_compressor(compressor->level);
    CHECK(compressor->deflate);
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

#endif

enum { ZSTD_LEVEL_DEFAULT = 1 };

struct compressor *compressor_create(enum compression kind, int level)
{
    struct compressor *compressor = calloc(1, sizeof *compressor);
    CHECK(compressor && kind < COMPRESSION_COUNT);
    compressor->kind = kind;
    if (kind == COMPRESSION_GZIP) {
        compressor->level = level ? level : GZIP_LEVEL_DEFAULT;
        gzip_open(compressor);
    }
    if (kind == COMPRESSION_ZSTD) {
        compressor->level =
            clamp(level ? level : ZSTD_LEVEL_DEFAULT, ZSTD_minCLevel(), ZSTD_maxCLevel());
        compressor->zstd = ZSTD_createCCtx();
        CHECK(compressor->zstd);
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

const char *compression_name(enum compression kind)
{
    static const char *const names[COMPRESSION_COUNT] = {
        [COMPRESSION_GZIP] = "gzip",
        [COMPRESSION_ZSTD] = "zstd",
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
        CHECK(!ZSTD_isError(written));
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
