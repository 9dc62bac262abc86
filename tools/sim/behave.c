/* SPDX-License-Identifier: Apache-2.0 */
/* What the script says about a session. Session's thread. An execution asks three masks: which
 * rules are in force, which are about the session's server and database, which about the statement.
 * Only what is left after that costs anything. */
#include <string.h>

#include "base/clock.h"
#include "tools/sim/serve.h"

static const struct rule *rule_at(const struct session *session, uint64_t mask)
{
    return session->serve->script->rules[__builtin_ctzll(mask)];
}

/* The rule's own counter; shared by all threads. */
static void hit(const struct session *session, uint64_t mask)
{
    struct rule *rule = session->serve->script->rules[__builtin_ctzll(mask)];
    atomic_fetch_add_explicit(&rule->hits, 1, memory_order_relaxed);
}

static bool drawn(const struct session *session, const struct rule *rule)
{
    return rule->probability == UINT64_MAX ||
           random_next(&session->serve->random) < rule->probability;
}

static bool delays(enum rule_action action)
{
    return action == RULE_LATENCY || action == RULE_LOCK_WAIT || action == RULE_HANG;
}

static void set_slices(struct session *session, uint64_t slices)
{
    if (slices != 0) {
        const struct rule *rule = rule_at(session, slices);
        if (!session->sliced && !drawn(session, rule))
            return;
        if (!session->sliced)
            hit(session, slices);
        net_slice(session->conn, (uint32_t)rule->bytes, rule->wait_ns);
    } else if (session->sliced) {
        net_slice(session->conn, 0, 0);
    }
    session->sliced = slices != 0;
}

void behave_refresh(struct session *session)
{
    struct serve *serve = session->serve;
    const struct script *script = serve->script;
    const char *database = session->database;
    uint64_t rules = 0, slices = 0;
    bool keeps = false;
    session->epoch = serve->epoch;
    if (database == NULL)
        database = session->work == NULL ? NULL : session->work->database;
    for (size_t i = 0; script != NULL && i < script->count; i++) {
        const struct rule *rule = script->rules[i];
        if (!rule_of_server(rule, serve->sim->settings.shape.seed, session->server) ||
            (rule->database != NULL && (database == NULL || !rule_glob(rule->database, database))))
            continue;
        uint64_t bit = 1ull << i;
        rules |= bit;
        if ((serve->active & bit) == 0)
            continue;
        keeps = keeps || delays(rule->action);
        if (rule->action == RULE_SLICE && slices == 0)
            slices = bit;
    }
    session->rules = rules;
    set_slices(session, slices);
    if (session->keeps && !keeps)
        session_flush(session);
    session->keeps = keeps;
}

/* Rules whose pattern the statement's name matches. */
static uint64_t rules_of(const struct session *session, struct command *command)
{
    const struct script *script = session->serve->script;
    if (command->generation == script->generation)
        return command->rules;
    uint64_t rules = 0;
    for (size_t i = 0; i < script->count; i++)
        if (rule_glob(script->rules[i]->statement, form_name(command->form)))
            rules |= 1ull << i;
    command->generation = script->generation;
    command->rules = rules;
    return rules;
}

static void fail(struct verdict *verdict, const char *sqlstate, const char *message)
{
    verdict->kind = VERDICT_ERROR;
    memcpy(verdict->sqlstate, sqlstate, 6);
    verdict->message = message;
}

/* What comes first ends a wait: the rule, or a timeout of the session's. */
static void apply_timeouts(const struct session *session, struct verdict *verdict, uint64_t wait_ns,
                           bool lock)
{
    uint32_t statement_ms = session->local_statement_ms != NO_LIMIT ? session->local_statement_ms
                                                                    : session->statement_timeout_ms;
    uint32_t lock_ms =
        session->local_lock_ms != NO_LIMIT ? session->local_lock_ms : session->lock_timeout_ms;
    if (!verdict->deaf && lock && lock_ms != 0 && lock_ms * NS_PER_MS < wait_ns) {
        wait_ns = lock_ms * NS_PER_MS;
        fail(verdict, "55P03", sqlstate_message("55P03"));
    }
    if (!verdict->deaf && statement_ms != 0 && statement_ms * NS_PER_MS < wait_ns) {
        wait_ns = statement_ms * NS_PER_MS;
        fail(verdict, "57014", sqlstate_message("57014"));
    }
    if (wait_ns == 0)
        return;
    uint64_t now_ns = session->serve->now_ns;
    verdict->due_ns = wait_ns < UINT64_MAX - now_ns ? now_ns + wait_ns : UINT64_MAX;
}

/* True: the rule decides, and those behind it are not asked. */
static bool apply(const struct session *session, const struct rule *rule, struct verdict *verdict,
                  uint64_t *wait_ns, bool *lock)
{
    switch (rule->action) {
    case RULE_LATENCY:
        *wait_ns += latency_draw(&rule->latency, &session->serve->random);
        return false;
    case RULE_ERROR:
        fail(verdict, rule->sqlstate, rule->message);
        return true;
    case RULE_LOCK_WAIT:
        *wait_ns += rule->wait_ns;
        *lock = true;
        return true;
    case RULE_HANG:
        *wait_ns = UINT64_MAX;
        verdict->hang = rule;
        verdict->deaf = rule->deaf;
        return true;
    case RULE_RESET_AFTER:
        verdict->kind = VERDICT_CUT;
        verdict->cut_bytes = rule->bytes;
        return true;
    case RULE_CLOSE:
        verdict->kind = VERDICT_CLOSE;
        return true;
    case RULE_SLICE:
    case RULE_SLOW_START:
    case RULE_REFUSE:
    case RULE_FAILOVER:
        break;
    }
    return false;
}

static bool of_execution(enum rule_action action)
{
    return action <= RULE_CLOSE;
}

struct verdict behave_execution(struct session *session, struct command *command)
{
    struct verdict verdict = {.kind = VERDICT_ANSWER};
    uint64_t mask = session->serve->active & session->rules;
    if (mask == 0)
        return verdict;
    mask &= rules_of(session, command);
    uint64_t wait_ns = 0;
    bool lock = false;
    for (; mask != 0; mask &= mask - 1) {
        const struct rule *rule = rule_at(session, mask);
        if (!of_execution(rule->action) || !drawn(session, rule))
            continue;
        hit(session, mask);
        if (apply(session, rule, &verdict, &wait_ns, &lock))
            break;
    }
    apply_timeouts(session, &verdict, wait_ns, lock);
    return verdict;
}

uint64_t behave_slow_start(struct session *session)
{
    uint64_t mask = session->serve->active & session->rules;
    for (; mask != 0; mask &= mask - 1) {
        const struct rule *rule = rule_at(session, mask);
        if (rule->action != RULE_SLOW_START || !drawn(session, rule))
            continue;
        hit(session, mask);
        return rule->wait_ns;
    }
    return 0;
}

const struct rule *behave_refusal(struct session *session, bool authenticated)
{
    if (session->epoch != session->serve->epoch)
        behave_refresh(session);
    uint64_t mask = session->serve->active & session->rules;
    for (; mask != 0; mask &= mask - 1) {
        const struct rule *rule = rule_at(session, mask);
        bool away = rule->action == RULE_FAILOVER && !authenticated &&
                    !atomic_load_explicit(&rule->done, memory_order_acquire);
        bool refuses =
            rule->action == RULE_REFUSE && authenticated == (rule->refusal == REFUSE_NO_DATABASE);
        if (!away && (!refuses || !drawn(session, rule)))
            continue;
        hit(session, mask);
        return rule;
    }
    return NULL;
}
