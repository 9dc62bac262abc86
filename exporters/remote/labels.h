/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/component.h>

#include "exporters/remote/name.h"

/* Labels of one part of a series (its attributes, its resource, …) while they are made from OTLP
 * attributes: names translated, sorted, each once. Values are borrowed from the attributes. For
 * what is met for the first time; points copy what was encoded from it. */
enum { LABELS_MAX = 160, LABELS_TEXT_BYTES = 24576 };

struct label {
    const char *name, *value; /* not NUL-terminated */
    uint32_t name_bytes, value_bytes;
};

struct labels {
    uint32_t count;
    bool full; /* something did not fit and was left out */
    struct label list[LABELS_MAX];
    size_t text_used;
    char text[LABELS_TEXT_BYTES]; /* names, numbers, joined values */
};

/* What becomes of a label whose name is there already. */
enum labels_meeting {
    LABELS_JOIN,    /* two attributes that became one name: "first;second" */
    LABELS_REPLACE, /* job and instance */
    LABELS_YIELD,   /* labels of the configuration */
};

void labels_begin(struct labels *labels);

/* `name` as it stays. An empty value is no label. */
void labels_put(struct labels *labels, const char *name, const char *value, size_t value_bytes,
                enum labels_meeting meeting);

/* An attribute, its key translated, joined with what became the same name. */
void labels_put_attr(struct labels *labels, const struct attr *attr);

/* What of a resource becomes labels of its points. */
enum labels_resource {
    LABELS_IDENTITY, /* job and instance, and what tells series of one server apart in the older
                        model (postgresql.*), without which their samples would collide */
    LABELS_ALL,      /* every attribute as well: resource_to_telemetry_conversion */
    LABELS_OTHERS,   /* the same without service.*, which job and instance are made of */
    LABELS_INFO,     /* target_info: job, instance, and what describes the target */
};

/* True when more than job and instance came of it. */
bool labels_put_resource(struct labels *labels, const struct attrs *resource,
                         enum labels_resource what);

/* All of another list. */
void labels_add(struct labels *labels, const struct labels *more, enum labels_meeting meeting);

/* Those of the configuration: they yield. */
void labels_put_map(struct labels *labels, const struct text_map *map);

/* Orders them by name, bytewise, as remote write asks for. */
void labels_sort(struct labels *labels);

/* Labels of the configuration under `key`: names that are, and not too much of them. */
bool labels_check(const char *key, const struct text_map *map, struct error *error);

/* Labels depend on this attribute of the resource. */
bool labels_use(const struct attr *attr, enum labels_resource what);
