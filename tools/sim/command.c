/* SPDX-License-Identifier: Apache-2.0 */
/* Session's thread. The recording is asked first for everything but what moves the transaction or
 * the prepared statements: SET and SHOW may be recorded ones. */
#include "tools/sim/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/check.h"
#include "base/memory.h"
#include "tools/sim/sql_scan.h"

enum { BUCKETS_AT_START = 64, TEXT_BYTES = 256 };

void command_table_init(struct command_table *table)
{
    *table = (struct command_table){.bucket_count = BUCKETS_AT_START};
    table->buckets = xcalloc(table->bucket_count, sizeof *table->buckets);
}

static void free_command(struct command *command)
{
    free(command->argument);
    free(command->value);
    free(command);
}

void command_table_fini(struct command_table *table)
{
    for (uint32_t i = 0; i < table->bucket_count; i++) {
        while (table->buckets[i] != NULL) {
            struct command *command = table->buckets[i];
            table->buckets[i] = command->next;
            command_release(command);
        }
    }
    free(table->buckets);
    *table = (struct command_table){0};
}

struct command *command_acquire(struct command *command)
{
    command->references++;
    return command;
}

void command_release(struct command *command)
{
    if (command == NULL)
        return;
    CHECK(command->references > 0);
    if (--command->references == 0)
        free_command(command);
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

bool command_equal(const struct command *a, const struct command *b)
{
    return a == b ||
           (a->form == NULL && b->form == NULL && a->kind == b->kind && a->local == b->local &&
            same_text(a->argument, b->argument) && same_text(a->value, b->value));
}

static struct command **bucket_of(struct command_table *table, const struct form *form)
{
    uint64_t hash = (uint64_t)(uintptr_t)form * 0x9e3779b97f4a7c15ull;
    return &table->buckets[hash >> 32 & (table->bucket_count - 1)];
}

static void grow(struct command_table *table)
{
    struct command_table old = *table;
    table->bucket_count *= 2;
    table->buckets = xcalloc(table->bucket_count, sizeof *table->buckets);
    for (uint32_t i = 0; i < old.bucket_count; i++) {
        while (old.buckets[i] != NULL) {
            struct command *command = old.buckets[i];
            old.buckets[i] = command->next;
            struct command **bucket = bucket_of(table, command->form);
            command->next = *bucket;
            *bucket = command;
        }
    }
    free(old.buckets);
}

static struct command *create(enum command_kind kind, const char *argument, const char *value)
{
    struct command *command = xcalloc(1, sizeof *command);
    command->references = 1;
    command->kind = kind;
    command->argument = argument == NULL ? NULL : strdup(argument);
    command->value = value == NULL ? NULL : strdup(value);
    return command;
}

/* SET LOCAL …, or set_config(…, true). */
static bool is_local(const char *sql, const char *end)
{
    struct sql_token token = sql_next(&sql, end), last = {0};
    if (sql_is(token, "set"))
        return sql_is(sql_next(&sql, end), "local");
    for (; token.kind != SQL_END; token = sql_next(&sql, end))
        if (token.kind != SQL_CLOSE && !sql_is(token, ";"))
            last = token;
    return sql_is(last, "true");
}

static struct command *of_form(struct command_table *table, const struct form *form,
                               const char *sql, const char *end)
{
    struct command *command = *bucket_of(table, form);
    while (command != NULL && command->form != form)
        command = command->next;
    if (command != NULL)
        return command_acquire(command);
    const char *value;
    if (table->count++ >= table->bucket_count)
        grow(table);
    command = create(COMMAND_FORM, NULL, NULL);
    command->form = form;
    command->index = form_index(form);
    command->local = form_setting(form, &value) != NULL && is_local(sql, end);
    struct command **bucket = bucket_of(table, form);
    command->next = *bucket;
    *bucket = command;
    return command_acquire(command);
}

/* A token's text in small letters, without its quotes; cut at the buffer's end. */
static const char *plain(struct sql_token token, char text[TEXT_BYTES])
{
    size_t count = 0;
    char quote = token.kind == SQL_NAME ? '"' : token.kind == SQL_STRING ? '\'' : 0;
    for (size_t i = quote != 0; i < token.bytes && count < TEXT_BYTES - 1; i++) {
        if (quote != 0 && token.text[i] == quote && (++i >= token.bytes || token.text[i] != quote))
            break;
        char c = token.text[i];
        text[count++] = (char)(quote == 0 && c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    text[count] = 0;
    return text;
}

static const struct {
    const char *word;
    enum command_kind kind;
    const char *tag;
} commands[] = {
    {"begin", COMMAND_BEGIN, NULL},
    {"start", COMMAND_BEGIN, NULL},
    {"commit", COMMAND_COMMIT, NULL},
    {"end", COMMAND_COMMIT, NULL},
    {"rollback", COMMAND_ROLLBACK, NULL},
    {"abort", COMMAND_ROLLBACK, NULL},
    {"savepoint", COMMAND_SAVEPOINT, "SAVEPOINT"},
    {"release", COMMAND_SAVEPOINT, "RELEASE"},
    {"deallocate", COMMAND_DEALLOCATE, NULL},
    {"discard", COMMAND_DISCARD, NULL},
    {"set", COMMAND_SET, NULL},
    {"reset", COMMAND_RESET, NULL},
    {"show", COMMAND_SHOW, NULL},
    {"listen", COMMAND_TAG, "LISTEN"},
    {"unlisten", COMMAND_TAG, "UNLISTEN"},
    {"notify", COMMAND_TAG, "NOTIFY"},
    {"copy", COMMAND_DENIED, "COPY"},
    {"prepare", COMMAND_DENIED, "PREPARE"},
    {"execute", COMMAND_DENIED, "EXECUTE"},
    {"declare", COMMAND_DENIED, "DECLARE"},
    {"fetch", COMMAND_DENIED, "FETCH"},
};

/* SET [SESSION | LOCAL] name {TO | =} value; SET TIME ZONE value, SET TRANSACTION … set nothing
 * that matters here. */
static struct command *make_set(const char *at, const char *end)
{
    char name[TEXT_BYTES], value[TEXT_BYTES];
    struct sql_token token = sql_next(&at, end);
    bool local = sql_is(token, "local");
    if (local || sql_is(token, "session"))
        token = sql_next(&at, end);
    plain(token, name);
    token = sql_next(&at, end);
    if (sql_is(token, "to") || sql_is(token, "="))
        token = sql_next(&at, end);
    struct command *command = create(COMMAND_SET, name, plain(token, value));
    command->local = local;
    return command;
}

static struct command *make_command(size_t index, const char *at, const char *end)
{
    char text[TEXT_BYTES];
    enum command_kind kind = commands[index].kind;
    const char *argument = commands[index].tag;
    struct sql_token token = {0};
    if (kind == COMMAND_SET)
        return make_set(at, end);
    if (kind == COMMAND_ROLLBACK) {
        bool to = false;
        while ((token = sql_next(&at, end)).kind != SQL_END)
            to = to || sql_is(token, "to");
        return to ? create(COMMAND_SAVEPOINT, "ROLLBACK", NULL) : create(kind, NULL, NULL);
    }
    if (kind == COMMAND_DEALLOCATE || kind == COMMAND_RESET || kind == COMMAND_SHOW) {
        token = sql_next(&at, end);
        if (kind == COMMAND_DEALLOCATE && sql_is(token, "prepare"))
            token = sql_next(&at, end);
        argument = sql_is(token, "all") ? NULL : plain(token, text);
    }
    return create(kind, argument, NULL);
}

/* Whether the recording is asked first. What the session follows itself, it also shows itself. */
static bool asks_recording(enum command_kind kind, const char *at, const char *end)
{
    if (kind == COMMAND_SHOW) {
        struct sql_token name = sql_next(&at, end);
        return !sql_is(name, "statement_timeout") && !sql_is(name, "lock_timeout");
    }
    return kind == COMMAND_FORM || kind == COMMAND_SET || kind == COMMAND_RESET;
}

struct command *command_make(struct command_table *table, struct form_book *book, const char *sql,
                             size_t sql_bytes, const char *database,
                             struct form_problem *ret_problem)
{
    const char *at = sql, *end = sql + sql_bytes;
    struct sql_token word = sql_next(&at, end);
    if (word.kind == SQL_END)
        return create(COMMAND_EMPTY, NULL, NULL);
    size_t index = 0, count = sizeof commands / sizeof commands[0];
    while (index < count && !sql_is(word, commands[index].word))
        index++;
    if (index < count && !asks_recording(commands[index].kind, at, end))
        return make_command(index, at, end);
    const struct form *form = form_find(book, sql, sql_bytes, database, ret_problem);
    if (form != NULL)
        return of_form(table, form, sql, end);
    if (index < count && strcmp(ret_problem->sqlstate, "0A000") == 0)
        return make_command(index, at, end);
    return NULL;
}

bool command_split(const char **at, const char *end, const char **ret_sql, size_t *ret_bytes)
{
    const char *begin = NULL,
               *last = NULL; /* comments in front belong to it, alone they are none */
    for (;;) {
        struct sql_token token = sql_scan(*at, end);
        if (token.kind == SQL_END)
            break;
        *at = token.text + token.bytes;
        if (token.kind == SQL_SPACE)
            continue;
        if (sql_is(token, ";")) {
            if (last != NULL)
                break;
            begin = NULL;
            continue;
        }
        if (begin == NULL)
            begin = token.text;
        if (token.kind != SQL_COMMENT)
            last = *at;
    }
    if (last == NULL)
        return false;
    *ret_sql = begin;
    *ret_bytes = (size_t)(last - begin);
    return true;
}

bool command_milliseconds(const char *text, uint32_t *ret_ms)
{
    static const struct {
        const char *unit;
        double ms;
    } units[] = {{"", 1},      {"ms", 1},     {"s", 1e3},  {"min", 6e4},
                 {"h", 3.6e6}, {"d", 8.64e7}, {"us", 1e-3}};
    char *end;
    double value = strtod(text, &end);
    while (*end == ' ')
        end++;
    for (size_t i = 0; i < sizeof units / sizeof units[0] && end != text; i++) {
        if (strcasecmp(end, units[i].unit) != 0)
            continue;
        value *= units[i].ms;
        if (!(value >= 0 && value <= INT32_MAX))
            return false;
        *ret_ms = value > 0 && value < 1 ? 1 : (uint32_t)value;
        return true;
    }
    return false;
}
