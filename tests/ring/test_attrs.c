/* SPDX-License-Identifier: Apache-2.0 */
/* Attribute sets: their bytes against hand-made OTLP, what goes in against what is read back, and
 * UTF-8 against iconv, which is not ours. */
#include "ring/attrs.h"

#include <pgweir/limits.h>

#include "base/random.h"
#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <iconv.h>
#include <cmocka.h>

static struct attrs_builder builder;

static void test_known_bytes(void **state)
{
    (void)state;
    attrs_begin(&builder, ATTRS_POINT);
    attrs_add_text(&builder, "db", "pg", 2);
    attrs_add_bool(&builder, "up", true);
    attrs_add_int(&builder, "n", 300);
    attrs_add_int(&builder, "m", -1);
    attrs_add_double(&builder, "r", 1.0);
    struct attrs *attrs = attrs_finish(&builder);
    /* Field 7 of NumberDataPoint, KeyValue { 1: key, 2: AnyValue { 1 | 2 | 3 | 4 } }. */
    static const uint8_t expected[] =
        "\x3a\x0a\x0a\x02"
        "db\x12\x04\x0a\x02pg"
        "\x3a\x08\x0a\x02up\x12\x02\x10\x01"
        "\x3a\x08\x0a\x01n\x12\x03\x18\xac\x02"
        "\x3a\x10\x0a\x01m\x12\x0b\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
        "\x3a\x0e\x0a\x01r\x12\x09\x21\0\0\0\0\0\0\xf0\x3f";
    assert_int_equal(attrs->bytes, sizeof expected - 1);
    assert_memory_equal(attrs->otlp, expected, sizeof expected - 1);
    assert_false(builder.full);
    attrs_destroy(&attrs);
    assert_null(attrs);
    attrs_destroy(&attrs); /* nothing to do */
}

static void assert_next_text(const struct attrs *attrs, size_t *position, const char *key,
                             const char *text, size_t bytes)
{
    struct attr attr;
    assert_true(attrs_next(attrs, position, &attr));
    assert_int_equal(attr.key_bytes, strlen(key));
    assert_memory_equal(attr.key, key, attr.key_bytes);
    assert_int_equal(attr.kind, ATTR_TEXT);
    assert_int_equal(attr.text_bytes, bytes);
    assert_memory_equal(attr.text, text, bytes);
}

static void test_read_back_and_add_all(void **state)
{
    (void)state;
    char long_text[1000];
    memset(long_text, 'x', sizeof long_text);
    attrs_begin(&builder, ATTRS_RESOURCE);
    attrs_add_text(&builder, "empty", "", 0);
    attrs_add_text(&builder, "nul", "a\0b", 3);
    attrs_add_text(&builder, "long", long_text, sizeof long_text);
    attrs_add_int(&builder, "least", INT64_MIN);
    attrs_add_double(&builder, "real", -2.5);
    attrs_add_bool(&builder, "no", false);
    struct attrs *first = attrs_finish(&builder);
    attrs_begin(&builder, ATTRS_POINT);
    attrs_add_all(&builder, first);
    attrs_add_text(&builder, "last", "1", 1);
    struct attrs *copy = attrs_finish(&builder);
    assert_int_equal(first->tag, ATTRS_RESOURCE);
    assert_int_equal(copy->tag, ATTRS_POINT);
    assert_int_equal(copy->otlp[0], ATTRS_POINT);

    size_t position = 0;
    struct attr attr;
    assert_next_text(copy, &position, "empty", "", 0);
    assert_next_text(copy, &position, "nul", "a\0b", 3);
    assert_next_text(copy, &position, "long", long_text, sizeof long_text);
    assert_true(attrs_next(copy, &position, &attr));
    assert_true(attr.kind == ATTR_INT && attr.number == INT64_MIN);
    assert_true(attrs_next(copy, &position, &attr));
    assert_true(attr.kind == ATTR_DOUBLE && attr.real == -2.5);
    assert_true(attrs_next(copy, &position, &attr));
    assert_true(attr.kind == ATTR_BOOL && attr.number == 0);
    assert_next_text(copy, &position, "last", "1", 1);
    assert_false(attrs_next(copy, &position, &attr));
    attrs_destroy(&first);
    attrs_destroy(&copy);
}

