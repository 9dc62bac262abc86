/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An attribute set: OTLP KeyValue messages, encoded once, each behind its field tag and length, so
 * that an encoder copies the bytes as they are. Immutable after attrs_finish(). Who built it owns
 * it; pages borrow it (page.h says until when). One owner thread, any readers.
 *
 * The same KeyValue is field 7 of NumberDataPoint and field 1 of Resource, hence the tag. */
enum attrs_tag {
    ATTRS_POINT = 0x3a,    /* NumberDataPoint.attributes */
    ATTRS_RESOURCE = 0x0a, /* Resource.attributes */
};

struct attrs {
    uint32_t bytes;
    uint8_t tag; /* enum attrs_tag */
    uint8_t otlp[];
};

/* Collects one set; about 16 KiB, so live on a stack or in a shard, not in an object per target. */
struct attrs_builder {
    uint8_t tag;
    bool full;    /* something did not fit and was left out */
    uint32_t cut; /* attributes that were left out or whose value was cut: count them */
    uint32_t count;
    uint32_t used;
    uint8_t otlp[16384];
};

void attrs_begin(struct attrs_builder *builder, enum attrs_tag tag);

/* Text is made valid UTF-8 (bad bytes become U+FFFD) and cut to LIMIT_ATTRIBUTE_BYTES at a
 * character's end. Keys are NUL-terminated constants. An existing key is not looked for. An
 * attribute with a longer name than LIMIT_ATTRIBUTE_NAME_BYTES is left out, and so is one more than
 * a point or a resource may have. */
void attrs_add_text(struct attrs_builder *builder, const char *key, const char *value,
                    size_t value_bytes);
void attrs_add_int(struct attrs_builder *builder, const char *key, int64_t value);
void attrs_add_double(struct attrs_builder *builder, const char *key, double value);
void attrs_add_bool(struct attrs_builder *builder, const char *key, bool value);

/* Appends every attribute of `attrs` (whatever its tag). */
void attrs_add_all(struct attrs_builder *builder, const struct attrs *attrs);

/* The finished set in one allocation (never NULL: aborts when memory is out); attrs_destroy(). */
struct attrs *attrs_finish(const struct attrs_builder *builder);
void attrs_destroy(struct attrs **attrs);

enum attr_kind { ATTR_TEXT, ATTR_INT, ATTR_DOUBLE, ATTR_BOOL };

/* One attribute read back, pointing into the set. */
struct attr {
    const char *key; /* not NUL-terminated */
    size_t key_bytes;
    enum attr_kind kind;
    const char *text; /* ATTR_TEXT, not NUL-terminated */
    size_t text_bytes;
    int64_t number; /* ATTR_INT, ATTR_BOOL */
    double real;    /* ATTR_DOUBLE */
};

/* Walks the set: *position starts at 0; false at the end. Every format that is not OTLP protobuf
 * reads attributes this way. */
bool attrs_next(const struct attrs *attrs, size_t *position, struct attr *ret_attr);
