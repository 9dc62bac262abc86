/* SPDX-License-Identifier: Apache-2.0 */
/* What pgweir-sink does with a body, without the socket: unpack, walk, and the ledger, for bodies
 * as pgweir sends them (servers with 200 tables, 20 metrics a table, four attributes, gzip).
 * bench_sink_count has its target in points a second per core: 10 million; the ledger's is 3. */
#include "base/check.h"
#include "base/memory.h"
#include "exporters/compress.h"
#include "exporters/otlp/encode.h"
#include "perf/shim/bench.h"
#include "ring/ring.h"
#include "tools/sink/body.h"
#include "tools/sink/unpack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TABLES = 200,
    METRICS = 20,
    SERVERS_PER_BODY = 2,
    BODIES_MAX = 250, /* 2 million series */
    RAW_BYTES_MAX = 4 << 20,
    POINTS = SERVERS_PER_BODY * TABLES * METRICS,
};

struct body {
    uint8_t *gzip, *zstd;
    size_t gzip_bytes, zstd_bytes, raw_bytes;
};

static struct metric metrics[METRICS];
static char names[METRICS][40];
static struct body bodies[BODIES_MAX];
static uint8_t raw[RAW_BYTES_MAX];

static const struct attrs *attrs_of(enum attrs_tag tag, int server, int table)
{
    static struct attrs_builder builder;
    char text[64];
    attrs_begin(&builder, tag);
    if (tag == ATTRS_RESOURCE) {
        int bytes = snprintf(text, sizeof text, "db-%05d.example.com", server);
        attrs_add_text(&builder, "server.address", text, (size_t)bytes);
        attrs_add_int(&builder, "server.port", 5432);
        attrs_add_text(&builder, "service.name", "postgresql", 10);
        return attrs_finish(&builder);
    }
    int bytes = snprintf(text, sizeof text, "public.orders_%04d_%03d", server, table);
    attrs_add_text(&builder, "db.namespace", "shop", 4);
    attrs_add_text(&builder, "db.collection.name", text, (size_t)bytes);
    attrs_add_text(&builder, "operation", table % 2 ? "ins" : "upd", 3);
    attrs_add_text(&builder, "source", "heap_read", 9);
    return attrs_finish(&builder);
}

/* One run of all tables; a quarter of the metrics are gauges. */
static uint8_t *encode_run(uint8_t *at, int m, const struct resource *resource,
                           const struct attrs *const *tables)
{
    static struct page *page;
    if (page == NULL)
        page = aligned_alloc(64, LIMIT_PAGE_BYTES);
    CHECK(page != NULL);
    page_reset(page, 0, 0);
    struct point *points =
        page_begin_run(page, &metrics[m], NULL, resource, 1700000000000000000ull);
    for (int t = 0; t < TABLES; t++)
        points[t] = (struct point){.attrs = tables[t],
                                   .start_ns = 1690000000000000000ull,
                                   .value.integer = 1000 + (m * 7919 + t * 104729) % 1000};
    page_end_run(page, TABLES);
    return otlp_encode(page, (struct page_slice){0, TABLES}, 0, raw, at);
}

static uint8_t *encode_server(uint8_t *at, int server)
{
    struct resource resource = {{attrs_of(ATTRS_RESOURCE, server, 0)}};
    const struct attrs *tables[TABLES];
    for (int t = 0; t < TABLES; t++)
        tables[t] = attrs_of(ATTRS_POINT, server, t);
    for (int m = 0; m < METRICS; m++)
        at = encode_run(at, m, &resource, tables);
    return at;
}

static uint8_t *pack(enum compression kind, const uint8_t *body, size_t bytes, size_t *ret_bytes)
{
    struct compressor *compressor = compressor_create(kind, 0);
    size_t bound = compressor_bound(compressor, bytes);
    uint8_t *out = xmalloc(bound);
    *ret_bytes = compressor_run(compressor, body, bytes, out, bound);
    compressor_destroy(&compressor);
    out = xrealloc(out, *ret_bytes);
    return out;
}

static void make_bodies(int64_t count)
{
    for (int m = 0; m < METRICS; m++) {
        snprintf(names[m], sizeof names[m], "postgresql.table.statistic_%02d", m);
        metrics[m] = (struct metric){.name = names[m],
                                     .unit = "1",
                                     .description = "A number of a table.",
                                     .instrument = m % 4 == 3 ? METRIC_GAUGE : METRIC_SUM,
                                     .value = METRIC_INT,
                                     .monotonic = m % 4 != 3};
    }
    for (int64_t i = 0; i < count; i++) {
        struct body *body = &bodies[i];
        if (body->gzip != NULL)
            continue;
        uint8_t *at = raw + sizeof raw;
        for (int server = 0; server < SERVERS_PER_BODY; server++)
            at = encode_server(at, (int)i * SERVERS_PER_BODY + server);
        body->raw_bytes = (size_t)(raw + sizeof raw - at);
        body->gzip = pack(COMPRESSION_GZIP, at, body->raw_bytes, &body->gzip_bytes);
        body->zstd = pack(COMPRESSION_ZSTD, at, body->raw_bytes, &body->zstd_bytes);
    }
}

