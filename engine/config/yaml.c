/* SPDX-License-Identifier: Apache-2.0 */
/* YAML text → immutable nodes. Built from libfyaml's events, not from its documents, whose
 * resolution of nested aliases is exponential. Here an alias is the anchored node itself, seen
 * twice; what it would be written out counts against the node limit and its depth against the depth
 * limit, so that whoever walks the tree is bounded as well. Main thread; everything lives in the
 * caller's arena, which wipes it, as values may be secrets.
 *
 * While a sequence or mapping is open its children stand on one stack of pointers, keys and values
 * in turn; when it closes they are copied into the arena and the stack shrinks to where the
 * collection began. */
#include "config/yaml.h"

#include <pgweir/limits.h>

#include "base/check.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <libfyaml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { NODES_MAX = 8 << 20, WORD_BYTES_MAX = 64, PREFIX_BYTES_MIN = 4 };
_Static_assert(NODES_MAX > LIMIT_TARGETS * 2 * 16, "a full fleet with 16 keys per server fits");

struct open_collection {
    struct yaml_node *node;
    size_t base;         /* first child on the stack */
    const char *anchor;  /* NULL: none */
    size_t nodes_before; /* written out, when it was opened */
    size_t deepest;      /* levels below it so far */
};

/* "&name": known to aliases from the end of its node on, so a node cannot contain itself. */
struct anchor {
    struct anchor *next;
    const char *name;
    const struct yaml_node *node;
    size_t nodes;  /* with all below it, written out */
    size_t levels; /* of collections below it */
};

struct builder {
    struct arena *arena;
    const char *source;
    struct error *error;
    struct fy_mark last; /* of the last event that had a place: empty scalars have none */
    struct open_collection open[LIMIT_CONFIG_DEPTH];
    size_t depth;
    const struct yaml_node **stack;
    size_t stack_count, stack_capacity;
    size_t node_count, document_count;
    struct anchor *anchors; /* the last one first: a name may be used again */
    const struct yaml_node *root;
};

bool yaml_error(const struct yaml_node *node, struct error *error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    return error_prefix(error, "%s:%u:%u: ", node->source, node->line, node->column);
}

bool yaml_is_null(const struct yaml_node *node)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    if (node->kind != YAML_SCALAR || !node->plain)
        return false;
    for (size_t i = 0; i < sizeof nulls / sizeof nulls[0]; i++)
        if (strcmp(node->text, nulls[i]) == 0)
            return true;
    return false;
}

const struct yaml_node *yaml_find(const struct yaml_node *mapping, const char *key)
{
    if (mapping->kind != YAML_MAPPING)
        return NULL;
    for (size_t i = 0; i < mapping->count; i++)
        if (strcmp(mapping->keys[i], key) == 0)
            return mapping->items[i];
    return NULL;
}

/* Levenshtein distance without regard to case. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t a_bytes = strlen(a), b_bytes = strlen(b);
    if (a_bytes > WORD_BYTES_MAX || b_bytes > WORD_BYTES_MAX)
        return SIZE_MAX;
    size_t row[WORD_BYTES_MAX + 1];
    for (size_t j = 0; j <= b_bytes; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_bytes; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_bytes; j++) {
            size_t above = row[j];
            bool same = strncasecmp(&a[i - 1], &b[j - 1], 1) == 0;
            size_t best = diagonal + (same ? 0 : 1);
            if (above + 1 < best)
                best = above + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = above;
            row[j] = best;
        }
    }
    return row[b_bytes];
}

const char *yaml_nearest(const char *word, const char *const *candidates, size_t count)
{
    const char *nearest = NULL;
    size_t best = strlen(word) / 3 + 2; /* farther than this is another word */
    for (size_t i = 0; i < count; i++) {
        size_t distance = edit_distance(word, candidates[i]);
        if (distance < best && distance < strlen(candidates[i])) {
            best = distance;
            nearest = candidates[i];
        }
    }
    for (size_t i = 0; nearest == NULL && i < count; i++)
        if (strlen(word) >= PREFIX_BYTES_MIN && strncmp(word, candidates[i], strlen(word)) == 0)
            nearest = candidates[i];
    return nearest;
}

