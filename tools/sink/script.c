/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a script: engine/config's option tables do the keys, this file what no table can say.
 * Before a table sees a phase, its `latency` is taken out (latency_read() reads it) and single
 * values of lists (`answer: 503`, `retry_after: rest`) become lists of one. */
#include "tools/sink/script.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "config/config.h"
#include "config/fill.h"
#include "config/value.h"
#include "tools/sink/script_table.h"

enum { FILE_BYTES_MAX = 4 << 20 };

/* What is read at the moment. */
struct reading {
    struct script *script;
    struct filler filler;
};

static bool is_list_key(const char *key)
{
    return strcmp(key, "answer") == 0 || strcmp(key, "retry_after") == 0;
}

static struct yaml_node *copy_node(struct arena *arena, const struct yaml_node *node)
{
    struct yaml_node *copy = arena_take(arena, sizeof *copy);
    *copy = *node;
    return copy;
}

static const struct yaml_node *wrap(struct arena *arena, const struct yaml_node *scalar)
{
    struct yaml_node *list = copy_node(arena, scalar);
    const struct yaml_node **items = arena_take(arena, sizeof *items);
    items[0] = scalar;
    list->kind = YAML_SEQUENCE;
    list->items = items;
    list->count = 1;
    return list;
}

/* The mapping without the key `left_out`, its single values of lists wrapped; anything else as it
 * is. */
static const struct yaml_node *rewrite(struct arena *arena, const struct yaml_node *node,
                                       const char *left_out)
{
    if (node->kind != YAML_MAPPING)
        return node;
    struct yaml_node *copy = copy_node(arena, node);
    const char **keys = arena_take(arena, (node->count + 1) * sizeof *keys);
    const struct yaml_node **key_nodes = arena_take(arena, (node->count + 1) * sizeof *key_nodes);
    const struct yaml_node **items = arena_take(arena, (node->count + 1) * sizeof *items);
    size_t count = 0;
    for (size_t i = 0; i < node->count; i++) {
        if (left_out != NULL && strcmp(node->keys[i], left_out) == 0)
            continue;
        bool single = node->items[i]->kind == YAML_SCALAR && !yaml_is_null(node->items[i]);
        keys[count] = node->keys[i];
        key_nodes[count] = node->key_nodes[i];
        items[count++] =
            single && is_list_key(node->keys[i]) ? wrap(arena, node->items[i]) : node->items[i];
    }
    copy->keys = keys;
    copy->key_nodes = key_nodes;
    copy->items = items;
    copy->count = count;
    return copy;
}

/* A phase's mapping as the table wants it: also its limits, its faults and `full` are rewritten. */
static const struct yaml_node *rewrite_phase(struct arena *arena, const struct yaml_node *node)
{
    const struct yaml_node *phase = rewrite(arena, node, "latency");
    if (phase->kind != YAML_MAPPING)
        return phase;
    const struct yaml_node **items = arena_take(arena, (phase->count + 1) * sizeof *items);
    for (size_t i = 0; i < phase->count; i++) {
        items[i] = phase->items[i];
        bool list = strcmp(phase->keys[i], "limits") == 0 || strcmp(phase->keys[i], "faults") == 0;
        if (strcmp(phase->keys[i], "full") == 0)
            items[i] = rewrite(arena, items[i], NULL);
        if (!list || items[i]->kind != YAML_SEQUENCE)
            continue;
        struct yaml_node *copy = copy_node(arena, items[i]);
        const struct yaml_node **members = arena_take(arena, (copy->count + 1) * sizeof *members);
        for (size_t k = 0; k < copy->count; k++)
            members[k] = rewrite(arena, copy->items[k], NULL);
        copy->items = members;
        items[i] = copy;
    }
    struct yaml_node *whole = copy_node(arena, phase);
    whole->items = items;
    return whole;
}

/* Where a key stands, else the mapping itself. */
static const struct yaml_node *place_of(const struct yaml_node *node, const char *key)
{
    const struct yaml_node *found = node->kind == YAML_MAPPING ? yaml_find(node, key) : NULL;
    return found != NULL ? found : node;
}

