/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "tools/net/net.h"
#include "tools/sim/auth.h"
#include "tools/sim/fleet.h"
#include "tools/sim/prepared.h"
#include "tools/sim/script.h"
#include "tools/sim/tally.h"
#include "tools/sim/wire.h"

/* One client's session: PostgreSQL's protocol 3.0 and 3.2 (its documentation's chapter 55),
 * server's side. Everything here runs on the thread of `serve`. 100,000 sessions must fit, so what
 * only some of them need for some time is apart (struct session_work). */
struct serve;

enum session_state {
    SESSION_STARTUP,  /* awaits SSLRequest, GSSENCRequest, CancelRequest or StartupMessage */
    SESSION_SLOW,     /* has its StartupMessage; a script delays the answer */
    SESSION_PASSWORD, /* awaits the password */
    SESSION_SASL,     /* awaits SASLInitialResponse */
    SESSION_PROOF,    /* awaits SASLResponse */
    SESSION_READY,    /* reads requests */
    SESSION_WAITING,  /* an execution takes its time; its message is kept by the net */
    SESSION_SKIPPING, /* an error: reads up to the next Sync */
    SESSION_ENDING,   /* the last bytes leave; what comes is dropped */
    SESSION_STATES
};

/* What becomes of one execution. */
enum verdict_kind { VERDICT_ANSWER, VERDICT_ERROR, VERDICT_CUT, VERDICT_CLOSE };

struct verdict {
    enum verdict_kind kind;
    bool deaf; /* while it waits: not to be cancelled */
    char sqlstate[6];
    const char *message;
    const struct rule *hang; /* it waits for this rule's end; NULL: it does not */
    uint64_t cut_bytes;
    uint64_t due_ns; /* 0: at once; UINT64_MAX: never */
};

struct portal {
    struct command *command; /* NULL: there is none */
    uint8_t *codes;          /* result formats as in Bind; NULL: `few` holds them */
    uint16_t count;
    uint8_t few[4];
};

struct named_portal {
    struct named_portal *next;
    struct portal portal;
    char name[];
};

struct session_work {
    struct session *session;
    struct timer timer; /* authentication's end, a delay's end, an ending's end */
    struct verdict verdict;
    bool decided;        /* `verdict` is that of the execution at hand */
    size_t query_offset; /* how much of the simple query at hand is done */
    struct named_portal *portals;
    struct scram *scram;
    uint8_t *held; /* answers kept back until Sync, as PostgreSQL does */
    size_t held_count, held_capacity;
    uint8_t *startup; /* the StartupMessage's parameters, until authentication is over */
    size_t startup_bytes;
    char *database; /* as asked for, until authentication is over */
};

/* One recording as a thread serves it. */
struct book {
    const struct recording *recording;
    struct form_book *forms;
    struct command_table commands;
};

enum { NO_LIMIT = UINT32_MAX };

struct session {
    struct serve *serve;
    struct net_conn *conn;
    struct book *book;
    struct life *life;
    const char *database; /* of the fleet; NULL before the start-up is over */
    struct prepared *prepared;
    struct command *unnamed;
    struct portal portal; /* the unnamed one */
    struct session_work *work;
    uint64_t rules; /* that are about this server and database */
    uint32_t epoch; /* serve->epoch that `rules` and `keeps` are of */
    uint32_t server, slot, secret;
    uint32_t kept; /* bytes the net keeps for us: told again with more behind */
    uint32_t statement_timeout_ms, lock_timeout_ms; /* 0: none */
    uint32_t local_statement_ms, local_lock_ms;     /* in this transaction; NO_LIMIT: as above */
    uint32_t queued_values;                         /* in answers not yet with the kernel */
    uint32_t sent_values;       /* in answers with the kernel, not known to have arrived */
    uint8_t state, transaction; /* 'I', 'T', 'E' */
    bool recorded;              /* a recorded statement was executed since the last Sync */
    bool keeps;                 /* answers go to work->held */
    bool sliced;
    bool simple;  /* within a simple query */
    bool goodbye; /* Terminate came: the end of the connection tells what was read */
    bool minor2;  /* protocol 3.2 */
};

extern const struct net_handler session_handler; /* the listener's owner is a struct listener */

/* -- session.c: life and output -- */
struct session_work *session_work(struct session *session);
void session_enter(struct session *session, enum session_state state);
void portal_fini(struct portal *portal);
void session_drop_portals(struct session *session);
void session_rest(struct session *session); /* gives back the work that is not needed any more */
void session_arm(struct session *session, uint64_t deadline_ns);
void session_resume(struct session *session); /* the kept bytes come again */

uint8_t *session_room(struct session *session, size_t count);
void session_wrote(struct session *session, size_t count);
void session_send(struct session *session, const void *bytes, size_t count);
void session_flush(struct session *session);

/* A message of type and body. */
void session_message(struct session *session, char type, const void *body, size_t count);
void session_tag(struct session *session, const char *tag);
void session_ready(struct session *session); /* ReadyForQuery */
/* ERROR; fails the transaction block there is, and in the extended protocol skips to the next Sync.
 */
void session_error(struct session *session, const char *sqlstate, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* FATAL: the session ends behind it. */
void session_fatal(struct session *session, const char *sqlstate, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The client's Terminate: waits for its end. */
void session_goodbye(struct session *session);
/* 57P01, as pg_terminate_backend() does. */
void session_terminate(struct session *session);
/* The rule it hangs by is no longer in force: it goes on. */
void session_thaw(struct session *session);
/* Ends a wait with 57014; nothing when there is none to end. */
void session_cancel(struct session *session);

/* -- session_start.c: up to the first ReadyForQuery. Bytes consumed; 0: more are wanted. -- */
size_t session_startup(struct session *session, const uint8_t *bytes, size_t count);
size_t session_authenticate(struct session *session, const uint8_t *bytes, size_t count);
void session_begin(struct session *session); /* after SESSION_SLOW */

/* -- session_query.c: requests. Bytes consumed; 0: more are wanted, or the session waits. -- */
size_t session_request(struct session *session, const uint8_t *bytes, size_t count);

/* -- session_execute.c -- */
enum outcome {
    OUTCOME_DONE,
    OUTCOME_FAILED, /* an error was sent */
    OUTCOME_WAITS,  /* do it again when session_resume() says so */
    OUTCOME_ENDED,  /* the session is over */
};
enum outcome session_execute(struct session *session, struct command *command,
                             struct form_formats formats, bool describe);
/* RowDescription or NoData. */
void session_describe(struct session *session, const struct command *command,
                      struct form_formats formats);
/* What ends with the transaction, where none goes on. */
void session_end_transaction(struct session *session);
void session_set(struct session *session, const char *name, const char *value, bool local);

/* -- behave.c: the script -- */
/* Brings `rules` up to date. */
void behave_refresh(struct session *session);
/* What happens to this execution; draws, and counts the rules that hit. */
struct verdict behave_execution(struct session *session, struct command *command);
/* Connections: how late authentication begins, and why it is refused (NULL: it is not), before it
 * or, for want of a database, behind it. */
uint64_t behave_slow_start(struct session *session);
const struct rule *behave_refusal(struct session *session, bool authenticated);