static bool fail_here(struct builder *builder, const char *text)
{
    return error_set(builder->error, "%s:%d:%d: %s", builder->source, builder->last.line + 1,
                     builder->last.column + 1, text);
}

static int compare_keys(const void *left, const void *right)
{
    const struct yaml_node *const *a = left, *const *b = right;
    int order = strcmp((*a)->text, (*b)->text);
    if (order != 0)
        return order;
    if ((*a)->line != (*b)->line)
        return (*a)->line < (*b)->line ? -1 : 1;
    return (*a)->column < (*b)->column ? -1 : 1;
}

static bool keys_unique(const struct yaml_node *mapping, struct error *error)
{
    if (mapping->count < 2)
        return true;
    const struct yaml_node **sorted = xcalloc(mapping->count, sizeof *sorted);
    for (size_t i = 0; i < mapping->count; i++)
        sorted[i] = mapping->key_nodes[i];
    qsort(sorted, mapping->count, sizeof *sorted, compare_keys);
    bool unique = true;
    for (size_t i = 1; unique && i < mapping->count; i++)
        if (strcmp(sorted[i - 1]->text, sorted[i]->text) == 0)
            unique = yaml_error(sorted[i], error,
                                "duplicate key \"%s\", first at line %u: remove one of the two",
                                sorted[i]->text, sorted[i - 1]->line);
    free(sorted);
    return unique;
}

/* Puts the node where it belongs: as root, or as next child of the innermost collection. */
static bool place(struct builder *builder, const struct yaml_node *node)
{
    if (builder->depth == 0) {
        builder->root = node;
        return true;
    }
    const struct open_collection *parent = &builder->open[builder->depth - 1];
    bool is_key =
        parent->node->kind == YAML_MAPPING && (builder->stack_count - parent->base) % 2 == 0;
    if (is_key && node->kind != YAML_SCALAR)
        return yaml_error(node, builder->error, "a key must be a plain word, not a list or a map");
    if (builder->stack_count == builder->stack_capacity) {
        builder->stack_capacity = builder->stack_capacity == 0 ? 64 : 2 * builder->stack_capacity;
        builder->stack =
            reallocarray(builder->stack, builder->stack_capacity, sizeof *builder->stack);
        xdone(builder->stack != NULL);
    }
    builder->stack[builder->stack_count++] = node;
    return true;
}

static struct yaml_node *node_create(struct builder *builder, enum yaml_kind kind)
{
    struct yaml_node *node = arena_take(builder->arena, sizeof *node);
    node->kind = kind;
    node->source = builder->source;
    node->line = (unsigned)builder->last.line + 1;
    node->column = (unsigned)builder->last.column + 1;
    builder->node_count++;
    return node;
}

static const char *token_text(struct builder *builder, struct fy_token *token)
{
    size_t bytes = 0;
    const char *text = token != NULL ? fy_token_get_text(token, &bytes) : NULL;
    return text != NULL ? arena_copy(builder->arena, text, bytes) : NULL;
}

static void remember_anchor(struct builder *builder, const char *name, struct anchor anchor)
{
    if (name == NULL)
        return;
    struct anchor *kept = arena_take(builder->arena, sizeof *kept);
    *kept = anchor;
    kept->name = name;
    kept->next = builder->anchors;
    builder->anchors = kept;
}

static void note_levels(struct builder *builder, size_t levels)
{
    if (builder->depth > 0 && builder->open[builder->depth - 1].deepest < levels)
        builder->open[builder->depth - 1].deepest = levels;
}