static bool refuse(struct reading *reading, const struct yaml_node *node, const char *key,
                   const char *what)
{
    return problem_add(&reading->filler.problems, place_of(node, key), "%s: %s", key, what);
}

static const struct retry_form *read_retry(struct reading *reading, const struct yaml_node *node,
                                           const struct text_list *texts)
{
    struct retry_form *forms =
        arena_take(&reading->script->arena, (texts->count + 1) * sizeof *forms);
    for (size_t i = 0; i < texts->count; i++)
        if (texts->items[i] != NULL && !retry_form_parse(texts->items[i], &forms[i]))
            problem_add(&reading->filler.problems, place_of(node, "retry_after"),
                        "retry_after: \"%.64s\" is none of %s", texts->items[i], retry_form_names);
    return forms;
}

static void read_refusal(struct reading *reading, const struct yaml_node *node,
                         struct script_refusal *refusal)
{
    refusal->retry = read_retry(reading, node, &refusal->retry_texts);
}

static void read_statuses(struct reading *reading, const struct yaml_node *node,
                          struct script_phase *phase)
{
    const struct text_list *texts = &phase->answer_texts;
    int *statuses = arena_take(&reading->script->arena, (texts->count + 1) * sizeof *statuses);
    if (texts->count == 0)
        refuse(reading, node, "answer", "write one status or more, such as 200 or [503, 200]");
    for (size_t i = 0; i < texts->count; i++) {
        int64_t status = 0;
        if (texts->items[i] == NULL)
            continue;
        if (!value_parse_int(texts->items[i], &status) || status < 200 || status > 599)
            problem_add(&reading->filler.problems, place_of(node, "answer"),
                        "answer: \"%.64s\" is no status: write one from 200 to 599",
                        texts->items[i]);
        statuses[i] = (int)status;
    }
    phase->statuses = statuses;
}

static void read_limit(struct reading *reading, const struct yaml_node *node,
                       struct script_limit *limit)
{
    int kinds = (limit->requests != 0) + (limit->points != 0) + (limit->bytes != 0) +
                (limit->concurrency != 0);
    if (kinds != 1)
        problem_add(&reading->filler.problems, node,
                    "limits: each has exactly one of requests, points, bytes and concurrency, "
                    "above 0");
    if (limit->requests < 0 || limit->points < 0 || limit->bytes < 0 || limit->burst < 0)
        problem_add(&reading->filler.problems, node, "limits: a limit is a number above 0");
    if (limit->burst != 0 && limit->window != WINDOW_BUCKET)
        refuse(reading, node, "burst", "only with window: bucket");
    read_refusal(reading, node, &limit->refusal);
}

static struct script_limit *add_short(struct reading *reading, struct script_limit *limit)
{
    fill_defaults(&reading->filler, &script_limit_table, limit);
    read_refusal(reading, &(struct yaml_node){.kind = YAML_SCALAR}, &limit->refusal);
    return limit;
}

/* Those of the list, and those of the four short keys. */
static void read_limits(struct reading *reading, const struct yaml_node *node,
                        struct script_phase *phase)
{
    const struct yaml_node *list = yaml_find(node, "limits");
    size_t count = phase->limit_list.count;
    if (count > SCRIPT_LIMITS_MAX - 4) {
        problem_add(&reading->filler.problems, list, "limits: at most %d", SCRIPT_LIMITS_MAX - 4);
        return;
    }
    struct script_limit *limits = arena_take(&reading->script->arena, (count + 4) * sizeof *limits);
    if (count > 0)
        memcpy(limits, phase->limit_list.items, count * sizeof *limits);
    for (size_t i = 0; i < count; i++)
        read_limit(reading, list->items[i], &limits[i]);
    if (phase->requests_per_s < 0 || phase->requests_per_minute < 0 || phase->points_per_minute < 0)
        problem_add(&reading->filler.problems, node, "a limit is a number above 0");
    if (phase->requests_per_s > 0)
        add_short(reading, &limits[count++])->requests = phase->requests_per_s;
    if (phase->requests_per_minute > 0) {
        struct script_limit *limit = add_short(reading, &limits[count++]);
        limit->requests = phase->requests_per_minute;
        limit->per_ns = 60 * NS_PER_S;
    }
    if (phase->points_per_minute > 0) {
        struct script_limit *limit = add_short(reading, &limits[count++]);
        limit->points = phase->points_per_minute;
        limit->per_ns = 60 * NS_PER_S;
    }
    if (phase->concurrency > 0)
        add_short(reading, &limits[count++])->concurrency = phase->concurrency;
    phase->limits = limits;
    phase->limit_count = count;
}

