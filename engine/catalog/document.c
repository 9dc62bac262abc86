/* SPDX-License-Identifier: Apache-2.0 */
/* From YAML nodes to queries. The form of a document is written down in docs/catalog.md; everything
 * that can be wrong in one is found here, with its place, so that nothing of it can fail later on a
 * shard. Main thread, at start-up and reload. */
#include "catalog/query.h"

#include "base/arena.h"
#include "base/memory.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const char *const query_keys[] = {"name",   "about",      "group",     "scope", "since",
                                         "until",  "role",       "needs",     "sql",   "from",
                                         "where",  "tail",       "databases", "start", "timeout",
                                         "select", "attributes", "metrics",   NULL};
static const char *const attribute_keys[] = {"name",   "column",  "columns", "join",
                                             "legacy", "semconv", NULL};
static const char *const legacy_keys[] = {"name", "column", "columns", "join", "resource", NULL};
static const char *const metric_keys[] = {"unit",   "description", "instrument", "monotonic",
                                          "value",  "enabled",     "column",     "attributes",
                                          "points", NULL};
static const char *const point_keys[] = {"column", "attributes", NULL};

/* One query while it is read. */
struct reader {
    struct catalog *catalog;
    struct catalog_query *query;
    bool open_columns; /* with `sql`, every name that is used is a column of it */
};

/* The item of that name; with `sql` it is made when first named. */
static bool item_find(struct reader *reader, const struct yaml_node *node, uint16_t *ret_item,
                      struct error *error)
{
    struct catalog_query *query = reader->query;
    if (node->kind != YAML_SCALAR || yaml_is_null(node))
        return yaml_error(node, error, "expected the name of a column");
    for (size_t i = 0; i < query->item_count; i++) {
        if (strcmp(query->items[i].name, node->text) == 0) {
            *ret_item = (uint16_t)i;
            return true;
        }
    }
    const char *names[LIMIT_QUERY_COLUMNS];
    for (size_t i = 0; i < query->item_count; i++)
        names[i] = query->items[i].name;
    if (!reader->open_columns) {
        const char *near = yaml_nearest(node->text, names, query->item_count);
        return yaml_error(node, error, "no column \"%s\" in \"select\" of query %s%s%s%s",
                          node->text, query->name, near ? "; did you mean \"" : "",
                          near ? near : "", near ? "\"?" : "");
    }
    if (!name_valid(node->text, "", 63))
        return yaml_error(node, error,
                          "column \"%s\": names of columns have small letters, digits and _ only; "
                          "give it another name in the statement with AS",
                          node->text);
    if (query->item_count == LIMIT_QUERY_COLUMNS)
        return yaml_error(node, error, "query %s has more than %d columns", query->name,
                          LIMIT_QUERY_COLUMNS);
    struct variant *variant = arena_take(reader->catalog->arena, sizeof *variant);
    variant->text = arena_format(reader->catalog->arena, "q.%s", node->text);
    query->items[query->item_count] = (struct query_item){node->text, {variant, 1}};
    *ret_item = (uint16_t)query->item_count++;
    return true;
}

static bool select_read(struct reader *reader, const struct yaml_node *node, struct error *error)
{
    struct catalog_query *query = reader->query;
    if (node->kind != YAML_MAPPING || !node->count || node->count > LIMIT_QUERY_COLUMNS)
        return yaml_error(node, error, "\"select\" must map 1 to %d names of columns to SQL",
                          LIMIT_QUERY_COLUMNS);
    for (size_t i = 0; i < node->count; i++) {
        if (!name_valid(node->keys[i], "", 63))
            return yaml_error(node->key_nodes[i], error,
                              "\"%s\" is no name for a column: small letters, digits and _ only",
                              node->keys[i]);
        struct query_item *item = &query->items[query->item_count++];
        item->name = node->keys[i];
        if (!variants_read(reader->catalog, node->items[i], "sql", &item->sql, error))
            return false;
    }
    return true;
}

/* `column: x` or `columns: [x, y]`; neither leaves the form's columns as they are. */
static bool form_columns_read(struct reader *reader, const struct yaml_node *mapping,
                              struct attribute_form *form, struct error *error)
{
    const struct yaml_node *one = yaml_find(mapping, "column");
    const struct yaml_node *many = yaml_find(mapping, "columns");
    if (one && many)
        return yaml_error(many, error, "give \"column\" or \"columns\", not both");
    if (!one && !many)
        return true;
    if (many &&
        (many->kind != YAML_SEQUENCE || !many->count || many->count > QUERY_JOIN_COLUMNS_MAX))
        return yaml_error(many, error, "\"columns\" must be a list of 1 to %d columns",
                          QUERY_JOIN_COLUMNS_MAX);
    form->item_count = (uint16_t)(many ? many->count : 1);
    for (size_t i = 0; i < form->item_count; i++) {
        if (!item_find(reader, many ? many->items[i] : one, &form->items[i], error))
            return false;
    }
    return true;
}

