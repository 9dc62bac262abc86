/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/pg/decoding.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"

void decoding_init(struct decoding *decoding, uint32_t page_count)
{
    static struct attrs_builder builder;
    struct error error;
    *decoding = (struct decoding){0};
    CHECK(ring_create(&decoding->ring, 1, page_count, &error));
    writer_init(&decoding->writer, decoding->ring, 0);
    attrs_begin(&builder, ATTRS_RESOURCE);
    attrs_add_text(&builder, "server", "one", 3);
    decoding->resource.variants[0] = attrs_finish(&builder);
    attrs_begin(&builder, ATTRS_RESOURCE);
    attrs_add_text(&builder, "server", "two", 3);
    decoding->resource.variants[2] = attrs_finish(&builder);
    decoding->context = (struct decode_context){
        .writer = &decoding->writer,
        .telemetry = telemetry_open(TELEMETRY_SHARD, 0, NULL),
        .route = 1,
        .due_ns = 5,
        .now_ns = 6,
        .resource = &decoding->resource,
    };
}

void decoding_fini(struct decoding *decoding)
{
    series_reclaim(decoding->ring, 0);
    for (int i = 0; i <= 2; i += 2) {
        struct attrs *attrs = (struct attrs *)(uintptr_t)decoding->resource.variants[i];
        attrs_destroy(&attrs);
    }
    ring_destroy(&decoding->ring);
    telemetry_reset();
}

void decoding_print(const struct attrs *attrs, char *ret_text, size_t text_bytes)
{
    size_t position = 0, used = 0;
    struct attr attr;
    ret_text[0] = '\0';
    while (used < text_bytes && attrs_next(attrs, &position, &attr)) {
        CHECK(attr.kind == ATTR_TEXT);
        used +=
            (size_t)snprintf(ret_text + used, text_bytes - used, "%s%.*s=%.*s", used > 0 ? "," : "",
                             (int)attr.key_bytes, attr.key, (int)attr.text_bytes, attr.text);
    }
}

static void take(struct decoding *decoding, const struct page *page)
{
    for (uint32_t r = 0; r < page->run_count; r++) {
        const struct run *run = page_run_const(page, r);
        decoding->run_count++;
        for (uint32_t i = run->first; i < run->first + run->count; i++) {
            const struct point *point = &page_points_const(page)[i];
            CHECK(decoding->point_count < DECODED_MAX && point->attrs->tag == ATTRS_POINT);
            struct decoded *decoded = &decoding->points[decoding->point_count++];
            *decoded = (struct decoded){
                .metric = run->metric,
                .fixed = run->fixed,
                .resource = run->resource,
                .time_ns = run->time_ns,
                .start_ns = point->start_ns,
                .integer = point->value.integer,
                .real = point->value.real,
            };
            decoding_print(point->attrs, decoded->attrs, sizeof decoded->attrs);
        }
    }
}

uint64_t decoding_run(struct decoding *decoding, struct series_table *table, const void *rows,
                      uint64_t time_ns)
{
    decoding->context.time_ns = time_ns;
    decoding->point_count = decoding->run_count = 0;
    uint64_t said = decode_result(table, rows, &decoding->context, &decoding->problem);
    writer_flush(&decoding->writer, 7);
    for (struct page *page; (page = ring_take(decoding->ring)) != NULL;) {
        take(decoding, page);
        ring_give(decoding->ring, page);
    }
    series_reclaim(decoding->ring, 0);
    return said;
}

uint64_t decoding_telemetry(const struct decoding *decoding, enum telemetry_value value)
{
    return counter_read(&decoding->context.telemetry->values[value]);
}