static bool place_alias(struct builder *builder, struct fy_token *token)
{
    const char *name = token_text(builder, token);
    const struct anchor *anchor = builder->anchors;
    while (anchor != NULL && name != NULL && strcmp(anchor->name, name) != 0)
        anchor = anchor->next;
    if (anchor == NULL || name == NULL)
        return error_set(builder->error,
                         "%s:%d:%d: no anchor \"&%s\" before this alias: check the name",
                         builder->source, builder->last.line + 1, builder->last.column + 1,
                         name != NULL ? name : "");
    if (builder->node_count + anchor->nodes > NODES_MAX)
        return fail_here(builder, "too many values once aliases are written out");
    if (builder->depth + anchor->levels > LIMIT_CONFIG_DEPTH)
        return fail_here(builder, "nested too deeply once this alias is written out: 32 levels "
                                  "are the limit");
    builder->node_count += anchor->nodes;
    note_levels(builder, anchor->levels);
    return place(builder, anchor->node);
}

static bool open_collection(struct builder *builder, enum yaml_kind kind, struct fy_token *tag,
                            struct fy_token *anchor)
{
    if (tag != NULL)
        return fail_here(builder, "tags (\"!…\") on lists and maps are not supported: remove it");
    if (builder->depth == LIMIT_CONFIG_DEPTH)
        return fail_here(builder, "nested too deeply: 32 levels are the limit");
    struct yaml_node *node = node_create(builder, kind);
    if (!place(builder, node))
        return false;
    builder->open[builder->depth++] =
        (struct open_collection){.node = node,
                                 .base = builder->stack_count,
                                 .anchor = token_text(builder, anchor),
                                 .nodes_before = builder->node_count - 1};
    return true;
}

/* A mapping while it is put together: its own entries, then what "<<" brings in. */
struct entries {
    const struct yaml_node **keys, **items;
    size_t count;
};

static bool has_key(const struct entries *entries, const char *key)
{
    for (size_t i = 0; i < entries->count; i++)
        if (strcmp(entries->keys[i]->text, key) == 0)
            return true;
    return false;
}

static bool is_merge_key(const struct yaml_node *key)
{
    return key->plain && strcmp(key->text, "<<") == 0;
}

static size_t merged_count(const struct yaml_node *value)
{
    size_t count = value->kind == YAML_MAPPING ? value->count : 0;
    for (size_t i = 0; value->kind == YAML_SEQUENCE && i < value->count; i++)
        count += value->items[i]->count;
    return count;
}

/* YAML 1.1's merge key: keys that the mapping has itself win, then those of earlier sources. */
static bool merge(struct builder *builder, struct entries *entries, const struct yaml_node *value)
{
    const struct yaml_node *const *sources = value->kind == YAML_SEQUENCE ? value->items : &value;
    size_t source_count = value->kind == YAML_SEQUENCE ? value->count : 1;
    for (size_t i = 0; i < source_count; i++) {
        const struct yaml_node *source = sources[i];
        if (source->kind != YAML_MAPPING)
            return yaml_error(source, builder->error,
                              "\"<<\" takes a map, or a list of maps, as a rule by an alias");
        for (size_t k = 0; k < source->count; k++) {
            if (has_key(entries, source->keys[k]))
                continue;
            entries->keys[entries->count] = source->key_nodes[k];
            entries->items[entries->count++] = source->items[k];
        }
    }
    return true;
}

static bool fill_mapping(struct builder *builder, struct yaml_node *node,
                         const struct yaml_node **children)
{
    size_t room = node->count;
    for (size_t i = 0; i < node->count; i++)
        if (is_merge_key(children[i * 2]))
            room += merged_count(children[i * 2 + 1]);
    struct entries entries = {
        .keys = arena_take(builder->arena, room * sizeof *entries.keys),
        .items = arena_take(builder->arena, room * sizeof *entries.items),
    };
    const struct yaml_node *merged = NULL;
    for (size_t i = 0; i < node->count; i++) {
        if (is_merge_key(children[i * 2])) {
            if (merged != NULL)
                return yaml_error(children[i * 2], builder->error,
                                  "a second \"<<\" in one map: give the first a list");
            merged = children[i * 2 + 1];
            continue;
        }
        entries.keys[entries.count] = children[i * 2];
        entries.items[entries.count++] = children[i * 2 + 1];
    }
    if (merged != NULL && !merge(builder, &entries, merged))
        return false;
    const char **keys = arena_take(builder->arena, (entries.count + 1) * sizeof *keys);
    for (size_t i = 0; i < entries.count; i++)
        keys[i] = entries.keys[i]->text;
    node->count = entries.count;
    node->key_nodes = entries.keys;
    node->items = entries.items;
    node->keys = keys;
    return keys_unique(node, builder->error);
}

