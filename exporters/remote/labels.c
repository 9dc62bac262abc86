/* SPDX-License-Identifier: Apache-2.0 */
/* Label lists. Attributes keep the order in which they were added while names that meet are joined,
 * as the Collector does it after sorting keys; the result is sorted by translated name. One thread,
 * no memory of its own. */
#include "exporters/remote/labels.h"

#include <stdlib.h>
#include <string.h>

static const char SERVICE_NAME[] = "service.name", SERVICE_NAMESPACE[] = "service.namespace",
                  SERVICE_INSTANCE[] = "service.instance.id", ENTITY[] = "postgresql.";

void labels_begin(struct labels *labels)
{
    labels->count = 0;
    labels->full = false;
    labels->text_used = 0;
}

/* Room for a text; NULL when there is none. */
static char *keep(struct labels *labels, size_t bytes)
{
    if (bytes > sizeof labels->text - labels->text_used) {
        labels->full = true;
        return NULL;
    }
    char *text = labels->text + labels->text_used;
    labels->text_used += bytes;
    return text;
}

static struct label *find(struct labels *labels, const char *name, size_t bytes)
{
    for (uint32_t i = 0; i < labels->count; i++)
        if (labels->list[i].name_bytes == bytes && memcmp(labels->list[i].name, name, bytes) == 0)
            return &labels->list[i];
    return NULL;
}

static void join(struct labels *labels, struct label *label, const char *value, size_t bytes)
{
    char *text = keep(labels, label->value_bytes + 1 + bytes);
    if (text == NULL)
        return;
    memcpy(text, label->value, label->value_bytes);
    text[label->value_bytes] = ';';
    memcpy(text + label->value_bytes + 1, value, bytes);
    label->value = text;
    label->value_bytes += (uint32_t)(1 + bytes);
}

/* Name and value stay where they are. */
static void put(struct labels *labels, struct label label, enum labels_meeting meeting)
{
    if (label.value_bytes == 0 || label.name_bytes == 0)
        return;
    struct label *present = find(labels, label.name, label.name_bytes);
    if (present == NULL) {
        if (labels->count == LABELS_MAX)
            labels->full = true;
        else
            labels->list[labels->count++] = label;
    } else if (meeting == LABELS_JOIN) {
        join(labels, present, label.value, label.value_bytes);
    } else if (meeting == LABELS_REPLACE) {
        *present = label;
    }
}

void labels_put(struct labels *labels, const char *name, const char *value, size_t value_bytes,
                enum labels_meeting meeting)
{
    put(labels,
        (struct label){.name = name,
                       .value = value,
                       .name_bytes = (uint32_t)strlen(name),
                       .value_bytes = (uint32_t)value_bytes},
        meeting);
}

void labels_put_attr(struct labels *labels, const struct attr *attr)
{
    char name[PROM_NAME_BYTES], number[PROM_NUMBER_BYTES];
    size_t name_bytes = prom_label_name(name, attr->key, attr->key_bytes), value_bytes;
    const char *value = prom_label_value(attr, number, &value_bytes);
    char *own_name = keep(labels, name_bytes);
    char *own_value = value == number ? keep(labels, value_bytes) : NULL;
    if (own_name == NULL || (value == number && own_value == NULL))
        return;
    memcpy(own_name, name, name_bytes);
    if (own_value != NULL)
        value = memcpy(own_value, number, value_bytes);
    put(labels,
        (struct label){.name = own_name,
                       .value = value,
                       .name_bytes = (uint32_t)name_bytes,
                       .value_bytes = (uint32_t)value_bytes},
        LABELS_JOIN);
}

static bool key_is(const struct attr *attr, const char *key)
{
    return attr->key_bytes == strlen(key) && memcmp(attr->key, key, attr->key_bytes) == 0;
}

static bool is_service(const struct attr *attr)
{
    return key_is(attr, SERVICE_NAME) || key_is(attr, SERVICE_NAMESPACE) ||
           key_is(attr, SERVICE_INSTANCE);
}

static bool is_entity(const struct attr *attr)
{
    return attr->key_bytes > sizeof ENTITY - 1 && memcmp(attr->key, ENTITY, sizeof ENTITY - 1) == 0;
}

