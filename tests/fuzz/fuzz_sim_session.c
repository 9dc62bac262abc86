/* SPDX-License-Identifier: Apache-2.0 */
/* What a client may send to pgweir-sim: any bytes in any pieces, or well-formed requests in any
 * order, over a net that keeps what is not consumed as tools/net does. What comes back is a
 * sequence of well-formed messages, each Sync and each simple query is answered by one
 * ReadyForQuery, and a session that ended leaves nothing behind. The first byte chooses how it is
 * set up. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "catalog/catalog.h"
#include "tools/sim/serve.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { OUT_BYTES = 1 << 24, IN_BYTES = 1 << 20 };

/* -- a net of one connection -- */

struct net_conn {
    void *owner; /* NULL: closed */
    uint8_t *in, *out;
    size_t in_bytes, out_bytes;
    bool held, offer, closed;
};

static struct net_conn conn;

uint8_t *net_room(struct net_conn *of, size_t count)
{
    CHECK(of->out_bytes + count <= OUT_BYTES);
    return of->out + of->out_bytes;
}

void net_wrote(struct net_conn *of, size_t count)
{
    if (!of->closed)
        of->out_bytes += count;
}

void net_send(struct net_conn *of, const void *bytes, size_t count)
{
    memcpy(net_room(of, count), bytes, count);
    net_wrote(of, count);
}

size_t net_pending(const struct net_conn *of)
{
    return of->out_bytes;
}

void net_hold(struct net_conn *of)
{
    of->held = true;
}

void net_release(struct net_conn *of)
{
    of->held = false;
    of->offer = true;
}

void net_slice(struct net_conn *of, uint32_t slice_bytes, uint64_t interval_ns)
{
    (void)of;
    CHECK(slice_bytes > 0 || interval_ns == 0);
}

void net_close(struct net_conn *of)
{
    of->closed = true;
}

void net_reset(struct net_conn *of)
{
    of->closed = true;
}

void net_reset_after(struct net_conn *of, size_t count)
{
    (void)count;
    of->closed = true; /* all that was written has left, by chance */
}

void net_start_tls(struct net_conn *of, SSL_CTX *context)
{
    (void)of;
    (void)context;
    check_failed("no TLS is offered", __FILE__, __LINE__);
}

const SSL *net_tls(const struct net_conn *of)
{
    (void)of;
    return NULL;
}

uint64_t net_turn(struct net *net, uint64_t deadline_ns)
{
    (void)net;
    return deadline_ns;
}

struct net_stats net_stats(const struct net *net)
{
    (void)net;
    return (struct net_stats){0};
}

/* -- the simulator around it -- */

static struct sim sims[3]; /* by authentication method */
static struct serve threads[3];
static struct listener listeners[3];

static const char rules[] =
    "[{database: app, latency: 5ms}, {statement: database, error: 42501},"
    " {statement: table*, lock_wait: 1s}, {statement: archiver, hang: true},"
    " {statement: wal, reset_after: 10}, {statement: checkpointer, close: true},"
    " {database: billing, slice: {bytes: 1, every: 1ms}}, {database: x, slow_start: 1s}]";

/* -- requests -- */

enum { SQL_MAX = 80 };
static const char *sql[SQL_MAX] = {
    "SELECT 1",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "select nothing",
    "SET statement_timeout = 50",
    "SET LOCAL lock_timeout = 10",
    "DEALLOCATE a",
    "DEALLOCATE ALL",
    "DISCARD ALL",
    "SELECT 1; SELECT nothing; BEGIN",
    "",
    "COPY t FROM STDIN",
    "SHOW lock_timeout",
    "SAVEPOINT s",
    "ROLLBACK TO s",
    "RESET ALL",
    "SELECT set_config('statement_timeout', '40', true)",
    "SELECT 1; SELECT 1; SELECT 1",
    "LISTEN x",
    "SHOW ALL",
    "SELECT $1",
};
static uint32_t sql_count = 22;

/* The catalogue's own statements, as if the server had everything. */
static void add_catalogue(void)
{
    static struct catalog *catalog;
    static struct plan *plan;
    struct error error = {0};
    struct capabilities capabilities = {.version_num = 170000};
    memset(capabilities.present, 0xff, sizeof capabilities.present);
    CHECK(catalog_load(&catalog, NULL, 0, &error));
    bool *enabled = malloc(catalog->metric_count);
    CHECK(enabled != NULL);
    memset(enabled, 1, catalog->metric_count);
    struct catalog_choice choice = {.metric_enabled = enabled};
    CHECK(catalog_plan(catalog, &choice, &capabilities, &plan, &error));
    for (size_t i = 0; i < plan->statement_count && sql_count < SQL_MAX; i++)
        sql[sql_count++] = plan->statements[i].sql;
    free(enabled);
}

