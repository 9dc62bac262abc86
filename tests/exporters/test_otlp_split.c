/* SPDX-License-Identifier: Apache-2.0 */
/* Requests cut in two, down to single points: of any shape (random trees with unknown fields, empty
 * messages, fields in any order, lengths longer than they need be) and as the encoder makes them.
 * The parts say together, in order, what the whole said: read by a reader that is not ours
 * (otlp_flat.h); protoc accepts every part. */
#include "exporters/otlp/split.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/random.h"
#include "tests/exporters/otlp_flat.h"
#include "tests/exporters/otlp_pages.h"
#include "tests/exporters/protoc.h"

/* ---- requests of any shape ---- */

enum { BODY_BYTES = 1 << 20, LEVELS = 5, DATA = 4 };

struct body {
    uint8_t bytes[BODY_BYTES];
    size_t used;
};

/* What a level is made of, from the request down to a metric's data. */
static const uint32_t child_numbers[LEVELS][5] = {{1}, {2}, {2}, {5, 7, 9, 10, 11}, {1}};

static void put_byte(struct body *body, uint8_t byte)
{
    assert_true(body->used < BODY_BYTES);
    body->bytes[body->used++] = byte;
}

/* At least `least` bytes, which protobuf allows and nobody writes. */
static void put_varint(struct body *body, uint64_t value, unsigned least)
{
    for (unsigned i = 1; value >= 0x80 || i < least; i++, value >>= 7)
        put_byte(body, (uint8_t)(value | 0x80));
    put_byte(body, (uint8_t)value);
}

static void put_bytes(struct body *body, const uint8_t *bytes, size_t count)
{
    assert_true(count <= BODY_BYTES - body->used);
    memcpy(body->bytes + body->used, bytes, count);
    body->used += count;
}

static void put_message(struct body *body, uint32_t number, const struct body *content,
                        unsigned least)
{
    put_varint(body, number << 3 | 2, 1);
    put_varint(body, content->used, least);
    put_bytes(body, content->bytes, content->used);
}

static bool is_child_number(int level, uint32_t number)
{
    for (int i = 0; i < 5; i++)
        if (child_numbers[level][i] == number)
            return true;
    return false;
}

/* A field that is no child: known or unknown. */
static void put_other(struct random *random, struct body *body, int level)
{
    static const uint32_t numbers[] = {1, 2, 3, 4, 8, 12, 16, 300, 70000};
    uint32_t number = numbers[random_below(random, sizeof numbers / sizeof numbers[0])];
    static const uint32_t types[] = {0, 1, 2, 5};
    uint32_t type = types[random_below(random, 4)];
    if (type == 2 && is_child_number(level, number))
        type = 0; /* a child's number, and none */
    put_varint(body, number << 3 | type, 1);
    uint64_t count = type == 1 ? 8 : type == 5 ? 4 : random_below(random, 30);
    if (type == 0) {
        put_varint(body, random_next(random) >> random_below(random, 64), 1);
        return;
    }
    if (type == 2)
        put_varint(body, count, 1);
    for (uint64_t i = 0; i < count; i++)
        put_byte(body, (uint8_t)random_next(random));
}

/* Appends the content of a message of `level` to `bodies[level]`; `bodies` has one for each level
 * and one for points. Returns its points. (Recurses: five deep, and this is no product code.) */
static uint64_t make_content(struct random *random, struct body *bodies, int level)
{
    static const uint32_t most[LEVELS] = {5, 3, 5, 2, 14};
    uint64_t points = 0, children = random_below(random, most[level] + 1);
    for (uint64_t i = 0; i < children; i++) {
        while (random_below(random, 3) == 0)
            put_other(random, &bodies[level], level);
        struct body *content = &bodies[level + 1];
        content->used = 0;
        if (level == DATA) {
            points++;
            for (uint64_t left = random_below(random, 40); left > 0; left--)
                put_byte(content, (uint8_t)random_next(random));
        } else {
            points += make_content(random, bodies, level + 1);
        }
        uint32_t kinds = level == 3 ? 5 : 1;
        put_message(&bodies[level], child_numbers[level][random_below(random, kinds)], content,
                    random_below(random, 8) == 0 ? 4 : 1);
    }
    while (random_below(random, 3) == 0)
        put_other(random, &bodies[level], level);
    return points;
}

/* ---- splitting ---- */

struct whole {
    uint8_t *bytes; /* malloc()ed, exactly, so that a sanitizer sees one byte too many */
    size_t size;
    uint64_t points;
};

static struct whole whole_copy(const uint8_t *bytes, size_t size, uint64_t points)
{
    struct whole whole = {malloc(size > 0 ? size : 1), size, points};
    assert_non_null(whole.bytes);
    if (size > 0)
        memcpy(whole.bytes, bytes, size);
    return whole;
}