/* service.namespace/service.name → job, service.instance.id → instance. */
static void put_service(struct labels *labels, const struct attrs *resource)
{
    struct attr attr;
    char numbers[3][PROM_NUMBER_BYTES];
    const char *values[3] = {NULL, NULL, NULL};
    size_t bytes[3] = {0, 0, 0}, position = 0;
    while (attrs_next(resource, &position, &attr)) {
        int which = key_is(&attr, SERVICE_NAMESPACE)  ? 0
                    : key_is(&attr, SERVICE_NAME)     ? 1
                    : key_is(&attr, SERVICE_INSTANCE) ? 2
                                                      : -1;
        if (which < 0)
            continue;
        const char *value = prom_label_value(&attr, numbers[which], &bytes[which]);
        char *own = keep(labels, bytes[which]);
        values[which] = own != NULL ? memcpy(own, value, bytes[which]) : NULL;
    }
    if (values[1] != NULL && values[0] != NULL) {
        char *job = keep(labels, bytes[0] + 1 + bytes[1]);
        if (job != NULL) {
            memcpy(job, values[0], bytes[0]);
            job[bytes[0]] = '/';
            memcpy(job + bytes[0] + 1, values[1], bytes[1]);
            values[1] = job;
            bytes[1] += bytes[0] + 1;
        }
    }
    if (values[1] != NULL)
        labels_put(labels, "job", values[1], bytes[1], LABELS_REPLACE);
    if (values[2] != NULL)
        labels_put(labels, "instance", values[2], bytes[2], LABELS_REPLACE);
}

static bool wanted(const struct attr *attr, enum labels_resource what)
{
    switch (what) {
    case LABELS_IDENTITY:
        return is_entity(attr);
    case LABELS_ALL:
        return true;
    case LABELS_OTHERS:
        return !is_service(attr);
    case LABELS_INFO:
        return !is_service(attr) && !is_entity(attr);
    }
    return false;
}

bool labels_use(const struct attr *attr, enum labels_resource what)
{
    return is_service(attr) || wanted(attr, what);
}

bool labels_put_resource(struct labels *labels, const struct attrs *resource,
                         enum labels_resource what)
{
    struct attr attr;
    size_t position = 0;
    while (attrs_next(resource, &position, &attr))
        if (wanted(&attr, what))
            labels_put_attr(labels, &attr);
    bool more = labels->count > 0;
    put_service(labels, resource);
    return more;
}

void labels_add(struct labels *labels, const struct labels *more, enum labels_meeting meeting)
{
    for (uint32_t i = 0; i < more->count; i++)
        put(labels, more->list[i], meeting);
}

void labels_put_map(struct labels *labels, const struct text_map *map)
{
    for (size_t i = 0; i < map->count; i++)
        labels_put(labels, map->items[i].key, map->items[i].value, strlen(map->items[i].value),
                   LABELS_YIELD);
}

bool labels_check(const char *key, const struct text_map *map, struct error *error)
{
    enum { COUNT_MAX = 64, BYTES_MAX = 8192 };
    static const char digits[] = "0123456789";
    static const char letters[] = "_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    size_t bytes = 0;
    for (size_t i = 0; i < map->count; i++) {
        const char *name = map->items[i].key;
        if (*name == '\0' || strspn(name, digits) > 0 || strspn(name, letters) != strlen(name))
            return error_set(error,
                             "%s: \"%s\" is no label name: letters, digits and _ are allowed, and "
                             "no digit at its start",
                             key, name);
        if (strcmp(name, "__name__") == 0)
            return error_set(error, "%s: __name__ is the metric's; use namespace", key);
        bytes += strlen(name) + strlen(map->items[i].value);
    }
    return (map->count <= COUNT_MAX && bytes <= BYTES_MAX) ||
           error_set(error, "%s: at most %d labels of together %d bytes", key, (int)COUNT_MAX,
                     (int)BYTES_MAX);
}

static int compare(const struct label *a, const struct label *b)
{
    size_t bytes = a->name_bytes < b->name_bytes ? a->name_bytes : b->name_bytes;
    int order = memcmp(a->name, b->name, bytes);
    return order != 0 ? order : (int)a->name_bytes - (int)b->name_bytes;
}

/* Few and nearly sorted: insertion. */
void labels_sort(struct labels *labels)
{
    for (uint32_t i = 1; i < labels->count; i++) {
        struct label label = labels->list[i];
        uint32_t at = i;
        for (; at > 0 && compare(&labels->list[at - 1], &label) > 0; at--)
            labels->list[at] = labels->list[at - 1];
        labels->list[at] = label;
    }
}
