/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/error.h"

/* The only door to libfyaml: a parsed document as plain immutable nodes in an arena, each knowing
 * its place. Used by the configuration and by the catalogue. An alias is its anchor's node once
 * more (so nodes form a DAG, bounded as if written out), "<<" merges maps, duplicate
 * keys are errors; size and depth are bounded (pgweir/limits.h). */
enum yaml_kind { YAML_SCALAR, YAML_SEQUENCE, YAML_MAPPING };

struct yaml_node {
    enum yaml_kind kind;
    bool plain;            /* scalar without quotes: may be a number, a boolean or null */
    const char *source;    /* file name as given, for messages */
    unsigned line, column; /* 1-based */
    const char *text;      /* YAML_SCALAR, NUL-terminated */
    size_t bytes;
    size_t count;                             /* children */
    const char *const *keys;                  /* YAML_MAPPING: count names */
    const struct yaml_node *const *key_nodes; /* YAML_MAPPING: where each key stands */
    const struct yaml_node *const *items;     /* YAML_SEQUENCE and YAML_MAPPING: count values */
};

/* Parses `bytes` of text. On failure the error reads "source:line:column: what". */
bool yaml_parse(struct arena *arena, const char *source, const char *text, size_t bytes,
                const struct yaml_node **ret_root, struct error *error);

/* The value under `key` of a mapping, or NULL. */
const struct yaml_node *yaml_find(const struct yaml_node *mapping, const char *key);

/* "null", "~" or empty without quotes. */
bool yaml_is_null(const struct yaml_node *node);

/* Formats an error that starts with the node's place; returns false. */
bool yaml_error(const struct yaml_node *node, struct error *error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Of the `count` candidates the one nearest to `word` by edit distance, else one that begins with
 * it, or NULL when none is near: "did you mean …?". */
const char *yaml_nearest(const char *word, const char *const *candidates, size_t count);
