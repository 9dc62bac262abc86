/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* Bodies compressed in one call: gzip by isa-l where it is built in, else libdeflate; zstd by
 * libzstd. One object per thread. */
enum compression { COMPRESSION_NONE, COMPRESSION_GZIP, COMPRESSION_ZSTD, COMPRESSION_COUNT };

struct compressor;

/* `level` 0: the default of the kind (gzip: isa-l's fast level; zstd: 1). */
struct compressor *compressor_create(enum compression kind, int level);
void compressor_destroy(struct compressor **compressor);

/* Content-Encoding value: "gzip", "zstd"; NULL for none. */
const char *compression_name(enum compression kind);

/* Bytes that `out` must have for `bytes` of input. */
size_t compressor_bound(const struct compressor *compressor, size_t bytes);

/* Bytes written to `out`; for COMPRESSION_NONE a copy. Cannot fail where `out` has the bound. */
size_t compressor_run(struct compressor *compressor, const uint8_t *in, size_t bytes, uint8_t *out,
                      size_t out_bytes);