/* `legacy: false`, or a mapping of what differs in the older model. */
static bool legacy_read(struct reader *reader, const struct yaml_node *node,
                        struct attribute_form *form, struct error *error)
{
    if (node->kind == YAML_SCALAR && node->plain && strcmp(node->text, "false") == 0) {
        form->present = false;
        return true;
    }
    const char *resource = NULL;
    if (!keys_check(node, "\"legacy\"", legacy_keys, error) ||
        !text_read(node, "name", &form->key, error) ||
        !text_read(node, "resource", &resource, error) ||
        !text_read(node, "join", &form->join, error) ||
        !form_columns_read(reader, node, form, error))
        return false;
    if (resource && yaml_find(node, "name"))
        return yaml_error(node, error, "give \"name\" or \"resource\", not both");
    if (resource) {
        form->resource = true;
        form->key = resource;
    }
    return true;
}

static bool attribute_read(struct reader *reader, const struct yaml_node *node,
                           struct query_attribute *attribute, struct error *error)
{
    if (!keys_check(node, "an attribute", attribute_keys, error))
        return false;
    struct attribute_form form = {.present = true, .join = "|"};
    if (!text_read(node, "name", &form.key, error) || !text_read(node, "join", &form.join, error) ||
        !form_columns_read(reader, node, &form, error))
        return false;
    if (!form.key || !form.key[0])
        return yaml_error(node, error, "this attribute has no \"name\"");
    if (!form.item_count)
        return yaml_error(node, error, "attribute %s has no \"column\"", form.key);
    attribute->forms[CATALOG_SEMCONV] = form;
    if (!bool_read(node, "semconv", &attribute->forms[CATALOG_SEMCONV].present, error))
        return false;
    attribute->forms[CATALOG_LEGACY] = form;
    const struct yaml_node *legacy = yaml_find(node, "legacy");
    return !legacy || legacy_read(reader, legacy, &attribute->forms[CATALOG_LEGACY], error);
}

static bool attributes_read(struct reader *reader, const struct yaml_node *node,
                            struct error *error)
{
    struct catalog_query *query = reader->query;
    if (node->kind != YAML_SEQUENCE || node->count > LIMIT_QUERY_ATTRIBUTES)
        return yaml_error(node, error, "\"attributes\" must be a list of at most %d attributes",
                          LIMIT_QUERY_ATTRIBUTES);
    query->attributes =
        arena_take(reader->catalog->arena, (node->count + 1) * sizeof *query->attributes);
    for (size_t i = 0; i < node->count; i++) {
        if (!attribute_read(reader, node->items[i], &query->attributes[i], error))
            return false;
        query->attribute_count++;
        for (size_t k = 0; k < i; k++) {
            for (int model = 0; model < CATALOG_MODELS; model++) {
                const struct attribute_form *a = &query->attributes[i].forms[model];
                const struct attribute_form *b = &query->attributes[k].forms[model];
                if (a->present && b->present && strcmp(a->key, b->key) == 0)
                    return yaml_error(node->items[i], error, "attribute %s is there twice", a->key);
            }
        }
    }
    return true;
}

/* `attributes: {source: backend}` of a point: the same for each row. */
static bool fixed_read(struct reader *reader, const struct yaml_node *mapping,
                       const struct attrs **ret_fixed, struct error *error)
{
    const struct yaml_node *node = yaml_find(mapping, "attributes");
    if (!node)
        return true;
    if (node->kind != YAML_MAPPING || !node->count || node->count > LIMIT_QUERY_ATTRIBUTES)
        return yaml_error(
            node, error,
            "\"attributes\" of a point must map names to fixed texts; what comes from "
            "a column belongs to \"attributes\" of the query");
    struct attrs_builder *builder = xmalloc(sizeof *builder);
    attrs_begin(builder, ATTRS_POINT);
    bool good = true;
    for (size_t i = 0; good && i < node->count; i++) {
        const struct yaml_node *value = node->items[i];
        if (value->kind == YAML_SCALAR && !yaml_is_null(value))
            attrs_add_text(builder, node->keys[i], value->text, value->bytes);
        else
            good = yaml_error(value, error, "attribute %s must be a text", node->keys[i]);
    }
    if (good && builder->full)
        good = yaml_error(node, error, "these attributes are too long");
    if (good) {
        struct attrs *attrs = attrs_finish(builder);
        *ret_fixed = (const struct attrs *)arena_copy(reader->catalog->arena, attrs,
                                                      sizeof *attrs + attrs->bytes);
        attrs_destroy(&attrs);
    }
    free(builder);
    return good;
}