static void fill_sequence(struct builder *builder, struct yaml_node *node,
                          const struct yaml_node **children)
{
    const struct yaml_node **items = arena_take(builder->arena, node->count * sizeof *items);
    memcpy(items, children, node->count * sizeof *items);
    node->items = items;
}

static bool close_collection(struct builder *builder)
{
    CHECK(builder->depth > 0);
    const struct open_collection *closing = &builder->open[--builder->depth];
    struct yaml_node *node = closing->node;
    size_t step = node->kind == YAML_MAPPING ? 2 : 1;
    node->count = (builder->stack_count - closing->base) / step;
    builder->stack_count = closing->base;
    if (node->count > 0 && node->kind == YAML_SEQUENCE)
        fill_sequence(builder, node, builder->stack + closing->base);
    else if (node->count > 0 && !fill_mapping(builder, node, builder->stack + closing->base))
        return false;
    size_t levels = closing->deepest + 1;
    note_levels(builder, levels);
    remember_anchor(builder, closing->anchor,
                    (struct anchor){.node = node,
                                    .nodes = builder->node_count - closing->nodes_before,
                                    .levels = levels});
    return true;
}

static bool add_scalar(struct builder *builder, const struct fy_event_scalar_data *scalar)
{
    struct yaml_node *node = node_create(builder, YAML_SCALAR);
    size_t bytes = 0;
    const char *text = scalar->value != NULL ? fy_token_get_text(scalar->value, &bytes) : NULL;
    node->text = arena_copy(builder->arena, text, text != NULL ? bytes : 0);
    node->bytes = text != NULL ? bytes : 0;
    node->plain = scalar->value == NULL || fy_token_scalar_style(scalar->value) == FYSS_PLAIN;
    if (strlen(node->text) != node->bytes)
        return yaml_error(node, builder->error, "a value must not contain a NUL character");
    if (scalar->tag != NULL) {
        size_t tag_bytes = 0;
        const char *tag = fy_token_get_text(scalar->tag, &tag_bytes);
        static const char text_tag[] = "tag:yaml.org,2002:str";
        if (tag == NULL || tag_bytes != strlen(text_tag) || memcmp(tag, text_tag, tag_bytes) != 0)
            return yaml_error(node, builder->error,
                              "the only tag supported is !!str: write the value without a tag");
        node->plain = false;
    }
    remember_anchor(builder, token_text(builder, scalar->anchor),
                    (struct anchor){.node = node, .nodes = 1});
    return place(builder, node);
}

/* libfyaml marks what stands behind a quotation mark or an alias' star. */
static int column_ahead(struct fy_event *event)
{
    if (event->type == FYET_ALIAS)
        return 1;
    if (event->type != FYET_SCALAR || event->scalar.value == NULL)
        return 0;
    enum fy_scalar_style style = fy_token_scalar_style(event->scalar.value);
    return style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED ? 1 : 0;
}

static bool take_event(struct builder *builder, struct fy_event *event)
{
    const struct fy_mark *mark = fy_event_start_mark(event);
    if (mark != NULL) {
        builder->last = *mark;
        builder->last.column -= column_ahead(event);
    }
    if (builder->node_count >= NODES_MAX)
        return fail_here(builder, "too many values in one file: split it into several");
    switch (event->type) {
    case FYET_DOCUMENT_START:
        if (builder->document_count++ > 0)
            return fail_here(builder, "more than one YAML document: remove the \"---\" line");
        return true;
    case FYET_ALIAS:
        return place_alias(builder, event->alias.anchor);
    case FYET_SCALAR:
        return add_scalar(builder, &event->scalar);
    case FYET_SEQUENCE_START:
        return open_collection(builder, YAML_SEQUENCE, event->sequence_start.tag,
                               event->sequence_start.anchor);
    case FYET_MAPPING_START:
        return open_collection(builder, YAML_MAPPING, event->mapping_start.tag,
                               event->mapping_start.anchor);
    case FYET_SEQUENCE_END:
    case FYET_MAPPING_END:
        return close_collection(builder);
    case FYET_NONE:
    case FYET_STREAM_START:
    case FYET_STREAM_END:
    case FYET_DOCUMENT_END:
        return true;
    }
    return true;
}