/* Cuts `whole` and frees it; false, and it is still there, where that cannot be. */
static bool cut(struct whole whole, struct whole ret_parts[2])
{
    struct otlp_part parts[2];
    for (int i = 0; i < 2; i++)
        parts[i] = (struct otlp_part){.body = malloc(whole.size > 0 ? whole.size : 1)};
    bool split = otlp_split(whole.bytes, whole.size, parts);
    for (int i = 0; i < 2; i++) {
        if (split)
            ret_parts[i] = whole_copy(parts[i].body, parts[i].bytes, parts[i].points);
        free(parts[i].body);
    }
    if (split)
        free(whole.bytes);
    return split;
}

static void check_parts(const struct whole *whole, const struct whole parts[2])
{
    uint64_t points = 0, middle = whole->points / 2, first = parts[0].points;
    assert_int_equal(first + parts[1].points, whole->points);
    assert_true((first > middle ? first - middle : middle - first) <= whole->points / 8);
    for (int i = 0; i < 2; i++) {
        assert_true(parts[i].size <= whole->size);
        assert_true(otlp_count_points(parts[i].bytes, parts[i].size, &points));
        assert_int_equal(points, parts[i].points);
    }
}

/* Cuts until nothing can be cut; what comes out is appended to `flat`. */
static void cut_all(const uint8_t *bytes, size_t size, uint64_t points, struct flat *flat)
{
    enum { OPEN_MAX = 64 };
    struct whole open[OPEN_MAX], parts[2];
    size_t count = 0;
    open[count++] = whole_copy(bytes, size, points);
    while (count > 0) {
        struct whole whole = open[--count];
        if (cut(whole, parts)) {
            check_parts(&whole, parts);
            assert_true(count + 2 <= OPEN_MAX);
            open[count++] = parts[1];
            open[count++] = parts[0]; /* next, so that points stay in order */
        } else {
            assert_true(whole.points <= 1);
            assert_true(flat_add(flat, whole.bytes, whole.size));
            free(whole.bytes);
        }
    }
}

static void check_request(const uint8_t *bytes, size_t size, uint64_t points)
{
    struct flat whole = {0}, cut_up = {0};
    uint64_t counted = points + 1;
    assert_true(otlp_count_points(bytes, size, &counted));
    assert_int_equal(counted, points);
    assert_true(flat_add(&whole, bytes, size));
    assert_int_equal(whole.count, points);
    cut_all(bytes, size, points, &cut_up);
    assert_true(flat_equal(&whole, &cut_up));
    flat_fini(&whole);
    flat_fini(&cut_up);
}

static void test_any_shape(void **state)
{
    (void)state;
    static struct body bodies[LEVELS + 1];
    uint64_t most = 0;
    for (uint64_t seed = 1; seed <= 250; seed++) {
        struct random random = {.state = seed};
        bodies[0].used = 0;
        uint64_t points = make_content(&random, bodies, 0);
        most = points > most ? points : most;
        check_request(bodies[0].bytes, bodies[0].used, points);
    }
    assert_true(most > 200);
}

/* ---- as the encoder makes them ---- */

static struct body request; /* several pages */

static uint64_t make_batch(uint64_t seed, uint32_t pages, uint32_t runs_max, uint32_t run_points)
{
    static struct page page;
    static uint8_t space[1 << 20];
    uint64_t points = 0;
    struct model *model = model_create(seed);
    request.used = 0;
    for (uint32_t i = 0; i < pages; i++) {
        memset(&page, 0, sizeof page);
        model_fill(model, &page, runs_max, run_points);
        uint8_t *end = space + sizeof space;
        uint8_t *start =
            otlp_encode(&page, (struct page_slice){0, page.point_count}, i % 2, space, end);
        assert_non_null(start);
        put_bytes(&request, start, (size_t)(end - start));
        points += page.point_count;
    }
    model_destroy(&model);
    return points;
}

static void test_batches(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        uint64_t points = make_batch(seed, 1 + (uint32_t)seed % 3, 20, seed % 2 ? 4 : 40);
        assert_true(points > 10);
        check_request(request.bytes, request.used, points);
    }
}

static size_t count_text(const char *text, const char *what)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, what)) != NULL; at++)
        count++;
    return count;
}

