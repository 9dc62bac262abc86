/* SPDX-License-Identifier: Apache-2.0 */
/* One thread of the simulator: its net, its forms, its sessions, and the script it goes by. Threads
 * meet in the fleet (steps), in the rules' counters, in the mailbox, and in flags.
 *
 * A failover is every thread's to begin (each ends its own sessions) and the first thread's to
 * finish: it gives the servers their new lives and then says so; until then the others refuse. */
#include "tools/sim/serve.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"

enum {
    PID_FIRST = 1000,
    SLOTS_AT_START = 256,
    TURN_MS = 20, /* what nobody wakes a thread for is looked at so often */
};

/* -- sessions -- */

static void grow_slots(struct serve *serve)
{
    uint32_t capacity = serve->slot_capacity == 0 ? SLOTS_AT_START : serve->slot_capacity * 2;
    serve->slots = xrealloc(serve->slots, capacity * sizeof(struct session *));
    for (uint32_t i = serve->slot_capacity; i < capacity; i++)
        serve->slots[i] = NULL;
    serve->slot_hint = serve->slot_capacity;
    serve->slot_capacity = capacity;
}

/* Round robin, so that a process id does not come again soon. */
void serve_enlist(struct serve *serve, struct session *session)
{
    if (serve->slot_count * 2 >= serve->slot_capacity)
        grow_slots(serve);
    uint32_t slot = serve->slot_hint;
    while (serve->slots[slot % serve->slot_capacity] != NULL)
        slot++;
    session->slot = slot % serve->slot_capacity;
    serve->slots[session->slot] = session;
    serve->slot_hint = session->slot + 1;
    serve->slot_count++;
    counter_set(&serve->tally.open, serve->slot_count);
}

void serve_delist(struct serve *serve, struct session *session)
{
    CHECK(serve->slots[session->slot] == session);
    serve->slots[session->slot] = NULL;
    serve->slot_count--;
    counter_set(&serve->tally.open, serve->slot_count);
}

uint32_t serve_pid(const struct session *session)
{
    const struct serve *serve = session->serve;
    return PID_FIRST + session->slot * serve->sim->settings.threads + serve->number;
}

/* -- cancel requests -- */

static void cancel_here(struct serve *serve, uint32_t pid, uint32_t secret)
{
    uint32_t slot = (pid - PID_FIRST) / serve->sim->settings.threads;
    struct session *session = slot < serve->slot_capacity ? serve->slots[slot] : NULL;
    if (session != NULL && session->secret == secret)
        session_cancel(session);
}

void serve_cancel(struct serve *serve, uint32_t pid, uint32_t secret)
{
    struct sim *sim = serve->sim;
    if (pid < PID_FIRST)
        return;
    struct serve *other = &sim->threads[(pid - PID_FIRST) % sim->settings.threads];
    if (other == serve) {
        cancel_here(serve, pid, secret);
        return;
    }
    struct mailbox *box = &other->mailbox;
    pthread_mutex_lock(&box->lock);
    if (box->count < MAIL_MAX) {
        box->cancels[box->count].pid = pid;
        box->cancels[box->count++].secret = secret;
        atomic_store_explicit(&box->any, true, memory_order_release);
    }
    pthread_mutex_unlock(&box->lock);
}

static void read_mail(struct serve *serve)
{
    struct mailbox *box = &serve->mailbox;
    if (!atomic_load_explicit(&box->any, memory_order_acquire))
        return;
    pthread_mutex_lock(&box->lock);
    for (uint32_t i = 0; i < box->count; i++)
        cancel_here(serve, box->cancels[i].pid, box->cancels[i].secret);
    box->count = 0;
    atomic_store_explicit(&box->any, false, memory_order_release);
    pthread_mutex_unlock(&box->lock);
}

/* -- the script -- */

/* All sessions of the rule's servers; or, where the servers are back already, those of the life
 * before. */
static void end_sessions(struct serve *serve, struct rule *rule, bool back)
{
    struct fleet *fleet = serve->sim->fleet;
    uint64_t seed = serve->sim->settings.shape.seed, ended = 0;
    for (uint32_t i = 0; i < serve->slot_capacity; i++) {
        struct session *session = serve->slots[i];
        if (session == NULL || session->state == SESSION_ENDING || session->life == NULL ||
            !rule_of_server(rule, seed, session->server) ||
            (back && session->life == fleet_life(fleet, session->server)))
            continue;
        session_terminate(session);
        ended++;
    }
    atomic_fetch_add_explicit(&rule->hits, ended, memory_order_relaxed);
}

/* New lives for the rule's servers. */
static void finish_failover(struct serve *serve, struct rule *rule, uint64_t now_ns)
{
    struct sim *sim = serve->sim;
    const bool standby = rule->role == ROLE_STANDBY;
    int64_t start_us = serve_clock_us(serve, now_ns);
    for (uint32_t server = 0; server < fleet_servers(sim->fleet); server++)
        if (rule_of_server(rule, sim->settings.shape.seed, server))
            fleet_fail_over(sim->fleet, server, start_us,
                            rule->role == ROLE_KEEP ? NULL : &standby);
    atomic_store_explicit(&rule->done, true, memory_order_release);
}

