/* SPDX-License-Identifier: Apache-2.0 */
/* Step 5 of 9, when a row is seen for the first time: its attributes are encoded, once, to be
 * copied into every request after that. In the older model each row also gets a resource of its
 * own, in as many variants as its target's has. Shard's thread; what is made here is read by the
 * worker through pages, and destroyed by series_reclaim(). */
#include "pg/entity.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "pg/value.h"

enum { JOINED_BYTES_MAX = 2 * LIMIT_ATTRIBUTE_BYTES };

/* Text of a cell; false: NULL, or nothing that can be shown. */
static bool cell_text(const PGresult *rows, int row, int column, char buffer[VALUE_TEXT_BYTES],
                      const char **ret_text, size_t *ret_bytes)
{
    if (PQgetisnull(rows, row, column))
        return false;
    const struct value_type *type = value_type(PQftype(rows, column));
    return type != NULL &&
           type->to_text((const uint8_t *)PQgetvalue(rows, row, column),
                         (size_t)PQgetlength(rows, row, column), buffer, ret_text, ret_bytes);
}

/* Adds one attribute: its cells that are not NULL, joined. */
static void add_attribute(const PGresult *rows, int row,
                          const struct statement_attribute *attribute,
                          struct attrs_builder *builder)
{
    char joined[JOINED_BYTES_MAX], buffer[VALUE_TEXT_BYTES];
    size_t used = 0, join_bytes = attribute->join != NULL ? strlen(attribute->join) : 0;
    bool found = false;
    for (uint16_t i = 0; i < attribute->column_count; i++) {
        const char *text;
        size_t bytes;
        if (!cell_text(rows, row, attribute->columns[i], buffer, &text, &bytes))
            continue;
        if (found && join_bytes > 0 && join_bytes <= sizeof joined - used) {
            memcpy(joined + used, attribute->join, join_bytes);
            used += join_bytes;
        }
        if (bytes > sizeof joined - used)
            bytes = sizeof joined - used;
        memcpy(joined + used, text, bytes);
        used += bytes;
        found = true;
    }
    if (found)
        attrs_add_text(builder, attribute->key, joined, used);
}

/* The row's attributes that belong to the resource, or those that do not, behind `first`. */
static struct attrs *make_attrs(const struct entity_source *source, enum attrs_tag tag,
                                const struct attrs *first, struct entity_loss *ret_loss)
{
    struct attrs_builder builder;
    const struct statement *statement = source->statement;
    attrs_begin(&builder, tag);
    if (first != NULL)
        attrs_add_all(&builder, first);
    for (size_t i = 0; i < statement->attribute_count; i++) {
        const struct statement_attribute *attribute = &statement->attributes[i];
        bool resource = statement->own_resource && attribute->resource;
        if (resource == (tag == ATTRS_RESOURCE))
            add_attribute(source->rows, source->row, attribute, &builder);
    }
    ret_loss->full |= builder.full;
    ret_loss->cut += builder.cut;
    return attrs_finish(&builder);
}

/* The target's resource and the row's own attributes, in every variant there is. */
static struct resource *make_resource(const struct entity_source *source,
                                      struct entity_loss *ret_loss)
{
    struct resource *resource = xcalloc(1, sizeof *resource);
    for (uint32_t i = 0; i < LIMIT_PIPELINES; i++)
        if (source->target->variants[i] != NULL)
            resource->variants[i] =
                make_attrs(source, ATTRS_RESOURCE, source->target->variants[i], ret_loss);
    return resource;
}

struct entity *entity_create(const struct entity_source *source, struct entity_loss *ret_loss)
{
    size_t counter_bytes = source->counter_count * sizeof(struct counter_state);
    struct entity *entity = xcalloc(1, sizeof *entity + counter_bytes + source->key_bytes);
    entity->attrs = make_attrs(source, ATTRS_POINT, NULL, ret_loss);
    entity->counters = (struct counter_state *)(entity + 1);
    entity->key = (uint8_t *)(entity + 1) + counter_bytes;
    entity->key_bytes = (uint32_t)source->key_bytes;
    if (source->key_bytes > 0)
        memcpy(entity->key, source->key, source->key_bytes);
    if (source->statement->own_resource)
        entity->resource = make_resource(source, ret_loss);
    return entity;
}

void entity_destroy(struct entity **entity)
{
    if (*entity == NULL)
        return;
    struct attrs *attrs = (struct attrs *)(uintptr_t)(*entity)->attrs;
    attrs_destroy(&attrs);
    for (uint32_t i = 0; (*entity)->resource != NULL && i < LIMIT_PIPELINES; i++) {
        attrs = (struct attrs *)(uintptr_t)(*entity)->resource->variants[i];
        attrs_destroy(&attrs);
    }
    free((*entity)->resource);
    free(*entity);
    *entity = NULL;
}
