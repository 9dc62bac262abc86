/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bodies compressed in one call: gzip by isa-l where it is built in, else libdeflate; zstd by
 * libzstd; snappy's raw format, without frames, by libsnappy. One object per thread. The numbers
 * are on disk (spool): they stay. */
enum compression {
    COMPRESSION_NONE,
    COMPRESSION_GZIP,
    COMPRESSION_ZSTD,
    COMPRESSION_SNAPPY,
    COMPRESSION_COUNT,
};

struct compressor;

/* `level` 0: the default of the kind (gzip: isa-l's fast level; zstd: 1; snappy has none). */
struct compressor *compressor_create(enum compression kind, int level);
void compressor_destroy(struct compressor **compressor);

/* The level that is used where `level` is asked for; 0 where there are none. */
int compression_level(enum compression kind, int level);

/* Content-Encoding value: "gzip", "zstd", "snappy"; NULL for none. */
const char *compression_name(enum compression kind);

/* Bytes that `out` must have for `bytes` of input. */
size_t compressor_bound(const struct compressor *compressor, size_t bytes);

/* Bytes written to `out`; for COMPRESSION_NONE a copy. Cannot fail where `out` has the bound. */
size_t compressor_run(struct compressor *compressor, const uint8_t *in, size_t bytes, uint8_t *out,
                      size_t out_bytes);

/* gzip piece by piece, for an answer made while it is sent. */
struct gzip_stream;

/* NULL: memory is out, or isa-l is not built in. */
struct gzip_stream *gzip_stream_create(void);
void gzip_stream_destroy(struct gzip_stream **stream);

/* Takes what it can of the `*bytes` at `*in` (both move on), all of the input where `last`; returns
 * the bytes written to `out`. Done when the input is taken and, where `last`, less than `out_bytes`
 * were written. */
size_t gzip_stream_run(struct gzip_stream *stream, const uint8_t **in, size_t *bytes, bool last,
                       uint8_t *out, size_t out_bytes);

/* The body that was compressed, to be freed; NULL where `in` is no body as compressor_run() writes
 * it (one gzip member or zstd frame that tells its size), where it would be more than `limit`
 * bytes, or memory is out. For the rare body that must be taken apart again; any thread, the bytes
 * may be anybody's. */
uint8_t *decompress(enum compression kind, const uint8_t *in, size_t bytes, size_t limit,
                    size_t *ret_bytes);