/* Failovers that begin now, and those that are due to end; the time of the next one. */
static uint64_t run_failovers(struct serve *serve, uint64_t before, uint64_t now_ns)
{
    const struct script *script = serve->script;
    uint64_t next_ns = UINT64_MAX;
    for (size_t i = 0; script != NULL && i < script->count; i++) {
        struct rule *rule = script->rules[i];
        if (rule->action != RULE_FAILOVER || (serve->active >> i & 1) == 0)
            continue;
        bool back = atomic_load_explicit(&rule->done, memory_order_acquire);
        if ((before >> i & 1) == 0)
            end_sessions(serve, rule, back);
        uint64_t end_ns = rule->from_ns + rule->wait_ns;
        if (back || serve->number != 0)
            continue;
        if (now_ns >= end_ns)
            finish_failover(serve, rule, now_ns);
        else if (end_ns < next_ns)
            next_ns = end_ns;
    }
    return next_ns;
}

/* Brings `active` up to date; `known`: the rules that were in force before, by their bits now. */
static void refresh(struct serve *serve, uint64_t known, uint64_t now_ns)
{
    uint64_t next_ns;
    serve->now_ns = now_ns;
    serve->active = script_active(serve->script, now_ns, &next_ns);
    serve->epoch++;
    uint64_t failover_ns = run_failovers(serve, known, now_ns);
    if (failover_ns < next_ns)
        next_ns = failover_ns;
    if (next_ns == UINT64_MAX)
        wheel_cancel(serve->wheel, &serve->boundary);
    else
        wheel_arm(serve->wheel, &serve->boundary, next_ns);
    for (uint32_t i = 0; i < serve->slot_capacity; i++) {
        if (serve->slots[i] == NULL || serve->slots[i]->life == NULL)
            continue;
        behave_refresh(serve->slots[i]);
        session_thaw(serve->slots[i]);
    }
}

static void on_boundary(struct timer *timer, uint64_t now_ns)
{
    struct serve *serve =
        (struct serve *)(void *)((char *)timer - offsetof(struct serve, boundary));
    refresh(serve, serve->active, now_ns);
}

void serve_adopt(struct serve *serve, uint64_t now_ns)
{
    const struct script *script = atomic_load_explicit(&serve->sim->script, memory_order_acquire);
    if (script == serve->script)
        return;
    uint64_t known = 0; /* rules taken over keep being in force */
    for (size_t i = 0; i < script->count; i++)
        if (serve->script != NULL && i < serve->script->count &&
            serve->script->rules[i] == script->rules[i])
            known |= serve->active & 1ull << i;
    serve->script = script;
    refresh(serve, known, now_ns);
    atomic_store_explicit(&serve->generation, script->generation, memory_order_release);
}

/* -- the thread -- */

void serve_init(struct serve *serve, struct sim *sim, uint32_t number)
{
    *serve = (struct serve){.sim = sim, .number = number};
    uint32_t count = fleet_recordings(sim->fleet);
    serve->books = xcalloc(count, sizeof *serve->books);
    for (uint32_t i = 0; i < count; i++) {
        struct book *book = &serve->books[i];
        book->recording = fleet_recording(sim->fleet, i);
        book->forms = form_book_create(book->recording, &sim->settings.shape);
        command_table_init(&book->commands);
    }
    serve->nothing = prepared_create();
    serve->random.state = sim->settings.shape.seed * 0x9e3779b97f4a7c15ull + number;
    timer_init(&serve->boundary, on_boundary);
    pthread_mutex_init(&serve->mailbox.lock, NULL);
}

/* The net is gone by now, and with it all sessions. */
void serve_fini(struct serve *serve)
{
    if (serve->books == NULL)
        return;
    CHECK(serve->slot_count == 0);
    free(serve->slots);
    prepared_destroy(&serve->nothing);
    for (uint32_t i = 0; i < fleet_recordings(serve->sim->fleet); i++) {
        command_table_fini(&serve->books[i].commands);
        form_book_destroy(&serve->books[i].forms);
    }
    free(serve->books);
    free(serve->listeners);
    pthread_mutex_destroy(&serve->mailbox.lock);
    *serve = (struct serve){0};
}

void serve_turn(struct serve *serve)
{
    uint64_t now_ns = net_turn(serve->net, clock_monotonic_ns() + TURN_MS * NS_PER_MS);
    serve_adopt(serve, now_ns);
    read_mail(serve);
    struct net_stats stats = net_stats(serve->net);
    counter_set(&serve->tally.received_bytes, stats.received_bytes);
    counter_set(&serve->tally.sent_bytes, stats.sent_bytes);
    counter_set(&serve->tally.syscalls, stats.syscalls);
}
