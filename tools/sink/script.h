/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pgweir/component.h>

#include "base/arena.h"
#include "tools/sim/latency.h"
#include "tools/sink/retry_form.h"

/* How the sink behaves, as data: phases one after another, each with what it does to connections
 * and requests. Read from YAML once, immutable after that. The keys are in the option tables of
 * script.c, from which docs/sink.md's reference is printed. */

enum script_connections {
    CONNECTIONS_ACCEPT,
    CONNECTIONS_REFUSE,    /* nobody listens; open ones are reset */
    CONNECTIONS_RESET,     /* accepted, then reset; open ones too */
    CONNECTIONS_BLACKHOLE, /* accepted, read, never answered */
};

enum script_tls {
    TLS_GOOD,
    TLS_EXPIRED,    /* a certificate that has expired */
    TLS_WRONG_HOST, /* … for another host */
    TLS_UNTRUSTED,  /* … of an authority that nobody knows */
    TLS_ABORT,      /* a reset in the middle of the handshake */
    TLS_PLAIN,      /* an answer that is no TLS */
};

enum script_window { WINDOW_ALIGNED, WINDOW_BUCKET };

/* What is refused, and how. */
struct script_refusal {
    int64_t status;
    struct text_list retry_texts;
    const struct retry_form *retry; /* of retry_texts, used in turn */
};

/* A limit nobody is told of; exactly one of the first four is set. */
struct script_limit {
    double requests, points, bytes; /* in `per_ns` */
    int64_t concurrency;            /* requests in flight */
    uint64_t per_ns;
    int window; /* enum script_window */
    double burst;
    struct script_refusal refusal;
};

enum script_fault_kind {
    FAULT_STATUS,    /* answers with `status` */
    FAULT_LOSE,      /* takes the body, then gives no answer */
    FAULT_RESET,     /* resets while the body comes */
    FAULT_STALL,     /* stops reading while the body comes */
    FAULT_CUT,       /* takes the body, resets in the middle of the answer */
    FAULT_PARTIAL,   /* partial success */
    FAULT_SLOW,      /* the answer leaves in slices */
    FAULT_GARBAGE,   /* takes the body, answers with bytes that are no HTTP */
    FAULT_HUGE,      /* a very large answer */
    FAULT_REDIRECT,  /* to `location` */
    FAULT_BLACKHOLE, /* reads the body, does not take it, never answers */
    FAULT_CLOSE,     /* closes behind a good answer, without having said so */
    FAULT_KIND_COUNT,
};

enum script_on { ON_ANY, ON_FRESH, ON_REUSED };
enum script_how { HOW_CLOSE, HOW_RESET, HOW_NEVER };

struct script_fault {
    int kind;     /* enum script_fault_kind */
    int on;       /* enum script_on */
    double share; /* of the requests it could apply to */
    int64_t every, first, after;
    int64_t larger_than; /* bytes of the body as sent */
    struct script_refusal refusal;
    const char *text; /* of an answer, of a partial success; NULL: none */
    int64_t bytes;
    int64_t rejected;
    int64_t slice_bytes;
    uint64_t interval_ns;
    const char *location;
    int how; /* enum script_how */
};

struct script_phase {
    const char *name;
    uint64_t for_ns; /* 0: for ever */
    int connections; /* enum script_connections */
    int tls;         /* enum script_tls */
    bool drop_connections;
    struct latency latency;
    int64_t workers; /* 0: any number */
    int64_t queue;   /* requests that may wait for a worker; -1: any number */
    struct script_refusal full;
    struct text_list answer_texts, retry_texts;
    const int *statuses; /* of answer_texts, in turn, the last one for ever */
    const struct retry_form *retry;
    double requests_per_s, requests_per_minute, points_per_minute;
    int64_t concurrency;
    struct group_list limit_list, fault_list;
    const struct script_limit *limits; /* those of limit_list and of the four keys above */
    size_t limit_count;
    const struct script_fault *faults;
    size_t fault_count;
};

enum { SCRIPT_LIMITS_MAX = 16, SCRIPT_FAULTS_MAX = 32, SCRIPT_PHASES_MAX = 1024 };

enum script_begin { BEGIN_START, BEGIN_REQUEST };

struct script {
    struct arena arena;
    int64_t seed;
    int begin;   /* enum script_begin: what phases' time counts from */
    bool repeat; /* from the first phase again after the last */
    struct group_list phase_list;
    const struct script_phase *phases;
    size_t phase_count;
};

/* Errors read "source:line:column: what, cure". */
bool script_read(struct script **ret_script, const char *source, const char *text, size_t bytes,
                 struct error *error);
bool script_read_file(struct script **ret_script, const char *path, struct error *error);
void script_destroy(struct script **script);

/* Whether any phase has a TLS fault. */
bool script_wants_tls(const struct script *script);

const char *script_fault_name(enum script_fault_kind kind);

/* Markdown tables of all keys, to be freed. */
char *script_reference(void);