/* protoc reads both halves and halves of halves, and finds all points in them. */
static void test_protoc_reads_parts(void **state)
{
    (void)state;
    protoc_require();
    uint64_t points = make_batch(42, 2, 30, 20);
    struct whole parts[2], quarters[4];
    assert_true(cut(whole_copy(request.bytes, request.used, points), parts));
    size_t found = 0;
    for (int i = 0; i < 2; i++)
        assert_true(cut(parts[i], &quarters[2 * i]));
    for (int i = 0; i < 4; i++) {
        char *text = protoc_decode(quarters[i].bytes, quarters[i].size);
        size_t here = count_text(text, "data_points {");
        assert_int_equal(here, quarters[i].points);
        found += here;
        free(text);
        free(quarters[i].bytes);
    }
    assert_int_equal(found, points);
}

static void put_text(struct body *body, uint32_t number, const char *text)
{
    put_varint(body, number << 3 | 2, 1);
    put_varint(body, strlen(text), 1);
    put_bytes(body, (const uint8_t *)text, strlen(text));
}

/* One metric with everything a metric may have, some of it behind the points. */
static void make_two_points(void)
{
    static struct body resource, scope, metric, sum, other;
    static const uint8_t attribute[] = {0x0a, 1, 'k', 0x12, 4, 0x0a, 2, 'v', 'v'};
    request.used = resource.used = scope.used = metric.used = sum.used = other.used = 0;
    put_bytes(&sum, (const uint8_t[]){0x10, 2}, 2); /* cumulative */
    put_bytes(&sum, (const uint8_t[]){0x0a, 9, 0x31, 1, 0, 0, 0, 0, 0, 0, 0}, 11);
    put_bytes(&sum, (const uint8_t[]){0x0a, 9, 0x31, 2, 0, 0, 0, 0, 0, 0, 0}, 11);
    put_bytes(&sum, (const uint8_t[]){0x18, 1}, 2); /* monotonic */
    put_text(&metric, 1, "m");
    put_text(&metric, 2, "d");
    put_message(&metric, 7, &sum, 1);
    put_text(&metric, 3, "By");
    put_text(&other, 1, "pgw");
    put_message(&scope, 1, &other, 1);
    put_message(&scope, 2, &metric, 1);
    other.used = 0;
    put_varint(&other, 0x0a, 1);
    put_varint(&other, sizeof attribute, 1);
    put_bytes(&other, attribute, sizeof attribute);
    put_message(&resource, 1, &other, 1);
    put_message(&resource, 2, &scope, 1);
    put_text(&resource, 3, "https://s");
    put_message(&request, 1, &resource, 1);
}

/* What stands above the cut is in both parts, letter by letter. */
static void test_what_is_repeated(void **state)
{
    (void)state;
    protoc_require();
    static const char expected[] = "resource_metrics {\n"
                                   "  resource {\n"
                                   "    attributes {\n"
                                   "      key: \"k\"\n"
                                   "      value {\n"
                                   "        string_value: \"vv\"\n"
                                   "      }\n"
                                   "    }\n"
                                   "  }\n"
                                   "  scope_metrics {\n"
                                   "    scope {\n"
                                   "      name: \"pgw\"\n"
                                   "    }\n"
                                   "    metrics {\n"
                                   "      name: \"m\"\n"
                                   "      description: \"d\"\n"
                                   "      unit: \"By\"\n"
                                   "      sum {\n"
                                   "        data_points {\n"
                                   "          as_int: %d\n"
                                   "        }\n"
                                   "        aggregation_temporality: "
                                   "AGGREGATION_TEMPORALITY_CUMULATIVE\n"
                                   "        is_monotonic: true\n"
                                   "      }\n"
                                   "    }\n"
                                   "  }\n"
                                   "  schema_url: \"https://s\"\n"
                                   "}\n";
    struct whole parts[2];
    make_two_points();
    assert_true(cut(whole_copy(request.bytes, request.used, 2), parts));
    for (int i = 0; i < 2; i++) {
        char wanted[sizeof expected + 16];
        snprintf(wanted, sizeof wanted, expected, i + 1);
        char *text = protoc_decode(parts[i].bytes, parts[i].size);
        assert_string_equal(text, wanted);
        free(text);
        free(parts[i].bytes);
    }
}

/* ---- where ---- */

/* A request whose resources have so many metrics of so many points each, written as "3x10 2x1". */
static void make_shape(const char *shape)
{
    static struct body level[LEVELS];
    static const uint8_t point[] = {0x31, 1, 0, 0, 0, 0, 0, 0, 0};
    request.used = 0;
    unsigned metrics, points;
    int used;
    for (; sscanf(shape, "%ux%u%n", &metrics, &points, &used) == 2; shape += used) {
        level[1].used = level[2].used = 0;
        for (unsigned m = 0; m < metrics; m++) {
            level[3].used = level[4].used = 0;
            for (unsigned p = 0; p < points; p++) {
                put_bytes(&level[4], (const uint8_t[]){0x0a, sizeof point}, 2);
                put_bytes(&level[4], point, sizeof point);
            }
            put_message(&level[3], 5, &level[4], 1);
            put_message(&level[2], 2, &level[3], 1);
        }
        put_message(&level[1], 2, &level[2], 1);
        put_message(&request, 1, &level[1], 1);
    }
}

