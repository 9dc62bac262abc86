/* SPDX-License-Identifier: Apache-2.0 */
/* From the first byte to the first ReadyForQuery (PostgreSQL's documentation, 55.2.1, 55.3, 55.8).
 * Session's thread. What a server refuses before it asks who is there (it is full, it starts) comes
 * before authentication, what it refuses for the database comes behind it, as with PostgreSQL. */
#include "tools/sim/session.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tools/sim/serve.h"

enum {
    STARTUP_BYTES_MAX = 10000, /* MAX_STARTUP_PACKET_LENGTH */
    AUTHENTICATION_BYTES_MAX = 65535,
    KEY_BYTES = 32, /* of a cancel key in 3.2 */
    CODE_CANCEL = 80877102,
    CODE_TLS = 80877103,
    CODE_GSS = 80877104,
    PROTOCOL_3_0 = 3 << 16,
    PROTOCOL_MINOR = 2, /* the newest we speak */
};

/* The value of a parameter of the StartupMessage; NULL: not given. */
static const char *parameter(const struct session *session, const char *name)
{
    const struct session_work *work = session->work;
    struct wire in = wire_of(work->startup, work->startup_bytes);
    for (;;) {
        size_t bytes;
        const char *key = wire_text(&in, &bytes);
        const char *value = wire_text(&in, &bytes);
        if (in.bad || key[0] == 0)
            return NULL;
        if (strcmp(key, name) == 0)
            return value;
    }
}

/* What both sides make of a 3.2 key: its first four bytes are the secret. */
static void make_key(const struct session *session, uint8_t key[KEY_BYTES])
{
    struct random random = {.state = (uint64_t)session->secret << 32 | session->slot};
    for (size_t i = 0; i < KEY_BYTES; i += 8) {
        uint64_t word = random_next(&random);
        memcpy(key + i, &word, 8);
    }
    wire_put32(key, session->secret);
}

static void send_parameter(struct session *session, const char *name, const char *value)
{
    size_t name_bytes = strlen(name) + 1, value_bytes = strlen(value) + 1;
    uint8_t *to = session_room(session, 5 + name_bytes + value_bytes);
    to[0] = 'S';
    wire_put32(to + 1, (uint32_t)(4 + name_bytes + value_bytes));
    memcpy(to + 5, name, name_bytes);
    memcpy(to + 5 + name_bytes, value, value_bytes);
    session_wrote(session, 5 + name_bytes + value_bytes);
}

static void send_parameters(struct session *session)
{
    const char *name, *value, *given;
    for (size_t i = 0; (value = recording_parameter(session->book->recording, i, &name)) != NULL;
         i++) {
        if (strcmp(name, "in_hot_standby") == 0)
            value = session->life->recovery ? "on" : "off";
        else if (strcmp(name, "client_encoding") == 0 && (given = parameter(session, name)) != NULL)
            value = given;
        send_parameter(session, name, value);
    }
    given = parameter(session, "application_name");
    send_parameter(session, "application_name", given == NULL ? "" : given);
    send_parameter(session, "session_authorization", parameter(session, "user"));
}

/* "-c name=value" and "--name=value" of `options`, and parameters that are settings. */
static void take_settings(struct session *session)
{
    static const char *const names[] = {"statement_timeout", "lock_timeout"};
    const char *options = parameter(session, "options");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t bytes = strlen(names[i]);
        const char *value = parameter(session, names[i]);
        if (value != NULL)
            session_set(session, names[i], value, false);
        for (const char *at = options; at != NULL && (at = strstr(at, names[i])) != NULL; at++) {
            char text[32];
            size_t length = strcspn(at + bytes, " ");
            if (at[bytes] != '=' || length > sizeof text)
                continue;
            snprintf(text, sizeof text, "%.*s", (int)length - 1, at + bytes + 1);
            session_set(session, names[i], text, false);
        }
    }
}

/* BackendKeyData, parameters, ReadyForQuery; the session's state is what it will be for long. */
static void welcome(struct session *session)
{
    uint8_t body[4 + KEY_BYTES];
    session_message(session, 'R', (const uint8_t[4]){0}, 4);
    send_parameters(session);
    take_settings(session);
    wire_put32(body, serve_pid(session));
    make_key(session, body + 4);
    session_message(session, 'K', body, session->minor2 ? sizeof body : 8);
    session_enter(session, SESSION_READY);
    session_ready(session);
    session_rest(session);
}

/* The person is known; the database may not be. */
static void log_in(struct session *session)
{
    const char *name = session->work->database;
    if (!form_book_database(session->book->forms, name) || behave_refusal(session, true) != NULL) {
        session_fatal(session, "3D000", "database \"%.100s\" does not exist", name);
        return;
    }
    session->database = fleet_database(session->serve->sim->fleet, name);
    if (session->database == NULL) {
        session_fatal(session, "53300", "the simulator's table of database names is full");
        return;
    }
    welcome(session);
}

