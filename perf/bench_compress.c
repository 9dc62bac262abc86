/* SPDX-License-Identifier: Apache-2.0 */
/* The compressors on a batch of about 8,192 points as the encoder writes it: bytes and points a
 * second, and how many times smaller the body becomes. */
#include "exporters/compress.h"
#include "exporters/otlp/encode.h"
#include "perf/pages.h"
#include "perf/shim/bench.h"

#include <stdlib.h>
#include <string.h>

enum { PAGES = 7, RUN_POINTS = 100, BATCH_BYTES_MAX = 2 << 20 };
static uint8_t batch[BATCH_BYTES_MAX];
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

static void compress_batch(struct bench *bench, enum compression kind)
{
    struct compressor *compressor = compressor_create(kind, (int)bench_argument(bench));
    size_t bound = compressor_bound(compressor, batch_bytes), bytes = 0;
    uint8_t *out = malloc(bound);
    if (!out) {
        bench_fail(bench, "no memory");
        return;
    }
    while (bench_next(bench)) {
        bytes = compressor_run(compressor, batch, batch_bytes, out, bound);
        bench_keep(out);
    }
    bench_items(bench, batch_points);
    bench_bytes(bench, batch_bytes);
    bench_counter(bench, "ratio", (double)batch_bytes / (double)bytes);
    free(out);
    compressor_destroy(&compressor);
}

static void compress_none(struct bench *bench)
{
    compress_batch(bench, COMPRESSION_NONE);
}

static void compress_gzip(struct bench *bench)
{
    compress_batch(bench, COMPRESSION_GZIP);
}

static void compress_zstd(struct bench *bench)
{
    compress_batch(bench, COMPRESSION_ZSTD);
}

int main(int argc, char **argv)
{
    make_batch();
    bench_add("none", compress_none, 0);
    for (int level = 1; level <= 3; level++)
        bench_add(level == 1 ? "gzip" : "gzip_more", compress_gzip, level);
    bench_add("zstd_less", compress_zstd, -1);
    bench_add("zstd", compress_zstd, 1);
    bench_add("zstd_more", compress_zstd, 3);
    bench_headline("zstd_point", "zstd");
    bench_headline("gzip_point", "gzip");
    return bench_main(argc, argv);
}