static size_t put_message(uint8_t *to, char type, const void *body, size_t count)
{
    to[0] = (uint8_t)type;
    wire_put32(to + 1, (uint32_t)count + 4);
    memcpy(to + 5, body, count);
    return count + 5;
}

/* A request of kind `kind` about `which`: of three statements and portals, one of them unnamed. */
static size_t put_request(uint8_t *to, uint8_t kind, uint8_t which)
{
    static const char *const names[] = {"", "a", "b"};
    uint8_t body[1 << 16], *at = body;
    const char *name = names[which % 3], *portal = names[which / 3 % 3];
    const char *text = sql[which % sql_count];
    switch (kind % 11) {
    case 0:
    case 1: /* Parse: a statement under the name that its number gives */
        at = (uint8_t *)stpcpy((char *)at, name) + 1;
        at = (uint8_t *)stpcpy((char *)at, text) + 1;
        return put_message(to, 'P', body, (size_t)(wire_put16(at, 0) - body));
    case 2:
    case 3:
        at = (uint8_t *)stpcpy((char *)at, portal) + 1;
        at = (uint8_t *)stpcpy((char *)at, name) + 1;
        at = wire_put16(wire_put16(at, 0), 0);
        at = wire_put16(at, which % 2);
        return put_message(to, 'B', body, (size_t)((which % 2 ? wire_put16(at, 1) : at) - body));
    case 4:
        *at++ = which & 64 ? 'S' : 'P';
        at = (uint8_t *)stpcpy((char *)at, name) + 1;
        return put_message(to, 'D', body, (size_t)(at - body));
    case 5:
    case 6:
        at = (uint8_t *)stpcpy((char *)at, portal) + 1;
        return put_message(to, 'E', body, (size_t)(wire_put32(at, which) - body));
    case 7:
        return put_message(to, 'S', body, 0);
    case 8:
        return put_message(to, 'Q', text, strlen(text) + 1);
    case 9:
        *at++ = which & 64 ? 'S' : 'P';
        at = (uint8_t *)stpcpy((char *)at, name) + 1;
        return put_message(to, 'C', body, (size_t)(at - body));
    default:
        return put_message(to, which == 255 ? 'X' : which == 254 ? '?' : 'H', body, 0);
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    struct error error = {0};
    add_catalogue();
    conn.in = malloc(IN_BYTES);
    conn.out = malloc(OUT_BYTES);
    CHECK(conn.in != NULL && conn.out != NULL);
    for (int i = 0; i < 3; i++) {
        struct recording *recording;
        struct script *script;
        struct sim *sim = &sims[i];
        CHECK(recording_load(&recording, NULL, &error));
        *sim = (struct sim){
            .settings = {.servers = 4, .threads = 1, .by = (enum sim_by)i, .shape.seed = 1}};
        struct form_book *book = form_book_create(recording, &sim->settings.shape);
        const uint32_t one = 1, steps = form_book_indexes(book);
        form_book_destroy(&book);
        sim->fleet = fleet_create(4, &(struct fleet_parts){&recording, &one, &steps, 1}, 1);
        CHECK(auth_init(&sim->auth, (enum auth_method)i, "secret", &error));
        CHECK(script_read(&script, "fuzz", rules, strlen(rules), NULL, 0, &error));
        atomic_store(&sim->script, script);
        sim->threads = &threads[i];
        serve_init(&threads[i], sim, 0);
        threads[i].wheel = wheel_create(0);
        serve_adopt(&threads[i], 0);
        listeners[i] = (struct listener){.serve = &threads[i]};
    }
    return 0;
}

static void close_conn(void)
{
    if (conn.owner != NULL)
        session_handler.closed(conn.owner, 0);
    conn.owner = NULL;
}

static void offer(uint64_t now_ns)
{
    for (int round = 0; round < 8 && conn.owner != NULL; round++) {
        conn.offer = false;
        if (conn.closed)
            close_conn();
        if (conn.owner == NULL || conn.held || conn.in_bytes == 0)
            return;
        size_t used = session_handler.received(conn.owner, conn.in, conn.in_bytes, now_ns);
        CHECK(used <= conn.in_bytes);
        memmove(conn.in, conn.in + used, conn.in_bytes - used);
        conn.in_bytes -= used;
        if (!conn.offer && !conn.closed)
            return;
    }
}

static void pass(const uint8_t *bytes, size_t count, uint64_t now_ns)
{
    if (conn.owner == NULL || conn.in_bytes + count > IN_BYTES)
        return;
    memcpy(conn.in + conn.in_bytes, bytes, count);
    conn.in_bytes += count;
    offer(now_ns);
}

/* Type and length of each, to the last byte; 'N' alone is an answer to a request for encryption.
 * Returns how many are ReadyForQuery. */
static size_t check_output(void)
{
    size_t at = 0, ready = 0;
    while (at < conn.out_bytes && conn.out[at] == 'N' &&
           (at + 1 == conn.out_bytes || conn.out[at + 1] != 0))
        at++;
    while (at < conn.out_bytes) {
        CHECK(conn.out_bytes - at >= 5);
        CHECK(strchr("RSKZTDCE123tnIvN", conn.out[at]) != NULL);
        uint32_t length = wire_get32(conn.out + at + 1);
        CHECK(length >= 4 && length < conn.out_bytes - at);
        ready += conn.out[at] == 'Z';
        at += length + 1;
    }
    return ready;
}

static uint64_t now_ns;

static void let_pass(struct serve *serve, uint8_t ticks)
{
    now_ns += ticks * 20 * NS_PER_MS;
    wheel_run(serve->wheel, now_ns);
    offer(now_ns);
    if (conn.owner != NULL && (ticks & 1) != 0)
        session_handler.drained(conn.owner, now_ns);
}

static void pass_pieces(struct serve *serve, const uint8_t *data, size_t size)
{
    for (size_t at = 0; at + 2 < size && conn.owner != NULL;) {
        size_t count = data[at] < size - at - 2 ? data[at] : size - at - 2;
        let_pass(serve, data[at + 1]);
        pass(data + at + 2, count, now_ns);
        at += 2 + count;
    }
}

/* Requests; the last Sync ends what an error skipped, and a cancel what waits for ever. */
static void pass_requests(struct serve *serve, const uint8_t *data, size_t size)
{
    static uint8_t request[1 << 17];
    size_t wanted = 1; /* of the log-in */
    for (size_t at = 0; at + 2 < size && conn.owner != NULL; at += 3) {
        size_t count = put_request(request, data[at], data[at + 1]);
        const struct session *session = conn.owner;
        if (session->state == SESSION_ENDING)
            return; /* it said goodbye */
        /* What is behind an error is skipped, a simple query too: then nobody answers it. */
        bool counts = request[0] == 'S' ||
                      (request[0] == 'Q' && session->state == SESSION_READY && conn.in_bytes == 0);
        if (request[0] == 'Q' && !counts)
            continue;
        wanted += counts;
        pass(request, count, now_ns);
        let_pass(serve, data[at + 2]);
    }
    for (int i = 0; i < 100 && conn.owner != NULL && conn.in_bytes > 0; i++) {
        serve_cancel(serve, serve_pid(conn.owner), ((struct session *)conn.owner)->secret);
        let_pass(serve, 255);
    }
    if (conn.owner != NULL && ((struct session *)conn.owner)->state != SESSION_ENDING) {
        CHECK(conn.in_bytes == 0);
        CHECK(check_output() == wanted);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t startup[] = "\0\0\0\42\0\3\0\0user\0x\0database\0postgres\0";
    if (size < 2)
        return 0;
    bool requests = (data[0] & 64) != 0;
    uint8_t which = requests ? 0 : data[0] % 3;
    struct serve *serve = &threads[which];
    const struct sockaddr_in local = {.sin_addr.s_addr = htonl(0x7f010001)};
    conn.in_bytes = conn.out_bytes = 0;
    conn.held = conn.offer = conn.closed = false;
    conn.owner = session_handler.opened(&listeners[which], &conn, &local, now_ns);
    CHECK(conn.owner != NULL);
    if (requests || (which == 0 && (data[0] & 128) != 0))
        pass(startup, sizeof startup, now_ns);
    if (requests)
        pass_requests(serve, data + 1, size - 1);
    else
        pass_pieces(serve, data + 1, size - 1);
    check_output();
    close_conn();
    CHECK(serve->slot_count == 0);
    CHECK(wheel_next_ns(serve->wheel) == UINT64_MAX);
    CHECK(counter_read(&serve->tally.sent_values) == 0);
    return 0;
}
