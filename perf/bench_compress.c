/* SPDX-License-Identifier: Apache-2.0 */
/* The compressors on a batch of about 8,192 points as the encoder writes it: bytes and points a
 * second, and how many times smaller the body becomes. Each kind stands beside the bare library in
 * the same call form (`bare_…`; memcpy for none). gzip by libdeflate, which is what builds without
 * isa-l use, is there by itself. */
#include "exporters/compress.h"
#include "exporters/otlp/encode.h"
#include "perf/pages.h"
#include "perf/shim/bench.h"

#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#ifdef PGWEIR_HAVE_ISAL
#include <isa-l/igzip_lib.h>
#endif

enum { PAGES = 7, RUN_POINTS = 100, BATCH_BYTES_MAX = 2 << 20 };
static uint8_t batch[BATCH_BYTES_MAX], out[2 * BATCH_BYTES_MAX];
static size_t batch_bytes, batch_points;

static void make_batch(void)
{
    struct bench_pages *pages = bench_pages_create(PAGES, RUN_POINTS, false);
    uint8_t *at = batch + sizeof batch;
    for (uint32_t i = 0; i < PAGES; i++) {
        const struct page *page = bench_pages_get(pages, i);
        at = otlp_encode(page, (struct page_slice){0, page->point_count}, 0, batch, at);
        batch_points += page->point_count;
    }
    batch_bytes = (size_t)(batch + sizeof batch - at);
    memmove(batch, at, batch_bytes);
    bench_pages_destroy(&pages);
}

static void report(struct bench *bench, size_t compressed_bytes)
{
    if (compressed_bytes == 0) {
        bench_fail(bench, "the library compresses nothing");
        return;
    }
    bench_items(bench, batch_points);
    bench_bytes(bench, batch_bytes);
    bench_counter(bench, "ratio", (double)batch_bytes / (double)compressed_bytes);
    bench_counter(bench, "bytes_per_point", (double)compressed_bytes / (double)batch_points);
}

static void compress_batch(struct bench *bench)
{
    const enum compression *kind = bench_data(bench);
    struct compressor *compressor = compressor_create(*kind, (int)bench_argument(bench));
    if (compressor_bound(compressor, batch_bytes) > sizeof out)
        bench_fail(bench, "the bound is larger than the buffer");
    size_t bytes = 0;
    while (bench_next(bench)) {
        bytes = compressor_run(compressor, batch, batch_bytes, out, sizeof out);
        bench_keep(out);
    }
    report(bench, bytes);
    compressor_destroy(&compressor);
}

static void bare_copy(struct bench *bench)
{
    while (bench_next(bench)) {
        memcpy(out, batch, batch_bytes);
        bench_keep(out);
    }
    report(bench, batch_bytes);
}

static void bare_zstd(struct bench *bench)
{
    ZSTD_CCtx *context = ZSTD_createCCtx();
    size_t bytes = 0;
    while (bench_next(bench)) {
        bytes = ZSTD_compressCCtx(context, out, sizeof out, batch, batch_bytes,
                                  (int)bench_argument(bench));
        bench_keep(out);
    }
    report(bench, ZSTD_isError(bytes) ? 0 : bytes);
    ZSTD_freeCCtx(context);
}

static void bare_libdeflate(struct bench *bench)
{
    struct libdeflate_compressor *deflate = libdeflate_alloc_compressor((int)bench_argument(bench));
    size_t bytes = 0;
    while (bench_next(bench)) {
        bytes = libdeflate_gzip_compress(deflate, batch, batch_bytes, out, sizeof out);
        bench_keep(out);
    }
    report(bench, bytes);
    libdeflate_free_compressor(deflate);
}

static void bare_isal(struct bench *bench)
{
#ifdef PGWEIR_HAVE_ISAL
    static struct isal_zstream stream;
    static uint8_t memory[ISAL_DEF_LVL1_DEFAULT];
    while (bench_next(bench)) {
        isal_deflate_stateless_init(&stream);
        stream.level = 1;
        stream.level_buf = memory;
        stream.level_buf_size = sizeof memory;
        stream.gzip_flag = IGZIP_GZIP;
        stream.end_of_stream = 1;
        stream.next_in = batch;
        stream.avail_in = (uint32_t)batch_bytes;
        stream.next_out = out;
        stream.avail_out = sizeof out;
        if (isal_deflate_stateless(&stream) != COMP_OK)
            bench_fail(bench, "isa-l fails");
    }
    report(bench, stream.total_out);
#else
    bench_fail(bench, "built without isa-l");
#endif
}

static const enum compression none = COMPRESSION_NONE, gzip = COMPRESSION_GZIP,
                              zstd = COMPRESSION_ZSTD;

static const struct bench_case cases[] = {
    {"bare_copy", bare_copy, .unit = "point", .exact = -1},
    {"none", compress_batch, .data = &none, .floor = "bare_copy", .exact = -1},
    {"bare_isal", bare_isal, .exact = -1},
    {"gzip", compress_batch, .argument = 1, .data = &gzip, .floor = "bare_isal", .exact = 3},
    {"gzip", compress_batch, .argument = 2, .data = &gzip, .floor = "bare_isal", .exact = -1},
    {"gzip", compress_batch, .argument = 3, .data = &gzip, .floor = "bare_isal", .exact = -1},
    {"libdeflate", bare_libdeflate, .argument = 1, .exact = -1},
    {"libdeflate", bare_libdeflate, .argument = 3, .exact = -1},
    {"libdeflate", bare_libdeflate, .argument = 6, .exact = -1},
    {"bare_zstd", bare_zstd, .argument = -1, .exact = -1},
    {"zstd", compress_batch, .argument = -1, .data = &zstd, .floor = "bare_zstd/-1", .exact = -1},
    {"bare_zstd", bare_zstd, .argument = 1, .exact = -1},
    {"zstd", compress_batch, .argument = 1, .data = &zstd, .floor = "bare_zstd/1", .exact = 3},
    {"bare_zstd", bare_zstd, .argument = 3, .exact = -1},
    {"zstd", compress_batch, .argument = 3, .data = &zstd, .floor = "bare_zstd/3", .exact = -1},
};

int main(int argc, char **argv)
{
    make_batch();
    bench_add_cases(cases, sizeof cases / sizeof *cases);
    bench_headline("zstd_point", "zstd/1");
    bench_headline("gzip_point", "gzip/1");
    return bench_main(argc, argv);
}