static void ask_password(struct session *session)
{
    uint8_t body[4 + 64];
    switch (session->serve->sim->auth.method) {
    case AUTH_TRUST:
        log_in(session);
        return;
    case AUTH_PASSWORD:
        session_message(session, 'R', (const uint8_t[4]){0, 0, 0, 3}, 4);
        session_enter(session, SESSION_PASSWORD);
        return;
    case AUTH_SCRAM:
        wire_put32(body, 10);
        size_t bytes = scram_mechanisms(net_tls(session->conn), (char *)body + 4);
        session_message(session, 'R', body, 4 + bytes);
        session_enter(session, SESSION_SASL);
        return;
    }
}

static void refuse(struct session *session, const struct rule *rule)
{
    bool starts = rule->action == RULE_FAILOVER || rule->refusal == REFUSE_STARTING;
    if (starts)
        session_fatal(session, "57P03", "%s", sqlstate_message("57P03"));
    else if (rule->refusal == REFUSE_FULL)
        session_fatal(session, "53300", "%s", sqlstate_message("53300"));
    else if (rule->refusal == REFUSE_PASSWORD)
        session_fatal(session, "28P01", "password authentication failed for user \"%.100s\"",
                      parameter(session, "user"));
    else
        session_terminate(session);
}

void session_begin(struct session *session)
{
    const struct rule *rule = behave_refusal(session, false);
    session->life = fleet_life(session->serve->sim->fleet, session->server);
    if (rule != NULL)
        refuse(session, rule);
    else
        ask_password(session);
}

/* -- the StartupMessage -- */

/* app_7 of BY_DATABASE: server 7, database app. False: there is no such server. */
static bool find_place(struct session *session)
{
    struct session_work *work = session->work;
    const struct sim *sim = session->serve->sim;
    const char *name = parameter(session, "database");
    if (name == NULL || name[0] == 0)
        name = parameter(session, "user");
    work->database = xstrdup(name);
    char *digits = strrchr(work->database, '_');
    if (sim->settings.by == BY_DATABASE && digits != NULL && isdigit((unsigned char)digits[1])) {
        char *end;
        unsigned long server = strtoul(digits + 1, &end, 10);
        if (*end == 0) {
            if (server >= fleet_servers(sim->fleet))
                return false;
            session->server = (uint32_t)server;
            *digits = 0;
        }
    }
    session->book = &session->serve->books[fleet_recording_of(sim->fleet, session->server)];
    return true;
}

/* Says which minor version it will be, and which options (_pq_.…) are not known. */
static void negotiate(struct session *session, uint32_t minor)
{
    uint8_t body[2048];
    uint32_t unknown = 0;
    size_t used = 8, bytes;
    struct wire in = wire_of(session->work->startup, session->work->startup_bytes);
    for (;;) {
        const char *key = wire_text(&in, &bytes);
        if (in.bad || bytes == 0)
            break;
        if (strncmp(key, "_pq_.", 5) == 0 && used + bytes + 1 <= sizeof body) {
            memcpy(body + used, key, bytes + 1);
            used += bytes + 1;
            unknown++;
        }
        wire_text(&in, &bytes);
    }
    session->minor2 = minor >= PROTOCOL_MINOR;
    if (minor <= PROTOCOL_MINOR && unknown == 0)
        return;
    uint32_t spoken = minor < PROTOCOL_MINOR ? minor : PROTOCOL_MINOR;
    wire_put32(body, PROTOCOL_3_0 | spoken);
    wire_put32(body + 4, unknown);
    session_message(session, 'v', body, used);
}

/* Pairs of texts and an empty one. */
static bool well_formed(const uint8_t *bytes, size_t count)
{
    struct wire in = wire_of(bytes, count);
    for (;;) {
        size_t key_bytes, value_bytes;
        wire_text(&in, &key_bytes);
        if (in.bad || key_bytes == 0)
            return !in.bad && in.at == in.end;
        wire_text(&in, &value_bytes);
    }
}

static void start(struct session *session, uint32_t version, const uint8_t *bytes, size_t count)
{
    struct session_work *work = session_work(session);
    if (version >> 16 != 3) {
        session_fatal(session, "0A000",
                      "unsupported frontend protocol %u.%u: server supports 3.0 to 3.%d",
                      version >> 16, version & 0xffff, PROTOCOL_MINOR);
        return;
    }
    if (!well_formed(bytes, count)) {
        session_fatal(session, "08P01",
                      "invalid startup packet layout: expected terminator as last byte");
        return;
    }
    work->startup = xmalloc(count);
    memcpy(work->startup, bytes, count);
    work->startup_bytes = count;
    const char *user = parameter(session, "user"), *walks = parameter(session, "replication");
    if (user == NULL || user[0] == 0) {
        session_fatal(session, "28000", "no PostgreSQL user name specified in startup packet");
        return;
    }
    if (walks != NULL && strcmp(walks, "false") != 0) {
        session_fatal(session, "0A000", "the simulator has no replication");
        return;
    }
    if (!find_place(session)) {
        session_fatal(session, "3D000", "database \"%.100s\" does not exist", work->database);
        return;
    }
    negotiate(session, version & 0xffff);
    behave_refresh(session);
    uint64_t delay_ns = behave_slow_start(session);
    if (delay_ns == 0) {
        session_begin(session);
        return;
    }
    session_enter(session, SESSION_SLOW);
    session_arm(session, session->serve->now_ns + delay_ns);
}

