/* SPDX-License-Identifier: Apache-2.0 */
/* Attribute sets, encoded once. A series is met again at every collection, so the cost of an
 * attribute is paid when the series appears, and each point after that costs a copy. The encoding
 * is OTLP's own, the form of the fast path; other formats walk it with attrs_next().
 *
 *   tag | length | 0x0a | key length | key | 0x12 | value length | AnyValue        (one KeyValue)
 *
 * AnyValue holds one field: 0x0a text, 0x10 bool, 0x18 int, 0x21 double.
 * Source: opentelemetry-proto, common/v1/common.proto.
 *
 * The builder belongs to one thread; the finished set is immutable. Invariant: `otlp` is whole
 * KeyValues only, so attrs_next() CHECKs instead of reporting errors. */
#include "ring/attrs.h"

#include <pgweir/limits.h>

#include "base/check.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum {
    KEY = 0x0a,   /* KeyValue.key */
    VALUE = 0x12, /* KeyValue.value */
    TEXT = 0x0a,  /* AnyValue.string_value */
    BOOL = 0x10,
    INT = 0x18,
    DOUBLE = 0x21,
};
enum { VARINT_BYTES_MAX = 10 };

_Static_assert(sizeof((struct attrs_builder *)0)->otlp == LIMIT_ATTRS_BYTES, "one limit");

static size_t varint_bytes(uint64_t value)
{
    return ((63u - (size_t)__builtin_clzll(value | 1)) * 9 + 73) / 64;
}

