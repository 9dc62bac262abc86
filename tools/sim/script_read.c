/* SPDX-License-Identifier: Apache-2.0 */
/* A script's YAML. One table of keys: each has its reader and says which action it is, if any; a
 * rule has exactly one action. */
#include "tools/sim/script.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "config/value.h"

enum { SCRIPT_BYTES_MAX = 1 << 20, RANGES_MAX = 4096, NO_ACTION = -1 };

static const uint64_t longest_ns = 366ull * 24 * 3600 * NS_PER_S;

struct reading {
    struct arena *arena;
    uint64_t base_ns;
    const struct yaml_node *mapping; /* the rule's */
};

typedef bool read_fn(struct reading *reading, const struct yaml_node *node, struct rule *rule,
                     struct error *error);

static bool read_duration(const struct yaml_node *node, uint64_t *ret_ns, struct error *error)
{
    if (node->kind != YAML_SCALAR || !value_parse_duration(node->text, ret_ns))
        return yaml_error(node, error, "a duration is wanted, as 5ms, 1.5s or 2m");
    return *ret_ns <= longest_ns || yaml_error(node, error, "%s is longer than a year", node->text);
}

/* "1%" or 0.01, as a part of 2^64. */
static bool read_part(const struct yaml_node *node, uint64_t *ret, struct error *error)
{
    char text[64] = "";
    double value = -1;
    bool percent = false;
    if (node->kind == YAML_SCALAR && node->bytes < sizeof text) {
        memcpy(text, node->text, node->bytes);
        percent = node->bytes > 0 && text[node->bytes - 1] == '%';
        if (percent)
            text[node->bytes - 1] = 0;
    }
    if (!value_parse_double(text, &value))
        value = -1;
    if (percent)
        value /= 100;
    if (!(value >= 0 && value <= 1))
        return yaml_error(node, error, "a part is wanted, as 1%% or 0.01, from 0 to 100%%");
    *ret = value >= 1 ? UINT64_MAX : (uint64_t)(value * 18446744073709551616.0);
    return true;
}

static bool read_text(struct reading *reading, const struct yaml_node *node, const char *what,
                      const char **ret_text, struct error *error)
{
    if (node->kind != YAML_SCALAR || node->bytes == 0 || node->bytes > 200)
        return yaml_error(node, error, "%s is wanted, of 1 to 200 bytes", what);
    *ret_text = arena_copy(reading->arena, node->text, node->bytes);
    return true;
}

/* "7" or "0-99". */
static bool read_range(const struct yaml_node *node, struct server_range *ret, struct error *error)
{
    unsigned long first, last;
    char *end;
    if (node->kind != YAML_SCALAR || !isdigit((unsigned char)node->text[0]))
        return yaml_error(node, error, "server numbers are wanted, as 7 or \"0-99\"");
    first = last = strtoul(node->text, &end, 10);
    if (*end == '-' && isdigit((unsigned char)end[1]))
        last = strtoul(end + 1, &end, 10);
    if (*end != 0 || last > UINT32_MAX || first > last)
        return yaml_error(node, error,
                          "\"%.40s\" is no server number or range: write 7 or \"0-99\", counted "
                          "from 0",
                          node->text);
    *ret = (struct server_range){(uint32_t)first, (uint32_t)last};
    return true;
}

static bool read_servers(struct reading *reading, const struct yaml_node *node, struct rule *rule,
                         struct error *error)
{
    bool list = node->kind == YAML_SEQUENCE;
    size_t count = list ? node->count : 1;
    if (count == 0 || count > RANGES_MAX)
        return yaml_error(node, error, "1 to %d ranges are wanted", RANGES_MAX);
    struct server_range *ranges = arena_take(reading->arena, count * sizeof *ranges);
    for (size_t i = 0; i < count; i++)
        if (!read_range(list ? node->items[i] : node, &ranges[i], error))
            return false;
    rule->servers = ranges;
    rule->server_count = count;
    return true;
}

static bool read_share(struct reading *reading, const struct yaml_node *node, struct rule *rule,
                       struct error *error)
{
    (void)reading;
    return read_part(node, &rule->share, error);
}

static bool read_probability(struct reading *reading, const struct yaml_node *node,
                             struct rule *rule, struct error *error)
{
    (void)reading;
    return read_part(node, &rule->probability, error);
}

static bool read_name(struct reading *reading, const struct yaml_node *node, struct rule *rule,
                      struct error *error)
{
    return read_text(reading, node, "a name", &rule->name, error);
}

