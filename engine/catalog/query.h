/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "catalog/catalog.h"
#include "config/yaml.h"

/* A query document after loading (docs/catalog.md says what users write), private to this folder:
 * document.c fills it, catalog.c joins the documents, plan.c makes statements of it. Everything
 * lives in the catalogue's arena and never changes after loading. */

enum {
    QUERY_NAME_BYTES_MAX = 40,
    QUERY_VARIANTS_MAX = 16,      /* of one text */
    QUERY_NEEDS_MAX = 16,         /* of one condition */
    QUERY_POINTS_MAX = 64,        /* of one metric */
    QUERY_JOIN_COLUMNS_MAX = 4,   /* struct statement_attribute */
    CATALOG_GROUPS_MAX = 64,      /* struct collection has one bit for each */
    CATALOG_PROBES_MAX = 16 * 64, /* struct capabilities */
    CATALOG_MODELS = 2,
};

enum query_role { QUERY_ROLE_ANY, QUERY_ROLE_PRIMARY, QUERY_ROLE_STANDBY };

/* When something applies. Zeroed: always. */
struct condition {
    uint16_t since, until; /* major versions, both included; 0: no bound */
    enum query_role role;
    const uint16_t *needs; /* bits of struct capabilities, all of which must be set */
    size_t need_count;
};

struct variant {
    struct condition when;
    const char *text;
};

/* The first variant whose condition holds is taken; none: the thing is not there. */
struct variants {
    const struct variant *items;
    size_t count;
};

/* A value a row can have, under the name the rest of the document uses for it. */
struct query_item {
    const char *name;
    struct variants sql;
};

/* What an attribute is in one of the two models. */
struct attribute_form {
    bool present;
    bool resource;
    const char *key;
    const char *join;
    uint16_t items[QUERY_JOIN_COLUMNS_MAX];
    uint16_t item_count;
};

struct query_attribute {
    struct attribute_form forms[CATALOG_MODELS]; /* by enum catalog_model */
};

struct query_point {
    uint16_t item;
    const struct attrs *fixed; /* in the arena; NULL: none */
};

struct query_metric {
    const char *name;
    const struct metric *definition; /* NULL: it is defined in another query */
    size_t index;                    /* into catalog->metrics, once joined */
    const struct yaml_node *node;    /* for messages while loading */
    struct query_point *points;
    size_t point_count;
};

struct catalog_query {
    const char *name, *group, *about;
    uint32_t group_index;
    enum query_scope scope;
    struct condition when;
    struct variants sql;       /* a whole statement, … */
    struct variants from;      /* … or the parts of one */
    struct variants where;     /* none applies: no condition */
    struct variants tail;      /* GROUP BY, ORDER BY, LIMIT */
    struct variants databases; /* expression that the database filter is applied to */
    struct query_item *items;
    size_t item_count;
    struct query_attribute *attributes;
    size_t attribute_count;
    struct query_metric *metrics;
    size_t metric_count;
    int start_item; /* -1: none */
    uint64_t timeout_ns;
    const struct yaml_node *node; /* for messages while loading */
};

struct catalog_probe {
    const char **names; /* CATALOG_PROBES_MAX */
    size_t count;
    const char *sql;
};

/* document.c: reads the queries of one parsed document (one mapping, or a sequence of them), at
 * most `query_max`. */
bool document_read(struct catalog *catalog, const struct yaml_node *root,
                   struct catalog_query *queries, size_t query_max, size_t *ret_count,
                   struct error *error);

/* document.c: what can only be checked once every metric has its definition. */
bool query_check(const struct catalog_query *query, struct error *error);

/* condition.c: reads since, until, role and needs of a mapping. */
bool condition_read(struct catalog *catalog, const struct yaml_node *mapping,
                    struct condition *ret_condition, struct error *error);
bool condition_holds(const struct condition *condition, const struct capabilities *capabilities);

/* condition.c: a text, a mapping with `text_key` and a condition, or a sequence of such. */
bool variants_read(struct catalog *catalog, const struct yaml_node *node, const char *text_key,
                   struct variants *ret_variants, struct error *error);

/* The text to use, or NULL. */
const char *variants_choose(const struct variants *variants,
                            const struct capabilities *capabilities);

/* field.c: an error unless every key of `mapping` is one of `allowed`, which ends with NULL. */
bool keys_check(const struct yaml_node *mapping, const char *what, const char *const *allowed,
                struct error *error);

/* field.c: small letters, digits, _ and the characters of `also`; 1 to `bytes_max` of them. */
bool name_valid(const char *name, const char *also, size_t bytes_max);

/* field.c: the value under `key`; a missing key leaves *ret as it is. A choice is the index of one
 * of two or more `choices`, which end with NULL. */
bool text_read(const struct yaml_node *mapping, const char *key, const char **ret_text,
               struct error *error);
bool bool_read(const struct yaml_node *mapping, const char *key, bool *ret, struct error *error);
bool choice_read(const struct yaml_node *mapping, const char *key, const char *const *choices,
                 int *ret, struct error *error);
bool duration_read(const struct yaml_node *mapping, const char *key, uint64_t *ret_ns,
                   struct error *error);

/* probe.c: the bit of a name, which is added when new; false when it is not well formed or there
 * are too many. */
bool probe_intern(struct catalog *catalog, const char *name, uint16_t *ret_bit);
void probe_finish(struct catalog *catalog);