/* What libfyaml found wrong: its first error is the cause, later ones follow from it. */
static bool fail_syntax(const char *source, struct fy_diag *diag, struct error *error)
{
    void *cursor = NULL;
    const struct fy_diag_error *first = fy_diag_errors_iterate(diag, &cursor);
    if (first == NULL)
        return error_set(error, "%s:1:1: not valid YAML", source);
    return error_set(error, "%s:%d:%d: not valid YAML: %s", source,
                     first->line > 0 ? first->line : 1, first->column > 0 ? first->column : 1,
                     first->msg);
}

/* YAML forbids control characters. */
static size_t character_bytes(const unsigned char *text, size_t bytes)
{
    bool control = text[0] < 0x20 && text[0] != '\t' && text[0] != '\n' && text[0] != '\r';
    return control ? 0 : utf8_character(text, bytes);
}

/* libfyaml takes what is not UTF-8 for the end of the text, silently. */
static bool characters_valid(const char *source, const char *text, size_t bytes,
                             struct error *error)
{
    unsigned line = 1, column = 1;
    for (size_t at = 0; at < bytes;) {
        const unsigned char *character = (const unsigned char *)text + at;
        size_t length = character_bytes(character, bytes - at);
        if (length == 0)
            return error_set(error,
                             "%s:%u:%u: byte 0x%02x is not UTF-8 text: save the file as UTF-8",
                             source, line, column, *character);
        line += *character == '\n';
        column = *character == '\n' ? 1 : column + 1;
        at += length;
    }
    return true;
}

static bool build(struct builder *builder, struct fy_parser *parser, struct fy_diag *diag)
{
    for (;;) {
        struct fy_event *event = fy_parser_parse(parser);
        if (event == NULL)
            break;
        bool taken = take_event(builder, event);
        fy_parser_event_free(parser, event);
        if (!taken)
            return false;
    }
    if (fy_parser_get_stream_error(parser) || fy_diag_got_error(diag))
        return fail_syntax(builder->source, diag, builder->error);
    return true;
}

bool yaml_parse(struct arena *arena, const char *source, const char *text, size_t bytes,
                const struct yaml_node **ret_root, struct error *error)
{
    source = arena_text(arena, source);
    if (bytes > LIMIT_CONFIG_BYTES)
        return error_set(error, "%s:1:1: larger than %d MiB: split it into several files", source,
                         LIMIT_CONFIG_BYTES >> 20);
    if (!characters_valid(source, text, bytes, error))
        return false;
    struct builder builder = {.arena = arena, .source = source, .error = error};
    struct fy_diag_cfg diag_cfg;
    fy_diag_cfg_default(&diag_cfg);
    diag_cfg.fp = NULL;
    diag_cfg.colorize = false;
    struct fy_diag *diag = fy_diag_create(&diag_cfg);
    xdone(diag != NULL);
    fy_diag_set_collect_errors(diag, true);
    struct fy_parse_cfg cfg = {.flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG, .diag = diag};
    struct fy_parser *parser = fy_parser_create(&cfg);
    xdone(parser != NULL);
    bool good = bytes == 0;
    if (bytes > 0)
        good = fy_parser_set_string(parser, text, bytes) == 0 ? build(&builder, parser, diag)
                                                              : fail_syntax(source, diag, error);
    if (good && builder.root == NULL) {
        builder.last = (struct fy_mark){0};
        struct yaml_node *empty = node_create(&builder, YAML_SCALAR);
        empty->text = "";
        empty->plain = true;
        builder.root = empty;
    }
    if (good)
        *ret_root = builder.root;
    free(builder.stack);
    fy_parser_destroy(parser);
    fy_diag_destroy(diag);
    return good;
}