static void read_fault(struct reading *reading, const struct yaml_node *node,
                       struct script_fault *fault)
{
    enum { CUT_BYTES = 20, HUGE_BYTES = 5 << 20 };
    if (fault->kind == FAULT_REDIRECT && fault->location == NULL)
        refuse(reading, node, "location", "a redirect needs one, such as http://127.0.0.1:4319/");
    if (fault->kind == FAULT_REDIRECT &&
        (fault->refusal.status < 300 || fault->refusal.status > 399))
        fault->refusal.status = 307;
    if (fault->location != NULL && strpbrk(fault->location, "\r\n") != NULL)
        refuse(reading, node, "location", "a line end is no part of an address");
    if (fault->bytes == 0 && fault->kind == FAULT_CUT)
        fault->bytes = CUT_BYTES;
    if (fault->bytes == 0 && fault->kind == FAULT_HUGE)
        fault->bytes = HUGE_BYTES;
    read_refusal(reading, node, &fault->refusal);
}

static void read_faults(struct reading *reading, const struct yaml_node *node,
                        struct script_phase *phase)
{
    const struct yaml_node *list = yaml_find(node, "faults");
    struct script_fault *faults = phase->fault_list.items;
    if (phase->fault_list.count > SCRIPT_FAULTS_MAX) {
        problem_add(&reading->filler.problems, list, "faults: at most %d", SCRIPT_FAULTS_MAX);
        return;
    }
    for (size_t i = 0; i < phase->fault_list.count; i++)
        read_fault(reading, list->items[i], &faults[i]);
    phase->faults = faults;
    phase->fault_count = phase->fault_list.count;
}

static void read_phase(struct reading *reading, const struct yaml_node *given, size_t index,
                       struct script_phase *phase)
{
    struct arena *arena = &reading->script->arena;
    const struct yaml_node *node = rewrite_phase(arena, given);
    struct error error;
    fill_defaults(&reading->filler, &script_phase_table, phase);
    if (!fill(&reading->filler, "phases", node, &script_phase_table, phase))
        return;
    const struct yaml_node *latency =
        given->kind == YAML_MAPPING ? yaml_find(given, "latency") : NULL;
    if (latency != NULL && !yaml_is_null(latency) &&
        !latency_read(latency, &phase->latency, &error))
        problem_add_text(&reading->filler.problems, error.text);
    if (phase->name == NULL)
        phase->name = arena_format(arena, "phase %zu", index + 1);
    phase->retry = read_retry(reading, node, &phase->retry_texts);
    read_refusal(reading, place_of(node, "full"), &phase->full);
    read_statuses(reading, node, phase);
    if (node->kind != YAML_MAPPING) /* null: all defaults */
        return;
    if (phase->queue >= 0 && phase->workers == 0)
        refuse(reading, node, "queue", "only with workers");
    read_limits(reading, node, phase);
    read_faults(reading, node, phase);
}

static void check_ends(struct reading *reading, const struct yaml_node *list)
{
    const struct script *script = reading->script;
    for (size_t i = 0; i < script->phase_count; i++) {
        bool last = i + 1 == script->phase_count;
        if (script->phases[i].for_ns != 0 || (last && !script->repeat))
            continue;
        problem_add(&reading->filler.problems, list->items[i],
                    last ? "for: missing, as repeat begins anew after this phase: write 10s or so"
                         : "for: missing, so that the phases behind this one never come: write 10s "
                           "or so");
    }
}