static void leave(struct session *session)
{
    session_enter(session, SESSION_ENDING);
    net_close(session->conn);
}

/* 'S' or 'N'. */
static void answer_tls(struct session *session, bool more_behind)
{
    struct sim *sim = session->serve->sim;
    if (sim->tls == NULL || net_tls(session->conn) != NULL) {
        net_send(session->conn, "N", 1);
        return;
    }
    /* What is behind the request came in the clear: it must not be taken for the session's own. */
    if (more_behind) {
        session_fatal(session, "08P01", "received unencrypted data after SSL request");
        return;
    }
    net_send(session->conn, "S", 1);
    net_start_tls(session->conn, sim->tls);
}

static void cancel(struct session *session, const uint8_t *bytes, size_t count)
{
    struct serve *serve = session->serve;
    if (count == 8 || count == 4 + KEY_BYTES)
        serve_cancel(serve, wire_get32(bytes), wire_get32(bytes + 4));
    counter_add(&serve->tally.cancels, 1);
    leave(session);
}

size_t session_startup(struct session *session, const uint8_t *bytes, size_t count)
{
    struct sim *sim = session->serve->sim;
    if (bytes[0] == 0x16 && sim->tls != NULL && net_tls(session->conn) == NULL) {
        net_start_tls(session->conn, sim->tls); /* a ClientHello at once: sslnegotiation=direct */
        return 0;
    }
    if (count < 8)
        return 0;
    uint32_t length = wire_get32(bytes), code = wire_get32(bytes + 4);
    if (length < 8 || length > STARTUP_BYTES_MAX) {
        session_fatal(session, "08P01", "invalid length of startup packet");
        return count;
    }
    if (count < length)
        return 0;
    if (code == CODE_CANCEL)
        cancel(session, bytes + 8, length - 8);
    else if (code == CODE_TLS && length == 8)
        answer_tls(session, count > length);
    else if (code == CODE_GSS && length == 8)
        net_send(session->conn, "N", 1);
    else
        start(session, code, bytes + 8, length - 8);
    return length;
}

/* -- authentication -- */

static void wrong_password(struct session *session)
{
    session_fatal(session, "28P01", "password authentication failed for user \"%.100s\"",
                  parameter(session, "user"));
}

static void send_sasl(struct session *session, uint32_t code, const char *text)
{
    uint8_t body[4 + SCRAM_TEXT_BYTES];
    size_t bytes = strlen(text);
    wire_put32(body, code);
    memcpy(body + 4, text, bytes);
    session_message(session, 'R', body, 4 + bytes);
}

static void take_first(struct session *session, struct wire *in)
{
    struct session_work *work = session->work;
    size_t bytes;
    const char *mechanism = wire_text(in, &bytes);
    uint32_t length = wire_u32(in);
    const uint8_t *message = wire_take(in, length);
    work->scram = xcalloc(1, sizeof *work->scram);
    if (in->bad || in->at != in->end ||
        !scram_first(work->scram, &session->serve->sim->auth, net_tls(session->conn), mechanism,
                     (const char *)message, length)) {
        session_fatal(session, "08P01", "malformed SCRAM message");
        return;
    }
    send_sasl(session, 11, work->scram->server_first);
    session_enter(session, SESSION_PROOF);
}

static void take_proof(struct session *session, const uint8_t *bytes, size_t count)
{
    char answer[128];
    switch (scram_final(session->work->scram, &session->serve->sim->auth, (const char *)bytes,
                        count, answer)) {
    case SCRAM_GOOD:
        send_sasl(session, 12, answer);
        log_in(session);
        return;
    case SCRAM_WRONG_PASSWORD:
        wrong_password(session);
        return;
    case SCRAM_MALFORMED:
        session_fatal(session, "08P01", "malformed SCRAM message");
        return;
    }
}

static void take_password(struct session *session, struct wire *in)
{
    size_t bytes;
    const char *password = wire_text(in, &bytes);
    if (!in->bad && auth_password(&session->serve->sim->auth, password))
        log_in(session);
    else
        wrong_password(session);
}

size_t session_authenticate(struct session *session, const uint8_t *bytes, size_t count)
{
    if (count < 5)
        return 0;
    uint32_t length = wire_get32(bytes + 1);
    if (bytes[0] != 'p' || length < 4 || length > AUTHENTICATION_BYTES_MAX) {
        if (bytes[0] == 'X')
            leave(session);
        else
            session_fatal(session, "08P01", "expected password response, got message type %u",
                          bytes[0]);
        return count;
    }
    if (count < length + 1)
        return 0;
    struct wire in = wire_of(bytes + 5, length - 4);
    if (session->state == SESSION_PASSWORD)
        take_password(session, &in);
    else if (session->state == SESSION_SASL)
        take_first(session, &in);
    else
        take_proof(session, bytes + 5, length - 4);
    return length + 1;
}
