/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <pthread.h>

#include "base/random.h"
#include "tools/sim/session.h"

/* The process: settings and what its threads share. */
enum sim_by { BY_ADDRESS, BY_PORT, BY_DATABASE };

struct sim_settings {
    const char *host;
    uint16_t port;
    uint32_t servers, threads;
    enum sim_by by;
    struct shape shape;
    enum auth_method auth;
    const char *password_file;
    bool tls;
    const char *cert_file, *key_file, *ca_out;
    const char *script_file, *admin_path, *report_file;
    enum loop_kind loop;
};

struct sim {
    struct sim_settings settings;
    struct fleet *fleet;
    struct auth auth;
    SSL_CTX *tls;                    /* NULL: none offered */
    _Atomic(struct script *) script; /* in force; NULL: none */
    atomic_bool stopping;
    uint64_t started_ns;
    int64_t wall_offset_us; /* PostgreSQL's clock (µs since 2000) = monotonic + this */
    struct serve *threads;
    uint32_t room; /* for connections: what the limit of open files leaves */
};

/* A thread: a net with everything of it. */
struct listener {
    struct serve *serve;
    uint32_t server; /* BY_PORT */
};

enum { MAIL_MAX = 64 };

/* Cancel requests that came to another thread; lost when there are too many, as they may be. */
struct mailbox {
    pthread_mutex_t lock;
    atomic_bool any;
    uint32_t count;
    struct {
        uint32_t pid, secret;
    } cancels[MAIL_MAX];
};

struct serve {
    struct sim *sim;
    uint32_t number;
    pthread_t thread;
    bool running;
    uint64_t now_ns; /* of the callback at hand */
    struct net *net;
    struct wheel *wheel;
    struct book *books; /* one per recording */
    struct listener *listeners;
    uint32_t listener_count;
    struct session **slots; /* by number; a process id is made of it */
    uint32_t slot_count, slot_capacity, slot_hint;
    struct prepared *nothing; /* the empty set of prepared statements */
    struct random random;
    const struct script *script; /* the one this thread goes by */
    uint64_t active;             /* rules in force */
    uint32_t epoch;              /* counts the changes of `active` */
    struct timer boundary;       /* the next change */
    _Atomic uint32_t generation; /* of `script`, for those who wait until all threads go by it */
    struct mailbox mailbox;
    struct tally tally;
};

/* The recordings that servers are of, and how many of each. */
enum { SIM_RECORDINGS_MAX = 64, SIM_SERVERS_MAX = 1 << 20 };
struct sim_recordings {
    struct recording *recordings[SIM_RECORDINGS_MAX];
    uint32_t weights[SIM_RECORDINGS_MAX];
    uint32_t count;
};

/* Everything of the process but the threads; takes the recordings. False: the error says why, and
 * sim_close() is still to be called. */
bool sim_open(struct sim *sim, const struct sim_settings *settings, struct sim_recordings *given,
              struct error *error);
/* Listens and starts the threads; *ret_port is the first port. */
bool sim_start(struct sim *sim, uint16_t *ret_port, struct error *error);
void sim_stop(struct sim *sim);  /* ends the threads; their counters stay */
void sim_close(struct sim *sim); /* frees all */

/* Puts a script in force, from any thread; takes it. */
void sim_adopt(struct sim *sim, struct script *script);

/* One thread's parts, for the process and for tests that bring a net of their own. */
void serve_init(struct serve *serve, struct sim *sim, uint32_t number);
void serve_fini(struct serve *serve);
void serve_adopt(struct serve *serve, uint64_t now_ns); /* the script, when there is a new one */
void serve_turn(struct serve *serve);                   /* one of the net's, and what else is due */

/* The place of a session among the slots, and of the session with that place. */
void serve_enlist(struct serve *serve, struct session *session);
void serve_delist(struct serve *serve, struct session *session);
uint32_t serve_pid(const struct session *session);
/* Finds the session and ends its wait, wherever it is. */
void serve_cancel(struct serve *serve, uint32_t pid, uint32_t secret);

/* The clock of all servers, µs since 2000-01-01. */
static inline int64_t serve_clock_us(const struct serve *serve, uint64_t now_ns)
{
    return (int64_t)(now_ns / 1000) + serve->sim->wall_offset_us;
}

/* admin.c: the Unix socket; thread 0's net. */
bool admin_listen(struct serve *serve, const char *path, struct error *error);
/* What a client of it says gets this answer, JSON to be freed. */
char *admin_answer(struct sim *sim, const char *text, size_t bytes, uint64_t now_ns);

/* report.c: JSON, to be freed. Any thread. */
char *report_make(struct sim *sim);