/* What does not fit is left out whole, and said. */
static void test_full(void **state)
{
    (void)state;
    static char text[LIMIT_ATTRIBUTE_BYTES];
    memset(text, 'y', sizeof text);
    attrs_begin(&builder, ATTRS_POINT);
    for (int i = 0; i < 3; i++)
        attrs_add_text(&builder, "k", text, sizeof text);
    assert_false(builder.full);
    attrs_add_text(&builder, "k", text, sizeof text);
    assert_true(builder.full);
    attrs_add_int(&builder, "small", 7); /* still fits */
    struct attrs *attrs = attrs_finish(&builder);
    assert_true(attrs->bytes <= LIMIT_ATTRS_BYTES);
    struct attr attr;
    size_t position = 0;
    int count = 0;
    while (attrs_next(attrs, &position, &attr))
        count++;
    assert_int_equal(count, 4);
    assert_int_equal(attr.number, 7);
    attrs_begin(&builder, ATTRS_POINT);
    assert_false(builder.full);
    attrs_add_all(&builder, attrs);
    attrs_add_all(&builder, attrs);
    assert_true(builder.full);
    attrs_destroy(&attrs);
}

/* Names that are too long, values that are too long, more attributes than a set may have: left out
 * or cut, and counted. */
static void test_limits(void **state)
{
    (void)state;
    static char name[LIMIT_ATTRIBUTE_NAME_BYTES + 2], text[LIMIT_ATTRIBUTE_BYTES + 1];
    static const struct {
        enum attrs_tag tag;
        int most;
    } sets[] = {{ATTRS_POINT, LIMIT_POINT_ATTRIBUTES}, {ATTRS_RESOURCE, LIMIT_RESOURCE_ATTRIBUTES}};
    memset(name, 'n', sizeof name - 1);
    memset(text, 't', sizeof text);
    for (size_t i = 0; i < 2; i++) {
        struct attr attr;
        size_t position = 0;
        attrs_begin(&builder, sets[i].tag);
        attrs_add_int(&builder, name, 1);
        assert_true(builder.full);
        assert_int_equal(builder.cut, 1);
        attrs_add_int(&builder, name + 1, 2);
        attrs_add_text(&builder, "text", text, sizeof text - 1);
        assert_int_equal(builder.cut, 1);
        attrs_add_text(&builder, "text", text, sizeof text);
        assert_int_equal(builder.cut, 2);
        for (int n = 3; n < sets[i].most; n++)
            attrs_add_int(&builder, "n", n);
        assert_int_equal(builder.cut, 2);
        attrs_add_int(&builder, "one too many", 1);
        assert_int_equal(builder.cut, 3);
        struct attrs *attrs = attrs_finish(&builder);
        int count = 0;
        while (attrs_next(attrs, &position, &attr))
            count++;
        assert_int_equal(count, sets[i].most);
        attrs_begin(&builder, sets[i].tag);
        assert_true(!builder.full && builder.cut == 0);
        attrs_add_all(&builder, attrs);
        assert_int_equal(builder.cut, 0);
        attrs_add_all(&builder, attrs);
        assert_int_equal(builder.cut, sets[i].most);
        attrs_destroy(&attrs);
    }
}

#define BAD "\xef\xbf\xbd"

static void test_utf8_rows(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out; /* one replacement for every bad byte */
    } rows[] = {
        {"", ""},
        {"plain ascii of more than eight bytes", "plain ascii of more than eight bytes"},
        {"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\x98",
         "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\x98"},
        {"\xff", BAD},
        {"a\x80z", "a" BAD "z"},                                  /* a tail without a lead */
        {"12345678\xc3", "12345678" BAD},                         /* cut in mid-character */
        {"\xe2\x82", BAD BAD},                                    /* the same, three bytes */
        {"\xf0\x9f\x90", BAD BAD BAD},                            /* the same, four bytes */
        {"\xc0\xaf", BAD BAD},                                    /* overlong slash */
        {"\xe0\x80\xaf", BAD BAD BAD},                            /* overlong, three bytes */
        {"\xf0\x80\x80\xaf", BAD BAD BAD BAD},                    /* overlong, four bytes */
        {"\xed\xa0\x80", BAD BAD BAD},                            /* a surrogate */
        {"\xed\x9f\xbf\xee\x80\x80", "\xed\x9f\xbf\xee\x80\x80"}, /* its neighbours */
        {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},                 /* U+10FFFF, the last */
        {"\xf4\x90\x80\x80", BAD BAD BAD BAD},                    /* one past it */
        {"\xf8\x88\x80\x80\x80", BAD BAD BAD BAD BAD},            /* five bytes */
        {"Latin-1: M\xfcller", "Latin-1: M" BAD "ller"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[64];
        size_t bytes = utf8_copy(out, sizeof out, rows[i].in, strlen(rows[i].in));
        assert_int_equal(bytes, strlen(rows[i].out));
        assert_memory_equal(out, rows[i].out, bytes);
    }
}