static void test_where_it_is_cut(void **state)
{
    (void)state;
    static const struct {
        const char *shape;
        uint64_t first; /* points */
        bool inside;    /* of a resource, which then is in both parts */
    } rows[] = {
        {"1x10 1x10", 10, false},
        {"1x10 1x16", 10, false},      /* an eighth off the middle is near enough */
        {"1x10 1x18", 14, true},       /* more is not: between points of the second */
        {"2x10", 10, true},            /* between metrics */
        {"1x2", 1, true},              /* between points */
        {"1x3", 1, true},              /* the smaller part first */
        {"1x1 1x1 1x1", 1, false},     /* resources of one point */
        {"1x1 4x10 1x1", 21, true},    /* between metrics */
        {"1x2 3x4 1x2", 6, true},      /* 6 and 10 are equally near: the first */
        {"1x100 1x1", 50, true},       /* the border between resources is far off */
        {"4x0 1x1 1x0 1x1", 1, false}, /* metrics without points */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t points;
        struct whole parts[2];
        make_shape(rows[i].shape);
        assert_true(otlp_count_points(request.bytes, request.used, &points));
        assert_true(cut(whole_copy(request.bytes, request.used, points), parts));
        if (parts[0].points != rows[i].first)
            fail_msg("%s: %d points first", rows[i].shape, (int)parts[0].points);
        size_t more = parts[0].size + parts[1].size - request.used;
        if ((more > 0) != rows[i].inside)
            fail_msg("%s: %zu bytes more", rows[i].shape, more);
        free(parts[0].bytes);
        free(parts[1].bytes);
    }
}

/* ---- what cannot be cut ---- */

static void test_nothing_to_cut(void **state)
{
    (void)state;
    struct whole parts[2];
    uint64_t points = 77;
    assert_true(otlp_count_points(NULL, 0, &points));
    assert_int_equal(points, 0);
    assert_false(otlp_split(NULL, 0, NULL));
    make_shape("1x1");
    struct whole one = whole_copy(request.bytes, request.used, 1);
    assert_false(cut(one, parts));
    free(one.bytes);
}

/* A request that ends too early is refused, unless it ends between two resources. */
static void test_cut_short(void **state)
{
    (void)state;
    uint64_t points = make_batch(3, 2, 12, 5), counted = 0;
    size_t sound = 0;
    for (size_t size = 0; size < request.used; size++) {
        struct whole whole = whole_copy(request.bytes, size, 0), parts[2];
        struct flat flat = {0};
        bool good = otlp_count_points(whole.bytes, size, &counted);
        assert_int_equal(good, flat_add(&flat, whole.bytes, size));
        assert_true(!good || (counted == flat.count && counted < points));
        sound += good;
        flat_fini(&flat);
        bool split = cut(whole, parts);
        assert_int_equal(split, good && counted > 1);
        free(split ? parts[0].bytes : whole.bytes);
        free(split ? parts[1].bytes : NULL);
    }
    assert_in_range(sound, 1, 30);
}

/* Any byte changed: no bad read, and both readers still agree. */
static void test_bytes_changed(void **state)
{
    (void)state;
    struct random random = {.state = 5};
    make_batch(4, 1, 8, 4);
    for (int i = 0; i < 6000; i++) {
        struct whole whole = whole_copy(request.bytes, request.used, 0), parts[2];
        struct flat flat = {0}, halves = {0};
        whole.bytes[random_below(&random, whole.size)] ^= (uint8_t)(1 + random_below(&random, 255));
        bool sound = flat_add(&flat, whole.bytes, whole.size);
        bool split = cut(whole, parts);
        if (split) {
            assert_true(sound);
            assert_true(flat_add(&halves, parts[0].bytes, parts[0].size));
            assert_true(flat_add(&halves, parts[1].bytes, parts[1].size));
            assert_true(flat_equal(&flat, &halves));
        }
        free(split ? parts[0].bytes : whole.bytes);
        free(split ? parts[1].bytes : NULL);
        flat_fini(&flat);
        flat_fini(&halves);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_shape),          cmocka_unit_test(test_batches),
        cmocka_unit_test(test_protoc_reads_parts), cmocka_unit_test(test_what_is_repeated),
        cmocka_unit_test(test_where_it_is_cut),    cmocka_unit_test(test_nothing_to_cut),
        cmocka_unit_test(test_cut_short),          cmocka_unit_test(test_bytes_changed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