static bool read_statement(struct reading *reading, const struct yaml_node *node, struct rule *rule,
                           struct error *error)
{
    return read_text(reading, node, "a query's name or a pattern", &rule->statement, error);
}

static bool read_database(struct reading *reading, const struct yaml_node *node, struct rule *rule,
                          struct error *error)
{
    return read_text(reading, node, "a database's name or a pattern", &rule->database, error);
}

static bool read_from(struct reading *reading, const struct yaml_node *node, struct rule *rule,
                      struct error *error)
{
    uint64_t ns;
    if (!read_duration(node, &ns, error))
        return false;
    rule->from_ns = reading->base_ns + ns;
    return true;
}

static bool read_until(struct reading *reading, const struct yaml_node *node, struct rule *rule,
                       struct error *error)
{
    uint64_t ns;
    if (!read_duration(node, &ns, error))
        return false;
    rule->until_ns = reading->base_ns + ns;
    return true;
}

static bool read_latency(struct reading *reading, const struct yaml_node *node, struct rule *rule,
                         struct error *error)
{
    (void)reading;
    return latency_read(node, &rule->latency, error);
}

/* 42501, or "42501 permission denied for view pg_stat_wal". */
static bool read_error(struct reading *reading, const struct yaml_node *node, struct rule *rule,
                       struct error *error)
{
    size_t length = 0;
    const char *text = node->kind == YAML_SCALAR ? node->text : "";
    while (isdigit((unsigned char)text[length]) || isupper((unsigned char)text[length]))
        length++;
    bool good = length == 5 && (text[5] == 0 || (text[5] == ' ' && text[6] != 0));
    if (!good || node->bytes > 200)
        return yaml_error(node, error,
                          "an SQLSTATE is wanted, with or without a message, as 42501 or "
                          "\"55P03 canceling statement due to lock timeout\"");
    memcpy(rule->sqlstate, text, 5);
    rule->message =
        text[5] == 0 ? sqlstate_message(rule->sqlstate) : arena_text(reading->arena, text + 6);
    return true;
}

static bool read_wait(struct reading *reading, const struct yaml_node *node, struct rule *rule,
                      struct error *error)
{
    (void)reading;
    return read_duration(node, &rule->wait_ns, error);
}

static bool read_true(struct reading *reading, const struct yaml_node *node, struct rule *rule,
                      struct error *error)
{
    (void)reading;
    (void)rule;
    bool value;
    if (node->kind != YAML_SCALAR || !value_parse_bool(node->text, &value) || !value)
        return yaml_error(node, error, "only true is possible here: leave the key out instead");
    return true;
}

static bool read_deaf(struct reading *reading, const struct yaml_node *node, struct rule *rule,
                      struct error *error)
{
    if (yaml_find(reading->mapping, "hang") == NULL)
        return yaml_error(node, error, "`deaf` goes with `hang: true` only");
    if (node->kind != YAML_SCALAR || !value_parse_bool(node->text, &rule->deaf))
        return yaml_error(node, error, "true or false is wanted");
    return true;
}

static bool read_bytes(const struct yaml_node *node, uint64_t *ret, struct error *error)
{
    int64_t bytes;
    if (node->kind != YAML_SCALAR || !value_parse_bytes(node->text, &bytes) || bytes < 0 ||
        bytes > INT32_MAX)
        return yaml_error(node, error, "a number of bytes is wanted, as 100 or 4KiB, below 2GiB");
    *ret = (uint64_t)bytes;
    return true;
}

static bool read_reset(struct reading *reading, const struct yaml_node *node, struct rule *rule,
                       struct error *error)
{
    (void)reading;
    return read_bytes(node, &rule->bytes, error);
}

static bool read_slice(struct reading *reading, const struct yaml_node *node, struct rule *rule,
                       struct error *error)
{
    (void)reading;
    const struct yaml_node *bytes = NULL, *every = NULL;
    if (node->kind == YAML_MAPPING) {
        bytes = yaml_find(node, "bytes");
        every = yaml_find(node, "every");
    }
    if (bytes == NULL || every == NULL || node->count != 2)
        return yaml_error(node, error, "{bytes: 1, every: 1ms} is wanted");
    if (!read_bytes(bytes, &rule->bytes, error) || !read_duration(every, &rule->wait_ns, error))
        return false;
    return rule->bytes > 0 || yaml_error(bytes, error, "a slice has at least one byte");
}

