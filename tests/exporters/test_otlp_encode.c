/* SPDX-License-Identifier: Apache-2.0 */
/* Encodes random pages and has protoc decode them with OTLP's own .proto files: its text must be,
 * letter by letter, the text written here from the record of what was put in.
 *
 * Needs protoc and the .proto files (tools/fetch-otel-proto). Without them those tests are skipped,
 * or fail where PGWEIR_REQUIRE_ALL=1. */
#include "tests/exporters/otlp_pages.h"
#include "tests/exporters/protoc.h"

#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { BUFFER_BYTES = 4 << 20 };
static uint8_t buffer[BUFFER_BYTES];
static struct page page;

/* ---- what protoc should print ---- */

struct text {
    FILE *out;
    int depth;
};

static void open_message(struct text *text, const char *name)
{
    fprintf(text->out, "%*s%s {\n", 2 * text->depth++, "", name);
}

static void close_message(struct text *text)
{
    fprintf(text->out, "%*s}\n", 2 * --text->depth, "");
}

static void print_field(struct text *text, const char *name)
{
    fprintf(text->out, "%*s%s: ", 2 * text->depth, "", name);
}

static void print_string(struct text *text, const char *name, const char *value, size_t bytes)
{
    static const char special[] = "\n\r\t\"'\\", letters[] = "nrt\"'\\";
    print_field(text, name);
    putc('"', text->out);
    for (size_t i = 0; i < bytes; i++) {
        unsigned char byte = (unsigned char)value[i];
        const char *found = byte ? strchr(special, byte) : NULL;
        if (found)
            fprintf(text->out, "\\%c", letters[found - special]);
        else if (byte < 0x20 || byte >= 0x7f)
            fprintf(text->out, "\\%03o", byte);
        else
            putc(byte, text->out);
    }
    fputs("\"\n", text->out);
}

static void print_double(struct text *text, const char *name, double value)
{
    char digits[40];
    snprintf(digits, sizeof digits, "%.15g", value);
    if (strtod(digits, NULL) != value)
        snprintf(digits, sizeof digits, "%.17g", value);
    print_field(text, name);
    fprintf(text->out, "%s\n", isnan(value) ? "nan" : digits);
}

static void print_integer(struct text *text, const char *name, int64_t value)
{
    print_field(text, name);
    fprintf(text->out, "%" PRId64 "\n", value);
}

static void print_attributes(struct text *text, const struct model_set *set)
{
    for (uint32_t i = 0; i < set->count; i++) {
        const struct model_attr *attr = &set->list[i];
        open_message(text, "attributes");
        print_string(text, "key", attr->key, strlen(attr->key));
        open_message(text, "value");
        switch (attr->kind) {
        case ATTR_TEXT:
            print_string(text, "string_value", attr->text, attr->text_bytes);
            break;
        case ATTR_INT:
            print_integer(text, "int_value", attr->number);
            break;
        case ATTR_DOUBLE:
            print_double(text, "double_value", attr->real);
            break;
        case ATTR_BOOL:
            print_field(text, "bool_value");
            fputs(attr->number ? "true\n" : "false\n", text->out);
            break;
        }
        close_message(text);
        close_message(text);
    }
}

static void print_point(struct text *text, const struct model *model, const struct run *run,
                        const struct point *point)
{
    open_message(text, "data_points");
    if (point->start_ns)
        print_integer(text, "start_time_unix_nano", (int64_t)point->start_ns);
    print_integer(text, "time_unix_nano", (int64_t)run->time_ns);
    if (run->metric->value == METRIC_DOUBLE)
        print_double(text, "as_double", point->value.real);
    else
        print_integer(text, "as_int", point->value.integer);
    print_attributes(text, model_find(model, run->fixed));
    print_attributes(text, model_find(model, point->attrs));
    close_message(text);
}

static void begin_resource(struct text *text, const struct model *model,
                           const struct resource *resource, uint32_t variant)
{
    const struct attrs *attrs = resource->variants[variant];
    open_message(text, "resource_metrics");
    open_message(text, "resource");
    print_attributes(text, model_find(model, attrs ? attrs : resource->variants[0]));
    close_message(text);
    open_message(text, "scope_metrics");
    open_message(text, "scope");
    print_string(text, "name", "pgweir", 6);
    print_string(text, "version", PGWEIR_VERSION, strlen(PGWEIR_VERSION));
    close_message(text);
}

static void begin_metric(struct text *text, const struct metric *metric)
{
    open_message(text, "metrics");
    print_string(text, "name", metric->name, strlen(metric->name));
    if (*metric->description)
        print_string(text, "description", metric->description, strlen(metric->description));
    if (*metric->unit)
        print_string(text, "unit", metric->unit, strlen(metric->unit));
    open_message(text, metric->instrument == METRIC_SUM ? "sum" : "gauge");
}

static void end_metric(struct text *text, const struct metric *metric)
{
    if (metric->instrument == METRIC_SUM) {
        print_field(text, "aggregation_temporality");
        fputs("AGGREGATION_TEMPORALITY_CUMULATIVE\n", text->out);
        if (metric->monotonic) {
            print_field(text, "is_monotonic");
            fputs("true\n", text->out);
        }
    }
    close_message(text);
    close_message(text);
}