static bool fixed_equal(const struct attrs *a, const struct attrs *b)
{
    return a == b || (a && b && a->bytes == b->bytes && memcmp(a->otlp, b->otlp, a->bytes) == 0);
}

static bool point_read(struct reader *reader, const struct yaml_node *node,
                       struct query_metric *metric, struct error *error)
{
    struct query_point *point = &metric->points[metric->point_count];
    const struct yaml_node *column = yaml_find(node, "column");
    if (!column)
        return yaml_error(node, error, "metric %s: this point has no \"column\"", metric->name);
    if (!item_find(reader, column, &point->item, error) ||
        !fixed_read(reader, node, &point->fixed, error))
        return false;
    for (size_t i = 0; i < metric->point_count; i++) {
        if (fixed_equal(metric->points[i].fixed, point->fixed))
            return yaml_error(node, error,
                              "metric %s: two points of a row have the same attributes, so they "
                              "would be one series",
                              metric->name);
    }
    metric->point_count++;
    return true;
}

static bool points_read(struct reader *reader, const struct yaml_node *node,
                        struct query_metric *metric, struct error *error)
{
    const struct yaml_node *points = yaml_find(node, "points");
    const struct yaml_node *column = yaml_find(node, "column");
    if (!points == !column)
        return yaml_error(node, error, "metric %s needs \"column\" or a list of \"points\"",
                          metric->name);
    if (column) {
        metric->points = arena_take(reader->catalog->arena, sizeof *metric->points);
        return point_read(reader, node, metric, error);
    }
    if (yaml_find(node, "attributes"))
        return yaml_error(yaml_find(node, "attributes"), error,
                          "metric %s: with \"points\" each point has its own \"attributes\"",
                          metric->name);
    if (points->kind != YAML_SEQUENCE || !points->count || points->count > QUERY_POINTS_MAX)
        return yaml_error(points, error, "\"points\" must be a list of 1 to %d points",
                          QUERY_POINTS_MAX);
    metric->points = arena_take(reader->catalog->arena, points->count * sizeof *metric->points);
    for (size_t i = 0; i < points->count; i++) {
        if (!keys_check(points->items[i], "a point", point_keys, error) ||
            !point_read(reader, points->items[i], metric, error))
            return false;
    }
    return true;
}

/* Unit, instrument, … of a metric. None of them: it is defined in another query. */
static bool definition_read(struct reader *reader, const struct yaml_node *node,
                            struct query_metric *metric, struct error *error)
{
    static const char *const instruments[] = {"gauge", "sum", NULL};
    static const char *const values[] = {"int", "double", NULL};
    static const char *const own[] = {"unit",      "description", "instrument",
                                      "monotonic", "value",       "enabled"};
    bool any = false;
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        any = any || yaml_find(node, own[i]);
    if (!any)
        return true;
    struct metric definition = {.name = metric->name, .enabled = true};
    int instrument = -1, value = -1;
    if (!text_read(node, "unit", &definition.unit, error) ||
        !text_read(node, "description", &definition.description, error) ||
        !choice_read(node, "instrument", instruments, &instrument, error) ||
        !choice_read(node, "value", values, &value, error) ||
        !bool_read(node, "monotonic", &definition.monotonic, error) ||
        !bool_read(node, "enabled", &definition.enabled, error))
        return false;
    const char *missing = !definition.unit          ? "unit"
                          : !definition.description ? "description"
                          : instrument < 0          ? "instrument"
                          : value < 0               ? "value"
                                                    : NULL;
    if (missing)
        return yaml_error(node, error, "metric %s has no \"%s\"", metric->name, missing);
    definition.instrument = instrument == 0 ? METRIC_GAUGE : METRIC_SUM;
    definition.value = value == 0 ? METRIC_INT : METRIC_DOUBLE;
    if (definition.monotonic && definition.instrument == METRIC_GAUGE)
        return yaml_error(yaml_find(node, "monotonic"), error,
                          "metric %s: only a sum can be monotonic", metric->name);
    struct metric *copy = arena_take(reader->catalog->arena, sizeof *copy);
    *copy = definition;
    metric->definition = copy;
    return true;
}