static bool read_choice(const struct yaml_node *node, const char *const *choices, size_t count,
                        size_t *ret, struct error *error)
{
    char list[160] = "";
    const char *text = node->kind == YAML_SCALAR ? node->text : "";
    for (size_t i = 0; i < count; i++) {
        if (strcmp(text, choices[i]) == 0) {
            *ret = i;
            return true;
        }
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i > 0 ? ", " : "", choices[i]);
    }
    return yaml_error(node, error, "one of %s is wanted, not \"%.40s\"", list, text);
}

static bool read_refuse(struct reading *reading, const struct yaml_node *node, struct rule *rule,
                        struct error *error)
{
    (void)reading;
    static const char *const choices[] = {"full", "starting", "shutdown", "password",
                                          "no_database"};
    size_t index;
    if (!read_choice(node, choices, sizeof choices / sizeof choices[0], &index, error))
        return false;
    rule->refusal = (enum refusal)index;
    return true;
}

static bool read_for(struct reading *reading, const struct yaml_node *node, struct rule *rule,
                     struct error *error)
{
    if (yaml_find(reading->mapping, "failover") == NULL)
        return yaml_error(node, error, "`for` goes with `failover: true` only: use from and until");
    return read_duration(node, &rule->wait_ns, error);
}

static bool read_role(struct reading *reading, const struct yaml_node *node, struct rule *rule,
                      struct error *error)
{
    static const char *const choices[] = {"standby", "primary"};
    size_t index;
    if (yaml_find(reading->mapping, "failover") == NULL)
        return yaml_error(node, error, "`role` goes with `failover: true` only");
    if (!read_choice(node, choices, sizeof choices / sizeof choices[0], &index, error))
        return false;
    rule->role = index == 0 ? ROLE_STANDBY : ROLE_PRIMARY;
    return true;
}

static const struct {
    const char *key;
    read_fn *read;
    int action;
} keys[] = {
    {"name", read_name, NO_ACTION},
    {"servers", read_servers, NO_ACTION},
    {"share", read_share, NO_ACTION},
    {"statement", read_statement, NO_ACTION},
    {"database", read_database, NO_ACTION},
    {"from", read_from, NO_ACTION},
    {"until", read_until, NO_ACTION},
    {"probability", read_probability, NO_ACTION},
    {"deaf", read_deaf, NO_ACTION},
    {"for", read_for, NO_ACTION},
    {"role", read_role, NO_ACTION},
    {"latency", read_latency, RULE_LATENCY},
    {"error", read_error, RULE_ERROR},
    {"lock_wait", read_wait, RULE_LOCK_WAIT},
    {"hang", read_true, RULE_HANG},
    {"reset_after", read_reset, RULE_RESET_AFTER},
    {"close", read_true, RULE_CLOSE},
    {"slice", read_slice, RULE_SLICE},
    {"slow_start", read_wait, RULE_SLOW_START},
    {"refuse", read_refuse, RULE_REFUSE},
    {"failover", read_true, RULE_FAILOVER},
};

enum { KEYS = sizeof keys / sizeof keys[0] };

static bool read_key(struct reading *reading, size_t at, struct rule *rule, int *action,
                     struct error *error)
{
    const struct yaml_node *mapping = reading->mapping, *place = mapping->key_nodes[at];
    const char *names[KEYS];
    for (size_t i = 0; i < KEYS; i++) {
        names[i] = keys[i].key;
        if (strcmp(keys[i].key, mapping->keys[at]) != 0)
            continue;
        if (keys[i].action != NO_ACTION && *action != NO_ACTION)
            return yaml_error(place, error, "a rule has one action: make \"%s\" a rule of its own",
                              keys[i].key);
        if (keys[i].action != NO_ACTION)
            *action = keys[i].action;
        return keys[i].read(reading, mapping->items[at], rule, error);
    }
    const char *near = yaml_nearest(mapping->keys[at], names, KEYS);
    return yaml_error(place, error, "a rule has no key \"%.40s\"%s%s%s", mapping->keys[at],
                      near == NULL ? "" : ": did you mean \"", near == NULL ? "" : near,
                      near == NULL ? "" : "\"?");
}

static const char *action_name(int action)
{
    for (size_t i = 0; i < KEYS; i++)
        if (keys[i].action == action)
            return keys[i].key;
    return "?";
}