/* Cut at a character's end, for every size of output. */
static void test_utf8_cut(void **state)
{
    (void)state;
    const char *text = "a\xc3\xbc\xe2\x82\xac\xf0\x9f\x90\x98\xff";
    static const size_t expected[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 10, 10, 13, 13};
    for (size_t room = 0; room < sizeof expected / sizeof *expected; room++) {
        char out[16];
        assert_int_equal(utf8_copy(out, room, text, strlen(text)), expected[room]);
    }
}

static bool iconv_accepts(iconv_t converter, char *text, size_t bytes)
{
    static char sink[65536];
    char *to = sink;
    size_t room = sizeof sink;
    iconv(converter, NULL, NULL, NULL, NULL);
    return iconv(converter, &text, &bytes, &to, &room) != (size_t)-1 && bytes == 0;
}

/* Mostly a whole character, now and then a byte that may break one; returns its length, ≤ 4. */
static size_t random_piece(struct random *random, char *to)
{
    static const char *const whole[] = {
        "a", "\x7f", "\xc2\x80", "\xc3\xbc", "\xe2\x82\xac", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"};
    static const char breaking[] =
        "\x80\x8f\x90\x9f\xa0\xbf\xc0\xc2\xdf\xe0\xed\xef\xf0\xf4\xf5\xff";
    if (random_below(random, 8) == 0) {
        *to = breaking[random_below(random, sizeof breaking - 1)];
        return 1;
    }
    const char *piece = whole[random_below(random, sizeof whole / sizeof *whole)];
    memcpy(to, piece, strlen(piece));
    return strlen(piece);
}

/* Any bytes become valid UTF-8 within the limit; bytes that were valid stay as they are. */
static void test_utf8_property(void **state)
{
    (void)state;
    iconv_t converter = iconv_open("UTF-16LE", "UTF-8");
    assert_true(converter != (iconv_t)-1);
    struct random random = {.state = 20240229};
    size_t valid = 0;
    for (int round = 0; round < 20000; round++) {
        char text[64];
        size_t bytes = 0, pieces = random_below(&random, sizeof text / 4);
        while (pieces-- > 0)
            bytes += random_piece(&random, text + bytes);
        attrs_begin(&builder, ATTRS_POINT);
        attrs_add_text(&builder, "k", text, bytes);
        struct attrs *attrs = attrs_finish(&builder);
        struct attr attr;
        size_t position = 0;
        char out[3 * sizeof text];
        assert_true(attrs_next(attrs, &position, &attr));
        assert_true(attr.text_bytes <= sizeof out);
        memcpy(out, attr.text, attr.text_bytes);
        assert_true(iconv_accepts(converter, out, attr.text_bytes));
        bool was_valid = iconv_accepts(converter, text, bytes);
        valid += was_valid && bytes > 2;
        bool same = attr.text_bytes == bytes && memcmp(out, text, bytes) == 0;
        assert_int_equal(same, was_valid);
        attrs_destroy(&attrs);
    }
    assert_true(valid > 1000 && valid < 19000);
    iconv_close(converter);
}

static void test_long_text_is_cut(void **state)
{
    (void)state;
    static char text[3 * LIMIT_ATTRIBUTE_BYTES];
    for (size_t i = 0; i + 1 < sizeof text; i += 2)
        memcpy(text + i, "\xc3\xbc", 2);
    attrs_begin(&builder, ATTRS_POINT);
    attrs_add_text(&builder, "k", text, sizeof text - 1);
    struct attrs *attrs = attrs_finish(&builder);
    struct attr attr;
    size_t position = 0;
    assert_true(attrs_next(attrs, &position, &attr));
    assert_int_equal(attr.text_bytes, LIMIT_ATTRIBUTE_BYTES - 1); /* 4095 is odd */
    attrs_destroy(&attrs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_bytes),   cmocka_unit_test(test_read_back_and_add_all),
        cmocka_unit_test(test_full),          cmocka_unit_test(test_limits),
        cmocka_unit_test(test_utf8_rows),     cmocka_unit_test(test_utf8_cut),
        cmocka_unit_test(test_utf8_property), cmocka_unit_test(test_long_text_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
