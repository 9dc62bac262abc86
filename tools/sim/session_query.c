/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of a session that is logged in (PostgreSQL's documentation, 55.2.2 to 55.2.4, 55.7).
 * Session's thread. Untrusted bytes: lengths are checked before anything is read. An error in the
 * extended protocol skips what stands before the next Sync. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tools/sim/serve.h"

enum {
    MESSAGE_BYTES_MAX = 4 << 20,
    PREPARED_MAX = 65536,
    PORTALS_MAX = 1024,
};

static void malformed(struct session *session)
{
    session_error(session, "08P01", "invalid message format");
}

static void end_request(struct session *session)
{
    session_end_transaction(session);
    if (session->recorded)
        counter_add(&session->serve->tally.scrapes, 1);
    session->recorded = false;
    session_ready(session);
    if (session->work != NULL)
        session_rest(session);
}

/* -- the simple protocol -- */

/* One statement of a query's text. */
static enum outcome run_piece(struct session *session, const char *sql, size_t bytes)
{
    struct form_problem problem;
    struct form_formats text = {0};
    struct command *command = command_make(&session->book->commands, session->book->forms, sql,
                                           bytes, session->database, &problem);
    if (command == NULL) {
        session_error(session, problem.sqlstate, "%s", problem.text);
        return OUTCOME_FAILED;
    }
    enum outcome outcome = session_execute(session, command, text, true);
    command_release(command);
    return outcome;
}

/* False: it waits, and comes again. */
static bool take_query(struct session *session, struct wire *in)
{
    size_t bytes, done = session->work == NULL ? 0 : session->work->query_offset;
    const char *text = wire_text(in, &bytes), *at = text + done, *sql;
    enum outcome outcome = OUTCOME_DONE;
    size_t sql_bytes, count = done;
    session->simple = true;
    command_release(session->unnamed);
    session->unnamed = NULL;
    if (in->bad || in->at != in->end) {
        malformed(session);
        outcome = OUTCOME_FAILED;
    }
    while (outcome == OUTCOME_DONE && command_split(&at, text + bytes, &sql, &sql_bytes)) {
        count++;
        outcome = run_piece(session, sql, sql_bytes);
        if (outcome == OUTCOME_WAITS) {
            session->work->query_offset = (size_t)(sql - text);
            return false;
        }
    }
    if (outcome == OUTCOME_ENDED)
        return true;
    if (session->work != NULL)
        session->work->query_offset = 0;
    if (count == 0 && outcome == OUTCOME_DONE)
        session_message(session, 'I', NULL, 0);
    session->simple = false;
    end_request(session);
    return true;
}

/* -- the extended protocol -- */

static bool is_several(const char *sql, size_t bytes)
{
    const char *at = sql, *piece;
    size_t piece_bytes;
    return command_split(&at, sql + bytes, &piece, &piece_bytes) &&
           command_split(&at, sql + bytes, &piece, &piece_bytes);
}

static void take_parse(struct session *session, struct wire *in)
{
    size_t name_bytes, sql_bytes;
    const char *name = wire_text(in, &name_bytes), *sql = wire_text(in, &sql_bytes);
    wire_take(in, (size_t)wire_u16(in) * 4);
    if (in->bad || in->at != in->end) {
        malformed(session);
        return;
    }
    if (name_bytes > 0 && prepared_find(session->prepared, name, name_bytes) != NULL) {
        session_error(session, "42P05", "prepared statement \"%.100s\" already exists", name);
        return;
    }
    if (is_several(sql, sql_bytes)) {
        session_error(session, "42601",
                      "cannot insert multiple commands into a prepared statement");
        return;
    }
    struct form_problem problem;
    struct command *command = command_make(&session->book->commands, session->book->forms, sql,
                                           sql_bytes, session->database, &problem);
    if (command == NULL) {
        session_error(session, problem.sqlstate, "%s", problem.text);
        return;
    }
    if (name_bytes == 0) {
        command_release(session->unnamed);
        session->unnamed = command;
    } else if (prepared_count(session->prepared) < PREPARED_MAX) {
        prepared_add(&session->prepared, name, name_bytes, command);
        command_release(command);
    } else {
        command_release(command);
        session_error(session, "53200", "the simulator keeps %d prepared statements", PREPARED_MAX);
        return;
    }
    session_send(session, "1\0\0\0\4", 5);
}

/* The statement of a Bind or Describe; NULL: there is none, and that is said. */
static struct command *find_command(struct session *session, const char *name, size_t bytes)
{
    struct command *command =
        bytes == 0 ? session->unnamed : prepared_find(session->prepared, name, bytes);
    if (command == NULL && bytes == 0)
        session_error(session, "26000", "unnamed prepared statement does not exist");
    else if (command == NULL)
        session_error(session, "26000", "prepared statement \"%.100s\" does not exist", name);
    return command;
}

static struct portal *find_portal(struct session *session, const char *name, size_t bytes)
{
    if (bytes == 0)
        return session->portal.command == NULL ? NULL : &session->portal;
    struct named_portal *portal = session->work == NULL ? NULL : session->work->portals;
    while (portal != NULL && strcmp(portal->name, name) != 0)
        portal = portal->next;
    return portal == NULL ? NULL : &portal->portal;
}

/* A place for a new portal; NULL: refused, and that is said. */
static struct portal *make_portal(struct session *session, const char *name, size_t bytes)
{
    if (bytes == 0) {
        portal_fini(&session->portal);
        return &session->portal;
    }
    struct session_work *work = session_work(session);
    size_t count = 0;
    for (const struct named_portal *other = work->portals; other != NULL; other = other->next)
        count++;
    if (find_portal(session, name, bytes) != NULL) {
        session_error(session, "42P03", "cursor \"%.100s\" already exists", name);
        return NULL;
    }
    if (count == PORTALS_MAX) {
        session_error(session, "53200", "the simulator keeps %d portals", PORTALS_MAX);
        return NULL;
    }
    struct named_portal *portal = xcalloc(1, sizeof *portal + bytes + 1);
    memcpy(portal->name, name, bytes);
    portal->next = work->portals;
    work->portals = portal;
    return &portal->portal;
}

static void close_portal(struct session *session, const char *name, size_t bytes)
{
    if (bytes == 0) {
        portal_fini(&session->portal);
        return;
    }
    struct named_portal **place = session->work == NULL ? NULL : &session->work->portals;
    while (place != NULL && *place != NULL && strcmp((*place)->name, name) != 0)
        place = &(*place)->next;
    if (place == NULL || *place == NULL)
        return;
    struct named_portal *portal = *place;
    *place = portal->next;
    portal_fini(&portal->portal);
    free(portal);
}

struct bind {
    const char *portal, *statement;
    size_t portal_bytes, statement_bytes;
    uint16_t parameters;
    struct form_formats formats; /* of the result */
};

static bool read_bind(struct wire *in, struct bind *ret)
{
    ret->portal = wire_text(in, &ret->portal_bytes);
    ret->statement = wire_text(in, &ret->statement_bytes);
    wire_take(in, (size_t)wire_u16(in) * 2);
    ret->parameters = wire_u16(in);
    for (uint32_t i = 0; i < ret->parameters && !in->bad; i++) {
        uint32_t bytes = wire_u32(in);
        if (bytes != UINT32_MAX)
            wire_take(in, bytes);
    }
    ret->formats.count = wire_u16(in);
    ret->formats.codes = wire_take(in, (size_t)ret->formats.count * 2);
    return !in->bad && in->at == in->end;
}

static bool formats_known(const struct form_formats *formats)
{
    for (uint32_t i = 0; i < formats->count; i++)
        if (wire_get16(formats->codes + 2 * i) > 1)
            return false;
    return true;
}

static void fill_portal(struct portal *portal, struct command *command,
                        const struct form_formats *formats)
{
    size_t bytes = (size_t)formats->count * 2;
    portal->command = command_acquire(command);
    portal->count = formats->count;
    uint8_t *to = portal->few;
    if (bytes > sizeof portal->few) {
        portal->codes = to = xmalloc(bytes);
    }
    if (bytes > 0)
        memcpy(to, formats->codes, bytes);
}

static void take_bind(struct session *session, struct wire *in)
{
    struct bind bind;
    if (!read_bind(in, &bind)) {
        malformed(session);
        return;
    }
    struct command *command = find_command(session, bind.statement, bind.statement_bytes);
    if (command == NULL)
        return;
    uint32_t wanted = command->form == NULL ? 0 : form_parameters(command->form);
    if (bind.parameters != wanted) {
        session_error(
            session, "08P01",
            "bind message supplies %u parameters, but prepared statement \"%.100s\" requires %u",
            bind.parameters, bind.statement, wanted);
        return;
    }
    if (!formats_known(&bind.formats)) {
        session_error(session, "22023", "unsupported format code");
        return;
    }
    struct portal *portal = make_portal(session, bind.portal, bind.portal_bytes);
    if (portal == NULL)
        return;
    fill_portal(portal, command, &bind.formats);
    session_send(session, "2\0\0\0\4", 5);
}

static struct form_formats formats_of(const struct portal *portal)
{
    return (struct form_formats){.codes = portal->codes != NULL ? portal->codes : portal->few,
                                 .count = portal->count};
}

/* ParameterDescription: all as text, which any client may send. */
static void describe_parameters(struct session *session, const struct command *command)
{
    uint32_t count = command->form == NULL ? 0 : form_parameters(command->form);
    size_t bytes = 7 + (size_t)count * 4;
    uint8_t *to = session_room(session, bytes);
    *to++ = 't';
    to = wire_put32(to, (uint32_t)bytes - 1);
    to = wire_put16(to, (uint16_t)count);
    for (uint32_t i = 0; i < count; i++)
        to = wire_put32(to, 25);
    session_wrote(session, bytes);
}

static void no_portal(struct session *session, const char *name)
{
    session_error(session, "34000", "portal \"%.100s\" does not exist", name);
}

static void take_describe(struct session *session, struct wire *in)
{
    size_t bytes;
    uint8_t kind = wire_u8(in);
    const char *name = wire_text(in, &bytes);
    if (in->bad || in->at != in->end || (kind != 'S' && kind != 'P')) {
        malformed(session);
        return;
    }
    if (kind == 'P') {
        const struct portal *portal = find_portal(session, name, bytes);
        if (portal == NULL)
            no_portal(session, name);
        else
            session_describe(session, portal->command, formats_of(portal));
        return;
    }
    const struct command *command = find_command(session, name, bytes);
    if (command == NULL)
        return;
    describe_parameters(session, command);
    session_describe(session, command, (struct form_formats){0});
}

/* False: it waits, and comes again. The limit of rows is not obeyed: all come. */
static bool take_execute(struct session *session, struct wire *in)
{
    size_t bytes;
    const char *name = wire_text(in, &bytes);
    wire_u32(in);
    if (in->bad || in->at != in->end) {
        malformed(session);
        return true;
    }
    const struct portal *portal = find_portal(session, name, bytes);
    if (portal == NULL) {
        no_portal(session, name);
        return true;
    }
    /* DISCARD and COMMIT end portals, theirs too. */
    struct command *command = command_acquire(portal->command);
    enum outcome outcome = session_execute(session, command, formats_of(portal), false);
    command_release(command);
    return outcome != OUTCOME_WAITS;
}

static void take_close(struct session *session, struct wire *in)
{
    size_t bytes;
    uint8_t kind = wire_u8(in);
    const char *name = wire_text(in, &bytes);
    if (in->bad || in->at != in->end || (kind != 'S' && kind != 'P')) {
        malformed(session);
        return;
    }
    if (kind == 'P') {
        close_portal(session, name, bytes);
    } else if (bytes > 0) {
        prepared_remove(&session->prepared, name, bytes);
    } else {
        command_release(session->unnamed);
        session->unnamed = NULL;
    }
    session_send(session, "3\0\0\0\4", 5);
}

static void take_sync(struct session *session)
{
    if (session->state == SESSION_SKIPPING)
        session_enter(session, SESSION_READY);
    end_request(session);
}

static void take_terminate(struct session *session)
{
    session_goodbye(session);
}

/* False: the message is not done. */
static bool dispatch(struct session *session, uint8_t type, struct wire *in)
{
    if (session->state == SESSION_SKIPPING && type != 'S' && type != 'X')
        return true;
    switch (type) {
    case 'B':
        take_bind(session, in);
        return true;
    case 'D':
        take_describe(session, in);
        return true;
    case 'E':
        return take_execute(session, in);
    case 'S':
        take_sync(session);
        return true;
    case 'P':
        take_parse(session, in);
        return true;
    case 'Q':
        return take_query(session, in);
    case 'C':
        take_close(session, in);
        return true;
    case 'H':
        session_flush(session);
        return true;
    case 'X':
        take_terminate(session);
        return true;
    case 'F':
        session_error(session, "0A000", "the simulator does not support function calls");
        return true;
    case 'd':
    case 'c':
    case 'f':
        return true; /* the rest of a COPY that was refused */
    }
    session_fatal(session, "08P01", "invalid frontend message type %u", type);
    return true;
}

size_t session_request(struct session *session, const uint8_t *bytes, size_t count)
{
    if (count < 5)
        return 0;
    uint32_t length = wire_get32(bytes + 1);
    if (length < 4 || length > MESSAGE_BYTES_MAX) {
        session_fatal(session, "08P01", "invalid message length");
        return count;
    }
    if (count < (size_t)length + 1)
        return 0;
    if (session->epoch != session->serve->epoch)
        behave_refresh(session);
    struct wire in = wire_of(bytes + 5, length - 4);
    return dispatch(session, bytes[0], &in) ? (size_t)length + 1 : 0;
}
