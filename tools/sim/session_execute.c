/* SPDX-License-Identifier: Apache-2.0 */
/* One execution: what the script says, then the answer; and the commands that are the session's
 * own. Session's thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/check.h"
#include "base/clock.h"
#include "tools/sim/serve.h"

/* -- settings -- */

void session_set(struct session *session, const char *name, const char *value, bool local)
{
    uint32_t ms;
    bool statement = strcasecmp(name, "statement_timeout") == 0;
    if ((!statement && strcasecmp(name, "lock_timeout") != 0) || !command_milliseconds(value, &ms))
        return;
    uint32_t *lasting = statement ? &session->statement_timeout_ms : &session->lock_timeout_ms;
    uint32_t *passing = statement ? &session->local_statement_ms : &session->local_lock_ms;
    if (!local) {
        *lasting = ms;
        *passing = NO_LIMIT;
    } else {
        *passing = ms;
    }
}

void session_end_transaction(struct session *session)
{
    if (session->transaction != 'I')
        return;
    session->local_statement_ms = session->local_lock_ms = NO_LIMIT;
    session_drop_portals(session);
}

/* -- answers -- */

static void count_answer(struct session *session, const struct form *form)
{
    struct tally *tally = &session->serve->tally;
    session->recorded = true;
    session->queued_values += form_values(form);
    counter_add(&tally->executions, 1);
    counter_add(&tally->rows, form_rows(form));
}

static size_t answer(struct session *session, const struct command *command,
                     struct form_formats formats)
{
    const struct form *form = command->form;
    struct form_moment moment = {
        .server = session->server,
        .start_us = session->life->start_us,
        .now_us = serve_clock_us(session->serve, session->serve->now_ns),
        .recovery = session->life->recovery,
    };
    if (form_recorded(form)) {
        CHECK(command->index < session->life->count);
        moment.step = 1 + (uint64_t)atomic_fetch_add_explicit(&session->life->steps[command->index],
                                                              1, memory_order_relaxed);
        count_answer(session, form);
    }
    size_t bytes = form_bytes(form, formats);
    size_t written = form_write(form, formats, &moment, session_room(session, bytes));
    CHECK(written <= bytes);
    session_wrote(session, written);
    const char *value, *name = form_setting(form, &value);
    if (name != NULL)
        session_set(session, name, value, command->local);
    return written;
}

/* So many bytes of this answer, then nothing more. */
static enum outcome answer_cut(struct session *session, const struct command *command,
                               struct form_formats formats, uint64_t cut_bytes)
{
    session_flush(session);
    size_t before = net_pending(session->conn);
    size_t bytes = answer(session, command, formats);
    session_flush(session);
    net_reset_after(session->conn, before + cut_bytes);
    if (cut_bytes > bytes)
        return OUTCOME_DONE;
    session_enter(session, SESSION_ENDING);
    return OUTCOME_ENDED;
}

/* "show": one column of text. */
static void describe_show(struct session *session, const char *name)
{
    uint8_t body[256 + 32];
    size_t bytes = strnlen(name, 255);
    wire_put16(body, 1);
    memcpy(body + 2, name, bytes);
    body[2 + bytes] = 0;
    uint8_t *to = body + 3 + bytes;
    to = wire_put32(to, 0);
    to = wire_put16(to, 0);
    to = wire_put32(to, 25);
    to = wire_put16(to, (uint16_t)-1);
    to = wire_put32(to, (uint32_t)-1);
    to = wire_put16(to, 0);
    session_message(session, 'T', body, (size_t)(to - body));
}

void session_describe(struct session *session, const struct command *command,
                      struct form_formats formats)
{
    if (command->kind == COMMAND_SHOW && command->argument != NULL) {
        describe_show(session, command->argument);
    } else if (command->form == NULL) {
        session_message(session, 'n', NULL, 0);
    } else {
        size_t bytes = form_describe(command->form, formats, NULL);
        form_describe(command->form, formats, session_room(session, bytes));
        session_wrote(session, bytes);
    }
}