/* What only the whole rule shows. */
static bool settle_rule(const struct reading *reading, struct rule *rule, struct error *error)
{
    const struct yaml_node *node = reading->mapping;
    bool connection = rule->action == RULE_SLICE || rule->action == RULE_SLOW_START ||
                      rule->action == RULE_REFUSE || rule->action == RULE_FAILOVER;
    if (connection && rule->statement != NULL)
        return yaml_error(node, error, "%s is about connections: it takes no `statement`",
                          action_name((int)rule->action));
    if (rule->action == RULE_FAILOVER) {
        if (rule->until_ns != UINT64_MAX || rule->probability != UINT64_MAX ||
            rule->database != NULL)
            return yaml_error(node, error,
                              "a failover takes `servers`, `share`, `from`, `for` and `role`");
    }
    if (rule->until_ns <= rule->from_ns)
        return yaml_error(node, error, "`until` must be after `from`");
    if (rule->name == NULL)
        rule->name = arena_format(reading->arena, "%s:%u: %s", node->source, node->line,
                                  action_name((int)rule->action));
    return true;
}

static bool read_rule(struct reading *reading, const struct yaml_node *node, struct rule **ret_rule,
                      struct error *error)
{
    if (node->kind != YAML_MAPPING)
        return yaml_error(node, error, "a rule is a mapping, as {servers: 0-9, latency: 5ms}");
    struct rule *rule = arena_take(reading->arena, sizeof *rule);
    rule->share = rule->probability = rule->until_ns = UINT64_MAX;
    rule->from_ns = reading->base_ns;
    reading->mapping = node;
    int action = NO_ACTION;
    for (size_t i = 0; i < node->count; i++)
        if (!read_key(reading, i, rule, &action, error))
            return false;
    if (action == NO_ACTION)
        return yaml_error(node, error,
                          "the rule does nothing: give it one of latency, error, lock_wait, hang, "
                          "reset_after, close, slice, slow_start, refuse, failover");
    rule->action = (enum rule_action)action;
    *ret_rule = rule;
    return settle_rule(reading, rule, error);
}

/* The list of rules, and whether it comes behind those there are. */
static bool find_rules(const struct yaml_node *root, const struct yaml_node **ret_rules,
                       bool *ret_add, struct error *error)
{
    const struct yaml_node *rules = root;
    *ret_add = false;
    if (root->kind == YAML_MAPPING && root->count == 1) {
        rules = yaml_find(root, "rules");
        if (rules == NULL) {
            rules = yaml_find(root, "add");
            *ret_add = true;
        }
    }
    if (rules == NULL || rules->kind != YAML_SEQUENCE)
        return yaml_error(root, error,
                          "a list of rules is wanted, alone or under `rules:`; under `add:` it "
                          "comes behind the rules in force");
    *ret_rules = rules;
    return true;
}

static bool fill(struct script *script, const struct yaml_node *root, struct script *previous,
                 uint64_t base_ns, struct error *error)
{
    const struct yaml_node *rules = NULL;
    bool add;
    if (!find_rules(root, &rules, &add, error))
        return false;
    if (add && previous != NULL) {
        memcpy(script->rules, previous->rules, sizeof script->rules);
        script->count = previous->count;
    }
    if (script->count + rules->count > SCRIPT_RULES_MAX)
        return yaml_error(rules, error, "%zu rules are more than %d: use ranges of servers",
                          script->count + rules->count, SCRIPT_RULES_MAX);
    struct reading reading = {.arena = &script->arena, .base_ns = base_ns};
    for (size_t i = 0; i < rules->count; i++)
        if (!read_rule(&reading, rules->items[i], &script->rules[script->count++], error))
            return false;
    return true;
}

bool script_read(struct script **ret_script, const char *source, const char *text, size_t bytes,
                 struct script *previous, uint64_t base_ns, struct error *error)
{
    const struct yaml_node *root;
    struct script *script = xcalloc(1, sizeof *script);
    if (!yaml_parse(&script->arena, source, text, bytes, &root, error) ||
        !fill(script, root, previous, base_ns, error)) {
        script_destroy(&script);
        return false;
    }
    script->generation = previous == NULL ? 1 : previous->generation + 1;
    script->previous = previous;
    *ret_script = script;
    return true;
}

bool script_read_file(struct script **ret_script, const char *path, uint64_t base_ns,
                      struct error *error)
{
    char *text = xmalloc(SCRIPT_BYTES_MAX);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        error_set(error, "script %s: %s", path, strerror(errno));
        free(text);
        return false;
    }
    size_t bytes = fread(text, 1, SCRIPT_BYTES_MAX, file);
    bool good = bytes < SCRIPT_BYTES_MAX && !ferror(file);
    if (!good)
        error_set(error, "script %s: cannot be read, or has %d bytes or more", path,
                  SCRIPT_BYTES_MAX);
    fclose(file);
    good = good && script_read(ret_script, path, text, bytes, NULL, base_ns, error);
    free(text);
    return good;
}
