/* SPDX-License-Identifier: Apache-2.0 */
/* A script's life and the questions asked of it; script_read.c reads it. Read by every thread. */
#include "tools/sim/script.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

void script_destroy(struct script **script_place)
{
    struct script *script = *script_place;
    while (script != NULL) {
        struct script *previous = script->previous;
        arena_fini(&script->arena);
        free(script);
        script = previous;
    }
    *script_place = NULL;
}

bool rule_of_server(const struct rule *rule, uint64_t seed, uint32_t server)
{
    bool listed = rule->server_count == 0;
    for (size_t i = 0; i < rule->server_count && !listed; i++)
        listed = server >= rule->servers[i].first && server <= rule->servers[i].last;
    if (!listed || rule->share == UINT64_MAX)
        return listed;
    struct random lot = {.state = seed ^ (uint64_t)server << 20};
    return random_next(&lot) < rule->share;
}

bool rule_glob(const char *pattern, const char *text)
{
    return pattern == NULL || fnmatch(pattern, text, 0) == 0;
}

uint64_t script_active(const struct script *script, uint64_t now_ns, uint64_t *ret_next_ns)
{
    uint64_t active = 0;
    *ret_next_ns = UINT64_MAX;
    for (size_t i = 0; script != NULL && i < script->count; i++) {
        const struct rule *rule = script->rules[i];
        uint64_t next_ns = UINT64_MAX;
        if (now_ns < rule->from_ns) {
            next_ns = rule->from_ns;
        } else if (now_ns < rule->until_ns) {
            active |= 1ull << i;
            next_ns = rule->until_ns;
        }
        if (next_ns < *ret_next_ns)
            *ret_next_ns = next_ns;
    }
    return active;
}

static const struct {
    const char *sqlstate, *message;
} messages[] = {
    {"0A000", "feature not supported"},
    {"22012", "division by zero"},
    {"23505", "duplicate key value violates unique constraint"},
    {"28P01", "password authentication failed"},
    {"3D000", "database does not exist"},
    {"40001", "could not serialize access due to concurrent update"},
    {"40P01", "deadlock detected"},
    {"42501", "permission denied"},
    {"42703", "column does not exist"},
    {"42883", "function does not exist"},
    {"42P01", "relation does not exist"},
    {"53100", "could not extend file: No space left on device"},
    {"53200", "out of memory"},
    {"53300", "sorry, too many clients already"},
    {"55000", "object is not in prerequisite state"},
    {"55P03", "canceling statement due to lock timeout"},
    {"57014", "canceling statement due to statement timeout"},
    {"57P01", "terminating connection due to administrator command"},
    {"57P02", "terminating connection because of crash of another server process"},
    {"57P03", "the database system is starting up"},
    {"58030", "could not read block: Input/output error"},
    {"XX000", "internal error"},
    {"XX001", "invalid page in block"},
};

const char *sqlstate_message(const char *sqlstate)
{
    for (size_t i = 0; i < sizeof messages / sizeof messages[0]; i++)
        if (strcmp(messages[i].sqlstate, sqlstate) == 0)
            return messages[i].message;
    return "error on order";
}