static void print_page(FILE *out, const struct model *model, struct page_slice slice,
                       uint32_t variant)
{
    struct text text = {.out = out};
    const struct run *open = NULL;
    for (uint32_t i = 0; i < page.run_count; i++) {
        const struct run *run = page_run_const(&page, i);
        uint32_t first, end;
        if (!model_part(&page, i, slice, &first, &end))
            continue;
        bool same_resource = open && open->resource == run->resource;
        bool same_metric = same_resource && open->metric == run->metric;
        if (open && !same_metric)
            end_metric(&text, open->metric);
        if (open && !same_resource) {
            close_message(&text);
            close_message(&text);
        }
        if (!same_resource)
            begin_resource(&text, model, run->resource, variant);
        if (!same_metric)
            begin_metric(&text, run->metric);
        for (uint32_t at = first; at < end; at++)
            print_point(&text, model, run, page_points_const(&page) + at);
        open = run;
    }
    if (open) {
        end_metric(&text, open->metric);
        close_message(&text);
        close_message(&text);
    }
}

static void assert_same_text(const char *ours, const char *expected)
{
    size_t at = 0;
    while (ours[at] && ours[at] == expected[at])
        at++;
    if (ours[at] == expected[at])
        return;
    size_t from = at > 200 ? at - 200 : 0;
    fail_msg("differs at byte %zu\n--- decoded:\n%.400s\n--- put in:\n%.400s", at, ours + from,
             expected + from);
}

/* ---- a request under construction: pieces in the buffer, their text beside it ---- */

struct request {
    size_t bytes;
    char *expected;
    size_t expected_bytes;
    FILE *out;
};

static void request_open(struct request *request)
{
    *request = (struct request){0};
    request->out = open_memstream(&request->expected, &request->expected_bytes);
    assert_non_null(request->out);
}

static void request_add(struct request *request, const struct model *model, struct page_slice slice,
                        uint32_t variant)
{
    static uint8_t scratch[1 << 20];
    uint8_t *end = scratch + sizeof scratch;
    uint8_t *start = otlp_encode(&page, slice, variant, scratch, end);
    assert_non_null(start);
    size_t bytes = (size_t)(end - start);
    assert_true(request->bytes + bytes <= BUFFER_BYTES);
    memcpy(buffer + request->bytes, start, bytes);
    request->bytes += bytes;
    print_page(request->out, model, slice, variant);
}

static void request_check(struct request *request)
{
    fclose(request->out);
    char *decoded = protoc_decode(buffer, request->bytes);
    assert_true(request->bytes > 1000);
    assert_same_text(decoded, request->expected);
    free(decoded);
    free(request->expected);
}

/* ---- tests ---- */

static void test_random_pages(void **state)
{
    (void)state;
    protoc_require();
    struct request request;
    request_open(&request);
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct model *model = model_create(seed);
        memset(&page, 0, sizeof page);
        /* Few long runs, many short ones, full pages. */
        model_fill(model, &page, seed % 3 ? 30 : 1000, seed % 3 == 1 ? 60 : 4);
        request_add(&request, model, (struct page_slice){0, page.point_count}, seed % 2);
        model_destroy(&model);
    }
    request_check(&request);
}

/* Slices that begin and end anywhere; and a page cut into pieces holds each point once. */
static void test_slices(void **state)
{
    (void)state;
    protoc_require();
    struct request request;
    request_open(&request);
    struct model *model = model_create(77);
    model_fill(model, &page, 40, 20);
    for (int i = 0; i < 60; i++) {
        uint32_t first = (uint32_t)random_below(&model->random, page.point_count);
        uint32_t count = (uint32_t)random_below(&model->random, page.point_count - first + 1);
        request_add(&request, model, (struct page_slice){first, count % 25}, 1);
    }
    for (uint32_t first = 0; first < page.point_count; first += 7) {
        uint32_t left = page.point_count - first;
        request_add(&request, model, (struct page_slice){first, left < 7 ? left : 7}, 0);
    }
    request_check(&request);
    model_destroy(&model);
}

static void test_nothing(void **state)
{
    (void)state;
    struct model *model = model_create(5);
    page_reset(&page, 0, 0);
    uint8_t *end = buffer + 10;
    assert_ptr_equal(otlp_encode(&page, (struct page_slice){0, 0}, 0, buffer, end), end);
    model_fill(model, &page, 5, 5);
    assert_ptr_equal(otlp_encode(&page, (struct page_slice){1, 0}, 0, end, end), end);
    model_destroy(&model);
}

/* Every buffer that is too small: NULL, and not a byte outside it; the first that is large enough
 * gives the same bytes as a huge one. */
static void test_small_buffers(void **state)
{
    (void)state;
    enum { GUARD = 64 };
    struct model *model = model_create(9);
    model_fill(model, &page, 12, 6);
    struct page_slice all = {0, page.point_count};
    uint8_t *end = buffer + BUFFER_BYTES;
    uint8_t *start = otlp_encode(&page, all, 0, buffer, end);
    assert_non_null(start);
    size_t bytes = (size_t)(end - start);
    static uint8_t copy[1 << 16];
    assert_true(bytes > 1000 && bytes < sizeof copy);
    memcpy(copy, start, bytes);
    size_t fits = 0;
    for (size_t room = 0; fits == 0; room++) {
        assert_true(room <= bytes + 16); /* heads ask for their largest size */
        uint8_t *to = buffer + GUARD + room;
        memset(buffer, 0xa5, 2 * GUARD + room);
        uint8_t *got = otlp_encode(&page, all, 0, buffer + GUARD, to);
        for (size_t i = 0; i < GUARD; i++) {
            assert_int_equal(buffer[i], 0xa5);
            assert_int_equal(to[i], 0xa5);
        }
        if (!got)
            continue;
        fits = room;
        assert_int_equal(to - got, bytes);
        assert_memory_equal(got, copy, bytes);
    }
    assert_true(fits >= bytes);
    model_destroy(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_pages),
        cmocka_unit_test(test_slices),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_small_buffers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