static bool metrics_read(struct reader *reader, const struct yaml_node *node, struct error *error)
{
    struct catalog_query *query = reader->query;
    if (!node || node->kind != YAML_MAPPING || !node->count || node->count > LIMIT_QUERY_METRICS)
        return yaml_error(node ? node : query->node, error,
                          "query %s needs \"metrics\": a mapping of 1 to %d names to metrics",
                          query->name, LIMIT_QUERY_METRICS);
    query->metrics = arena_take(reader->catalog->arena, node->count * sizeof *query->metrics);
    for (size_t i = 0; i < node->count; i++) {
        struct query_metric *metric = &query->metrics[query->metric_count++];
        metric->name = node->keys[i];
        metric->node = node->key_nodes[i];
        if (!name_valid(metric->name, ".-/", 255))
            return yaml_error(node->key_nodes[i], error,
                              "\"%s\" is no name for a metric: small letters, digits, . _ - / only",
                              metric->name);
        if (!keys_check(node->items[i], "a metric", metric_keys, error) ||
            !definition_read(reader, node->items[i], metric, error) ||
            !points_read(reader, node->items[i], metric, error))
            return false;
    }
    return true;
}

/* Name, group, scope, conditions and the texts of the statement. */
static bool head_read(struct reader *reader, const struct yaml_node *node, struct error *error)
{
    static const char *const scopes[] = {"server", "database", NULL};
    struct catalog_query *query = reader->query;
    query->group = "core";
    query->about = "";
    query->start_item = -1;
    query->node = node;
    if (!keys_check(node, "a query", query_keys, error) ||
        !text_read(node, "name", &query->name, error) ||
        !text_read(node, "group", &query->group, error) ||
        !text_read(node, "about", &query->about, error))
        return false;
    if (!query->name || !name_valid(query->name, "", QUERY_NAME_BYTES_MAX))
        return yaml_error(query->name ? yaml_find(node, "name") : node, error,
                          "a query needs a \"name\" of at most %d small letters, digits and _",
                          QUERY_NAME_BYTES_MAX);
    if (!name_valid(query->group, "", QUERY_NAME_BYTES_MAX))
        return yaml_error(yaml_find(node, "group"), error,
                          "\"%s\" is no name for a group: small letters, digits and _ only",
                          query->group);
    int scope = QUERY_SERVER;
    if (!choice_read(node, "scope", scopes, &scope, error) ||
        !condition_read(reader->catalog, node, &query->when, error) ||
        !duration_read(node, "timeout", &query->timeout_ns, error))
        return false;
    query->scope = scope == 0 ? QUERY_SERVER : QUERY_DATABASE;
    const struct {
        const char *key;
        struct variants *texts;
    } parts[] = {{"sql", &query->sql},
                 {"from", &query->from},
                 {"where", &query->where},
                 {"tail", &query->tail},
                 {"databases", &query->databases}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        const struct yaml_node *part = yaml_find(node, parts[i].key);
        if (part && !variants_read(reader->catalog, part, "text", parts[i].texts, error))
            return false;
    }
    return true;
}

static bool attribute_name_check(const struct catalog_query *query, const char *name, size_t bytes,
                                 struct error *error)
{
    if (bytes > LIMIT_ATTRIBUTE_NAME_BYTES)
        return yaml_error(query->node, error,
                          "query %s: attribute %.40s… has a name of over %d bytes", query->name,
                          name, LIMIT_ATTRIBUTE_NAME_BYTES);
    for (size_t i = 0; i < query->metric_count; i++) {
        const char *metric = query->metrics[i].name;
        if (strlen(metric) == bytes && memcmp(metric, name, bytes) == 0)
            return yaml_error(query->metrics[i].node, error,
                              "an attribute and a metric are both named %s: back ends such as New "
                              "Relic keep one of them",
                              metric);
    }
    return true;
}