/* A simple query gets RowDescription, but not NoData. */
static void describe_rows(struct session *session, const struct command *command)
{
    struct form_formats formats = {0};
    size_t bytes = form_describe(command->form, formats, NULL);
    uint8_t *to = session_room(session, bytes);
    form_describe(command->form, formats, to);
    if (to[0] != 'n')
        session_wrote(session, bytes);
}

static enum outcome failed_block(struct session *session)
{
    session_error(
        session, "25P02",
        "current transaction is aborted, commands ignored until end of transaction block");
    return OUTCOME_FAILED;
}

/* True: the execution waits, and is tried again when the wait is over. */
static bool waits(struct session *session, struct command *command, struct verdict *verdict)
{
    struct session_work *work = session->work;
    if (work != NULL && work->decided) {
        *verdict = work->verdict;
        work->decided = false;
        return false;
    }
    *verdict = behave_execution(session, command);
    if (verdict->due_ns == 0)
        return false;
    work = session_work(session);
    work->verdict = *verdict;
    session_enter(session, SESSION_WAITING);
    if (verdict->due_ns != UINT64_MAX)
        session_arm(session, verdict->due_ns);
    return true;
}

static bool is_fatal(const char *sqlstate)
{
    return strncmp(sqlstate, "57P0", 4) == 0;
}

static enum outcome fail(struct session *session, const struct verdict *verdict)
{
    if (is_fatal(verdict->sqlstate)) {
        session_fatal(session, verdict->sqlstate, "%s", verdict->message);
        return OUTCOME_ENDED;
    }
    session_error(session, verdict->sqlstate, "%s", verdict->message);
    return OUTCOME_FAILED;
}

static enum outcome run_form(struct session *session, struct command *command,
                             struct form_formats formats, bool describe)
{
    struct verdict verdict;
    if (session->transaction == 'E')
        return failed_block(session);
    if (waits(session, command, &verdict))
        return OUTCOME_WAITS;
    if (describe && (verdict.kind == VERDICT_ANSWER || verdict.kind == VERDICT_CUT))
        describe_rows(session, command);
    switch (verdict.kind) {
    case VERDICT_ANSWER:
        answer(session, command, formats);
        return OUTCOME_DONE;
    case VERDICT_CUT:
        return answer_cut(session, command, formats, verdict.cut_bytes);
    case VERDICT_ERROR:
        return fail(session, &verdict);
    case VERDICT_CLOSE:
        session_terminate(session);
        return OUTCOME_ENDED;
    }
    return OUTCOME_DONE;
}

/* -- commands -- */

static void forget_all(struct session *session)
{
    prepared_clear(&session->prepared);
    command_release(session->unnamed);
    session->unnamed = NULL;
}

static enum outcome deallocate(struct session *session, const char *name)
{
    if (name == NULL) {
        prepared_clear(&session->prepared);
        session_tag(session, "DEALLOCATE ALL");
        return OUTCOME_DONE;
    }
    if (!prepared_remove(&session->prepared, name, strlen(name))) {
        session_error(session, "26000", "prepared statement \"%.100s\" does not exist", name);
        return OUTCOME_FAILED;
    }
    session_tag(session, "DEALLOCATE");
    return OUTCOME_DONE;
}

static const char *setting_value(const struct session *session, const char *wanted, char text[32])
{
    uint32_t ms = NO_LIMIT;
    if (strcasecmp(wanted, "statement_timeout") == 0)
        ms = session->local_statement_ms != NO_LIMIT ? session->local_statement_ms
                                                     : session->statement_timeout_ms;
    else if (strcasecmp(wanted, "lock_timeout") == 0)
        ms = session->local_lock_ms != NO_LIMIT ? session->local_lock_ms : session->lock_timeout_ms;
    if (ms != NO_LIMIT) {
        snprintf(text, 32, "%u%s", ms, ms == 0 ? "" : "ms");
        return text;
    }
    const char *name, *value;
    for (size_t i = 0; (value = recording_parameter(session->book->recording, i, &name)) != NULL;
         i++)
        if (strcasecmp(name, wanted) == 0)
            return value;
    return NULL;
}