static uint8_t *put_varint(uint8_t *at, uint64_t value)
{
    while (value >= 0x80) {
        *at++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

static uint8_t *put_bytes(uint8_t *at, const void *data, size_t bytes)
{
    memcpy(at, data, bytes);
    return at + bytes;
}

/* Room for one more attribute of `bytes`, or NULL and the builder is marked full. */
static uint8_t *reserve(struct attrs_builder *builder, size_t bytes)
{
    const uint32_t most =
        builder->tag == ATTRS_RESOURCE ? LIMIT_RESOURCE_ATTRIBUTES : LIMIT_POINT_ATTRIBUTES;
    if (builder->count == most || bytes > sizeof builder->otlp - builder->used) {
        builder->full = true;
        builder->cut++;
        return NULL;
    }
    builder->count++;
    uint8_t *at = builder->otlp + builder->used;
    builder->used += (uint32_t)bytes;
    return at;
}

/* Writes everything up to the AnyValue of `any_bytes`, which the caller writes where this returns;
 * NULL when the attribute does not fit. */
static uint8_t *begin_attribute(struct attrs_builder *builder, const char *key, size_t any_bytes)
{
    size_t key_bytes = strlen(key);
    if (key_bytes > LIMIT_ATTRIBUTE_NAME_BYTES) {
        builder->full = true;
        builder->cut++;
        return NULL;
    }
    size_t body = 1 + varint_bytes(key_bytes) + key_bytes + 1 + varint_bytes(any_bytes) + any_bytes;
    uint8_t *at = reserve(builder, 1 + varint_bytes(body) + body);
    if (!at)
        return NULL;
    *at++ = builder->tag;
    at = put_varint(at, body);
    *at++ = KEY;
    at = put_varint(at, key_bytes);
    at = put_bytes(at, key, key_bytes);
    *at++ = VALUE;
    return put_varint(at, any_bytes);
}

void attrs_begin(struct attrs_builder *builder, enum attrs_tag tag)
{
    builder->tag = (uint8_t)tag;
    builder->full = false;
    builder->cut = builder->count = builder->used = 0;
}

void attrs_add_text(struct attrs_builder *builder, const char *key, const char *value,
                    size_t value_bytes)
{
    char clean[LIMIT_ATTRIBUTE_BYTES];
    size_t bytes = utf8_copy(clean, sizeof clean, value, value_bytes);
    uint8_t *at = begin_attribute(builder, key, 1 + varint_bytes(bytes) + bytes);
    if (!at)
        return;
    *at++ = TEXT;
    at = put_varint(at, bytes);
    put_bytes(at, clean, bytes);
    builder->cut += value_bytes > LIMIT_ATTRIBUTE_BYTES;
}

void attrs_add_int(struct attrs_builder *builder, const char *key, int64_t value)
{
    uint8_t *at = begin_attribute(builder, key, 1 + varint_bytes((uint64_t)value));
    if (!at)
        return;
    *at++ = INT;
    put_varint(at, (uint64_t)value);
}

void attrs_add_double(struct attrs_builder *builder, const char *key, double value)
{
    uint8_t *at = begin_attribute(builder, key, 1 + sizeof value);
    if (!at)
        return;
    *at++ = DOUBLE;
    put_bytes(at, &value, sizeof value);
}

void attrs_add_bool(struct attrs_builder *builder, const char *key, bool value)
{
    uint8_t *at = begin_attribute(builder, key, 2);
    if (!at)
        return;
    *at++ = BOOL;
    *at = value;
}

/* Reads a varint that ends before `end`; the bytes are our own, so a broken one is a bug. */
static const uint8_t *get_varint(const uint8_t *at, const uint8_t *end, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < VARINT_BYTES_MAX; i++) {
        CHECK(at < end);
        value |= (uint64_t)(*at & 0x7f) << (7 * i);
        if (!(*at++ & 0x80)) {
            *ret_value = value;
            return at;
        }
    }
    check_failed("a varint has at most ten bytes", __FILE__, __LINE__);
}

/* A length-delimited field with this tag: returns its first byte, *ret_bytes its length. */
static const uint8_t *get_field(const uint8_t *at, const uint8_t *end, uint8_t tag,
                                size_t *ret_bytes)
{
    uint64_t bytes;
    CHECK(at < end && *at == tag);
    at = get_varint(at + 1, end, &bytes);
    CHECK(bytes <= (uint64_t)(end - at));
    *ret_bytes = (size_t)bytes;
    return at;
}

void attrs_add_all(struct attrs_builder *builder, const struct attrs *attrs)
{
    const uint8_t *at = attrs->otlp, *end = attrs->otlp + attrs->bytes;
    while (at < end) {
        size_t bytes;
        const uint8_t *body = get_field(at, end, attrs->tag, &bytes);
        size_t whole = (size_t)(body - at) + bytes;
        uint8_t *copy = reserve(builder, whole);
        if (copy) {
            memcpy(copy, at, whole);
            copy[0] = builder->tag;
        }
        at += whole;
    }
}

struct attrs *attrs_finish(const struct attrs_builder *builder)
{
    struct attrs *attrs = xmalloc(sizeof *attrs + builder->used);
    attrs->bytes = builder->used;
    attrs->tag = builder->tag;
    memcpy(attrs->otlp, builder->otlp, builder->used);
    return attrs;
}

void attrs_destroy(struct attrs **attrs)
{
    free(*attrs);
    *attrs = NULL;
}

/* Decodes the AnyValue of `bytes` at `at`. */
static void get_value(const uint8_t *at, size_t bytes, struct attr *attr)
{
    const uint8_t *end = at + bytes;
    uint64_t number;
    CHECK(at < end);
    switch (*at) {
    case TEXT:
        attr->kind = ATTR_TEXT;
        attr->text = (const char *)get_field(at, end, TEXT, &attr->text_bytes);
        return;
    case INT:
    case BOOL:
        attr->kind = *at == INT ? ATTR_INT : ATTR_BOOL;
        get_varint(at + 1, end, &number);
        attr->number = (int64_t)number;
        return;
    case DOUBLE:
        CHECK(bytes == 1 + sizeof attr->real);
        attr->kind = ATTR_DOUBLE;
        memcpy(&attr->real, at + 1, sizeof attr->real);
        return;
    default:
        check_failed("an attribute has a kind we write", __FILE__, __LINE__);
    }
}

bool attrs_next(const struct attrs *attrs, size_t *position, struct attr *ret_attr)
{
    if (*position >= attrs->bytes)
        return false;
    const uint8_t *end = attrs->otlp + attrs->bytes;
    size_t bytes, value_bytes;
    struct attr attr = {0};
    const uint8_t *at = get_field(attrs->otlp + *position, end, attrs->tag, &bytes);
    const uint8_t *body_end = at + bytes;
    at = get_field(at, body_end, KEY, &attr.key_bytes);
    attr.key = (const char *)at;
    at = get_field(at + attr.key_bytes, body_end, VALUE, &value_bytes);
    CHECK(at + value_bytes == body_end);
    get_value(at, value_bytes, &attr);
    *position = (size_t)(body_end - attrs->otlp);
    *ret_attr = attr;
    return true;
}
