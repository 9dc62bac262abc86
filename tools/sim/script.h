/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdatomic.h>

#include "base/arena.h"
#include "tools/sim/latency.h"

/* Behaviour on order: rules, read from YAML (docs/sim.md), each "where, when, what". A script never
 * changes once it is in force, but for the rules' counters; a new one replaces it as a whole. Rules
 * are few (one bit each in a mask), so that what applies to an execution is found by three ANDs. */
enum { SCRIPT_RULES_MAX = 64 };

enum rule_action {
    RULE_LATENCY,     /* the execution takes so long */
    RULE_ERROR,       /* … fails */
    RULE_LOCK_WAIT,   /* … waits for a lock for so long */
    RULE_HANG,        /* … never ends */
    RULE_RESET_AFTER, /* so many bytes of the answer leave, then the connection is reset */
    RULE_CLOSE,       /* the session is terminated */
    RULE_SLICE,       /* the connection's bytes leave in slices */
    RULE_SLOW_START,  /* authentication begins so late */
    RULE_REFUSE,      /* connections are refused */
    RULE_FAILOVER,    /* the server goes away and comes back with new statistics */
};

enum refusal {
    REFUSE_FULL,
    REFUSE_STARTING,
    REFUSE_SHUTDOWN,
    REFUSE_PASSWORD,
    REFUSE_NO_DATABASE,
};

enum rule_role { ROLE_KEEP, ROLE_STANDBY, ROLE_PRIMARY };

struct server_range {
    uint32_t first, last; /* both included */
};

struct rule {
    const char *name; /* as given, or its place and action */
    const struct server_range *servers;
    size_t server_count;              /* 0: all */
    uint64_t share;                   /* of 2^64 of the servers; UINT64_MAX: all */
    const char *statement, *database; /* globs; NULL: any */
    uint64_t from_ns, until_ns;       /* monotonic; `until_ns` UINT64_MAX: no end */
    uint64_t probability;             /* of 2^64 per execution or connection; UINT64_MAX: always */
    enum rule_action action;
    struct latency latency; /* RULE_LATENCY */
    char sqlstate[6];       /* RULE_ERROR */
    const char *message;
    uint64_t wait_ns; /* RULE_LOCK_WAIT, RULE_SLOW_START; RULE_SLICE: between slices */
    bool deaf;        /* RULE_HANG: to timeouts and to cancelling */
    enum refusal refusal;
    uint64_t bytes;      /* RULE_RESET_AFTER, RULE_SLICE */
    enum rule_role role; /* RULE_FAILOVER: what it is afterwards */
    _Atomic uint64_t hits;
    _Atomic bool done; /* RULE_FAILOVER: the servers are back */
};

struct script {
    struct arena arena;
    struct rule *rules[SCRIPT_RULES_MAX]; /* of this script's arena, or of an earlier one's */
    size_t count;
    uint32_t generation;     /* differs from that of every script before it */
    struct script *previous; /* whose rules may still be in use; destroyed with this one */
};

/* Reads a document: a list of rules, or {rules: […]}, which replace those of `previous`, or
 * {add: […]}, which come behind them. Times of new rules count from `base_ns`. Takes `previous`
 * (NULL: none) on success. Errors read "source:line:column: what, cure". */
bool script_read(struct script **ret_script, const char *source, const char *text, size_t bytes,
                 struct script *previous, uint64_t base_ns, struct error *error);
bool script_read_file(struct script **ret_script, const char *path, uint64_t base_ns,
                      struct error *error);
void script_destroy(struct script **script);

/* Whether the rule is about this server. The same seed gives the same servers for the same share,
 * and a larger share includes a smaller one. */
bool rule_of_server(const struct rule *rule, uint64_t seed, uint32_t server);

/* Shell patterns: * and ?. NULL is any text. */
bool rule_glob(const char *pattern, const char *text);

/* Rules in force at `now_ns`, one bit each; *ret_next_ns is when that changes. */
uint64_t script_active(const struct script *script, uint64_t now_ns, uint64_t *ret_next_ns);

/* What a client reads of an SQLSTATE that comes without a message. */
const char *sqlstate_message(const char *sqlstate);