static enum outcome show(struct session *session, const char *name, bool describe)
{
    char text[32];
    uint8_t row[256 + 8];
    const char *value = name == NULL ? NULL : setting_value(session, name, text);
    if (value == NULL) {
        session_error(session, "42704", "unrecognized configuration parameter \"%.100s\"",
                      name == NULL ? "all" : name);
        return OUTCOME_FAILED;
    }
    size_t bytes = strnlen(value, 256);
    if (describe)
        describe_show(session, name);
    wire_put16(row, 1);
    wire_put32(row + 2, (uint32_t)bytes);
    memcpy(row + 6, value, bytes);
    session_message(session, 'D', row, 6 + bytes);
    session_tag(session, "SHOW");
    return OUTCOME_DONE;
}

static enum outcome savepoint(struct session *session, const char *tag)
{
    bool back = strcmp(tag, "ROLLBACK") == 0;
    if (session->transaction == 'I') {
        session_error(session, "25P01", "%s can only be used in transaction blocks",
                      back ? "ROLLBACK TO SAVEPOINT" : tag);
        return OUTCOME_FAILED;
    }
    if (back)
        session->transaction = 'T';
    session_tag(session, tag);
    return OUTCOME_DONE;
}

static enum outcome end_block(struct session *session, const char *tag)
{
    session_tag(session, session->transaction == 'E' ? "ROLLBACK" : tag);
    session->transaction = 'I';
    session_end_transaction(session);
    return OUTCOME_DONE;
}

static void reset(struct session *session, const char *name)
{
    static const char *const names[] = {"statement_timeout", "lock_timeout"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (name == NULL || strcmp(name, names[i]) == 0)
            session_set(session, names[i], "0", false);
}

static bool allowed_in_failed_block(const struct command *command)
{
    return command->kind == COMMAND_COMMIT || command->kind == COMMAND_ROLLBACK ||
           command->kind == COMMAND_EMPTY ||
           (command->kind == COMMAND_SAVEPOINT && strcmp(command->argument, "ROLLBACK") == 0);
}

static enum outcome run_command(struct session *session, const struct command *command,
                                bool describe)
{
    if (session->transaction == 'E' && !allowed_in_failed_block(command))
        return failed_block(session);
    switch (command->kind) {
    case COMMAND_FORM:
        break;
    case COMMAND_EMPTY:
        session_message(session, 'I', NULL, 0);
        break;
    case COMMAND_BEGIN:
        session->transaction = 'T';
        session_tag(session, "BEGIN");
        break;
    case COMMAND_COMMIT:
        return end_block(session, "COMMIT");
    case COMMAND_ROLLBACK:
        return end_block(session, "ROLLBACK");
    case COMMAND_SAVEPOINT:
        return savepoint(session, command->argument);
    case COMMAND_DEALLOCATE:
        return deallocate(session, command->argument);
    case COMMAND_DISCARD:
        forget_all(session);
        reset(session, NULL);
        session_tag(session, "DISCARD ALL");
        break;
    case COMMAND_SET:
        session_set(session, command->argument, command->value, command->local);
        session_tag(session, "SET");
        break;
    case COMMAND_RESET:
        reset(session, command->argument);
        session_tag(session, "RESET");
        break;
    case COMMAND_SHOW:
        return show(session, command->argument, describe);
    case COMMAND_TAG:
        session_tag(session, command->argument);
        break;
    case COMMAND_DENIED:
        session_error(session, "0A000", "the simulator does not support %s", command->argument);
        return OUTCOME_FAILED;
    }
    return OUTCOME_DONE;
}

enum outcome session_execute(struct session *session, struct command *command,
                             struct form_formats formats, bool describe)
{
    if (command->kind == COMMAND_FORM)
        return run_form(session, command, formats, describe);
    return run_command(session, command, describe);
}
