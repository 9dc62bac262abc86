/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "tools/sink/script.h"

/* Decides by the script what happens to connections and requests: no sockets, no clock; time and
 * randomness are arguments, so that tests run on simulated time. One thread. */
struct service;

/* Takes the script. */
struct service *service_create(struct script *script, uint64_t now_ns);
void service_destroy(struct service **service);

/* Takes another script, whose time begins now; counts begin anew, requests in flight stay so. */
void service_replace(struct service *service, struct script *script, uint64_t now_ns);

/* Enters the phase that is due; true when another one began. */
bool service_turn(struct service *service, uint64_t now_ns);

/* When service_turn() has something to do next; UINT64_MAX: never. */
uint64_t service_next_ns(const struct service *service);

const struct script_phase *service_phase(const struct service *service);

/* A request, from its head until its answer has left or its connection is gone. */
struct service_request {
    uint32_t phase, generation;
    const struct script_fault *fault; /* chosen by service_begin(); NULL: none */
    bool open, admitted;
};

struct service_head {
    uint64_t now_ns;
    uint64_t body_bytes; /* as sent; what is known of it when the head is there */
    bool reused;         /* not its connection's first request */
};
void service_begin(struct service *service, struct service_request *request,
                   const struct service_head *head);

struct service_body {
    uint64_t now_ns, wall_ns;
    uint64_t points, bytes; /* bytes as sent */
    int bad_status;         /* the body is refused with this status, whatever the script says; 0: it
                               is sound */
};

struct service_verdict {
    int status;
    bool over_limit;
    uint64_t delay_ns;                /* until the answer */
    const struct script_fault *fault; /* what else happens; NULL: nothing */
    const char *text;                 /* the answer's body; NULL: none */
    bool has_retry_after;
    char retry_after[RETRY_FORM_BYTES];
};

/* The whole body is there. */
void service_decide(struct service *service, struct service_request *request,
                    const struct service_body *body, struct service_verdict *ret_verdict);

/* The answer has left with this status, or (0) none will. Again: nothing. */
void service_end(struct service *service, struct service_request *request, int status);

/* What happened in a phase. */
struct service_stats {
    uint64_t entered; /* times */
    uint64_t ns;      /* so far */
    uint64_t requests, points;
    uint64_t answered[600], unanswered;
    uint64_t over_limit; /* requests refused by a limit or a full queue */
    uint64_t waited;     /* requests that had to wait for a worker */
    uint64_t peak_concurrency, peak_per_s;
    uint64_t fault_hits[SCRIPT_FAULTS_MAX], limit_hits[SCRIPT_LIMITS_MAX];
};

const struct script *service_script(const struct service *service);
const struct service_stats *service_stats(struct service *service, uint32_t phase, uint64_t now_ns);
uint32_t service_current(const struct service *service); /* index of the phase */
