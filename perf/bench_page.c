/* SPDX-License-Identifier: Apache-2.0 */
/* Step 6, the shard's half and the way round: ns per point to put points on pages by the writer,
 * push, take and give back. `fill` with the length of a run (rows of a metric); `point_floor`
 * copies as many points by memcpy into a page and does nothing else. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "perf/shim/bench.h"
#include "ring/writer.h"

enum { POINTS = 5000, PAGES = 16, RUN_MAX = 500 };
static struct point source[RUN_MAX];

static void make_points(struct attrs *attrs)
{
    for (int i = 0; i < RUN_MAX; i++)
        source[i] = (struct point){.attrs = attrs, .start_ns = 1, .value.integer = i};
}

static void fill(struct bench *bench)
{
    static const struct metric metric = {.name = "metric", .instrument = METRIC_GAUGE};
    static struct attrs_builder builder;
    uint32_t run_points = (uint32_t)bench_argument(bench);
    struct ring *ring;
    struct error error;
    struct writer writer;
    CHECK(ring_create(&ring, 1, PAGES, &error));
    writer_init(&writer, ring, 0);
    attrs_begin(&builder, ATTRS_RESOURCE);
    struct attrs *attrs = attrs_finish(&builder);
    struct resource resource = {.variants = {attrs}};
    make_points(attrs);
    uint64_t now_ns = 1;
    while (bench_next(bench)) {
        for (uint32_t left = POINTS; left > 0;) {
            uint32_t room;
            struct point *points =
                writer_begin(&writer, 0, 1, now_ns++, &metric, NULL, &resource, 1, &room);
            CHECK(points != NULL);
            uint32_t count = run_points < left ? run_points : left;
            count = count < room ? count : room;
            memcpy(points, source, count * sizeof *points);
            writer_end(&writer, count);
            left -= count;
        }
        writer_flush(&writer, now_ns);
        for (struct page *page; (page = ring_take(ring)) != NULL;)
            ring_give(ring, page);
    }
    bench_items(bench, POINTS);
    bench_bytes(bench, POINTS * sizeof(struct point));
    ring_destroy(&ring);
    attrs_destroy(&attrs);
}

static void point_floor(struct bench *bench)
{
    uint32_t run_points = (uint32_t)bench_argument(bench);
    struct point *place = aligned_alloc(64, LIMIT_PAGE_BYTES);
    uint32_t capacity = LIMIT_PAGE_BYTES / sizeof *place, used = 0;
    CHECK(place != NULL);
    while (bench_next(bench))
        for (uint32_t left = POINTS; left > 0;) {
            uint32_t count = run_points < left ? run_points : left;
            used = used + count > capacity ? 0 : used;
            memcpy(place + used, source, count * sizeof *place);
            bench_keep(place);
            used += count;
            left -= count;
        }
    bench_items(bench, POINTS);
    bench_bytes(bench, POINTS * sizeof *place);
    free(place);
}

static const struct bench_case cases[] = {
    {"point_floor", point_floor, .argument = RUN_MAX, .exact = -1},
    {"fill", fill, .argument = RUN_MAX, .floor = "point_floor/500"},
    {"point_floor", point_floor, .argument = 20, .exact = -1},
    {"fill", fill, .argument = 20, .floor = "point_floor/20"},
    {"point_floor", point_floor, .argument = 1, .exact = -1},
    {"fill", fill, .argument = 1, .floor = "point_floor/1"},
};

int main(int argc, char **argv)
{
    bench_add_cases(cases, sizeof cases / sizeof *cases);
    bench_headline("fill_point", "fill/20");
    return bench_main(argc, argv);
}