/* What back ends make of names, in either model. */
static bool names_check(const struct catalog_query *query, struct error *error)
{
    for (size_t i = 0; i < query->attribute_count; i++) {
        for (int model = 0; model < CATALOG_MODELS; model++) {
            const char *key = query->attributes[i].forms[model].key;
            if (!attribute_name_check(query, key, strlen(key), error))
                return false;
        }
    }
    for (size_t m = 0; m < query->metric_count; m++) {
        for (size_t p = 0; p < query->metrics[m].point_count; p++) {
            const struct attrs *fixed = query->metrics[m].points[p].fixed;
            struct attr attr;
            size_t position = 0;
            while (fixed != NULL && attrs_next(fixed, &position, &attr))
                if (!attribute_name_check(query, attr.key, attr.key_bytes, error))
                    return false;
        }
    }
    return true;
}

/* What a plan may select: an item once for each type it is read as. Bounded here, so that no plan
 * has to leave a metric out. */
bool query_check(const struct catalog_query *query, struct error *error)
{
    enum { AS_ATTRIBUTE = 1, AS_INT = 2, AS_DOUBLE = 4, AS_START = 8 };
    uint8_t uses[LIMIT_QUERY_COLUMNS] = {0};
    for (size_t i = 0; i < query->attribute_count; i++) {
        for (int model = 0; model < CATALOG_MODELS; model++) {
            const struct attribute_form *form = &query->attributes[i].forms[model];
            for (uint16_t k = 0; k < form->item_count; k++)
                uses[form->items[k]] |= AS_ATTRIBUTE;
        }
    }
    for (size_t m = 0; m < query->metric_count; m++) {
        const struct query_metric *metric = &query->metrics[m];
        for (size_t p = 0; p < metric->point_count; p++)
            uses[metric->points[p].item] |=
                metric->definition->value == METRIC_INT ? AS_INT : AS_DOUBLE;
    }
    if (query->start_item >= 0)
        uses[query->start_item] |= AS_START;
    int columns = 0;
    for (size_t i = 0; i < query->item_count; i++)
        columns += __builtin_popcount(uses[i]);
    if (columns > LIMIT_QUERY_COLUMNS)
        return yaml_error(query->node, error, "query %s selects %d columns, more than %d",
                          query->name, columns, LIMIT_QUERY_COLUMNS);
    return names_check(query, error);
}

static bool query_read(struct catalog *catalog, const struct yaml_node *node,
                       struct catalog_query *query, struct error *error)
{
    struct reader reader = {.catalog = catalog, .query = query};
    query->items = arena_take(catalog->arena, LIMIT_QUERY_COLUMNS * sizeof *query->items);
    if (!head_read(&reader, node, error))
        return false;
    const struct yaml_node *select = yaml_find(node, "select");
    reader.open_columns = query->sql.count > 0;
    if (reader.open_columns) {
        static const char *const parts[] = {"select", "from", "where", "tail"};
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
            if (yaml_find(node, parts[i]))
                return yaml_error(yaml_find(node, parts[i]), error,
                                  "query %s has \"sql\", the whole statement, and \"%s\" beside it",
                                  query->name, parts[i]);
        }
    } else if (!select) {
        return yaml_error(node, error, "query %s needs \"select\" (with \"from\"), or \"sql\"",
                          query->name);
    } else if (!select_read(&reader, select, error)) {
        return false;
    }
    const struct yaml_node *start = yaml_find(node, "start");
    uint16_t start_item = 0;
    if (start && !item_find(&reader, start, &start_item, error))
        return false;
    query->start_item = start ? start_item : -1;
    const struct yaml_node *attributes = yaml_find(node, "attributes");
    if (attributes && !attributes_read(&reader, attributes, error))
        return false;
    return metrics_read(&reader, yaml_find(node, "metrics"), error);
}

bool document_read(struct catalog *catalog, const struct yaml_node *root,
                   struct catalog_query *queries, size_t query_max, size_t *ret_count,
                   struct error *error)
{
    bool list = root->kind == YAML_SEQUENCE;
    size_t count = list ? root->count : 1;
    if (!count || (!list && root->kind != YAML_MAPPING))
        return yaml_error(root, error, "expected a query (a mapping), or a list of queries");
    if (count > query_max)
        return yaml_error(root, error, "more than %d queries", LIMIT_QUERIES);
    for (size_t i = 0; i < count; i++) {
        const struct yaml_node *node = list ? root->items[i] : root;
        if (!query_read(catalog, node, &queries[i], error))
            return false;
        for (size_t k = 0; k < i; k++) {
            if (strcmp(queries[k].name, queries[i].name) == 0)
                return yaml_error(node, error, "query %s is in this file twice (also line %u)",
                                  queries[i].name, queries[k].node->line);
        }
    }
    *ret_count = count;
    return true;
}
