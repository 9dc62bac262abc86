/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Components and their options, as data. One table row gives an option its parsing, its default,
 * its range, its help and its line in the reference. engine/config/ fills settings structs from
 * YAML by these tables; the component that owns the struct only reads it. */

enum option_type {
    OPTION_BOOL,        /* bool */
    OPTION_INT,         /* int64_t, within min … max */
    OPTION_DOUBLE,      /* double, within min … max */
    OPTION_DURATION,    /* uint64_t ns: "10s", "1h30m", "250ms" (Go's form); 0 allowed where min is 0;
                           min and max in ns */
    OPTION_BYTES,       /* int64_t: 1048576, "64MiB", "1MB" */
    OPTION_TEXT,        /* const char *, NULL when unset */
    OPTION_SECRET,      /* const char *, masked by print-config, wiped with the configuration */
    OPTION_ENUM,        /* int: index into choices */
    OPTION_TEXT_LIST,   /* struct text_list */
    OPTION_TEXT_MAP,    /* struct text_map */
    OPTION_SECRET_MAP,  /* struct text_map whose values are masked (headers) */
    OPTION_GROUP,       /* nested struct laid out by `table` */
    OPTION_GROUP_LIST,  /* struct group_list of structs laid out by `table`; where `inherits`, each
                           begins as a copy of the struct of the same table at `inherit_offset` */
    OPTION_GROUP_MAP,   /* struct group_map: any key → struct laid out by `table` */
    OPTION_IGNORED,     /* a key of the Collector that has no effect here: taken, warned about; its
                           value may have any shape */
};

struct text_list {
    const char *const *items;
    size_t count;
};

struct text_pair {
    const char *key, *value;
};

struct text_map {
    struct text_pair *items;
    size_t count;
};

struct group_list {
    void *items; /* count structs of table->size bytes */
    size_t count;
};

struct group_map {
    const char *const *keys;
    void *items;
    size_t count;
};

struct option_table;

struct option {
    const char *key;
    enum option_type type;
    size_t offset;
    const char *fallback; /* default as a user would write it; NULL: unset, 0, empty */
    int64_t min, max;     /* both 0: no bound */
    const char *const *choices; /* OPTION_ENUM: NULL-terminated names */
    const struct option_table *table;
    size_t inherit_offset;
    bool inherits;
    bool required;
    const char *help; /* one sentence, for the reference and --help */
};

/* `options` ends with a row whose key is NULL. `place` says where a value came from, for errors. */
struct option_table {
    size_t size;
    const struct option *options;
};

enum component_kind {
    COMPONENT_RECEIVER,
    COMPONENT_PROCESSOR,
    COMPONENT_EXPORTER,
    COMPONENT_EXTENSION,
    COMPONENT_KIND_COUNT,
};

struct component {
    enum component_kind kind;
    const char *type;        /* otlp_http */
    const char *const *aliases; /* NULL-terminated, or NULL: otlphttp; using one is a warning */
    const char *about;       /* one sentence for `pgweir components` */
    const char *stability;   /* "beta" */
    struct option_table table;
    /* Checks what no single row can (two keys that exclude each other); may be NULL. The error
     * text names the key; config puts file:line:column in front. */
    bool (*validate)(const void *settings, struct error *error);
    /* Where in the settings a const char * names an extension that must be in use (NULL: none);
     * 0: nowhere. `extension_key` is its key, for errors. */
    size_t extension_offset;
    const char *extension_key;
};