static const uint8_t *unpack_body(struct unpacker *unpacker, const struct body *body, bool zstd,
                                  size_t *ret_bytes)
{
    const char *problem = NULL;
    const uint8_t *out =
        zstd ? unpack(unpacker, BODY_ZSTD, body->zstd, body->zstd_bytes, ret_bytes, &problem)
             : unpack(unpacker, BODY_GZIP, body->gzip, body->gzip_bytes, ret_bytes, &problem);
    CHECK(out != NULL && problem == NULL);
    return out;
}

static void moved(struct bench *bench)
{
    bench_items(bench, POINTS);
    bench_bytes(bench, bodies[0].raw_bytes);
}

static void unpack_only(struct bench *bench)
{
    struct unpacker *unpacker = unpacker_create();
    size_t bytes;
    make_bodies(1);
    while (bench_next(bench))
        bench_keep(unpack_body(unpacker, &bodies[0], bench_argument(bench) != 0, &bytes));
    moved(bench);
    bench_counter(bench, "ratio", (double)bodies[0].raw_bytes / (double)bodies[0].gzip_bytes);
    unpacker_destroy(&unpacker);
}

static void take(struct bench *bench, enum body_depth depth, bool zstd)
{
    struct unpacker *unpacker = unpacker_create();
    struct body_reader *reader = body_reader_create(depth);
    make_bodies(1);
    while (bench_next(bench)) {
        struct body_counts counts = {0};
        size_t bytes;
        const uint8_t *body = unpack_body(unpacker, &bodies[0], zstd, &bytes);
        CHECK(body_walk(reader, body, bytes, &counts) == NULL && counts.points == POINTS);
    }
    moved(bench);
    body_reader_destroy(&reader);
    unpacker_destroy(&unpacker);
}

static void sink_count(struct bench *bench)
{
    take(bench, BODY_COUNT, bench_argument(bench) != 0);
}

static void sink_check(struct bench *bench)
{
    take(bench, BODY_CHECK, false);
}

/* The points of a body again, a step later. */
static void move_on(const struct ledger_point *points, size_t count, uint32_t round)
{
    struct ledger_point *moving = (struct ledger_point *)(uintptr_t)points;
    for (size_t i = 0; i < count; i++) {
        moving[i].time_ns += round * 10000000000ull;
        moving[i].step += moving[i].step != 0 ? round : 0;
    }
}

/* `argument` bodies of 8,000 series each, in turn. */
static void sink_ledger(struct bench *bench)
{
    struct unpacker *unpacker = unpacker_create();
    struct body_reader *reader = body_reader_create(BODY_LEDGER);
    struct ledger *ledger = ledger_create();
    int64_t count = bench_argument(bench), next = 0;
    uint32_t round = 0;
    make_bodies(count);
    for (bool warm = true; warm || bench_next(bench);) {
        struct body_counts counts = {0};
        size_t bytes, points;
        const uint8_t *body = unpack_body(unpacker, &bodies[next], false, &bytes);
        CHECK(body_walk(reader, body, bytes, &counts) == NULL && counts.points == POINTS);
        const struct ledger_point *at = body_points(reader, &points);
        move_on(at, points, round);
        ledger_enter(ledger, &(struct ledger_body){
                                 .points = at, .count = points, .places = body_places(reader)});
        next = (next + 1) % count;
        round += next == 0;
        warm = warm && next != 0; /* the first round makes the series */
    }
    struct ledger_counts counts = ledger_counts(ledger);
    if (counts.distinct != counts.points || counts.gaps != 0)
        bench_fail(bench, "the ledger found fault with sound points");
    moved(bench);
    bench_counter(bench, "bytes_per_series", (double)counts.bytes / (double)counts.series);
    ledger_destroy(&ledger);
    body_reader_destroy(&reader);
    unpacker_destroy(&unpacker);
}

int main(int argc, char **argv)
{
    static const struct bench_case cases[] = {
        {"sink_gzip", unpack_only, 0, .unit = "point"},
        {"sink_zstd", unpack_only, 1, .unit = "point"},
        {"sink_count", sink_count, 0, .unit = "point", .floor = "sink_gzip"},
        {"sink_count_zstd", sink_count, 1, .unit = "point", .floor = "sink_zstd/1"},
        {"sink_check", sink_check, 0, .unit = "point", .floor = "sink_gzip"},
        {"sink_ledger", sink_ledger, 4, .unit = "point", .floor = "sink_gzip"},
        {"sink_ledger", sink_ledger, BODIES_MAX, .unit = "point", .floor = "sink_gzip",
         .exact = -1},
    };
    bench_add_cases(cases, sizeof cases / sizeof cases[0]);
    bench_headline("sink_count_point", "sink_count");
    bench_headline("sink_ledger_point", "sink_ledger/4");
    return bench_main(argc, argv);
}