static void read_root(struct reading *reading, const struct yaml_node *root)
{
    struct script *script = reading->script;
    const struct yaml_node *list = root;
    fill_defaults(&reading->filler, &script_table, script);
    if (root->kind != YAML_SEQUENCE) {
        if (!fill(&reading->filler, "script", rewrite(&script->arena, root, "phases"),
                  &script_table, script))
            return;
        list = root->kind == YAML_MAPPING ? yaml_find(root, "phases") : NULL;
    }
    if (list == NULL || list->kind != YAML_SEQUENCE || list->count == 0) {
        problem_add(&reading->filler.problems, list != NULL ? list : root,
                    "a list of phases is wanted, such as phases: [{for: 10s}, {answer: 503}]");
        return;
    }
    if (list->count > SCRIPT_PHASES_MAX) {
        problem_add(&reading->filler.problems, list, "phases: at most %d", SCRIPT_PHASES_MAX);
        return;
    }
    struct script_phase *phases = arena_take(&script->arena, list->count * sizeof *phases);
    script->phases = phases;
    script->phase_count = list->count;
    for (size_t i = 0; i < list->count; i++)
        read_phase(reading, list->items[i], i, &phases[i]);
    if (reading->filler.problems.count == 0)
        check_ends(reading, list);
}

bool script_read(struct script **ret_script, const char *source, const char *text, size_t bytes,
                 struct error *error)
{
    struct script *script = xcalloc(1, sizeof *script);
    struct reading reading = {.script = script, .filler = {&script->arena, {.error = error}}};
    const struct yaml_node *root;
    if (!yaml_parse(&script->arena, source, text, bytes, &root, error))
        goto fail;
    error->text[0] = '\0';
    read_root(&reading, root);
    if (!problems_finish(&reading.filler.problems))
        goto fail;
    *ret_script = script;
    return true;
fail:
    script_destroy(&script);
    return false;
}

bool script_read_file(struct script **ret_script, const char *path, struct error *error)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return error_set(error, "--script %s: %s", path, strerror(errno));
    char *text = xmalloc(FILE_BYTES_MAX + 1);
    size_t bytes = fread(text, 1, FILE_BYTES_MAX + 1, file);
    bool failed = ferror(file) != 0, good = false;
    fclose(file);
    if (failed || bytes > FILE_BYTES_MAX)
        error_set(error, "--script %s: %s", path,
                  failed ? "cannot be read" : "a script has at most 4 MiB");
    else
        good = script_read(ret_script, path, text, bytes, error);
    free(text);
    return good;
}

void script_destroy(struct script **ret_script)
{
    struct script *script = *ret_script;
    if (script == NULL)
        return;
    arena_fini(&script->arena);
    free(script);
    *ret_script = NULL;
}

bool script_wants_tls(const struct script *script)
{
    for (size_t i = 0; i < script->phase_count; i++)
        if (script->phases[i].tls != TLS_GOOD)
            return true;
    return false;
}

static void add_table(FILE *out, const char *heading, const struct option_table *table)
{
    char *text = config_reference_table(table);
    fprintf(out, "\n%s\n%s", heading, text);
    free(text);
}

char *script_reference(void)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    CHECK(out != NULL);
    add_table(out, "### A script", &script_table);
    fputs("| `phases` | list of phases | required | what happens, one after another |\n", out);
    add_table(out, "### A phase", &script_phase_table);
    fputs("| `latency` | distribution | `0s` | how long a request takes: `5ms`, `{fixed: 5ms}`, "
          "`{uniform: [1ms, 9ms]}`, `{normal: {mean: 5ms, sd: 1ms}}`, `{lognormal: {p50: 2ms, p99: "
          "50ms}}`, `{exponential: 5ms}` |\n",
          out);
    CHECK(fclose(out) == 0);
    return text;
}
